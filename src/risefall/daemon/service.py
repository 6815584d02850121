"""The daemon: reads nothing from the network but the checks' own answers, and tells what changed until it is ended.

Its parts, each a task: a drain for each worker, orders that wait for room, slowstarts, the ticker that owns up to
faults of our own, the terminal, the runtime socket, signals. Whoever ends first for a reason ends all of it.
What runs is `present.Present`, how another configuration takes over `reloading.Reloader`, what the runtime API is told
`answers.Answers`.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import trio

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.plan import Loaded
from risefall.daemon.answers import Answers
from risefall.daemon.asking import Asking
from risefall.daemon.draft import Draft, Groups, checks_of, place_all
from risefall.daemon.gauge import Gauge
from risefall.daemon.join import Crew
from risefall.daemon.keeping import Keeper, file_name
from risefall.daemon.notify import Given, Notifier, Pulse, take_environment, tell_alive, tell_status
from risefall.daemon.options import Options
from risefall.daemon.overview import Row
from risefall.daemon.present import Present
from risefall.daemon.reloading import Reloader, Reread, settle_memory
from risefall.daemon.report import Report
from risefall.daemon.server_states import read_rows
from risefall.daemon.serving import Serving
from risefall.daemon.sockets import Sockets
from risefall.daemon.ticking import tell_stats, tick
from risefall.daemon.tracked import Answering, Board, ScriptBoard, answering
from risefall.engine.names import resolve
from risefall.engine.native import Statistics, now_ns
from risefall.engine.workers import Workers
from risefall.errors import RisefallError
from risefall.state.fleet import Fleet
from risefall.state.observe import Traffic
from risefall.surfaces.calls import Level
from risefall.surfaces.client import usual_socket_path

if TYPE_CHECKING:
    from risefall.daemon.companion import Companion
    from risefall.daemon.push import Push
    from risefall.daemon.scripts import Publisher

LEAD_NS = 20_000_000
LEAD_PER_CHECK_NS = 30_000
"""The first check is due after what it takes to hand all of them to the engine."""
WARNING = 4


class Service:
    """One run of the daemon. `run` once; the rest may be asked while it runs, `summary` and `exit_code` after it too."""

    def __init__(
        self,
        loaded: Loaded,
        options: Options,
        reread: Reread | None = None,
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
        self._ended = trio.Event()
        self._by_signal: int | None = None
        self._last: list[Statistics] = []
        self._node = socket.gethostname()
        self.publishers: list[Publisher] = []
        """Who is told the results of scripts; put in before `run`."""
        self._given = Given()
        self._notifier = Notifier("")
        self._push: Push | None = None
        self._answering: Answering | None = answering
        self._asking = Asking()
        self._reloader: Reloader
        self._serving: Serving
        self._nursery: trio.Nursery
        self.present: Present
        """What runs now; from `started()` on."""
        self.api: Answers
        """What the runtime socket is told, for those in this process; from `started()` on."""

    @property
    def board(self) -> Board:
        """Where facts are published to risefall-track. While it runs."""
        assert self._answering is not None
        return self._answering.board

    @property
    def fleet(self) -> Fleet:
        """What every server is; another one after a reload."""
        return self.present.fleet

    @property
    def report(self) -> Report:
        """Where lines go."""
        return self.present.report

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
            groups = Groups(workers.groups)
            draft = Draft(loaded, found, groups, node=self._node, first_ns=0, serve=options.serve_config)
            # in a thread, since log targets may be names that have to be looked up
            report = await trio.to_thread.run_sync(partial(Report, config, options.log, as_json=options.as_json))
            present = self.present = Present(Crew(workers), report, groups)
            rows = await trio.to_thread.run_sync(read_rows, config)
            placed = place_all(present.crew, draft, now_ns() + LEAD_NS + checks * LEAD_PER_CHECK_NS)
            draft.forget_targets()
            del loaded, config, found  # the tree and the plan have done their work
            self._loaded = None
            gc.collect()
            sockets = self._make_surfaces()
            name = file_name(options.socket_path or ("" if self._given.sockets else usual_socket_path()))
            keeper = Keeper(options.state_dir, name, version("risefall"), report.say)
            await trio.to_thread.run_sync(keeper.open)
            present.begin(draft, self._dialect, placed, keeper, await trio.to_thread.run_sync(keeper.load), rows)
            asking = await trio.to_thread.run_sync(self._asking.make, draft.sections, present)
            settle_memory()
            assert self._answering is not None
            memory = self._answering.memory
            if self._answering.note:
                report.say(self._answering.note)
            present.publish(self.board)
            try:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    await nursery.start(self._signals, nursery.cancel_scope)  # before anybody is answered
                    for box in report.outboxes:
                        nursery.start_soon(box.run)
                    if options.runtime_socket:
                        await sockets.open(self.api, nursery, draft.stats_timeout_s)
                    await self._serving.follow(draft.serving, nursery)
                    del draft
                    workers.start()
                    for worker in range(options.workers):
                        nursery.start_soon(present.drain, worker)
                    nursery.start_soon(self.board.run)
                    nursery.start_soon(present.tracked.run)
                    nursery.start_soon(present.crew.orders.run)
                    nursery.start_soon(present.crew.outside.run)
                    nursery.start_soon(tick, present)
                    nursery.start_soon(self._asking.run, asking)
                    nursery.start_soon(self._reloader.run)
                    nursery.start_soon(keeper.run, present.news, lambda: present.join, present.news())
                    if keeper.active:
                        nursery.start_soon(memory.run, self.board.facts)
                    present.companion = self._make_companion()
                    if present.companion is not None:
                        nursery.start_soon(present.companion.run)
                    for task in self._make_pushing():
                        nursery.start_soon(task)
                    if options.stats_s:
                        nursery.start_soon(partial(tell_stats, as_json=options.as_json), present, options.stats_s)
                    task_status.started()
                    status = present.status()
                    self._notifier.tell("READY=1", status)
                    if self._notifier.active:
                        nursery.start_soon(tell_status, self._notifier, status, present.status, present.news)
                    if self._given.watchdog_s:
                        pulse = Pulse(workers.engines)
                        nursery.start_soon(tell_alive, self._notifier, pulse, self._given.watchdog_s / 2, report.say)
                    await trio.sleep_forever() if options.span_s is None else await trio.sleep(options.span_s)
                    nursery.cancel_scope.cancel()
            finally:
                self._notifier.tell("STOPPING=1", "STATUS=ending")
                self._last = workers.statistics()
                if keeper.active:
                    memory.write(self.board.facts)
                keeper.write_now(present.join)
                keeper.close()
                report.close()

    def _make_surfaces(self) -> Sockets:
        """Who reloads, who answers, and where; nobody is answered yet."""
        present, options = self.present, self._options
        sockets = Sockets(options.socket_path, self._given.sockets, present.report.say)
        self._reloader = Reloader(
            present, options, self._node, self._reread, self._notifier, self._asking.stop, self._follow
        )
        self.api = Answers(
            present,
            options,
            self._asking,
            self._reloader,
            lambda: [*((path, Level.ADMIN) for path in sockets.paths), *self._serving.sockets()],
            self._started_s,
        )
        self._serving = Serving(
            self.api, lambda: self.fleet, present.report.say, sockets.fault, whole=options.serve_config
        )
        return sockets

    async def _follow(self, draft: Draft) -> None:
        """Serves and asks what another configuration wants."""
        await self._serving.follow(draft.serving, self._nursery)
        tasks = await trio.to_thread.run_sync(self._asking.make, draft.sections, self.present)
        self._nursery.start_soon(self._asking.run, tasks)

    def _make_companion(self) -> Companion | None:
        """Raises: StartError."""
        options = self._options
        if options.beside is None or options.beside_read is None:
            ScriptBoard(self.board, ())
            return None
        from risefall.daemon.companion import Companion, HeardFile

        memory = HeardFile(options.state_dir, options.socket_path or usual_socket_path(), options.beside.notify_fifo)
        return Companion(options.beside, options.beside_read, self.board, self.publishers, self.report.say, memory)

    def _make_pushing(self) -> list[Callable[[], Awaitable[None]]]:
        """A task for each HAProxy whose servers are set from here."""
        if not self._options.push:
            return []
        from risefall.daemon.push import Push
        from risefall.daemon.wanted import Wanted

        present = self.present
        wanted = Wanted(
            lambda: present.fleet, lambda index, which: present.join.record(index, which), self._options.push_only
        )
        self._push = Push(self._options.push, wanted, self.report.say)
        present.crew.listeners.append(self._push.changed)
        present.on_reload.append(self._push.reloaded)
        return [pusher.run for pusher in self._push.pushers]

    async def _signals(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """SIGTERM and SIGINT end the run, SIGUSR1 as HAProxy's soft stop does; SIGHUP reloads."""
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
        with trio.open_signal_receiver(*wanted) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self._reloader.want()
                    continue
                if number == signal.SIGUSR1:
                    for place, proxy in enumerate(self.fleet.proxies):
                        self.report.line(place, WARNING, f"Proxy {proxy.name} stopped (cumulated conns: FE: 0, BE: 0).")
                self._by_signal = number
                scope.cancel()

    # --- what people ask ------------------------------------------------------------------------------------

    async def reload(self) -> str:
        """Reads the configuration again, and lets it take over. Returns what came of it.

        Raises: RisefallError where it cannot be; then nothing has changed.
        """
        return await self._reloader.reload()

    def observe(self, index: int, traffic: Traffic) -> None:
        """Tells what became of one connection or request of a server (`observe`); for whoever has traffic to report."""
        self.api.observe(index, traffic)

    def rows(self) -> list[Row]:
        """Every server as it stands now."""
        return self.present.rows()

    def down(self) -> int:
        """Servers that are DOWN; those in maintenance are not counted."""
        return self.present.down()

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
        present = self.present
        reading = Gauge(self._last).read(self._last, max(time.monotonic() - self._started_s, 0.001), present.handled)
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
