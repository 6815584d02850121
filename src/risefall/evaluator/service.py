"""One evaluation of a keepalived.conf: scripts run, files and interfaces are watched, and the node says what follows.

Every task feeds the node, and whoever feeds it tells at once what came of it. `run` starts it all and ends it all: no program
outlives it. A reload is one step: what runs is told to end, another node begins with the states of the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
import trio

from risefall.config.keepalived.model import Config, Instance, SyncGroup
from risefall.engine.spawning import CHILDREN_MAX, Children
from risefall.evaluator.calling import Caller
from risefall.evaluator.commands import Dropped, inherited, prepared
from risefall.evaluator.node import Called, GroupView, InstanceView, Node, Said
from risefall.evaluator.runner import Job, Runner
from risefall.evaluator.watched import Watched
from risefall.vrrp.notify import Call
from risefall.vrrp.scripts import Init, ScriptSettings
from risefall.vrrp.settings import US_PER_S, Imitated
from risefall.vrrp.trackers import DOWN, UP, Kind

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
        self._told: set[str] = set()
        self._first = trio.Event()
        self._ended = trio.Event()
        self._life = trio.CancelScope()
        self._last: Last | None = None
        self._watched: Watched
        self.runner: Runner

    # --- looking ----------------------------------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """What the configuration comes to; another one after a reload."""
        return self._watched.node

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
        try:
            with Children(self._most) as children:
                jobs = self._jobs(self.config)
                self.runner = Runner(jobs.values(), children, self)
                self._watched = self._watch(self.config, jobs)
                if self._notify:
                    self._caller = Caller(self.config, self._env, self._output.line)
                self._warn_of_security(scripts=bool(jobs))
                if not jobs:
                    self._first.set()
                self._watched.begin()
                if self._beside is not None:
                    self._beside.start()
                await self._tasks(once=once, span_s=span_s)
                await self._stop(once=once)
        finally:
            if hasattr(self, "_watched"):
                self._watched.close()
            if self._beside is not None:
                self._beside.close()
            if self._caller is not None:
                self._caller.close()

    def reload(self, config: Config) -> None:
        """Goes on with another configuration, as keepalived 2.2.7 does; while `run` runs, without `once`.

        What a script has found is kept by its name, whatever else changed of it; all run again at once. States are kept, and
        not told again. Raises: StartError, OSError; then nothing has changed but what was said.
        """
        self._dropped.clear()
        self._output.line("Reloading")
        known = {name: job.script for name, job in self.runner.jobs.items() if job.script.init is Init.DONE}
        jobs = self._jobs(config)
        for name, job in jobs.items():
            job.script.carry(known.get(name))
        watched = self._watch(config, jobs)
        old, self.config = self._watched, config
        for name in dict.fromkeys(one.name for one in config.scripts if one.name in known):
            good = known[name].good
            self._output.line(f"VRRP_Script({name}) considered {'' if good else 'un'}successful on reload")
            watched.node.read(Kind.SCRIPT, name, UP if good else DOWN)
        if self._caller is not None:
            try:
                self._caller.follow(config)
            except OSError as error:
                self._output.line(f"notify FIFO {error.filename} cannot be written: {error.strerror}")
        self._warn_of_security(scripts=bool(jobs))
        self._watched = watched
        watched.begin(lambda node: node.resume(old.node))
        self.runner.follow(jobs.values())
        self._output.line("Reload complete")
        old.close()
        self._life.cancel()

    def end(self) -> None:
        """Ends `run`, as keepalived ends: notify_stop and what belongs to it included."""
        self._ended.set()
        self._first.set()

    async def _tasks(self, *, once: bool, span_s: float | None) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live)
            nursery.start_soon(self.runner.run)
            if self._caller is not None:
                nursery.start_soon(self._caller.run)
            if self._beside is not None:
                nursery.start_soon(self._beside.run)
            limit_s = self._longest_us() / US_PER_S if once else float("inf") if span_s is None else span_s
            with trio.move_on_after(limit_s):
                await (self._first if once else self._ended).wait()
                if once and self._beside is not None and not self._ended.is_set():
                    await self._beside.first()
            nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        """Watches for one configuration after the other."""
        while True:
            with trio.CancelScope() as self._life:
                await self._watched.run()

    async def _stop(self, *, once: bool) -> None:
        if once:
            self.node.settle()
            self._watched.flush()
        self._last = Last(self.healthy, self.scripts(), self.instances(), self.groups())
        if self._caller is not None:
            self._watched.advance()
            self.node.stop()
            self._watched.flush()
            await self._caller.last()
            if self._beside is not None:
                await self._beside.stop()

    def _longest_us(self) -> int:
        times = [job.script.settings for job in self.runner.jobs.values()]
        longest_us = max((one.timeout_us or one.interval_us for one in times), default=0)
        return GRACE_US + max(longest_us, self._beside.longest_us if self._beside is not None else 0)

    def _jobs(self, of: Config) -> dict[str, Job]:
        """The scripts that may run and that something tracks, with what keepalived says of the others."""
        wanted = tracked_scripts(of)
        jobs: dict[str, Job] = {}
        insecure = False
        for config in of.scripts:
            if config.name not in wanted or config.name in jobs or config.name in self._dropped:
                continue
            made = prepared(config.command, of.global_, self._env)
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
            jobs[config.name] = Job(settings, made.program(self._env, of.global_.umask), made)
        for name in sorted({bfd.name for one in of.instances for bfd in one.track_bfds}):
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

    def _watch(self, config: Config, jobs: Mapping[str, Job]) -> Watched:
        """Raises: StartError for an interface that this machine has not."""
        return Watched(
            config,
            jobs,
            self._pass_on,
            self._output.line,
            peer=self._peer,
            imitated=self._imitated,
            write=self._notify,
        )

    # --- what comes in ----------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """A line of the runner."""
        self._output.line(text)

    def turned(self, name: str, up: bool) -> None:
        """A script turned: the node hears it."""
        self._watched.feed(Kind.SCRIPT, name, UP if up else DOWN)

    def ran(self, name: str) -> None:
        """A run has counted; with the first of each, `once` is over."""
        self._told.add(name)
        if len(self._told) == len(self.runner.jobs):
            self._first.set()

    def _pass_on(self, said: list[Said | Called]) -> None:
        """What the node says, in its order."""
        for out in said:
            if isinstance(out, Said):
                self._output.line(out.text, detail=out.detail)
            else:
                if self._caller is not None:
                    self._caller.call(out.call)
                self._output.called(out.call)
