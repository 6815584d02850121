"""Where mathematics has an answer, the simulator has the same within its error. Seeds are fixed, bounds are five sigmas."""

from __future__ import annotations

import math

import msgspec
import pytest

from risefall.sim.runs import simulate
from risefall.sim.scenario import Event, Fault
from risefall.sim.weather import make_weather
from sim_kit import QUIET, estate, turns_of

DAY_MS = 86_400_000


@pytest.mark.parametrize(("chance", "fall"), [(0.3, 2), (0.2, 3), (0.5, 4)])
def test_false_downs_are_those_of_the_markov_chain(chance: float, fall: int) -> None:
    """`fall` failures in a row, independent: (1 - p^n) / (p^n (1 - p)) checks on average from UP to DOWN.

    Back after `rise` passes in a row: the same with 1 - p. So DOWNs per check are 1 / (both together).
    """

    def checks_until(share: float, row: int) -> float:
        return (1 - share**row) / (share**row * (1 - share))

    made = estate(f"inter 1s rise 2 fall {fall}", servers=8)
    turns, _, checks = turns_of(made, msgspec.structs.replace(QUIET, wrong=chance), 2 * DAY_MS)
    downs = sum(not turn.good for turn in turns)
    expected = checks / (checks_until(chance, fall) + checks_until(1 - chance, 2))
    assert expected > 500
    assert abs(downs - expected) < 5 * math.sqrt(expected)


def test_a_failure_at_a_uniform_phase() -> None:
    """A crash is seen after a uniform part of `inter`, and then (fall - 1) times `fastinter`."""
    made = estate("inter 4s fastinter 1s fall 3 rise 2", servers=20)
    scenario = msgspec.structs.replace(QUIET, event=(Event(kind=Fault.CRASH, every=3_600_000, lasts=60_000),))
    span_ms = 10 * DAY_MS
    weather = make_weather(scenario, 20, span_ms, 3)
    outcome = simulate(made, scenario, weather, span_ms=span_ms, seed=3)
    means = [(row.detection.mean, row.detection.count) for row in outcome.rows]
    count = sum(many for _, many in means)
    mean = sum((each or 0.0) * many for each, many in means) / count
    assert count > 3000
    assert abs(mean - (2.0 + 2.0)) < 5 * 4.0 / math.sqrt(12 * count)
    worst = max(row.detection.worst or 0.0 for row in outcome.rows)
    least = 2.0
    assert 5.9 < worst < 6.01
    assert all(row.detection.p50 and row.detection.p50 > least for row in outcome.rows)
    assert sum(row.false_downs for row in outcome.rows) == 0


def test_lost_syns_wait_for_tcp() -> None:
    """A SYN comes again after 1 s: with `timeout connect 900ms` each round trip that is lost is a failure, 1 - (1 - p)^2."""
    made = estate(
        "inter 2s fall 1 rise 1", defaults="timeout connect 900ms\ntimeout check 500ms", more="option tcp-check"
    )
    network = msgspec.structs.replace(QUIET.network, loss=0.1)
    turns, _, checks = turns_of(made, msgspec.structs.replace(QUIET, network=network), 5 * DAY_MS)
    failed = 1 - 0.9**2
    expected = checks * failed * (1 - failed)
    assert abs(sum(not turn.good for turn in turns) - expected) < 5 * math.sqrt(expected)


def test_the_pace_is_completion_plus_interval() -> None:
    """A reply that takes 300 ms: `inter 1s` makes a check each 1.3 s and a bit (spec §2.1)."""
    slow = msgspec.structs.replace(QUIET.reply, median=300.0)
    _, _, checks = turns_of(estate("inter 1s"), msgspec.structs.replace(QUIET, reply=slow), DAY_MS)
    assert checks == pytest.approx(DAY_MS / 1301, abs=3)
