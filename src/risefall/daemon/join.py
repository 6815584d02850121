"""Where news of the checks meets the state of servers: events up, orders down, nothing lost on the way.

C swallows what is no news, so a steady fleet never gets here. Events are drained in batches; a check whose event found
the ring full is read from its record instead. An order that finds the queue full waits here, before all later ones.
"""

from __future__ import annotations

import ipaddress
import os
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import trio

from risefall.config.haproxy.model import Family
from risefall.daemon.report import Report
from risefall.engine.native import Change, CheckSpec, Endpoint, Handle, Program, Record, now_ns
from risefall.engine.outside import Outside, Reach
from risefall.engine.targets import Target
from risefall.engine.workers import CheckId, Workers
from risefall.state.exchange import Aim, CheckChange, CheckResult
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import AGENT, HEALTH, Op
from risefall.state.words import state_text

RETRY_S = 0.005
BATCHES_MAX = 16
"""Batches drained before other tasks get their turn."""


def now_ms() -> int:
    """The clock of the fleet: monotonic milliseconds."""
    return now_ns() // 1_000_000


def endpoint_of(aim: Aim) -> Endpoint:
    """An address of `state` as the engine takes it. An unspecified one is the local host (spec §2.5)."""
    if aim.host.startswith("/"):
        return Endpoint(Family.UNIX, os.fsencode(aim.host))
    if aim.host.startswith("abns@"):
        return Endpoint(Family.ABNS, os.fsencode(aim.host.removeprefix("abns@")))
    address = ipaddress.ip_address(LOCAL.get(aim.host, aim.host))
    return Endpoint(address.version, address.packed, aim.port)


LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def inet(address: bytes, port: int) -> Endpoint:
    """An address in network order as the engine takes it."""
    return Endpoint(4 if len(address) == 4 else 6, address, port)


def change_of(change: CheckChange) -> Change:
    """An order of `state` as the engine takes it."""
    return Change(
        epoch=change.epoch,
        health=change.health,
        paused=change.paused,
        enabled=change.enabled,
        stopped=change.stopped,
        state_text=change.state_text,
        weight=change.weight,
        touched=change.touched,
        to=endpoint_of(change.aim) if change.aim is not None else inet(*change.to) if change.to is not None else None,
        keep_pace=change.aim is not None,
    )


class Placed:
    """Which worker runs which check, by the server's place in the fleet; made before the fleet lives."""

    def __init__(self, workers: Workers, targets: Sequence[Target]) -> None:
        """Gives every check to a worker, the two of one server to the same. Before the workers start."""
        self._handles = array("Q", bytes(16 * len(targets)))
        self._workers = array("H", bytes(4 * len(targets)))
        self.outside: list[tuple[Program, CheckSpec, Reach]] = []
        """Health checks that the trio driver makes."""
        self.tells_state = array("L")
        """Servers whose request tells their state (`http-check send-state`)."""
        count = len(workers.engines)
        for index, target in enumerate(targets):
            for which, made in enumerate((target.health, target.agent)):
                if made is None:
                    continue
                check = workers.add(*made, worker=index % count)
                assert check is not None, "the threads do not run yet: nothing can be full"
                self._handles[index << 1 | which] = check.handle
                self._workers[index << 1 | which] = check.worker
            if target.health is not None and target.reach is not None:
                self.outside.append((*target.health, target.reach))
            if target.health is not None and target.planned.rules.send_state:
                self.tells_state.append(index)

    def add(self, workers: Workers, index: int, target: Target) -> bool:
        """Gives the checks of a server that comes later to a worker; false where its queue is full just now.

        Raises NativeError where there is no room for more checks.
        """
        while len(self._workers) <= index << 1 | 1:
            self._handles.append(0)
            self._workers.append(0)
        worker = index % len(workers.engines)
        for which, made in enumerate((target.health, target.agent)):
            if made is None:
                continue
            check = workers.add(*made, worker=worker)
            if check is None:
                return False
            self._handles[index << 1 | which] = check.handle
            self._workers[index << 1 | which] = check.worker
        return True

    def forget(self, index: int) -> list[CheckId]:
        """The checks of a server that is gone."""
        gone = [check for which in (HEALTH, AGENT) if (check := self.check_id(index, which)) is not None]
        self._handles[index << 1] = self._handles[index << 1 | 1] = 0
        return gone

    def is_current(self, tag: int, check: Handle) -> bool:
        """Whether news with this tag are of the check that has it now, not of one that is gone."""
        return tag < len(self._handles) and self._handles[tag] == check

    def check_id(self, index: int, which: int) -> CheckId | None:
        """A check by its server; None when the engine has none."""
        handle = self._handles[index << 1 | which]
        return CheckId(self._workers[index << 1 | which], Handle(handle)) if handle else None


class Join:
    """The checks of one fleet on its workers."""

    def __init__(
        self, fleet: Fleet, workers: Workers, report: Report, placed: Placed, agent_program: Callable[[str], Program]
    ) -> None:
        """agent_program: what an agent-check does that sends a text."""
        self._agent_program = agent_program
        self.fleet = fleet
        self.workers = workers
        self.report = report
        self.handled = 0
        """Events that Python has handled."""
        self._placed = placed
        self.outside = Outside(self._facts)
        for made in placed.outside:
            self.outside.add(*made)
        placed.outside.clear()
        self._pending: deque[Callable[[], bool]] = deque()
        self._late = trio.Event()
        for index in placed.tells_state:
            self._order(index, HEALTH, CheckChange(state_text=state_text(fleet.servers[index]), touched=False))
        for place, proxy in enumerate(fleet.proxies):
            if proxy.count:
                self._weight(place)

    def record(self, index: int, which: int) -> Record | None:
        """The engine's figures of one check."""
        check = self._placed.check_id(index, which)
        return None if check is None else self.workers.engines[check.worker].snapshot([check.handle])[0]

    # --- servers that come and go ---------------------------------------------------------------------------

    def add(self, index: int, target: Target) -> bool:
        """Begins the checks of a new server, which must be in the fleet; false where the engine is too busy just now.

        Raises NativeError where there is no room for more checks.
        """
        if not self._placed.add(self.workers, index, target):
            self.forget(index)
            return False
        if target.health is not None and target.reach is not None:
            self.outside.add(*target.health, target.reach)
        if target.health is not None and target.planned.rules.send_state:
            self._order(index, HEALTH, CheckChange(state_text=state_text(self.fleet.servers[index]), touched=False))
        return True

    def forget(self, index: int) -> None:
        """Ends the checks of a server that is gone."""
        for which in (HEALTH, AGENT):
            self.outside.remove(index << 1 | which)
        for check in self._placed.forget(index):
            self._send(partial(self.workers.remove, check))

    # --- down ---------------------------------------------------------------------------------------------

    def apply(self, effects: Effects) -> None:
        """Carries out what a result or a command led to."""
        for order in effects.orders:
            self._order(order.server, order.which, order.change)
        for proxy in effects.weights:
            self._weight(proxy)
        for line in effects.lines:
            self.report.line(line.proxy, line.level, line.text)
        self.report.states(self.fleet, effects.changed)

    def _order(self, index: int, which: int, change: CheckChange) -> None:
        check = self._placed.check_id(index, which)
        if check is None:
            return
        made = change_of(change)
        if made.to is not None:
            self.outside.move(index << 1 | which, made.to)
        if change.observed is not None:
            self._send(partial(self.workers.observed, check, change.observed.ceiling, change.observed.text))
            return
        self._send(partial(self.workers.command, check, made))
        if change.send is not None:
            self._send(partial(self.workers.set_program, check, self._agent_program(change.send)))

    def _send(self, order: Callable[[], bool]) -> None:
        """Gives an order now, or once all that wait before it are given."""
        if self._pending or not order():
            self._pending.append(order)
            self._late.set()

    def _weight(self, proxy: int) -> None:
        """Tells a proxy's total weight; the engine's groups are the proxies of the configuration."""
        total = self.fleet.total_weight(proxy)
        self._send(partial(self.workers.group_weight, proxy, total))

    def _facts(self, tag: int) -> tuple[str, int, int, bool]:
        """What a check that is made outside may tell of its server; those inside get it with their orders."""
        server = self.fleet.servers[tag >> 1]
        weight, total = self.fleet.effective_weight(tag >> 1), self.fleet.total_weight(server.proxy)
        return state_text(server), weight, total, server.op is Op.STOPPED

    async def run_pending(self) -> None:
        """Sends what found a queue full, in order, until cancelled."""
        while True:
            await self._late.wait()
            self._late = trio.Event()
            while self._pending:
                if self._pending[0]():
                    self._pending.popleft()
                else:
                    await trio.sleep(RETRY_S)

    # --- up -------------------------------------------------------------------------------------------------

    async def run_worker(self, worker: int) -> None:
        """Handles the news of one worker until cancelled."""
        engine = self.workers.engines[worker]
        while True:
            await trio.lowlevel.wait_readable(engine.fileno())
            engine.clear()
            batches = 0
            while self._drain(worker):
                batches += 1
                if batches % BATCHES_MAX == 0:
                    await trio.lowlevel.checkpoint()
            self._drain_dirty(worker)

    def _drain(self, worker: int) -> int:
        events = self.workers.engines[worker].drain()
        now = now_ms()
        for event in events:
            if not self._placed.is_current(event.tag, event.check):
                continue
            if event.run:
                self.outside.ask(event, self.workers.engines[worker].report)
                continue
            index, which = event.tag >> 1, event.tag & 1
            effects = self.fleet.result(index, which, event.result, now)
            self.report.check(self.fleet, index, which, event)
            self.apply(effects)
        self.handled += len(events)
        return len(events)

    def _drain_dirty(self, worker: int) -> None:
        """Checks whose event was lost: the state follows their record, only the result line is missing."""
        engine = self.workers.engines[worker]
        while dirty := engine.drain_dirty():
            for record in engine.snapshot(dirty):
                if record is None or not self._placed.is_current(record.tag, record.check):
                    continue
                self.handled += 1
                index, which = record.tag >> 1, record.tag & 1
                self.apply(self.fleet.result(index, which, result_of(record), now_ms(), logged=False))


def result_of(record: Record) -> CheckResult:
    """A record as the news that it would have been."""
    return CheckResult(
        epoch=record.epoch,
        status=record.status,
        verdict=record.verdict,
        code=record.code,
        health=record.health,
        duration_ms=record.duration_ms,
        text=record.text,
        admin=record.admin,
        weight_kind=record.weight_kind,
        weight=record.weight,
        maxconn=record.maxconn,
    )
