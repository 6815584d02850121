"""The tables are total, and say what the specification says."""

from __future__ import annotations

from itertools import product

import pytest

from risefall.state.exchange import AdminWord
from risefall.state.server import AGENT, DRAIN, HEALTH, MAINT, Admin, Op
from risefall.state.table import ADMIN, ASKS, COPIED, INHERITED, INIT, NEXT, Move, first_health, first_op
from risefall.status import Verdict


def test_every_table_is_total() -> None:
    assert set(NEXT) == set(product(Op, Move))
    assert set(ASKS) == set(product((HEALTH, AGENT), Verdict))
    assert set(COPIED) == set(Op)
    assert set(ADMIN) == set(AdminWord)
    assert set(INHERITED) == {flag for flag in Admin if flag & (MAINT | DRAIN)}


@pytest.mark.parametrize("op", Op)
def test_moves(op: Op) -> None:
    """Row by row of spec §1.3."""
    assert NEXT[op, Move.NONE] is op
    assert NEXT[op, Move.STOP] is Op.STOPPED
    assert NEXT[op, Move.UNLOAD] is Op.STOPPING
    up = op in (Op.RUNNING, Op.STARTING)
    assert NEXT[op, Move.RUN] is (op if up else Op.RUNNING)
    assert NEXT[op, Move.START] is (op if up else Op.STARTING)
    assert NEXT[op, Move.WARM] is (Op.RUNNING if op is Op.STARTING else op)


def test_a_move_made_twice_is_made_once() -> None:
    assert all(NEXT[NEXT[op, move], move] is NEXT[op, move] for op, move in NEXT)


def test_an_inherited_flag_is_of_the_same_kind() -> None:
    for flag, inherited in INHERITED.items():
        assert bool(flag & MAINT) == bool(inherited & MAINT)
        assert INHERITED[inherited] is inherited


@pytest.mark.parametrize(
    ("word", "health", "op"),
    [
        ("", 2, Op.RUNNING),
        ("none", 2, Op.RUNNING),
        ("fully-up", 4, Op.RUNNING),
        ("up", 2, Op.RUNNING),
        ("down", 1, Op.STOPPED),
        ("fully-down", 0, Op.STOPPED),
    ],
)
def test_init_state(word: str, health: int, op: Op) -> None:
    assert (first_health(word, 2, 3), first_op(word)) == (health, op)


def test_init_state_agrees_with_its_counter() -> None:
    for word, rise, fall in product(INIT, range(1, 5), range(1, 5)):
        health = first_health(word, rise, fall)
        assert 0 <= health <= rise + fall - 1
        assert (health >= rise) == (first_op(word) is Op.RUNNING)
