"""What a command of the runtime API is given and gives, and how it finds the servers and proxies that it names.

Source: spec/haproxy-checks.md §5.4, §7.1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.surfaces.info import Value
from risefall.surfaces.live import Record
from risefall.surfaces.resolvers import Tally
from risefall.surfaces.usage import Usage


class Level(IntEnum):
    """What a session may do; each level may do what is below it."""

    USER = 1
    OPERATOR = 2
    ADMIN = 3


class Severity(IntEnum):
    """How grave a message is, in syslog's numbers."""

    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class Api(Protocol):
    """What the commands need of the daemon."""

    @property
    def fleet(self) -> Fleet: ...

    def record(self, index: int, which: int) -> Record | None:
        """The engine's figures of one check; None where it has none."""

    def apply(self, effects: Effects) -> None:
        """Carries out what a command led to: orders to checks, lines to logs."""

    def info(self) -> Mapping[str, Value]:
        """Values of `show info`, by its names; `Version` among them."""

    def resolvers(self) -> Sequence[Tally]:
        """Counters of the sections of resolvers."""

    def now_ms(self) -> int:
        """Monotonic, the clock of the fleet's `changed_ms`."""

    def add_server(self, place: int, name: str, words: Sequence[str]) -> None:
        """A new server of the proxy at `place`, as `words` describe it. Raises: Refused."""

    def rename(self, index: int, name: str) -> str:
        """Gives a server another name to be resolved. Returns what is said. Raises: Refused."""

    def set_name(self, index: int, name: str) -> None:
        """Gives a server another name of its own. Raises: Refused."""

    def del_server(self, index: int) -> None:
        """A server less. Raises: Refused."""

    async def reload(self) -> str:
        """Reads the configuration again. Returns what came of it. Raises: RisefallError; then nothing has changed."""

    def vrrp(self) -> Sequence[Mapping[str, object]]:
        """The objects of `show vrrp`; none where nothing is known of a keepalived."""

    def sockets(self) -> Sequence[tuple[str, Level]]:
        """Where clients come in, and what they may do there."""


Pause = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass. Raises BrokenPipeError once nobody waits for the answer; what is behind it is not done then."""

Later = Callable[[Pause], Awaitable[str]]
"""A part of an answer that has to be waited for."""


class Reply(msgspec.Struct, frozen=True):
    """An answer without the line feed that the protocol adds.

    text: a message; severity: how grave it is, None where that is never shown. pieces: a long answer, instead of text.
    later: an answer that takes its time.
    """

    text: str = ""
    severity: Severity | None = None
    pieces: Iterator[str] | None = None
    later: Later | None = None


class Call(msgspec.Struct, frozen=True):
    """One command as it was given. words: those behind its name."""

    words: tuple[str, ...]
    level: Level
    payload: bytes = b""

    def word(self, at: int) -> str:
        """A word, "" for a missing one."""
        return self.words[at] if at < len(self.words) else ""


def says(text: str, severity: Severity = Severity.INFO) -> Reply:
    """A message of one line."""
    return Reply(f"{text}\n", severity)


def refuse(text: str) -> Reply:
    """A refusal in HAProxy's words."""
    return Reply(f"{text}\n", Severity.ERR)


Handler = Callable[[Api, Call], Reply]


class Command(msgspec.Struct, frozen=True):
    """One line of the table. level: the least that is needed."""

    usage: Usage
    level: Level
    run: Handler


def command(name: str, arguments: str, text: str, run: Handler, level: Level = Level.USER) -> Command:
    """A line of the table."""
    return Command(Usage(tuple(name.split()), f"{name} {arguments}".rstrip(), text), level, run)


# --- names ----------------------------------------------------------------------------------------


def find_server(fleet: Fleet, name: str) -> int:
    """The index of `<backend>/<server>`; each half may be `#<id>`.

    Raises: Refused in HAProxy's words.
    """
    backend, _, own = name.partition("/")
    if not own:
        raise Refused("Require 'backend/server'.")
    for proxy in fleet.proxies:
        if proxy.has_backend and backend in (proxy.name, f"#{proxy.id}"):
            break
    else:
        raise Refused("No such backend.")
    for index in proxy.own:
        server = fleet.servers[index]
        if server.name == own or (own[0] == "#" and own == f"#{server.sid}"):
            return index
    raise Refused("No such server.")


def changed_server(fleet: Fleet, name: str) -> int:
    """The server of a command that changes it.

    Raises: Refused; 2.6 wants a backend's name before it looks for one.
    """
    if name.startswith("/") and not fleet.dialect.cli_double_newline:
        raise Refused("Require 'backend/server'.")
    index = find_server(fleet, name)
    if fleet.proxies[fleet.servers[index].proxy].disabled:
        raise Refused("Proxy is disabled.")
    return index


def refused(fleet: Fleet, error: Refused) -> Reply:
    """What a client reads of a refusal (trap 49)."""
    short = error.short and not fleet.dialect.cli_double_newline
    return Reply(error.text if short else f"{error.text}\n", Severity.WARNING if error.warning else Severity.ERR)


Act = Callable[[Fleet, int, int], Effects]
"""A change of one server: fleet, its index, now_ms."""


def change(api: Api, name: str, act: Act) -> Reply:
    try:
        effects = act(api.fleet, changed_server(api.fleet, name), api.now_ms())
    except Refused as error:
        return refused(api.fleet, error)
    api.apply(effects)
    return Reply()
