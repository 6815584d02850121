"""What `run --stats` tells: how many checks, how late, how long, and that they cost Python nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from risefall.engine.native import Histogram, Statistics


class Reading(msgspec.Struct, frozen=True):
    """One line of `--stats`: counts are since the line before, times are microseconds, `span_s` its length."""

    span_s: float
    checks: int
    checks_per_s: float
    passed: int
    failed: int
    timed_out: int
    evicted: int
    self_blamed: int
    events: int
    events_dropped: int
    in_flight: int
    waiting: int
    slots: int
    servers_checked: int
    late_p50_us: int
    late_p99_us: int
    late_max_us: int
    late_suspect_p99_us: int
    duration_p50_us: int
    duration_p99_us: int
    wakeups: int
    python_events: int
    """Events that Python has handled: in a steady state none, whatever the number of checks."""


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """Several workers' counts as one."""
    counts = [sum(column) for column in zip(*(one.counts for one in histograms), strict=True)]
    return Histogram(
        sum(one.count for one in histograms),
        sum(one.sum_us for one in histograms),
        max(one.max_us for one in histograms),
        counts,
    )


def zero_like(one: Statistics) -> Statistics:
    """A reading in which nothing has happened yet."""
    empty = Histogram(0, 0, 0, [0] * len(one.late.counts))
    plain = {
        name: 0
        for name in Statistics.__struct_fields__
        if name not in ("self_errnos", "late", "late_suspect", "duration")
    }
    return Statistics(**plain, self_errnos=(), late=empty, late_suspect=empty, duration=empty)


class Gauge:
    """Turns readings of the workers' counters into what happened between two of them."""

    def __init__(self, start: Sequence[Statistics]) -> None:
        self._before = [zero_like(one) for one in start]
        self._python_events = 0

    def read(self, now: Sequence[Statistics], span_s: float, python_events: int) -> Reading:
        """The span that ends now. python_events: all that Python has handled since the start."""
        pairs = list(zip(now, self._before, strict=True))

        def grown(name: str) -> int:
            return sum(getattr(new, name) - getattr(old, name) for new, old in pairs)

        def shape(name: str) -> Histogram:
            return merged([getattr(new, name).since(getattr(old, name)) for new, old in pairs])

        late, duration, finished = shape("late"), shape("duration"), grown("finished")
        reading = Reading(
            span_s=round(span_s, 3),
            checks=finished,
            checks_per_s=round(finished / span_s, 1) if span_s > 0 else 0.0,
            passed=grown("passed"),
            failed=grown("failed"),
            timed_out=grown("timed_out"),
            evicted=grown("evicted"),
            self_blamed=grown("self_blamed"),
            events=grown("events"),
            events_dropped=grown("events_dropped"),
            in_flight=sum(one.in_flight for one in now),
            waiting=sum(one.waiting for one in now),
            slots=sum(one.slots for one in now),
            servers_checked=sum(one.checks for one in now),
            late_p50_us=late.percentile_us(50),
            late_p99_us=late.percentile_us(99),
            late_max_us=late.max_us,
            late_suspect_p99_us=shape("late_suspect").percentile_us(99),
            duration_p50_us=duration.percentile_us(50),
            duration_p99_us=duration.percentile_us(99),
            wakeups=grown("wakeups"),
            python_events=python_events - self._python_events,
        )
        self._before = list(now)
        self._python_events = python_events
        return reading


def show_reading(reading: Reading) -> str:
    """One line for a person."""
    return (
        f"stats: {reading.checks_per_s:g} checks/s ({reading.passed} passed, {reading.failed} failed, "
        f"{reading.timed_out} timed out) | late p50 {ms(reading.late_p50_us)} p99 {ms(reading.late_p99_us)} "
        f"max {ms(reading.late_max_us)} | took p50 {ms(reading.duration_p50_us)} p99 {ms(reading.duration_p99_us)} | "
        f"{reading.in_flight}/{reading.slots} slots, {reading.waiting} waiting | {reading.python_events} events for "
        f"{reading.checks} checks" + (f" | {reading.events_dropped} events dropped" if reading.events_dropped else "")
    )


def ms(us: int) -> str:
    """Microseconds as milliseconds for a person."""
    return f"{us / 1000:.1f} ms"
