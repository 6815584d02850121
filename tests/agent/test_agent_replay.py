"""Recorded signals through the rules."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from risefall.agent.picture import draw, moods
from risefall.agent.replay import Row, parse_trace, replay, write_rows
from risefall.agent.settings import Condition, Cpu, Op, Say, Service
from risefall.errors import ConfigError, StartError

SERVICE = Service(
    signal=(Cpu(name="cpu", curve=((50, 100), (90, 10))),),
    smooth_ms=0,
    hysteresis_pct=0,
    step_pct=30,
    stale_ms=5000,
    state=(Condition(say=Say.DRAIN, signal="cpu", op=Op.MORE, value=95, reason="too busy"),),
)
TRACE = """t,cpu
0,50
1,90
2,90
4,99
5,EIO
10,
11,50
12,50
"""


def run(text: str = TRACE) -> list[Row]:
    return list(replay(SERVICE, parse_trace(text.splitlines(), SERVICE, "trace.csv")))


def test_rows() -> None:
    assert [(row.t_s, row.line) for row in run()] == [
        (0, "up 100%"),
        (1, "up 70%"),
        (2, "up 40%"),
        (4, "up drain 10% #too busy"),
        (5, "up drain 10% #too busy"),
        (10, "down drain #stale"),
        (11, "up ready 40%"),
        (12, "up 70%"),
    ]


def test_csv_out_can_be_read_again() -> None:
    lines = list(csv.reader(write_rows(run(), SERVICE)))
    assert lines[0] == ["t", "cpu", "asked", "weight", "maxconn", "answer"]
    assert lines[4] == ["4", "99", "10.0", "10", "", "up drain 10% #too busy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace.csv:1: error: a trace begins"), ("cpu\n", "a trace begins"), ("t,cpuu\n", "did you mean 'cpu'?"),
        ("t,cpu\n1\n", "trace.csv:2: error: 1 fields for 2 names"), ("t,cpu\n1,2\n0,2\n", "trace.csv:3: error: 't' must"),
        ("t,cpu\nx,1\n", "'t' must be a number"), ("t,cpu\nnan,1\n", "'t' must be a number"),
    ],
)  # fmt: skip
def test_what_is_no_trace(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(text)
    assert message in str(caught.value)


def test_what_the_picture_marks() -> None:
    assert moods(run()) == [(4, 10, "drain"), (10, 11, "down")]


def test_a_picture_or_what_to_install_for_one(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(StartError, match=r"risefall\[plot\]"):
            draw(run(), SERVICE, str(path))
        return
    draw(run(), SERVICE, str(path))
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
