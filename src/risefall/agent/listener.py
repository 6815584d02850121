"""Listening sockets for the answerer, and which services a port has."""

from __future__ import annotations

import errno
import os
import socket

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
