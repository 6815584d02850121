"""What runs now: one fleet, its checks, and what its configuration says besides. A reload exchanges it in one step.

What outlives a configuration (engines, orders, checks made outside) is the `Crew`; where lines go is the `Report`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from risefall.config.haproxy.dialect import Dialect
from risefall.daemon.draft import Draft, Groups, ProxyKey
from risefall.daemon.growth import Grower
from risefall.daemon.join import Crew, Join, now_ms
from risefall.daemon.keeping import Keeper, Kept, Restored, restore
from risefall.daemon.overview import Row, down_of, rows_of
from risefall.daemon.placed import Placed
from risefall.daemon.reload import Heir, Moves
from risefall.daemon.report import Following, Report
from risefall.daemon.server_states import Found as StateRows
from risefall.daemon.server_states import apply_rows
from risefall.daemon.tracked import Board, FleetBoard
from risefall.state.fleet import Fleet
from risefall.surfaces.resolvers import Tally

if TYPE_CHECKING:
    from risefall.daemon.companion import Companion

BATCHES_MAX = 16
"""Batches of news drained before other tasks get their turn."""


class Present:
    """`begin` with the first configuration, `exchange` it for another one."""

    def __init__(self, crew: Crew, report: Report, groups: Groups) -> None:
        self.crew = crew
        self.report = report
        self.groups = groups
        self.handled = 0
        """Events that Python has handled."""
        self.growing = True
        """Whether servers may come and go: those that do while a reload is under way would be lost."""
        self.on_reload: list[Callable[[], None]] = []
        """What must know that the fleet is another one now."""
        self.why_not: dict[int, str] = {}
        self.tallies: dict[str, Tally] = {}
        self.node = self.description = ""
        self.maxconn = 0
        self.companion: Companion | None = None
        """What is done beside keepalived, once it is."""
        self.join: Join
        self.grower: Grower
        self.tracked: FleetBoard
        self._marks: array[int]
        self.proxies: Sequence[ProxyKey]

    @property
    def fleet(self) -> Fleet:
        """What every server is; another one after a reload."""
        return self.join.fleet

    # --- from one configuration to the next ---------------------------------------------------------------

    def begin(
        self,
        draft: Draft,
        dialect: Dialect,
        placed: Placed,
        keeper: Keeper,
        kept: tuple[int, Kept] | None,
        rows: StateRows,
    ) -> None:
        """The first fleet; what was kept of an earlier run goes on, and rows of HAProxy's server-state files."""
        proxies, servers = draft.seed.proxies(), draft.seed.servers()
        known = Restored()
        if kept is not None:
            known = restore(kept[1], kept[0], draft.proxies, proxies, servers, draft.follows)
            keeper.tell(kept[1], len(known.servers))
        fleet = Fleet(proxies, servers, dialect, now_ms())
        known.date(fleet)
        self.join = Join(
            fleet, self.crew, self.report, placed, draft.groups, draft.grower.agent_program, draft.retells, draft.reads
        )
        for index in draft.telling:
            self.join.tell_state(index)
        for index in known.servers:
            self.join.tell_all(index)
        for note in [*rows.notes, *apply_rows(self.join, rows, known.servers.keys())]:
            self.report.say(note)
        self._take(draft)

    def publish(self, board: Board) -> None:
        """Tells risefall-track of every server, now and after a reload."""
        self.tracked = FleetBoard(board, lambda: self.fleet)
        self.crew.listeners.append(self.tracked.changed)
        self.on_reload.append(self.tracked.reloaded)

    def exchange(self, heir: Heir, following: Following) -> Moves:
        """Another configuration takes over. Never waits."""
        for worker in range(len(self.crew.workers.engines)):
            while handled := self.join.drain(worker):
                self.handled += handled
        self.report.follow(following)
        self.join, tally = heir.take_over(self.join, self._marks, self.proxies, self.crew, self.report)
        self.crew.changes += 1
        self._take(heir.draft)
        for taken in self.on_reload:
            taken()
        return tally

    def _take(self, draft: Draft) -> None:
        """What a configuration has to say besides its servers."""
        self.groups.take(draft.proxies, draft.groups)
        self.grower = draft.grower
        self._marks, self.proxies = draft.seed.marks, draft.proxies
        self.node, self.description, self.maxconn = draft.node, draft.description, draft.maxconn
        self.why_not, self.tallies = draft.why_not, draft.tallies
        for note in draft.notes:
            self.report.say(note)

    # --- news -----------------------------------------------------------------------------------------------

    async def drain(self, worker: int) -> None:
        """Handles the news of one worker until cancelled."""
        engine = self.crew.workers.engines[worker]
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

    def news(self) -> int:
        """Rises with everything that may have changed a server."""
        return self.handled + self.crew.changes

    # --- how it stands --------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every server as it stands now."""
        return rows_of(self.fleet, self.join.record, self.why_not)

    def down(self) -> int:
        """Servers that are DOWN; those in maintenance are not counted."""
        return down_of(self.fleet)

    def status(self) -> str:
        """What systemd is told."""
        return f"STATUS=checking {len(self.fleet.servers)} servers, {self.down()} down"
