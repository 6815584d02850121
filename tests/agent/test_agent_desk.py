"""Who asks for what, and what is told to people."""

from __future__ import annotations

from risefall.agent.desk import Desk
from risefall.agent.explain import render_tree
from risefall.agent.leases import Book, OrderWord, Slot, make_order
from risefall.agent.reading import Reading
from risefall.agent.settings import Cpu, Say, Service, Settings
from risefall.agent.words import render_line

S = 1_000_000_000
CPU = Cpu(name="cpu", curve=((50, 100), (90, 10)))


def desk(**services: Service) -> Desk:
    return Desk(Settings(service=services), Book(), started_ns=0)


def said(made: Desk, name: str, now: int, wall: int = 0) -> bytes:
    part = made.part(name, now, wall)
    return b"" if part is None else render_line(part, part.admin or "")


def test_silence_until_something_is_known() -> None:
    made = desk(app=Service(signal=(CPU,)))
    assert said(made, "app", 1 * S, 0) == b""
    made.put("app", "cpu", Reading(1 * S, 70))
    made.refresh("app", 1 * S)
    assert said(made, "app", 1 * S, 0) == b"up 55%\n"


def test_nothing_ever_known_is_stale_in_the_end() -> None:
    made = desk(app=Service(signal=(CPU,)))
    assert said(made, "app", 11 * S, 0) == b"down #stale\n"


def test_an_order_counts_at_once_and_is_another_version() -> None:
    made = desk(app=Service())
    made.refresh("app", 0)
    before = made.version("app")
    made.give(make_order("app", OrderWord.DRAIN, 0, lease_ms=1000))
    assert made.version("app") != before
    assert said(made, "app", 0) == b"up drain 100%\n"
    before = made.version("app")
    assert [order.word for order in made.expire(1 * S)] == [OrderWord.DRAIN]
    assert made.version("app") != before
    assert said(made, "app", 1 * S, 1 * S) == b"up 100%\n"
    assert made.release("app", Slot.STATE) is None
    made.give(make_order("later", OrderWord.DRAIN, 0))  # of a service that a reload may bring back
    assert made.services() == ["app"]
    assert [order.service for order in made.book.orders()] == ["later"]


def test_the_whole_tree() -> None:
    made = desk(app=Service(signal=(CPU,), stale_ms=5000))
    made.put("app", "cpu", Reading(0, 70))
    made.refresh("app", 1 * S)
    made.give(make_order("app", OrderWord.WEIGHT, 0, weight_pct=5, who="ann", reason="slow disk"))
    lines = render_tree(made.explain("app", 2 * S, 0)).splitlines()
    assert lines[:3] == [
        "app: up 5% #slow disk  (limit 5 s, numbers 2.0 s old)",
        "├─ order weight: 5%  (ann, slow disk)",
        "└─ load and conditions: 55%",
    ]
    assert made.services() == ["app"]
    assert made.readings("app")["cpu"].value == 70


def test_an_agent_that_goes_says_so() -> None:
    made = desk(app=Service(), db=Service(signal=(CPU,)))
    made.refresh("app", 0)
    made.closing = Say.DRAIN
    assert said(made, "app", 0, 0) == b"up drain 100% #agent stops\n"
    assert said(made, "db", 0, 0) == b"drain #agent stops\n"
    made.closing = Say.DOWN
    assert said(made, "db", 0, 0) == b"down #agent stops\n"
