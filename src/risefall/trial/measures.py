"""What a trial has measured: values, quantiles, and the summary that tables, JSON and pictures are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from risefall.engine.recorded import Histogram
from risefall.trial.sound import Fault

EDGES_US = tuple(round(10 ** (step / 10)) for step in range(10, 71))
"""Of recorded latencies: ten a decade, 10 us to 10 s."""


class Finding(msgspec.Struct, frozen=True):
    """One failure that was injected. Times are monotonic ns; None: not seen before its limit or the end.

    down_ns, up_ns: of each checker, when it said DOWN after the failure and UP after the repair.
    gave_up: it waited for DOWN as long as the configuration could need, and a little.
    """

    server: str
    fault: Fault
    broken_ns: int
    repaired_ns: int | None
    down_ns: tuple[int | None, ...]
    up_ns: tuple[int | None, ...]
    gave_up: bool = False

    def detections_s(self) -> list[float]:
        return [(at - self.broken_ns) / 1e9 for at in self.down_ns if at is not None]

    def recoveries_s(self) -> list[float]:
        return [(at - self.repaired_ns) / 1e9 for at in self.up_ns if at is not None and self.repaired_ns is not None]

    def two_opinions_s(self) -> float | None:
        """Between the first and the last checker that said DOWN; None unless all did."""
        seen = [at for at in self.down_ns if at is not None]
        return (max(seen) - min(seen)) / 1e9 if len(seen) == len(self.down_ns) > 1 else None


class Failure(msgspec.Struct, frozen=True, tag="failure", tag_field="event"):
    """One injected failure as `--json` prints it; of each checker, in seconds."""

    program: str
    server: str
    fault: str
    detection_s: list[float]
    recovery_s: list[float]
    seen: bool


def failure_of(program: str, one: Finding) -> Failure:
    return Failure(program, one.server, one.fault.value, one.detections_s(), one.recoveries_s(), not one.gave_up)


class Quantiles(msgspec.Struct, frozen=True):
    """Of a set of values; None for all of an empty one."""

    count: int
    least: float | None = None
    median: float | None = None
    p99: float | None = None
    worst: float | None = None


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value with at least this share of the values at or below it."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantiles(values: Sequence[float]) -> Quantiles:
    if not values:
        return Quantiles(0)
    ordered = sorted(values)
    return Quantiles(len(ordered), ordered[0], quantile(ordered, 0.5), quantile(ordered, 0.99), ordered[-1])


class Backend(msgspec.Struct, frozen=True):
    """What one backend's servers got: connections and bytes (both ways) a second of one server, on average and at most.

    None where that cannot be seen: a check that only connects is reset before `accept()` returns. busiest_100ms: most
    connections that came to one server within 100 ms.
    """

    name: str
    servers: int
    connections_per_s: float | None
    connections_per_s_worst: float | None
    bytes_per_s: float | None
    busiest_100ms: int | None


class Result(msgspec.Struct, frozen=True):
    """One program's trial. checks: that backends accepted; where they see none (connect-only), those that risefall counted.

    late_s: at the backends, from when a check was due until it was accepted; None where that cannot be seen.
    took_s: as a sound backend saw it, from accept to the end of the connection. load: connections in each `load_step_s`.
    late_inside_us: p50, p99 (worst second), worst, as risefall measures itself. false_downs: without a failure.
    cut_short: it did not last as long as it was to.
    """

    program: str
    balancers: int
    span_s: float
    findings: tuple[Finding, ...]
    checks: int
    cpu_us_per_check: float | None
    memory_bytes: int
    late_s: tuple[float, ...] | None
    took_s: tuple[float, ...]
    load_step_s: float
    load: tuple[int, ...]
    backends: tuple[Backend, ...]
    late_inside_us: tuple[int, int, int] | None = None
    false_downs: int = 0
    notes_lost: int = 0
    cut_short: bool = False

    def detections_s(self, fault: Fault | None = None) -> list[float]:
        return [s for one in self.findings if fault in (None, one.fault) for s in one.detections_s()]

    def recoveries_s(self, fault: Fault | None = None) -> list[float]:
        return [s for one in self.findings if fault in (None, one.fault) for s in one.recoveries_s()]

    def missed(self, fault: Fault | None = None) -> int:
        """Failures that nobody saw although there was time."""
        return sum(one.gave_up for one in self.findings if fault in (None, one.fault))

    def two_opinions_s(self) -> list[float]:
        return [s for one in self.findings if (s := one.two_opinions_s()) is not None]

    def faults(self) -> list[Fault]:
        seen = {one.fault for one in self.findings}
        return [fault for fault in Fault if fault in seen]


def histogram(values_s: Sequence[float]) -> Histogram:
    """What lies outside of the edges counts in the first or the last of them."""
    counts = [0] * (len(EDGES_US) - 1)
    for value in values_s:
        us = value * 1e6
        place = sum(1 for edge in EDGES_US[1:-1] if us >= edge)
        counts[place] += 1
    return Histogram("us", EDGES_US, tuple(counts))


class FaultSummary(msgspec.Struct, frozen=True):
    """detection_s, recovery_s: over all checkers."""

    fault: str
    injected: int
    missed: int
    detection_s: Quantiles
    recovery_s: Quantiles


class Summary(msgspec.Struct, frozen=True, tag="summary", tag_field="event"):
    """What `--json` prints of a program."""

    program: str
    balancers: int
    span_s: float
    injected: int
    missed: int
    detection_s: Quantiles
    recovery_s: Quantiles
    two_opinions_s: Quantiles
    faults: tuple[FaultSummary, ...]
    checks: int
    cpu_us_per_check: float | None
    memory_bytes: int
    late_s: Quantiles | None
    took_s: Quantiles
    late_inside_us: tuple[int, int, int] | None
    backends: tuple[Backend, ...]
    false_downs: int
    cut_short: bool


def summary_of(result: Result) -> Summary:
    faults = tuple(
        FaultSummary(
            fault.value,
            sum(one.fault is fault for one in result.findings),
            result.missed(fault),
            quantiles(result.detections_s(fault)),
            quantiles(result.recoveries_s(fault)),
        )
        for fault in result.faults()
    )
    return Summary(
        result.program,
        result.balancers,
        round(result.span_s, 3),
        len(result.findings),
        result.missed(),
        quantiles(result.detections_s()),
        quantiles(result.recoveries_s()),
        quantiles(result.two_opinions_s()),
        faults,
        result.checks,
        result.cpu_us_per_check,
        result.memory_bytes,
        quantiles(result.late_s) if result.late_s is not None else None,
        quantiles(result.took_s),
        result.late_inside_us,
        result.backends,
        result.false_downs,
        result.cut_short,
    )
