"""What the runtime API asks of a run of the daemon (`surfaces.calls.Api`)."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from risefall.daemon.asking import Asking
from risefall.daemon.join import now_ms
from risefall.daemon.options import Options
from risefall.daemon.present import Present
from risefall.daemon.reloading import Reloader
from risefall.engine.native import Record
from risefall.state import growth
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.moving import rename
from risefall.state.observe import Traffic, observe
from risefall.state.words import full_name
from risefall.surfaces.calls import Level
from risefall.surfaces.info import Value
from risefall.surfaces.resolvers import Tally


class Answers:
    """The words of `Api`, for what runs now."""

    def __init__(
        self,
        present: Present,
        options: Options,
        asking: Asking,
        reloader: Reloader,
        sockets: Callable[[], Sequence[tuple[str, Level]]],
        started_s: float,
    ) -> None:
        """started_s: monotonic."""
        self._present = present
        self._options = options
        self._asking = asking
        self._reloader = reloader
        self._sockets = sockets
        self._started_s = started_s
        self._started_wall = time.time() - (time.monotonic() - started_s)

    @property
    def fleet(self) -> Fleet:
        return self._present.fleet

    @property
    def record(self) -> Callable[[int, int], Record | None]:
        """The engine's figures of a check of this fleet, also for an answer that is still on its way after a reload."""
        return self._present.join.record

    def apply(self, effects: Effects) -> None:
        self._present.join.apply(effects)

    def now_ms(self) -> int:
        return now_ms()

    async def reload(self) -> str:
        return await self._reloader.reload()

    def observe(self, index: int, traffic: Traffic) -> None:
        """Tells what became of one connection or request of a server (`observe`); for whoever has traffic to report."""
        self.apply(observe(self.fleet, index, traffic))

    # --- servers that come and go -------------------------------------------------------------------------

    def _refuse_growth(self) -> None:
        """Raises: Refused."""
        if not self._present.growing:
            raise Refused("A reload is under way, try again once it is done.", short=True)

    def add_server(self, place: int, name: str, words: Sequence[str]) -> None:
        self._refuse_growth()
        present = self._present
        index = present.grower.add(present.fleet, present.join, place, name, words)
        present.why_not.pop(index, None)
        present.tracked.added(index)

    def del_server(self, index: int) -> None:
        self._refuse_growth()
        present = self._present
        name, place = full_name(present.fleet, index), present.fleet.servers[index].proxy
        growth.remove_server(present.fleet, index)
        present.join.forget(index)
        present.tracked.removed(name, place)

    def set_name(self, index: int, name: str) -> None:
        self._refuse_growth()
        present = self._present
        before, place = full_name(present.fleet, index), present.fleet.servers[index].proxy
        growth.set_name(present.fleet, index, name)
        if full_name(present.fleet, index) != before:
            present.join.renamed(index)
            present.tracked.removed(before, place)
            present.tracked.added(index)

    def rename(self, index: int, name: str) -> str:
        resolver = self._asking.resolver_of(index)
        if resolver is None:
            raise Refused("set server <b>/<s> fqdn failed because no resolution is configured.")
        before = self.fleet.servers[index].fqdn
        told = rename(self.fleet, index, name)
        if self.fleet.servers[index].fqdn != before:
            self._present.crew.changes += 1
            resolver.rename(index, name)
        return told

    # --- facts --------------------------------------------------------------------------------------------

    def sockets(self) -> Sequence[tuple[str, Level]]:
        return self._sockets()

    def info(self) -> Mapping[str, Value]:
        """Values of `show info`; what belongs to proxying is left at its default."""
        present = self._present
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "Version": version("risefall"),
            "Build info": f"risefall {version('risefall')}",
            "Nbthread": self._options.workers,
            "Pid": os.getpid(),
            "Uptime_sec": time.monotonic() - self._started_s,
            "Start_time_sec": self._started_wall,
            "Ulimit-n": soft,
            "Maxconn": present.maxconn,
            "Hard_maxconn": present.maxconn,
            "node": present.node,
            "description": present.description,
            "DroppedLogs": present.report.dropped,
        }

    def vrrp(self) -> list[dict[str, object]]:
        companion = self._present.companion
        return companion.rows() if companion is not None else []

    def resolvers(self) -> list[Tally]:
        """The counters of `show resolvers`."""
        return list(self._present.tallies.values())
