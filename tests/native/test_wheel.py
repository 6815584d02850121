"""The timer wheel against a sorted list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from risefall.engine._native import ffi, lib

TIMERS = 40
NEVER = 2**64 - 1
HORIZON = st.one_of(
    st.integers(0, 600),
    st.integers(0, 70_000),
    st.integers(0, 20_000_000),
    st.integers(0, 2**32 + 1000),
    st.sampled_from([255, 256, 257, 65535, 65536, 65537, 2**24 - 1, 2**24, 2**32 - 1, 2**32]),
)
STEP = st.one_of(
    st.tuples(st.just("set"), st.integers(0, TIMERS - 1), HORIZON),
    st.tuples(st.just("unset"), st.integers(0, TIMERS - 1), st.just(0)),
    st.tuples(st.just("advance"), st.just(0), HORIZON),
)


@contextmanager
def wheel(now_ms: int) -> Iterator[Any]:
    pointer = lib.rf_wheel_new(TIMERS, now_ms)
    try:
        yield pointer
    finally:
        lib.rf_wheel_free(pointer)


class Model:
    """Timers as a list of (due, order of setting, timer)."""

    def __init__(self) -> None:
        self.timers: dict[int, tuple[int, int]] = {}
        self.count = 0

    def set(self, timer: int, due: int) -> None:
        self.count += 1
        self.timers[timer] = (due, self.count)

    def advance(self, now: int) -> list[int]:
        due = sorted((when, timer) for timer, when in self.timers.items() if when[0] <= now)
        for _, timer in due:
            del self.timers[timer]
        return [timer for _, timer in due]


def drain(pointer: Any, now: int, out_max: int) -> list[int]:
    out = ffi.new("uint32_t[]", out_max)
    fired: list[int] = []
    while True:
        count = lib.rf_wheel_advance(pointer, now, out, out_max)
        fired += list(out[0:count])
        if count < out_max:
            return fired


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**33), st.lists(STEP, max_size=60), st.integers(1, 7))
@example(0, [("set", 0, 256), ("advance", 0, 255), ("set", 1, 1), ("advance", 0, 1)], 5)
@example(250, [("set", 0, 260), ("advance", 0, 5), ("set", 1, 255), ("advance", 0, 300)], 1)
def test_timers_come_out_as_from_a_sorted_list(start: int, steps: list[tuple[str, int, int]], out_max: int) -> None:
    """Same timers, same order (those of one millisecond in the order of setting), none early, none lost."""
    now = start
    model = Model()
    with wheel(start) as pointer:
        for word, timer, ms in steps:
            if word == "set":
                model.set(timer, now + ms)
                lib.rf_wheel_set(pointer, timer, now + ms)
            elif word == "unset":
                model.timers.pop(timer, None)
                lib.rf_wheel_unset(pointer, timer)
            else:
                now += ms
                assert drain(pointer, now, out_max) == model.advance(now)
                now += 1
        earliest = min((when[0] for when in model.timers.values()), default=None)
        opened, wake = lib.rf_wheel_next_ms(pointer), lib.rf_wheel_wake_ms(pointer)
        assert opened <= wake <= earliest if earliest is not None else opened == wake == NEVER
        for _ in range(TIMERS * 8):  # following its advice reaches every timer in a few wake-ups each
            if not model.timers:
                break
            now = max(now, lib.rf_wheel_wake_ms(pointer))
            assert drain(pointer, now, out_max) == model.advance(now)
            now += 1
        assert not model.timers


def test_an_idle_wheel_sleeps() -> None:
    """One timer a minute away: a handful of wake-ups until then, not one a tick."""
    with wheel(12_345) as pointer:
        lib.rf_wheel_set(pointer, 3, 72_345)
        wakes = 0
        now = 12_345
        while not drain(pointer, now, 4):
            now = lib.rf_wheel_wake_ms(pointer)
            wakes += 1
        assert now == 72_345
        assert wakes <= 2


@pytest.mark.parametrize("late_ms", [1, 300, 70_000])
def test_a_timer_in_the_past_fires_at_once(late_ms: int) -> None:
    with wheel(100_000) as pointer:
        lib.rf_wheel_set(pointer, 0, 100_000 - late_ms)
        assert drain(pointer, 100_000, 4) == [0]
