"""Rows of `show stat` for many servers at once.

Most servers of a fleet look alike but for their names, addresses and a few counters. What they have in common, the *shape*,
is rendered once by `csv.Table`; each row is then a format with its own values in it. A shape's key is all that decides
about the common part, so whoever lets a new thing of a server into its row adds it to the key, or to `OWN`.
Servers that track, or that traffic is observed on, have rows made of more than themselves: `Table` makes those one by one.
tests/surfaces/test_shapes.py compares both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from risefall.state.server import CheckState, Op, ProxyState, ServerState
from risefall.status import Status, Verdict
from risefall.surfaces.columns import AT
from risefall.surfaces.live import Figures, Record

OWN = (
    "pxname", "svname", "weight", "chkfail", "chkdown", "lastchg", "downtime", "iid", "sid", "check_duration",
    "agent_duration", "addr", "cookie", "uweight",
)  # fmt: skip
"""Columns that are each server's own, in order."""

ROWS = 128
"""Servers whose figures are fetched at once, and whose rows are one piece of the answer."""

SPECIAL = re.compile('[",\r\n]')

Cells = list[str | None]

FAILS, TOOK = Figures._fields.index("fails"), Figures._fields.index("duration_ms")


def quote(text: str) -> str:
    """A text as CSV has it: in quotes only where it must be."""
    return '"' + text.replace('"', '""') + '"' if SPECIAL.search(text) else text


def shown_address(server: ServerState) -> str | None:
    """`127.0.0.1:80`, `[::1]:80`, `unix`; None while a name is unresolved."""
    if not server.address:
        return None
    if server.address[0] in "/@":
        return "unix"
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"


class Read(NamedTuple):
    """A `Record` made of plain figures."""

    epoch: int
    status: Status
    verdict: Verdict
    code: int
    duration_ms: int
    text: bytes
    health: int
    fails: int
    in_progress: bool
    runs: int = 0


def read(figures: Sequence[Any] | None) -> Record | None:
    """One record; `runs` is not among the figures."""
    if figures is None:
        return None
    one = Figures(*figures)
    return Read(
        one.epoch, Status(one.status_number), Verdict(one.verdict_number), one.code, one.duration_ms,
        one.raw_text[: one.text_len], one.health, one.fails, bool(one.in_progress),
    )  # fmt: skip


class Shape(NamedTuple):
    """What rows have in common. text: with a `%s` for each column of `OWN`; the rest: whether the columns are filled."""

    text: str
    checked: bool
    timed: bool
    agent_timed: bool


def shape_of(cells: Cells, texts: Sequence[int]) -> Shape:
    """The shape of a row. texts: columns to be quoted."""
    common = [cell or "" for cell in cells]
    for at in texts:
        common[at] = quote(common[at])
    common = [cell.replace("%", "%%") for cell in common]
    for name in OWN:
        common[AT[name]] = "%s"
    filled = (cells[AT[name]] is not None for name in ("chkfail", "check_duration", "agent_duration"))
    return Shape(f"{','.join(common)},\n", *filled)


def common_of(check: CheckState, figures: Sequence[Any] | None) -> tuple[Hashable, ...] | None:
    """What of a check goes into a shape's key; None where a row has to be made from nothing.

    That is: the engine has no such check, or has not heard yet of what a command did.
    """
    if figures is None:
        return None
    _, epoch, health, _, in_progress, status, _, code, _, length, text = figures
    if epoch != check.epoch:
        return None
    return (
        check.configured, check.enabled, check.paused, check.rise, check.fall, check.health, health, in_progress, status,
        code, text[:length],
    )  # fmt: skip


Make = Callable[[int, ProxyState, Record | None, Record | None], Cells]


class Shapes:
    """The shapes of one answer.

    Args:
        make: a row from nothing.
        texts: columns to be quoted.
        now_ms, hana_ms: the clock of `changed_ms`; the duration of a check that has none.
        legends: addresses and cookies are shown.
    """

    def __init__(self, make: Make, texts: Sequence[int], now_ms: int, hana_ms: int, *, legends: bool) -> None:
        self._make = make
        self._texts = texts
        self._now_ms = now_ms
        self._hana_ms = hana_ms
        self._legends = legends
        self._known: dict[Hashable, Shape] = {}

    def row(
        self, index: int, server: ServerState, proxy: ProxyState, weight: int,
        health: Sequence[Any] | None, agent: Sequence[Any] | None,
    ) -> str | None:  # fmt: skip
        """One line; None for a server whose row has to be made from nothing. health, agent: in the order of `Figures`."""
        check, agent_check = server.health, server.agent
        if server.tracks >= 0 or server.watch is not None:
            return None
        common = agent_common = None
        if check is not None and (common := common_of(check, health)) is None:
            return None
        if agent_check is not None and (agent_common := common_of(agent_check, agent)) is None:
            return None
        # `+ 0` makes plain numbers: the hash of an enum's member is computed in Python, from its name.
        key = (
            server.op + 0, server.admin + 0, server.backup, server.maxconn, server.maxqueue, server.warmth,
            server.uweight == 0, server.idle_health, server.idle_rise, server.idle_fall, server.dynamic, server.revision, proxy.mode,
            common, agent_common,
        )  # fmt: skip
        shape = self._known.get(key)
        if shape is None:
            shape = shape_of(self._make(index, proxy, read(health), read(agent)), self._texts)
            self._known[key] = shape
        since_ms = max(0, self._now_ms - server.changed_ms)
        fails = downs = downtime = took = agent_took = address = cookie = ""
        if shape.checked and check is not None and health is not None:
            fails = str(health[FAILS] - check.fails_before)
            downs = str(server.downs)
            downtime = str((server.down_ms + (since_ms if server.op is Op.STOPPED else 0)) // 1000)
            if shape.timed:
                took = str(health[TOOK] if health[TOOK] >= 0 else self._hana_ms)
        if shape.agent_timed and agent is not None:
            agent_took = str(max(0, agent[TOOK]))
        if self._legends:
            address = shown_address(server) or ""
            cookie = quote(server.cookie)
        return shape.text % (
            quote(proxy.name), quote(server.name), weight, fails, downs, since_ms // 1000, downtime, proxy.id, server.sid,
            took, agent_took, address, cookie, server.uweight,
        )  # fmt: skip
