"""The face of native/sim.c: checks in virtual time over a network that is only computed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native import Owned, refusal
from risefall.status import Status, Verdict

EVENTS_MAX = 8192
CHANCE = 1 << 32
"""Chances are told to C in this unit."""
US_MAX = 0xFFFFFFFF
NEVER = (1 << 64) - 1


class Kind(IntEnum):
    """What a server, or the way to it, is like for a while. HUNG accepts and says nothing, WRONG answers badly."""

    PLAIN = lib.RF_SIM_PLAIN
    REFUSED = lib.RF_SIM_REFUSED
    SILENT = lib.RF_SIM_SILENT
    HUNG = lib.RF_SIM_HUNG
    WRONG = lib.RF_SIM_WRONG


class End(IntEnum):
    """How a check can end, in the order in which a class tells its verdicts."""

    SILENT = lib.RF_SIM_END_SILENT
    REFUSED = lib.RF_SIM_END_REFUSED
    HUNG = lib.RF_SIM_END_HUNG
    RESET = lib.RF_SIM_END_RESET
    WRONG = lib.RF_SIM_END_WRONG
    GOOD = lib.RF_SIM_END_GOOD


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """From begin_ns until the next stretch begins. loss: of one packet; wrong: of a reply; both 0.0 to 1.0."""

    begin_ns: int
    kind: Kind = Kind.PLAIN
    slow_pct: int = 100
    loss: float = 0.0
    wrong: float = 0.0


class Class(msgspec.Struct, frozen=True):
    """What checks have in common; see `rf_sim_class`. ends: verdict and status of each `End`, in its order."""

    inter_ms: int
    rise: int
    fall: int
    connect_limit_ns: int
    reply_floor_ns: int
    reply_after_ns: int
    ends: tuple[tuple[Verdict, Status], ...]
    fastinter_ms: int = 0
    downinter_ms: int = 0
    spread_pct: int = 0
    trips: int = 1
    connect_only: bool = False
    agent: bool = False

    @property
    def plain_limit_ns(self) -> int:
        """What is over by then, from the start on, has met every limit."""
        reply_ns = max(self.reply_floor_ns, self.reply_after_ns)
        return self.connect_limit_ns if self.connect_only else min(self.connect_limit_ns, reply_ns)


class Turn(msgspec.Struct, frozen=True, gc=False):
    """A check turned good or bad. since_ns: start of the first check of the streak that did it."""

    done_ns: int
    since_ns: int
    check: int
    status: Status
    good: bool


class Wired(msgspec.Struct, frozen=True):
    """What the network does with one check; NEVER where nothing comes."""

    connect_ns: int
    refused: bool
    reply_ns: int
    reply: End


class Tally(msgspec.Struct, frozen=True):
    """Of one check; the peaks are the most that began within one second, of its server and of its prober."""

    checks: int
    fails: int
    server_peak: int
    prober_peak: int
    health: int


class Latency:
    """Quantiles ready for C: how long something takes, in microseconds."""

    def __init__(self, levels: Sequence[Sequence[int]]) -> None:
        """levels: at u = i/1024, then within the last step, then within that one's last step; i = 0 .. 1024."""
        self.pointer = ffi.new("rf_sim_latency *", {"us": [list(level) for level in levels]})


class Stretches:
    """A list of stretches ready for C, so that many simulations share it."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self.count = len(stretches)
        self.pointer = ffi.new(
            "rf_sim_stretch[]",
            [(one.begin_ns, one.kind, one.slow_pct, chance(one.loss), chance(one.wrong)) for one in stretches],
        )


def chance(share: float) -> int:
    """A chance as C has it."""
    return min(CHANCE - 1, max(0, round(share * CHANCE)))


def counter_after(health: int, rise: int, fall: int, verdict: Verdict, status: Status, *, agent: bool) -> int:
    """The counter behind a result (`rf_counter_after`)."""
    return int(lib.rf_counter_after(health, rise, fall, verdict, status, agent))


def counter_pace(health: int, rise: int, fall: int, inter_ms: int, fastinter_ms: int, downinter_ms: int) -> int:
    """Milliseconds until the next check (`rf_counter_pace`)."""
    return int(lib.rf_counter_pace(health, rise, fall, inter_ms, fastinter_ms, downinter_ms))


class Simulation(Owned):
    """Servers, probers and their checks. Build it, then run it forward; one thread."""

    def __init__(self, *, checks: int, servers: int, probers: int, classes: int, latencies: int, seed: int) -> None:
        """Raises NativeError."""
        options = {
            "checks_max": checks,
            "servers": servers,
            "probers": probers,
            "classes_max": classes,
            "latencies_max": latencies,
            "seed": seed & NEVER,
        }
        super().__init__(lib.rf_sim_open(ffi.new("rf_sim_options *", options)), lib.rf_sim_close, "simulation")
        self._events = ffi.new("rf_sim_event[]", EVENTS_MAX)

    def add_latency(self, latency: Latency) -> int:
        """Its number. Raises NativeError."""
        return self._number(lib.rf_sim_latency_add(self._pointer, latency.pointer))

    def add_class(self, klass: Class, connect_latency: int, reply_latency: int) -> int:
        """Its number. Raises NativeError."""
        raw = ffi.new("rf_sim_class *")
        for name in (
            "inter_ms", "fastinter_ms", "downinter_ms", "rise", "fall", "spread_pct", "connect_limit_ns",
            "reply_floor_ns", "reply_after_ns", "plain_limit_ns", "trips", "connect_only", "agent",
        ):  # fmt: skip
            setattr(raw, name, getattr(klass, name))
        raw.connect_latency, raw.reply_latency = connect_latency, reply_latency
        for end, (verdict, status) in enumerate(klass.ends):
            raw.verdict[end], raw.status[end] = verdict, status
        return self._number(lib.rf_sim_class_add(self._pointer, raw))

    def server(self, server: int, stretches: Stretches) -> None:
        """What befalls a server. Raises NativeError."""
        self._number(lib.rf_sim_server(self._pointer, server, stretches.pointer, stretches.count))

    def way(self, prober: int, stretches: Stretches) -> None:
        """What befalls everything that a prober sends. Raises NativeError."""
        self._number(lib.rf_sim_way(self._pointer, prober, stretches.pointer, stretches.count))

    def add(self, *, server: int, prober: int, klass: int, first_ms: int, health: int) -> int:
        """A check's number. Raises NativeError."""
        check = {"server": server, "prober": prober, "klass": klass, "first_ms": first_ms, "health": health}
        return self._number(lib.rf_sim_add(self._pointer, ffi.new("rf_sim_check *", check)))

    def restart(self, check: int, first_ms: int, health: int) -> None:
        """Its prober begins anew. Raises NativeError."""
        self._number(lib.rf_sim_restart(self._pointer, check, first_ms, health))

    def watch(self, from_ms: int, bin_ms: int, bins: int) -> None:
        """Counts the checks that begin from then on. Raises NativeError."""
        self._number(lib.rf_sim_watch(self._pointer, from_ms, bin_ms, bins))

    def bins(self, count: int) -> list[int]:
        """What `watch` counted."""
        room = ffi.new("uint64_t[]", count)
        return list(room[0 : lib.rf_sim_bins(self._pointer, room, count)])

    def run(self, until_ms: int) -> list[Turn]:
        """Lets every check begin that is due before then, or fewer where there is much news: look at `now_ms`."""
        told = self._number(lib.rf_sim_run(self._pointer, until_ms, self._events, EVENTS_MAX))
        events = self._events
        return [
            Turn(raw.done_ns, raw.since_ns, raw.check, Status(raw.status), bool(raw.good))
            for raw in (events[i] for i in range(told))
        ]

    @property
    def now_ms(self) -> int:
        """Every check that was due before has begun."""
        return int(lib.rf_sim_now_ms(self._pointer))

    @property
    def checks(self) -> int:
        """How many were made so far."""
        return int(lib.rf_sim_checks(self._pointer))

    def tally(self, check: int) -> Tally:
        """Counts of one check. Raises NativeError."""
        raw = ffi.new("rf_sim_tally *")
        self._number(lib.rf_sim_tally_read(self._pointer, check, raw))
        return Tally(raw.checks, raw.fails, raw.server_peak, raw.prober_peak, raw.health)

    def wired(self, check: int, count: int, start_ns: int) -> Wired:
        """What the network does with the count-th check, from 0, that starts then. Only before the first `run`."""
        raw = ffi.new("rf_sim_wire *")
        self._number(lib.rf_sim_wired(self._pointer, check, count, start_ns, raw))
        return Wired(raw.connect_ns, bool(raw.refused), raw.reply_ns, End(raw.reply))

    def pause(self, check: int, count: int, pace_ms: int) -> int:
        """The interval after it, with its spread. Raises NativeError."""
        out = ffi.new("int64_t *")
        self._number(lib.rf_sim_pause(self._pointer, check, count, pace_ms, out))
        return int(out[0])

    def _number(self, result: Any) -> int:
        if result < 0:
            raise refusal("simulation")
        return int(result)
