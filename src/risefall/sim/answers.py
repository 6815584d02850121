"""What a run says of each server: detection, recovery, false alarms, traffic to the dead, opinions that differ."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from risefall.sim.weather import Interval

NS_PER_S = 1_000_000_000
MONTH_S = 30 * 86400


class Spread(msgspec.Struct, frozen=True):
    """Seconds; None where nothing was seen. count: how many."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p99: float | None = None
    worst: float | None = None


class Row(msgspec.Struct, frozen=True):
    """One server. outages: times that it was down in truth; missed: of those that some balancer never saw, one each.

    detection, recovery: seconds from the truth to the word. false_downs: DOWN while it was not, in all; per month and
    balancer as a rate. dead_minutes, spared_minutes: per month and balancer, UP while dead and DOWN while sound.
    """

    backend: str
    server: str
    outages: int
    missed: int
    detection: Spread
    recovery: Spread
    false_downs: int
    false_per_month: float
    dead_minutes: float
    spared_minutes: float
    checks_per_s: float
    checks_peak_per_s: int
    two_opinions_s: float
    note: str = ""


class Opinion(msgspec.Struct):
    """What one balancer held of one server: (ns, up, since ns), from UP on."""

    turns: list[tuple[int, bool, int]]

    def up_at(self, at_ns: int) -> bool:
        """Whether it was UP then."""
        index = bisect_right(self.turns, at_ns, key=lambda turn: turn[0])
        return self.turns[index - 1][1] if index else True

    def after(self, at_ns: int, up: bool) -> tuple[int, int] | None:
        """The first turn to this at or after a time, and since when it was on its way."""
        index = bisect_right(self.turns, at_ns - 1, key=lambda turn: turn[0])
        return next(((at, since) for at, is_up, since in self.turns[index : index + 3] if is_up is up), None)

    def ups(self, span_ns: int) -> list[Interval]:
        """When it was UP."""
        out, since, up = [], 0, True
        for at, is_up, _ in self.turns:
            if up and not is_up:
                out.append((since, min(at, span_ns)))
            since, up = at, is_up
        return [*out, (since, span_ns)] if up and since < span_ns else out


def spread(values: Sequence[float]) -> Spread:
    """Of values in seconds."""
    if not values:
        return Spread(0)
    ranked = sorted(values)
    at = [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.99)]
    return Spread(len(ranked), sum(ranked) / len(ranked), at[0], at[1], ranked[-1])


def overlap(one: Sequence[Interval], other: Sequence[Interval]) -> int:
    """How long both hold; each without overlaps of its own and rising."""
    total = i = j = 0
    while i < len(one) and j < len(other):
        total += max(0, min(one[i][1], other[j][1]) - max(one[i][0], other[j][0]))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return total


def split_ns(opinions: Sequence[Opinion], span_ns: int) -> int:
    """How long not all held the same."""
    edges = sorted((at, up) for opinion in opinions for at, up, _ in opinion.turns)
    up, total, since = len(opinions), 0, 0
    for at, is_up in edges:
        if 0 < up < len(opinions):
            total += max(0, min(at, span_ns) - since)
        up += 1 if is_up else -1
        since = min(at, span_ns)
    return total + (span_ns - since if 0 < up < len(opinions) else 0)


class Seen(msgspec.Struct):
    """What all balancers saw of one server: raw values, from which a row is made."""

    detection: list[float] = []
    recovery: list[float] = []
    missed: int = 0
    false_downs: int = 0
    dead_ns: int = 0
    spared_ns: int = 0
    split_ns: int = 0


def look(opinions: Sequence[Opinion], dead: Sequence[Interval], span_ns: int) -> Seen:
    """Compares what was held with what was true."""
    seen = Seen([], [])
    dead = [(begin, min(end, span_ns)) for begin, end in dead if begin < span_ns]
    whole = sum(end - begin for begin, end in dead)
    for opinion in opinions:
        for index, (begin, end) in enumerate(dead):
            following = dead[index + 1][0] if index + 1 < len(dead) else span_ns
            if opinion.up_at(begin):
                down = opinion.after(begin, up=False)
                if down is None or down[1] >= end:
                    seen.missed += down is not None or end < span_ns
                    continue
                seen.detection.append((down[0] - begin) / NS_PER_S)
                end = max(end, down[0]) if down[0] > end else end
            back = opinion.after(end, up=True)
            if back is not None and back[0] <= following:
                seen.recovery.append((back[0] - dead[index][1]) / NS_PER_S)
        for at, up, since in opinion.turns:
            if not up:
                index = bisect_right(dead, at, key=lambda one: one[0])
                seen.false_downs += not (index and dead[index - 1][1] > since)
        ups = opinion.ups(span_ns)
        held = overlap(ups, dead)
        seen.dead_ns += held
        seen.spared_ns += span_ns - sum(end - begin for begin, end in ups) - (whole - held)
    seen.split_ns = split_ns(opinions, span_ns)
    return seen
