"""Listening sockets for the answerer, and which services a port has."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack

import msgspec

from risefall.agent.sense import split_listen
from risefall.agent.settings import Settings
from risefall.errors import StartError

BACKLOG = 1024
TEXT_WAIT_MS = 200


class Port(msgspec.Struct, frozen=True):
    """One address and who answers there. fallback: for who names none of them; None for nobody."""

    listen: str
    services: tuple[str, ...]
    fallback: str | None

    def by_text(self, settings: Settings) -> bool:
        """Whether what a balancer sends is waited for: of several services, or where the settings ask for it."""
        wait_ms = settings.agent.send_ms
        return len(self.services) > 1 if wait_ms is None else wait_ms > 0


def ports_of(settings: Settings) -> list[Port]:
    """Addresses and who answers there: the agent's for all services that have none of their own."""
    shared = tuple(name for name, each in settings.service.items() if not each.listen)
    groups = dict.fromkeys(settings.agent.listen, shared) if shared else {}
    for name, each in settings.service.items():
        for text in each.listen:
            groups[text] = (*groups.get(text, ()), name)
    return [Port(text, names, fallback_of(settings, names)) for text, names in groups.items()]


def fallback_of(settings: Settings, names: tuple[str, ...]) -> str | None:
    """The service for who asks for none: the only one of its port, else the default one."""
    if len(names) == 1:
        return names[0]
    return next((name for name in names if settings.service[name].default), None)


class Door(msgspec.Struct, frozen=True):
    """One address, for HAProxy or for the pages."""

    listen: str
    pages: bool = False


class Doors:
    """Listening sockets. Over a reload those that are still wanted stay open, with whoever waits there."""

    def __init__(self) -> None:
        self._open: dict[Door, socket.socket] = {}

    def open(self, wanted: Iterable[Door]) -> None:
        """Opens what is not open yet: all of it or nothing. Raises: StartError."""
        with ExitStack() as undo:
            new = {
                door: undo.enter_context(open_listener(door.listen))
                for door in dict.fromkeys(wanted)
                if door not in self._open
            }
            undo.pop_all()
        self._open |= new

    def keep(self, wanted: Iterable[Door]) -> None:
        """Closes what nobody wants any more."""
        for door in set(self._open) - set(wanted):
            self._open.pop(door).close()

    def at(self, door: Door) -> socket.socket:
        """An open one; whoever accepts gets a duplicate of it."""
        return self._open[door]


def doors_of(settings: Settings) -> list[Door]:
    """Everything that is listened on."""
    http = settings.agent.http
    return [Door(port.listen) for port in ports_of(settings)] + ([Door(http, pages=True)] if http else [])


def open_listener(text: str) -> socket.socket:
    """A listening socket. Raises StartError with the address that cannot be had."""
    host, port = split_listen(text)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # its own text repeats the address
        step = "; another agent may be running there" if error.errno == errno.EADDRINUSE else ""
        raise StartError(f"cannot listen on {text}: {why}{step}") from error
