"""Timers, the counter, the reply matcher and the drain of events: what happens on every check, and on every piece of news."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from native_kit import HERE, http_program, run_probe, spec, tcp_program
from risefall.config.haproxy.model import Expect, ExpectRule
from risefall.engine._native import ffi, lib
from risefall.engine.native import CheckSpec, Engine, Probe, now_ns
from risefall.engine.play import Door, Player
from risefall.status import Verdict

TIMERS = 10_000
COUNTS = 10_000
EVENTS = 1500
DEADLINE_S = 30.0
BODY = b"<p>some text that says little</p>\n" * 60 + b"all is well"
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


def test_timers(benchmark: BenchmarkFixture) -> None:
    """10,000 timers set over two seconds, and all of them fired, a step of 5 ms after another."""
    wheel = lib.rf_wheel_new(TIMERS, 0)
    out = ffi.new("uint32_t[]", TIMERS)
    clock = 0

    def turn() -> int:
        nonlocal clock
        for timer in range(TIMERS):
            lib.rf_wheel_set(wheel, timer, clock + 1 + timer % 2000)
        fired = 0
        for _ in range(400):
            clock += 5
            fired += lib.rf_wheel_advance(wheel, clock, out, TIMERS)
        return fired

    assert benchmark(turn) == TIMERS
    lib.rf_wheel_free(wheel)


def test_counter(benchmark: BenchmarkFixture) -> None:
    """10,000 results of a server that fails and recovers."""
    verdicts = ([Verdict.FAILED] * 4 + [Verdict.PASSED] * 3) * (COUNTS // 7)

    def turn() -> int:
        health = 2
        for verdict in verdicts:
            health = lib.rf_counter_next(health, 2, 3, verdict)
        return int(health)

    assert benchmark(turn) == 4


@pytest.mark.parametrize(
    "rule",
    [
        ExpectRule(HERE, 2, Expect.STATUS, statuses=((200, 399),)),
        ExpectRule(HERE, 2, Expect.STRING, pattern="all is well"),
        ExpectRule(HERE, 2, Expect.RSTRING, pattern=r"all\s+is\s+(well|fine)$"),
    ],
    ids=["status", "string", "rstring"],
)
def test_reply_matcher(benchmark: BenchmarkFixture, rule: ExpectRule) -> None:
    """A probe from its start to its verdict on a reply of 2 kB that comes in pieces of 500 bytes."""
    program = http_program(rule)
    check = spec()
    probe = Probe(program, check)
    pieces = [REPLY[at : at + 500] for at in range(0, len(REPLY), 500)]
    assert benchmark(lambda: run_probe(program, pieces, check=check, probe=probe)).verdict is Verdict.PASSED


def test_event_drain(benchmark: BenchmarkFixture) -> None:
    """1,500 events from the ring to Python's values: 500 servers that went DOWN, three failed checks each."""
    with Player(listeners=1, connections=8) as player:
        listener, port = player.listen()
        player.door(listener, Door.REFUSE)
        engines: list[Engine] = []

        def filled() -> tuple[tuple[Engine], dict[str, Any]]:
            for old in engines:
                old.close()
            engine = Engine(checks_max=512, slots=64, groups=1, gather_us=0, seed=1)
            engines[:] = [engine]
            program = tcp_program()
            words: CheckSpec = spec(port, inter_ms=1, rise=2, fall=3, health=4, first_ns=now_ns())
            for _ in range(EVENTS // 3):
                engine.add(program, words)
            end = time.monotonic() + DEADLINE_S
            while engine.statistics().events < EVENTS:
                assert time.monotonic() < end
                engine.step(now_ns())
            return (engine,), {}

        def drain(engine: Engine) -> int:
            count = 0
            while events := engine.drain():
                count += len(events)
            return count

        assert benchmark.pedantic(drain, setup=filled, rounds=15) >= EVENTS
        engines[0].close()
