"""Latencies as quantiles: C draws by look-up, so that no distribution costs more than another."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import assert_never

from risefall.engine.simulated import US_MAX, Latency
from risefall.sim import scenario
from risefall.sim.scenario import Shape

CELLS, LEVELS = 1024, 3
LAST = 1 - 2.0**-40
"""Where the last quantile is taken: a normal has none at 1."""


def quantile(latency: scenario.Latency) -> Callable[[float], float]:
    """Milliseconds below which this share of all lies."""
    match latency.shape:
        case Shape.CONSTANT:
            return lambda u: latency.median
        case Shape.NORMAL:
            normal = NormalDist(latency.median, latency.sigma or 1e-9)
            return lambda u: max(0.0, normal.inv_cdf(u)) if u > 0 else 0.0
        case Shape.LOGNORMAL:
            plain = NormalDist()
            return lambda u: latency.median * math.exp(latency.sigma * plain.inv_cdf(u)) if u > 0 else 0.0
        case Shape.PARETO:
            return lambda u: latency.median * float((1 - u) ** (-1 / latency.alpha))
        case Shape.HISTOGRAM:
            return evenly(latency.points) if latency.even else stepped(latency.points)
    assert_never(latency.shape)


def stepped(points: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    """The recorded value at a share: each point holds its count."""
    total = sum(count for _, count in points)
    edges = [part / total for part in accumulate(count for _, count in points)]

    def at(u: float) -> float:
        return next((ms for (ms, _), edge in zip(points, edges, strict=True) if u < edge), points[-1][0])

    return at


def evenly(points: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    """The same where a count lies evenly between the point before and its own; the first point is where they begin."""
    total = sum(count for _, count in points)
    edges = [part / total for part in accumulate(count for _, count in points)]

    def at(u: float) -> float:
        place = bisect_left(edges, u)
        if place in (0, len(points)):
            return points[min(place, len(points) - 1)][0]
        low, share = points[place - 1][0], edges[place] - edges[place - 1]
        return low + (points[place][0] - low) * ((u - edges[place - 1]) / share if share else 1.0)

    return at


@lru_cache(maxsize=64)
def levels(latency: scenario.Latency) -> tuple[tuple[int, ...], ...]:
    """Quantiles in microseconds at the steps that native/sim.c looks up."""
    at = quantile(latency)
    out = []
    low = 0.0
    for level in range(LEVELS):
        width = CELLS ** -(level + 1)
        out.append(tuple(min(US_MAX, round(at(min(low + i * width, LAST)) * 1000)) for i in range(CELLS + 1)))
        low = 1 - width
    return tuple(out)


def prepared(latency: scenario.Latency) -> Latency:
    """Ready for C."""
    return Latency(levels(latency))
