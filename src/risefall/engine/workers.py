"""The engines of one process: how many slots they get, which check runs where, and draining them all."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import msgspec

from risefall.engine.native import (
    Change,
    CheckSpec,
    Closing,
    Engine,
    Event,
    Handle,
    Process,
    Program,
    Record,
    Statistics,
)

SPARE_DESCRIPTORS = 64
SLOTS_MAX = 16_384
SLOTS_SPARE = 1024
"""Slots that there are at least, if descriptors allow: a configuration may grow. Those that are not used cost nothing."""
CHECKS_MIN, GROUPS_MIN = 1 << 18, 1 << 16
"""Room for the checks and proxies of configurations to come; it costs memory only where it is used."""


def slots_for(checks: int, wanted: int = 0) -> int:
    """Slots: as told, else enough for twice the checks up to 16,384; never more than the soft limit of descriptors - 64."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(1, (soft if soft != resource.RLIM_INFINITY else SLOTS_MAX + SPARE_DESCRIPTORS) - SPARE_DESCRIPTORS)
    return max(1, min(wanted or min(max(2 * checks, SLOTS_SPARE), SLOTS_MAX), allowed))


class CheckId(msgspec.Struct, frozen=True, gc=False):
    """A check of this process: which worker runs it, and its handle there."""

    worker: int
    handle: Handle


class Workers(Closing):
    """`count` engines. Not started until `start`; close it, or use it with `with`."""

    def __init__(
        self, count: int, checks: int, *, slots: int = 0, bufsize: int = 16384, groups: int = 0, gather_us: int = 1500
    ) -> None:
        """checks, groups: as many as there are now; there is room for twice as many, and for a few hundred thousand."""
        each = -(-checks // count)
        share = max(1, slots_for(checks, slots) // count)
        self.groups = max(2 * groups, GROUPS_MIN)
        self.bufsize = bufsize
        self.engines = [
            Engine(
                checks_max=max(2 * each, CHECKS_MIN),
                slots=share,
                bufsize=bufsize,
                groups=self.groups,
                gather_us=gather_us,
            )
            for _ in range(count)
        ]
        self._next = 0

    def close(self) -> None:
        """Ends every thread and socket; idempotent."""
        for engine in self.engines:
            engine.close()

    def start(self) -> None:
        """Starts the threads."""
        for engine in self.engines:
            engine.start()

    def add(self, program: Program, spec: CheckSpec, worker: int | None = None) -> CheckId | None:
        """Adds a check to a worker, to the next one in turn when none is told; None: its queue is full just now."""
        if worker is None:
            worker = self._next = (self._next + 1) % len(self.engines)
        handle = self.engines[worker].add(program, spec)
        return None if handle is None else CheckId(worker, handle)

    def command(self, check: CheckId, change: Change) -> bool:
        """Orders a change; false when the queue is full just now."""
        return self.engines[check.worker].command(check.handle, change)

    def remove(self, check: CheckId) -> bool:
        """Takes a check away; false when the queue is full just now."""
        return self.engines[check.worker].remove(check.handle)

    def set_program(self, check: CheckId, program: Program) -> bool:
        """Gives a check another program; false when the queue is full just now."""
        return self.engines[check.worker].set_program(check.handle, program)

    def set_site(self, check: CheckId, site: bytes, process: Process | None) -> bool:
        """Gives a check other texts of its server; false when the queue is full just now."""
        return self.engines[check.worker].set_site(check.handle, site, process)

    def observed(self, check: CheckId, ceiling: int, text: bytes, *, again: bool) -> bool:
        """Tells a check what traffic did to it; false when the queue is full just now."""
        return self.engines[check.worker].observed(check.handle, ceiling, text, again=again)

    def group_weight(self, group: int, total_weight: int) -> bool:
        """Tells every worker a group's total weight; false when some queue is full just now."""
        told = [
            engine.group_weight(group, total_weight) for engine in self.engines
        ]  # each one, whatever the others say
        return all(told)

    def snapshot(self, checks: Sequence[CheckId]) -> list[Record | None]:
        """The records of many checks, in their order."""
        found: list[Record | None] = [None] * len(checks)
        for worker, engine in enumerate(self.engines):
            places = [place for place, check in enumerate(checks) if check.worker == worker]
            for place, record in zip(places, engine.snapshot([checks[place].handle for place in places]), strict=True):
                found[place] = record
        return found

    def drain(self, worker: int) -> list[Event]:
        """At most a batch of events of one worker."""
        return self.engines[worker].drain()

    def statistics(self) -> list[Statistics]:
        """One reading a worker."""
        return [engine.statistics() for engine in self.engines]
