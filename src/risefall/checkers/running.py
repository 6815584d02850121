"""Runs checkers in real time, or in a test's: one task each, which waits, makes an attempt, and tells the machine of it.

Where more connections or programs want to be open than may be, they wait for their turn.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

from risefall.checkers.attempts import Attempts
from risefall.checkers.pace import Ended, Http, Misc, Paced
from risefall.checkers.words import Attempt
from risefall.engine.spawning import Child, Children, Program
from risefall.errors import NativeError
from risefall.evaluator.commands import SHELL_CANNOT
from risefall.evaluator.runner import monotonic_us
from risefall.vrrp.settings import US_PER_S

CONNECTIONS_MAX = 512
TERM_TO_KILL_S, KILL_TO_KILL_S, AGAIN_S = 2.0, 2.0, 10.0
"""As for vrrp_scripts (spec §1.5)."""


class Programs:
    """Starts MISC_CHECK programs, ends those that take too long, and says how each ended. `run` for ever beside them."""

    def __init__(self, children: Children, say: Callable[[str], None]) -> None:
        self._children = children
        self._say = say
        self._room = trio.Semaphore(children.most)
        self._ends: dict[Child, tuple[trio.Event, list[int]]] = {}

    async def run(self) -> None:
        """Notes which have ended."""
        while True:
            await self._children.wait()
            for child, status in self._children.ended():
                if child in self._ends:
                    event, statuses = self._ends.pop(child)
                    statuses.append(status)
                    event.set()

    async def one(self, program: Program, timeout_ms: int, *, by_shell: bool = False) -> Ended:
        """One run. A program that cannot be executed counts as status 0, as in keepalived."""
        async with self._room:
            try:
                child = self._children.start(program)
            except NativeError as error:
                self._say(f"{os.fsdecode(program.path)} could not be started: {error}")
                return Ended(status=0)
            event, statuses = trio.Event(), list[int]()
            self._ends[child] = (event, statuses)
            if child.error:
                command = os.fsdecode(program.path)
                self._say(f"Error exec-ing command '{command}', error {child.error}: {os.strerror(child.error)}")
            sent = await self._wait(child, event, timeout_ms / 1000)
        status = statuses[0]
        if child.error or (by_shell and status in SHELL_CANNOT):
            status = 0
        if status >= 0:
            return Ended(status=status)
        return Ended(signal=-status, timed_out=-status in (sent, signal.SIGTERM) if sent else False)

    async def _wait(self, child: Child, event: trio.Event, limit_s: float) -> int:
        """Until it has ended; the last signal that was sent to it, 0 for none."""
        sent = 0
        while True:
            with trio.move_on_after(limit_s):
                await event.wait()
            if event.is_set():
                return sent
            if sent == signal.SIGKILL:
                limit_s = AGAIN_S
                self._say(f"Child (PID {child.pid}) failed to terminate after kill")
            else:
                limit_s = KILL_TO_KILL_S if sent else TERM_TO_KILL_S
                sent = signal.SIGKILL if sent else signal.SIGTERM
            self._children.signal(child, sent)


class Prepared:
    """A MISC_CHECK's program, ready to run."""

    def __init__(self, program: Program, *, by_shell: bool) -> None:
        self.program = program
        self.by_shell = by_shell


def maker(
    attempts: Attempts, programs: Programs, prepared: Mapping[Misc, Prepared]
) -> Callable[[Paced], Awaitable[Attempt | Ended]]:
    """What makes an attempt of any machine."""
    room = trio.Semaphore(CONNECTIONS_MAX)

    async def make(machine: Paced) -> Attempt | Ended:
        if isinstance(machine, Misc):
            ready = prepared[machine]
            return await programs.one(ready.program, machine.config.timeout_ms, by_shell=ready.by_shell)
        async with room:
            url = machine.at if isinstance(machine, Http) else 0
            return await attempts.make(machine.pool.config, machine.server.config, machine.config, url)

    return make


class Runner:
    """Runs machines until it is cancelled. `first` is set when each has run; with `once` each ends then."""

    def __init__(
        self,
        machines: Iterable[Paced],
        make: Callable[[Paced], Awaitable[Attempt | Ended]],
        *,
        once: bool = False,
        enabled: Callable[[Paced], bool] = lambda machine: True,
    ) -> None:
        """enabled: whether a machine may run now; when not, it asks again after delay_loop."""
        self._machines = list(machines)
        self._make = make
        self._once = once
        self._enabled = enabled
        self._missing = set(self._machines)
        self.first = trio.Event()
        if not self._machines:
            self.first.set()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for machine in self._machines:
                nursery.start_soon(self._run, machine)

    async def _run(self, machine: Paced) -> None:
        while True:
            if not self._once:
                await trio.sleep_until(machine.due_us / US_PER_S)
            if self._enabled(machine):
                machine.begin(monotonic_us())
                ended = await self._make(machine)
                if isinstance(machine, Misc):
                    assert isinstance(ended, Ended)
                    machine.ended(ended, monotonic_us())
                else:
                    assert isinstance(ended, Attempt)
                    machine.done(ended, monotonic_us())
                unmade = self._once and not machine.runs
            else:
                machine.due_us = monotonic_us() + machine.config.delay_loop_ms * 1000
                unmade = True
            if machine.has_run or unmade:
                self._missing.discard(machine)
                if not self._missing:
                    self.first.set()
                if self._once:
                    return


def is_local(address: str) -> bool:
    """Whether this machine has an address, which ha_suspend waits for."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True
