"""The tasks that ask name servers for the configuration that runs now; a reload ends them and begins others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from risefall.daemon.present import Present
from risefall.daemon.wishes import Sections
from risefall.surfaces.resolvers import Tally, counters_of

if TYPE_CHECKING:
    from risefall.daemon.resolving import Resolver

Task = Callable[[], Awaitable[None]]


class Asking:
    """`make` the tasks of a configuration, `run` them, `stop` them for the next one."""

    def __init__(self) -> None:
        self._resolvers: list[Resolver] = []
        self._scope = trio.CancelScope()

    def make(self, sections: Sections, present: Present) -> list[Task]:
        """A task for each section of resolvers that servers use. Reads files, and modules that only few need."""
        self._resolvers = []
        if not sections:
            return []
        from risefall.daemon.resolving import Resolver

        self._resolvers = [
            Resolver(
                settings,
                wishes,
                present.join,
                present.report,
                present.tallies.setdefault(
                    settings.name, Tally(settings.name, counters=counters_of(present.fleet.dialect))
                ),
            )
            for settings, wishes in sections
        ]
        return [one.run for one in self._resolvers]

    async def run(self, tasks: Sequence[Task]) -> None:
        """Asks for one configuration, until `stop`."""
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)

    def stop(self) -> None:
        """Ends what runs."""
        self._scope.cancel()

    def resolver_of(self, index: int) -> Resolver | None:
        """Who asks for the name of a server; None where nobody does."""
        return next((one for one in self._resolvers if one.policy.resolves(index)), None)
