"""Commands that only look: what is asked for in words, and the text that answers it.

What belongs to traffic (sessions, stick tables, maps) is answered as a HAProxy without any of it would.
Source: spec/haproxy-checks.md §7.3-7.6; answers were compared with 2.6.12.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from risefall.state.fleet import Fleet
from risefall.surfaces.calls import Api, Call, Level, Reply, command, refuse, says
from risefall.surfaces.csv import stat_pieces
from risefall.surfaces.info import show_info
from risefall.surfaces.query import BadQuery, parse_query
from risefall.surfaces.resolvers import NoResolvers, show_resolver_stat, show_resolvers
from risefall.surfaces.schema import show_schema
from risefall.surfaces.servers_state import NoBackend, conn_pieces, state_pieces


def _show_stat(api: Api, call: Call) -> Reply:
    words = call.words
    if call.word(0) == "domain":
        if call.word(1) == "resolvers":
            return Reply(show_resolver_stat(api.resolvers(), words[2:]))
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


def _show_servers_conn(api: Api, call: Call) -> Reply:
    try:
        return Reply(pieces=conn_pieces(api.fleet, call.word(0)))
    except NoBackend as error:
        return refuse(str(error))


def _show_info(api: Api, call: Call) -> Reply:
    return Reply(show_info(api.fleet.dialect, {**api.info(), **api.fleet.limits}, call.words))


def _show_backend(api: Api, call: Call) -> Reply:
    names = [proxy.name for proxy in api.fleet.proxies if proxy.has_backend]
    return Reply("".join(f"{name}\n" for name in ("# name", *names)))


def _show_version(api: Api, call: Call) -> Reply:
    return says(str(api.info()["Version"]))


def _show_cli_sockets(api: Api, call: Call) -> Reply:
    lines = (f"unix@{path} {level.name.lower()} all\n" for path, level in api.sockets())
    return Reply("".join(("# socket lvl processes\n", *lines)))


def _show_env(api: Api, call: Call) -> Reply:
    name = call.word(0)
    if not name:
        return Reply(pieces=_environment())
    if name not in os.environ:
        return refuse("Variable not found")
    return Reply(f"{name}={os.environ[name]}\n")


def _environment() -> Iterator[str]:
    return (f"{name}={value}\n" for name, value in list(os.environ.items()))


def _show_errors(api: Api, call: Call) -> Reply:
    """Protocol errors of traffic; there is none."""
    wanted = call.word(0)
    if wanted and not _is_proxy(api.fleet, wanted):
        return refuse("No such proxy.")
    now = time.time()
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(now))
    return Reply(f"Total events captured on [{stamp}.{int(now * 1000) % 1000:03d}] : 0\n")


def _is_proxy(fleet: Fleet, word: str) -> bool:
    return any(word in (proxy.name, f"#{proxy.id}", str(proxy.id)) for proxy in fleet.proxies)


def _show_startup_logs(api: Api, call: Call) -> Reply:
    return says("")


def _show_sess(api: Api, call: Call) -> Reply:
    word = call.word(0)
    return refuse("Session not found.") if word[:2] == "0x" else Reply()


def _show_table(api: Api, call: Call) -> Reply:
    return refuse("No such table") if call.word(0) else Reply()


def _show_peers(api: Api, call: Call) -> Reply:
    return refuse("No such peers") if call.word(0) else Reply()


def _show_map(api: Api, call: Call) -> Reply:
    if call.word(0):
        return refuse("Unknown map identifier. Please use #<id> or <file>.")
    return Reply("# id (file) description\n")


def _show_acl(api: Api, call: Call) -> Reply:
    if call.word(0):
        return refuse("Unknown ACL identifier. Please use #<id> or <file>.")
    return Reply("# id (file) description\n")


def _show_resolvers(api: Api, call: Call) -> Reply:
    try:
        return Reply(show_resolvers(api.resolvers(), call.word(0)))
    except NoResolvers as error:
        return refuse(str(error))


def _show_schema(api: Api, call: Call) -> Reply:
    return Reply(show_schema())


LOOKS = (
    command("show acl", "[<acl>]", "nothing: there are no ACLs", _show_acl),
    command("show backend", "", "list backends", _show_backend),
    command("show cli sockets", "", "list the sockets of this API", _show_cli_sockets),
    command("show env", "[<name>]", "dump the environment of the process", _show_env, Level.OPERATOR),
    command("show errors", "[<px>]", "nothing: there is no traffic", _show_errors, Level.OPERATOR),
    command("show info", "[desc|json|typed|float]*", "report facts about the process", _show_info),
    command("show map", "[<map>]", "nothing: there are no maps", _show_map),
    command("show peers", "[<section>]", "nothing: there are no peers", _show_peers),
    command("show resolvers", "[<id>]", "report what name servers were asked", _show_resolvers),
    command("show schema json", "", "report the schema of the JSON of stat and info", _show_schema),
    command("show servers conn", "[<backend>]", "dump connections, which are none", _show_servers_conn),
    command("show servers state", "[<backend>]", "dump servers for a later start", _show_servers_state),
    command("show sess", "[<id>]", "nothing: there are no sessions", _show_sess, Level.OPERATOR),
    command("show startup-logs", "", "nothing: they went to the terminal", _show_startup_logs, Level.OPERATOR),
    command("show stat", "[desc|json|no-maint|typed|up]*", "report proxies and servers", _show_stat),
    command("show table", "[<table>]", "nothing: there are no tables", _show_table),
    command("show version", "", "show the version of the process", _show_version),
)
