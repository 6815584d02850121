"""The engine with real sockets on loopback: pace, slots, the kept socket, faults of our own, commands, the ring."""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from native_kit import MS, agent_program, http_program, spec, tcp_program
from risefall.config.haproxy.model import Expect, ExpectRule, Place
from risefall.engine import native
from risefall.engine.native import Change, CheckSpec, Endpoint, Engine, Event, Handle, Program
from risefall.engine.play import OK, Act, Door, Player, Then, When, http_reply
from risefall.errors import NativeError
from risefall.status import Status

DEADLINE_S = 20.0
AGENT_UP = Act(b"up\n", when=When.ACCEPT)


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=4096) as made:
        yield made


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(checks_max=64, slots=8, groups=1, gather_us=0, seed=1) as made:
        yield made


def add(engine: Engine, program: Program, port: int, **words: int) -> Handle:
    handle = engine.add(program, spec(port, **({"inter_ms": 20, "first_ns": native.now_ns()} | words)))
    assert handle is not None
    return handle


def pump(engine: Engine, until: Callable[[], bool], seen: list[Event] | None = None) -> list[Event]:
    """Steps an engine without a thread until a condition holds; the events on the way."""
    events = [] if seen is None else seen
    end = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < end, f"it never came true: {engine.statistics()}"
        engine.step(native.now_ns())
        engine.clear()
        events += engine.drain()
    return events


def until_events(engine: Engine, count: int) -> list[Event]:
    events: list[Event] = []
    return pump(engine, lambda: len(events) >= count, events)


def outcome(event: Event) -> tuple[Status, int, int, bytes]:
    result = event.result
    return result.status, result.code, result.health, result.text


@pytest.mark.parametrize(
    ("act", "status", "code", "text"),
    [
        (OK, Status.L7OK, 200, b""),
        (Act(http_reply(503, "Gone")), Status.L7STS, 503, b"Gone"),
        (Act(b"", then=Then.RST), Status.SOCKERR, 0, b"Connection reset by peer"),
        (Act(b"", then=Then.FIN), Status.L7RSP, 0, b""),
        (Act(b"nonsense\r\n"), Status.L7RSP, 0, b""),
        (Act(http_reply(200, "OK"), gap_ms=1), Status.L7OK, 200, b""),
        (Act(b"", when=When.NEVER), Status.L7TOUT, 0, b""),
    ],
)
def test_each_way_to_end(engine: Engine, player: Player, act: Act, status: Status, code: int, text: bytes) -> None:
    _, port = player.listen("127.0.0.1", 0, act)
    add(engine, http_program(), port, inter_ms=200)
    (event, *_) = until_events(engine, 1)
    assert outcome(event)[:2] == (status, code)
    assert event.result.text == text


def test_refused_and_deaf(engine: Engine, player: Player) -> None:
    """Refused at once is L4CON; a full accept queue is L4TOUT at `inter`."""
    for door, status, least_ms in ((Door.REFUSE, Status.L4CON, 0), (Door.DEAF, Status.L4TOUT, 60)):
        listener, port = player.listen("127.0.0.1", 0, OK)
        player.door(listener, door)
        add(engine, tcp_program(), port, inter_ms=60)
        (event, *_) = until_events(engine, 1)
        assert event.result.status is status
        assert event.result.duration_ms >= least_ms


def test_unix_sockets_and_ipv6(engine: Engine, player: Player, tmp_path: os.PathLike[str]) -> None:
    path = os.fspath(tmp_path) + "/backend.sock"
    player.listen(path, 0, OK)
    _, port6 = player.listen("::1", 0, OK)
    for to in (Endpoint(1, path.encode()), Endpoint(6, socket.inet_pton(socket.AF_INET6, "::1"), port6)):
        engine.add(http_program(), CheckSpec(to, inter_ms=200, rise=2, fall=3, health=2, tag=0, first_ns=0))
        (event, *_) = until_events(engine, 1)
        assert event.result.status is Status.L7OK
    gone = CheckSpec(Endpoint(1, path.encode() + b".no"), inter_ms=200, rise=2, fall=3, health=2, tag=0, first_ns=0)
    engine.add(tcp_program(), gone)
    (event, *_) = until_events(engine, 1)
    assert event.result.status is Status.SOCKERR  # as HAProxy calls it: no connection could be made


def test_source_address_is_used(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        to = Endpoint(4, socket.inet_aton("127.0.0.1"), listener.getsockname()[1])
        own = Endpoint(4, socket.inet_aton("127.0.0.7"))
        program = http_program()
        engine.add(program, CheckSpec(to, inter_ms=100, rise=2, fall=3, health=2, tag=0, first_ns=0, source=own))
        (event, *_) = until_events(engine, 1)
        assert event.result.status is Status.L7TOUT
        accepted, peer = listener.accept()
        accepted.close()
    assert peer[0] == "127.0.0.7"


def test_a_plain_connect_is_never_accepted(engine: Engine) -> None:
    """Trap 8, with the kept socket: fifty checks, and accept() has seen none of them."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setblocking(False)
        add(engine, tcp_program(), listener.getsockname()[1], inter_ms=30)
        pump(engine, lambda: engine.statistics().finished >= 50)
        statistics = engine.statistics()
        assert statistics.passed == statistics.finished
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_steady_checks_are_no_news(engine: Engine, player: Player) -> None:
    """A hundred sound checks make one event: the first."""
    _, port = player.listen("127.0.0.1", 0, OK)
    add(engine, http_program(), port, inter_ms=50, check_ms=2000)
    events: list[Event] = []
    pump(engine, lambda: engine.statistics().finished >= 100, events)
    assert [outcome(event) for event in events] == [(Status.L7OK, 200, 4, b"")]
    assert engine.statistics().sockets_kept == 1


def test_the_fall_and_the_rise_are_told_step_by_step(engine: Engine, player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    add(engine, http_program(), port, inter_ms=50, check_ms=2000)
    events = until_events(engine, 1)
    player.script(listener, Act(http_reply(500, "Oh")))
    pump(engine, lambda: len(events) >= 4, events)
    player.script(listener, OK)
    pump(engine, lambda: len(events) >= 6, events)
    assert [(event.result.status, event.result.health) for event in events[:6]] == [
        (Status.L7OK, 4),
        (Status.L7STS, 3),
        (Status.L7STS, 2),
        (Status.L7STS, 0),
        (Status.L7OK, 1),
        (Status.L7OK, 4),
    ]


def test_the_interval_counts_from_completion(engine: Engine, player: Player) -> None:
    """Trap 3: a reply after 40 ms and `inter 60` make a period of 100 ms; fastinter while transitional."""
    listener, port = player.listen("127.0.0.1", 0, Act(http_reply(200, "OK"), delay_ms=40))
    add(engine, http_program(), port, inter_ms=60)
    pump(engine, lambda: engine.statistics().finished >= 6)
    times = player.times_ns(listener)
    gaps = [(b - a) / MS for a, b in itertools.pairwise(times)]
    assert all(98 <= gap < 160 for gap in gaps), gaps


def test_a_late_answer_never_reaches_the_next_check(player: Player) -> None:
    """Slots whose check timed out go on to other checks at once; the late reply of the old must never be theirs."""
    rounds = 100_000
    _, late = player.listen("127.0.0.1", 0, Act(http_reply(599, "FOREIGN", b"foreign"), delay_ms=2))
    _, sound = player.listen("127.0.0.1", 0, Act(http_reply(200, "OK", b"mine")))
    own = ExpectRule(Place("t", 1), 2, Expect.STRING, pattern="mine")
    strict, lax = http_program(own), http_program()
    with Engine(checks_max=128, slots=32, gather_us=0) as engine:
        for _ in range(64):
            add(engine, lax, late, inter_ms=1, tag=1)
        for _ in range(50):
            add(engine, strict, sound, inter_ms=50, tag=2)
        engine.start()
        end = time.monotonic() + 30 + rounds / 200
        while engine.statistics().timed_out < rounds:
            assert time.monotonic() < end
            select.select([engine], [], [], 0.05)
            engine.clear()
            for event in engine.drain():
                late_or_own = (Status.L4TOUT, Status.L7TOUT, Status.L7STS if event.tag == 1 else Status.L7OK)
                assert event.result.status in late_or_own, event
        assert engine.statistics().passed > rounds / 100


@pytest.mark.parametrize("call", range(2))
def test_a_want_of_our_own_does_not_move_the_counter(engine: Engine, player: Player, call: int) -> None:
    """EMFILE at socket(), EADDRNOTAVAIL at connect(): counted, tried again after fastinter, nobody goes down."""
    _, port = player.listen("127.0.0.1", 0, OK)
    engine.inject(call, (errno.EMFILE, errno.EADDRNOTAVAIL)[call], 5)
    add(engine, http_program(), port, inter_ms=1000, fastinter_ms=2)
    (event, *_) = until_events(engine, 1)
    assert outcome(event) == (Status.L7OK, 200, 4, b"")
    statistics = engine.statistics()
    assert statistics.self_blamed == 5
    assert statistics.self_errnos == (("EMFILE", "EADDRNOTAVAIL")[call],)


@pytest.mark.parametrize(("call", "error"), [(2, errno.EPIPE), (3, errno.ECONNRESET), (3, errno.EHOSTUNREACH)])
def test_an_error_of_the_connection_is_the_servers(engine: Engine, player: Player, call: int, error: int) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    engine.inject(call, error, 1)
    add(engine, http_program(), port)
    (event, *_) = until_events(engine, 1)
    assert (event.result.status, event.result.health) == (Status.SOCKERR, 0)
    assert event.result.text.decode() == os.strerror(error)


def test_a_pause_keeps_the_phase_and_sends_nothing(engine: Engine, player: Player) -> None:
    """Spec §2.1: nothing is sent while paused; afterwards the old grid goes on."""
    listener, port = player.listen("127.0.0.1", 0, OK)
    handle = add(engine, http_program(), port, inter_ms=50)
    until_events(engine, 1)
    assert engine.command(handle, Change(paused=True, health=0, epoch=1))
    pump(engine, lambda: engine.snapshot([handle])[0].epoch == 1)  # type: ignore[union-attr]
    before = engine.statistics().finished
    wait = native.now_ns() + 160 * MS
    pump(engine, lambda: native.now_ns() > wait)
    assert engine.statistics().finished == before
    assert engine.command(handle, Change(paused=False, health=2, epoch=2, touched=True))
    (event, *_) = until_events(engine, 1)
    assert (event.result.epoch, event.result.health, event.result.touched) == (2, 4, True)
    first, second = player.times_ns(listener)
    off_grid = (second - first) / MS % 50
    assert min(off_grid, 50 - off_grid) < 8


def test_a_result_after_disabling_counts_for_nothing(engine: Engine, player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"down\n", when=When.ACCEPT, delay_ms=40))
    handle = add(engine, agent_program(), port, inter_ms=500, rise=1, fall=1, health=1)
    pump(engine, lambda: engine.statistics().in_flight == 1)
    assert engine.command(handle, Change(enabled=False, epoch=7))
    events = pump(engine, lambda: engine.statistics().finished == 1)
    assert events == []
    record = engine.snapshot([handle])[0]
    assert record is not None
    assert (record.health, record.status) == (1, Status.INI)


def test_a_peer_that_speaks_first_is_not_kept_waiting(engine: Engine, player: Player) -> None:
    """The handshake's ACK is withheld only where something follows at once: an agent answers within a millisecond or so."""
    _, port = player.listen("127.0.0.1", 0, AGENT_UP)
    add(engine, agent_program(), port, inter_ms=50, check_ms=2000, rise=1, fall=1, health=1)
    pump(engine, lambda: engine.statistics().finished >= 50)
    assert engine.statistics().duration.percentile_us(50) < 10_000
    assert engine.statistics().passed >= 45


def test_the_same_agent_line_acts_again_only_when_touched(engine: Engine, player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, Act(b"50% drain up\n", when=When.ACCEPT))
    handle = add(engine, agent_program(), port, inter_ms=50, check_ms=2000, rise=1, fall=1, health=1)
    events = until_events(engine, 1)
    pump(engine, lambda: player.counts(listener).accepts > 20, events)
    assert len(events) == 1
    assert engine.command(handle, Change(touched=True))
    pump(engine, lambda: len(events) == 2, events)
    assert (events[1].result.weight, events[1].result.touched) == (50, True)


def test_a_full_ring_loses_lines_but_no_state(player: Player) -> None:
    """Events that find the ring full are counted; the records behind the dirty bits tell where things stand."""
    _, port = player.listen("127.0.0.1", 0, Act(http_reply(500, "Oh")))
    with Engine(checks_max=200, slots=64, ring_len=4, gather_us=0) as engine:
        handles = [add(engine, http_program(), port, inter_ms=1000, tag=index) for index in range(100)]
        end = time.monotonic() + DEADLINE_S
        while engine.statistics().finished < 100:
            assert time.monotonic() < end
            engine.step(native.now_ns())
        statistics = engine.statistics()
        assert (statistics.events, statistics.events_dropped) == (4, 96)
        drained = [event.check for event in engine.drain()]
        dirty: list[Handle] = []
        while more := engine.drain_dirty():
            dirty += more
        assert sorted(drained + dirty) == sorted(handles)
        assert all(record and record.health == 0 and record.status is Status.L7STS for record in engine.snapshot(dirty))


def test_removed_checks_are_gone_and_their_handles_stale(engine: Engine, player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    program = http_program()
    for _ in range(3):
        handles = [add(engine, program, port, inter_ms=1) for _ in range(64)]
        with pytest.raises(NativeError, match="no room"):
            engine.add(program, spec(port))
        pump(engine, lambda: engine.statistics().finished >= 10)
        assert all(engine.remove(handle) for handle in handles)
        pump(engine, lambda: engine.statistics().checks == 0)
        assert engine.snapshot(handles) == [None] * 64


def test_a_new_address_is_checked_at_once_and_the_old_run_is_void(engine: Engine, player: Player) -> None:
    deaf, old = player.listen("127.0.0.1", 0, OK)
    player.door(deaf, Door.DEAF)
    _, new = player.listen("127.0.0.1", 0, OK)
    handle = add(engine, http_program(), old, inter_ms=5000)
    pump(engine, lambda: engine.statistics().in_flight == 1)
    assert engine.command(handle, Change(to=Endpoint(4, socket.inet_aton("127.0.0.1"), new), epoch=3))
    (event, *_) = until_events(engine, 1)
    assert (event.result.status, event.result.epoch) == (Status.L7OK, 3)


def test_a_new_address_may_keep_the_pace(engine: Engine, player: Player) -> None:
    """The run under way ends where it began, the next one goes to the new place when it is due."""
    _, old = player.listen("127.0.0.1", 0, Act(OK.reply, delay_ms=100))
    _, new = player.listen("127.0.0.1", 0, Act(http_reply(503, "Busy")))
    handle = add(engine, http_program(), old, inter_ms=200)
    pump(engine, lambda: engine.statistics().in_flight == 1)
    assert engine.command(handle, Change(to=Endpoint(4, socket.inet_aton("127.0.0.1"), new), keep_pace=True))
    first, second = until_events(engine, 2)
    assert (first.result.status, second.result.status) == (Status.L7OK, Status.L7STS)


def test_a_dead_rack_does_not_stop_the_living(player: Player) -> None:
    """Far more silent servers than slots: the sound ones are still checked, late by the second that a doubt lasts."""
    deaf, dead = player.listen("127.0.0.1", 0, OK)
    player.door(deaf, Door.DEAF)
    _, sound = player.listen("127.0.0.1", 0, OK)
    with Engine(checks_max=100, slots=8, gather_us=0) as engine:
        for _ in range(40):
            add(engine, http_program(), dead, inter_ms=60_000, tag=0)
        for _ in range(10):
            add(engine, http_program(), sound, inter_ms=100, tag=1)
        engine.start()
        readings = []
        for passed in (50, 250):
            end = time.monotonic() + DEADLINE_S
            while engine.statistics().passed < passed:
                assert time.monotonic() < end, engine.statistics()
                select.select([engine], [], [], 0.05)
            readings.append(engine.statistics())
    known, later = readings
    assert later.suspects_in_flight <= 4
    assert later.evicted >= 4
    assert later.late.since(known.late).percentile_us(90) < 500_000


def test_idle_engines_sleep(player: Player) -> None:
    """Ten servers at `inter 1s`: under twenty wake-ups a second beyond those of the checks' own bytes."""
    _, port = player.listen("127.0.0.1", 0, OK)
    with Engine(checks_max=16, slots=16) as engine:
        for index in range(10):
            add(engine, http_program(), port, inter_ms=1000, first_ns=native.now_ns() + index * 100 * MS)
        engine.start()
        done = threading.Event()
        done.wait(2.0)  # the thing measured is how often nothing wakes it in a span of real time
        statistics = engine.statistics()
    assert statistics.finished >= 10
    assert statistics.wakeups < 2 * 20 + 4 * statistics.finished


def test_a_stop_right_behind_commands_ends_the_thread(player: Player) -> None:
    """The step that takes the last command may take the wake-up of the stop with it: the thread must not sleep then."""
    _, port = player.listen("127.0.0.1", 0, OK)
    ended = threading.Event()

    def many() -> None:
        for _ in range(2000):
            with Engine(checks_max=64, slots=8, groups=1, gather_us=0, seed=1) as engine:
                handle = add(engine, http_program(), port, paused=True)
                engine.start()
                engine.remove(handle)
        ended.set()

    threading.Thread(target=many, daemon=True).start()  # it would hang in C: only a daemon lets the tests go on
    assert ended.wait(DEADLINE_S), "an engine's thread slept through its end"
