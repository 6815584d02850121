"""`risefall bench`: for a short while, beside the real haproxy, interrupted, and with bad input."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cli_kit import risefall

CONFIG = """
defaults
    mode http
    timeout connect 200ms
    timeout check 200ms
    default-server inter 200ms fastinter 100ms downinter 100ms rise 2 fall 2
backend web
    option httpchk
    server a 192.0.2.1:80 check agent-check agent-port 99 agent-inter 200ms
    server safe 192.0.2.1:443 check ssl verify none
backend cache
    option redis-check
    server r 192.0.2.2:6379 check
"""
DEADLINE_S = 40.0


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "web.cfg"
    path.write_text(CONFIG)
    return str(path)


def summaries(out: str) -> list[dict[str, object]]:
    return [one for line in out.splitlines() if (one := json.loads(line))["event"] == "summary"]


def failures(out: str) -> list[dict[str, object]]:
    return [one for line in out.splitlines() if (one := json.loads(line))["event"] == "failure"]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_both_programs_find_every_failure(config: str, tmp_path: Path) -> None:
    """The same failures, each found and each recovered from, by risefall and by the real haproxy. Five seconds each."""
    report, record = tmp_path / "r.html", tmp_path / "r.json"
    code, out, err = risefall(
        "bench", "-f", config, "--for", "5s", "--against", "haproxy", "--servers", "4", "--json",
        "--report", str(report), "--record", str(record),
    )  # fmt: skip
    assert code == 0, err
    ours, theirs = summaries(out)
    assert str(ours["program"]).startswith("risefall")
    assert str(theirs["program"]).startswith("haproxy 2.")
    for one in (ours, theirs):
        assert one["missed"] == 0
        assert one["false_downs"] == 0
        detection = one["detection_s"]
        assert isinstance(detection, dict)
        assert 16 <= detection["count"] == one["injected"]
        assert {row["name"] for row in one["backends"]} == {"web", "cache"}  # type: ignore[attr-defined]
        assert one["checks"]
        assert one["late_s"]["count"] > 0  # type: ignore[index]
    first = {program: {} for program in (ours["program"], theirs["program"])}  # type: ignore[var-annotated]
    for failure in failures(out):
        first[failure["program"]].setdefault(failure["server"], failure["fault"])
    assert first[ours["program"]] == first[theirs["program"]], "the same seed breaks in the same way"
    assert "web/safe: not played: the check speaks TLS" in err
    page = report.read_text()
    assert page.count("<svg") == 4
    assert not re.search(r"(src|href)=|<script|url\(", page), "a report needs nothing else"
    recorded = json.loads(record.read_text())
    assert recorded["unit"] == "us"
    assert sum(recorded["counts"]) > 0


def test_several_balancers_each_find_a_failure(config: str) -> None:
    code, out, err = risefall(
        "bench", "-f", config, "--for", "3s", "--balancers", "2", "--faults", "refuse,error", "--json"
    )
    assert code == 0, err
    (one,) = summaries(out)
    assert one["balancers"] == 2
    assert {failure["fault"] for failure in failures(out)} <= {"refuse", "error"}
    assert any(len(failure["detection_s"]) == 2 for failure in failures(out))  # type: ignore[arg-type]
    assert one["two_opinions_s"]["count"] > 0  # type: ignore[index]


def test_ctrl_c_tells_what_was_measured_so_far(config: str, tmp_path: Path) -> None:
    """130, the table, and no process is left behind."""
    report = tmp_path / "cut.html"
    process = subprocess.Popen(
        [sys.executable, "-m", "risefall", "bench", "-f", config, "--for", "10m", "--report", str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120", "TMPDIR": str(tmp_path)},
    )
    try:
        end = time.monotonic() + DEADLINE_S
        while ",DOWN" not in stat_of(tmp_path):  # what is broken is broken once measuring has begun
            assert time.monotonic() < end
            assert process.poll() is None, process.communicate()[1]
            select.select([], [], [], 0.05)
        children = checkers_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "detection" in out
    assert "Traceback" not in err
    assert "interrupted" in report.read_text()
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def checkers_of(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            children += [int(child) for child in task.read_text().split()]
    return children


def stat_of(folder: Path) -> str:
    """What the checker says on its runtime socket; nothing while there is none."""
    said = b""
    for path in folder.glob("risefall-bench-*/run-0.sock"):
        with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
            asking.settimeout(DEADLINE_S)
            asking.connect(str(path))
            asking.sendall(b"show stat\n")
            while piece := asking.recv(65536):
                said += piece
    return said.decode()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--for", "soon"], "'soon' is no time"),
        (["--faults", "refuse,fire"], "'fire' is no fault; known are refuse, deaf"),
        (["--latency", "slow"], "'slow' is no latency; write 5ms"),
        (["--servers", "0"], "0 is not in the range"),
        (["--against", "nginx"], "'nginx' is not 'haproxy'"),
        (["--report", "/nowhere/x.html"], "/nowhere/x.html: No such file"),
    ],
)
def test_bad_options_are_refused(config: str, options: list[str], said: str) -> None:
    code, out, err = risefall("bench", "-f", config, *options)
    assert (code, out) == (2, "")
    assert said in err


def test_a_trial_that_is_too_short_says_how_long_one_must_be(tmp_path: Path) -> None:
    """Sound for 25 s at most, then a phase, `fall` checks and their intervals; and what cannot be seen is no 0.00."""
    path = tmp_path / "slow.cfg"
    path.write_text("backend b\n    server s 192.0.2.1:80 check inter 10s fall 2\n")
    code, out, err = risefall("bench", "-f", str(path), "--for", "100ms")
    assert code == 0, err
    assert "a server of b" in out
    assert "0.00 conn/s" not in out
    assert "no failure was over in 0.1 s; one may take 77 s here: --for 77s" in err


def test_nothing_to_play_is_refused_with_each_reason(tmp_path: Path) -> None:
    path = tmp_path / "tls.cfg"
    path.write_text("backend b\n    server s 192.0.2.1:443 check ssl verify none\n    server t 192.0.2.1:80\n")
    code, _, err = risefall("bench", "-f", str(path))
    assert code == 2
    assert "b/s: not played: the check speaks TLS" in err
    assert "b/t: has no check" in err
    assert f"{path}: there is no server whose check can be played" in err


def test_an_error_of_the_configuration_has_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text("backend b\n    server s 192.0.2.1:80 check fall 0\n")
    code, _, err = risefall("bench", "-f", str(path))
    assert code == 2
    assert "bad.cfg:2:" in err
