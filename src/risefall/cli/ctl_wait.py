"""`risefall ctl wait`: until servers are in a state, or have no more than so many sessions; a script goes on with its code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import click
import msgspec

from risefall.cli.ctl_peers import (
    DONE,
    LOST,
    REFUSED,
    clients_of,
    label,
    names_argument,
    pick,
    socket_option,
    targets_of,
    tell,
)
from risefall.cli.options import duration_s, json_option
from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from risefall.surfaces.peer import Row, State, read_draining, read_servers

REACHED: dict[str, tuple[State, ...]] = {
    "up": (State.UP, State.UNCHECKED),
    "drain": (State.DRAIN,),
    "maint": (State.MAINT,),
    "down": (State.DOWN,),
}
"""`up` is UP for good: `UP 1/3` is on its way down, or has just come back and was not checked yet."""


class Waited(msgspec.Struct, frozen=True):
    """Where a server stood at the end, as `--json` prints it."""

    socket: str
    backend: str
    server: str
    reached: bool
    status: str
    sessions: int


class Goal(msgspec.Struct, frozen=True):
    """What is waited for; "" and None are anything."""

    state: str
    sessions: int | None

    def reached(self, row: Row, draining: bool) -> bool:
        """Whether a server is there. A server that is DOWN shows no DRAIN; its flag counts."""
        right = not self.state or row.state in REACHED[self.state] or (self.state == "drain" and draining)
        return right and (self.sessions is None or row.sessions <= self.sessions)


def look(client: Client, names: Sequence[str], goal: Goal) -> list[Waited]:
    """Where each server stands now. One that is gone is not there. Raises: PeerLost."""
    servers = read_servers(client)
    draining = read_draining(client) if goal.state == "drain" else frozenset()
    rows, missing = pick(servers, names)
    found = [
        Waited(
            client.name,
            row.text("pxname"),
            row.text("svname"),
            goal.reached(row, row.name in draining),
            row.status,
            row.sessions,
        )
        for row in rows
    ]
    for name in missing:
        backend, _, server = name.partition("/")
        found.append(Waited(client.name, backend, server, False, "no such server", 0))
    return found


def wait_for(
    client: Client, look_once: Callable[[Client], list[Waited]], deadline: float, every_s: float
) -> list[Waited]:
    """Looks until all are there or the time is over; a peer that restarts meanwhile is waited for too.

    Raises: PeerLost when it does not answer at the end.
    """
    while True:
        late = time.monotonic() + every_s > deadline
        try:
            found = look_once(client)
        except PeerLost:
            if late:
                raise
        else:
            if late or all(one.reached for one in found):
                return found
        time.sleep(every_s)


def show(found: Sequence[Waited], where: str, *, as_json: bool, timeout: str) -> None:
    """A line each."""
    for one in found:
        if as_json:
            click.echo(msgspec.json.encode(one))
        else:
            line = f"{where}{one.backend}/{one.server}: {one.status}, {one.sessions} sessions"
            click.echo(line if one.reached else f"{line}: not reached within {timeout}", err=not one.reached)


@click.command("wait")
@names_argument
@click.option(
    "--state", type=click.Choice(list(REACHED)), default=None, help="the state to be in; `up` is UP, not UP 1/3"
)
@click.option("--sessions", type=click.IntRange(0), default=None, help="sessions there may be at most")
@click.option("--timeout", metavar="TIME", default="60s", show_default=True, help="how long to wait")
@click.option("--every", metavar="TIME", default="500ms", show_default=True, help="how often to look")
@socket_option
@json_option
@click.pass_context
def wait(
    ctx: click.Context,
    names: tuple[str, ...],
    state: str | None,
    sessions: int | None,
    timeout: str,
    every: str,
    sockets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Waits until every server named is in a state, on every socket. Exit code 1: it is not, and the time is over.

    \b
    Example:
      risefall ctl drain app/ap01 && risefall ctl wait app/ap01 --sessions 0 --timeout 5m
    """
    if state is None and sessions is None:
        raise click.UsageError("wait for what? --state up|drain|maint|down, --sessions 0, or both")
    deadline, every_s = time.monotonic() + duration_s(timeout), duration_s(every)
    clients = clients_of(ctx, sockets)
    targets, lost = targets_of(clients, names)
    worst = LOST if lost else DONE
    goal = Goal(state or "", sessions)
    for target in targets:
        try:
            found = wait_for(target.client, lambda client: look(client, names, goal), deadline, every_s)
        except PeerLost as error:
            tell(error)
            worst = LOST
            continue
        show(found, label(target.client, clients), as_json=as_json, timeout=timeout)
        worst = max(worst, DONE if all(one.reached for one in found) else REFUSED)
    sys.exit(worst)
