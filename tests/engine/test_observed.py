"""`observe`: traffic that went wrong too often, from the words of the configuration to the counter and the next check."""

from __future__ import annotations

import pytest

from native_kit import MS, http_program, spec
from risefall.cli.loading import load_text
from risefall.daemon.assemble import Seed
from risefall.engine.native import Engine, Event, Probe
from risefall.engine.targets import TargetBuilder
from risefall.state.fleet import Fleet
from risefall.state.observe import Traffic, observe, of_status
from risefall.state.server import Watch


def passed(at_ms: int) -> Probe:
    """A probe whose run has just passed."""
    probe = Probe(http_program(), spec())
    probe.start(at_ms * MS)
    probe.connected(at_ms * MS)
    probe.sent(len(probe.want().out), at_ms * MS)
    probe.received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", at_ms * MS)
    return probe


def fleet_of(words: str) -> Fleet:
    text = f"defaults\n mode http\nbackend b\n option httpchk\n server s 127.0.0.1:1 check rise 2 fall 3 {words}\n"
    loaded = load_text("test.cfg", text, {}, "2.6")
    targets = TargetBuilder(loaded.config, loaded.dialect, {}, node="node").build(loaded.planned, now_ns=0)
    return Seed(loaded.config, targets, loaded.dialect, 0).grow()


def orders(fleet: Fleet, *traffic: Traffic) -> list[tuple[int, bytes]]:
    """Ceiling and text of what was ordered, for each of these in turn."""
    found = []
    for one in traffic:
        for order in observe(fleet, 0, one).orders:
            assert order.change.observed is not None
            found.append((order.change.observed.ceiling, order.change.observed.text))
    return found


BAD = Traffic.RESPONSE_BAD
TEXT = b"Detected 3 consecutive errors, last one was: Wrong http response"


@pytest.mark.parametrize(
    ("on_error", "ceiling", "text"),
    [("fail-check", 2**31 - 1, TEXT), ("sudden-death", 3, TEXT), ("mark-down", 2, TEXT), ("fastinter", 2**31 - 1, b"")],
)
def test_the_third_error_counts(on_error: str, ceiling: int, text: bytes) -> None:
    fleet = fleet_of(f"observe layer7 error-limit 3 on-error {on_error}")
    assert orders(fleet, BAD, BAD) == []
    assert orders(fleet, BAD) == [(ceiling, text)]
    assert orders(fleet, BAD, BAD) == []  # counted anew
    watch = fleet.servers[0].watch
    assert isinstance(watch, Watch)
    assert watch.limit_reached == 1


def test_a_good_one_forgives() -> None:
    fleet = fleet_of("observe layer7 error-limit 2")
    assert orders(fleet, BAD, Traffic.RESPONSE_OK, BAD) == []
    assert orders(fleet, Traffic.CONNECT_FAILED) == [
        (2**31 - 1, b"Detected 2 consecutive errors, last one was: L4 unsuccessful connection")
    ]


def test_layers() -> None:
    assert orders(fleet_of("observe layer4 error-limit 1"), BAD, Traffic.READ_TIMEOUT, Traffic.CONNECTED) == []
    assert len(orders(fleet_of("observe layer4 error-limit 1"), Traffic.CONNECT_FAILED)) == 1
    layer7 = fleet_of("observe layer7 error-limit 2")
    assert len(orders(layer7, BAD, Traffic.CONNECTED, BAD)) == 1  # a connection alone is no good word there
    assert orders(fleet_of(""), *[BAD] * 20) == []


def test_what_a_status_says() -> None:
    good = [status for status in range(600) if of_status(status) is Traffic.RESPONSE_OK]
    assert good == [*range(100, 500), 501, 505]


@pytest.mark.parametrize(
    ("ceiling", "health", "told"), [(2**31 - 1, 3, True), (3, 2, True), (2, 0, True), (2**31 - 1, 4, False)]
)
def test_the_counter_and_the_next_check(ceiling: int, health: int, told: bool) -> None:
    """Full is 4 of rise 2 fall 3; inter 1s, fastinter 300ms."""
    with Engine(checks_max=4, slots=1, groups=1, gather_us=0, seed=1) as engine:
        check = engine.add(http_program(), spec(health=4, fastinter_ms=300, first_ns=1000 * MS, outside=True))
        assert check is not None
        engine.step(100 * MS)
        assert engine.observed(check, ceiling, TEXT if told else b"")
        events: list[Event] = engine.drain()
        assert [(event.result.status.name, event.result.health, event.result.duration_ms) for event in events] == (
            [("HANA", health, -1)] if told else []
        )
        (record,) = engine.snapshot([check])
        assert record is not None
        assert (record.health, record.fails, record.text) == (health, int(told), TEXT if told else b"")
        engine.step(399 * MS)
        assert engine.drain() == []
        engine.step(401 * MS)
        assert [event.run for event in engine.drain()] == [1]


@pytest.mark.parametrize(("again", "second_ms"), [(False, 1402), (True, 702)])
def test_one_more_check_comes_soon_where_asked_for(again: bool, second_ms: int) -> None:
    """HAProxy 3's: at `fastinter` after the one that traffic asked for, though the counter is full; then as ever."""
    with Engine(checks_max=4, slots=1, groups=1, gather_us=0, seed=1) as engine:
        check = engine.add(http_program(), spec(health=4, fastinter_ms=300, first_ns=1000 * MS, outside=True))
        assert check is not None
        engine.step(100 * MS)
        assert engine.observed(check, 2**31 - 1, b"", again=again)
        for due_ms in (401, second_ms, second_ms + 1001):
            engine.step((due_ms - 2) * MS)
            assert engine.drain() == []
            engine.step(due_ms * MS)
            (event,) = engine.drain()
            assert engine.report(check, event.run, passed(due_ms))
            engine.step(due_ms * MS)
            engine.drain()
