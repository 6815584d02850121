"""Who asks for what, and what is told to people."""

from __future__ import annotations

import pytest

from risefall.agent.desk import Desk
from risefall.agent.explain import render_tree
from risefall.agent.leases import Book, OrderWord, Slot, make_order
from risefall.agent.reading import Reading
from risefall.agent.settings import Cpu, Say, Service, Settings
from risefall.agent.words import Ledger

S = 1_000_000_000
CPU = Cpu(name="cpu", curve=((50, 100), (90, 10)))


def desk(**services: Service) -> Desk:
    return Desk(Settings(service=services), Book(), Ledger(), started_ns=0)


@pytest.mark.parametrize(
    ("sent", "chosen"),
    [
        (b"app\n", ("app", "ip")), (b"postgres", ("db", "ip")), (b"app web\r\n", ("app", "ip web")), (b"", ("db", "ip")),
        (b"other x\n", ("db", "ip x")), (b"\xff\n", ("db", "ip")), (b"app\nrest", ("app", "ip")), (b"db\n", ("db", "ip")),
    ],
)  # fmt: skip
def test_one_port_for_many_services(sent: bytes, chosen: tuple[str, str]) -> None:
    assert desk(app=Service(), db=Service(send="postgres", default=True)).choose(sent, "ip") == chosen


def test_without_a_default_an_unknown_word_gets_no_answer() -> None:
    made = desk(app=Service(), db=Service())
    assert made.choose(b"", "ip") is None
    assert made.choose(b"x\n", "ip") is None
    assert made.choose(b"x\n", "ip", only=["db"]) == ("db", "ip")
    assert made.choose(b"app\n", "ip", only=["db"]) == ("db", "ip")
    assert desk(app=Service()).choose(b"x\n", "ip") == ("app", "ip")


def test_silence_until_something_is_known() -> None:
    made = desk(app=Service(signal=(CPU,)))
    assert made.speak("app", "a", 1 * S, 0).line is None
    made.put("app", "cpu", Reading(1 * S, 70))
    made.refresh("app", 1 * S, 0)
    assert made.speak("app", "a", 1 * S, 0).line == b"up 55%\n"


def test_nothing_ever_known_is_stale_in_the_end() -> None:
    made = desk(app=Service(signal=(CPU,)))
    assert made.speak("app", "a", 11 * S, 0).line == b"down #stale\n"


def test_an_order_counts_at_once_and_it_is_known_who_has_not_heard() -> None:
    made = desk(app=Service())
    made.refresh("app", 0, 0)
    made.sent(made.speak("app", "a", 0, 0), 0)
    made.give(make_order("app", OrderWord.DRAIN, 0, lease_ms=1000))
    assert made.waiting("app", 0) == ["a"]
    spoken = made.speak("app", "a", 0, 0)
    assert spoken.line == b"up drain 100%\n"
    made.sent(spoken, 0)
    assert made.waiting("app", 0) == []
    assert [order.word for order in made.expire(1 * S)] == [OrderWord.DRAIN]
    assert made.waiting("app", 1 * S) == ["a"]
    assert made.speak("app", "a", 1 * S, 1 * S).line == b"up ready 100%\n"
    with pytest.raises(KeyError):
        made.give(make_order("nope", OrderWord.DRAIN, 0))
    assert made.release("app", Slot.STATE) is None


def test_the_whole_tree() -> None:
    made = desk(app=Service(signal=(CPU,), stale_ms=5000))
    made.put("app", "cpu", Reading(0, 70))
    made.refresh("app", 1 * S, 0)
    made.give(make_order("app", OrderWord.WEIGHT, 0, weight_pct=5, who="ann", reason="slow disk"))
    lines = render_tree(made.explain("app", 2 * S, 0)).splitlines()
    assert lines[:3] == [
        "app: up 5% #slow disk  (limit 5000 ms, numbers 2.0 s old)",
        "├─ order weight: 5%  (ann, slow disk)",
        "└─ load and conditions: 55%",
    ]
    assert made.services() == ["app"]
    assert made.readings("app")["cpu"].value == 70


def test_an_agent_that_goes_says_so() -> None:
    made = desk(app=Service(), db=Service(signal=(CPU,)))
    made.refresh("app", 0, 0)
    made.closing = Say.DRAIN
    assert made.speak("app", "a", 0, 0).line == b"up drain 100% #agent stops\n"
    assert made.speak("db", "a", 0, 0).line == b"drain #agent stops\n"
    made.closing = Say.DOWN
    assert made.speak("db", "b", 0, 0).line == b"down #agent stops\n"
