"""Weights, clamps, faults: what trackers make of an instance."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.vrrp.priority import Trackers, effective_priority, kept_trackers
from risefall.vrrp.trackers import (
    AT_START,
    DOWN,
    UNKNOWN,
    UP,
    Effect,
    Kind,
    Reading,
    Tracked,
    effect,
    file_value,
    has_quorum,
)

A, B = (Tracked(Kind.SCRIPT, name) for name in "AB")


def script(name: str, weight: int, reverse: bool = False) -> Tracked:
    """A tracked script."""
    return Tracked(Kind.SCRIPT, name, weight, reverse)


def effective(trackers: Trackers, **readings: Reading) -> tuple[int, int, bool]:
    """Total, effective priority and whether it is FAULT, after these scripts told these things."""
    for name, reading in readings.items():
        trackers.read(f"script {name}", reading)
    standing = trackers.standing()
    return standing.total, standing.effective, bool(standing.faults)


@pytest.mark.parametrize(
    ("weight", "reverse", "up", "down"),
    [
        (0, False, Effect(), Effect(fault=True)),
        (0, True, Effect(fault=True), Effect()),
        (30, False, Effect(points=30), Effect()),
        (-40, False, Effect(), Effect(points=-40)),
        (20, True, Effect(points=-20), Effect()),
        (-15, True, Effect(), Effect(points=15)),
    ],
)
def test_the_table_of_weights(weight: int, reverse: bool, up: Effect, down: Effect) -> None:
    """§1.7; what is unknown gives nothing, and holds the instance back when it has no weight."""
    tracked = script("A", weight, reverse)
    assert effect(tracked, UP) == up
    assert effect(tracked, DOWN) == down
    assert effect(tracked, UNKNOWN) == Effect(pending=weight == 0)


def test_the_sums_of_the_spec() -> None:
    """§1.10, base 100."""
    four = Trackers(100, [script("A", 30), script("B", -40), script("C", 20, True), script("D", -15, True)])
    assert effective(four) == (100, 100, False)
    assert effective(four, A=UP, B=UP, C=UP, D=UP) == (110, 110, False)
    assert effective(four, A=DOWN, B=DOWN, C=DOWN, D=DOWN) == (75, 75, False)
    two = Trackers(100, [script("A", -60), script("B", -60)])
    assert effective(two, A=DOWN, B=DOWN) == (-20, 1, False)
    assert effective(two, A=UP) == (40, 40, False)
    assert effective(two, B=UP) == (100, 100, False)
    high = Trackers(100, [script("A", 100), script("B", 100)])
    assert effective(high, A=UP, B=UP) == (300, 254, False)
    assert effective(high, B=DOWN) == (200, 200, False)
    mixed = Trackers(100, [script("A", 0), script("B", -20)])
    assert effective(mixed, A=DOWN, B=DOWN) == (80, 80, True)
    assert effective(mixed, A=UP) == (80, 80, False)


@pytest.mark.parametrize(
    ("weight", "reverse", "value", "expected"),
    [
        (-3, False, 7, Effect(points=-21)),
        (-3, False, 100, Effect(fault=True)),
        (1, False, 1000, Effect(points=253)),
        (1, True, 253, Effect(points=-253)),
        (1, True, 254, Effect(fault=True)),
        (0, False, 0, Effect()),
        (0, False, 5, Effect(fault=True)),
        (0, True, 0, Effect(fault=True)),
        (0, True, 5, Effect()),
    ],
)
def test_files(weight: int, reverse: bool, value: int, expected: Effect) -> None:
    """§2.3: value times weight, up to 253; from -254 on it is FAULT and gives nothing."""
    assert effect(Tracked(Kind.FILE, "F", weight, reverse), Reading(up=True, value=value)) == expected


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"0x10", 16),
        (b"010", 8),
        (b"5 junk", 5),
        (b"  -7\n", -7),
        (b"+3", 3),
        (b"", 0),
        (b"junk", 0),
        (b"0x", 0),
        (b"08", 0),
        (None, 0),
        (b"2147483648", 2147483648),
        (b"2147483649", 42),
        (b"-2147483648", -2147483648),
        (b"-2147483649", 42),
        (b"9" * 126 + b"5", 42),
        (b" " * 126 + b"57", 5),
    ],
)
def test_numbers_in_files(content: bytes | None, value: int) -> None:
    """strtol with base 0 over 127 bytes; what does not fit leaves the value before, here 42."""
    assert file_value(content, 42) == value


@pytest.mark.parametrize(
    ("count", "quorum", "quorum_max", "good"),
    [(1, 1, None, True), (0, 1, None, False), (3, 2, 3, True), (4, 2, 3, False), (0, 1, 0, True), (1, 1, 0, False)],
)
def test_quorum(count: int, quorum: int, quorum_max: int | None, good: bool) -> None:
    """At least and at most; a maximum of 0 means that it must not run."""
    assert has_quorum(count, quorum, quorum_max) is good


def test_an_owner_stays_255() -> None:
    """Its weighted trackers are dropped, unweighted ones act."""
    weighted = [script("A", -20), Tracked(Kind.INTERFACE, "eth2", 10)]
    kept = kept_trackers([*weighted, script("B", 0), Tracked(Kind.INTERFACE, "eth1")], owner=True)
    assert kept.said == (
        "ignoring tracked script A with weights due to address_owner",
        "ignoring eth2 tracked interface due to address owner",
    )
    trackers = Trackers(255, kept.trackers)
    trackers.read("script B", UP)
    assert trackers.standing().effective == 255
    trackers.read("interface eth1", DOWN)
    assert trackers.standing().faults == {"interface eth1"}
    assert effective_priority(255, 12) == 255


@pytest.mark.parametrize(
    ("tracked", "weight"),
    [
        (script("A", -20), None),
        (script("A", 0), 0),
        (Tracked(Kind.BFD, "A", 5), None),
        (Tracked(Kind.INTERFACE, "A", 5), 5),
        (Tracked(Kind.PROCESS, "A", 5), 5),
        (Tracked(Kind.FILE, "A", 1), 0),
        (Tracked(Kind.FILE, "A", 2), None),
    ],
)
def test_members_of_a_sync_group(tracked: Tracked, weight: int | None) -> None:
    """§5.4: without sync_group_tracking_weight most weights of members go; with it they stay."""
    kept = kept_trackers([tracked], in_group=True).trackers
    assert [one.weight for one in kept] == ([] if weight is None else [weight])
    stays = kept_trackers([tracked], in_group=True, sync_group_tracking_weight=True).trackers
    assert stays == (tracked,)


def test_trackers_of_the_group() -> None:
    """They join the instance's own; the group's entry wins unless the instance's has no weight; an owner clears weights."""
    group = [script("A", -20), script("G", -5)]
    kept = kept_trackers([script("A", -10), script("B", 0)], group, in_group=True)
    assert {one.name: one.weight for one in kept.trackers} == {"B": 0, "A": -20, "G": -5}
    assert len(kept.said) == 1
    own = kept_trackers([script("A", 0)], group, in_group=True)
    assert {one.name: one.weight for one in own.trackers} == {"A": 0, "G": -5}
    cleared = kept_trackers([], group, in_group=True, owner_in_group=True)
    assert {one.weight for one in cleared.trackers} == {0}


def test_duplicates() -> None:
    """The first entry stays."""
    kept = kept_trackers([script("A", 5), script("A", 6)])
    assert kept.trackers == (script("A", 5),)
    assert kept.said == ("duplicate track_script A - ignoring",)


def test_a_reload_forgets_a_script() -> None:
    """It gives nothing until its next result."""
    trackers = Trackers(100, [script("A", -20)])
    trackers.read("script A", DOWN)
    assert trackers.points("script A") == -20
    trackers.forget("script A")
    assert trackers.standing().total == 100
    with pytest.raises(KeyError):
        trackers.read("script Z", UP)


trackeds = st.builds(
    Tracked,
    kind=st.sampled_from(list(Kind)),
    name=st.text("abc", min_size=1, max_size=2),
    weight=st.integers(-300, 300),
    reverse=st.booleans(),
)
readings = st.builds(Reading, up=st.sampled_from([None, True, False]), value=st.integers(-(1 << 31), 1 << 31))


@given(st.integers(1, 255), st.lists(st.tuples(trackeds, readings), max_size=8))
def test_the_effective_priority_keeps_its_bounds(base: int, told: list[tuple[Tracked, Reading]]) -> None:
    """1..254, or 255 for an owner; and nothing depends on the order in which trackers told."""
    trackers = Trackers(base, [one for one, _ in told])
    for tracked, reading in told:
        trackers.read(tracked.key, reading)
    standing = trackers.standing()
    assert 1 <= standing.effective <= 254 or base == standing.effective == 255
    again = Trackers(base, [trackers.tracked[key] for key in sorted(trackers.tracked)])
    for key, reading in reversed(trackers.readings.items()):
        again.read(key, reading)
    assert again.standing() == standing


def test_every_kind_has_a_start() -> None:
    """The tables are total."""
    assert set(AT_START) == set(Kind)
    assert msgspec.structs.replace(A, name="B") == B
