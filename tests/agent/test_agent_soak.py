"""Thirty days of a whole agent on trio's MockClock: random signals, failures, orders, polls, restarts, machines that sleep.

The agent is the real one (`Service`: its tasks that read, decide, end leases and keep) and so is the answerer in C, asked
for the moment that it is. Only the signals, the clock and the folder are played. What must hold at each moment is told by
models too simple to be wrong: when each lease ends, when each number was read, what each balancer holds, and how far the
weight may have moved. Thirty days at a second's pace are millions of steps, so those run at paces of minutes, every time of the
settings stretched alike, and the usual paces for some minutes.
"""

from __future__ import annotations

import ipaddress
import random

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

import risefall.agent.service as service_module
from risefall.agent.clock import Clock
from risefall.agent.desk import Desk
from risefall.agent.leases import Book, Order, OrderWord, make_order
from risefall.agent.machine import this_machine
from risefall.agent.reading import Reading
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, Cpu, Disk, MaxConn, Missing, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings
from risefall.agent.voice import Kept, Voice
from risefall.engine.answerer import Answerer, Peer

S = 1_000_000_000
DAY_S = 86_400
WALL = 1_800_000_000 * S
SETTLED_NS = 1_000_000
"""A lease that ends while everybody is awake is ended within this: a rounding of the clock, nothing else."""
BALANCERS = (
    Peer(ipaddress.ip_address("10.0.0.1")), Peer(ipaddress.ip_address("10.0.0.2")),
    Peer(ipaddress.ip_address("fd00::3"), "web"), Peer(ipaddress.ip_address("fd00::3"), "api"),
)  # fmt: skip


def settings_at(pace_s: int) -> Settings:
    """Signals every `pace_s`, all other times in proportion."""
    ms = pace_s * 1000
    app = ServiceSettings(
        signal=(
            Cpu(name="cpu", every_ms=ms, curve=((50, 100), (95, 1))),
            Disk(name="disk", every_ms=ms, curve=((90, 100), (99, 20)), missing=Missing.IGNORE),
        ),
        smooth_ms=5 * ms,
        step_pct=20 / pace_s,
        stale_ms=10 * ms,
        maxconn=MaxConn(signal="cpu", curve=((0, 900), (100, 9))),
        state=(
            Condition(say=Say.DRAIN, signal="disk", op=Op.MORE, value=97, for_ms=3 * ms, clear_ms=9 * ms),
            Condition(say=Say.DOWN, signal="cpu", op=Op.MORE, value=99.9, for_ms=2 * ms),
        ),
    )
    return Settings(agent=Agent(listen=("127.0.0.1:0",), seen_ms=60 * ms), service={"app": app})


class Folder:
    """A state folder in memory: it holds what was written last, as JSON."""

    def __init__(self) -> None:
        self.orders, self.told = b"[]", b"[]"

    def read(self) -> tuple[Book, list[Kept]]:
        orders = msgspec.json.decode(self.orders, type=list[Order])
        return Book(orders), msgspec.json.decode(self.told, type=list[Kept])

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def run(self, orders: object, told: object) -> None:
        await trio.sleep_forever()

    async def settled(self) -> str:
        await trio.lowlevel.checkpoint()
        return ""

    async def write(self, orders: list[Order], told: list[Kept], *, last: bool = False) -> bool:
        self.orders, self.told = msgspec.json.encode(orders), msgspec.json.encode(told)
        await trio.lowlevel.checkpoint()
        return True


class Sensor:
    """Reads random numbers, fails, takes its time, and now and then fails for long."""

    def __init__(self, life: Life, signal: Cpu | Disk) -> None:
        self.life, self.signal = life, signal
        self.fails_until = 0

    async def read(self) -> Reading:
        dice, at_ns = self.life.dice, self.life.now
        await trio.sleep(dice.choice((0, 0, 0, 0.5)) * self.signal.every_ms / 1000)
        if dice.random() < 0.003:
            self.fails_until = at_ns + int(dice.uniform(0, 30) * self.signal.every_ms * 1_000_000)
        if at_ns < self.fails_until or dice.random() < 0.05:
            return Reading(at_ns, None, "EIO")
        if self.signal.name == "cpu":
            self.life.read_at = at_ns
            return Reading(at_ns, dice.choice((dice.uniform(0, 100), 40.0, 100.0)))
        return Reading(at_ns, dice.choice((50.0, 96.0, 98.0)))


class Life:
    """An agent over its restarts, and beside it the models."""

    def __init__(self, seed: int, pace_s: int, clock: trio.testing.MockClock) -> None:
        self.dice = random.Random(seed)
        self.pace_s = pace_s
        self.settings = settings_at(pace_s)
        self.app = self.settings.service["app"]
        self.mock = clock
        self.folder = Folder()
        self.orders: dict[str, Order] = {}
        self.bits = dict.fromkeys(BALANCERS, "operator's own")
        self.ours = dict.fromkeys(BALANCERS, False)
        self.woke = 0
        self.counts = {"answers": 0, "stale": 0, "ready": 0, "ended": 0, "restarts": 0, "naps": 0}

    @property
    def now(self) -> int:
        return S + int(trio.current_time() * S)

    @property
    def wall(self) -> int:
        return WALL + self.now

    def start(self) -> Service:
        """An agent that knows nothing but what is in the folder."""
        clock = Clock(lambda: self.now, lambda: self.wall)
        self.service = Service(self.settings, this_machine(), None, lambda line: None, clock=clock, keeper=self.folder)
        self.service.sensors = {"app": [Sensor(self, signal) for signal in self.app.signal]}
        self.read_at: int | None = None  # when cpu, which must not be old, was last read
        self.said: float | None = None
        self.aim: float | None = None
        self.started = self.refreshed = self.now
        self.watch(self.service.desk)
        return self.service

    def watch(self, desk: Desk) -> None:
        """Steps and hysteresis hold at each decision, and leases end on time and not before."""
        refresh, expire = desk.refresh, desk.expire

        def refreshed(name: str, now_ns: int) -> object:
            answer = refresh(name, now_ns)
            memory = desk._counters[name].memory
            if memory.said is None or memory.aim is None:
                assert memory.said is memory.aim is self.said is None, "what was remembered is forgotten"
                assert not answer.known
            elif self.said is not None and self.aim is not None:
                most = self.app.step_pct * (now_ns - self.refreshed) / S
                assert abs(memory.said - self.said) <= most + 1e-6
                moved = abs(memory.aim - self.aim)
                assert moved == 0 or moved >= self.app.hysteresis_pct or memory.aim in (self.app.floor_pct, 100)
            self.said, self.aim, self.refreshed = memory.said, memory.aim, now_ns
            assert self.app.floor_pct <= answer.weight_pct <= 100
            assert answer.maxconn is None or answer.maxconn >= 1
            return answer

        def expired(wall_ns: int) -> list[Order]:
            ended = expire(wall_ns)
            for order in ended:
                assert order.ends_ns is not None
                assert order.ends_ns <= wall_ns <= max(order.ends_ns, self.woke) + SETTLED_NS
            self.counts["ended"] += len(ended)
            return ended

        desk.refresh, desk.expire = refreshed, expired  # type: ignore[method-assign, assignment]

    def order(self) -> None:
        word = self.dice.choice(list(OrderWord))
        weight = self.dice.randrange(101) if word is OrderWord.WEIGHT else None
        lease_ms = int(self.dice.choice((0.001, 1, 60, 7200, 50_000)) * 1000 * self.pace_s)
        order = make_order("app", word, self.wall, lease_ms=lease_ms, weight_pct=weight)
        self.service.desk.give(order)
        self.service.ordered()
        self.orders["weight" if weight is not None else "state"] = order

    def standing(self, slot: str) -> Order | None:
        """The model of leases."""
        order = self.orders.get(slot)
        assert order is None or order.ends_ns is not None
        return order if order is not None and order.ends_ns is not None and self.wall < order.ends_ns else None

    def is_stale(self) -> bool:
        born = self.started if self.read_at is None else self.read_at
        return self.now - born > self.app.stale_ms * 1_000_000

    def poll(self, balancer: Peer) -> None:
        """One answer, which must be right to the letter."""
        heard = self.dice.random() < 0.97  # else the connection broke: it may have been heard or not
        line = self.service.voice.ask("app", balancer, self.now, sent=heard)
        state, weight = self.standing("state"), self.standing("weight")
        if not line:
            assert not self.is_stale()
            assert self.read_at is state is weight is None
            return
        self.take_in(line.decode().split(), balancer, state, weight)
        if heard:
            assert str(balancer) not in self.service.voice.waiting("app", self.now)

    def take_in(self, words: list[str], balancer: Peer, state: Order | None, weight: Order | None) -> None:
        stale = self.is_stale()
        self.counts["answers"] += 1
        self.counts["stale"] += stale
        self.counts["ready"] += "ready" in words
        pcts = [word for word in words if word.endswith("%")]
        if weight is not None:
            assert pcts == [f"{weight.weight_pct}%"]
        elif not stale and self.read_at is not None:
            assert len(pcts) == 1
        if not stale and self.read_at is not None:
            assert words[0] in ("up", "down")
            assert sum(word.startswith("maxconn:") for word in words) == 1
        if weight is None and (stale or self.read_at is None):
            assert pcts == [], "an old number is never said"
        if stale and (state is None or state.word is not OrderWord.READY):
            assert words[0] == "down"
        if state is not None:
            assert ("drain" in words, "maint" in words) == (state.word.value == "drain", state.word.value == "maint")
        self.obey(words, balancer)

    def obey(self, words: list[str], balancer: Peer) -> None:
        """The model of HAProxy."""
        admin = next((word for word in words if word in ("drain", "maint", "ready")), None)
        if admin is not None:
            self.bits[balancer] = "" if admin == "ready" else admin
            if admin == "ready":
                assert self.ours[balancer], "ready is only for whom this agent drained"
            self.ours[balancer] = True
        elif self.ours[balancer]:
            assert self.bits[balancer] == "", "a drain of ours was never taken back"

    async def nap(self) -> None:
        """The machine sleeps. Who asks before any of this agent's tasks has run hears nothing old all the same."""
        self.counts["naps"] += 1
        self.mock.jump(self.dice.choice((1, 5, 30, 600)) * self.pace_s)
        self.woke = self.wall
        words = self.service.voice.ask("app", BALANCERS[0], self.now).decode().split()
        if self.is_stale() and "ready" not in words and not {"up", "drain", "maint"} & set(words):
            assert not words or words[0] == "down"
        if self.is_stale() and self.orders.get("weight") is None:
            assert not [word for word in words if word.endswith("%")], "an old number is never said"
        self.obey(words, BALANCERS[0])
        await trio.testing.wait_all_tasks_blocked()

    async def live(self, until_s: float) -> None:
        """Until the next restart, or the end."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.start().run)
            while trio.current_time() < until_s:
                await trio.sleep(self.dice.expovariate(1 / self.pace_s))
                roll = self.dice.random()
                if roll < 0.01:
                    self.order()
                elif roll < 0.013:
                    break
                elif roll < 0.017:
                    await self.nap()
                self.poll(self.dice.choice(BALANCERS))
            self.service.stop()
        self.counts["restarts"] += 1


def live_on(seed: int, pace_s: int, span_s: float) -> Life:
    """A life in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    life = Life(seed, pace_s, clock)

    async def main() -> None:
        while trio.current_time() < span_s:
            await life.live(span_s)

    trio.run(main, clock=clock)
    return life


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 2**32))
@example(1)
def test_thirty_days(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_module, "TICK_S", 600.0)
        life = live_on(seed, 600, 30 * DAY_S)
    assert all(life.counts.values()), life.counts


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_ten_minutes_at_the_usual_pace(seed: int) -> None:
    assert live_on(seed, 1, 600).counts["answers"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_an_answer_is_never_older_than_its_limit(seed: int, values: list[float]) -> None:
    """A refresher that hangs is no excuse: the age counts when the line is said, not when it was decided."""
    dice = random.Random(seed)
    settings = settings_at(1)
    desk = Desk(settings, Book(), started_ns=S)
    now = S
    with Answerer() as answerer:
        voice = Voice(desk, answerer)
        for value in values:
            desk.put("app", "cpu", Reading(now, value))
            desk.refresh("app", now)
            voice.freshen("app", now, WALL)
            limit = now + settings.service["app"].stale_ms * 1_000_000
            assert b"stale" not in answerer.ask(BALANCERS[0], 0, limit)
            assert answerer.ask(BALANCERS[0], 0, limit + 1) in (b"down #stale\n", b"down ready #stale\n")
            now += dice.randrange(1, 9 * S)
