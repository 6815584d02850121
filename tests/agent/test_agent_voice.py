"""What the desk decides is what the answerer says; `ready` goes to those alone that were told to go, also over restarts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.agent.desk import Desk
from risefall.agent.leases import Book, Order, OrderWord, Slot, make_order
from risefall.agent.reading import Reading
from risefall.agent.settings import Agent, Cpu, MaxConn, Safe, Service, Settings
from risefall.agent.voice import Kept, Voice
from risefall.engine.answerer import Answerer, Peer

S = 1_000_000_000
NOW = 1000 * S
WALL = 1_800_000_000 * S
A, B = Peer(ipaddress.ip_address("10.0.0.1")), Peer(ipaddress.ip_address("fd00::2"), "web")
APP = Service(signal=(Cpu(name="cpu", curve=((50, 100), (90, 10))),), stale_ms=5000)


@pytest.fixture
def answerer() -> Iterator[Answerer]:
    with Answerer() as made:
        yield made


def voice_of(answerer: Answerer, **services: Service) -> Voice:
    settings = Settings(agent=Agent(seen_ms=60_000), service=services)
    voice = Voice(Desk(settings, Book(), started_ns=NOW), answerer)
    for name in (name for name, service in services.items() if not service.signal):
        voice.desk.refresh(name, NOW)
    return voice


def test_silence_then_numbers_then_the_safe_word(answerer: Answerer) -> None:
    """Each at its own moment, without anybody asking Python."""
    voice = voice_of(answerer, app=APP)
    voice.freshen("app", NOW, WALL)
    assert answerer.ask(A, 0, NOW + 5 * S) == b""
    assert answerer.ask(A, 0, NOW + 5 * S + 1) == b"down #stale\n"
    voice.desk.put("app", "cpu", Reading(NOW, 70))
    voice.desk.refresh("app", NOW)
    voice.freshen("app", NOW, WALL)
    assert answerer.ask(A, 0, NOW + 5 * S) == b"up 55%\n"
    assert answerer.ask(A, 0, NOW + 5 * S + 1) == b"down #stale\n"


def test_silence_as_the_safe_word(answerer: Answerer) -> None:
    voice = voice_of(answerer, app=msgspec.structs.replace(APP, stale_word=Safe.SILENCE))
    voice.freshen("app", NOW, WALL)
    assert answerer.ask(A, 0, NOW + 60 * S) == b""
    voice.desk.give(make_order("app", OrderWord.DRAIN, WALL))
    voice.freshen("app", NOW, WALL)
    assert answerer.ask(A, 0, NOW + 60 * S) == b"drain\n"


def test_who_polls_and_who_has_not_yet_heard(answerer: Answerer) -> None:
    voice = voice_of(answerer, app=Service(), db=Service())
    voice.freshen("app", NOW, WALL)
    assert voice.waiting("app", NOW) == []
    answerer.ask(A, 0, NOW)
    answerer.ask(B, 0, NOW + 50 * S)
    assert voice.waiting("app", NOW) == []
    voice.desk.give(make_order("app", OrderWord.DRAIN, WALL))
    voice.freshen("app", NOW, WALL)
    assert voice.waiting("app", NOW + 60 * S) == ["10.0.0.1", "fd00::2 web"]
    assert voice.waiting("app", NOW + 61 * S) == ["fd00::2 web"]
    assert answerer.ask(B, 0, NOW + 62 * S) == b"down drain #stale\n"
    assert voice.waiting("app", NOW + 62 * S) == []
    assert voice.waiting("db", NOW + 62 * S) == []


def test_the_balancers_that_poll_share_maxconn(answerer: Answerer) -> None:
    service = msgspec.structs.replace(APP, maxconn=MaxConn(signal="cpu", curve=((0, 100), (100, 100))))
    voice = voice_of(answerer, app=service)
    for count, peer in enumerate((A, B), 1):
        answerer.ask(peer, 0, NOW)  # silence counts nobody
        voice.desk.put("app", "cpu", Reading(NOW, 10))
        voice.desk.refresh("app", NOW)
        voice.freshen("app", NOW, WALL)
        answerer.ask(peer, 0, NOW)
        voice.count(NOW)
        assert voice.desk.refresh("app", NOW).maxconn == 100 // count


def test_what_is_kept_is_who_is_owed_and_who_polls(answerer: Answerer) -> None:
    voice = voice_of(answerer, app=Service(), db=Service())
    for name in ("app", "db"):
        voice.freshen(name, NOW, WALL)
    voice.desk.give(make_order("app", OrderWord.MAINT, WALL))
    voice.freshen("app", NOW, WALL)
    answerer.ask(A, 0, NOW)
    answerer.ask(B, 1, NOW)
    ms = WALL // 1_000_000
    owed = Kept(service="app", balancer="10.0.0.1", owed=1, asked_ms=ms)
    assert voice.kept(NOW + S, WALL + S) == [owed, Kept(service="db", balancer="fd00::2 web", asked_ms=ms)]
    assert voice.kept(NOW + 100 * S, WALL + 100 * S) == [owed]


def test_what_a_file_may_hold_harms_nobody(answerer: Answerer) -> None:
    voice = voice_of(answerer, app=Service())
    kept = [
        Kept(service="gone", balancer="10.0.0.1", owed=1), Kept(service="app", balancer="nobody", owed=1),
        Kept(service="app", balancer="10.0.0.1 " + "x" * 500, owed=2), Kept(service="app", balancer="10.0.0.1", asked_ms=1),
        Kept(service="app", balancer="10.0.0.9", owed=1, asked_ms=1 << 50),
    ]  # fmt: skip
    voice.remember(kept, NOW, WALL)
    assert [one.owed for one in voice.kept(NOW, WALL)] == [2, 1]


@given(
    st.lists(st.tuples(st.sampled_from((A, B)), st.sampled_from(("", "drain", "maint")), st.booleans()), max_size=40)
)
def test_against_a_model_of_haproxy(history: list[tuple[Peer, str, bool]]) -> None:
    """After each answer a balancer is drained exactly as wanted; its operator's own drain stands when ours never came."""
    bits, ours = {A: "drain", B: "drain"}, {A: False, B: False}
    answerer = Answerer()
    voice = voice_of(answerer, app=Service())
    for balancer, wanted, restart in history:
        if restart:
            kept = voice.kept(NOW, WALL)
            answerer.close()
            answerer = Answerer()
            voice = voice_of(answerer, app=Service())
            voice.remember(kept, NOW, WALL)
        if wanted:
            voice.desk.give(make_order("app", OrderWord(wanted), WALL))
        else:
            voice.desk.release("app", Slot.STATE)
        voice.freshen("app", NOW, WALL)
        words = answerer.ask(balancer, 0, NOW).decode().split()
        for word in set(words) & {"drain", "maint", "ready"}:
            bits[balancer] = "" if word == "ready" else word
            ours[balancer] = True
        assert bits[balancer] == (wanted if ours[balancer] else "drain")
    answerer.close()


def test_what_is_kept_survives_a_reboot(answerer: Answerer) -> None:
    """The monotonic clock begins anew, below what it was; leases run on the wall clock, and who is owed is owed."""
    first = voice_of(answerer, app=Service())
    first.desk.give(make_order("app", OrderWord.DRAIN, WALL, lease_ms=1_200_000, reason="deploy"))
    first.freshen("app", NOW, WALL)
    assert answerer.ask(A, 0, NOW) == b"up drain 100% #deploy\n"
    orders = msgspec.json.decode(msgspec.json.encode(first.desk.book.orders()), type=list[Order])
    told = msgspec.json.decode(msgspec.json.encode(first.kept(NOW, WALL)), type=list[Kept])
    booted, wall = 2 * S, WALL + 60 * S
    with Answerer() as later:
        second = Voice(Desk(first.desk.settings, Book(orders), started_ns=booted), later)
        second.remember(told, booted, wall)
        second.desk.refresh("app", booted)
        second.freshen("app", booted, wall)
        assert later.ask(A, 0, booted) == b"up drain 100% #deploy\n"
        left_ns = 1_140 * S
        assert second.desk.expire(wall + left_ns - 1) == []
        assert [order.reason for order in second.desk.expire(wall + left_ns)] == ["deploy"]
        second.desk.refresh("app", booted + left_ns)
        second.freshen("app", booted + left_ns, wall + left_ns)
        assert later.ask(A, 0, booted + left_ns) == b"up ready 100%\n"
        assert later.ask(A, 0, booted + left_ns) == b"up 100%\n"
