"""What the subcommands of `risefall ctl` share: the sockets, exit codes, names that match, and shell completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import msgspec

from risefall.errors import PeerLost
from risefall.surfaces.client import TIMEOUT_S, Client, usual_socket_path
from risefall.surfaces.peer import Row, matching, nearest, read_servers

DONE, REFUSED, MISUSE, LOST = 0, 1, 2, 3
COMPLETION_TIMEOUT_S = 0.5
"""A shell waits for it, and says nothing when it is late."""

Function = Callable[..., Any]


class NoServer(click.ClickException):
    """A name that means no server. Misuse, but its words say more than the usage would."""

    exit_code = MISUSE


class Target(msgspec.Struct, frozen=True):
    """A peer and those of its servers that a command means, in the peer's order; servers is all that it has."""

    client: Client
    rows: list[Row]
    servers: list[Row]


def socket_option(function: Function) -> Function:
    """`--socket`, passed as `sockets`."""
    return click.option(
        "--socket",
        "sockets",
        metavar="PATH|HOST:PORT",
        multiple=True,
        help="runtime socket of risefall or HAProxy, may repeat; by default that of `risefall run`",
    )(function)


def dry_run_option(function: Function) -> Function:
    """`--dry-run`, passed as `dry_run`."""
    return click.option("--dry-run", is_flag=True, help="only tell what would be done")(function)


def names_argument(function: Function) -> Function:
    """One name or pattern or more, passed as `names`."""
    return click.argument(
        "names", metavar="BACKEND/SERVER...", nargs=-1, required=True, shell_complete=complete_servers
    )(function)


def names_or_services_argument(function: Function) -> Function:
    """The same where a service of the agent may stand, passed as `names`."""
    return click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_servers)(
        function
    )


def clients_of(ctx: click.Context, sockets: Sequence[str], *, timeout_s: float | None = None) -> list[Client]:
    """A client for each socket told here or in front of the subcommand. Raises: click.UsageError."""
    outer = ctx.parent.params if ctx.parent is not None else {}
    chosen = tuple(dict.fromkeys(sockets or outer.get("sockets") or (usual_socket_path(),)))
    if chosen == ("",):
        raise click.UsageError("no socket: tell --socket, or set RISEFALL_SOCKET to its path")
    try:
        limit_s = timeout_s or outer.get("timeout_s") or TIMEOUT_S
        return [Client(name, timeout_s=limit_s) for name in chosen]
    except ValueError as error:
        raise click.UsageError(f"--socket: {error}") from error


def tell(message: object) -> None:
    """A message for people, to stderr."""
    click.echo(str(message), err=True)


def label(client: Client, clients: Sequence[Client]) -> str:
    """The peer's name in front of a line where there are several."""
    return f"{client.name}: " if len(clients) > 1 else ""


def check_names(names: Iterable[str]) -> None:
    """Raises: click.UsageError for what is no `backend/server`."""
    for name in names:
        backend, slash, server = name.partition("/")
        if not backend or not server:
            whole = f"; '{backend}/*' means all of its servers" if backend and not slash else ""
            raise click.UsageError(f"'{name}' is no BACKEND/SERVER{whole}")


def pick(servers: Sequence[Row], names: Iterable[str]) -> tuple[list[Row], list[str]]:
    """The servers that names mean, each once, in the peer's order; and the names that mean none."""
    found: set[str] = set()
    missing = []
    for name in names:
        rows = matching(servers, name)
        found |= {row.name for row in rows}
        if not rows:
            missing.append(name)
    return [row for row in servers if row.name in found], missing


def targets_of(clients: Sequence[Client], names: Sequence[str]) -> tuple[list[Target], bool]:
    """What names mean on each peer that answers, and whether a peer did not (which is told).

    Raises: NoServer, click.UsageError when a name means nothing on a peer, before anything is done on any of them.
    """
    check_names(names)
    targets, complaints, lost = [], [], False
    for client in clients:
        try:
            servers = read_servers(client)
        except PeerLost as error:
            tell(error)
            lost = True
            continue
        rows, missing = pick(servers, names)
        targets.append(Target(client, rows, servers))
        complaints += [f"{label(client, clients)}{no_match(servers, name)}" for name in missing]
    if complaints:
        raise NoServer("\n".join([*complaints, "Nothing was done."]))
    return targets, lost


def no_match(servers: Sequence[Row], name: str) -> str:
    """That nothing matches, and what is near."""
    near = nearest([row.name for row in servers], name)
    return f"no server matches '{name}'" + (f"; nearest: {', '.join(near)}" if near else "")


# --- completion -------------------------------------------------------------------------------------------


def complete_servers(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of servers that a peer has; none when it does not answer at once."""
    return sorted({row.name for row in _asked(ctx) if row.name.startswith(incomplete)})


def complete_filters(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of backends, and of the servers of one once its slash is there."""
    rows = _asked(ctx)
    names = {row.name if "/" in incomplete else row.text("pxname") for row in rows}
    return sorted(name for name in names if name.startswith(incomplete))


def _asked(ctx: click.Context) -> list[Row]:
    """Every server of every peer that answers; whatever goes wrong, a shell wants to hear nothing of it."""
    try:
        clients = clients_of(ctx, ctx.params.get("sockets") or (), timeout_s=COMPLETION_TIMEOUT_S)
    except click.UsageError:
        return []
    rows: list[Row] = []
    for client in clients:
        try:
            rows += read_servers(client)
        except PeerLost:
            continue
    return rows
