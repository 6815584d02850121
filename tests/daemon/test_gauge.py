"""Two readings of the workers' counters and what happened between them."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.daemon.gauge import Gauge, merged, show_reading, zero_like
from risefall.engine.native import Engine, Histogram, Statistics


def empty() -> Statistics:
    """Counters of an engine that has done nothing."""
    with Engine(checks_max=1, slots=1) as engine:
        return engine.statistics()


EMPTY = empty()
BUCKETS = len(EMPTY.late.counts)


def histogram(counts: dict[int, int], max_us: int = 0) -> Histogram:
    """Counts by bucket; the largest is the edge of its bucket unless told."""
    column = [counts.get(bucket, 0) for bucket in range(BUCKETS)]
    made = Histogram(sum(column), 0, max_us or 10**9, column)
    return made if max_us else msgspec.structs.replace(made, max_us=made.percentile_us(100))


def so_far(**more: object) -> Statistics:
    return msgspec.structs.replace(EMPTY, **more)


def test_counts_are_since_the_line_before() -> None:
    gauge = Gauge([EMPTY])
    first = gauge.read([so_far(finished=10, passed=8, failed=2, events=3, wakeups=5)], 2.0, 3)
    assert (first.checks, first.checks_per_s, first.passed, first.failed) == (10, 5.0, 8, 2)
    assert (first.events, first.wakeups, first.python_events, first.span_s) == (3, 5, 3, 2.0)
    second = gauge.read([so_far(finished=14, passed=12, failed=2, events=3, wakeups=6)], 1.0, 3)
    assert (second.checks, second.checks_per_s, second.passed, second.failed) == (4, 4.0, 4, 0)
    assert (second.events, second.wakeups, second.python_events) == (0, 1, 0)


def test_the_first_line_counts_from_the_start_of_the_engine() -> None:
    """Checks that ran before the gauge was made belong to its first line."""
    running = so_far(finished=7, late=histogram({3: 7}))
    assert Gauge([running]).read([running], 1.0, 0).checks == 7


def test_workers_are_added_up() -> None:
    gauge = Gauge([EMPTY, EMPTY])
    now = [
        so_far(finished=3, in_flight=1, waiting=2, slots=4, checks=10, late=histogram({1: 3}, 90)),
        so_far(finished=5, in_flight=2, waiting=0, slots=4, checks=11, late=histogram({1: 4, 9: 1}, 900)),
    ]
    reading = gauge.read(now, 1.0, 0)
    assert (reading.checks, reading.in_flight, reading.waiting, reading.slots) == (8, 3, 2, 8)
    assert (reading.servers_checked, reading.late_p50_us) == (21, now[0].late.percentile_us(50))


def test_figures_that_stand_are_not_differences() -> None:
    """Slots, checks under way and waiting checks are as they stand now."""
    gauge = Gauge([EMPTY])
    now = so_far(in_flight=3, waiting=2, slots=16, checks=100)
    for _ in range(2):
        reading = gauge.read([now], 1.0, 0)
        assert (reading.in_flight, reading.waiting, reading.slots, reading.servers_checked) == (3, 2, 16, 100)


def test_the_worst_of_a_span_is_its_own() -> None:
    """One late start an hour ago is not the maximum of every line since."""
    gauge = Gauge([EMPTY])
    slow, quick = 100, 5
    first = gauge.read([so_far(late=histogram({quick: 9, slow: 1}, 10**8))], 1.0, 0)
    second = gauge.read([so_far(late=histogram({quick: 19, slow: 1}, 10**8))], 1.0, 0)
    assert second.late_max_us < first.late_max_us
    assert second.late_max_us == second.late_p99_us == second.late_p50_us


def test_a_span_without_checks_is_all_zero() -> None:
    gauge = Gauge([EMPTY])
    busy = so_far(finished=9, late=histogram({7: 9}, 500), duration=histogram({9: 9}, 900))
    gauge.read([busy], 1.0, 5)
    quiet = gauge.read([busy], 1.0, 5)
    assert (quiet.checks, quiet.checks_per_s, quiet.python_events) == (0, 0.0, 0)
    assert (quiet.late_p50_us, quiet.late_p99_us, quiet.late_max_us) == (0, 0, 0)
    assert (quiet.duration_p50_us, quiet.duration_p99_us) == (0, 0)


def test_a_span_of_no_time_divides_by_nothing() -> None:
    assert Gauge([EMPTY]).read([so_far(finished=3)], 0.0, 0).checks_per_s == 0.0


def test_before_the_first_check() -> None:
    assert show_reading(Gauge([EMPTY]).read([EMPTY], 1.0, 0)).startswith("stats: 0 checks/s (0 passed, 0 failed, ")


def test_zero_like_is_what_an_engine_starts_with() -> None:
    fresh = zero_like(so_far(finished=4, late=histogram({2: 4}), self_errnos=("EMFILE",)))
    assert (fresh.finished, fresh.self_errnos, fresh.late.count, sum(fresh.late.counts)) == (0, (), 0, 0)


@pytest.mark.parametrize("dropped", [0, 12])
def test_what_a_person_reads(dropped: int) -> None:
    counts = so_far(
        finished=300,
        passed=290,
        failed=10,
        timed_out=4,
        events_dropped=dropped,
        in_flight=2,
        waiting=1,
        slots=16,
        late=histogram({0: 300}, 1500),
        duration=histogram({0: 300}, 1500),
    )
    line = show_reading(Gauge([EMPTY]).read([counts], 1.5, 20))
    assert line.startswith("stats: 200 checks/s (290 passed, 10 failed, 4 timed out) | late p50 ")
    assert "2/16 slots, 1 waiting | 20 events for 300 checks" in line
    assert line.endswith("12 events dropped" if dropped else "300 checks")


COUNTS = st.lists(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, 50), max_size=6), min_size=1, max_size=5)


@given(COUNTS, st.sampled_from([1, 50, 90, 99, 100]))
def test_percentiles_of_merged_workers_are_those_of_all_their_checks(
    workers: list[dict[int, int]], percent: int
) -> None:
    """The model: every check a number in one sorted list."""
    one = merged([histogram(counts) for counts in workers])
    buckets = sorted(bucket for counts in workers for bucket, count in counts.items() for _ in range(count))
    if not buckets:
        assert one.percentile_us(percent) == 0
        return
    place = -(-len(buckets) * percent // 100) - 1
    assert one.percentile_us(percent) == histogram({buckets[place]: 1}).percentile_us(50)


@given(COUNTS)
def test_spans_add_up(pieces: list[dict[int, int]]) -> None:
    """However the time is cut into lines, nothing is counted twice or left out."""
    totals = list(
        itertools.accumulate(
            pieces,
            lambda so_far, more: {key: so_far.get(key, 0) + more.get(key, 0) for key in so_far | more},
        )
    )
    gauge = Gauge([EMPTY])
    readings = [gauge.read([so_far(finished=sum(total.values()), late=histogram(total))], 1.0, 0) for total in totals]
    assert [reading.checks for reading in readings] == [sum(piece.values()) for piece in pieces]
    for reading, piece in zip(readings, pieces, strict=True):
        own = histogram(piece)
        assert reading.late_p99_us == own.percentile_us(99)
        assert reading.late_max_us == own.percentile_us(100)
