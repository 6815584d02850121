"""Runs vrrp_scripts in real time: the machine of each (`vrrp/scripts.py`) says what to start and whom to kill, and when.

One task has a heap of times and one descriptor for all processes. Where as many run as may at once, a tick waits for the
next end, in the order in which they came; the ladder of signals never waits.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Protocol

import trio

from risefall.engine.spawning import Child, Program
from risefall.errors import NativeError
from risefall.evaluator.commands import SHELL_CANNOT, Ready
from risefall.vrrp.scripts import (
    TERM_TO_KILL_US,
    Action,
    Kill,
    Line,
    Outcome,
    Script,
    ScriptSettings,
    Start,
    Turned,
)
from risefall.vrrp.settings import US_PER_S

STARTS_A_TURN = 16
"""Starts before those that have ended meanwhile are looked at."""


class Starter(Protocol):
    """What `engine.spawning.Children` offers."""

    @property
    def room(self) -> bool: ...
    def start(self, program: Program, *, group: bool = True) -> Child: ...
    def signal(self, child: Child, number: int) -> bool: ...
    def ended(self) -> list[tuple[Child, int]]: ...
    async def wait(self) -> None: ...


class Hear(Protocol):
    """Whom the runner tells, within its turn; nothing of it may wait."""

    def line(self, text: str) -> None:
        """A line that keepalived logs."""

    def turned(self, name: str, up: bool) -> None:
        """A script is up or down from now on."""

    def ran(self, name: str) -> None:
        """A run of this script has counted."""


class Job:
    """One script: its machine, its program, and how the last run went. ready: None only in tests with a program of theirs."""

    def __init__(
        self, settings: ScriptSettings, program: Program, ready: Ready | None = None, umask: int | None = None
    ) -> None:
        self.script = Script(settings)
        self.program = program
        self.ready = ready
        self.umask = umask
        self.by_shell = ready is not None and ready.by_shell
        self.armed_us: int | None = None
        self.waits = False
        self.runs = 0
        self.last = ""
        """How the last run ended: `exit 1`, `signal 9`, `timed out`, `cannot be executed: ...`."""
        self.took_ms = 0.0

    @property
    def name(self) -> str:
        return self.script.settings.name


def monotonic_us() -> int:
    """trio's clock, so that a test's clock is ours."""
    return int(trio.current_time() * US_PER_S)


class Runner:
    """All scripts of one node. `run` for ever; `statistics` meanwhile."""

    def __init__(
        self, jobs: Iterable[Job], starter: Starter, hear: Hear, clock: Callable[[], int] = monotonic_us
    ) -> None:
        self.jobs = {job.name: job for job in jobs}
        self._starter = starter
        self._hear = hear
        self._clock = clock
        self._heap: list[tuple[int, int, Job]] = []
        self._sequence = 0
        self._waiting: deque[Job] = deque()
        self._under_way: dict[Child, tuple[Job, int, int]] = {}
        self._ending: deque[tuple[int, Child]] = deque()
        """When those are killed that were told to end."""
        self._pause = trio.CancelScope()

    def statistics(self) -> dict[str, int]:
        """running, waiting for room, and runs so far."""
        runs = sum(job.runs for job in self.jobs.values())
        return {"running": len(self._under_way), "waiting": len(self._waiting), "runs": runs}

    def follow(self, jobs: Iterable[Job]) -> None:
        """Runs these from now on. Those that are here already go on; what runs of others is told to end, and counts no more."""
        wanted = {job.name: job for job in jobs}
        now_us = self._clock()
        for child, (job, _, _) in [*self._under_way.items()]:
            if wanted.get(job.name) is not job:
                del self._under_way[child]
                if self._starter.signal(child, signal.SIGTERM):
                    self._ending.append((now_us + TERM_TO_KILL_US, child))
        for job in self.jobs.values():
            if wanted.get(job.name) is not job:
                job.armed_us = None
        self._waiting = deque(job for job in self._waiting if wanted.get(job.name) is job)
        new = [job for job in wanted.values() if self.jobs.get(job.name) is not job]
        self.jobs = wanted
        for job in new:
            self._begin(job)
        self._pause.cancel()

    async def run(self) -> None:
        """Starts every script at once, as keepalived does, and then each at its interval."""
        for job in self.jobs.values():
            self._begin(job)
        while True:
            self._due()
            wakes_us = [queue[0][0] for queue in (self._heap, self._ending) if queue]
            with trio.CancelScope(deadline=(min(wakes_us) + 1) / US_PER_S if wakes_us else float("inf")) as self._pause:
                await self._starter.wait()
            self._collect()

    def _begin(self, job: Job) -> None:
        job.script.tick_us = self._clock()
        self._arm(job)

    def _due(self) -> None:
        """What is due now, some starts at a time."""
        turns = 0
        while self._ending and self._ending[0][0] <= self._clock():
            self._starter.signal(self._ending.popleft()[1], signal.SIGKILL)
        while self._heap and self._heap[0][0] <= self._clock():
            due_us, _, job = heappop(self._heap)
            if job.armed_us != due_us:
                continue
            job.armed_us = None
            self._turn(job)
            turns += 1
            if turns % STARTS_A_TURN == 0:
                self._collect()

    def _turn(self, job: Job) -> None:
        room = self._starter.room
        now_us = self._clock()
        if not room and now_us >= job.script.tick_us and not job.waits:
            job.waits = True
            self._waiting.append(job)
        self._act(job, job.script.time(now_us, room=room and not job.waits), now_us)
        self._arm(job)

    def _arm(self, job: Job) -> None:
        due_us = job.script.next_us(room=not job.waits)
        if due_us is not None and due_us != job.armed_us:
            self._sequence += 1
            heappush(self._heap, (due_us, self._sequence, job))
        job.armed_us = due_us

    def _act(self, job: Job, actions: list[Action], now_us: int) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start(job, action.run, now_us)
                case Kill():
                    self._kill(job, action)
                case Line():
                    self._hear.line(action.text)
                case Turned():
                    self._hear.turned(job.name, action.up)

    def _start(self, job: Job, run: int, now_us: int) -> None:
        try:
            child = self._starter.start(job.program)
        except NativeError as error:
            job.last = f"not started: {error}"
            self._hear.line(f"Script {job.name} could not be started: {error}")
            job.script.lost(run)
            return
        job.script.started(run, child.pid)
        self._under_way[child] = (job, run, now_us)
        if child.error:
            command = job.program.path.decode("utf-8", "surrogateescape")
            self._hear.line(f"Error exec-ing command '{command}', error {child.error}: {_strerror(child.error)}")

    def _kill(self, job: Job, action: Kill) -> None:
        child = next(
            (one for one, (whose, run, _) in self._under_way.items() if whose is job and run == action.run), None
        )
        if child is None:
            return  # it ended by our SIGTERM, and its group went with it when it was reaped
        if not self._starter.signal(child, action.signal):
            self._act(job, job.script.lost(action.run), self._clock())

    def _collect(self) -> None:
        """Those that have ended count; then those that wait for room."""
        for child, status in self._starter.ended():
            if child in self._under_way:
                self._reaped(child, status, *self._under_way.pop(child))
        while self._waiting and self._starter.room:
            job = self._waiting.popleft()
            job.waits = False
            self._turn(job)

    def _reaped(self, child: Child, status: int, job: Job, run: int, began_us: int) -> None:
        now_us = self._clock()
        job.runs += 1
        job.took_ms = (now_us - began_us) / 1000
        job.last = f"exit {status}" if status >= 0 else f"signal {-status}"
        if child.error:
            job.last = f"cannot be executed: {_strerror(child.error)} (counts as success)"
            status = 0
        elif job.by_shell and status in SHELL_CANNOT:
            job.last = f"the shell cannot: {status} (counts as success)"
            status = 0
        actions = job.script.reaped(run, Outcome(status=status) if status >= 0 else Outcome(signal=-status))
        if any(isinstance(one, Line) and one.text.endswith(" timed_out") for one in actions):
            job.last = "timed out"
        self._act(job, actions, now_us)
        self._hear.ran(job.name)
        self._arm(job)


def _strerror(number: int) -> str:
    return os.strerror(number)
