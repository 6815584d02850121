"""The arithmetic of weights: straight lines between points, ways to combine, and how a weight may move in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import assert_never

from risefall.agent.settings import Combine, Curve

FULL_PCT = 100.0
NEAR_PCT = 0.5


def at(curve: Curve, value: float) -> float:
    """The height of a curve: straight between its points, level before the first and after the last.

    Args: curve: one point or more, rising in value; value: not NaN.
    """
    if value <= curve[0][0]:
        return curve[0][1]
    for (left, low), (right, high) in pairwise(curve):
        if value <= right:
            return low + (high - low) * ((value - left) / (right - left))
    return curve[-1][1]


def combined(how: Combine, weights: Sequence[tuple[float, float]]) -> float:
    """One weight of many (weight in per cent, share); 100 when there is none."""
    if not weights:
        return FULL_PCT
    match how:
        case Combine.MIN:
            return min(weight for weight, _ in weights)
        case Combine.PRODUCT:
            return math.prod(weight / FULL_PCT for weight, _ in weights) * FULL_PCT
        case Combine.MEAN:
            return sum(weight * share for weight, share in weights) / sum(share for _, share in weights)
        case _:
            assert_never(how)


def smoothed(before: float | None, now: float, elapsed_ns: int, constant_ms: int) -> float:
    """Exponential smoothing over uneven times: after one time constant 63 % of a change is seen."""
    if before is None or constant_ms == 0:
        return now
    return before + (now - before) * -math.expm1(-elapsed_ns / (constant_ms * 1e6))


def held(before: float | None, now: float, width: float, ends: tuple[float, float]) -> float:
    """Hysteresis: a value moves only by the width or more, but to either end also by less.

    Within half a per cent of an end it is there: smoothing comes near to an end for ever and would never reach it.
    """
    if before is None or width == 0:
        return now
    for end in ends:
        if abs(now - end) <= NEAR_PCT:
            return end
    return now if abs(now - before) >= width else before


def stepped(before: float | None, aim: float, elapsed_ns: int, step_a_second: float) -> float:
    """Towards an aim, by no more than the largest step."""
    if before is None:
        return aim
    most = step_a_second * elapsed_ns / 1e9
    return before + max(-most, min(most, aim - before))


def ramp(since_boot_ns: int, slow_start_ms: int, floor_pct: float) -> float:
    """The most that a slow start allows: from the floor to full, in a straight line."""
    if slow_start_ms == 0 or since_boot_ns >= slow_start_ms * 1_000_000:
        return FULL_PCT
    return floor_pct + (FULL_PCT - floor_pct) * max(0, since_boot_ns) / (slow_start_ms * 1_000_000)
