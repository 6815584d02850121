"""One instance against the rows of the spec: timers (§4.2), states (§4.3), faults and start (§3), gating (§1.7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vrrp_kit import spec, us

from risefall.vrrp.actions import Action, Enter, HeardLower, Log, Send, State, Stop
from risefall.vrrp.election import NEVER, Instance, master_down_us, skew_us

BACKUP, MASTER, FAULT, INIT = State.BACKUP, State.MASTER, State.FAULT, State.INIT
LOWER, HIGHER, OWN = "10.77.0.1", "10.77.0.9", "10.77.0.5"
S = 1_000_000


def instance(state: State, priority: int = 100, **changes: object) -> tuple[Instance, list[Action]]:
    """An instance at 10.77.0.5 that entered this state at 0 and has been silent since; `out` is empty."""
    out: list[Action] = []
    made = Instance(spec(4, priority, **changes), out)
    if state is not INIT:
        made.start(0)
    if state is MASTER:
        made.deadline_us = 0
        made.time(0)
    if state is FAULT:
        made.fault(0, "test")
    out.clear()
    return made, out


def short(out: list[Action]) -> list[object]:
    """Priorities sent and states entered."""
    return [one.priority if isinstance(one, Send) else one.state for one in out if isinstance(one, Send | Enter)]


@pytest.mark.parametrize(
    ("version", "priority", "adv_us", "skew", "down"),
    [
        (2, 100, S, 609_375, 3_609_375),
        (2, 90, S, 648_437, 3_648_437),
        (2, 254, S, 7_812, 3_007_812),
        (2, 1, S, 996_093, 3_996_093),
        (2, 100, 2 * S, 609_375, 6_609_375),
        (3, 100, 200_000, 121_875, 721_875),
        (3, 90, 200_000, 129_687, 729_687),
        (3, 90, 500_000, 324_218, 1_824_218),
        (3, 255, 40_950_000, 159_960, 123_009_960),
    ],
)
def test_the_worked_timers(version: int, priority: int, adv_us: int, skew: int, down: int) -> None:
    """Integers; the spec rounds to microseconds, keepalived cuts."""
    assert skew_us(version, priority, adv_us) == skew
    assert master_down_us(spec(0, 100, version=version), priority, adv_us) == down


@pytest.mark.parametrize(
    ("changes", "priority", "deadline"),
    [
        ({}, 0, S + 609_375),
        ({}, 100, S + 3_609_375),
        ({}, 101, S + 3_609_375),
        ({}, 99, 3_609_375),
        ({"nopreempt": True}, 1, S + 3_609_375),
        ({"preempt_delay_us": 5 * S}, 1, S + 3_609_375),
        ({"version": 3}, 100, S + 3 * 500_000 + 304_687),
        ({"version": 3}, 99, 3_609_375),
        ({"version": 3}, 0, S + 609_375),
    ],
)
def test_an_advert_in_backup(changes: dict[str, object], priority: int, deadline: int) -> None:
    """Which adverts start the wait over, and which leave the deadline where it is."""
    made, out = instance(BACKUP, **changes)
    made.advert(S, LOWER, priority, 500_000)
    assert made.deadline_us == deadline
    assert (made.state, short(out)) == (BACKUP, [])


@pytest.mark.parametrize(
    ("changes", "source", "priority", "sent", "state"),
    [
        ({}, LOWER, 0, [100], MASTER),
        ({}, HIGHER, 0, [100], MASTER),
        ({}, LOWER, 101, [BACKUP], BACKUP),
        ({}, HIGHER, 100, [BACKUP], BACKUP),
        ({}, LOWER, 100, [100], MASTER),
        ({}, OWN, 100, [], MASTER),
        ({}, HIGHER, 99, [100], MASTER),
        ({"higher_prio_send_advert": True}, LOWER, 101, [100, BACKUP], BACKUP),
        ({"higher_prio_send_advert": True}, HIGHER, 100, [100, BACKUP], BACKUP),
        ({"lower_prio_no_advert": True}, LOWER, 99, [], MASTER),
        ({"nopreempt": True}, LOWER, 101, [BACKUP], BACKUP),
    ],
)
def test_an_advert_in_master(
    changes: dict[str, object], source: str, priority: int, sent: list[object], state: State
) -> None:
    """Who yields, who answers; and every packet re-arms the timer, unless it is not answered."""
    made, out = instance(MASTER, **changes)
    made.advert(500_000, source, priority, S)
    assert (short(out), made.state) == (sent, state)
    worse = 0 < priority < 100 or (priority == 100 and source == LOWER)
    assert any(isinstance(one, HeardLower) for one in out) == worse
    if state is MASTER:
        assert made.deadline_us == (S if made.settings.lower_prio_no_advert else 500_000 + S)
    else:
        assert made.deadline_us == 500_000 + 3_609_375


@pytest.mark.parametrize("state", [INIT, FAULT])
@pytest.mark.parametrize("priority", [0, 1, 100, 255])
def test_nobody_listens_in_init_and_fault(state: State, priority: int) -> None:
    """And time does nothing either."""
    made, out = instance(state)
    made.advert(S, HIGHER, priority, S)
    made.refused(S, "what is wrong with it")
    made.time(NEVER - 1)
    assert (made.state, out, made.deadline_us) == (state, [], NEVER)


def test_the_deadline_acts() -> None:
    """The advert leaves before the state is entered; then one each interval."""
    made, out = instance(BACKUP)
    made.time(3_609_374)
    assert out == []
    made.time(3_609_375)
    assert short(out) == [100, MASTER]
    made.time(4_609_375)
    assert short(out) == [100, MASTER, 100]
    assert made.deadline_us == 5_609_375


@pytest.mark.parametrize(
    ("state", "act", "sent"),
    [
        (MASTER, lambda one: one.stop(S), [0]),
        (BACKUP, lambda one: one.stop(S), []),
        (FAULT, lambda one: one.stop(S), []),
        (MASTER, lambda one: one.fault(S, "x"), [0, 0, FAULT]),
        (BACKUP, lambda one: one.fault(S, "x"), [FAULT]),
        (MASTER, lambda one: one.advert(S, LOWER, 101, S), [BACKUP]),
    ],
)
def test_how_often_priority_0_is_sent(state: State, act: object, sent: list[object]) -> None:
    """§3.4."""
    made, out = instance(state)
    act(made)  # type: ignore[operator]
    assert short(out) == sent
    assert made.state is not MASTER


def test_a_refused_packet_moves_the_base_not_the_deadline() -> None:
    """A priority that changes afterwards is counted from it (note 3)."""
    made, _ = instance(BACKUP)
    made.refused(2 * S)
    assert made.deadline_us == 3_609_375
    made.set_total(2 * S + 5, 90)
    assert made.deadline_us == 2 * S + 3_648_437
    steady, _ = instance(BACKUP)
    steady.set_total(2 * S, 90)
    assert steady.deadline_us == 3_648_437


def test_a_refused_packet_re_arms_a_master() -> None:
    """Unless it does not answer worse ones."""
    made, _ = instance(MASTER)
    made.refused(900_000)
    assert made.deadline_us == 900_000 + S
    silent, _ = instance(MASTER, lower_prio_no_advert=True)
    silent.refused(900_000)
    assert silent.deadline_us == S


def test_a_priority_change_sends_nothing() -> None:
    """Only the next advert carries it, and what the clamp hides is not logged."""
    made, out = instance(MASTER)
    made.set_total(10, 80)
    assert short(out) == []
    made.set_total(11, 300)
    out.clear()
    made.set_total(12, 280)
    assert (out, made.total, made.effective) == ([], 280, 254)
    made.time(made.deadline_us)
    assert short(out) == [254]


def test_a_fault_has_many_reasons() -> None:
    """The first one acts, the last one to go too; the priority is kept meanwhile, the learned interval is not."""
    made, out = instance(BACKUP, version=3)
    made.advert(0, LOWER, 100, 500_000)
    made.fault(S, "a")
    made.fault(S, "b")
    made.fault(S, "b")
    made.set_total(S, 80)
    made.clear(2 * S, "a")
    made.clear(2 * S, "a")
    assert short(out) == [FAULT]
    made.clear(3 * S, "b")
    assert short(out) == [FAULT, BACKUP]
    assert made.deadline_us == 3 * S + master_down_us(made.settings, 80, S)


@pytest.mark.parametrize(
    ("priority", "outcomes", "states", "lines"),
    [
        (100, ["ok", "ok"], [BACKUP], ["(VI) Entering BACKUP STATE"]),
        (100, ["bad", "ok"], [FAULT], []),
        (100, ["ok", "bad"], [FAULT], []),
        (255, ["ok", "ok"], [255, MASTER], ["(VI) Entering MASTER STATE"]),
        (255, ["bad", "ok"], [FAULT], []),
    ],
)
def test_pending_scripts_hold_the_start(
    priority: int, outcomes: list[str], states: list[object], lines: list[str]
) -> None:
    """Nothing is said or told until the last one has reported; a bad one tells FAULT without its line."""
    out: list[Action] = []
    made = Instance(spec(4, priority), out)
    made.pending |= {"a", "b"}
    made.start(0)
    assert (out, made.state, made.deadline_us) == ([], FAULT, NEVER)
    for reason, outcome in zip("ab", outcomes, strict=True):
        (made.clear if outcome == "ok" else made.fault)(S, reason)
    assert short(out) == states
    assert [one.text for one in out if isinstance(one, Log) and not one.detail] == lines


def test_preempt_delay_stops_and_starts() -> None:
    """A better advert stops it; entering BACKUP forgets it."""
    made, out = instance(BACKUP, preempt_delay_us=4 * S)
    made.advert(S, LOWER, 90, S)
    assert made.preempt_at_us == 5 * S
    made.advert(2 * S, LOWER, 100, S)
    assert made.preempt_at_us is None
    made.advert(3 * S, LOWER, 90, S)
    for at_us in (4 * S, 5 * S, 6 * S, 7 * S):
        made.advert(at_us, LOWER, 90, S)
    assert made.deadline_us == 6 * S + 3_609_375
    texts = [one.text for one in out if isinstance(one, Log)]
    assert texts[:3] == ["(VI) start preempt delay (4.000000)", "(VI) stop preempt delay", texts[0]]


def test_a_stop_is_told() -> None:
    """And the instance can start again from the beginning."""
    made, out = instance(MASTER)
    made.set_total(1, 80)
    made.stop(S)
    assert out[-1] == Stop("VI", 80)
    made.start(2 * S)
    assert (made.state, made.effective, made.deadline_us) == (BACKUP, 100, 2 * S + 3_609_375)


events = st.one_of(
    st.tuples(st.just("advert"), st.sampled_from([LOWER, OWN, HIGHER]), st.integers(0, 255)),
    st.tuples(st.just("refused")),
    st.tuples(st.just("total"), st.integers(-300, 600)),
    st.tuples(st.just("fault"), st.sampled_from("ab")),
    st.tuples(st.just("clear"), st.sampled_from("ab")),
)


@given(
    st.integers(1, 255),
    st.sampled_from([2, 3]),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 4 * S), events), max_size=40),
)
def test_what_always_holds(
    priority: int, version: int, nopreempt: bool, silent: bool, told: list[tuple[int, tuple[object, ...]]]
) -> None:
    """Total over all states and events: bounds of the priority, deadlines only where there is something to wait for."""
    out: list[Action] = []
    made = Instance(
        spec(4, priority, version=version, nopreempt=nopreempt and priority < 255, lower_prio_no_advert=silent), out
    )
    made.start(0)
    now = 0
    for gap, event in told:
        now += gap
        while made.deadline_us <= now:
            made.time(made.deadline_us)
        match event:
            case ("advert", source, heard):
                made.advert(now, source, heard, S)
            case ("refused",):
                made.refused(now)
            case ("total", total):
                made.set_total(now, total)
            case ("fault", reason):
                made.fault(now, reason)
            case ("clear", reason):
                made.clear(now, reason)
        assert 1 <= made.effective <= 254 or made.effective == made.base == 255
        assert (made.state is FAULT) == bool(made.faults)
        assert (made.deadline_us == NEVER) == (made.state is FAULT)
        assert all(0 <= one.priority <= 255 for one in out if isinstance(one, Send))


def test_seconds_are_microseconds() -> None:
    """The kit's own conversion."""
    assert us(3.609375) == 3_609_375
