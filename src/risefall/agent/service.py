"""`risefall agent` as it runs: signals, answers, leases that end, and what must outlive it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import trio

from risefall.agent.desk import Desk
from risefall.agent.keep import read_kept, write_kept
from risefall.agent.leases import Book, Order
from risefall.agent.listener import Gate, Port, Statistics, open_ports
from risefall.agent.machine import Machine, boot_ns
from risefall.agent.sensing import Engine, Sensor, follow, make_sensors
from risefall.agent.settings import Settings
from risefall.agent.words import Ledger, Told
from risefall.errors import StartError

TICK_S = 1.0
"""How often answers are decided anew and leases looked at, beside what readings cause."""
ORDERS_FILE = "orders.json"
TOLD_FILE = "told.json"
Log = Callable[[str], None]


class Keeper:
    """The two files in the state folder, written in a thread whenever what they hold has changed."""

    def __init__(self, folder: str | None, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._wake = trio.Event()
        self._orders: list[Order] = []
        self._failed = ""

    def read(self) -> tuple[Book, Ledger]:
        """What an earlier agent left. Raises StartError when it cannot be known."""
        if self._folder is None:
            return Book(), Ledger()
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            orders, first = read_kept(f"{self._folder}/{ORDERS_FILE}", list[Order])
            told, second = read_kept(f"{self._folder}/{TOLD_FILE}", list[Told])
        except OSError as error:
            raise StartError(f"{error.filename or self._folder}: {error.strerror}: orders cannot be kept") from error
        for warning in (first, second):
            if warning:
                self._log(f"warning: {warning}")
        self._orders = orders or []
        return Book(self._orders), Ledger(told or [])

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def run(self, desk: Desk) -> None:
        """Writes for ever. A disk that is full is told once, and tried again at the next change."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self.write(desk)

    async def write(self, desk: Desk) -> None:
        """Writes what has changed since the last time."""
        orders = desk.book.orders()
        changed, desk.ledger.changed = desk.ledger.changed, False
        if self._folder is None or (orders == self._orders and not changed):
            return
        told = desk.ledger.kept()
        try:
            if orders != self._orders:
                await trio.to_thread.run_sync(write_kept, f"{self._folder}/{ORDERS_FILE}", orders)
                self._orders = orders
            if changed:
                await trio.to_thread.run_sync(write_kept, f"{self._folder}/{TOLD_FILE}", told)
            self._failed = ""
        except OSError as error:
            desk.ledger.changed = desk.ledger.changed or changed
            said = f"warning: orders are not kept: {error.filename or self._folder}: {error.strerror}"
            if said != self._failed:
                self._log(said)
            self._failed = said


class Service:
    """An agent from its settings on."""

    def __init__(self, settings: Settings, machine: Machine, engine: Engine | None, log: Log) -> None:
        self.settings = settings
        self.statistics = Statistics()
        self._log = log
        self._keeper = Keeper(settings.agent.state_dir, log)
        book, ledger = self._keeper.read()
        self.desk = Desk(settings, book, ledger, started_ns=time.monotonic_ns(), boot_ns=boot_ns(machine))
        self.sensors: dict[str, list[Sensor]] = make_sensors(self.desk, machine, engine)
        agent = settings.agent
        self._gate = Gate(agent.allow, agent.connections_per_source, agent.connections)
        self._stopping = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until `stop` was called and the last words were said. Tells the addresses once it listens."""
        ports = await self._open()
        addresses = [listener.socket.getsockname()[:2] for listener, _ in ports]
        try:
            async with trio.open_nursery() as nursery:
                for service, sensors in self.sensors.items():
                    for sensor in sensors:
                        nursery.start_soon(follow, self.desk, service, sensor)
                for listener, port in ports:
                    nursery.start_soon(self._serve, listener, port)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._keeper.run, self.desk)
                task_status.started(addresses)
                await self._stopping.wait()
                if self.settings.agent.shutdown_ms:
                    await trio.sleep(self.settings.agent.shutdown_ms / 1000)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await self._keeper.write(self.desk)

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """From now on the last word is said, for as long as the settings have it."""
        if self.settings.agent.shutdown_ms:
            self.desk.closing = self.settings.agent.shutdown
        self._stopping.set()

    async def _open(self) -> list[tuple[trio.SocketListener, Port]]:
        """All listeners, or none. Raises StartError."""
        opened: list[tuple[trio.SocketListener, Port]] = []
        try:
            for listen, port in self._ports():
                opened.extend([(listener, port) for listener in await open_ports(listen)])
        except StartError:
            for listener, _ in opened:
                listener.socket.close()
            raise
        return opened

    def _ports(self) -> list[tuple[tuple[str, ...], Port]]:
        """Addresses and who answers there: the agent's for all services that have none of their own."""
        shared = [name for name, each in self.settings.service.items() if not each.listen]
        groups = [(self.settings.agent.listen, shared)] if shared else []
        own: dict[str, list[str]] = {}
        for name, each in self.settings.service.items():
            for text in each.listen:
                own.setdefault(text, []).append(name)
        groups += [((text,), names) for text, names in own.items()]
        return [
            (listen, Port(self.desk, names, self._gate, self.statistics, self._changed)) for listen, names in groups
        ]

    def _changed(self) -> None:
        if self.desk.ledger.changed:
            self._keeper.wake()

    async def _serve(self, listener: trio.SocketListener, port: Port) -> None:
        """Accepts for ever; trio itself waits a little when descriptors run out."""
        with suppress(trio.ClosedResourceError):
            await trio.serve_listeners(port.answer, [listener])

    async def _tick(self) -> None:
        """Ends leases on time and keeps answers moving where no reading does."""
        while True:
            for order in self.desk.expire(time.time_ns()):
                self._log(f"{order.service}: '{order.word.value}' has ended by its lease")
            for name in self.desk.services():
                self.desk.refresh(name, time.monotonic_ns(), time.time_ns())
            self._keeper.wake()
            await trio.sleep(TICK_S)
