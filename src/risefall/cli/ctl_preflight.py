"""`risefall ctl preflight -f new.cfg`: what a new configuration would find, before anybody reloads anything.

Every server of it is checked once, from here; what each is now is asked of whoever runs: risefall or HAProxy.
"""

from __future__ import annotations

import sys
from collections import Counter
from enum import StrEnum

import click
import msgspec
import trio
from rich.table import Table

from risefall.cli.check import Row as Checked
from risefall.cli.check import check_all, rows_of
from risefall.cli.console import Screen
from risefall.cli.ctl_peers import DONE, LOST, REFUSED, clients_of, socket_option, tell
from risefall.cli.loading import load
from risefall.cli.options import config_options, json_option
from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from risefall.surfaces.peer import State, read_servers


class Outlook(StrEnum):
    """What would become of a server."""

    GOES_DOWN = "would go DOWN"
    STARTS_DOWN = "new, and would go DOWN"
    STAYS_DOWN = "stays DOWN"
    UNKNOWN = "not checked"
    COMES_UP = "would come UP"
    NEW = "new, and passes"
    GONE = "would be gone"
    FINE = "stays UP"
    AWAY = "stays in maintenance"
    NO_CHECK = "has no check"


BAD = (Outlook.GOES_DOWN, Outlook.STARTS_DOWN)
QUIET = (Outlook.FINE, Outlook.NO_CHECK, Outlook.AWAY)
STYLES = {Outlook.GOES_DOWN: "red", Outlook.STARTS_DOWN: "red", Outlook.UNKNOWN: "yellow", Outlook.COMES_UP: "green"}


class Foreseen(msgspec.Struct, frozen=True):
    """One server, as `--json` prints it. now: its status, empty where nobody has it or nobody was asked."""

    backend: str
    server: str
    outlook: str
    now: str
    status: str | None
    code: int | None
    reason: str


def outlook_of(row: Checked, now: State | None) -> Outlook:
    """What one check of a server of the new configuration means for it."""
    match row.outcome:
        case "disabled":
            return Outlook.AWAY
        case "unchecked":
            return Outlook.NO_CHECK
        case "not checked":
            return Outlook.UNKNOWN
        case "failed":
            return {None: Outlook.STARTS_DOWN, State.DOWN: Outlook.STAYS_DOWN, State.MAINT: Outlook.AWAY}.get(
                now, Outlook.GOES_DOWN
            )
    return {None: Outlook.NEW, State.DOWN: Outlook.COMES_UP, State.MAINT: Outlook.AWAY}.get(now, Outlook.FINE)


def foresee(checked: list[Checked], now: dict[str, tuple[State, str]] | None) -> list[Foreseen]:
    """Every server of the new configuration, then those that only run now. now: None where nobody was asked."""
    foreseen = []
    names = set()
    for row in checked:
        if row.kind == "agent":
            continue
        name = f"{row.backend}/{row.server}"
        names.add(name)
        state, status = (now or {}).get(name, (None, ""))
        foreseen.append(
            Foreseen(row.backend, row.server, outlook_of(row, state), status, row.status, row.code, row.reason)
        )
    for name, (_, status) in (now or {}).items():
        if name not in names:
            backend, _, server = name.partition("/")
            foreseen.append(Foreseen(backend, server, Outlook.GONE, status, None, None, ""))
    return foreseen


def show(foreseen: list[Foreseen]) -> None:
    """A table of those that would change, and one line about all."""
    console = Screen(highlight=False)
    told = [one for one in foreseen if one.outlook not in QUIET]
    if told:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("server", "now", "with the new file", "status", "code", "reason"):
            table.add_column(column, justify="right" if column == "code" else "left", overflow="fold")
        for one in told:
            style = STYLES.get(Outlook(one.outlook), "")
            outlook = f"[{style}]{one.outlook}[/]" if style else one.outlook
            code = "" if one.code is None else str(one.code)
            table.add_row(f"{one.backend}/{one.server}", one.now, outlook, one.status or "", code, one.reason)
        console.print(table)
    counts = Counter(one.outlook for one in foreseen)
    console.print(", ".join(f"{counts[each]} {each}" for each in Outlook if counts[each]) or "no server to check")


def read_now(client: Client) -> dict[str, tuple[State, str]]:
    """What runs: state and status of every server. Raises: PeerLost."""
    return {row.name: (row.state, row.status) for row in read_servers(client)}


@click.command("preflight")
@config_options
@socket_option
@json_option
@click.option("--alone", is_flag=True, help="compare with nothing that runs: every server counts as new")
@click.pass_context
def preflight(
    ctx: click.Context,
    files: tuple[str, ...],
    dialect: str,
    strict: bool,
    sockets: tuple[str, ...],
    as_json: bool,
    alone: bool,
) -> None:
    """Checks every server of a new configuration once, and says what would go DOWN with it.

    Nothing is changed: neither here nor in the risefall or HAProxy (--socket) that is asked how its servers are now. Exit
    codes: 0 nothing would go DOWN, 1 something would, 2 the file cannot be used, 3 nobody answered, or some server could not
    be checked.

    \b
    Example:
      risefall ctl --socket /run/haproxy/admin.sock preflight -f /etc/haproxy/haproxy.cfg.new
    """
    loaded = load(files, dialect, strict)
    now = None
    if not alone:
        clients = clients_of(ctx, sockets)
        if len(clients) > 1:
            raise click.UsageError("preflight compares with one --socket")
        try:
            now = read_now(clients[0])
        except PeerLost as error:
            tell(f"{error}\n  help: --alone checks without comparing")
            sys.exit(LOST)
    outcomes = trio.run(check_all, loaded, 0)
    foreseen = foresee([row for outcome in outcomes for row in rows_of(outcome)], now)
    if as_json:
        for one in foreseen:
            click.echo(msgspec.json.encode(one))
    else:
        show(foreseen)
    found = {one.outlook for one in foreseen}
    sys.exit(REFUSED if found & set(BAD) else LOST if Outlook.UNKNOWN in found else DONE)
