"""`risefall ctl show`: tables for people, objects for programs; whatever else a peer can show, in its own words."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from risefall.cli.console import Screen, open_screen
from risefall.cli.ctl_agent_show import show_agent
from risefall.cli.ctl_peers import (
    DONE,
    LOST,
    MISUSE,
    REFUSED,
    clients_of,
    complete_filters,
    label,
    no_match,
    socket_option,
    tell,
)
from risefall.cli.ctl_vrrp import objects_of, pictures
from risefall.cli.fitted import Column, Fitted
from risefall.cli.options import duration_s, json_option
from risefall.config.text import printable
from risefall.errors import PeerLost
from risefall.surfaces.client import UNKNOWN, Client
from risefall.surfaces.peer import SHOW_ALL, Kind, Row, State, is_glob, matching_filter, read_servers, read_stat

STYLES = {
    State.UP: "green",
    State.GOING: "yellow",
    State.DRAIN: "blue",
    State.MAINT: "magenta",
    State.DOWN: "red",
    State.UNCHECKED: "",
}
RIGHT = frozenset({"ms", "weight", "sessions", "total", "since", "downs", "down for", "act", "bck", "fails"})
USEFUL_INFO = (
    "Name", "Version", "Pid", "Uptime", "Nbthread", "node", "description", "CurrConns", "CumConns", "Maxconn", "ConnRate",
    "CumReq", "Ulimit-n", "Tasks", "Run_queue", "Idle_pct", "Stopping", "Jobs", "Listeners", "DroppedLogs", "FailedResolutions",
)  # fmt: skip
"""What of `show info` says something by itself; --json has all."""


# --- cells ------------------------------------------------------------------------------------------------


def span(seconds: int | None) -> str:
    """A time in its two largest units: `3d4h`, `12m5s`; empty for none."""
    if seconds is None or seconds < 0:
        return ""
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return "".join(f"{count}{unit}" for count, unit in parts[:2] if count or unit == "s") or "0s"


def check_word(row: Row) -> str:
    """`L7STS/503`, with the agent's beside it."""
    words = []
    for which in ("check", "agent"):
        status, code = row.text(f"{which}_status"), row.text(f"{which}_code")
        if status:
            shown = f"{status}/{code}" if code else status
            words.append(shown if which == "check" else f"agent {shown}")
    return ", ".join(words)


def reason(row: Row) -> str:
    """What the last checks said; nothing where all is well."""
    texts = [row.text("last_chk"), row.text("last_agt")]
    if row.state is State.DOWN and not any(texts):
        texts = [row.text("check_desc")]
    return ", ".join(dict.fromkeys(text for text in texts if text))


class Shown(NamedTuple):
    """A column. rank: 0 always stays, of the others the highest goes first where there is no room."""

    head: str
    rank: int
    read: Callable[[Row], str]


SERVERS: tuple[Shown, ...] = (
    Shown("server", 0, lambda row: row.name),
    Shown("status", 0, lambda row: row.status),
    Shown("since", 3, lambda row: span(row.number("lastchg"))),
    Shown("weight", 4, lambda row: row.text("weight")),
    Shown("sessions", 5, lambda row: row.text("scur")),
    Shown("check", 1, check_word),
    Shown("ms", 6, lambda row: row.text("check_duration")),
    Shown("reason", 2, reason),
)
STAT: tuple[Shown, ...] = (
    Shown("name", 0, lambda row: row.name),
    Shown("status", 0, lambda row: row.status),
    Shown("since", 1, lambda row: span(row.number("lastchg"))),
    Shown("weight", 3, lambda row: row.text("weight")),
    Shown("act", 4, lambda row: row.text("act")),
    Shown("bck", 5, lambda row: row.text("bck")),
    Shown("sessions", 2, lambda row: row.text("scur")),
    Shown("total", 8, lambda row: row.text("stot")),
    Shown("fails", 7, lambda row: row.text("chkfail")),
    Shown("downs", 6, lambda row: row.text("chkdown")),
    Shown("down for", 9, lambda row: span(row.number("downtime"))),
)


# --- what programs read -----------------------------------------------------------------------------------


class Server(msgspec.Struct, frozen=True):
    """A server, as `show servers --json` prints it; null where the peer says nothing. state: see docs/cli.md."""

    socket: str
    backend: str
    server: str
    status: str
    state: str
    weight: int | None
    sessions: int | None
    queued: int | None
    since_s: int | None
    downtime_s: int | None
    backup: bool
    address: str | None
    check_status: str | None
    check_code: int | None
    check_ms: int | None
    check_text: str | None
    agent_status: str | None
    agent_text: str | None
    tracked: str | None


def server_of(client: Client, row: Row) -> Server:
    """The object of one row."""
    return Server(
        socket=client.name,
        backend=row.text("pxname"),
        server=row.text("svname"),
        status=row.status,
        state=row.state.value,
        weight=row.number("weight"),
        sessions=row.number("scur"),
        queued=row.number("qcur"),
        since_s=row.number("lastchg"),
        downtime_s=row.number("downtime"),
        backup=row.number("bck") == 1,
        address=row.text("addr") or None,
        check_status=row.text("check_status").removeprefix("* ") or None,
        check_code=row.number("check_code"),
        check_ms=row.number("check_duration"),
        check_text=row.text("last_chk") or None,
        agent_status=row.text("agent_status").removeprefix("* ") or None,
        agent_text=row.text("last_agt") or None,
        tracked=row.text("tracked") or None,
    )


def values_of(client: Client, row: Row) -> dict[str, str | int | None]:
    """Every column of a row by the peer's own name; numbers as such, null for nothing."""
    values: dict[str, str | int | None] = {"socket": client.name}
    for column, text in row.values.items():
        number = row.number(column)
        values[column] = number if number is not None else text or None
    return values


# --- reading a peer ---------------------------------------------------------------------------------------


class View(msgspec.Struct, frozen=True):
    """What one peer shows: a table for people, objects for programs. found: whether the filters meant anything."""

    picture: RenderableType
    objects: Sequence[object]
    code: int = DONE


def filtered(rows: Sequence[Row], filters: Sequence[str], client: Client) -> tuple[list[Row], int]:
    """The rows that filters mean; all without filters. A filter that means nothing is told."""
    if not filters:
        return list(rows), DONE
    found: set[str] = set()
    code = DONE
    for pattern in filters:
        names = {row.name for row in matching_filter(rows, pattern)}
        if not names:
            tell(f"{client.name}: {no_match(rows, pattern)}")
            code = MISUSE
        found |= names
    return [row for row in rows if row.name in found], code


def brief(status: str) -> str:
    """A status without the name of the server that is tracked, which may be as long as a line."""
    word, via, _ = status.partition(" (via ")
    return f"{word} (via ...)" if via else status


def column_of(one: Shown, rows: Sequence[Row]) -> Column:
    texts = [printable(one.read(row)) for row in rows]
    if one.head != "status":
        cells = [Text(text) for text in texts]
        return Column(one.head, cells, rank=one.rank, right=one.head in RIGHT, folds=one.head == "reason")
    styles = [STYLES[row.state] for row in rows]
    whole, short = ([Text(*cell) for cell in zip(said, styles, strict=True)] for said in (texts, map(brief, texts)))
    return Column(one.head, whole, shorter=short)


def table_of(rows: Sequence[Row], columns: Sequence[Shown]) -> Fitted:
    """A table with the columns that have something to say."""
    return Fitted([column_of(one, rows) for one in columns])


def view_servers(client: Client, filters: Sequence[str]) -> View:
    """`show servers`."""
    rows, code = filtered(read_servers(client), filters, client)
    return View(table_of(rows, SERVERS), [server_of(client, row) for row in rows], code)


def view_stat(client: Client, filters: Sequence[str]) -> View:
    """`show stat`: frontends, backends and listeners too."""
    rows, code = filtered(read_stat(client, SHOW_ALL), filters, client)
    return View(table_of(rows, STAT), [values_of(client, row) for row in rows], code)


def view_backends(client: Client, filters: Sequence[str]) -> View:
    """`show backends`."""
    rows = [row for row in read_stat(client, SHOW_ALL) if row.kind is Kind.BACKEND]
    rows, code = filtered(rows, filters, client)
    return View(table_of(rows, STAT), [values_of(client, row) for row in rows], code)


def view_info(client: Client, filters: Sequence[str]) -> View:
    """`show info`; filters are names of facts, which are then shown whatever they are."""
    reply = client.ask("show info")
    facts = dict(line.partition(": ")[::2] for line in reply.text.splitlines() if ": " in line)
    wanted = filters or [name for name in USEFUL_INFO if facts.get(name)]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in wanted:
        table.add_row(name, Text(facts.get(name, "")))
    unknown = [name for name in wanted if name not in facts]
    for name in unknown:
        tell(f"{client.name}: show info has no '{name}'")
    code = REFUSED if reply.refused else MISUSE if unknown else DONE
    return View(table, [{"socket": client.name, **facts}], code)


def view_vrrp(client: Client, filters: Sequence[str]) -> View:
    """`show vrrp`; filters are names."""
    reply = client.ask("show vrrp json")
    if reply.refused:
        return view_words(client, ("vrrp",))
    found = objects_of(reply, filters)
    missing = sorted(set(filters) - {one["name"] for one in found})
    for name in missing:
        tell(f"{client.name}: show vrrp has no '{name}'")
    return View(pictures(found, span), [{"socket": client.name, **one} for one in found], MISUSE if missing else DONE)


def view_words(client: Client, words: Sequence[str]) -> View:
    """Anything else after `show`, as the peer says it."""
    reply = client.ask(" ".join(["show", *words]))
    text = reply.text.removesuffix("\n")
    if reply.refused:
        tell(f"{client.name}: {text}")
        if UNKNOWN.search(text):
            tell(f"  help: for a backend of that name: risefall ctl show servers {words[0]}")
        return View(Text(""), [], REFUSED)
    return View(Text(text), [{"socket": client.name, "reply": text}])


VIEWS = {
    "servers": view_servers,
    "stat": view_stat,
    "backends": view_backends,
    "info": view_info,
    "vrrp": view_vrrp,
}


def view(client: Client, words: Sequence[str]) -> View:
    """What `show WORDS` shows. `show servers state|conn` is HAProxy's own, and no filter."""
    what, *filters = words or ("servers",)
    if "/" in what or is_glob(what):
        return view_servers(client, words)
    if what in VIEWS and filters[:1] not in (["state"], ["conn"]):
        return VIEWS[what](client, filters)
    return view_words(client, words)


# --- on the screen ----------------------------------------------------------------------------------------


def views(clients: Sequence[Client], words: Sequence[str]) -> Iterator[tuple[Client, View]]:
    """Each peer's; one that does not answer is told in place of its table."""
    for client in clients:
        try:
            yield client, view(client, words)
        except PeerLost as error:
            yield client, View(Text(str(error), style="red"), [], LOST)


def show_once(clients: Sequence[Client], words: Sequence[str], screen: Screen, *, as_json: bool) -> int:
    """Prints it once; the worst of the exit codes."""
    worst = DONE
    for client, seen in views(clients, words):
        worst = max(worst, seen.code)
        if seen.code == LOST:
            tell(seen.picture)
        elif as_json:
            for one in seen.objects:
                click.echo(json.dumps(one) if isinstance(one, dict) else msgspec.json.encode(one))
        elif seen.objects:
            if where := label(client, clients):
                screen.print(Text(where, style="bold"))
            screen.show(seen.picture)
    return worst


def watch(clients: Sequence[Client], words: Sequence[str], every_s: float, until: float, *, as_json: bool) -> int:
    """Prints it again and again: in place on a terminal, one after the other elsewhere."""
    screen = open_screen()
    if as_json or not screen.is_terminal:
        while True:
            worst = show_once(clients, words, screen, as_json=as_json)
            sys.stdout.flush()
            if not pause(every_s, until):
                return worst
    with Live(console=screen, auto_refresh=False, screen=True) as live:
        while True:
            worst = DONE
            pictures: list[RenderableType] = []
            for client, seen in views(clients, words):
                worst = max(worst, seen.code)
                pictures += [Text(f"{client.name}  {time.strftime('%H:%M:%S')}", style="bold"), seen.picture]
            live.update(Group(*pictures), refresh=True)
            if not pause(every_s, until):
                return worst


def pause(every_s: float, until: float) -> bool:
    """Waits for the next time; false when there is none."""
    if time.monotonic() + every_s > until:
        return False
    time.sleep(every_s)
    return True


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    if not ctx.params.get("words"):
        return [word for word in (*VIEWS, "agent", "errors", "version", "sess") if word.startswith(incomplete)]
    return complete_filters(ctx, parameter, incomplete)


@click.command("show")
@click.argument("words", metavar="[WHAT] [FILTER]...", nargs=-1, shell_complete=_complete)
@socket_option
@json_option
@click.option("--watch", "watching", is_flag=True, help="show it again and again, until Ctrl-C")
@click.option("--every", metavar="TIME", default="2s", show_default=True, help="how often --watch looks")
@click.option("--for", "for_", metavar="TIME", default="", help="end --watch after a while, such as 20s")
@click.pass_context
def show(
    ctx: click.Context,
    words: tuple[str, ...],
    sockets: tuple[str, ...],
    as_json: bool,
    watching: bool,
    every: str,
    for_: str,
) -> None:
    """Shows servers, or backends, stat (all rows), info, vrrp; any other word is the peer's own (errors, version, sess ...).

    FILTER is a backend or BACKEND/SERVER, and may be a pattern; for info, names of facts. `show agent [SERVICE]...` is of the
    agent on this machine: what it says, its orders with who, when, why and what is left of the lease, its signals; of a SERVICE
    that is named also who polls it, and the tree of what led to the answer.

    \b
    Example:
      risefall ctl show servers app --watch
      risefall ctl show agent app
    """
    if words[:1] == ("agent",):
        if watching:
            raise click.UsageError("--watch is for a runtime socket; watch(1) serves here")
        sys.exit(show_agent(ctx, sockets, words[1:], as_json=as_json))
    clients = clients_of(ctx, sockets)
    if not watching:
        sys.exit(show_once(clients, words, open_screen(), as_json=as_json))
    until = time.monotonic() + duration_s(for_) if for_ else float("inf")
    sys.exit(watch(clients, words, duration_s(every), until, as_json=as_json))
