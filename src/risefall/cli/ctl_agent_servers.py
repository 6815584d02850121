"""HAProxy's servers that an agent's service answers for: which they are, and when they are empty or back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import click
import msgspec

from risefall.agent.wire import Shown
from risefall.cli.ctl_peers import DONE, LOST, REFUSED, check_names, pick, tell
from risefall.cli.ctl_wait import Goal, Waited, look, wait_for
from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from risefall.surfaces.peer import read_draining, read_servers, read_state_rows

LOOK_S = 0.2
OUT = ("DRAIN", "MAINT")
"""How HAProxy's status of a server begins that an operator or an agent has taken out."""
SHARED = "an operator's own, or servers that share one word in agent-send: give each a second one"


def wait_gone(client: Client, servers: Sequence[str], deadline: float, *, as_json: bool) -> int:
    """Until the sessions on HAProxy's servers are gone."""

    def words(one: Waited) -> str:
        return "no sessions" if one.reached else f"still {one.sessions} sessions"

    return wait_and_tell(client, lambda peer: look(peer, servers, Goal("", 0)), words, deadline, as_json=as_json)


def wait_back(client: Client, servers: Sequence[str], deadline: float, *, as_json: bool) -> int:
    """Until no server of HAProxy's is in drain or maintenance any more, by whomever."""

    def words(one: Waited) -> str:
        return "back" if one.reached else f"still taken out; {SHARED}"

    return wait_and_tell(client, lambda peer: look_back(peer, servers), words, deadline, as_json=as_json)


def look_back(client: Client, servers: Sequence[str]) -> list[Waited]:
    """Where each server stands, and whether nothing but its checks keeps clients away. Raises: PeerLost."""
    draining = read_draining(client)

    def is_back(one: Waited) -> bool:
        drained = f"{one.backend}/{one.server}" in draining
        return one.reached and not drained and not one.status.startswith(OUT)

    found = look(client, servers, Goal("", None))
    return [msgspec.structs.replace(one, reached=is_back(one)) for one in found]


def wait_and_tell(
    client: Client,
    look_once: Callable[[Client], list[Waited]],
    words: Callable[[Waited], str],
    deadline: float,
    *,
    as_json: bool,
) -> int:
    """Waits, and tells how it ended for each server."""
    try:
        found = wait_for(client, look_once, deadline, LOOK_S)
    except PeerLost as error:
        tell(error)
        return LOST
    for one in found:
        if as_json:
            click.echo(msgspec.json.encode(one))
        else:
            click.echo(f"{one.backend}/{one.server}: {one.status}, {words(one)}", err=not one.reached)
    return DONE if all(one.reached for one in found) else REFUSED


def servers_of(client: Client, shown: Shown, names: Sequence[str]) -> list[str]:
    """The servers that a service answers for: those named, else those whose agent-check comes to its port on this machine.

    Raises: PeerLost, click.UsageError when it cannot be known.
    """
    if names:
        check_names(names)
        missing = pick(read_servers(client), names)[1]
        if missing:
            raise click.UsageError(f"--server: {client.name} has no {', '.join(missing)}")
        return list(names)
    service = shown.standing.service
    if not shown.alone:
        raise click.UsageError(f"several services share the port of '{service}': tell its servers by --server")
    found = []
    for row in read_state_rows(client):
        host = row["srv_addr"] if row.get("srv_agent_addr", "-") == "-" else row["srv_agent_addr"]
        if row.get("srv_agent_port", "0") in map(str, shown.ports) and is_here(host):
            found.append(f"{row['be_name']}/{row['srv_name']}")
    if not found:
        raise click.UsageError(f"no server of {client.name} asks the agent here for '{service}': tell them by --server")
    return found


def is_here(host: str) -> bool:
    """Whether an address is one of this machine's: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
