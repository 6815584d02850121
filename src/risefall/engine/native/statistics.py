"""What an engine counts: copies of `rf_statistics` and of its histograms."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from risefall.engine._native import lib


class Histogram(msgspec.Struct, frozen=True):
    """Log-linear counts of microseconds; `edges_us[i]` is the upper edge of `counts[i]`."""

    count: int
    sum_us: int
    max_us: int
    counts: list[int]

    def percentile_us(self, percent: float) -> int:
        """Upper edge of the bucket in which the percentile lies; 0 when nothing was counted."""
        if not self.count:
            return 0
        left = self.count * percent / 100
        for bucket, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return min(int(lib.rf_bucket_us(bucket)), self.max_us)
        return self.max_us

    def since(self, before: Histogram) -> Histogram:
        """What came after an earlier reading; max_us is exact when it is a new one, else the edge of its bucket."""
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        span = Histogram(self.count - before.count, self.sum_us - before.sum_us, self.max_us, counts)
        if self.max_us > before.max_us:
            return span
        return msgspec.structs.replace(span, max_us=span.percentile_us(100))


class Statistics(msgspec.Struct, frozen=True):
    """`rf_statistics`; self_errnos are the errno names of wants of our own."""

    started: int
    finished: int
    passed: int
    failed: int
    neutral: int
    self_blamed: int
    timed_out: int
    evicted: int
    events: int
    events_dropped: int
    commands: int
    wakeups: int
    polls: int
    checks: int
    slots: int
    in_flight: int
    suspects_in_flight: int
    waiting: int
    sockets_kept: int
    self_errnos: tuple[str, ...]
    late: Histogram
    late_suspect: Histogram
    duration: Histogram


def read_histogram(raw: Any) -> Histogram:
    """A copy of an `rf_histogram`."""
    return Histogram(raw.count, raw.sum_us, raw.max_us, list(raw.buckets))


def read_statistics(raw: Any) -> Statistics:
    """A copy of an `rf_statistics`."""
    numbers = [bit + 64 * word for word in range(8) for bit in range(64) if raw.self_errno[word] >> bit & 1]
    plain = [
        field
        for field in Statistics.__struct_fields__
        if field not in ("self_errnos", "late", "late_suspect", "duration")
    ]
    return Statistics(
        **{field: getattr(raw, field) for field in plain},
        self_errnos=tuple(errno.errorcode.get(number, str(number)) for number in numbers),
        late=read_histogram(raw.late),
        late_suspect=read_histogram(raw.late_suspect),
        duration=read_histogram(raw.duration),
    )
