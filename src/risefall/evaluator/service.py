"""One evaluation of a keepalived.conf: scripts run, files and interfaces are watched, and the node says what follows.

Every task feeds the node, and whoever feeds it tells at once what came of it; nothing is polled but processes. `run` starts
it all and ends it all: no program outlives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
import trio

from risefall.config.keepalived.model import Config, Instance, Process, SyncGroup
from risefall.engine.spawning import CHILDREN_MAX, Children
from risefall.errors import StartError
from risefall.evaluator.calling import Caller
from risefall.evaluator.commands import Dropped, inherited, prepared
from risefall.evaluator.node import GroupView, InstanceView, Node, Said
from risefall.evaluator.runner import Job, Runner, monotonic_us
from risefall.evaluator.watching import PROCESSES_S, Files, Links, count_processes, read_start
from risefall.vrrp.notify import Call
from risefall.vrrp.scripts import Init, ScriptSettings
from risefall.vrrp.settings import US_PER_S, Imitated
from risefall.vrrp.trackers import DOWN, UP, Kind, Reading, file_value, has_quorum

GRACE_US = 5 * US_PER_S
"""With `once`, after the longest timeout: SIGTERM, SIGKILL, and what they take."""
VIOLATION = "SECURITY VIOLATION - scripts are being executed but script_security not enabled."
INSECURE = " There are insecure scripts."


class Output(Protocol):
    """Who is told what happens, in its order; nothing of it may wait."""

    def line(self, text: str, *, detail: bool = False) -> None:
        """A line that keepalived logs. detail: only with -D."""

    def called(self, call: Call) -> None:
        """A notification that is due; it was made if that was asked."""


class Beside(Protocol):
    """What runs in the same evaluation: keepalived's checkers."""

    @property
    def healthy(self) -> bool: ...
    @property
    def longest_us(self) -> int:
        """The longest that its first results may take."""

    def start(self) -> None: ...
    async def run(self) -> None: ...
    async def first(self) -> None:
        """Until each checker has a result."""

    async def stop(self) -> None:
        """What keepalived says and calls at its end."""

    def close(self) -> None: ...


class ScriptView(msgspec.Struct, frozen=True):
    """One script. state: GOOD, BAD, INIT before its first result, DROPPED when it never runs. last: how its last run ended."""

    name: str
    state: str
    result: int
    rise: int
    fall: int
    runs: int
    last: str
    took_ms: float
    command: str


def tracked_scripts(config: Config) -> set[str]:
    """The names of those that an instance or a group tracks."""
    owners: list[Instance | SyncGroup] = [*config.instances, *config.groups]
    return {one.name for owner in owners for one in owner.track_scripts}


class Last(msgspec.Struct):
    """How everything stood when it ended."""

    healthy: bool
    scripts: list[ScriptView]
    instances: list[InstanceView]
    groups: list[GroupView]


class Evaluator:
    """Of one configuration. `run` once; the views may be asked while it runs, and after it."""

    def __init__(
        self,
        config: Config,
        output: Output,
        *,
        env: Mapping[str, str] | None = None,
        notify: bool = False,
        peer: int | None = None,
        most: int = CHILDREN_MAX,
        imitated: Imitated = Imitated.V2_2_7,
        beside: Beside | None = None,
    ) -> None:
        """notify: make the calls, too. peer: effective priority of one other node; None for nobody. most: scripts at once.
        beside: what else runs, from the start to the end.

        Raises: OSError when a FIFO cannot be made, or the kernel gives no socket to watch links with.
        """
        self.config = config
        self._output = output
        self._env = inherited() if env is None else dict(env)
        self._most = most
        self._imitated = imitated
        self._notify = notify
        self._peer = peer
        self._beside = beside
        self._caller: Caller | None = None
        self._dropped: set[str] = set()
        self._insecure = False
        self._waits = trio.CancelScope()
        self._told: set[str] = set()
        self._first = trio.Event()
        self._ended = trio.Event()
        self._zero_us = 0
        self._values: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._quorum: dict[str, bool] = {}
        self._unsure: dict[str, int] = {}
        """Since when a quorum is another one that does not count yet."""
        self._links: dict[str, bool] = {}
        self._last: Last | None = None
        self.node: Node
        self.runner: Runner

    # --- looking ----------------------------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether no script is down or unknown, and no instance at FAULT."""
        if self._last is not None:
            return self._last.healthy
        if self._beside is not None and not self._beside.healthy:
            return False
        return self.node.healthy and all(one.state in ("GOOD", "DROPPED") for one in self.scripts())

    def scripts(self) -> list[ScriptView]:
        """Those that something tracks."""
        if self._last is not None:
            return self._last.scripts
        wanted = tracked_scripts(self.config)
        views: dict[str, ScriptView] = {}
        for config in self.config.scripts:
            if config.name not in wanted or config.name in views:
                continue
            job = self.runner.jobs.get(config.name)
            state = "DROPPED"
            if job is not None:
                script = job.script
                state = "INIT" if script.init is not Init.DONE else "GOOD" if script.good else "BAD"
            views[config.name] = ScriptView(
                name=config.name,
                state=state,
                result=job.script.result if job else 0,
                rise=config.rise,
                fall=config.fall,
                runs=job.runs if job else 0,
                last=job.last if job else "",
                took_ms=round(job.took_ms, 1) if job else 0.0,
                command=" ".join(config.command.argv),
            )
        return [*views.values()]

    def instances(self) -> list[InstanceView]:
        return self.node.instances() if self._last is None else self._last.instances

    def groups(self) -> list[GroupView]:
        return self.node.groups() if self._last is None else self._last.groups

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self, *, once: bool = False, span_s: float | None = None) -> None:
        """For ever, or for a while. once: until every script has told, and every election is over in the node's own time."""
        links = Links()
        files = None
        try:
            with Children(self._most) as children:
                jobs = self._jobs()
                self.runner = Runner(jobs.values(), children, self)
                self.node = self._node(links, jobs)
                if self._notify:
                    self._caller = Caller(self.config, self._env, self._output.line)
                self._warn_of_security(scripts=bool(jobs))
                used = self.node.wanted(Kind.FILE)
                files = Files([one.path for one in self.config.files if one.name in used])
                for path in files.blind:
                    self._output.line(f"track file {path}: its folder cannot be watched, it is read once")
                self._read_all(links)
                self._zero_us = monotonic_us()
                self.node.start()
                self._flush()
                if self._beside is not None:
                    self._beside.start()
                await self._tasks(files, links, once=once, span_s=span_s)
                await self._stop(once=once)
        finally:
            links.close()
            if self._beside is not None:
                self._beside.close()
            if files is not None:
                files.close()
            if self._caller is not None:
                self._caller.close()

    def end(self) -> None:
        """Ends `run`, as keepalived ends: notify_stop and what belongs to it included."""
        self._ended.set()
        self._first.set()

    async def _tasks(self, files: Files, links: Links, *, once: bool, span_s: float | None) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_time)
            nursery.start_soon(self._watch_files, files)
            nursery.start_soon(self._watch_links, links)
            if self.node.wanted(Kind.PROCESS):
                nursery.start_soon(self._watch_processes)
            if self._caller is not None:
                nursery.start_soon(self._caller.run)
            nursery.start_soon(self.runner.run)
            if self._beside is not None:
                nursery.start_soon(self._beside.run)
            limit_s = self._longest_us() / US_PER_S if once else float("inf") if span_s is None else span_s
            with trio.move_on_after(limit_s):
                await (self._first if once else self._ended).wait()
                if once and self._beside is not None and not self._ended.is_set():
                    await self._beside.first()
            nursery.cancel_scope.cancel()

    async def _stop(self, *, once: bool) -> None:
        if once:
            self.node.settle()
            self._flush()
        self._last = Last(self.healthy, self.scripts(), self.instances(), self.groups())
        if self._caller is not None:
            self._advance()
            self.node.stop()
            self._flush()
            await self._caller.last()
            if self._beside is not None:
                await self._beside.stop()

    def _longest_us(self) -> int:
        times = [job.script.settings for job in self.runner.jobs.values()]
        longest_us = max((one.timeout_us or one.interval_us for one in times), default=0)
        return GRACE_US + max(longest_us, self._beside.longest_us if self._beside is not None else 0)

    def _jobs(self) -> dict[str, Job]:
        """The scripts that may run and that something tracks, with what keepalived says of the others."""
        wanted = tracked_scripts(self.config)
        jobs: dict[str, Job] = {}
        insecure = False
        for config in self.config.scripts:
            if config.name not in wanted or config.name in jobs or config.name in self._dropped:
                continue
            made = prepared(config.command, self.config.global_, self._env)
            for line in made.said:
                self._output.line(line)
            if isinstance(made, Dropped):
                self._dropped.add(config.name)
                if "is not executable" not in made.said[-1]:
                    insecure_ = made.said[-1].startswith(("Unsafe", "Wrong"))
                    why = "due to insecure" if insecure_ else "since not found/accessible"
                    self._output.line(f"Disabling track script {config.name} {why}")
                continue
            insecure = insecure or made.insecure
            settings = ScriptSettings(
                name=config.name,
                interval_us=config.interval_ms * 1000,
                timeout_us=(config.timeout_ms or 0) * 1000,
                rise=config.rise,
                fall=config.fall,
                imitated=self._imitated,
            )
            jobs[config.name] = Job(settings, made.program(self._env, self.config.global_.umask), made)
        for name in sorted({bfd.name for one in self.config.instances for bfd in one.track_bfds}):
            self._output.line(f"risefall does not evaluate BFD: tracker {name} is left out")
        self._insecure = insecure
        return jobs

    def _warn_of_security(self, *, scripts: bool) -> None:
        """What keepalived says where anything may be run, scripts or notify programs, without enable_script_security."""
        caller = self._caller
        if self.config.global_.script_security or not (scripts or (caller is not None and caller.programs)):
            return
        insecure = self._insecure or (caller is not None and caller.insecure)
        self._output.line(VIOLATION + (INSECURE if insecure else ""))

    def _node(self, links: Links, jobs: Mapping[str, Job]) -> Node:
        """Raises: StartError for an interface that this machine has not."""
        missing = [one for one in self.config.instances if one.interface and not links.exists(one.interface)]
        if missing and not self.config.global_.dynamic_interfaces:
            told = ", ".join(f"{one.interface} of {one.name}" for one in missing)
            raise StartError(
                f"this machine has no interface {told}: keepalived does not start\n"
                "  help: --plan shows the configuration without running anything"
            )
        addresses = {}
        for one in self.config.instances:
            if one.interface and (address := links.address(one.interface, one.family)):
                addresses[one.interface] = address
        return Node(self.config, scripts=jobs, addresses=addresses, peer=self._peer, imitated=self._imitated)

    # --- what comes in ----------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """A line of the runner."""
        self._output.line(text)

    def turned(self, name: str, up: bool) -> None:
        """A script turned: the node hears it."""
        self._feed(Kind.SCRIPT, name, UP if up else DOWN)

    def ran(self, name: str) -> None:
        """A run has counted; with the first of each, `once` is over."""
        self._told.add(name)
        if len(self._told) == len(self.runner.jobs):
            self._first.set()

    def _feed(self, kind: Kind, name: str, reading: Reading) -> None:
        self._advance()
        self.node.read(kind, name, reading)
        self._flush()

    def _advance(self) -> None:
        self.node.run(monotonic_us() - self._zero_us)

    def _flush(self) -> None:
        """Tells what the node has said, and lets the clock wait for what it waits for now."""
        for out in self.node.drain():
            if isinstance(out, Said):
                self._output.line(out.text, detail=out.detail)
            else:
                if self._caller is not None:
                    self._caller.call(out.call)
                self._output.called(out.call)
        self._waits.deadline = (self._zero_us + self.node.network.next_us()) / US_PER_S

    def _read_all(self, links: Links) -> None:
        """Files, processes and interfaces as they stand before the node starts."""
        if not self.runner.jobs:
            self._first.set()
        for path in {one.path for one in self.config.files}:
            self._read_file(path)
        self._read_links(links)
        self._count()

    def _read_file(self, path: str) -> None:
        used = self.node.wanted(Kind.FILE)
        for one in self.config.files:
            if one.path != path or one.name not in used:
                continue
            value = file_value(read_start(path), self._values.get(one.name, 0))
            if self._values.get(one.name) != value:
                self._values[one.name] = value
                self.node.read(Kind.FILE, one.name, Reading(up=True, value=value))

    def _read_links(self, links: Links) -> None:
        """An instance's own interface needs an address, too."""
        own: dict[str, int] = {}
        for one in self.config.instances:
            if one.interface and not one.source_ip:
                own[one.interface] = one.family
        names = {one.interface for one in self.config.instances if one.interface} | {*self.node.wanted(Kind.INTERFACE)}
        for name in sorted(names):
            family = own.get(name)
            up = links.up(name) and (family is None or links.address(name, family) is not None)
            if self._links.get(name) != up:
                self._links[name] = up
                self.node.interface(name, up=up)

    def _count(self) -> None:
        used = self.node.wanted(Kind.PROCESS)
        wanted = [one for one in self.config.processes if one.name in used]
        for name, count in count_processes(wanted).items():
            config = next(one for one in wanted if one.name == name)
            good = has_quorum(count, config.quorum, config.quorum_max)
            if self._quorum.get(name) is good:
                self._unsure.pop(name, None)
                continue
            if name in self._quorum and self._waits_still(config, count):
                continue
            self._counts[name] = count
            if name in self._quorum:
                self._output.line(f"Quorum {'gained' if good else 'lost'} for tracked process {name}")
            self._quorum[name] = good
            self._unsure.pop(name, None)
            self.node.read(Kind.PROCESS, name, UP if good else DOWN)

    def _waits_still(self, process: Process, count: int) -> bool:
        """Whether a change of this quorum is younger than fork_delay or terminate_delay."""
        now_us = monotonic_us()
        more = count > self._counts.get(process.name, 0)
        delay_us = 1000 * (process.fork_delay_ms if more else process.terminate_delay_ms)
        return now_us - self._unsure.setdefault(process.name, now_us) < delay_us

    async def _watch_time(self) -> None:
        """The node's own deadlines; `_flush` moves the scope's as they move."""
        while True:
            self._advance()
            with trio.CancelScope() as self._waits:
                self._flush()
                await trio.sleep_forever()

    async def _watch_files(self, files: Files) -> None:
        while True:
            for path in sorted(await files.changed()):
                self._advance()
                self._read_file(path)
                self._flush()

    async def _watch_links(self, links: Links) -> None:
        while True:
            await links.changed()
            self._advance()
            self._read_links(links)
            self._flush()

    async def _watch_processes(self) -> None:
        while True:
            await trio.sleep(PROCESSES_S)
            self._advance()
            self._count()
            self._flush()
