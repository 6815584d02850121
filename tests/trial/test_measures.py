"""Quantiles, histograms and latencies: against values that can be told by hand."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.trial.latency import POINTS, parse_latency
from risefall.trial.measures import EDGES_US, Finding, histogram, quantiles
from risefall.trial.sound import Fault


def test_quantiles_are_values_that_were_measured() -> None:
    found = quantiles([float(n) for n in range(1, 201)])
    assert (found.count, found.least, found.median, found.p99, found.worst) == (200, 1, 100, 198, 200)
    assert quantiles([]).median is None


@given(st.lists(st.floats(1e-7, 100), min_size=1, max_size=300))
def test_quantiles_against_their_definition(values: list[float]) -> None:
    found = quantiles(values)
    assert found.median is not None
    assert found.p99 is not None
    for value, share in ((found.median, 0.5), (found.p99, 0.99)):
        assert value in values
        assert sum(one <= value for one in values) >= share * len(values) - 1e-9
        assert sum(one < value for one in values) < share * len(values)


@given(st.lists(st.floats(0, 100), max_size=200))
def test_a_histogram_loses_nothing(values: list[float]) -> None:
    made = histogram(values)
    assert sum(made.counts) == len(values)
    for value in values:
        us = value * 1e6
        if EDGES_US[0] <= us < EDGES_US[-1]:
            place = next(n for n, edge in enumerate(EDGES_US[1:]) if us < edge)
            assert made.counts[place] > 0


def test_opinions_differ_while_not_all_balancers_have_said_down() -> None:
    one = Finding("b/s", Fault.REFUSE, 0, None, (1_000_000_000, 3_500_000_000), (None, None))
    assert one.detections_s() == [1.0, 3.5]
    assert one.two_opinions_s() == 2.5
    assert msgspec.structs.replace(one, down_ns=(1, None)).two_opinions_s() is None


def test_latencies_have_the_quantiles_of_their_distribution() -> None:
    assert parse_latency("5ms") == (5000,)
    normal = parse_latency("normal:20ms,5ms")
    assert len(normal) == POINTS
    assert normal[499] <= 20_000 <= normal[500]
    assert abs(normal[841] - 25_000) < 100
    assert abs(parse_latency("lognormal:10ms,0.5")[499] - 10_000) < 100
    pareto = parse_latency("pareto:5ms,2")
    assert pareto[0] >= 5000
    assert abs(pareto[749] - 10_000) < 100, "three quarters lie below least / (1/4) ** (1/alpha)"


def test_a_recorded_histogram_is_a_latency(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    path.write_bytes(msgspec.json.encode(histogram([0.001] * 90 + [0.1] * 10)))
    assert set(json.loads(path.read_text())) == {"unit", "edges", "counts"}
    found = parse_latency(str(path))
    assert sum(us < 2000 for us in found) == 900
    assert all(us >= 100_000 for us in found[900:])


@pytest.mark.parametrize("bad", ["", "fast", "normal:5ms", "pareto:5ms,0", "lognormal:x,1", "normal:5ms,2ms,1ms"])
def test_what_is_no_latency_is_refused_with_the_forms(bad: str) -> None:
    with pytest.raises(ValueError, match="lognormal:20ms"):
        parse_latency(bad)
