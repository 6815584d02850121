"""`show info` against a real haproxy 2.6, and how the uptime is told."""

from __future__ import annotations

import json

import pytest
from surfaces_kit import ask

from risefall.config.haproxy.dialect import DIALECTS
from risefall.surfaces.info import BASE, EXTENSION, render_uptime, show_info

INFO = {"Version": "2.6.12", "Release_date": "2026/10/17", "Pid": 4711, "Uptime_sec": 90061, "node": "web"}
OLD, NEW = DIALECTS["2.6"], DIALECTS["3"]


def heads(typed: str) -> list[str]:
    """Lines without their values, whose texts may hold colons."""
    return [":".join(line.split(":")[:3]) for line in typed.splitlines() if line]


@pytest.mark.parametrize("words", ["typed", "typed float"])
def test_names_order_tags_and_types_are_haproxys(peer: str, words: str) -> None:
    assert heads(show_info(OLD, INFO, words.split())) == heads(ask(peer, f"show info {words}\n".encode()).decode())
    names = [line.partition(":")[0] for line in show_info(OLD, INFO).splitlines()]
    assert names == [line.partition(":")[0] for line in ask(peer, b"show info\n").decode().splitlines() if line]


@pytest.mark.parametrize("words", ["json", "json float"])
def test_json_has_haproxys_shape(peer: str, words: str) -> None:
    theirs, mine = (
        json.loads(ask(peer, f"show info {words}\n".encode())),
        json.loads(show_info(OLD, INFO, words.split())),
    )
    for item in (*theirs, *mine):
        item["value"] = item["value"]["type"]
    assert mine == theirs


def test_values_given_and_values_known() -> None:
    lines = show_info(OLD, INFO).splitlines()
    assert lines[:4] == ["Name: HAProxy", "Version: 2.6.12", "Release_date: 2026/10/17", "Nbthread: 1"]
    assert {"Pid: 4711", "Uptime: 1d 1h01m01s", "Uptime_sec: 90061", "Build info: 2.6.12", "CurrConns: 0"} <= set(lines)
    assert show_info(OLD, {**INFO, "Name": "hapee-lb"}).startswith("Name: hapee-lb\n")
    assert "description: a, b" in show_info(OLD, {**INFO, "description": "a, b"})
    assert "6.Pid.1:SGP:u32:4711" in show_info(OLD, INFO, ["typed"]).splitlines()


def test_decimals() -> None:
    info = {**INFO, "Uptime_sec": 90061.25, "Start_time_sec": 1795871091.2527803}
    assert {"Uptime: 1d 1h01m01s", "Uptime_sec: 90061", "Start_time_sec: 1795871091"} <= set(
        show_info(OLD, info).splitlines()
    )
    exact = show_info(OLD, info, ["float"]).splitlines()
    assert {"Uptime_sec: 90061.25", "Start_time_sec: 1795871091.25278", "ConnRate: 0", "Pid: 4711"} <= set(exact)
    assert json.loads(show_info(OLD, info, ["json", "float"]))[8]["value"] == {"type": "flt", "value": 90061.25}


def test_descriptions() -> None:
    assert 'Pid: 4711:"process id"' in show_info(OLD, INFO, ["desc"])
    assert '6.Pid.1:SGP:u32:4711:"process id"' in show_info(OLD, INFO, ["desc", "typed"])
    assert all(fact.text for fact in (*BASE, *EXTENSION))


def test_todays_names() -> None:
    text = show_info(NEW, INFO, ["typed"])
    assert ".TotalSplicedBytesOut.1:MGPV:u64:0\n" in text
    assert "Splicded" not in text
    assert text.endswith("81.NbThreadGroups.1:CGSV:u32:1\n")


def test_uptimes() -> None:
    assert [render_uptime(seconds) for seconds in (0, 163, 3599, 90061, 864000)] == [
        "0d 0h00m00s", "0d 0h02m43s", "0d 0h59m59s", "1d 1h01m01s", "10d 0h00m00s",
    ]  # fmt: skip
