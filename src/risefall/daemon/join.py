"""Where news of the checks meets the state of servers: events up, orders down, nothing lost on the way.

C swallows what is no news, so a steady fleet never gets here. Events are drained in batches; a check whose event found
the ring full is read from its record instead. A `Join` lives as long as its configuration: a reload makes another one,
which hears of the checks that go on.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from risefall.config.haproxy.model import Family
from risefall.daemon.figures import Known
from risefall.daemon.orders import Orders
from risefall.daemon.placed import Placed, begin, check_of, key_of, made_of
from risefall.daemon.report import Report
from risefall.engine.live import EVERY
from risefall.engine.native import Change, Endpoint, Program, Record, now_ns
from risefall.engine.outside import Outside
from risefall.engine.targets import Retell, Target
from risefall.engine.workers import CheckId, Workers
from risefall.state.aims import aim_of
from risefall.state.carrying import all_of
from risefall.state.exchange import Aim, CheckChange, CheckResult
from risefall.state.fleet import Effects, Fleet
from risefall.state.monitor import number_of
from risefall.state.server import AGENT, HEALTH, Op
from risefall.state.words import state_text


def now_ms() -> int:
    """The clock of the fleet: monotonic milliseconds."""
    return now_ns() // 1_000_000


def endpoint_of(aim: Aim) -> Endpoint:
    """Where a check connects to. An unspecified address is the local host (spec §2.5)."""
    return place_of(msgspec.structs.replace(aim, host=LOCAL.get(aim.host, aim.host)))


def place_of(aim: Aim) -> Endpoint:
    """An address of `state` as the engine takes it."""
    if aim.host.startswith("/"):
        return Endpoint(Family.UNIX, os.fsencode(aim.host))
    if aim.host.startswith("abns@"):
        return Endpoint(Family.ABNS, os.fsencode(aim.host.removeprefix("abns@")))
    address = ipaddress.ip_address(aim.host)
    return Endpoint(address.version, address.packed, aim.port)


LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}


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
        to=endpoint_of(change.aim) if change.aim is not None else None,
        keep_pace=not change.at_once,
    )


class Crew:
    """What every configuration of one run shares: the workers, the way of orders to them, the checks made outside."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.orders = Orders()
        self.outside = Outside(self._facts)
        self.facts_of: Callable[[CheckId], tuple[str, int, int, bool]] | None = None
        self.listeners: list[Callable[[Effects], None]] = []
        """Who else hears of every change, such as those that push it to a HAProxy."""
        self.changes = 0
        """Rises with everything that may have changed a server."""

    def end(self, check: CheckId) -> None:
        """Ends a check."""
        self.outside.remove(key_of(check))
        self.orders.send(partial(self.workers.remove, check))

    def _facts(self, key: int) -> tuple[str, int, int, bool]:
        """What a check that is made outside may tell of its server; those inside get it with their orders."""
        return ("", 1, 1, False) if self.facts_of is None else self.facts_of(check_of(key))


class Join:
    """The checks of one fleet on its workers."""

    def __init__(
        self,
        fleet: Fleet,
        crew: Crew,
        report: Report,
        placed: Placed,
        groups: Sequence[int],
        agent_program: Callable[[str], Program],
        retells: dict[int, Retell] | None = None,
        reads: Mapping[int, frozenset[str]] | None = None,
    ) -> None:
        """groups: the engine's group of each proxy. agent_program: what an agent-check does that sends a text.

        retells: what checks tell that name their server or its address, or read facts of servers, by server. reads: of those,
        which backends.
        """
        self._retells = {} if retells is None else retells
        self._readers: dict[str, set[int]] = {}
        for index, names in ({} if reads is None else reads).items():
            self._read_by(index, names)
        self._told: dict[int, tuple[Aim, str, bytes]] = {}
        self._agent_program = agent_program
        self.fleet = fleet
        self.workers = crew.workers
        self.outside = crew.outside
        self.report = report
        self.placed = placed
        self._crew = crew
        self._orders = crew.orders
        self._groups = groups
        crew.facts_of = self._facts
        for place, proxy in enumerate(fleet.proxies):
            if proxy.count:
                self._weight(place)
        for index in self._retells:
            self._tell(index)

    def _tell_readers(self, proxies: set[int]) -> None:
        """Tells the checks that read facts of these proxies' servers."""
        if self._readers:
            names = {self.fleet.proxies[place].name for place in proxies} | {EVERY}
            for index in {index for name in names for index in self._readers.get(name, ())}:
                self._tell(index)

    def _tell(self, index: int) -> None:
        """Tells a check what it says of its server's address and name, or reads of servers, where that is something else now."""
        retell, server = self._retells.get(index), self.fleet.servers[index]
        check = self.placed.check_id(index, HEALTH)
        if retell is None or check is None or not server.address:
            return
        at = Aim(server.address, server.port)
        site, process = retell(place_of(at), server.name, partial(number_of, self.fleet))
        if self._told.get(index) == (at, server.name, site):
            return
        self._told[index] = (at, server.name, site)
        self.outside.retell(key_of(check), site)
        self._orders.send(partial(self.workers.set_site, check, site, process))

    def tell_state(self, index: int) -> None:
        """Tells a check what its request says of its server (`http-check send-state`)."""
        self.order(index, HEALTH, CheckChange(state_text=state_text(self.fleet.servers[index]), touched=False))

    def tell_all(self, index: int, which: int | None = None, *, aims: bool = False) -> None:
        """Tells the checks of a server, or one of them, all that the engine may not know. aims: also where they go."""
        server = self.fleet.servers[index]
        self._tell(index)
        for each, check in ((HEALTH, server.health), (AGENT, server.agent)):
            if check is None or which not in (None, each):
                continue
            change = all_of(self.fleet, index, each)
            if (aims or server.moved) and (aim := aim_of(server, each)) is not None:
                change = msgspec.structs.replace(change, aim=aim)
            self.order(index, each, change)

    @property
    def record(self) -> Known:
        """The engine's figures of one check, or of many."""
        return Known(self.placed, self.workers)

    # --- servers that come and go ---------------------------------------------------------------------------

    def add(self, index: int, target: Target) -> bool:
        """Begins the checks of a new server, which must be in the fleet; false where the engine is too busy just now.

        Raises NativeError where there is no room for more checks.
        """
        for which in (HEALTH, AGENT):
            if (made := made_of(target, which)) is None:
                continue
            if begin(self.workers, self.placed, self.outside, index, which, made[0], reach=made[1]) is None:
                self.forget(index)
                return False
        if target.health is not None and target.planned.rules.send_state:
            self.tell_state(index)
        self._retells.pop(index, None)
        self._told.pop(index, None)
        if target.retell is not None:
            self._retells[index] = target.retell
            self._read_by(index, target.reads)
            self._tell(index)
        self._tell_readers({self.fleet.servers[index].proxy})
        return True

    def _read_by(self, index: int, backends: frozenset[str]) -> None:
        for name in backends:
            self._readers.setdefault(name, set()).add(index)

    def forget(self, index: int) -> None:
        """Ends the checks of a server that is gone."""
        for readers in self._readers.values():
            readers.discard(index)
        for check in self.placed.forget(index):
            self._crew.end(check)

    def renamed(self, index: int) -> None:
        """A command has given a server another name."""
        self._crew.changes += 1
        self._tell(index)

    # --- down ---------------------------------------------------------------------------------------------

    def apply(self, effects: Effects) -> None:
        """Carries out what a result or a command led to."""
        self._crew.changes += 1
        if self._retells:
            touched = {*effects.changed, *(order.server for order in effects.orders)}
            for index in touched:
                self._tell(index)
            self._tell_readers({self.fleet.servers[index].proxy for index in touched} | set(effects.weights))
        for order in effects.orders:
            self.order(order.server, order.which, order.change)
        for proxy in effects.weights:
            self._weight(proxy)
        for line in effects.lines:
            self.report.line(line.proxy, line.level, line.text)
        self.report.states(self.fleet, effects.changed)
        for tell in self._crew.listeners:
            tell(effects)

    def order(self, index: int, which: int, change: CheckChange) -> None:
        """Tells one check what it must know; nothing where the engine has none."""
        check = self.placed.check_id(index, which)
        if check is None:
            return
        made = change_of(change)
        if made.to is not None:
            self.outside.move(key_of(check), made.to)
        if change.observed is not None:
            told = change.observed
            self._orders.send(partial(self.workers.observed, check, told.ceiling, told.text, again=told.again))
            return
        self._orders.send(partial(self.workers.command, check, made))
        if change.send is not None:
            self._orders.send(partial(self.workers.set_program, check, self._agent_program(change.send)))

    def _weight(self, proxy: int) -> None:
        """Tells a proxy's total weight."""
        total = self.fleet.total_weight(proxy)
        self._orders.send(partial(self.workers.group_weight, self._groups[proxy], total))

    def _facts(self, check: CheckId) -> tuple[str, int, int, bool]:
        found = self.placed.find(check)
        if found is None:
            return "", 1, 1, False
        index, _ = found
        server = self.fleet.servers[index]
        weight, total = self.fleet.effective_weight(index), self.fleet.total_weight(server.proxy)
        return state_text(server), weight, total, server.op is Op.STOPPED

    # --- up -------------------------------------------------------------------------------------------------

    def drain(self, worker: int) -> int:
        """Handles a batch of news of one worker; how many there were."""
        engine = self.workers.engines[worker]
        events = engine.drain()
        now = now_ms()
        for event in events:
            check = CheckId(worker, event.check)
            found = self.placed.find(check)
            if found is None:
                continue
            if event.run:
                self.outside.ask(key_of(check), event, engine.report)
                continue
            index, which = found
            effects = self.fleet.result(index, which, event.result, now)
            self.report.check(self.fleet, index, which, event)
            self.apply(effects)
        return len(events)

    def drain_dirty(self, worker: int) -> int:
        """Checks whose event was lost: the state follows their record, only the result line is missing."""
        engine = self.workers.engines[worker]
        handled = 0
        while dirty := engine.drain_dirty():
            for record in engine.snapshot(dirty):
                found = None if record is None else self.placed.find(CheckId(worker, record.check))
                if record is None or found is None:
                    continue
                handled += 1
                index, which = found
                self.apply(self.fleet.result(index, which, result_of(record), now_ms(), logged=False))
        return handled


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
