"""`risefall agent` as it runs: signals, answers, leases that end, and what must outlive it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import trio

from risefall.agent.clock import REAL, Clock
from risefall.agent.control import Control, control_socket, serve_control
from risefall.agent.desk import Desk
from risefall.agent.keeping import Keep, Keeper
from risefall.agent.listener import TEXT_WAIT_MS, Door, Doors, Port, doors_of, ports_of
from risefall.agent.machine import Machine, boot_ns
from risefall.agent.sensing import Engine, Sensor, follow, make_sensors
from risefall.agent.settings import Settings
from risefall.agent.standing import Standing, standing_of
from risefall.agent.track_file import TrackFile, number_of
from risefall.agent.voice import Kept, Voice
from risefall.engine.answerer import Answerer, Counts
from risefall.errors import StartError

TICK_S = 1.0
"""How often answers are decided anew and who polls is counted, beside what readings and orders cause."""
LAST_WRITE_S = 2.0
UNKNOWN_MAX = 20
"""So many wrong words are told at most: whoever may connect may send anything."""
Log = Callable[[str], None]


class Service:
    """An agent from its settings on."""

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        engine: Engine | None,
        log: Log,
        *,
        usual_socket: str = "",
        clock: Clock = REAL,
        keeper: Keep | None = None,
    ) -> None:
        """usual_socket: for orders where the settings name none; "" for none. One that cannot be had is told.

        clock, keeper: a test's own; the latter in place of the files of `state_dir`.
        Raises: StartError when what an earlier agent has left cannot be read.
        """
        self.settings = settings
        self._machine = machine
        self._usual_socket = usual_socket
        self.voice: Voice
        self._log = log
        self._clock = clock
        self._keeper = keeper or Keeper(settings.agent.state_dir, log)
        book, self._told = self._keeper.read()
        self.desk = Desk(settings, book, started_ns=clock.now_ns(), boot_ns=boot_ns(machine))
        self.sensors: dict[str, list[Sensor]] = make_sensors(self.desk, machine, engine)
        self._answerer: Answerer
        self._changed = trio.Event()
        self._stopping = trio.Event()
        self._over = False
        self._next: tuple[Settings, Engine | None] | None = None
        self._turning, self._turned = trio.Event(), trio.Event()
        """It is time for other settings or for the end; and these are served."""
        self._doors = Doors()
        self._unknown: set[str] = set()
        self._standings: dict[str, Standing] = {}
        self._followers: list[Callable[[Standing], None]] = []
        self._files: dict[str, TrackFile] = {}
        """By path, also of services that a reload has taken out."""
        self._nursery: trio.Nursery
        self._control = Control(
            lambda: self.desk,
            lambda: self.voice,
            self._ports,
            now_ns=clock.now_ns,
            wall_ns=clock.wall_ns,
            settled=self._keeper.settled,
            ordered=self.ordered,
            log=log,
        )
        self.addresses: list[tuple[str, int]] = []
        self.http_address: tuple[str, int] | None = None

    async def run(self, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until `stop` was called and the last words were said. Tells the addresses once it listens.

        Raises: StartError for an address that cannot be had; NativeError when there is no room for the answerer.
        """
        with ExitStack() as opened:
            opened.callback(self._doors.keep, ())
            self._doors.open(doors_of(self.settings))
            control = self._control_socket(opened)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._keeper.run, self.desk.book.orders, self._kept)
                    if control is not None:
                        nursery.start_soon(serve_control, control, self._control.answer)
                    await self._serve(task_status.started)
                    while not self._over:
                        assert self._next is not None
                        self._turn(*self._next)
                        await self._serve(lambda addresses: None)
                    nursery.cancel_scope.cancel()
            finally:
                self._turned.set()
                with trio.CancelScope(shield=True), trio.move_on_after(LAST_WRITE_S):
                    await self._keeper.write(self.desk.book.orders(), self._told, last=True)
                self._keeper.close()

    async def _serve(self, started: Callable[[list[tuple[str, int]]], None]) -> None:
        """Serves until there are other settings, or the end has come and the last words were said."""
        with self._speaking():
            try:
                async with trio.open_nursery() as nursery:
                    if self.settings.agent.http:
                        self._serve_web(nursery)
                    for service, sensors in self.sensors.items():
                        for sensor in sensors:
                            nursery.start_soon(follow, self.desk, service, sensor, self.refresh)
                    nursery.start_soon(self._tick)
                    nursery.start_soon(self._listen_to_answerer)
                    started(self.addresses)
                    self._turned.set()
                    await self._turning.wait()
                    if self.stopped:
                        await trio.sleep(self.settings.agent.shutdown_ms / 1000)
                        self._over = True
                    nursery.cancel_scope.cancel()
            finally:
                self._told = self._kept()

    def _turn(self, settings: Settings, engine: Engine | None) -> None:
        """From one set of settings to the next, between two answerers. What is the same goes on where it was."""
        self._next = None
        self.http_address = None
        if not self.stopped:
            self._turning = trio.Event()
        before, now_ns = self.desk, self._clock.now_ns()
        self.settings = settings
        for old in before.settings.service.values():
            if old.track_file and all(old.track_file != one.track_file for one in settings.service.values()):
                self._file(old.track_file).put(
                    old.track_down
                )  # nobody follows it any more, and keepalived shall not trust it
        self._doors.keep(doors_of(settings))
        self.desk = Desk(settings, before.book, started_ns=now_ns, boot_ns=boot_ns(self._machine))
        self.desk.adopt(before, now_ns)
        self.sensors = make_sensors(self.desk, self._machine, engine, self.sensors)
        for name in set(before.services()) - set(self.desk.services()):
            self._stands(standing_of(name, None))
            del self._standings[name]
        for standing in self._standings.values():
            self._follow(standing)

    # --- what others ask of it

    async def reload(self, settings: Settings, engine: Engine | None) -> None:
        """Goes on with other settings; returns once they are served, or the end has overtaken them.

        Raises: StartError for an address that cannot be had, or what only a restart can change: then all stays as it was.
        """
        if self.stopped:
            return
        for key in ("state_dir", "socket"):
            if getattr(settings.agent, key) != getattr(self.settings.agent, key):
                raise StartError(f"agent.{key} is another one: this takes a restart")
        self._doors.open(doors_of(settings))
        self._next = settings, engine
        if self._turned.is_set():  # else another reload waits, which this one overtakes
            self._turned = trio.Event()
        self._turning.set()
        await self._turned.wait()

    def follow_standings(self, follower: Callable[[Standing], None]) -> None:
        """Calls with each service's standing now and at each change (good, weight, state, reason). It must not block."""
        self._followers.append(follower)
        for standing in self._standings.values():
            follower(standing)

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """From now on the last word is said, for as long as the settings have it."""
        if self.settings.agent.shutdown_ms:
            self.desk.closing = self.settings.agent.shutdown
            self.freshen_all()
        self._stopping.set()
        self._turning.set()

    def counts(self) -> Counts:
        """What the answerer has done."""
        return self._answerer.counts()

    def refresh(self, name: str) -> None:
        """Decides anew what a service says, and says it."""
        self.desk.refresh(name, self._clock.now_ns())
        self._say(name)

    def freshen_all(self) -> None:
        """Says what has changed beside the readings: orders, or the end. What comes after the last word is only kept."""
        if self._answerer.closed:
            return
        for name in self.desk.services():
            self._say(name)

    def ordered(self) -> None:
        """An order came or went: it counts from the next answer on, and a lease that ends sooner is waited for."""
        self.freshen_all()
        self._keeper.wake()
        self._changed.set()

    # --- its own

    def _say(self, name: str) -> None:
        """A service's present words, to balancers and to whoever follows."""
        now_ns, wall_ns = self._clock.now_ns(), self._clock.wall_ns()
        self.voice.freshen(name, now_ns, wall_ns)
        standing = self.desk.standing(name, now_ns, wall_ns)
        if standing != self._standings.get(name):
            self._stands(standing)

    def _stands(self, standing: Standing) -> None:
        """Tells whoever follows how a service stands."""
        self._standings[standing.service] = standing
        self._follow(standing)
        for follower in self._followers:
            follower(standing)

    def _follow(self, standing: Standing) -> None:
        """The service's track file, where it has one."""
        service = self.settings.service.get(standing.service)
        if service is not None and service.track_file:
            self._file(service.track_file).put(number_of(service, standing))

    def _file(self, path: str) -> TrackFile:
        """The one that writes a track file."""
        if path not in self._files:
            self._files[path] = TrackFile(path, self._log)
            self._nursery.start_soon(self._files[path].run)
        return self._files[path]

    def _control_socket(self, opened: ExitStack) -> socket.socket | None:
        """The operator's socket, where there is one."""
        path = self.settings.agent.socket
        if where := path or self._usual_socket:
            return opened.enter_context(control_socket(where, required=path is not None, log=self._log))
        return None

    def _ports(self) -> dict[str, tuple[tuple[int, ...], bool]]:
        """The ports of each service, and whether they are its own alone."""
        ports: dict[str, tuple[tuple[int, ...], bool]] = {}
        for (_, number), port in zip(self.addresses, ports_of(self.settings), strict=True):
            for name in port.services:
                before, alone = ports.get(name, ((), True))
                ports[name] = ((*before, number), alone and len(port.services) == 1)
        return ports

    def _serve_web(self, nursery: trio.Nursery) -> None:
        """The pages. Their modules are wanted here alone."""
        from risefall.agent.metrics import render_metrics
        from risefall.agent.web import Site, serve_web

        opened = self._doors.at(Door(self.settings.agent.http, pages=True)).dup()
        services = self.settings.service
        default = next((name for name in services if services[name].default or len(services) == 1), "")
        site = Site(
            lambda: [self.desk.standing(name, self._clock.now_ns(), self._clock.wall_ns()) for name in services],
            lambda: render_metrics(self._control.look(), self.counts()),
            default,
        )
        self.http_address = opened.getsockname()[:2]
        allow = [ipaddress.ip_network(text) for text in self.settings.agent.allow]
        nursery.start_soon(serve_web, opened, site, allow)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """The answerer on all its ports."""
        agent = self.settings.agent
        with Answerer(
            connections_max=agent.connections,
            per_source_max=agent.connections_per_source,
            text_ms=agent.send_ms or TEXT_WAIT_MS,
            linger_ms=agent.deadline_ms,
        ) as self._answerer:
            self.voice = Voice(self.desk, self._answerer)
            self.voice.remember(self._told, self._clock.now_ns(), self._clock.wall_ns())
            for text in agent.allow:
                self._answerer.allow(ipaddress.ip_network(text))
            for name, service in self.settings.service.items():
                self._answerer.name(service.send or name, self.voice.number(name))
            self.freshen_all()
            ports = ports_of(self.settings)
            self.addresses = [self._doors.at(Door(port.listen)).getsockname()[:2] for port in ports]
            for port in ports:
                self._listen(self._doors.at(Door(port.listen)).dup(), port)
            yield

    def _listen(self, listener: socket.socket, port: Port) -> None:
        fallback = None if port.fallback is None else self.voice.number(port.fallback)
        services = map(self.voice.number, port.services)
        self._answerer.listen(listener, services, fallback, by_text=port.by_text(self.settings))

    def _kept(self) -> list[Kept]:
        return self.voice.kept(self._clock.now_ns(), self._clock.wall_ns())

    async def _listen_to_answerer(self) -> None:
        """What balancers were told is in the file within moments."""
        while True:
            await trio.lowlevel.wait_readable(self._answerer.fileno())
            if self.voice.drain():
                self._keeper.wake()

    def _tell_unknown(self) -> None:
        """A wrong word in an agent-send looks like silence, or like another service; so each is told once."""
        said = self.voice.unknown()
        if said and said not in self._unknown and len(self._unknown) < UNKNOWN_MAX:
            self._unknown.add(said)
            self._log(f"note: {said}")

    async def _tick(self) -> None:
        """Ends leases on time and keeps answers moving where no reading does."""
        while True:
            for order in self.desk.expire(self._clock.wall_ns()):
                self._log(f"{order.service}: '{order.word.value}' has ended by its lease")
            self.voice.count(self._clock.now_ns())
            self._tell_unknown()
            for name in self.desk.services():
                self.refresh(name)
            self._keeper.wake()
            end_ns = self.desk.book.next_end_ns()
            left_s = TICK_S if end_ns is None else (end_ns - self._clock.wall_ns()) / 1e9
            with trio.move_on_after(min(TICK_S, max(0.0, left_s))):
                await self._changed.wait()
            self._changed = trio.Event()
