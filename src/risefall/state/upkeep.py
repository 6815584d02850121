"""What else an operator does: limits, counters, TLS of a server's traffic, frontends.

None of it moves a server; what it changes is shown. Source: spec/haproxy-checks.md §5.4, §7.2; run on 2.6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Protocol

from risefall.state.aims import Told
from risefall.state.commands import Refused, begin
from risefall.state.fleet import Effects, Fleet
from risefall.state.lines import LogLine
from risefall.state.server import AGENT, HEALTH, Moved, ServerState

WARNING = 4
NUMBER = re.compile(r"\s*([+-]?[0-9]+)(.*)", re.ASCII | re.DOTALL)
UNSIGNED = 1 << 32

FrontendAct = Callable[[Fleet, int], Told]


class Fails(Protocol):
    """As much of a check's record as a cleared counter needs."""

    @property
    def fails(self) -> int: ...


def set_maxconn(fleet: Fleet, index: int, text: str, now_ms: int) -> Effects:
    """`set maxconn server b/s N`; a negative one is as large as HAProxy makes it."""
    work = begin(fleet, index, now_ms)
    if not text:
        raise Refused("Require <maxconn>.")
    match = NUMBER.match(text)
    if match is None:
        raise Refused("maxconn string empty or preceded by garbage", short=True)
    if match[2]:
        raise Refused("Trailing garbage in maxconn string", short=True)
    fleet.servers[index].maxconn = int(match[1][:21]) % UNSIGNED
    return work.finish()


def set_ssl(fleet: Fleet, index: int, word: str, now_ms: int) -> Effects:
    """`set server b/s ssl on|off`: of traffic; checks go on as the file says."""
    work = begin(fleet, index, now_ms)
    server = fleet.servers[index]
    if server.dynamic:
        raise Refused("'set server <srv> ssl' not supported on dynamic servers")
    if not server.ssl_ready:
        raise Refused("'set server <srv> ssl' cannot be set.  default-server should define ssl settings")
    if word not in ("on", "off"):
        raise Refused("'set server <srv> ssl' expects 'on' or 'off'.")
    server.ssl, server.ssl_refused = word == "on", False
    server.moved |= Moved.SSL
    return work.finish()


def clear_counters(fleet: Fleet, record: Callable[[int, int], Fails | None]) -> None:
    """`clear counters all`: failed checks and times DOWN are counted anew; how long, is not forgotten."""
    for index, server in enumerate(fleet.servers):
        if not server.gone:
            clear_server(server, partial(record, index))
    for proxy in fleet.proxies:
        proxy.downs = 0


def clear_server(server: ServerState, record: Callable[[int], Fails | None]) -> None:
    """The same of one server, which HAProxy 3.5 has as `clear counters server`. record: of its health check, or its agent."""
    server.downs = 0
    if server.watch is not None:
        server.watch.limit_reached = 0
    for which, check in ((HEALTH, server.health), (AGENT, server.agent)):
        if check is not None and (live := record(which)) is not None:
            check.fails_before = live.fails


# --- frontends: they carry no traffic, and only show what they are told to be ----------------------


def pause_frontend(fleet: Fleet, place: int) -> Told:
    """`disable frontend`."""
    proxy = fleet.proxies[place]
    if proxy.front_stopped or proxy.disabled:
        raise Refused("Frontend was previously shut down, cannot disable.")
    if proxy.front_paused:
        return Told(Effects(), "All sockets are already disabled.")
    proxy.front_paused = True
    return Told(Effects([LogLine(place, WARNING, f"Paused frontend {proxy.name}.")]), "")


def resume_frontend(fleet: Fleet, place: int) -> Told:
    """`enable frontend`."""
    proxy = fleet.proxies[place]
    if proxy.front_stopped or proxy.disabled:
        raise Refused("Frontend was previously shut down, cannot enable.")
    if not proxy.front_paused:
        return Told(Effects(), "All sockets are already enabled.")
    proxy.front_paused = False
    return Told(Effects([LogLine(place, WARNING, f"Resumed frontend {proxy.name}.")]), "")


def stop_frontend(fleet: Fleet, place: int) -> Told:
    """`shutdown frontend`: for good."""
    proxy = fleet.proxies[place]
    if proxy.front_stopped or proxy.disabled:
        return Told(Effects(), "Frontend was already shut down.")
    proxy.front_stopped = True
    text = f"Proxy {proxy.name} stopped (cumulated conns: FE: 0, BE: 0)."
    return Told(Effects([LogLine(place, WARNING, text)]), "")
