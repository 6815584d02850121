"""Readings to answers, in virtual time."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.agent import curves
from risefall.agent.explain import render_tree
from risefall.agent.reading import Reading, latest
from risefall.agent.rules import Answer, Memory, decide
from risefall.agent.settings import (
    Combine,
    Condition,
    Cpu,
    Disk,
    MaxConn,
    Missing,
    Op,
    Say,
    Service,
)

S = 1_000_000_000
CURVE = ((50.0, 100.0), (90.0, 10.0))
PLAIN = {"smooth_ms": 0, "hysteresis_pct": 0.0, "step_pct": 10_000.0}


def at(now_s: float, **values: float | None) -> dict[str, Reading]:
    return {name: Reading(int(now_s * S), value) for name, value in values.items()}


class Run:
    """A service over virtual time."""

    def __init__(self, service: Service, **options: int) -> None:
        self.service, self.options, self.memory = service, options, Memory()

    def step(self, now_s: float, readings: dict[str, Reading] | None = None, **values: float) -> Answer:
        readings = at(now_s, **values) if readings is None else readings
        answer, self.memory = decide(self.service, readings, int(now_s * S), self.memory, **self.options)
        return answer


@pytest.mark.parametrize(("value", "height"), [(-1, 100), (50, 100), (70, 55), (90, 10), (1000, 10)])
def test_a_curve_is_straight_between_points_and_level_beyond(value: float, height: float) -> None:
    assert curves.at(CURVE, value) == pytest.approx(height)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8, unique=True),
    st.lists(st.floats(0, 100), min_size=8),
    st.floats(-1e7, 1e7),
)
def test_a_curve_stays_within_its_points(xs: list[float], ys: list[float], value: float) -> None:
    curve = tuple(zip(sorted(xs), ys, strict=False))
    heights = [height for _, height in curve]
    assert min(heights) - 1e-6 <= curves.at(curve, value) <= max(heights) + 1e-6


@pytest.mark.parametrize(("how", "weight"), [(Combine.MIN, 40), (Combine.PRODUCT, 32), (Combine.MEAN, 70)])
def test_ways_to_combine(how: Combine, weight: float) -> None:
    assert curves.combined(how, [(40, 1), (80, 3)]) == pytest.approx(weight)
    assert curves.combined(how, []) == 100


def test_smoothing_sees_two_thirds_after_its_constant_however_often_it_is_asked() -> None:
    once = curves.smoothed(100, 0, 5 * S, 5000)
    often = 100.0
    for _ in range(50):
        often = curves.smoothed(often, 0, S // 10, 5000)
    assert once == pytest.approx(100 / math.e)
    assert often == pytest.approx(once)


def test_weight_from_one_signal() -> None:
    run = Run(Service(signal=(Cpu(name="cpu", curve=CURVE),), **PLAIN))
    assert run.step(1, cpu=70).weight_pct == 55
    assert run.step(2, cpu=90).weight_pct == 10


def test_load_alone_never_says_0() -> None:
    run = Run(Service(signal=(Cpu(name="cpu", curve=((0, 100), (100, 0))),), **PLAIN))
    assert run.step(1, cpu=100).weight_pct == 1


def test_hysteresis_holds_small_changes_and_lets_the_ends_be_reached() -> None:
    service = Service(
        signal=(Cpu(name="cpu", curve=((0, 100), (100, 0))),), smooth_ms=0, hysteresis_pct=5, step_pct=10_000
    )
    run = Run(service)
    assert [run.step(now, cpu=cpu).weight_pct for now, cpu in enumerate((50, 53, 47, 45, 3, 1, 0))] == [
        50, 50, 50, 55, 97, 97, 100,
    ]  # fmt: skip


def test_smoothing_and_hysteresis_together_reach_the_ends() -> None:
    run = Run(Service(signal=(Cpu(name="cpu", curve=((0, 100), (100, 0))),), smooth_ms=5000, hysteresis_pct=5))
    assert run.step(0, cpu=50).weight_pct == 50
    assert [run.step(now, cpu=0).weight_pct for now in range(1, 60)][-1] == 100
    assert [run.step(now, cpu=100).weight_pct for now in range(60, 120)][-1] == 1


def test_the_step_is_by_time_not_by_call() -> None:
    service = Service(signal=(Cpu(name="cpu", curve=((0, 100), (100, 0))),), smooth_ms=0, hysteresis_pct=0, step_pct=10)
    run = Run(service)
    assert run.step(0, cpu=0).weight_pct == 100
    assert [run.step(now, cpu=100).weight_pct for now in (0.5, 1, 1, 3)] == [95, 90, 90, 70]


def test_slow_start_is_a_ceiling_that_rises_from_the_floor() -> None:
    service = Service(signal=(Cpu(name="cpu", curve=CURVE),), slow_start_ms=10_000, **PLAIN)
    run = Run(service, boot_ns=0)
    assert [run.step(now, cpu=0).weight_pct for now in (0, 5, 10, 11)] == [1, 51, 100, 100]
    assert Run(service).step(0, cpu=0).weight_pct == 100


def test_maxconn_is_divided_and_never_0() -> None:
    rule = MaxConn(signal="cpu", curve=((0, 400), (100, 0)))
    service = Service(signal=(Cpu(name="cpu"),), maxconn=rule, **PLAIN)
    assert Run(service, balancers=3).step(1, cpu=50).maxconn == 66
    assert Run(service, balancers=0).step(1, cpu=50).maxconn == 200
    assert Run(service).step(1, cpu=100).maxconn == 1


def test_maxconn_stays_while_its_signal_is_away() -> None:
    rule = MaxConn(signal="cpu", curve=((0, 400), (100, 0)))
    run = Run(Service(signal=(Cpu(name="cpu", missing=Missing.IGNORE),), maxconn=rule, **PLAIN))
    assert run.step(1, cpu=50).maxconn == 200
    assert run.step(60, at(1, cpu=50)).maxconn == 200


def condition(**options: object) -> Service:
    made = Condition(say=Say.DRAIN, signal="disk", op=Op.MORE, value=90, for_ms=10_000, clear_ms=20_000, **options)  # type: ignore[arg-type]
    return Service(signal=(Disk(name="disk"),), state=(made,))


def test_a_condition_must_hold_for_its_time_and_be_gone_for_its_time() -> None:
    run = Run(condition(reason="disk full"))
    assert run.step(0, disk=95).admin is None
    assert run.step(9, disk=95).admin is None
    answer = run.step(10, disk=95)
    assert (answer.admin, answer.reason) == (Say.DRAIN, "disk full")
    assert run.step(11, disk=80).admin is Say.DRAIN
    assert run.step(30, disk=80).admin is Say.DRAIN
    assert run.step(31, disk=80).admin is None


def test_a_condition_that_flickers_never_speaks() -> None:
    run = Run(condition())
    assert {run.step(now, disk=95 if now % 8 else 10).admin for now in range(60)} == {None}


def test_a_reason_is_found_where_none_is_written() -> None:
    run = Run(condition())
    run.step(0, disk=95)
    assert run.step(10, disk=95).reason == "disk 95"


def test_stronger_words_win_and_both_kinds_are_said() -> None:
    states = tuple(
        Condition(say=say, signal="disk", op=Op.MORE, value=1) for say in (Say.DRAIN, Say.MAINT, Say.FAIL, Say.DOWN)
    )
    answer = Run(Service(signal=(Disk(name="disk"),), state=states)).step(0, disk=2)
    assert (answer.health, answer.admin) == (Say.DOWN, Say.MAINT)


def test_an_unknown_number_changes_no_condition() -> None:
    run = Run(condition())
    run.step(0, disk=95)
    run.step(10, disk=95)
    assert run.step(1000, at(10, disk=95)).admin is Say.DRAIN


def test_failing_is_a_condition() -> None:
    service = Service(
        signal=(Disk(name="disk", missing=Missing.IGNORE),),
        state=(Condition(say=Say.DOWN, signal="disk", op=Op.FAILING),),
    )
    run = Run(service)
    assert run.step(0, disk=1).health is None
    answer = run.step(1, {"disk": Reading(0, 1, "ENOENT")})
    assert (answer.health, answer.reason) == (Say.DOWN, "disk ENOENT")


def test_the_age_of_an_answer_is_that_of_its_oldest_number() -> None:
    service = Service(signal=(Cpu(name="cpu"), Disk(name="disk"), Cpu(name="extra", missing=Missing.IGNORE)))
    run = Run(service, started_ns=1 * S)
    first = run.step(5, at(5, cpu=1))
    assert (first.known, first.at_ns) == (False, 1 * S)
    second = run.step(9, {**at(8, cpu=1), **at(7, disk=1)})
    assert (second.known, second.at_ns) == (True, 7 * S)


def test_all_signals_away_keep_the_weight() -> None:
    run = Run(Service(signal=(Cpu(name="cpu", curve=CURVE, missing=Missing.IGNORE),), **PLAIN))
    assert run.step(1, cpu=70).weight_pct == 55
    assert run.step(100, at(1, cpu=70)).weight_pct == 55


def test_a_failure_never_rubs_out_the_last_number() -> None:
    kept = latest(latest(None, Reading(1, 5.0)), Reading(2, None, "EIO"))
    assert kept == Reading(1, 5.0, "EIO")
    assert latest(kept, Reading(3, 6.0)) == Reading(3, 6.0)
    assert latest(Reading(1, None, "a"), Reading(2, None, "b")).failure == "b"


def test_the_tree_tells_what_led_to_the_answer() -> None:
    run = Run(Service(signal=(Cpu(name="cpu", curve=CURVE), Disk(name="disk")), state=condition().state))
    assert render_tree(run.step(2, {**at(1, cpu=70), "disk": Reading(2 * S, 50)}).tree) == (
        "load and conditions: 55%\n"
        "├─ weight: 55%  (floor 1%)\n"
        "│  ├─ asked for: 55.0%  (min of 1)\n"
        "│  │  └─ cpu: 55.0%  (70, 1.0 s old)\n"
        "│  ├─ smoothed: 55.0%  (time constant 5 s)\n"
        "│  ├─ aim: 55.0%  (moves by 3 or more)\n"
        "│  └─ stepped: 55.0%  (at most 20 a second)\n"
        "└─ drain: not said  (disk > 90 is false for 0.0 s)\n"
        "   └─ disk  (50, 0.0 s old)"
    )


def test_the_tree_tells_why_there_is_no_answer() -> None:
    """Also of a signal that neither weighs nor decides, but must be there."""
    disk = Disk(name="disk", path="/")
    run = Run(Service(signal=(disk,), stale_ms=5000))
    assert render_tree(run.step(1, {}).tree).splitlines()[-1] == "└─ disk: -  (not read yet)"
    assert "disk" not in render_tree(run.step(2, {"disk": Reading(2 * S, 50)}).tree)
    old = {"disk": Reading(2 * S, 50, "EIO")}
    assert render_tree(run.step(9, old).tree).splitlines()[-1] == "└─ disk: -  (too old: 7.0 s; EIO)"
    run = Run(Service(signal=(msgspec.structs.replace(disk, missing=Missing.IGNORE),)))
    assert "disk" not in render_tree(run.step(1, {}).tree)


def test_the_first_weight_is_that_of_the_first_numbers() -> None:
    """Not a way down from full: what was decided before anything was read is no past."""
    service = Service(signal=(Cpu(name="cpu", curve=CURVE), Disk(name="disk", path="/")), smooth_ms=5000, step_pct=20.0)
    run = Run(service)
    assert not run.step(0.0, {}).known
    assert not run.step(0.5, at(0.5, cpu=70.0)).known
    answer = run.step(1.0, cpu=70.0, disk=1.0)
    assert (answer.known, answer.weight_pct) == (True, 55)
