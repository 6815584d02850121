"""The counter and the pace of native/counter.c, against the spec's rows and a model too simple to be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.engine._native import lib
from risefall.status import Verdict

PASS, FAIL, NEUTRAL = Verdict.PASSED, Verdict.FAILED, Verdict.NEUTRAL
NEXT = {
    Verdict.PASSED: lambda h, rise, full: full if h + 1 >= rise else h + 1,
    Verdict.CONDPASS: lambda h, rise, full: full if h + 1 >= rise else h + 1,
    Verdict.FAILED: lambda h, rise, full: 0 if h - 1 < rise else h - 1,
    Verdict.NEUTRAL: lambda h, rise, full: h,
    Verdict.UNKNOWN: lambda h, rise, full: h,
}

# Spec §11.1, `rise 2 fall 3`: verdict, counter after it.
TRACE = [
    (PASS, 4), (PASS, 4), (FAIL, 3), (FAIL, 2), (PASS, 4), (FAIL, 3), (FAIL, 2), (FAIL, 0), (FAIL, 0),
    (PASS, 1), (FAIL, 0), (PASS, 1), (PASS, 4),
]  # fmt: skip


def test_the_trace_of_the_spec() -> None:
    """Spec §11.1 row by row, beginning at `rise`."""
    health = 2
    for verdict, after in TRACE:
        health = lib.rf_counter_next(health, 2, 3, verdict)
        assert health == after


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.lists(st.sampled_from(list(NEXT)), max_size=200),
)
def test_the_counter_is_the_model(rise: int, fall: int, verdicts: list[Verdict]) -> None:
    full = rise + fall - 1
    health = rise
    for verdict in verdicts:
        expected = min(max(NEXT[verdict](health, rise, full), 0), full) if health or verdict != FAIL else 0
        health = lib.rf_counter_next(health, rise, fall, verdict)
        assert health == expected
        assert 0 <= health <= full


@pytest.mark.parametrize(
    ("health", "fast", "down", "pace"),
    [
        (4, 1000, 5000, 2000),  # full
        (3, 1000, 5000, 1000),  # going down
        (2, 1000, 5000, 1000),  # just started
        (1, 1000, 5000, 1000),  # going up
        (0, 1000, 5000, 5000),  # down
        (3, 0, 5000, 2000),
        (0, 1000, 0, 2000),
    ],
)
def test_the_pace_follows_the_counter(health: int, fast: int, down: int, pace: int) -> None:
    """Spec §2.1 with `inter 2s`; 0 is an unset interval."""
    assert lib.rf_counter_pace(health, 2, 3, 2000, fast, down) == pace


def test_counts_at_the_edge_of_int() -> None:
    """`rise` and `fall` may be as large as an int: nothing overflows."""
    top = 2**31 - 1
    assert lib.rf_counter_next(1, top, top, PASS) == 2
    assert lib.rf_counter_next(top, top, top, PASS) == top
    assert lib.rf_counter_next(top, top, top, FAIL) == 0
