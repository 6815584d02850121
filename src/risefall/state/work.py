"""One call on a fleet, while it lasts: what it has caused so far, and what C knew before of whom it touches.

Every order that overrides a running check (counter, pause, enable) gives the check a new epoch; every other change of a
server only asks both checks to tell their next result again, for HAProxy acts on each result where C tells only news.
Source: spec/haproxy-checks.md §1.2, §3.8, §4.5, §5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from risefall.state.exchange import Aim, CheckChange
from risefall.state.lines import LogLine
from risefall.state.server import AGENT, HEALTH, Op
from risefall.state.words import state_text

if TYPE_CHECKING:
    from risefall.state.fleet import Fleet


class Order(msgspec.Struct, frozen=True, gc=False):
    """What C must know of one check. which: HEALTH or AGENT."""

    server: int
    which: int
    change: CheckChange


class Effects(msgspec.Struct):
    """All that one call has caused. changed: servers whose state changed, in the order they did, each once.

    weights: proxy -> its new total effective weight, where that changed.
    """

    lines: list[LogLine] = []
    orders: list[Order] = []
    changed: list[int] = []
    weights: dict[int, int] = {}


class Known(msgspec.Struct, frozen=True, gc=False):
    """What C knew of a server before a call."""

    stopped: bool
    text: str
    weight: int


class Forced(msgspec.Struct, gc=False):
    """What a call overrides in one check."""

    epoch: int
    health: int | None = None
    paused: bool | None = None
    enabled: bool | None = None


class Work:
    """One call on a fleet, from its first change to its `finish`."""

    def __init__(self, fleet: Fleet, now_ms: int) -> None:
        self.fleet = fleet
        self.now_ms = now_ms
        self.effects = Effects()
        self._known: dict[int, Known] = {}
        self._forced: dict[tuple[int, int], Forced] = {}
        self._aims: dict[tuple[int, int], Aim] = {}
        self._at_once: set[tuple[int, int]] = set()
        self._sends: dict[int, str] = {}
        self._touched: set[int] = set()
        self._changed: set[int] = set()

    def keep(self, index: int) -> None:
        """Must be called before a server is changed for the first time."""
        if index not in self._known:
            server = self.fleet.servers[index]
            weight = self.fleet.effective_weight(index)
            self._known[index] = Known(server.op is Op.STOPPED, state_text(server), weight)

    def touch(self, index: int) -> None:
        """The next result of either check acts again, even if it is the same as the last."""
        self.keep(index)
        self._touched.add(index)

    def change(self, index: int) -> None:
        """The server's state changes."""
        self.touch(index)
        if index not in self._changed:
            self._changed.add(index)
            self.effects.changed.append(index)

    def force(
        self,
        index: int,
        which: int,
        *,
        health: int | None = None,
        paused: bool | None = None,
        enabled: bool | None = None,
    ) -> None:
        """Overrides a check; what a run says that completed before C hears of it does not count any more."""
        self.touch(index)
        server = self.fleet.servers[index]
        check = server.agent if which == AGENT else server.health
        assert check is not None
        forced = self._forced.get((index, which))
        if forced is None:
            check.epoch = (check.epoch + 1) & 0xFFFFFFFF or 1
            forced = self._forced[index, which] = Forced(check.epoch)
        if health is not None:
            check.health = forced.health = health
        if paused is not None:
            check.paused = forced.paused = paused
        if enabled is not None:
            check.enabled = forced.enabled = enabled

    def aim(self, index: int, which: int, aim: Aim, *, at_once: bool = False) -> None:
        """Sends a check elsewhere: from its next connection on, or with a run that begins at once."""
        self.touch(index)
        self._aims[index, which] = aim
        if at_once:
            self._at_once.add((index, which))

    def send(self, index: int, text: str) -> None:
        """Changes what a server's agent is sent."""
        self.touch(index)
        self._sends[index] = text

    def say(self, *told: LogLine) -> None:
        self.effects.lines.extend(told)

    def finish(self) -> Effects:
        """What C must know, of each server that this call has dealt with."""
        for index, known in self._known.items():
            self._order_health(index, known)
            self._order_agent(index)
        for proxy in {self.fleet.servers[index].proxy: None for index in self._known}:
            self.fleet.weigh_proxy(proxy, self.effects.weights)
        return self.effects

    def _order_health(self, index: int, known: Known) -> None:
        server = self.fleet.servers[index]
        if server.health is None:
            return
        stopped, text, weight = server.op is Op.STOPPED, state_text(server), self.fleet.effective_weight(index)
        touched = index in self._touched
        if not touched and text == known.text:
            return
        forced = self._forced.get((index, HEALTH)) or Forced(0)
        change = CheckChange(
            epoch=forced.epoch,
            health=forced.health,
            paused=forced.paused,
            enabled=forced.enabled,
            stopped=None if stopped == known.stopped else stopped,
            state_text=None if text == known.text else text,
            weight=None if weight == known.weight else weight,
            # Where only its own counter moved, the check has nothing to say twice.
            touched=touched,
            aim=self._aims.get((index, HEALTH)),
            at_once=(index, HEALTH) in self._at_once,
        )
        self.effects.orders.append(Order(index, HEALTH, change))

    def _order_agent(self, index: int) -> None:
        if self.fleet.servers[index].agent is None or index not in self._touched:
            return
        forced = self._forced.get((index, AGENT)) or Forced(0)
        change = CheckChange(
            epoch=forced.epoch,
            health=forced.health,
            paused=forced.paused,
            enabled=forced.enabled,
            touched=True,
            aim=self._aims.get((index, AGENT)),
            at_once=(index, AGENT) in self._at_once,
            send=self._sends.get(index),
        )
        self.effects.orders.append(Order(index, AGENT, change))
