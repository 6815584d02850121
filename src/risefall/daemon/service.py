"""The daemon: reads nothing from the network but the checks' own answers, and tells what changed until it is ended.

Its parts, each a task: a drain for each worker, orders that wait for room, slowstarts, the ticker that owns up to
faults of our own, the terminal, the runtime socket, signals. Whoever ends first for a reason ends all of it.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import signal
import socket
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import trio

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.plan import Loaded
from risefall.daemon.assemble import Seed
from risefall.daemon.gauge import Gauge, show_reading
from risefall.daemon.growth import Grower
from risefall.daemon.join import Join, Placed, now_ms
from risefall.daemon.notify import Given, Notifier, Pulse, take_environment, tell_alive, tell_status
from risefall.daemon.report import Report
from risefall.daemon.wishes import Sections, sections_of, tallies_of
from risefall.engine.names import Found, Unresolved, key_of, resolve
from risefall.engine.native import Record, Statistics, now_ns
from risefall.engine.targets import Target, TargetBuilder
from risefall.engine.workers import Workers
from risefall.errors import RisefallError, StartError
from risefall.state import growth
from risefall.state.fleet import Effects, Fleet
from risefall.state.observe import Traffic, observe
from risefall.state.server import AGENT, HEALTH, MAINT, Op
from risefall.state.words import status_word
from risefall.surfaces.calls import Level
from risefall.surfaces.client import usual_socket_path
from risefall.surfaces.info import Value
from risefall.surfaces.resolvers import Tally
from risefall.surfaces.serve import INHERITED, inherited, serve

LEAD_NS = 20_000_000
LEAD_PER_CHECK_NS = 30_000
"""The first check is due after what it takes to hand all of them to the engine."""
TICK_S = 1.0
WARNING = 4


class Options(msgspec.Struct, frozen=True):
    """How to run. log: `config`, `stderr` or `none`. span_s: end after it. stats_s: tell figures so often.

    slots: checks under way at once, 0 for as many as descriptors allow. socket_path: "" for the usual place.
    """

    log: str = "config"
    span_s: float | None = None
    stats_s: float | None = None
    workers: int = 1
    slots: int = 0
    as_json: bool = False
    runtime_socket: bool = True
    socket_path: str = ""


class Row(msgspec.Struct, frozen=True):
    """One server for a table. Texts are empty where a thing does not apply."""

    name: str
    status: str
    check_status: str
    code: str
    duration: str
    weight: int
    text: str


class Service:
    """One run of the daemon. `run` once; the rest may be asked while it runs, `summary` and `exit_code` after it too."""

    def __init__(self, loaded: Loaded, options: Options) -> None:
        self._loaded: Loaded | None = loaded
        self._options = options
        self._dialect: Dialect = loaded.dialect
        self._started_s = time.monotonic()
        self._started_wall = time.time()
        self._ended = trio.Event()
        self._by_signal: int | None = None
        self._why_not: dict[int, str] = {}
        self._last: list[Statistics] = []
        self._blamed = 0
        self._node = socket.gethostname()
        self._description = ""
        self._tallies: dict[str, Tally] = {}
        self._given = Given()
        self._socket_paths: list[str] = []
        self._notifier = Notifier("")
        self._orders = 0
        self.fleet: Fleet
        self._grower: Grower
        self.join: Join
        self.report: Report

    # --- running ------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until a signal, the end of its span, or a fault. `started()` once checks run and the socket answers.

        Raises: StartError, NativeError when it cannot start.
        """
        self._given = take_environment(os.environ, os.getpid())
        self._notifier = Notifier(self._given.notify)
        self._notifier.tell("STATUS=looking up names")
        try:
            await self._run(task_status)
        except BaseExceptionGroup as group:
            ours, other = group.split(RisefallError)
            if ours is None or other is not None:
                raise
            raise first_of(ours) from None
        finally:
            self._notifier.close()
            self._ended.set()

    async def wait_ended(self) -> None:
        """Returns once `run` has."""
        await self._ended.wait()

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        loaded, options = self._loaded, self._options
        assert loaded is not None, "a service runs once"
        config = loaded.config
        found = await resolve(loaded.addresses(waiting=True))
        checks = sum(one.check + one.agent for one in loaded.planned)
        first_ns = now_ns() + LEAD_NS + checks * LEAD_PER_CHECK_NS
        builder = TargetBuilder(config, loaded.dialect, found, node=self._node, waiting=True)
        targets = builder.build(loaded.planned, now_ns=first_ns)
        refuse_unresolved(targets, found)
        seed = Seed(config, targets, loaded.dialect, now_ms())
        self._grower = Grower(config, loaded.dialect, found, node=self._node)
        self._node = config.global_.node or self._node
        self._description = config.global_.description
        # in a thread, since log targets may be names that have to be looked up
        self.report = await trio.to_thread.run_sync(partial(Report, config, options.log, as_json=options.as_json))
        stats_timeout_s = config.global_.stats_timeout_ms / 1000
        with Workers(
            options.workers,
            checks,
            slots=options.slots,
            bufsize=config.global_.bufsize,
            groups=len(config.proxies) or 1,
        ) as workers:
            placed = Placed(workers, targets)
            self._note_unchecked(targets)
            sections = sections_of(config.resolvers, targets)
            self._tallies = tallies_of(config.resolvers)
            del loaded, config, targets, builder, found  # the tree and the plan have done their work
            self._loaded = None
            gc.collect()
            self.fleet = seed.grow()
            del seed
            self.join = Join(self.fleet, workers, self.report, placed, self._grower.agent_program)
            resolving = await trio.to_thread.run_sync(self._make_resolving, sections)
            settle_memory()
            try:
                async with trio.open_nursery() as nursery:
                    for box in self.report.outboxes:
                        nursery.start_soon(box.run)
                    if options.runtime_socket:
                        await self._open_sockets(nursery, stats_timeout_s)
                    workers.start()
                    for worker in range(options.workers):
                        nursery.start_soon(self.join.run_worker, worker)
                    nursery.start_soon(self.join.run_pending)
                    nursery.start_soon(self.join.outside.run)
                    nursery.start_soon(self._tick)
                    for task in resolving:
                        nursery.start_soon(task)
                    if options.stats_s:
                        nursery.start_soon(self._tell_stats, options.stats_s)
                    await nursery.start(self._signals, nursery.cancel_scope)
                    task_status.started()
                    status = self._status()
                    self._notifier.tell("READY=1", status)
                    if self._notifier.active:
                        nursery.start_soon(tell_status, self._notifier, status, self._status, self._news)
                    if self._given.watchdog_s:
                        pulse = Pulse(workers.engines)
                        nursery.start_soon(
                            tell_alive, self._notifier, pulse, self._given.watchdog_s / 2, self.report.say
                        )
                    await trio.sleep_forever() if options.span_s is None else await trio.sleep(options.span_s)
                    nursery.cancel_scope.cancel()
            finally:
                self._notifier.tell("STOPPING=1", "STATUS=ending")
                self._last = workers.statistics()
                self.report.close()

    def _make_resolving(self, sections: Sections) -> list[Callable[[], Awaitable[None]]]:
        """A task for each section of resolvers that servers use. Reads files, and modules that only few need."""
        if not sections:
            return []
        from risefall.daemon.resolving import Resolver

        made: list[Callable[[], Awaitable[None]]] = []
        for settings, wishes in sections:
            tally = self._tallies.setdefault(settings.name, Tally(settings.name))
            made.append(Resolver(settings, wishes, self.join, self.report, tally).run)
        return made

    async def _open_sockets(self, nursery: trio.Nursery, timeout_s: float) -> None:
        """The runtime socket: the one told, else those handed over, else the usual one; without any the run goes on."""
        handed = [f"{INHERITED}{fd}" for fd in self._given.sockets]
        told = [self._options.socket_path] if self._options.socket_path else []
        usual = usual_socket_path()
        paths = told or handed or ([usual] if usual else [])
        if not paths:
            self.report.say("no runtime socket: set RISEFALL_SOCKET to a path for it")
        for path in paths:
            await self._open_socket(nursery, path, timeout_s)
            self._socket_paths.append(path)

    async def _open_socket(self, nursery: trio.Nursery, path: str, timeout_s: float) -> None:
        """Begins to answer on one. Raises: StartError."""
        if inherited(path) is None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StartError(
                    f"{path}: cannot make its folder: {error.strerror}; set RISEFALL_SOCKET to another path"
                ) from error

        async def answer(task_status: trio.TaskStatus[None]) -> None:
            await serve(
                path, self, level=Level.ADMIN, timeout_s=timeout_s, fault=self._socket_fault, task_status=task_status
            )

        await nursery.start(answer)

    def _socket_fault(self, error: Exception) -> None:
        """A command that hit a mistake of ours is told where it happened, and costs one client its answer."""
        told = "".join(traceback.format_exception(error)).rstrip()
        self.report.say(f"unexpected error in a command of the runtime socket, the checks go on:\n{told}")

    async def _signals(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """SIGTERM and SIGINT end the run, SIGUSR1 as HAProxy's soft stop does; SIGHUP is not for reloading yet."""
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self.report.say("SIGHUP: reloading is not supported yet; the configuration stays as it is")
                    continue
                if number == signal.SIGUSR1:
                    for place, proxy in enumerate(self.fleet.proxies):
                        self.report.line(place, WARNING, f"Proxy {proxy.name} stopped (cumulated conns: FE: 0, BE: 0).")
                self._by_signal = number
                scope.cancel()

    async def _tick(self) -> None:
        """Once a second: slowstarts go on, and faults of our own are owned up to."""
        while True:
            await trio.sleep(TICK_S)
            for index in list(self.fleet.starting):
                self.apply(self.fleet.warm(index, now_ms()))
            for engine in self.join.workers.engines:
                engine.rest()
            statistics = self.join.workers.statistics()
            blamed = sum(one.self_blamed for one in statistics)
            if blamed > self._blamed:
                names = ", ".join(sorted({name for one in statistics for name in one.self_errnos})) or "unknown"
                self.report.say(
                    f"{blamed - self._blamed} checks of the last second could not be made, and did not count: {names}; "
                    "raise the limits (ulimit -n, memory, local ports) or lower --slots"
                )
                self._blamed = blamed

    async def _tell_stats(self, every_s: float) -> None:
        """`--stats`: what happened since the last line."""
        workers = self.join.workers
        gauge = Gauge(workers.statistics())
        before = time.monotonic()
        while True:
            await trio.sleep(every_s)
            now = time.monotonic()
            reading = gauge.read(workers.statistics(), now - before, self.join.handled)
            before = now
            if self._options.as_json:
                self.report.object(reading)
            else:
                self.report.say(show_reading(reading))

    def _note_unchecked(self, targets: Sequence[Target]) -> None:
        """Servers that cannot be checked are named: nothing passes in silence."""
        reasons: Counter[str] = Counter()
        for index, target in enumerate(targets):
            why = target.why_not or target.agent_why_not
            if why and not target.planned.proxy.disabled:
                self._why_not[index] = why
                name = f"{target.planned.proxy.name}/{target.planned.config.name}"
                reasons[why] += 1
                if reasons[why] == 1:
                    self.report.say(f"{name} is not checked: {why}")
        for why, count in reasons.items():
            if count > 1:
                self.report.say(f"{count - 1} more servers are not checked: {why}")

    # --- what the runtime API asks -------------------------------------------------------------------------

    def record(self, index: int, which: int) -> Record | None:
        return self.join.record(index, which)

    def apply(self, effects: Effects) -> None:
        self._orders += 1
        self.join.apply(effects)

    def now_ms(self) -> int:
        return now_ms()

    def observe(self, index: int, traffic: Traffic) -> None:
        """Tells what became of one connection or request of a server (`observe`); for whoever has traffic to report."""
        self.join.apply(observe(self.fleet, index, traffic))

    def add_server(self, place: int, name: str, words: Sequence[str]) -> None:
        index = self._grower.add(self.fleet, self.join, place, name, words)
        self._why_not.pop(index, None)

    def del_server(self, index: int) -> None:
        growth.remove_server(self.fleet, index)
        self.join.forget(index)

    def sockets(self) -> Sequence[tuple[str, Level]]:
        return [(path, Level.ADMIN) for path in self._socket_paths]

    def info(self) -> Mapping[str, Value]:
        """Values of `show info`; what belongs to proxying is left at its default."""
        uptime = int(time.monotonic() - self._started_s)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "Name": "risefall",
            "Version": version("risefall"),
            "Nbthread": self._options.workers,
            "Pid": os.getpid(),
            "Uptime_sec": uptime,
            "Start_time_sec": int(self._started_wall),
            "Ulimit-n": soft,
            "node": self._node,
            "description": self._description,
            "DroppedLogs": self.report.dropped,
        }

    def resolvers(self) -> list[Tally]:
        """The counters of `show resolvers`."""
        return list(self._tallies.values())

    # --- what systemd is told -------------------------------------------------------------------------------

    def _status(self) -> str:
        return f"STATUS=checking {len(self.fleet.servers)} servers, {self.down()} down"

    def _news(self) -> int:
        """Rises with everything that may have changed a server."""
        return self.join.handled + self._orders

    # --- what people ask ------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every server as it stands now."""
        return [self._row(index) for proxy in self.fleet.proxies for index in proxy.own]

    def _row(self, index: int) -> Row:
        server = self.fleet.servers[index]
        name = f"{self.fleet.proxies[server.proxy].name}/{server.name}"
        record = self.record(index, HEALTH) or self.record(index, AGENT)
        if index in self._why_not and server.health is None and not server.admin & MAINT:
            return Row(name, "not checked", "", "", "", self.fleet.effective_weight(index), self._why_not[index])
        status = status_word(self.fleet, index)
        if record is None or record.done_ns == 0:
            return Row(name, status, "", "", "", self.fleet.effective_weight(index), "")
        agent = self.record(index, AGENT)
        texts = [one.text.decode("utf-8", "replace") for one in (record, agent) if one is not None and one.text]
        code = str(record.code) if record.status.has_code else ""
        return Row(
            name,
            status,
            record.status.name,
            code,
            str(record.duration_ms),
            self.fleet.effective_weight(index),
            ", ".join(dict.fromkeys(texts)),
        )

    def down(self) -> int:
        """Servers that are DOWN; those in maintenance are not counted."""
        servers = self.fleet.servers
        return sum(server.op is Op.STOPPED and not server.admin & MAINT for server in servers)

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM or with every server up, 1 with a server down at the end of the span, 130 after Ctrl-C."""
        if self._by_signal == signal.SIGINT:
            return 130
        return 1 if self._by_signal is None and self.down() else 0

    def summary(self) -> str:
        """A few words at the end: how many checks, how late, how long."""
        reading = Gauge(self._last).read(self._last, max(time.monotonic() - self._started_s, 0.001), self.join.handled)
        servers = self.fleet.count
        lost = f", {self.report.dropped} lines dropped" if self.report.dropped else ""
        return (
            f"{servers} servers, {self.down()} down; {reading.checks} checks, {reading.failed} failed, "
            f"{reading.python_events} of them were news{lost}\n"
            f"started late by p50 {reading.late_p50_us / 1000:.1f} ms, p99 {reading.late_p99_us / 1000:.1f} ms; "
            f"took p50 {reading.duration_p50_us / 1000:.1f} ms, p99 {reading.duration_p99_us / 1000:.1f} ms"
        )


def first_of(group: BaseExceptionGroup[RisefallError]) -> RisefallError:
    """The error inside a group that a nursery has made of it."""
    found: RisefallError | BaseExceptionGroup[RisefallError] = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def refuse_unresolved(targets: Sequence[Target], found: Found) -> None:
    """Raises StartError for names that have no address where `init-addr` wants one, as HAProxy refuses to start."""
    lines = []
    for target in targets:
        address = target.planned.config.address
        if target.waits:
            continue
        known = found.get(key_of(address))
        methods = target.planned.config.settings.init_addr.split(",")
        if isinstance(known, Unresolved) and target.address is None and "none" not in methods:
            server = target.planned.config
            lines.append(f"{server.file}:{server.line}: error: could not resolve address '{address.host}': {known.why}")
    if lines:
        more = [f"... and {len(lines) - 20} more"] if len(lines) > 20 else []
        help = "  help: 'init-addr libc,none' lets a server start without an address, in maintenance"
        raise StartError("\n".join([*lines[:20], *more, help]))


def settle_memory() -> None:
    """After the start: what is left lives as long as the daemon, and the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    if platform.libc_ver()[0] == "glibc":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
