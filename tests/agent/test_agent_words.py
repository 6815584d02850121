"""Precedence as a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.agent.leases import OrderWord, make_order
from risefall.agent.rules import Answer
from risefall.agent.settings import Safe, Say, Service
from risefall.agent.words import ORDERS, clean_reason, render_line, resolve

S = 1_000_000_000
NONE = "-"
OLD = "too old to say"
DOCS = Path(__file__).parents[2] / "docs" / "agent.md"

# order, condition, age of the numbers -> the line to a balancer that was told nothing before.
# The load says 40 %, maxconn 9; an order's reason is "deploy", a condition's "disk"; an order's weight is 70 %.
TABLE = """
-       -      fresh    up 40% maxconn:9
-       drain  fresh    up drain 40% maxconn:9 #disk
-       maint  fresh    up maint 40% maxconn:9 #disk
-       down   fresh    down 40% maxconn:9 #disk
-       fail   fresh    fail 40% maxconn:9 #disk
-       stopped fresh   stopped 40% maxconn:9 #disk
drain   -      fresh    up drain 40% maxconn:9 #deploy
drain   drain  fresh    up drain 40% maxconn:9 #deploy
drain   maint  fresh    up drain 40% maxconn:9 #deploy
drain   down   fresh    down drain 40% maxconn:9 #deploy
maint   -      fresh    up maint 40% maxconn:9 #deploy
maint   drain  fresh    up maint 40% maxconn:9 #deploy
maint   down   fresh    down maint 40% maxconn:9 #deploy
ready   -      fresh    up 40% maxconn:9 #deploy
ready   drain  fresh    up 40% maxconn:9 #deploy
ready   maint  fresh    up 40% maxconn:9 #deploy
ready   down   fresh    up 40% maxconn:9 #deploy
weight  -      fresh    up 70% maxconn:9 #deploy
weight  drain  fresh    up drain 70% maxconn:9 #deploy
weight  down   fresh    down 70% maxconn:9 #deploy
-       -      stale    down #stale
-       drain  stale    down drain #stale
-       down   stale    down #stale
drain   -      stale    down drain #deploy
maint   -      stale    down maint #deploy
ready   -      stale    up #deploy
weight  -      stale    down 70% #deploy
-       -      silent   -
-       drain  silent   -
drain   -      silent   drain #deploy
maint   -      silent   maint #deploy
ready   -      silent   up #deploy
weight  -      silent   70% #deploy
-       -      unread   -
drain   -      unread   drain #deploy
"""
ROWS = [tuple(line.split(None, 3)) for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("order", "condition", "age", "line"), ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_operator_before_condition_before_load(order: str, condition: str, age: str, line: str) -> None:
    service = Service(stale_ms=5000, stale_word=Safe.SILENCE if age == "silent" else Safe.DOWN)
    say = None if condition == NONE else Say(condition)
    admin = say if say in (Say.DRAIN, Say.MAINT) else None
    answer = Answer(
        at_ns=100 * S, known=age != "unread", weight_pct=40, maxconn=9, admin=admin,
        health=None if say is admin else say, reason="disk" if say else "",
    )  # fmt: skip
    orders = []
    if order != NONE:
        weight = 70 if order == "weight" else None
        orders = [make_order("app", OrderWord(order), 0, weight_pct=weight, reason="deploy")]
    part = resolve(service, answer, orders, (200 if age in ("stale", "silent") else 101) * S)
    told = NONE if part is None else render_line(part, part.admin or "").decode().strip()
    assert told == line


def documented() -> list[tuple[str, str, str]]:
    """Order, condition and line of each row of the table in docs/agent.md."""
    text = DOCS.read_text().partition("| order | condition |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return [(order, condition, said.strip("`")) for order, condition, said in rows]


@pytest.mark.parametrize(("order", "condition", "line"), documented())
def test_the_documented_table(order: str, condition: str, line: str) -> None:
    word, _, pct = order.partition(" ")
    weight = int(pct.rstrip("%")) if pct else None
    orders = [] if word == NONE else [make_order("app", OrderWord(word), 0, weight_pct=weight)]
    causes = [NONE, *Say] if condition == "anything" else condition.split(" or ")
    for cause in [NONE] if condition == OLD else causes:
        say = None if cause == NONE else Say(cause)
        admin = say if say in (Say.DRAIN, Say.MAINT) else None
        answer = Answer(at_ns=0, weight_pct=40, admin=admin, health=None if say is admin else say)
        part = resolve(Service(), answer, orders, 3600 * S if condition == OLD else 0)
        assert part is not None
        assert render_line(part, part.admin or "").decode().strip() == line, cause


def test_every_order_has_a_row() -> None:
    assert set(ORDERS) == set(OrderWord)
    assert {row[0] for row in ROWS} == {NONE, *OrderWord}
    assert {row[1] for row in ROWS} == {NONE, *Say}


def test_two_orders_stand_together() -> None:
    orders = [make_order("a", OrderWord.DRAIN, 0), make_order("a", OrderWord.WEIGHT, 0, weight_pct=0)]
    part = resolve(Service(), Answer(at_ns=0), orders, 0)
    assert part is not None
    assert render_line(part, "drain") == b"up drain 0%\n"


@given(st.text(max_size=300))
def test_a_reason_never_breaks_the_line(text: str) -> None:
    reason = clean_reason(text)
    assert reason.isascii()
    assert reason.isprintable()
    assert len(reason) <= 100
