"""From one configuration to the next while the checks run.

The new one is read, resolved and compiled whole while the old one goes on: in a thread, since that may take many seconds.
New checks are given to the engines, paused. Then, in one step that nothing can come between, the fleet is exchanged:
servers of which the file says the same are the same objects as before, those of which it says something else carry over
what hands, agents and checks have made of them (`state.carrying`), checks that are made the same way keep their timer,
their counter and even a run that is under way. Source: spec/haproxy-checks.md §1.11.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec
import trio

from risefall.daemon.draft import Draft, ProxyKey
from risefall.daemon.join import Crew, Join, now_ms
from risefall.daemon.placed import Placed, begin, made_of
from risefall.daemon.report import Report
from risefall.engine.workers import CheckId
from risefall.state.carrying import carry_proxy, date_proxy
from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, ProxyState, ServerState
from risefall.state.succession import succeed

RETRY_S = 0.005
SLICE = 500
"""Checks that are handed over before other tasks get their turn."""


class Moves(msgspec.Struct):
    """What a reload came to, by servers."""

    same: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0
    dynamic: int = 0

    def text(self) -> str:
        """In a few words."""
        words = f"{self.same} servers as before, {self.changed} changed, {self.added} added, {self.removed} removed"
        return f"{words}, {self.dynamic} of 'add server' dropped" if self.dynamic else words


class Heir:
    """A configuration that is ready to take over: what of it is as before, and where its checks are."""

    def __init__(self, draft: Draft, old: Join, old_proxies: Sequence[ProxyKey], workers: int) -> None:
        """Nothing of `old` is changed."""
        self.draft = draft
        self.proxies: list[ProxyState] = draft.seed.proxies()
        self.servers: list[ServerState] = draft.seed.servers()
        self.matched = self._match(old.fleet, old_proxies)
        self.placed = Placed(workers, len(self.servers))
        self.kept: set[CheckId] = set()
        self.added: list[tuple[int, int, CheckId]] = []
        self.wanted = [*self._keep(old.placed, draft.marks)]

    def _match(self, old: Fleet, old_proxies: Sequence[ProxyKey]) -> array[int]:
        """For each server the old place of its name in its proxy, or -1."""
        places = {key: place for place, key in enumerate(old_proxies)}
        matched = array("q")
        for key, proxy in zip(self.draft.proxies, self.proxies, strict=True):
            place = places.get(key)
            own = [] if place is None else old.proxies[place].own
            names = {old.servers[index].name: index for index in own if not old.servers[index].dynamic}
            matched.extend(names.get(self.servers[index].name, -1) for index in proxy.own)
        return matched

    def _keep(self, old: Placed, marks: array[int]) -> list[tuple[int, int, int]]:
        """Checks that are made as before stay where they are. Returns the others: server, which, mark."""
        wanted = []
        for at, mark in enumerate(marks):
            if not mark:
                continue
            index, which = at >> 1, at & 1
            before = self.matched[index]
            check = old.check_id(before, which) if before >= 0 else None
            if check is not None and old.mark(before, which) == mark:
                self.placed.put(index, which, check, mark)
                self.kept.add(check)
            else:
                wanted.append((index, which, mark))
        return wanted

    async def hand_over(self, crew: Crew) -> None:
        """Gives the new checks to the engines, paused. Raises: NativeError where there is no room; then nothing is left."""
        try:
            for number, (index, which, mark) in enumerate(self.wanted):
                await self._begin(crew, index, which, mark)
                if number % SLICE == SLICE - 1:
                    await trio.lowlevel.checkpoint()
        except BaseException:
            self.withdraw(crew)
            raise

    async def _begin(self, crew: Crew, index: int, which: int, mark: int) -> None:
        told = made_of(self.draft.targets[index], which)
        assert told is not None, "only what has a program has a mark"
        (program, spec), reach = told
        made = program, msgspec.structs.replace(spec, paused=True)
        worker = self._worker_of(index)
        while True:
            check = begin(
                crew.workers, self.placed, crew.outside, index, which, made, reach=reach, mark=mark, worker=worker
            )
            if check is not None:
                self.added.append((index, which, check))
                return
            await trio.sleep(RETRY_S)

    def _worker_of(self, index: int) -> int:
        """Both checks of one server have the same worker."""
        other = self.placed.check_id(index, HEALTH) or self.placed.check_id(index, AGENT)
        return self.placed.worker_for(index) if other is None else other.worker

    def withdraw(self, crew: Crew) -> None:
        """It does not take over: its new checks go."""
        for _, _, check in self.added:
            crew.end(check)

    # --- the step -----------------------------------------------------------------------------------------

    def take_over(self, old: Join, old_marks: array[int], old_proxies: Sequence[ProxyKey], crew: Crew, report: Report) -> tuple[Join, Moves]:  # fmt: skip
        """Exchanges the fleet. Never waits."""
        before = {key: old.fleet.proxies[place] for place, key in enumerate(old_proxies)}
        for key, proxy in zip(self.draft.proxies, self.proxies, strict=True):
            if key in before:
                carry_proxy(before[key], proxy)
        marks = self.draft.seed.marks
        made = succeed(
            old.fleet,
            self.proxies,
            self.servers,
            self.matched,
            lambda was, now: old_marks[was] == marks[now],
            self.draft.follows,
            now_ms(),
        )
        fleet = made.fleet
        for key, proxy in zip(self.draft.proxies, self.proxies, strict=True):
            if key in before:
                date_proxy(proxy, now_ms(), was_down=not (before[key].active or before[key].backup_active))
        draft = self.draft
        join = Join(
            fleet, crew, report, self.placed, draft.groups, draft.grower.agent_program, draft.retells, draft.reads
        )
        self._count_on(old, fleet)
        self._tell(join, made.stale)
        self._end_the_rest(old, crew)
        dynamic = sum(server.dynamic and not server.gone for server in old.fleet.servers)
        removed = old.fleet.count - made.same - made.changed - dynamic
        return join, Moves(made.same, made.changed, made.added, removed, dynamic)

    def _count_on(self, old: Join, fleet: Fleet) -> None:
        """The failures of a check that is made in another way now count on from those of the old one."""
        for index, which, _ in self.added:
            server, before = fleet.servers[index], self.matched[index]
            check = server.agent if which == AGENT else server.health
            record = old.record(before, which) if before >= 0 else None
            if check is not None and record is not None:
                check.fails_before -= record.fails

    def _tell(self, join: Join, stale: set[int]) -> None:
        added = {(index, which) for index, which, _ in self.added}
        for index, which in sorted(added | {(index, which) for index in stale for which in (HEALTH, AGENT)}):
            join.tell_all(index, which)

    def _end_the_rest(self, old: Join, crew: Crew) -> None:
        """Checks that are made no more, or in another way."""
        for index in range(len(old.fleet.servers)):
            for which in (HEALTH, AGENT):
                check = old.placed.check_id(index, which)
                if check is not None and check not in self.kept:
                    crew.end(check)
