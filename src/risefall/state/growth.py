"""Servers that come and go while a fleet lives: `add server`, `del server`.

A place in the fleet's list that a deleted server leaves is given to the next one that comes, so that indices stay small;
news of its predecessor's checks are known by their handles. Source: spec/haproxy-checks.md §5.5; run on 2.6.12.
"""

from __future__ import annotations

import re

from risefall.state.commands import Refused
from risefall.state.fleet import Fleet
from risefall.state.server import MAINT, ServerState

NAME = re.compile(r"[A-Za-z0-9_:.-]+", re.ASCII)
NAME_MAX = 63
"""As many as HAProxy keeps of a name in what it tells of a change."""


def find_place(fleet: Fleet, name: str) -> tuple[int, str]:
    """The backend of `<backend>/<new server>`, and the new server's name. Raises: Refused."""
    backend, _, own = name.partition("/")
    if not backend or not own:
        raise Refused("Require 'backend/server'.", short=True)
    for place, proxy in enumerate(fleet.proxies):
        if proxy.has_backend and backend in (proxy.name, f"#{proxy.id}"):
            if proxy.static or proxy.disabled:
                if fleet.dialect.newer_added:
                    raise Refused(
                        f"Backend does not support dynamic servers : backend '{proxy.name}' uses a non dynamic load "
                        "balancing method."
                    )
                raise Refused("Backend must use a dynamic load balancing to support dynamic servers.", short=True)
            return place, own
    raise Refused("No such backend.", short=True)


def free_id(fleet: Fleet, place: int, wanted: int) -> int:
    """The id that a new server asks for, or the lowest that is free (0). Raises: Refused."""
    taken = {fleet.servers[index].sid: fleet.servers[index] for index in fleet.proxies[place].own}
    if not wanted:
        return next(number for number in range(1, len(taken) + 2) if number not in taken)
    if wanted in taken:
        holder = taken[wanted]
        where = "(null):0" if holder.dynamic else "the configuration"
        raise Refused(f"'id' : custom id {wanted} already used at {where} ('server {holder.name}').")
    return wanted


def find_tracked(fleet: Fleet, place: int, track: str) -> int:
    """The server that a new one tracks. Raises: Refused."""
    backend, slash, name = track.rpartition("/")
    proxies = fleet.proxies if slash else fleet.proxies[place : place + 1]
    proxy = next((one for one in proxies if one.has_backend and one.name == (backend or one.name)), None)
    if proxy is None:
        raise Refused(f"unable to find required proxy '{backend}' for tracking.")
    for index in proxy.own:
        server = fleet.servers[index]
        if server.name == name:
            break
    else:
        raise Refused(f"unable to find required server '{name}' for tracking.")
    if server.dynamic:
        raise Refused(f"unable to use {proxy.name}/{name} for tracking as it is a dynamic server.")
    end = fleet.servers[fleet.ref(index)]
    if end.health is None and end.agent is None:
        owner = fleet.proxies[end.proxy].name
        raise Refused(f"unable to use {owner}/{end.name} for tracking as it does not have any check nor agent enabled.")
    return index


def refuse_name(fleet: Fleet, place: int, name: str) -> None:
    """Raises: Refused for a name that is taken."""
    if any(fleet.servers[index].name == name for index in fleet.proxies[place].own):
        raise Refused("Already exists a server with the same name in backend.")


def set_name(fleet: Fleet, index: int, name: str) -> None:
    """`set server b/s name NAME` of HAProxy 3.5. Its own name again is no mistake. Raises: Refused."""
    server = fleet.servers[index]
    if not NAME.fullmatch(name):
        raise Refused("Server name contains invalid characters.")
    if len(name) > NAME_MAX:
        raise Refused("Server name too long.")
    if not server.admin & MAINT:
        raise Refused("Server must be in maintenance mode to be renamed (set server <b>/<s> state maint).")
    if server.needed or server.trackers:
        raise Refused("Cannot rename: server's name is statically referenced (use-server, track, or sample argument).")
    if name == server.name:
        return
    if any(fleet.servers[other].name == name for other in fleet.proxies[server.proxy].own):
        raise Refused("A server with the same name already exists in this backend.")
    server.name = name


def next_index(fleet: Fleet) -> int:
    """Where the next server will be."""
    return fleet.vacant[-1] if fleet.vacant else len(fleet.servers)


def add_server(fleet: Fleet, place: int, server: ServerState, tracks: int = -1) -> int:
    """Takes a server in, at `next_index`, as the last one of its proxy. It is counted once it leaves maintenance."""
    index = next_index(fleet)
    if fleet.vacant:
        fleet.vacant.pop()
        fleet.servers[index] = server
    else:
        fleet.servers.append(server)
    server.tracks = tracks
    if tracks >= 0:
        tracked = fleet.servers[tracks]
        tracked.trackers = (*tracked.trackers, index)
        tracked.needed = True
    fleet.revisions += fleet.revisions % 2
    server.revision = fleet.revisions // 2
    proxy = fleet.proxies[place]
    proxy.members = [*proxy.own, index]
    fleet.settle_added(index)
    return index


def refuse_removal(server: ServerState) -> None:
    """Raises: Refused where a server has to stay."""
    if server.needed or server.trackers:
        raise Refused(
            "This server cannot be removed at runtime due to other configuration elements pointing to it.", short=True
        )
    if not server.admin & MAINT:
        raise Refused("Only servers in maintenance mode can be deleted.", short=True)


def remove_server(fleet: Fleet, index: int) -> None:
    """Takes a server out; it must be in maintenance. Raises: Refused."""
    refuse_removal(fleet.servers[index])
    fleet.revisions |= 1
    withdraw(fleet, index)


def withdraw(fleet: Fleet, index: int) -> None:
    """Takes a server out that counts nowhere: in maintenance, or just come."""
    server = fleet.servers[index]
    if server.tracks >= 0:
        tracked = fleet.servers[server.tracks]
        tracked.trackers = tuple(other for other in tracked.trackers if other != index)
    proxy = fleet.proxies[server.proxy]
    proxy.members = [other for other in proxy.own if other != index]
    fleet.uncount(index)
    server.gone = True
    fleet.vacant.append(index)
