"""Which worker runs which check of which server, and the way back: the server of a check that has news.

A check keeps its place in its engine for as long as it lives; where its server stands in the fleet changes with every
reload. So the engines' own tags are not used: news are known by worker and handle.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from risefall.engine.native import CheckSpec, Handle, Program
from risefall.engine.outside import Outside, Reach
from risefall.engine.targets import Target
from risefall.engine.workers import CheckId, Workers
from risefall.state.server import AGENT, HEALTH

INDEX_MASK = 0xFFFFFFFF


def key_of(check: CheckId) -> int:
    """One number for a check of this process, by which `Outside` knows it."""
    return check.worker << 64 | check.handle


def check_of(key: int) -> CheckId:
    """Undoes `key_of`."""
    return CheckId(key >> 64, Handle(key & (1 << 64) - 1))


class Placed:
    """The checks of one fleet, by the server's index and HEALTH or AGENT."""

    def __init__(self, workers: int, servers: int) -> None:
        self._workers_count = workers
        self._handles = array("Q", bytes(16 * servers))
        self._marks = array("Q", bytes(16 * servers))
        self._workers = array("H", bytes(4 * servers))
        self._tags = [array("q") for _ in range(workers)]

    # --- looking up -------------------------------------------------------------------------------------

    def check_id(self, index: int, which: int) -> CheckId | None:
        """A check by its server; None when the engine has none."""
        at = index << 1 | which
        if at >= len(self._handles) or not self._handles[at]:
            return None
        return CheckId(self._workers[at], Handle(self._handles[at]))

    def places(self, indices: Sequence[int], which: int) -> Iterator[tuple[int, Handle]]:
        """Worker and handle of that check of each server, without an object each; handle 0 where the engine has none."""
        handles, workers = self._handles, self._workers
        last = len(handles)
        for index in indices:
            at = index << 1 | which
            yield (workers[at], Handle(handles[at])) if at < last else (0, Handle(0))

    def find(self, check: CheckId) -> tuple[int, int] | None:
        """Server and which of its checks; None for a check that is gone."""
        tags, index = self._tags[check.worker], check.handle & INDEX_MASK
        tag = tags[index] if index < len(tags) else -1
        if tag < 0 or self._handles[tag] != check.handle:
            return None
        return tag >> 1, tag & 1

    def mark(self, index: int, which: int) -> int:
        """What the check was made of (`engine.marks`); 0 for none."""
        at = index << 1 | which
        return self._marks[at] if at < len(self._marks) else 0

    # --- filling ----------------------------------------------------------------------------------------

    def put(self, index: int, which: int, check: CheckId, mark: int = 0) -> None:
        """A check has its place."""
        at = index << 1 | which
        while len(self._handles) <= at:
            self._handles.append(0)
            self._marks.append(0)
            self._workers.append(0)
        self._handles[at], self._workers[at], self._marks[at] = check.handle, check.worker, mark
        tags, place = self._tags[check.worker], check.handle & INDEX_MASK
        if len(tags) <= place:
            tags.extend([-1] * (place + 1 - len(tags)))
        tags[place] = at

    def worker_for(self, index: int) -> int:
        """Who is to run the checks of a server: both of one server the same worker."""
        return index % self._workers_count

    def forget(self, index: int) -> list[CheckId]:
        """The checks of a server that is gone."""
        gone = [check for which in (HEALTH, AGENT) if (check := self.check_id(index, which)) is not None]
        for which in (HEALTH, AGENT):
            if index << 1 | which < len(self._handles):
                self._handles[index << 1 | which] = 0
        return gone


def begin(
    workers: Workers, placed: Placed, outside: Outside, index: int, which: int, made: tuple[Program, CheckSpec], *,
    reach: Reach | None = None, mark: int = 0, worker: int | None = None,
) -> CheckId | None:  # fmt: skip
    """Gives a check to a worker; None where its queue is full just now.

    Raises NativeError where there is no room for more checks.
    """
    check = workers.add(*made, worker=placed.worker_for(index) if worker is None else worker)
    if check is None:
        return None
    placed.put(index, which, check, mark)
    if reach is not None:
        outside.add(key_of(check), *made, reach)
    return check


def made_of(target: Target, which: int) -> tuple[tuple[Program, CheckSpec], Reach | None] | None:
    """One check of a target, and how its connections go where the native driver cannot make them."""
    made = target.agent if which == AGENT else target.health
    if made is None:
        return None
    return made, target.reach if which == HEALTH else None
