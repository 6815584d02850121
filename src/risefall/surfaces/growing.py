"""`add server`, `del server`, and `reload`.

Source: spec/haproxy-checks.md §5.5; answers were compared with 2.6.12.
"""

from __future__ import annotations

from risefall.config.haproxy.added import DYNAMIC
from risefall.errors import RisefallError
from risefall.state import growth
from risefall.state.commands import Refused
from risefall.surfaces.calls import Api, Call, Level, Pause, Reply, Severity, command, find_server, refused, says


def _add_server(api: Api, call: Call) -> Reply:
    if call.word(0) == "help" and api.fleet.dialect.newer_commands:
        return Reply("".join(f"{line}\n" for line in ("List of keywords supported for dynamic server:", *DYNAMIC)))
    try:
        place, name = growth.find_place(api.fleet, call.word(0))
        api.add_server(place, name, call.words[1:])
    except Refused as error:
        return refused(api.fleet, error)
    return says("New server registered.")


def _del_server(api: Api, call: Call) -> Reply:
    name = call.word(0)
    try:
        if name.startswith("/"):
            raise Refused("Require 'backend/server'.")
        index = find_server(api.fleet, name)
        api.del_server(index)
    except Refused as error:
        return refused(api.fleet, Refused(error.text, short=True))
    ends = "\n" if api.fleet.dialect.cli_double_newline else ""
    return Reply(f"Server deleted.{ends}", Severity.INFO)


def _reload(api: Api, call: Call) -> Reply:
    """In the words of HAProxy's master socket."""

    async def outcome(pause: Pause) -> str:
        try:
            return f"Success=1\n--\n{await api.reload()}\n"
        except RisefallError as error:
            return f"Success=0\n--\n{error}\n"

    return Reply(later=outcome)


GROWING = (
    command("reload", "", "read the configuration again", _reload, Level.ADMIN),
    command("add server", "<bk>/<srv> <addr> [opts]", "add a server, in maintenance", _add_server, Level.ADMIN),
    command("del server", "<bk>/<srv>", "delete a server in maintenance", _del_server, Level.ADMIN),
)
