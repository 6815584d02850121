"""Checks of real servers: `risefall check --as 2.6` says what haproxy 2.6 says, and what the tables expect of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from peers_checks import matrix_cases, own_cases, state_cases
from peers_kit import Both, Case, Outcomes
from peers_table import STATES, Table

EXPECTED = Table.read(Path(__file__).parent)


def assert_alike(both: Both, expected: str) -> None:
    """haproxy says what it said when the table was made; risefall says the same, to the letter of the text.

    Where one of several words may be, each program may say its own.
    """
    theirs, ours = both
    if "|" in expected:
        assert {said.short() for said in both if said is not None} <= set(expected.split("|"))
        return
    if theirs is not None:
        assert theirs.short() == expected
        assert ours == theirs
    assert ours.short() == expected


@pytest.mark.parametrize("case", [*matrix_cases(), *own_cases()], ids=lambda case: case.name)
def test_sound_peers(case: Case, outcomes: Outcomes) -> None:
    """Each check at the server that it is made for, and at all the others."""
    assert_alike(outcomes.get("sound", case), EXPECTED.words["sound"][case.name])


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", state_cases(), ids=lambda case: case.name)
def test_states(case: Case, state: str, outcomes: Outcomes) -> None:
    """A server that has not started, is sound, is stopped, is killed while the check waits for it, and is gone."""
    assert_alike(outcomes.get(state, case), EXPECTED.words[state][case.name])
