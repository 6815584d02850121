"""Lines of keepalived's notify FIFOs: rendered for our own, parsed from those that a keepalived writes.

Source: spec/keepalived-track.md §6.4; tests/diff/test_keepalived_states.py reads those of keepalived 2.2.7.
"""

from __future__ import annotations

import re

import msgspec

STATES = ("MASTER", "BACKUP", "FAULT", "STOP", "DELETED")
MASTER_RX_LOWER_PRI, PRIORITY = "MASTER_RX_LOWER_PRI", "_PRIORITY"
LVS_STATES = ("UP", "DOWN")

_VRRP = re.compile(r'(INSTANCE|GROUP) "(.+)" ([A-Z_]+) (\d{1,3})')
_VS = re.compile(r"VS (\S+) (\S+)")
_RS = re.compile(r"RS (\S+) (\S+) (\S+)")
_SHOWN_CHARS = 80


class Told(msgspec.Struct, frozen=True):
    """What one line says. kind: `instance`, `group`, `virtual_server`, `real_server`. state: one of STATES, UP or DOWN.

    priority: effective, 0 of a group, None of servers.
    """

    kind: str
    name: str
    state: str
    priority: int | None = None


def render_fifo(kind: str, name: str, event: str, priority: int) -> str:
    """A line of an instance or a group. event: a state, `MASTER_PRIORITY`, `BACKUP_PRIORITY`, `MASTER_RX_LOWER_PRI`."""
    return f'{kind.upper()} "{name}" {event} {priority}\n'


def parse_fifo(line: bytes) -> Told:
    """One line without its line feed; the NUL that keepalived puts behind those about servers may stand before it.

    Raises: ValueError with the line for one that no keepalived writes.
    """
    text = line.strip(b"\0").decode("utf-8", "surrogateescape")
    if found := _VRRP.fullmatch(text):
        what, name, event, priority = found.groups()
        state = "MASTER" if event == MASTER_RX_LOWER_PRI else event.removesuffix(PRIORITY)
        if state in STATES and int(priority) <= 255:
            return Told(what.lower(), name, state, int(priority))
    elif found := _VS.fullmatch(text):
        if found[2] in LVS_STATES:
            return Told("virtual_server", found[1], found[2])
    elif (found := _RS.fullmatch(text)) and found[3] in LVS_STATES:
        return Told("real_server", f"{found[1]} of {found[2]}", found[3])
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
    raise ValueError(repr(shown))
