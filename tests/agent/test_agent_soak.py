"""Thirty days in virtual time, with random signals, failures, orders, polls and restarts; nothing sleeps.

What must hold at each moment is told by models too simple to be wrong: when each lease ends, when each number was read,
what each balancer holds, and how far the weight may have moved.
"""

from __future__ import annotations

import ipaddress
import random

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from risefall.agent.desk import Desk
from risefall.agent.leases import Book, Order, OrderWord, make_order
from risefall.agent.reading import Reading
from risefall.agent.settings import Condition, Cpu, Disk, MaxConn, Missing, Op, Say, Service, Settings
from risefall.agent.voice import Kept, Voice
from risefall.engine.answerer import Answerer, Peer

MS = 1_000_000
S = 1000 * MS
DAY = 86_400 * S
WALL = 1_800_000_000 * S
SERVICE = Service(
    signal=(
        Cpu(name="cpu", curve=((50, 100), (95, 1))),
        Disk(name="disk", curve=((90, 100), (99, 20)), missing=Missing.IGNORE),
    ),
    maxconn=MaxConn(signal="cpu", curve=((0, 900), (100, 9))),
    state=(
        Condition(say=Say.DRAIN, signal="disk", op=Op.MORE, value=97, for_ms=20_000, clear_ms=60_000),
        Condition(say=Say.DOWN, signal="cpu", op=Op.MORE, value=99.9, for_ms=5000),
    ),
)
SETTINGS = Settings(service={"app": SERVICE})
BALANCERS = (
    Peer(ipaddress.ip_address("10.0.0.1")), Peer(ipaddress.ip_address("10.0.0.2")),
    Peer(ipaddress.ip_address("fd00::3"), "web"), Peer(ipaddress.ip_address("fd00::3"), "api"),
)  # fmt: skip
GAPS = (1 * MS, 100 * MS, 1 * S, 5 * S, 30 * S, 600 * S, 3 * 3600 * S)
ODDS = (5, 15, 50, 15, 8, 5, 2)
"""How long until something happens, and how often: mostly a second, at times so long that all numbers are old."""


class Life:
    """An agent, and beside it the models."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = self.started = self.refreshed = 1 * S
        self.book = Book()
        self.desk, self.answerer = self.start([])
        self.read_at: int | None = None  # when cpu, which must not be old, was last read
        self.orders: dict[str, Order] = {}
        self.bits = dict.fromkeys(BALANCERS, "operator's own")
        self.ours = dict.fromkeys(BALANCERS, False)
        self.said: float | None = None
        self.aim: float | None = None
        self.counts = {"answers": 0, "stale": 0, "ready": 0, "ended": 0, "restarts": 0}

    def start(self, kept: list[Kept]) -> tuple[Desk, Answerer]:
        desk, answerer = Desk(SETTINGS, self.book, started_ns=self.now), Answerer()
        self.voice = Voice(desk, answerer)
        self.voice.remember(kept, self.now, self.wall)
        self.voice.freshen("app", self.now, self.wall)
        return desk, answerer

    @property
    def wall(self) -> int:
        return WALL + self.now

    def restart(self) -> None:
        """All is forgotten but the two files."""
        self.book = Book(msgspec.json.decode(msgspec.json.encode(self.book.orders()), type=list[Order]))
        told = msgspec.json.decode(msgspec.json.encode(self.voice.kept(self.now, self.wall)), type=list[Kept])
        self.answerer.close()
        self.desk, self.answerer = self.start(told)
        self.read_at, self.said, self.aim = None, None, None
        self.started = self.now
        self.counts["restarts"] += 1

    def read(self) -> None:
        """Signals come, fail, or hang, which looks like nothing."""
        if self.dice.random() < 0.9:
            failed = self.dice.random() < 0.1
            value = None if failed else self.dice.choice((self.dice.uniform(0, 100), 40.0, 100.0))
            self.desk.put("app", "cpu", Reading(self.now, value, "EIO" if failed else ""))
            self.read_at = self.read_at if failed else self.now
        if self.dice.random() < 0.5:
            self.desk.put("app", "disk", Reading(self.now, self.dice.choice((50.0, 96.0, 98.0))))

    def refresh(self) -> None:
        """Steps and hysteresis hold, whatever comes in."""
        self.voice.count(self.now)
        answer = self.desk.refresh("app", self.now)
        self.voice.freshen("app", self.now, self.wall)
        memory = self.desk._counters["app"].memory
        assert (memory.said is None) == (memory.aim is None)
        if memory.said is None or memory.aim is None:
            assert self.said is None, "what was remembered is forgotten"
            assert not answer.known
        elif self.said is not None and self.aim is not None:
            most = SERVICE.step_pct * (self.now - self.refreshed) / S
            assert abs(memory.said - self.said) <= most + 1e-6
            moved = abs(memory.aim - self.aim)
            assert moved == 0 or moved >= SERVICE.hysteresis_pct or memory.aim in (SERVICE.floor_pct, 100)
        self.said, self.aim, self.refreshed = memory.said, memory.aim, self.now
        assert SERVICE.floor_pct <= answer.weight_pct <= 100
        assert answer.maxconn is None or answer.maxconn >= 1

    def order(self) -> None:
        word = self.dice.choice(list(OrderWord))
        weight = self.dice.randrange(101) if word is OrderWord.WEIGHT else None
        lease_ms = self.dice.choice((1, 1000, 60_000, 7_200_000, 3 * 86_400_000))
        order = make_order("app", word, self.wall, lease_ms=lease_ms, weight_pct=weight)
        self.desk.give(order)
        self.orders["weight" if weight is not None else "state"] = order

    def standing(self, slot: str) -> Order | None:
        """The model of leases."""
        order = self.orders.get(slot)
        assert order is None or order.ends_ns is not None
        return order if order is not None and order.ends_ns is not None and self.wall < order.ends_ns else None

    def poll(self) -> None:
        balancer = self.dice.choice(BALANCERS)
        heard = self.dice.random() < 0.97  # else the connection broke: it may have been heard or not
        line = self.answerer.ask(balancer, 0, self.now, sent=heard)
        state, weight = self.standing("state"), self.standing("weight")
        born = self.started if self.read_at is None else self.read_at
        # A reading counts from the refresh on that has seen it; here each reading is followed by one.
        stale = self.now - born > SERVICE.stale_ms * MS
        if not line:
            assert not stale
            assert self.read_at is None
            assert state is None
            assert weight is None
            return
        self.check_line(line.decode().split(), balancer, state, weight, stale)
        if heard:
            assert str(balancer) not in self.voice.waiting("app", self.now)

    def check_line(
        self, words: list[str], balancer: Peer, state: Order | None, weight: Order | None, stale: bool
    ) -> None:
        self.counts["answers"] += 1
        self.counts["stale"] += stale
        self.counts["ready"] += "ready" in words
        pcts = [word for word in words if word.endswith("%")]
        if weight is not None:
            assert pcts == [f"{weight.weight_pct}%"]
        elif stale or self.read_at is None:
            assert pcts == [], "an old number is never said"
        else:
            assert len(pcts) == 1
        if stale and (state is None or state.word is not OrderWord.READY):
            assert words[0] == "down"
        if state is not None:
            assert ("drain" in words, "maint" in words) == (state.word.value == "drain", state.word.value == "maint")
        admin = next((word for word in words if word in ("drain", "maint", "ready")), None)
        if admin is not None:
            self.bits[balancer] = "" if admin == "ready" else admin
            if admin == "ready":
                assert self.ours[balancer], "ready is only for whom this agent drained"
            self.ours[balancer] = True
        elif self.ours[balancer]:
            assert self.bits[balancer] == "", "a drain of ours was never taken back"

    def step(self) -> None:
        self.now += self.dice.choices(GAPS, ODDS)[0]
        for order in self.desk.expire(self.wall):
            assert order.ends_ns is not None
            assert order.ends_ns <= self.wall
            self.counts["ended"] += 1
        roll = self.dice.random()
        if roll < 0.03:
            self.order()
        elif roll < 0.04:
            self.restart()
        elif roll < 0.75:
            self.read()
        self.refresh()
        for _ in range(self.dice.randrange(4)):
            self.poll()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
@example(1)
def test_thirty_days(seed: int) -> None:
    life = Life(seed)
    while life.now < 30 * DAY:
        life.step()
    life.answerer.close()
    assert all(life.counts.values()), life.counts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_an_answer_is_never_older_than_its_limit(seed: int, values: list[float]) -> None:
    """A refresher that hangs is no excuse: the age counts when the line is said, not when it was decided."""
    dice = random.Random(seed)
    desk = Desk(SETTINGS, Book(), started_ns=S)
    now = S
    with Answerer() as answerer:
        voice = Voice(desk, answerer)
        for value in values:
            desk.put("app", "cpu", Reading(now, value))
            desk.refresh("app", now)
            voice.freshen("app", now, WALL)
            limit = now + SERVICE.stale_ms * MS
            assert b"stale" not in answerer.ask(BALANCERS[0], 0, limit)
            assert answerer.ask(BALANCERS[0], 0, limit + 1) in (b"down #stale\n", b"down ready #stale\n")
            now += dice.randrange(1, 9 * S)
