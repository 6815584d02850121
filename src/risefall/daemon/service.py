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
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.plan import Loaded
from risefall.daemon.draft import Draft, Groups, ProxyKey, checks_of, place_all
from risefall.daemon.gauge import Gauge, show_reading
from risefall.daemon.growth import Grower
from risefall.daemon.join import Crew, Join, now_ms
from risefall.daemon.keeping import Keeper, Kept, Restored, file_name, restore
from risefall.daemon.notify import Given, Notifier, Pulse, take_environment, tell_alive, tell_status
from risefall.daemon.overview import Row, down_of, rows_of
from risefall.daemon.placed import Placed
from risefall.daemon.reload import Heir, Moves
from risefall.daemon.report import Following, Report
from risefall.daemon.server_states import Found as StateRows
from risefall.daemon.server_states import apply_rows, read_rows
from risefall.daemon.serving import Serving
from risefall.daemon.tracked import Answering, Board, FleetBoard, ScriptBoard, answering
from risefall.daemon.wishes import Sections
from risefall.engine.names import Found, resolve
from risefall.engine.native import Record, Statistics, now_ns
from risefall.engine.workers import Workers
from risefall.errors import RisefallError, StartError
from risefall.state import growth
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.moving import rename
from risefall.state.observe import Traffic, observe
from risefall.state.words import full_name
from risefall.surfaces.calls import Level
from risefall.surfaces.client import usual_socket_path
from risefall.surfaces.info import Value
from risefall.surfaces.resolvers import Tally, counters_of
from risefall.surfaces.serve import INHERITED, inherited, serve

if TYPE_CHECKING:
    from risefall.daemon.companion import Asked, Companion, Read
    from risefall.daemon.push import Push
    from risefall.daemon.resolving import Resolver
    from risefall.daemon.scripts import Publisher

LEAD_NS = 20_000_000
LEAD_PER_CHECK_NS = 30_000
"""The first check is due after what it takes to hand all of them to the engine."""
TICK_S = 1.0
BATCHES_MAX = 16
"""Batches of news drained before other tasks get their turn."""
WARNING = 4


class Options(msgspec.Struct, frozen=True):
    """How to run. log: `config`, `stderr` or `none`. span_s: end after it. stats_s: tell figures so often.

    slots: checks under way at once, 0 for as many as descriptors allow. socket_path: "" for the usual place.
    serve_config: also what the configuration itself opens: stats sockets and monitor-uri. state_dir: where the state is kept over restarts, "" for nowhere.
    push: runtime sockets of HAProxys whose servers are set from here. push_only: of these backends; all where empty.
    beside: what to do beside keepalived, None for nothing; beside_read: its files.
    """

    log: str = "config"
    span_s: float | None = None
    stats_s: float | None = None
    workers: int = 1
    slots: int = 0
    as_json: bool = False
    runtime_socket: bool = True
    socket_path: str = ""
    state_dir: str = ""
    serve_config: bool = False
    push: tuple[str, ...] = ()
    push_only: tuple[str, ...] = ()
    beside: Asked | None = None
    beside_read: Read | None = None


class Service:
    """One run of the daemon. `run` once; the rest may be asked while it runs, `summary` and `exit_code` after it too."""

    def __init__(
        self,
        loaded: Loaded,
        options: Options,
        reread: Callable[[], Loaded] | None = None,
        answering: Answering | None = None,
    ) -> None:
        """reread: reads the configuration again for a reload, in a thread; None where that cannot be. May raise ConfigError.

        answering: what answers risefall-track already; None to begin with it in `run`.
        """
        self._reread = reread
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
        self._shown_node = self._description = ""
        self._maxconn = 0
        self.publishers: list[Publisher] = []
        """Who is told the results of scripts; put in before `run`."""
        self.handled = 0
        """Events that Python has handled."""
        self._wanted = trio.Event()
        self._reloading = trio.Lock()
        self._growing = True
        self._asking = trio.CancelScope()
        self._on_reload: list[Callable[[], None]] = []
        """What must know that the fleet is another one now."""
        self._tallies: dict[str, Tally] = {}
        self._given = Given()
        self._socket_paths: list[str] = []
        self._notifier = Notifier("")
        self._push: Push | None = None
        self._companion: Companion | None = None
        self._answering: Answering | None = answering
        self._tracked: FleetBoard
        self._marks: array[int]
        self._proxies: Sequence[ProxyKey]
        self._grower: Grower
        self._groups: Groups
        self._crew: Crew
        self._keeper: Keeper
        self._resolvers: list[Resolver] = []
        self._serving: Serving
        self._nursery: trio.Nursery
        self.join: Join
        self.report: Report

    @property
    def board(self) -> Board:
        """Where facts are published to risefall-track. While it runs."""
        assert self._answering is not None
        return self._answering.board

    @property
    def fleet(self) -> Fleet:
        """What every server is; another one after a reload."""
        return self.join.fleet

    # --- running ------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until a signal, the end of its span, or a fault. `started()` once checks run and the socket answers.

        Raises: StartError, NativeError when it cannot start.
        """
        self._given = take_environment(os.environ, os.getpid())
        self._notifier = Notifier(self._given.notify)
        self._notifier.tell("STATUS=looking up names")
        options = self._options
        try:
            with ExitStack() as undo:
                if self._answering is None:
                    path = (options.socket_path or usual_socket_path()) if options.runtime_socket else ""
                    self._answering = undo.enter_context(answering(path, options.state_dir))
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

    def _make_companion(self) -> Companion | None:
        """Raises: StartError."""
        options = self._options
        if options.beside is None or options.beside_read is None:
            ScriptBoard(self.board, ())
            return None
        from risefall.daemon.companion import Companion, HeardFile

        memory = HeardFile(options.state_dir, options.socket_path or usual_socket_path(), options.beside.notify_fifo)
        return Companion(options.beside, options.beside_read, self.board, self.publishers, self.report.say, memory)

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        loaded, options = self._loaded, self._options
        assert loaded is not None, "a service runs once"
        config = loaded.config
        found = await resolve(loaded.addresses(waiting=True))
        checks = checks_of(loaded)
        with (
            Workers(
                options.workers,
                checks,
                slots=options.slots,
                bufsize=config.global_.bufsize,
                groups=len(config.proxies) or 1,
            ) as workers,
        ):
            self._groups = Groups(workers.groups)
            draft = Draft(loaded, found, self._groups, node=self._node, first_ns=0, serve=options.serve_config)
            # in a thread, since log targets may be names that have to be looked up
            self.report = await trio.to_thread.run_sync(partial(Report, config, options.log, as_json=options.as_json))
            self._crew = Crew(workers)
            rows = await trio.to_thread.run_sync(read_rows, config)
            placed = place_all(self._crew, draft, now_ns() + LEAD_NS + checks * LEAD_PER_CHECK_NS)
            draft.forget_targets()
            del loaded, config, found  # the tree and the plan have done their work
            self._loaded = None
            gc.collect()
            self._serving = Serving(
                self, lambda: self.fleet, self.report.say, self._socket_fault, whole=options.serve_config
            )
            name = file_name(options.socket_path or ("" if self._given.sockets else usual_socket_path()))
            self._keeper = Keeper(options.state_dir, name, version("risefall"), self.report.say)
            await trio.to_thread.run_sync(self._keeper.open)
            self._begin(draft, placed, await trio.to_thread.run_sync(self._keeper.load), rows)
            self._take(draft)
            resolving = await trio.to_thread.run_sync(self._make_resolving, draft.sections)
            settle_memory()
            assert self._answering is not None
            memory = self._answering.memory
            if self._answering.note:
                self.report.say(self._answering.note)
            self._tracked = FleetBoard(self.board, lambda: self.fleet)
            self._crew.listeners.append(self._tracked.changed)
            self._on_reload.append(self._tracked.reloaded)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await nursery.start(self._signals, nursery.cancel_scope)  # before anybody is answered
                    for box in self.report.outboxes:
                        nursery.start_soon(box.run)
                    if options.runtime_socket:
                        await self._open_sockets(nursery, draft.stats_timeout_s)
                    await self._serving.follow(draft.serving, nursery)
                    del draft
                    workers.start()
                    for worker in range(options.workers):
                        nursery.start_soon(self._drain, worker)
                    nursery.start_soon(self.board.run)
                    nursery.start_soon(self._tracked.run)
                    nursery.start_soon(self._crew.orders.run)
                    nursery.start_soon(self._crew.outside.run)
                    nursery.start_soon(self._tick)
                    nursery.start_soon(self._run_resolving, resolving)
                    nursery.start_soon(self._reload_when_asked)
                    nursery.start_soon(self._keeper.run, self._news, lambda: self.join, self._news())
                    if self._keeper.active:
                        nursery.start_soon(memory.run, self.board.facts)
                    self._companion = self._make_companion()
                    if self._companion is not None:
                        nursery.start_soon(self._companion.run)
                    for task in self._make_pushing():
                        nursery.start_soon(task)
                    if options.stats_s:
                        nursery.start_soon(self._tell_stats, options.stats_s)
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
                if self._keeper.active:
                    memory.write(self.board.facts)
                self._keeper.write_now(self.join)
                self._keeper.close()
                self.report.close()

    def _begin(self, draft: Draft, placed: Placed, kept: tuple[int, Kept] | None, rows: StateRows) -> None:
        """The first fleet; what was kept of an earlier run goes on, and rows of HAProxy's server-state files."""
        proxies, servers = draft.seed.proxies(), draft.seed.servers()
        known = Restored()
        if kept is not None:
            known = restore(kept[1], kept[0], draft.proxies, proxies, servers, draft.follows)
            self._keeper.tell(kept[1], len(known.servers))
        fleet = Fleet(proxies, servers, self._dialect, now_ms())
        known.date(fleet)
        self.join = Join(
            fleet, self._crew, self.report, placed, draft.groups, draft.grower.agent_program, draft.retells, draft.reads
        )
        for index in draft.telling:
            self.join.tell_state(index)
        for index in known.servers:
            self.join.tell_all(index)
        for note in [*rows.notes, *apply_rows(self.join, rows, known.servers.keys())]:
            self.report.say(note)

    def _take(self, draft: Draft) -> None:
        """What a configuration has to say besides its servers."""
        self._groups.take(draft.proxies, draft.groups)
        self._grower = draft.grower
        self._marks, self._proxies = draft.seed.marks, draft.proxies
        self._shown_node, self._description, self._maxconn = draft.node, draft.description, draft.maxconn
        self._why_not, self._tallies = draft.why_not, draft.tallies
        for note in draft.notes:
            self.report.say(note)

    async def _drain(self, worker: int) -> None:
        """Handles the news of one worker until cancelled."""
        engine = self._crew.workers.engines[worker]
        while True:
            await trio.lowlevel.wait_readable(engine.fileno())
            engine.clear()
            batches = 0
            while handled := self.join.drain(worker):
                self.handled += handled
                batches += 1
                if batches % BATCHES_MAX == 0:
                    await trio.lowlevel.checkpoint()
            self.handled += self.join.drain_dirty(worker)

    def _make_resolving(self, sections: Sections) -> list[Callable[[], Awaitable[None]]]:
        """A task for each section of resolvers that servers use. Reads files, and modules that only few need."""
        self._resolvers = []
        if not sections:
            return []
        from risefall.daemon.resolving import Resolver

        self._resolvers = [
            Resolver(
                settings,
                wishes,
                self.join,
                self.report,
                self._tallies.setdefault(
                    settings.name, Tally(settings.name, counters=counters_of(self.join.fleet.dialect))
                ),
            )
            for settings, wishes in sections
        ]
        return [one.run for one in self._resolvers]

    def _make_pushing(self) -> list[Callable[[], Awaitable[None]]]:
        """A task for each HAProxy whose servers are set from here."""
        if not self._options.push:
            return []
        from risefall.daemon.push import Push
        from risefall.daemon.wanted import Wanted

        wanted = Wanted(lambda: self.fleet, lambda index, which: self.record(index, which), self._options.push_only)
        self._push = Push(self._options.push, wanted, self.report.say)
        self._crew.listeners.append(self._push.changed)
        self._on_reload.append(self._push.reloaded)
        return [pusher.run for pusher in self._push.pushers]

    async def _run_resolving(self, tasks: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Asks name servers for one configuration, until a reload ends it."""
        with trio.CancelScope() as self._asking:
            async with trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)

    # --- another configuration ------------------------------------------------------------------------------

    async def reload(self) -> str:
        """Reads the configuration again, and lets it take over. Returns what came of it.

        Raises: RisefallError where it cannot be; then nothing has changed.
        """
        async with self._reloading:
            stamp = time.monotonic_ns() // 1000
            self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={stamp}", "STATUS=reading the configuration again")
            try:
                if self._reread is None and self._companion is None:
                    raise StartError("this configuration cannot be read again: it did not come from files")
                beside = await self._read_beside()
                parts = [await self._reload(self._reread)] if self._reread is not None else []
                if beside is not None:
                    parts.append(self._reload_beside(beside, alone=not parts))
                told = "; ".join(parts)
                self.report.say(f"reloaded: {told}")
            except RisefallError as error:
                self.report.say(f"not reloaded, everything goes on as it was:\n{error}")
                raise
            finally:
                self._notifier.tell("READY=1", self._status())
        return told

    async def _read_beside(self) -> Read | None:
        """What is done beside keepalived, read again before anything changes."""
        if self._options.beside is None:
            return None
        from risefall.daemon.companion import read_files

        return await trio.to_thread.run_sync(read_files, self._options.beside, self.report.say)

    def _reload_beside(self, beside: Read, *, alone: bool) -> str:
        """alone: nothing else was reloaded, so that a fault is one of the whole. Returns what came of it. Raises: StartError."""
        assert self._companion is not None
        try:
            return self._companion.reload(beside)
        except (RisefallError, OSError) as error:
            told = f"what runs beside keepalived goes on as it was: {error}"
            if alone:
                raise StartError(told) from error
            return told

    async def _reload(self, reread: Callable[[], Loaded]) -> str:
        self._growing = False  # servers that come now would be lost
        gc.disable()  # it would stop this thread for every page of the old configuration
        try:
            loaded = await trio.to_thread.run_sync(reread)
            if loaded.config.global_.bufsize > self._crew.workers.bufsize:
                raise StartError("tune.bufsize has grown: restart risefall to use it")
            found = await resolve(loaded.addresses(waiting=True))
            following = await trio.to_thread.run_sync(self.report.prepare, loaded.config)
            heir = await trio.to_thread.run_sync(self._make_heir, loaded, found)
            del loaded, found
            await heir.hand_over(self._crew)
            with trio.CancelScope(shield=True):
                tally = await self._exchange(heir, following)
            return tally.text()
        finally:
            gc.enable()
            self._growing = True

    def _make_heir(self, loaded: Loaded, found: Found) -> Heir:
        draft = Draft(loaded, found, self._groups, node=self._node, first_ns=now_ns(), serve=self._options.serve_config)
        return Heir(draft, self.join, self._proxies, self._options.workers)

    async def _exchange(self, heir: Heir, following: Following) -> Moves:
        self._asking.cancel()
        for worker in range(self._options.workers):
            while handled := self.join.drain(worker):
                self.handled += handled
        self.report.follow(following)
        self.join, tally = heir.take_over(self.join, self._marks, self._proxies, self._crew, self.report)
        self._crew.changes += 1
        draft = heir.draft
        self._take(draft)
        for taken in self._on_reload:
            taken()
        sections = draft.sections
        await self._serving.follow(draft.serving, self._nursery)
        del heir, draft
        self._nursery.start_soon(self._run_resolving, await trio.to_thread.run_sync(self._make_resolving, sections))
        await trio.to_thread.run_sync(settle_memory)
        return tally

    async def _reload_when_asked(self) -> None:
        """SIGHUP reloads; one that comes meanwhile makes it be done once more."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            with suppress(RisefallError):  # it is told
                await self.reload()

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
        """SIGTERM and SIGINT end the run, SIGUSR1 as HAProxy's soft stop does; SIGHUP reloads."""
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self._wanted.set()
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
            workers = self.join.workers
            for engine in workers.engines:
                engine.rest()
            blamed = sum(engine.self_blamed for engine in workers.engines)
            if blamed > self._blamed:
                names = (
                    ", ".join(sorted({name for one in workers.statistics() for name in one.self_errnos})) or "unknown"
                )
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
            reading = gauge.read(workers.statistics(), now - before, self.handled)
            before = now
            if self._options.as_json:
                self.report.object(reading)
            else:
                self.report.say(show_reading(reading))

    # --- what the runtime API asks -------------------------------------------------------------------------

    @property
    def record(self) -> Callable[[int, int], Record | None]:
        """The engine's figures of a check of this fleet, also for an answer that is still on its way after a reload."""
        return self.join.record

    def apply(self, effects: Effects) -> None:
        self.join.apply(effects)

    def now_ms(self) -> int:
        return now_ms()

    def observe(self, index: int, traffic: Traffic) -> None:
        """Tells what became of one connection or request of a server (`observe`); for whoever has traffic to report."""
        self.join.apply(observe(self.fleet, index, traffic))

    def add_server(self, place: int, name: str, words: Sequence[str]) -> None:
        if not self._growing:
            raise Refused("A reload is under way, try again once it is done.", short=True)
        index = self._grower.add(self.fleet, self.join, place, name, words)
        self._why_not.pop(index, None)
        self._tracked.added(index)

    def del_server(self, index: int) -> None:
        if not self._growing:
            raise Refused("A reload is under way, try again once it is done.", short=True)
        name, place = full_name(self.fleet, index), self.fleet.servers[index].proxy
        growth.remove_server(self.fleet, index)
        self.join.forget(index)
        self._tracked.removed(name, place)

    def set_name(self, index: int, name: str) -> None:
        if not self._growing:
            raise Refused("A reload is under way, try again once it is done.", short=True)
        before, place = full_name(self.fleet, index), self.fleet.servers[index].proxy
        growth.set_name(self.fleet, index, name)
        if full_name(self.fleet, index) != before:
            self.join.renamed(index)
            self._tracked.removed(before, place)
            self._tracked.added(index)

    def rename(self, index: int, name: str) -> str:
        resolver = next((one for one in self._resolvers if one.policy.resolves(index)), None)
        if resolver is None:
            raise Refused("set server <b>/<s> fqdn failed because no resolution is configured.")
        before = self.fleet.servers[index].fqdn
        told = rename(self.fleet, index, name)
        if self.fleet.servers[index].fqdn != before:
            self._crew.changes += 1
            resolver.rename(index, name)
        return told

    def sockets(self) -> Sequence[tuple[str, Level]]:
        return [*((path, Level.ADMIN) for path in self._socket_paths), *self._serving.sockets()]

    def info(self) -> Mapping[str, Value]:
        """Values of `show info`; what belongs to proxying is left at its default."""
        uptime = int(time.monotonic() - self._started_s)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "Version": version("risefall"),
            "Build info": f"risefall {version('risefall')}",
            "Nbthread": self._options.workers,
            "Pid": os.getpid(),
            "Uptime_sec": uptime,
            "Start_time_sec": int(self._started_wall),
            "Ulimit-n": soft,
            "Maxconn": self._maxconn,
            "Hard_maxconn": self._maxconn,
            "node": self._shown_node,
            "description": self._description,
            "DroppedLogs": self.report.dropped,
        }

    def vrrp(self) -> list[dict[str, object]]:
        return self._companion.rows() if self._companion is not None else []

    def resolvers(self) -> list[Tally]:
        """The counters of `show resolvers`."""
        return list(self._tallies.values())

    # --- what systemd is told -------------------------------------------------------------------------------

    def _status(self) -> str:
        return f"STATUS=checking {len(self.fleet.servers)} servers, {self.down()} down"

    def _news(self) -> int:
        """Rises with everything that may have changed a server."""
        return self.handled + self._crew.changes

    # --- what people ask ------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every server as it stands now."""
        return rows_of(self.fleet, self.record, self._why_not)

    def down(self) -> int:
        """Servers that are DOWN; those in maintenance are not counted."""
        return down_of(self.fleet)

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM or with every server up, 1 with a server down at the end of the span, 130 after Ctrl-C."""
        if self._by_signal == signal.SIGINT:
            return 130
        return 1 if self._by_signal is None and self.down() else 0

    @property
    def last_words(self) -> list[str]:
        """What happened at the end that an operator should know."""
        return self._push.last_words if self._push is not None else []

    def summary(self) -> str:
        """A few words at the end: how many checks, how late, how long."""
        reading = Gauge(self._last).read(self._last, max(time.monotonic() - self._started_s, 0.001), self.handled)
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


def settle_memory() -> None:
    """After the start: what is left lives as long as the daemon, and the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    if platform.libc_ver()[0] == "glibc":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
