"""The lines of tests/diff/recorded.jsonl, which a real HAProxy 2.6.12 wrote, from the same checks and commands."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from state_kit import Rig

from risefall.status import Status

RECORDED = Path(__file__).parents[1] / "diff" / "recorded.jsonl"

OK = "ok"
BAD = "bad"
GONE = "gone"
EOF = "eof"
ACTS = {
    OK: (Status.L7OK, 200, b""),
    BAD: (Status.L7STS, 503, b"Busy"),
    GONE: (Status.L7OKC, 404, b""),
    EOF: (Status.L7RSP, 0, b""),
}
TRACE = (OK, OK, BAD, BAD, OK, BAD, BAD, BAD, BAD, EOF, OK, BAD, OK, OK)


def acts(rig: Rig, name: str, *which: str) -> None:
    """These checks, one after the other; a 404 of a server that is DOWN says what it is."""
    for act in which:
        status, code, text = ACTS[act]
        if act == GONE and rig.below[rig.index[name], 0].stopped:
            status, text = Status.L7STS, b"Not Found"
        rig.check(name, status, code, text)


def cli(rig: Rig, *commands: str) -> None:
    for command in commands:
        rig.cli(command)


def plain(proxy: str, *, logged: bool = True, kind: str = "backend", **server: object) -> Rig:
    return Rig().proxy(proxy, kind, log_health_checks=logged).server("s1", **server).start()  # type: ignore[arg-type]


def counter(proxy: str, *which: str, logged: bool = True, kind: str = "backend", **server: object) -> Rig:
    """A server that is checked so, and a few times more like the last."""
    rig = plain(proxy, logged=logged, kind=kind, **server)
    acts(rig, "s1", *which, which[-1], which[-1])
    return rig


def track() -> Rig:
    rig = Rig().proxy("track").server("s1").server("t1", track="s1").server("t2", track="t1", backup=True)
    rig.server("other").start()
    acts(rig, "s1", OK)
    acts(rig, "other", OK)
    acts(rig, "s1", BAD, BAD, BAD, OK, OK)
    cli(rig, "set server track/s1 state maint")
    assert [rig.status(name) for name in ("s1", "t1", "t2")] == [
        "MAINT",
        "MAINT (via track/s1)",
        "MAINT (via track/t1)",
    ]
    cli(rig, "set server track/s1 state ready")
    assert [rig.status(name) for name in ("s1", "t1", "t2")] == ["UP 1/3"] * 3
    acts(rig, "s1", OK)
    cli(rig, "set server track/s1 state drain", "set server track/t1 state maint", "set server track/s1 state ready")
    cli(rig, "set server track/t1 state ready", "set server track/t1 health down", "set server track/s1 health down")
    assert rig.status("t2") == "DOWN"
    acts(rig, "s1", OK, OK)
    return rig


def track_unlogged() -> Rig:
    rig = Rig().proxy("track-unlogged", log_health_checks=False).server("s1").server("t1", track="s1", weight=7).start()
    acts(rig, "s1", OK, BAD, BAD, BAD, OK, OK)
    return rig


def track_404() -> Rig:
    rig = Rig().proxy("track-404").server("s1").server("t1", track="s1").start()
    acts(rig, "s1", OK, GONE, OK, GONE, BAD)
    assert (rig.status("s1"), rig.status("t1")) == ("NOLB 2/3", "NOLB 2/3")
    acts(rig, "s1", BAD, BAD)
    return rig


def track_disabled() -> Rig:
    rig = Rig().proxy("track-disabled").server("s1", disabled=True).server("t1", track="s1").start()
    assert (rig.status("s1"), rig.status("t1")) == ("MAINT", "MAINT (via track-disabled/s1)")
    cli(rig, "enable server track-disabled/s1")
    acts(rig, "s1", OK)
    return rig


def track_drain() -> Rig:
    rig = Rig().proxy("track-drain").server("s1").server("t1", track="s1").start()
    acts(rig, "s1", OK)
    for server, word in (
        ("s1", "drain"),
        ("t1", "drain"),
        ("s1", "ready"),
        ("s1", "drain"),
        ("t1", "ready"),
        ("s1", "ready"),
    ):
        cli(rig, f"set server track-drain/{server} state {word}")
    return rig


def running_on_backup() -> Rig:
    rig = Rig().proxy("running-on-backup", log_health_checks=False).server("s1")
    rig.server("bk", backup=True).server("b2", backup=True).start()
    for name in ("s1", "bk", "b2"):
        acts(rig, name, OK)
    acts(rig, "s1", BAD, BAD, BAD, OK, OK)
    for verb in ("disable", "enable"):
        cli(rig, *(f"{verb} server running-on-backup/{name}" for name in ("s1", "bk", "b2")))
    return rig


def maint_ready_drain() -> Rig:
    rig = plain("maint-ready-drain")
    acts(rig, "s1", OK)
    for words, then in (
        (("maint", "maint", "ready"), "UP 1/3"),
        (("ready", "drain", "maint"), "MAINT"),
        (("drain",), "DRAIN 1/3"),
        (("ready", "maint", "ready"), "UP 1/3"),
    ):
        cli(rig, *(f"set server maint-ready-drain/s1 state {word}" for word in words))
        assert rig.status("s1") == then
        if then != "MAINT":
            acts(rig, "s1", OK, OK)
    return rig


def maint_while_down() -> Rig:
    rig = plain("maint-while-down")
    acts(rig, "s1", BAD, BAD)
    for word in ("maint", "ready", "drain", "ready"):
        cli(rig, f"set server maint-while-down/s1 state {word}")
        acts(rig, "s1", BAD)
    return rig


def drain_then_down() -> Rig:
    rig = plain("drain-then-down", logged=False)
    acts(rig, "s1", OK)
    cli(rig, "set server drain-then-down/s1 state drain")
    acts(rig, "s1", BAD)
    assert rig.status("s1") == "DRAIN 2/3"
    acts(rig, "s1", BAD, BAD, OK, OK)
    cli(rig, "set server drain-then-down/s1 state ready")
    return rig


def disabled_then_enabled() -> Rig:
    rig = plain("disabled-then-enabled", disabled=True)
    acts(rig, "s1", OK)
    cli(rig, "enable server disabled-then-enabled/s1")
    acts(rig, "s1", OK)
    return rig


def disabled_then_drain() -> Rig:
    rig = plain("disabled-then-drain", disabled=True)
    cli(rig, "set server disabled-then-drain/s1 state drain")
    acts(rig, "s1", OK)
    return rig


def health_forced() -> Rig:
    rig = plain("health-forced")
    acts(rig, "s1", OK)
    for word in ("down", "stopping", "up"):
        cli(rig, f"set server health-forced/s1 health {word}")
        acts(rig, "s1", OK, OK)
    return rig


def health_forced_unchecked() -> Rig:
    rig = plain("health-forced-unchecked", check=False)
    for command, then in (
        ("health down", "DOWN"),
        ("health up", "no check"),
        ("health stopping", "NOLB"),
        ("health up", "no check"),
        ("state drain", "DRAIN"),
        ("state ready", "no check"),
    ):
        cli(rig, f"set server health-forced-unchecked/s1 {command}")
        assert rig.status("s1") == then
    return rig


def health_disabled() -> Rig:
    rig = plain("health-disabled")
    acts(rig, "s1", OK)
    cli(rig, "disable health health-disabled/s1")
    acts(rig, "s1", BAD)
    assert rig.status("s1") == "no check"
    cli(rig, "enable health health-disabled/s1")
    acts(rig, "s1", BAD, BAD, BAD)
    cli(rig, "disable health health-disabled/s1")
    assert rig.status("s1") == "DOWN"
    cli(rig, "enable health health-disabled/s1")
    acts(rig, "s1", OK, OK)
    return rig


def weights() -> Rig:
    rig = plain("weights", weight=40)
    acts(rig, "s1", OK)
    for text, then in (("0", 0), ("50%", 20), ("30000%", 256), ("0%", 0)):
        cli(rig, f"set weight weights/s1 {text}")
        assert rig.servers[0].uweight == then
    acts(rig, "s1", BAD, BAD, BAD)
    cli(rig, "set weight weights/s1 100%")
    acts(rig, "s1", OK, OK)
    return rig


def static_balance() -> Rig:
    rig = Rig().proxy("static-balance", static=True).server("s1", weight=20).start()
    acts(rig, "s1", OK)
    cli(rig, *(f"set weight static-balance/s1 {text}" for text in ("50%", "0%", "100%", "20")))
    return rig


def agent(name: str, *said: str, check: bool = True, logged: bool = True) -> Rig:
    """An agent beside a sound health check, if there is one; each line comes twice."""
    rig = Rig().proxy(name, log_health_checks=logged).server("s1", check=check, agent=True, fall=2, weight=100).start()
    if check:
        acts(rig, "s1", OK)
    for line in said:
        rig.agent("s1", line)
        if check:
            acts(rig, "s1", OK)
        rig.agent("s1", line)
    return rig


def agent_down_check_goes_down_too() -> Rig:
    rig = agent("agent-down-check-goes-down-too", "down")
    assert rig.status("s1") == "DOWN (agent)"
    acts(rig, "s1", BAD, BAD)
    rig.agent("s1", "up")
    assert rig.status("s1") == "DOWN"
    acts(rig, "s1", OK, OK)
    return rig


def agent_and_operator() -> Rig:
    name = "agent-and-operator"
    rig = agent(name, "up")
    cli(rig, f"set server {name}/s1 state maint")
    rig.agent("s1", "up")
    rig.agent("s1", "ready")
    acts(rig, "s1", OK)
    rig.agent("s1", "up")
    cli(rig, f"set server {name}/s1 state drain")
    rig.agent("s1", "up")
    assert rig.status("s1") == "DRAIN (agent)"
    cli(rig, f"set server {name}/s1 agent down")
    assert rig.status("s1") == "DOWN (agent)"
    rig.agent("s1", "up")
    cli(rig, f"enable server {name}/s1")
    return rig


def agent_switched_off() -> Rig:
    rig = agent("agent-switched-off", "down")
    cli(rig, "disable agent agent-switched-off/s1")
    assert rig.status("s1") == "DOWN 3/2"
    acts(rig, "s1", OK)
    assert rig.status("s1") == "UP"
    cli(rig, "enable agent agent-switched-off/s1")
    assert rig.status("s1") == "UP"
    rig.agent("s1", "down")
    assert rig.status("s1") == "DOWN (agent)"
    return rig


STORIES: dict[str, Callable[[], Rig]] = {
    "trace": lambda: counter("trace", *TRACE),
    "trace-unlogged": lambda: counter("trace-unlogged", *TRACE, logged=False),
    "rise-1-fall-1": lambda: counter("rise-1-fall-1", OK, BAD, OK, BAD, BAD, OK, rise=1, fall=1),
    "rise-3-fall-2": lambda: counter("rise-3-fall-2", BAD, OK, OK, BAD, OK, OK, OK, BAD, OK, rise=3, fall=2),
    "first-fails": lambda: counter("first-fails", BAD, OK, OK),
    "first-fails-unlogged": lambda: counter("first-fails-unlogged", BAD, OK, OK, logged=False),
    "other-failure-while-down": lambda: counter("other-failure-while-down", BAD, BAD, EOF, EOF, BAD),
    "404-trace": lambda: counter("404-trace", OK, GONE, GONE, OK, GONE, BAD, GONE, OK),
    "404-first": lambda: counter("404-first", GONE, OK),
    "404-to-down-unlogged": lambda: counter("404-to-down-unlogged", OK, GONE, BAD, BAD, BAD, OK, OK, logged=False),
    "404-to-down": lambda: counter("404-to-down", OK, GONE, BAD, BAD, BAD, GONE, OK, OK),
    "backup-alone": lambda: counter("backup-alone", OK, BAD, BAD, BAD, OK, OK, backup=True),
    "weight-0": lambda: counter("weight-0", OK, BAD, BAD, BAD, OK, OK, weight=0),
    "listen-says-proxy": lambda: counter("listen-says-proxy", BAD, OK, OK, kind="listen"),
    "track": track,
    "track-unlogged": track_unlogged,
    "track-404": track_404,
    "track-disabled": track_disabled,
    "track-drain": track_drain,
    "running-on-backup": running_on_backup,
    "maint-ready-drain": maint_ready_drain,
    "maint-while-down": maint_while_down,
    "drain-then-down": drain_then_down,
    "disabled-then-enabled": disabled_then_enabled,
    "disabled-then-drain": disabled_then_drain,
    "health-forced": health_forced,
    "health-forced-unchecked": health_forced_unchecked,
    "health-disabled": health_disabled,
    "weights": weights,
    "static-balance": static_balance,
    "agent-word-down-description": lambda: agent("agent-word-down-description", "up", "down # disk is full"),
    "agent-word-percent-0": lambda: agent("agent-word-percent-0", "up", "0%"),
    "agent-word-all-kinds": lambda: agent("agent-word-all-kinds", "up", "75% maxconn:30 maint down"),
    "agent-word-maint": lambda: agent("agent-word-maint", "up", "maint"),
    "agent-sequence": lambda: agent("agent-sequence", "up", "down", "down", "up", "drain", "ready"),
    "agent-maint-needs-ready": lambda: agent("agent-maint-needs-ready", "maint", "up", "up", "ready", "up"),
    "agent-weights": lambda: agent("agent-weights", "50%", "0%", "up", "100%"),
    "agent-alone-down": lambda: agent("agent-alone-down", "down # alone", check=False),
    "agent-alone-sequence": lambda: agent("agent-alone-sequence", "up", "down", "up", check=False),
    "agent-alone-no-log": lambda: agent("agent-alone-no-log", "up", "down # why", "up", check=False, logged=False),
    "agent-no-log": lambda: agent("agent-no-log", "up", "down # why", "up", "drain", "ready", logged=False),
    "agent-down-check-goes-down-too": agent_down_check_goes_down_too,
    "agent-and-operator": agent_and_operator,
    "agent-switched-off": agent_switched_off,
}


def recorded() -> dict[str, dict[str, list[str]]]:
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return {line[0]: line[1] for line in lines if isinstance(line, list)}


@pytest.fixture(scope="module")
def real() -> dict[str, dict[str, list[str]]]:
    return recorded()


@pytest.mark.parametrize("name", STORIES)
def test_the_lines_of_a_real_haproxy(name: str, real: dict[str, dict[str, list[str]]]) -> None:
    rig = STORIES[name]()
    assert rig.drain() == real[name]["log"]
    rig.verify()


@pytest.mark.parametrize("name", ["refusals", "refusals-unchecked", "proxy-disabled", "static-balance"])
def test_the_refusals_of_a_real_haproxy(name: str, real: dict[str, dict[str, list[str]]]) -> None:
    """Every recorded reply to a command that finds its server and is ours to answer."""
    checked, static, disabled = name != "refusals-unchecked", name == "static-balance", name == "proxy-disabled"
    rig = Rig().proxy("b", static=static, disabled=disabled)
    rig.server("s1", check=checked, weight=20 if static else 1).start()
    seen = 0
    for told in real[name]["replies"]:
        command, _, reply = told.partition(": ")
        words = command.replace("{b}", "b").split()
        ours = "b/s1" in words and words[0] != "get" and not (words[:2] == ["set", "server"] and len(words) < 4)
        if ours and "nonsense" not in words:
            rig.cli(" ".join(words))
            assert rig.replies[-1] == ast.literal_eval(reply), command
            seen += 1
    assert seen >= 3
