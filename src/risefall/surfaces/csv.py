"""`show stat`: frontends, servers and backends as CSV, typed lines or JSON.

risefall carries no traffic, so its columns are 0 where HAProxy counts traffic, and `slim` of frontends and backends is
empty where HAProxy computes it from its descriptors. What a checker knows is in the columns as HAProxy has it, so that its clients can read on.
Source: spec/haproxy-checks.md §7.2-7.4, traps 46-48.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, DRAIN, HEALTH, MAINT, CheckState, Op, ProxyState, ServerState
from risefall.state.warming import WARM
from risefall.state.words import status_word
from risefall.status import Status
from risefall.surfaces.columns import AT, BASE, COLUMNS, Column, Format, json_value, tag_words
from risefall.surfaces.live import Block, Record, RecordOf, View, view_of
from risefall.surfaces.query import ANY, BACKENDS, FRONTENDS, SERVERS, Query
from risefall.surfaces.shapes import ROWS, Shapes, quote, shown_address

TEXTS = [AT[column.name] for column in BASE if column.kind == "str"]
"""Columns that may need quotes."""

Cells = list[str | None]
"""A row's texts in column order; None is an empty field, "" an empty text."""


class Row(NamedTuple):
    """One line of the table. kind: F, B or S."""

    kind: str
    iid: int
    sid: int
    cells: Cells


# --- rows -----------------------------------------------------------------------------------------


def _template(kind: str, mode: str, columns: Sequence[Column]) -> Cells:
    """A row of zeros and gaps."""
    shown = kind + (kind.lower() if mode == "http" else "")
    cells: Cells = ["0" if any(letter in column.zeros for letter in shown) else None for column in columns]
    cells[-1] = "-"
    return cells


class Table:
    """The rows of one reply. now_ms: monotonic, the clock of the fleet's `changed_ms`."""

    def __init__(self, fleet: Fleet, record: RecordOf, now_ms: int, query: Query) -> None:
        self._fleet = fleet
        self._record = record
        self._now_ms = now_ms
        self._query = query
        self.columns = COLUMNS[fleet.dialect.csv_extended]
        self._templates = {
            (kind, mode): _template(kind, mode, self.columns) for kind in "FBS" for mode in ("http", "tcp")
        }

    def proxies(self) -> Iterator[tuple[int, ProxyState]]:
        """Those that are asked for, with their place."""
        for number, proxy in enumerate(self._fleet.proxies):
            if not proxy.disabled and self._query.iid in (ANY, proxy.id):
                yield number, proxy

    def rows(self) -> Iterator[Row]:
        """In configuration order: of each proxy its frontend, its servers, its backend."""
        for number, proxy in self.proxies():
            if (row := self.frontend_row(proxy)) is not None:
                yield row
            for index in self.listed(proxy):
                yield Row("S", proxy.id, self._fleet.servers[index].sid, self._server(index, proxy))
            if (row := self.backend_row(number, proxy)) is not None:
                yield row

    def frontend_row(self, proxy: ProxyState) -> Row | None:
        wanted = proxy.has_frontend and self._query.wants(FRONTENDS)
        return Row("F", proxy.id, 0, self._frontend(proxy)) if wanted else None

    def backend_row(self, number: int, proxy: ProxyState) -> Row | None:
        wanted = proxy.has_backend and self._query.wants(BACKENDS)
        return Row("B", proxy.id, 0, self._backend(number, proxy)) if wanted else None

    def listed(self, proxy: ProxyState) -> Sequence[int]:
        """The servers of a proxy that are asked for, by index."""
        query = self._query
        if not proxy.has_backend or not query.wants(SERVERS):
            return ()
        if query.sid == ANY and not query.up and not query.no_maint:
            return proxy.own
        return [index for index in proxy.own if self._listed(index)]

    def shapes(self) -> Shapes:
        """For `lines`."""
        hana_ms = self._fleet.dialect.hana_duration
        return Shapes(self.made, TEXTS, self._now_ms, hana_ms, legends=self._query.legends)

    def lines(self, shapes: Shapes, known: Block, proxy: ProxyState, own: Sequence[int]) -> Iterator[str]:
        """The lines of some servers of a proxy."""
        fleet = self._fleet
        for index, health, agent in zip(own, known.block(own, HEALTH), known.block(own, AGENT), strict=True):
            line = shapes.row(index, fleet.servers[index], proxy, fleet.effective_weight(index), health, agent)
            yield _line(self._server(index, proxy)) if line is None else line

    def _listed(self, index: int) -> bool:
        query, server = self._query, self._fleet.servers[index]
        if query.sid not in (ANY, server.sid):
            return False
        in_maintenance = bool(server.admin & MAINT)
        if in_maintenance and (query.up or query.no_maint):
            return False
        if not query.up or server.op != Op.STOPPED:
            return True
        # DOWN is still listed while a check is on its way up.
        at = self._fleet.ref(index)
        ref = self._fleet.servers[at]
        enabled = [
            self._view(at, which, check)
            for which, check in ((HEALTH, ref.health), (AGENT, ref.agent))
            if _enabled(check)
        ]
        return bool(enabled) and all(view.health for view in enabled)

    def _start(self, kind: str, proxy: ProxyState, name: str, sid: int, number: int) -> Cells:
        cells = self._templates[kind, "http" if proxy.mode == "http" else "tcp"].copy()
        cells[AT["pxname"]] = proxy.name
        cells[AT["svname"]] = name
        cells[AT["pid"]] = "1"
        cells[AT["iid"]] = str(proxy.id)
        cells[AT["sid"]] = str(sid)
        cells[AT["type"]] = str(number)
        cells[AT["mode"]] = proxy.mode
        return cells

    def _server(self, index: int, proxy: ProxyState) -> Cells:
        server = self._fleet.servers[index]
        return self.made(
            index,
            proxy,
            None if server.health is None else self._record(index, HEALTH),
            None if server.agent is None else self._record(index, AGENT),
        )

    def _frontend(self, proxy: ProxyState) -> Cells:
        cells = self._start("F", proxy, "FRONTEND", 0, 0)
        cells[AT["slim"]] = None if proxy.front_limit is None else str(proxy.front_limit)
        cells[AT["status"]] = "STOP" if proxy.front_stopped else "PAUSED" if proxy.front_paused else "OPEN"
        return cells

    def _backend(self, number: int, proxy: ProxyState) -> Cells:
        fleet, query = self._fleet, self._query
        own = [fleet.servers[index] for index in proxy.own]
        weight = fleet.total_weight(number)
        status = "UP" if weight > 0 or not own else "DOWN"
        if query.up or query.no_maint:
            status += f" ({sum(server.op != Op.STOPPED for server in own)}/{len(own)})"
        cells = self._start("B", proxy, "BACKEND", 0, 1)
        cells[AT["slim"]] = str(proxy.fullconn) if proxy.fullconn else None
        cells[AT["status"]] = status
        cells[AT["weight"]] = str(weight)
        cells[AT["act"]] = str(proxy.active)
        cells[AT["bck"]] = str(proxy.backup_active)
        cells[AT["chkdown"]] = str(proxy.downs)
        cells[AT["lastchg"]] = self._age(proxy.changed_ms)
        if own:
            cells[AT["downtime"]] = self._downtime(proxy, not weight)
        cells[AT["lastsess"]] = "-1"
        cells[AT["uweight"]] = str(self._user_weight(proxy))
        if query.legends:
            cells[AT["algo"]] = proxy.balance
            cells[AT["cookie"]] = proxy.cookie or None
        return cells

    def _user_weight(self, proxy: ProxyState) -> int:
        """Sum over the usable servers of the kind that serves: backups only while no active one does, and of them the first
        one alone without `option allbackups`.
        """
        fleet = self._fleet
        serving = [
            fleet.servers[index].uweight
            for index in proxy.own
            if fleet.servers[index].backup == (not proxy.active) and fleet.usable(index)
        ]
        return sum(serving if proxy.active or proxy.allbackups else serving[:1])

    def made(self, index: int, proxy: ProxyState, health: Record | None, agent: Record | None) -> Cells:
        """A server's row from nothing. health, agent: what the engine has of its checks."""
        fleet = self._fleet
        server = fleet.servers[index]
        cells = self._start("S", proxy, server.name, server.sid, 2)
        cells[AT["slim"]] = str(server.maxconn) if server.maxconn else None
        cells[AT["status"]] = status_word(fleet, index)
        cells[AT["weight"]] = str(fleet.effective_weight(index))
        cells[AT["act"]] = "0" if server.backup else "1"
        cells[AT["bck"]] = "1" if server.backup else "0"
        cells[AT["lastchg"]] = self._age(server.changed_ms)
        cells[AT["qlimit"]] = str(server.maxqueue) if server.maxqueue else None
        if server.op == Op.STARTING and not server.admin & DRAIN:
            cells[AT["throttle"]] = str(-(-100 * server.warmth // WARM) if server.uweight else 100)
        if server.tracks >= 0:
            tracked = fleet.servers[server.tracks]
            cells[AT["tracked"]] = f"{fleet.proxies[tracked.proxy].name}/{tracked.name}"
        cells[AT["lastsess"]] = "-1"
        if server.dynamic:
            cells[AT["src_ilim"]] = "0"
        if fleet.dialect.csv_extended:
            cells[AT["srid"]] = str(server.revision)
        cells[AT["uweight"]] = str(server.uweight)
        if self._query.legends:
            cells[AT["addr"]] = shown_address(server)
            cells[AT["cookie"]] = server.cookie or None
        self._health_check(cells, server, health)
        self._agent_check(cells, server, agent)
        return cells

    def _health_check(self, cells: Cells, server: ServerState, record: Record | None) -> None:
        check = server.health
        if check is None or not _enabled(check):
            return
        cells[AT["chkfail"]] = str(record.fails - check.fails_before if record is not None else 0)
        cells[AT["chkdown"]] = str(server.downs)
        if server.watch is not None:
            cells[AT["hanafail"]] = str(server.watch.limit_reached)
        cells[AT["downtime"]] = self._downtime(server, server.op == Op.STOPPED)
        if check.paused:
            return
        view = view_of(check, record)
        self._check(cells, "check", "last_chk", view)
        if view.status >= Status.CHECKED:
            duration = view.duration_ms if view.duration_ms >= 0 else self._fleet.dialect.hana_duration
            cells[AT["check_duration"]] = str(duration)

    def _agent_check(self, cells: Cells, server: ServerState, record: Record | None) -> None:
        check = server.agent
        if check is None or not _enabled(check) or check.paused:
            return
        view = view_of(check, record)
        self._check(cells, "agent", "last_agt", view)
        cells[AT["agent_duration"]] = str(max(0, view.duration_ms))

    def _check(self, cells: Cells, which: str, told: str, view: View) -> None:
        status = view.status
        cells[AT[f"{which}_status"]] = f"* {status.name}" if view.in_progress else status.name
        cells[AT[f"{which}_code"]] = str(view.code % 2**32) if status.has_code else None
        cells[AT[told]] = view.text
        cells[AT[f"{which}_desc"]] = status.text
        cells[AT[f"{which}_rise"]] = str(view.check.rise)
        cells[AT[f"{which}_fall"]] = str(view.check.fall)
        cells[AT[f"{which}_health"]] = str(view.health)

    def _view(self, index: int, which: int, check: CheckState | None) -> View:
        assert check is not None
        return view_of(check, self._record(index, which))

    def _age(self, changed_ms: int) -> str:
        return str(max(0, self._now_ms - changed_ms) // 1000)

    def _downtime(self, of: ServerState | ProxyState, is_down: bool) -> str:
        return str((of.down_ms + (max(0, self._now_ms - of.changed_ms) if is_down else 0)) // 1000)


def _enabled(check: CheckState | None) -> bool:
    return check is not None and check.configured and check.enabled


# --- output ---------------------------------------------------------------------------------------


def _head(table: Table) -> str:
    return "# " + "".join(f"{column.name}," for column in table.columns) + "\n"


def _line(cells: Cells) -> str:
    for at in TEXTS:
        value = cells[at]
        if value:
            cells[at] = quote(value)
    return ",".join([cell or "" for cell in cells]) + ",\n"


def _csv(table: Table) -> Iterator[str]:
    yield _head(table)
    for row in table.rows():
        yield _line(row.cells)


def _csv_by_blocks(table: Table, known: Block) -> Iterator[str]:
    """The same, a block of servers at once."""
    yield _head(table)
    shapes = table.shapes()
    for number, proxy in table.proxies():
        if (row := table.frontend_row(proxy)) is not None:
            yield _line(row.cells)
        own = table.listed(proxy)
        for start in range(0, len(own), ROWS):
            yield "".join(table.lines(shapes, known, proxy, own[start : start + ROWS]))
        if (row := table.backend_row(number, proxy)) is not None:
            yield _line(row.cells)


def _typed(table: Table, *, desc: bool, persistence: bool) -> Iterator[str]:
    for row in table.rows():
        for position, (column, value) in enumerate(zip(table.columns[:-1], row.cells, strict=False)):
            if value is None:
                continue
            tag = column.tag_for(row.kind) + (("P" if column.persistent else "V") if persistence else "")
            told = f':"{column.text}"' if desc else ""
            yield (f"{row.kind}.{row.iid}.{row.sid}.{position}.{column.name}.1:{tag}:{column.kind}:{value}{told}\n")


OBJECT_TYPES = {"F": "Frontend", "B": "Backend", "S": "Server"}


def _json_field(position: int, column: Column, kind: str) -> str:
    """What stands between a row's head and the value itself."""
    tags = json.dumps(tag_words(column.tag_for(kind)), separators=(",", ":"))
    return (
        f',"field":{{"pos":{position},"name":"{column.name}"}},"processNum":1,"tags":{tags},'
        f'"value":{{"type":"{column.kind}","value":'
    )


def _json(table: Table) -> Iterator[str]:
    fields = {
        (column.name, kind): _json_field(position, column, kind)
        for position, column in enumerate(table.columns[:-1])
        for kind in "FBS"
    }
    yield "["
    for number, row in enumerate(table.rows()):
        head = f'{{"objType":"{OBJECT_TYPES[row.kind]}","proxyId":{row.iid},"id":{row.sid}'
        items = []
        for column, value in zip(table.columns[:-1], row.cells, strict=False):
            shown = None if value is None else json_value(column.kind, value)
            if shown is not None:
                items.append(f"{head}{fields[column.name, row.kind]}{json.dumps(shown)}}}}}")
        yield ("," if number else "") + "[" + ",".join(items) + "]"
    yield "]\n"


def stat_pieces(fleet: Fleet, record: RecordOf, now_ms: int, query: Query) -> Iterator[str]:
    """The reply to `show stat` in pieces of a block of rows or less, so that a hundred thousand servers need not be held at once.

    Each line is ended; the protocol's own line feed comes after it. What a piece tells is true when it is taken. Bytes of
    peers that are not UTF-8 are surrogates in it: encode it with `surrogateescape`.
    """
    table = Table(fleet, record, now_ms, query)
    match query.format:
        case Format.CSV:
            return _csv_by_blocks(table, record) if isinstance(record, Block) else _csv(table)
        case Format.TYPED:
            return _typed(table, desc=query.desc, persistence=fleet.dialect.typed_persistence)
        case Format.JSON:
            return _json(table)


def show_stat(fleet: Fleet, record: RecordOf, now_ms: int, query: Query) -> str:
    """The whole reply at once; see `stat_pieces`."""
    return "".join(stat_pieces(fleet, record, now_ms, query))
