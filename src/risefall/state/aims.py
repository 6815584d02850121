"""Where checks go, and the commands that send them elsewhere: `set server b/s addr`, `check-addr`, `agent-port` ...

A check asks for its address whenever it connects, so a new one counts from the next connection on and nothing starts
before its time. An address is where the rules, the check's own settings or the server say, in this order.
Source: spec/haproxy-checks.md §2.5, §5.4, §12; texts, order and what a half-refused change leaves behind: run on 2.6.12.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from risefall.state.commands import Refused, begin
from risefall.state.exchange import Aim
from risefall.state.fleet import Effects, Fleet, Work
from risefall.state.server import AGENT, HEALTH, Moved, ServerState

CLI = "by 'stats socket command'"
FIXED = "Update for the current server address family is only supported through configuration file"
MAP_NEEDS_PORT = (
    "can't change <port> to port map because it is incompatible with current health check port configuration "
    "(use 'port' statement from the 'server' directive."
)
PORT_SPAN = 1 << 16
INT_MAX = (1 << 31) - 1
LONG_MAX = (1 << 63) - 1

NUMBER = re.compile(r"\s*([+-]?[0-9]+)", re.ASCII)
INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


class Told(NamedTuple):
    """A change that says what it did. text: without line feed."""

    effects: Effects
    text: str


def aim_of(server: ServerState, which: int) -> Aim | None:
    """Where a check goes; None while that is not known (spec §2.5)."""
    if which == HEALTH:
        pinned, own, own_port = server.pins.health, server.check_addr, server.check_port
        rest = server.pins.health_port
    else:
        pinned, own, own_port = None, server.agent_addr, server.agent_port
        rest = server.pins.agent_port
    if own in ("0.0.0.0", "::"):
        own = ""
    host = (pinned.host if pinned else "") or own or server.address
    port = (pinned.port if pinned else 0) or own_port or (rest if own else 0) or server.port
    return Aim(host, 0 if host[:1] in ("/", "@") or host.startswith("abns@") else port) if host else None


def numeric(text: str) -> str:
    """An address as HAProxy shows it, `*` for any; "" for what is no number."""
    if text == "*":
        return "0.0.0.0"
    try:
        return "" if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return ""


# --- the server's own address ---------------------------------------------------------------------


def set_addr(fleet: Fleet, index: int, address: str, port: str | None, now_ms: int) -> Told:
    """`set server b/s addr A [port P]`. The address stays changed where only its port is refused."""
    work = begin(fleet, index, now_ms)
    if not address:
        raise Refused("set server <b>/<s> addr requires an address and optionally a port.")
    server = fleet.servers[index]
    quiet = fleet.dialect.addr_nothing_changed
    host = numeric(address)
    if not host:
        return Told(work.finish(), f"Invalid addr '{address}'" if quiet else f"Invalid addr '{address}' {CLI}")
    if not server.address or not numeric(server.address):
        return Told(work.finish(), FIXED if quiet else f"{FIXED} {CLI}")
    told = []
    if host != server.address:
        told.append(f"IP changed from '{server.address}' to '{address}'")
        server.address = host
        server.moved |= Moved.ADDR
    elif not quiet:
        told.append("no need to change the addr")
    if port is not None and (text := _set_port(server, port, quiet)):
        told.append(text)
    _aim(work, server, index)
    return Told(work.finish(), f"{', '.join(told)} {CLI}" if told else "nothing changed")


def _set_port(server: ServerState, text: str, quiet: bool) -> str:
    """Gives a server another port, or an offset for one with a port map. Returns what there is to say."""
    match = NUMBER.match(text)
    if match is None:
        return f"problem converting port '{text}' to an int"
    mapped = text[0] in "+-"
    number = max(-LONG_MAX, min(int(match[1][:21]), LONG_MAX))
    port = number % PORT_SPAN  # as much of it as HAProxy keeps
    if mapped and not server.mapped_ports and not server.check_port:
        return MAP_NEEDS_PORT
    if port == server.port and (server.mapped_ports or not mapped):  # a map is not even left for the same number
        return "" if quiet else "no need to change the port"
    old = f"{'+' if server.mapped_ports else ''}{server.port}"
    server.port, server.mapped_ports = port, mapped
    server.moved |= Moved.ADDR
    return f"port changed from '{old}' to '{f'{number:+d}' if mapped else port}'"


# --- where its checks go --------------------------------------------------------------------------


def set_check_addr(fleet: Fleet, index: int, which: int, address: str, port: str | None, now_ms: int) -> Effects:
    """`set server b/s check-addr|agent-addr A [port P]`: both or nothing. Names are not looked up."""
    work = begin(fleet, index, now_ms)
    if not address:
        raise Refused(f"set server <b>/<s> {WORDS[which]}-addr requires an address and optionally a port.")
    server = _checked(fleet, index, which)
    host = numeric(address)
    if not host:
        raise _refused(f"invalid addr '{address}'")
    number = None if port is None else _check_port(server, which, port)
    server.pins = server.pins.without_port(which)
    server.moved |= MOVED[which]
    if which == HEALTH:
        server.check_addr = host
        server.check_port = server.check_port if number is None else number
    else:
        server.agent_addr = host
        server.agent_port = server.agent_port if number is None else number
    _aim(work, server, index)
    return work.finish()


def set_check_port(fleet: Fleet, index: int, which: int, port: str, now_ms: int) -> Effects:
    """`set server b/s check-port|agent-port P`; 0 takes it back."""
    work = begin(fleet, index, now_ms)
    if not port:
        raise Refused(f"set server <b>/<s> {WORDS[which]}-port requires a port.")
    server = _checked(fleet, index, which)
    number = _check_port(server, which, port)
    server.moved |= MOVED[which]
    if which == HEALTH:
        server.check_port = number
    else:
        server.agent_port = number
    _aim(work, server, index)
    return work.finish()


def set_agent_send(fleet: Fleet, index: int, text: str, now_ms: int) -> Effects:
    """`set server b/s agent-send TEXT`: from its next run on; nothing is sent for no text."""
    work = begin(fleet, index, now_ms)
    agent = fleet.servers[index].agent
    if agent is None or not agent.enabled:
        raise Refused("agent checks are not enabled on this server.")
    work.send(index, text)
    return work.finish()


MOVED = {HEALTH: Moved.CHECK, AGENT: Moved.AGENT}
WORDS = {HEALTH: "check", AGENT: "agent"}
KINDS = {HEALTH: "health", AGENT: "agent"}


def _refused(text: str) -> Refused:
    return Refused(text, short=True, warning=True)


def _checked(fleet: Fleet, index: int, which: int) -> ServerState:
    server = fleet.servers[index]
    check = server.agent if which == AGENT else server.health
    if check is None or not check.enabled:
        raise _refused(f"{KINDS[which]} checks are not enabled on this server")
    return server


def _check_port(server: ServerState, which: int, text: str) -> int:
    if not INTEGER.fullmatch(text) or abs(int(text)) > INT_MAX:
        raise _refused("provided port is not an integer")
    number = int(text)
    if not 0 <= number < PORT_SPAN:
        raise _refused("provided port is invalid")
    if which == HEALTH and not number and server.mapped_ports:
        raise _refused("can't unset 'port' since MAPPORTS is in use")
    return number


def _aim(work: Work, server: ServerState, index: int) -> None:
    """Tells both checks where they go; one that goes there already takes no harm."""
    for which, check in ((HEALTH, server.health), (AGENT, server.agent)):
        if check is not None and (aim := aim_of(server, which)) is not None:
            work.aim(index, which, aim)
