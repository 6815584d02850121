"""The machine of a vrrp_script: the counter, the ladder of signals, overlapping runs, the lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vrrp_kit import VECTORS

from risefall.vrrp.scripts import (
    Action,
    Init,
    Kill,
    Line,
    Outcome,
    Script,
    ScriptSettings,
    Start,
    Turn,
    Turned,
    counted,
)
from risefall.vrrp.settings import Imitated

S = 1_000_000
OK = Outcome(status=0)
BAD = Outcome(status=1)


def lines(actions: list[Action]) -> list[str]:
    """What is logged."""
    return [one.text for one in actions if isinstance(one, Line)]


def played(rise: int, fall: int, letters: str) -> tuple[str, int]:
    """The events of a sequence of results, as the spec writes them, and the last counter."""
    script = Script(ScriptSettings(name="X", rise=rise, fall=fall))
    events = []
    for number, letter in enumerate(letters, 1):
        script.time((number - 1) * S)
        for action in script.reaped(number, OK if letter == "s" else BAD):
            if isinstance(action, Turned):
                events.append(f"{'UP' if action.up else 'DOWN'}@{number}")
    return " ".join(events), script.result


@pytest.mark.parametrize(
    ("rise", "fall", "letters", "events", "result"),
    VECTORS,
)
def test_the_vectors_of_the_spec(rise: int, fall: int, letters: str, events: str, result: int) -> None:
    """§1.10, each of which was replayed on 2.2.7."""
    assert played(rise, fall, letters) == (events, result)


@pytest.mark.parametrize(
    ("result", "success", "init", "after", "turn"),
    [
        (0, True, Init.DONE, 1, Turn.NONE),
        (1, True, Init.DONE, 2, Turn.NONE),
        (2, True, Init.DONE, 4, Turn.UP),
        (2, True, Init.INIT, 4, Turn.UP),
        (3, True, Init.DONE, 4, Turn.NONE),
        (4, True, Init.DONE, 4, Turn.NONE),
        (4, False, Init.DONE, 3, Turn.NONE),
        (3, False, Init.DONE, 0, Turn.DOWN),
        (2, False, Init.INIT, 0, Turn.DOWN),
        (2, False, Init.RELOAD, 0, Turn.DOWN),
        (2, False, Init.DONE, 0, Turn.NONE),
        (1, False, Init.DONE, 0, Turn.NONE),
        (0, False, Init.DONE, 0, Turn.NONE),
    ],
)
def test_every_row_of_the_counter(result: int, success: bool, init: Init, after: int, turn: Turn) -> None:
    """§1.7 with rise 3 and fall 2."""
    assert counted(result, success, 3, 2, init) == (after, turn)


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.booleans(), min_size=1, max_size=60))
def test_against_streaks(rise: int, fall: int, results: list[bool]) -> None:
    """The same machine told as streaks: the first result decides; then `fall` failures or `rise` successes in a row."""
    result, init, up, streak = rise - 1, Init.INIT, False, 0
    for number, success in enumerate(results):
        result, turn = counted(result, success, rise, fall, init)
        init = Init.DONE
        assert 0 <= result <= rise + fall - 1
        if number == 0:
            up, changed = success, True
        else:
            streak = streak + 1 if success != up else 0
            changed = streak >= (fall if up else rise)
            up = up != changed
        streak = 0 if changed else streak
        assert (turn is not Turn.NONE) == changed
        assert (result >= rise) == up


def test_the_ladder_of_signals() -> None:
    """TERM at the timeout, KILL two seconds later, then every two and ten seconds more; the reap decides."""
    script = Script(ScriptSettings(name="X", interval_us=60 * S, timeout_us=S))
    assert script.time(0) == [Start(1)]
    assert script.time(S - 1) == []
    assert script.time(S) == [Kill(1, 15)]
    assert script.time(3 * S) == [Kill(1, 9)]
    stuck = "Script X child (PID 1) failed to terminate after kill"
    assert script.time(5 * S) == [Line(stuck), Kill(1, 9)]
    assert script.next_us() == 15 * S
    assert script.time(15 * S) == [Line(stuck), Kill(1, 9)]
    assert lines(script.reaped(1, Outcome(signal=9))) == ["VRRP_Script(X) timed_out"]


@pytest.mark.parametrize(
    ("at_us", "outcome", "said"),
    [
        (S, Outcome(signal=15), "VRRP_Script(X) timed_out"),
        (S, Outcome(signal=9), "VRRP_Script(X) failed (due to signal 9)"),
        (3 * S, Outcome(signal=9), "VRRP_Script(X) timed_out"),
        (3 * S, Outcome(signal=15), "VRRP_Script(X) timed_out"),
        (3 * S, Outcome(signal=11), "VRRP_Script(X) failed (due to signal 11)"),
        (0, Outcome(signal=15), "VRRP_Script(X) failed (due to signal 15)"),
        (S, OK, "VRRP_Script(X) succeeded"),
    ],
)
def test_how_a_run_past_its_timeout_ends(at_us: int, outcome: Outcome, said: str) -> None:
    """Also that a script which traps TERM and exits 0 is a success."""
    script = Script(ScriptSettings(name="X", interval_us=60 * S, timeout_us=S))
    for now in (0, S, 3 * S):
        if now <= at_us:
            script.time(now)
    actions = script.reaped(1, outcome)
    assert lines(actions)[-1] == said
    assert (Kill(1, 9) in actions) == (outcome.signal == 15 and at_us == S)


def test_a_run_that_is_lost_has_no_result() -> None:
    """kill said ESRCH."""
    script = Script(ScriptSettings(name="X", interval_us=60 * S, timeout_us=S))
    script.time(0)
    script.time(S)
    assert lines(script.lost(1)) == ["Script X child (PID 1) lost"]
    assert (script.init, script.result) == (Init.INIT, 0)
    assert script.reaped(1, OK) == []


def test_an_overlap_in_2_2_7_starts_a_second_run() -> None:
    """The line says otherwise; and when one of the two ends, nothing kills the other any more."""
    script = Script(ScriptSettings(name="X", timeout_us=10 * S))
    skipped = "Track script X is already running, expect idle - skipping run"
    script.time(0)
    assert script.time(S) == [Line(skipped), Start(2)]
    assert Turned(up=True, first=True, reload=False) in script.reaped(1, OK)
    assert script.time(2 * S) == [Start(3)]
    script.reaped(3, BAD)
    script.tick_us = 60 * S
    assert script.time(11 * S) == []
    assert script.reaped(2, OK) == []


def test_an_overlap_in_head_is_skipped() -> None:
    """The effective period is the smallest multiple of the interval that holds the run."""
    script = Script(ScriptSettings(name="X", timeout_us=3 * S, imitated=Imitated.HEAD))
    script.time(0)
    assert [type(one) for one in script.time(S)] == [Line]
    script.time(3 * S)
    assert lines(script.time(4 * S)) == ["Track script X is being timed out, expect idle - skipping run"]
    script.reaped(1, Outcome(signal=15))
    assert script.time(5 * S) == [Start(2)]


def test_the_status_is_told_apart_from_the_turn() -> None:
    """`now returning` compares with the last status, 0 at first, and does not mind signals."""
    script = Script(ScriptSettings(name="X", fall=3))
    said = []
    for number, outcome in enumerate([OK, BAD, BAD, Outcome(signal=6), Outcome(status=2), OK], 1):
        script.time(number * S)
        said.append(lines(script.reaped(number, outcome)))
    assert said == [
        ["VRRP_Script(X) succeeded"],
        ["Script `X` now returning 1"],
        [],
        ["VRRP_Script(X) failed (due to signal 6)"],
        ["Script `X` now returning 2"],
        ["Script `X` now returning 0", "VRRP_Script(X) succeeded"],
    ]


def test_a_script_that_is_new_at_a_reload() -> None:
    """It begins without a result, and the first failure acts."""
    script = Script(ScriptSettings(name="X", rise=2, fall=3))
    script.carry(None)
    script.time(0)
    assert Turned(up=False, first=True, reload=True) in script.reaped(1, BAD)


def test_what_a_reload_carries_over() -> None:
    """Up or down in full, whatever rise and fall are now, and the last status; as seen on 2.2.7."""
    old = Script(ScriptSettings(name="X", rise=2, fall=3))
    old.time(0)
    old.reaped(1, Outcome(status=3))
    again = Script(ScriptSettings(name="X", rise=4, fall=2))
    again.carry(old)
    assert (again.result, again.init, again.last_status) == (0, Init.DONE, 3)
    old.result = 2  # up, and one failure on its way down again
    again.carry(old)
    assert (again.result, again.good) == (5, True)
    again.time(0)
    assert again.reaped(1, Outcome(status=3)) == []


def deaf(interval_s: int, until_s: int) -> tuple[list[tuple[int, str, int]], list[str]]:
    """A script that ignores SIGTERM, with timeout = interval: what happens to which run at which second, and the lines."""
    script = Script(ScriptSettings(name="X", interval_us=interval_s * S))
    did: list[tuple[int, str, int]] = []
    said: list[str] = []
    now = 0
    while now <= until_s * S:
        killed: list[int] = []
        for action in script.time(now):
            if isinstance(action, Start):
                did.append((now // S, "start", action.run))
            elif isinstance(action, Kill):
                did.append((now // S, {15: "TERM", 9: "KILL"}[action.signal], action.run))
                killed += [action.run] if action.signal == 9 else []
        for run in killed:
            said += lines(script.reaped(run, Outcome(signal=9)))
        now = script.next_us() or 0
    return did, said


def test_a_deaf_script_whose_timeout_is_its_interval() -> None:
    """As 2.2.7 did it: the tick comes before the time-outs of its moment, and these in the order in which they were set."""
    did, said = deaf(2, 6)
    assert did == [
        (0, "start", 1),
        (2, "start", 2), (2, "TERM", 1),
        (4, "start", 3), (4, "TERM", 2), (4, "KILL", 1),
        (6, "start", 4), (6, "TERM", 3), (6, "KILL", 2),
    ]  # fmt: skip
    assert said == ["VRRP_Script(X) timed_out"]
    did, _ = deaf(1, 3)
    assert did == [
        (0, "start", 1),
        (1, "start", 2), (1, "TERM", 1),
        (2, "start", 3), (2, "TERM", 2),
        (3, "start", 4), (3, "TERM", 1), (3, "KILL", 3),
    ]  # fmt: skip
