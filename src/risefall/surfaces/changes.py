"""Commands that change servers: words in, a call of `state`, and HAProxy's answer.

Source: spec/haproxy-checks.md §5.2-5.4; answers were compared with 2.6.12.
"""

from __future__ import annotations

from risefall.state import aims, commands, upkeep
from risefall.state.commands import Refused
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import AGENT, HEALTH
from risefall.surfaces.calls import (
    Api,
    Call,
    Handler,
    Level,
    Reply,
    Severity,
    change,
    changed_server,
    command,
    find_server,
    refused,
    says,
)


def _set_server(api: Api, call: Call) -> Reply:
    name, what, word = call.word(0), call.word(1), call.word(2)
    port = call.word(4) if call.word(3) == "port" else None
    if what == "addr":
        return _set_addr(api, name, word, port)
    if what == "fqdn" and word:
        return _set_fqdn(api, name, word)
    if what == "name" and api.fleet.dialect.set_server_name:
        return _set_name(api, name, word)
    if what == "ssl":
        done = change(api, name, lambda fleet, at, now: upkeep.set_ssl(fleet, at, word, now))
        return done if done.text else says("server ssl setting updated.", Severity.NOTICE)

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
            case "agent-send":
                return aims.set_agent_send(fleet, index, word, now_ms)
            case "fqdn":
                raise Refused("set server <b>/<s> fqdn requires a FQDN.")
        raise Refused(set_server_usage(fleet))

    return change(api, name, act)


def _set_addr(api: Api, name: str, address: str, port: str | None) -> Reply:
    try:
        told = aims.set_addr(api.fleet, changed_server(api.fleet, name), address, port, api.now_ms())
    except Refused as error:
        return refused(api.fleet, error)
    api.apply(told.effects)
    return says(told.text, Severity.WARNING)


def _set_fqdn(api: Api, name: str, word: str) -> Reply:
    try:
        index = changed_server(api.fleet, name)
        told = api.rename(index, word)
    except Refused as error:
        return refused(api.fleet, error)
    return says(told, Severity.WARNING)


def _set_name(api: Api, name: str, word: str) -> Reply:
    try:
        index = changed_server(api.fleet, name)
        if not word:
            raise Refused("set server <b>/<s> name requires a new name.")
        api.set_name(index, word)
    except Refused as error:
        return refused(api.fleet, error)
    return says("Server name updated.", Severity.NOTICE)


CHECKS = {"check-addr": HEALTH, "check-port": HEALTH, "agent-addr": AGENT, "agent-port": AGENT}


def set_server_usage(fleet: Fleet) -> str:
    """What HAProxy prints where `set server` is not understood."""
    name = "name | " if fleet.dialect.set_server_name else ""
    return (
        "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | "
        f"check-port | fqdn | health | {name}ssl | state | weight"
    )


def _set_weight(api: Api, call: Call) -> Reply:
    return change(api, call.word(0), lambda fleet, at, now: commands.set_weight(fleet, at, call.word(1), now))


def _get_weight(api: Api, call: Call) -> Reply:
    try:
        server = api.fleet.servers[find_server(api.fleet, call.word(0))]
    except Refused as error:
        return refused(api.fleet, error)
    return Reply(f"{server.uweight} (initial {server.iweight})\n")


def _set_maxconn(api: Api, call: Call) -> Reply:
    return change(api, call.word(0), lambda fleet, at, now: upkeep.set_maxconn(fleet, at, call.word(1), now))


def _shutdown_sessions(api: Api, call: Call) -> Reply:
    """There are none to shut down."""
    return change(api, call.word(0), lambda fleet, at, now: Effects())


def _switch_server(word: str) -> Handler:
    return lambda api, call: change(api, call.word(0), lambda fleet, at, now: commands.set_state(fleet, at, word, now))


def _switch_check(which: int, enable: bool) -> Handler:
    do = commands.enable_check if enable else commands.disable_check
    return lambda api, call: change(api, call.word(0), lambda fleet, at, now: do(fleet, at, which, now))


CHANGES = (
    command("disable agent", "<bk>/<srv>", "disable agent checks", _switch_check(AGENT, False), Level.ADMIN),
    command("disable health", "<bk>/<srv>", "disable health checks", _switch_check(HEALTH, False), Level.ADMIN),
    command("disable server", "<bk>/<srv>", "put a server into maintenance", _switch_server("maint"), Level.ADMIN),
    command("enable agent", "<bk>/<srv>", "enable agent checks", _switch_check(AGENT, True), Level.ADMIN),
    command("enable health", "<bk>/<srv>", "enable health checks", _switch_check(HEALTH, True), Level.ADMIN),
    command("enable server", "<bk>/<srv>", "end maintenance and drain", _switch_server("ready"), Level.ADMIN),
    command("get weight", "<bk>/<srv>", "report a server's weight", _get_weight),
    command("set maxconn server", "<bk>/<srv> <n>", "change a server's maxconn", _set_maxconn, Level.ADMIN),
    command("set server", "<bk>/<srv> [opts]", "change state, address, checks or weight", _set_server, Level.ADMIN),
    command("set weight", "<bk>/<srv> <weight>[%]", "change a server's weight", _set_weight, Level.ADMIN),
    command("shutdown sessions server", "<bk>/<srv>", "nothing: there are none", _shutdown_sessions, Level.ADMIN),
)
