"""A server gets another address, port or name while it runs: what it is then, what its checks must know, what is told.

Source: server.c of 2.6 (srv_update_addr, srv_update_fqdn); the lines were run on 2.6.12. Differs: a check of an address that
has changed is made at once, where HAProxy waits for its turn.
"""

from __future__ import annotations

import ipaddress
import re

from risefall.state.aims import CLI, aim_of
from risefall.state.commands import Refused
from risefall.state.exchange import Aim
from risefall.state.fleet import Fleet, Work
from risefall.state.lines import NOTICE, LogLine
from risefall.state.server import AGENT, HEALTH, Admin, Moved
from risefall.state.words import full_name

NOWHERE = "255.255.255.255"
"""Where checks of a server without an address go: nothing answers there, and a connection fails at once."""


def move(fleet: Fleet, work: Work, index: int, address: bytes, port: int) -> None:
    """Gives a server an address (b"": none) and a port; checks that go along are made there at once."""
    server = fleet.servers[index]
    work.change(index)
    before = [aim_of(server, which) for which in (HEALTH, AGENT)]
    server.address = str(ipaddress.ip_address(address)) if address else ""
    server.port = port
    for which, check, old in zip((HEALTH, AGENT), (server.health, server.agent), before, strict=True):
        aim = aim_of(server, which)
        if check is not None and aim != old:
            work.force(index, which)
            work.aim(index, which, aim or Aim(NOWHERE, port), at_once=True)


def changes_ip(fleet: Fleet, work: Work, index: int, address: bytes, who: str) -> None:
    """The line of a changed address, and the change; nothing where it is the same."""
    server = fleet.servers[index]
    new = str(ipaddress.ip_address(address))
    if new == server.address:
        return
    old = server.address or "(none)"
    text = f"{full_name(fleet, index)} changed its IP from {old} to {new} by {who}."
    work.say(LogLine(server.proxy, NOTICE, text))
    move(fleet, work, index, address, server.port)


def changes_fqdn(fleet: Fleet, work: Work, index: int, name: str) -> None:
    """A server without a name gets that of an SRV record. HAProxy's line has no dot at its end."""
    server = fleet.servers[index]
    work.change(index)
    text = f"{full_name(fleet, index)} changed its FQDN from {server.fqdn or '(null)'} to {name} by 'SRV record'"
    work.say(LogLine(server.proxy, NOTICE, text))
    server.fqdn = name
    server.admin |= Admin.HMAINT


NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
NAME_MAX = 255


def rename(fleet: Fleet, index: int, name: str) -> str:
    """`set server b/s fqdn NAME` of a server whose name is resolved. Returns what is said. Raises: Refused."""
    server = fleet.servers[index]
    who = full_name(fleet, index)
    if server.srv_record:
        raise Refused("set server <b>/<s> fqdn failed because SRV resolution is configured.")
    if name == server.fqdn:
        return f"no need to change the FDQN {CLI}"
    if not NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise Refused(f"could not update {who} FQDN {CLI}")
    old, server.fqdn = server.fqdn, name
    server.moved |= Moved.NAME
    return f"{who} changed its FQDN from {old or '(null)'} to {name} {CLI}"


def ready(fleet: Fleet, work: Work, index: int, *, said: bool) -> None:
    """The server has an address: out of MAINT (resolution), if it was there.

    said: HAProxy tells it a second time where the address came from an answer of its own.
    """
    server = fleet.servers[index]
    if not server.admin & Admin.RMAINT:
        return
    fleet.administer(work, index, ((False, Admin.RMAINT),))
    if said:
        text = f"Server {full_name(fleet, index)} administratively READY thanks to valid DNS answer."
        work.say(LogLine(server.proxy, NOTICE, text))
