"""What is known here of each server, as whoever sets servers elsewhere wants it; asked by name, for names are all that is shared.

Nothing is known of a server before its first result: the state that it begins with is an assumption of this process, and
another program may know better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from risefall.engine.native import Record
from risefall.state.exchange import AdminWord, WeightKind
from risefall.state.fleet import Effects, Fleet
from risefall.state.pushing import WORD, Want
from risefall.state.server import AGENT, HEALTH, MAINT
from risefall.state.words import full_name, runs
from risefall.status import Verdict

FINAL = frozenset({Verdict.FAILED, Verdict.PASSED, Verdict.CONDPASS})


class Wanted:
    """The servers of a fleet, or of some of its backends (`only`; none for all). After a reload, it is another fleet."""

    def __init__(
        self, fleet: Callable[[], Fleet], record: Callable[[int, int], Record | None], only: Collection[str] = ()
    ) -> None:
        self._fleet_now = fleet
        self._record = record
        self._only = frozenset(only)
        self._proven: set[str] = set()
        self._weighed: set[str] = set()
        self._said: dict[str, AdminWord] = {}

    @property
    def _fleet(self) -> Fleet:
        return self._fleet_now()

    def reloaded(self) -> None:
        """Another configuration has taken over: what is known of servers that are gone is forgotten."""
        names = self.names().keys()
        self._proven &= names
        self._weighed &= names
        self._said = {name: word for name, word in self._said.items() if name in names}

    def note(self, effects: Effects) -> set[int]:
        """The servers whose state, weight or agent's words may be others now; what agents said is remembered."""
        touched = {*effects.changed, *(order.server for order in effects.orders)}
        for index in touched:
            if runs(self._fleet.servers[index].agent):
                self._hear(index)
        return touched

    def _hear(self, index: int) -> None:
        """Words that the agent's last line has said; those that it left out stay as they were said before."""
        record = self._record(index, AGENT)
        if record is None:
            return
        name = full_name(self._fleet, index)
        if record.weight_kind is not WeightKind.NONE:
            self._weighed.add(name)
        if record.admin is not AdminWord.NONE:
            self._said[name] = record.admin

    def names(self) -> dict[str, int]:
        """Every server that is there now and meant, with its index."""
        found = {}
        for proxy in self._fleet.proxies:
            if not proxy.has_backend or proxy.disabled or (self._only and proxy.name not in self._only):
                continue
            for index in proxy.own:
                if not self._fleet.servers[index].gone:
                    found[f"{proxy.name}/{self._fleet.servers[index].name}"] = index
        return found

    def name(self, index: int) -> str:
        """`<backend>/<server>` of a server that is meant; else nothing."""
        server = self._fleet.servers[index]
        meant = not self._only or self._fleet.proxies[server.proxy].name in self._only
        return full_name(self._fleet, index) if meant else ""

    def follows(self, index: int) -> bool:
        """Whether a server tracks another one here."""
        return self._fleet.servers[index].tracks >= 0

    def _has_run(self, index: int, which: int) -> bool:
        """Whether a check has said something in this process: what is remembered of an earlier one may be old."""
        record = self._record(index, which)
        return record is not None and record.done_ns > 0 and record.verdict in FINAL

    def want(self, index: int) -> Want | None:
        """What is known of one server; None where it is not checked here."""
        server = self._fleet.servers[index]
        ref = self._fleet.ref(index)
        checked, asked = runs(self._fleet.servers[ref].health), runs(server.agent)
        if server.gone or not (checked or asked):
            return None
        name = full_name(self._fleet, index)
        if name not in self._proven and self._has_run(*((ref, HEALTH) if checked else (index, AGENT))):
            self._proven.add(name)
        known = name in self._proven and not server.admin & MAINT
        return Want(
            health=WORD[server.op] if known else "",
            checked=checked,
            asked=asked,
            weight=server.uweight if name in self._weighed else None,
            admin=self._said.get(name, AdminWord.NONE),
        )
