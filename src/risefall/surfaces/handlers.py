"""What the commands of the runtime API do: a table, and a small function for each line of it.

The rules of a server's life are in `state`; a handler reads words, calls it, and hands what follows to the daemon.
Source: spec/haproxy-checks.md §5.4, §7.1, §7.3-7.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Protocol

import msgspec

from risefall.state import aims, commands
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import AGENT, HEALTH
from risefall.surfaces.csv import BadQuery, parse_query, stat_pieces
from risefall.surfaces.info import Value, show_info
from risefall.surfaces.live import Record
from risefall.surfaces.servers_state import NoBackend, state_pieces
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

    def now_ms(self) -> int:
        """Monotonic, the clock of the fleet's `changed_ms`."""


class Reply(msgspec.Struct, frozen=True):
    """An answer without the line feed that the protocol adds.

    text: a message; severity: how grave it is, None where that is never shown. pieces: a long answer, instead of text.
    """

    text: str = ""
    severity: Severity | None = None
    pieces: Iterator[str] | None = None


class Call(msgspec.Struct, frozen=True):
    """One command as it was given. words: those behind its name."""

    words: tuple[str, ...]
    level: Level
    payload: bytes = b""

    def word(self, at: int) -> str:
        """A word, "" for a missing one."""
        return self.words[at] if at < len(self.words) else ""


def refuse(text: str) -> Reply:
    """A refusal in HAProxy's words."""
    return Reply(f"{text}\n", Severity.ERR)


Handler = Callable[[Api, Call], Reply]


class Command(msgspec.Struct, frozen=True):
    """One line of the table. level: the least that is needed."""

    usage: Usage
    level: Level
    run: Handler


# --- what only looks ------------------------------------------------------------------------------


def _show_stat(api: Api, call: Call) -> Reply:
    words = call.words
    if call.word(0) == "domain":
        if call.word(1) == "resolvers":
            return Reply()
        if call.word(1) != "proxy":
            return refuse("Invalid statistics domain.")
        words = words[2:]
    try:
        query = parse_query(words, api.fleet, legends=call.level >= Level.OPERATOR)
    except BadQuery as error:
        return refuse(str(error))
    return Reply(pieces=stat_pieces(api.fleet, api.record, api.now_ms(), query))


def _show_servers_state(api: Api, call: Call) -> Reply:
    try:
        return Reply(pieces=state_pieces(api.fleet, api.record, api.now_ms(), call.word(0)))
    except NoBackend as error:
        return refuse(str(error))


def _show_info(api: Api, call: Call) -> Reply:
    return Reply(show_info(api.fleet.dialect, api.info(), call.words))


def _show_backend(api: Api, call: Call) -> Reply:
    names = [proxy.name for proxy in api.fleet.proxies if proxy.has_backend]
    return Reply("".join(f"{name}\n" for name in ("# name", *names)))


def _show_version(api: Api, call: Call) -> Reply:
    return Reply(f"{api.info()['Version']}\n", Severity.INFO)


# --- servers --------------------------------------------------------------------------------------


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
    for index in range(proxy.first, proxy.first + proxy.count):
        server = fleet.servers[index]
        if server.name == own or (own[0] == "#" and own == f"#{server.sid}"):
            return index
    raise Refused("No such server.")


def _changed_server(fleet: Fleet, name: str) -> int:
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


def _change(api: Api, name: str, act: Act) -> Reply:
    try:
        effects = act(api.fleet, _changed_server(api.fleet, name), api.now_ms())
    except Refused as error:
        return refused(api.fleet, error)
    api.apply(effects)
    return Reply()


def _set_server(api: Api, call: Call) -> Reply:
    what, word = call.word(1), call.word(2)
    port = call.word(4) if call.word(3) == "port" else None
    if what == "addr":
        return _set_addr(api, call.word(0), word, port)

    def act(fleet: Fleet, index: int, now_ms: int) -> Effects:
        match what:
            case "state":
                return commands.set_state(fleet, index, word, now_ms)
            case "health":
                return commands.set_health(fleet, index, word, now_ms)
            case "agent":
                return commands.set_agent(fleet, index, word, now_ms)
            case "weight":
                return commands.set_weight(fleet, index, word, now_ms)
            case "check-addr" | "agent-addr":
                return aims.set_check_addr(fleet, index, CHECKS[what], word, port, now_ms)
            case "check-port" | "agent-port":
                return aims.set_check_port(fleet, index, CHECKS[what], word, now_ms)
        known = what in UNSUPPORTED or (what == "name" and fleet.dialect.set_server_name)
        raise Refused(f"'set server <srv> {what}' is not supported by risefall." if known else set_server_usage(fleet))

    return _change(api, call.word(0), act)


def _set_addr(api: Api, name: str, address: str, port: str | None) -> Reply:
    try:
        told = aims.set_addr(api.fleet, _changed_server(api.fleet, name), address, port, api.now_ms())
    except Refused as error:
        return refused(api.fleet, error)
    api.apply(told.effects)
    return Reply(f"{told.text}\n", Severity.WARNING)


CHECKS = {"check-addr": HEALTH, "check-port": HEALTH, "agent-addr": AGENT, "agent-port": AGENT}
UNSUPPORTED = ("agent-send", "fqdn", "ssl")


def set_server_usage(fleet: Fleet) -> str:
    """What HAProxy prints where `set server` is not understood, unsupported words included."""
    name = "name | " if fleet.dialect.set_server_name else ""
    return (
        "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | "
        f"check-port | fqdn | health | {name}ssl | state | weight"
    )


def _set_weight(api: Api, call: Call) -> Reply:
    return _change(api, call.word(0), lambda fleet, at, now: commands.set_weight(fleet, at, call.word(1), now))


def _get_weight(api: Api, call: Call) -> Reply:
    try:
        server = api.fleet.servers[find_server(api.fleet, call.word(0))]
    except Refused as error:
        return refused(api.fleet, error)
    return Reply(f"{server.uweight} (initial {server.iweight})\n")


def _switch_server(word: str) -> Handler:
    return lambda api, call: _change(api, call.word(0), lambda fleet, at, now: commands.set_state(fleet, at, word, now))


def _switch_check(which: int, enable: bool) -> Handler:
    do = commands.enable_check if enable else commands.disable_check
    return lambda api, call: _change(api, call.word(0), lambda fleet, at, now: do(fleet, at, which, now))


def _command(name: str, arguments: str, text: str, run: Handler, level: Level = Level.USER) -> Command:
    return Command(Usage(tuple(name.split()), f"{name} {arguments}".rstrip(), text), level, run)


COMMANDS = (
    _command("disable agent", "<bk>/<srv>", "disable agent checks", _switch_check(AGENT, False), Level.ADMIN),
    _command("disable health", "<bk>/<srv>", "disable health checks", _switch_check(HEALTH, False), Level.ADMIN),
    _command("disable server", "<bk>/<srv>", "put a server into maintenance", _switch_server("maint"), Level.ADMIN),
    _command("enable agent", "<bk>/<srv>", "enable agent checks", _switch_check(AGENT, True), Level.ADMIN),
    _command("enable health", "<bk>/<srv>", "enable health checks", _switch_check(HEALTH, True), Level.ADMIN),
    _command("enable server", "<bk>/<srv>", "end maintenance and drain", _switch_server("ready"), Level.ADMIN),
    _command("get weight", "<bk>/<srv>", "report a server's weight", _get_weight),
    _command("set server", "<bk>/<srv> [opts]", "change state, health, agent or weight", _set_server, Level.ADMIN),
    _command("set weight", "<bk>/<srv> <weight>[%]", "change a server's weight", _set_weight, Level.ADMIN),
    _command("show backend", "", "list backends", _show_backend),
    _command("show info", "[desc|json|typed]*", "report facts about the process", _show_info),
    _command("show servers state", "[<backend>]", "dump servers for a later start", _show_servers_state),
    _command("show stat", "[desc|json|no-maint|typed|up]*", "report proxies and servers", _show_stat),
    _command("show version", "", "show the version of the process", _show_version),
)
"""Every command but those about the session itself (`runtime.SESSION_COMMANDS`)."""
