"""Any commands, replies and agent words, given to haproxy 2.6 and to risefall: after each both show and log the same.

Some fifteen seconds. `RISEFALL_HANDS=5000 pytest tests/diff/test_hands.py` gives that many commands, and a twentieth of it
in the second test, which waits for checks; a failure names the seed and the last commands.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hands_kit import SWITCHES, Pair, by_server, command, running
from risefall.engine.play import OK, Act, Player, Then, When, http_reply

pytestmark = pytest.mark.usefixtures("version")

HANDS = int(os.environ.get("RISEFALL_HANDS", "250"))
SEED = int(os.environ.get("RISEFALL_SEED", "0"))

# Checks come once in hours: only hands move a server. A name after `track` is a server of the chain.
STILL = """
backend b
  option httpchk
  option log-health-checks
  default-server inter 1h agent-inter 10h
  server s1 127.0.0.1:1 check agent-check agent-port 1 weight 10
  server s2 127.0.0.1:1 check rise 1 fall 1
  server t1 127.0.0.1:1 track s1
  server t2 127.0.0.1:1 track t1 weight 3
  server ta 127.0.0.1:1 track s2 agent-check agent-port 1
  server un 127.0.0.1:1
  server ag 127.0.0.1:1 agent-check agent-port 1
  server off 127.0.0.1:1 check disabled
  server bk 127.0.0.1:1 check backup weight 7
  server bt 127.0.0.1:1 backup track bk
  server toff 127.0.0.1:1 track off
backend c
  option allbackups
  default-server inter 1h
  server s1 127.0.0.1:1 check
  server b1 127.0.0.1:1 check backup
  server b2 127.0.0.1:1 check backup
backend st
  balance static-rr
  server s1 127.0.0.1:1 check inter 1h weight 5
  server t1 127.0.0.1:1 track b/s1
"""
STILL_SERVERS = [
    *(f"b/{name}" for name in ("s1", "s2", "t1", "t2", "ta", "un", "ag", "off", "bk", "bt", "toff")),
    "c/s1", "c/b1", "c/b2", "st/s1", "st/t1",
]  # fmt: skip


def give(pair: Pair, line: str) -> list[str]:
    """Where the answers to a command differ."""
    theirs, ours = pair.both(line)
    return [] if theirs == ours else [f"haproxy answers {theirs!r}", f"risefall {ours!r}"]


def test_any_commands(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with running(tmp_path, STILL) as pair:
        pair.settle()
        pair.logged(lambda lines: None)
        given: list[str] = []
        for _ in range(HANDS):
            given.append(command(chance, STILL_SERVERS))
            told = give(pair, given[-1]) + pair.settle() + pair.logged(lambda lines: lines)
            assert not told, "\n".join([f"seed {SEED}, {len(given)} commands, the last of them {given[-30:]}", *told])


MOVING = """
  default-server inter 60ms fastinter 30ms rise 2 fall 3 agent-inter 60ms
backend b
  option httpchk
  option log-health-checks
  server s1 127.0.0.1:{s1} check agent-check agent-port {a1} weight 10
  server s2 127.0.0.1:{s2} check
  server t1 127.0.0.1:{s1} track s1
  server ta 127.0.0.1:{s1} track s2 agent-check agent-port {a2}
  server bk 127.0.0.1:{s3} check backup weight 7
backend n
  option httpchk
  http-check disable-on-404
  server n1 127.0.0.1:{s2} check
  server tn 127.0.0.1:{s2} track n1
  server n2 127.0.0.1:{s3} check rise 1 fall 1
  server ag 127.0.0.1:{s3} agent-check agent-port {a1} weight 20
"""
MOVING_SERVERS = ["b/s1", "b/s2", "b/t1", "b/ta", "b/bk", "n/n1", "n/tn", "n/n2", "n/ag"]
REPLIES = (OK, Act(http_reply(404, "Not Found")), Act(http_reply(503, "Busy")))
WORDS = (
    "up",
    "down",
    "ready",
    "drain",
    "maint",
    "50%",
    "up 30%",
    "drain,down",
    "maxconn:7",
    "",
    "stopped#why",
    "up,ready",
)
CALM = 15
"""So many equal looks in a row, for every check to have come several times."""


def test_any_replies_and_words(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with Player(listeners=8, connections=512) as player:
        doors = {name: player.listen("127.0.0.1", 0, OK) for name in ("s1", "s2", "s3")}
        agents = {name: player.listen("127.0.0.1", 0, Act(b"\n", When.ACCEPT, Then.FIN)) for name in ("a1", "a2")}
        ports = {name: port for name, (_, port) in (doors | agents).items()}
        with running(tmp_path, MOVING.format(**ports), moving=True) as pair:
            pair.settle(quiet=CALM)
            pair.logged(lambda lines: None)
            given: list[str] = []
            for _ in range(HANDS // 20):
                told: list[str] = []
                kind = chance.random()
                if kind < 0.35:
                    name, reply = chance.choice(sorted(doors)), chance.choice(REPLIES)
                    player.script(doors[name][0], reply)
                    given.append(f"{name} replies {reply.reply[:12]!r}")
                elif kind < 0.55:
                    name, word = chance.choice(sorted(agents)), chance.choice(WORDS)
                    player.script(agents[name][0], Act(f"{word}\n".encode(), When.ACCEPT, Then.FIN))
                    given.append(f"{name} says {word!r}")
                else:
                    given.append(command(chance, MOVING_SERVERS, SWITCHES[:-1]))
                    told += give(pair, given[-1])
                told += pair.settle(quiet=CALM) + pair.logged(by_server)
                assert not told, "\n".join([f"seed {SEED}, {len(given)} steps, the last of them {given[-30:]}", *told])


FLIGHT = """
  option httpchk
  option log-health-checks
  default-server inter 100ms
backend maint
  server s1 127.0.0.1:{passing} check
backend back
  server s1 127.0.0.1:{failing} check
backend off
  server s1 127.0.0.1:{failing} check
backend on
  server s1 127.0.0.1:{failing} check
backend agent
  server s1 127.0.0.1:1 agent-check agent-port {agent} agent-inter 100ms
"""
ORDERS = (
    "set server maint/s1 state maint", "set server back/s1 state maint", "set server back/s1 state ready",
    "disable health off/s1", "disable health on/s1", "enable health on/s1", "disable agent agent/s1",
)  # fmt: skip
LATE_MS = 2500


def test_a_check_that_is_under_way_when_it_is_stopped(tmp_path: Path) -> None:
    """A health check counts and is logged all the same, an agent's does not; maintenance is not left by either."""
    with Player(listeners=8, connections=64) as player:
        sound = {name: player.listen("127.0.0.1", 0, OK) for name in ("passing", "failing")}
        sound["agent"] = player.listen("127.0.0.1", 0, Act(b"up\n", When.ACCEPT, Then.FIN))
        late = {
            "passing": Act(OK.reply, delay_ms=LATE_MS),
            "failing": Act(http_reply(503, "Busy"), delay_ms=LATE_MS),
            "agent": Act(b"down\n", When.ACCEPT, Then.FIN, delay_ms=LATE_MS),
        }
        body = "\n  timeout check 9s" + FLIGHT.format(**{name: port for name, (_, port) in sound.items()})
        with running(tmp_path, body) as pair:
            pair.settle(quiet=CALM)
            pair.logged(lambda lines: None)
            for name, (listener, _) in sound.items():
                player.script(listener, late[name])
            pair.until(lambda side: side.in_progress() >= {"maint", "back", "off", "on", "agent"})
            for line in ORDERS:
                assert not give(pair, line)
            pair.until(lambda side: not side.in_progress() & {"maint", "off", "agent"})
            told = pair.settle() + pair.logged(sorted)
            assert not told, "\n".join(told)
            assert pair.risefall.shown()["state of off/s1"][12] == "3", "a failure of a check that was switched off"  # type: ignore[index]
