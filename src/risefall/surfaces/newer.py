"""Commands that HAProxy 3 has and 2.6 has not: `echo` (since 3.1), `wait` (since 3.0), `clear counters server` (3.5).

Nothing here has connections, so a server can be removed at once or not before an operator does something: waiting for it
ends at once either way. Source: the runtime API of HAProxy 3.0 to 3.4; the answers are those that 3.4.3 was seen to give, of
`clear counters server` those that HAProxy's own regression test expects.
"""

from __future__ import annotations

from functools import partial

from risefall.config.haproxy.units import time_ms
from risefall.state.commands import Refused
from risefall.state.growth import refuse_removal
from risefall.state.upkeep import clear_server
from risefall.surfaces.calls import Api, Call, Level, Pause, Reply, command, find_server, refuse, says

WAIT_USAGE = """\
Usage: wait {-h|<duration>} [condition [args...]]
  - <duration>: wait no longer than this; us, ms, s, m, h or d may follow the number, ms is meant without
  - <condition>: what to wait for, nothing but the time without one:
    - srv-removable <px>/<sv>: until 'del server' can remove it
"""


def _echo(api: Api, call: Call) -> Reply:
    return says(" ".join(call.words))


def _wait(api: Api, call: Call) -> Reply:
    words = call.words
    if not words:
        return refuse("Expects a duration in milliseconds.")
    if words[0] == "-h":
        return Reply(WAIT_USAGE)
    try:
        wait_ms, rest = time_ms(words[0])
    except (ValueError, OverflowError):
        return refuse("Invalid duration.")
    if rest or not wait_ms:
        return refuse("Invalid duration.")
    match call.word(1):
        case "":
            return Reply(later=lambda pause: _sleep(wait_ms / 1000, pause))
        case "srv-removable":
            return _removable(api, call.word(2))
    return Reply(WAIT_USAGE) if call.word(1) == "-h" else refuse(WAIT_USAGE.removesuffix("\n"))


def _removable(api: Api, name: str) -> Reply:
    if not name:
        return refuse("Missing server name (<backend>/<server>).")
    if not name.partition("/")[2]:
        return refuse("Require 'backend/server'.")
    try:
        refuse_removal(api.fleet.servers[find_server(api.fleet, name)])
    except Refused as error:
        return refuse(f"Failed. {error.text}")
    return says("Done.")


def _clear_server(api: Api, call: Call) -> Reply:
    """`force` is for counters in shared memory, which there are none of."""
    try:
        index = find_server(api.fleet, call.word(0))
    except Refused as error:
        return refuse(error.text)
    clear_server(api.fleet.servers[index], partial(api.record, index))
    return says("Server counters cleared.")


async def _sleep(seconds: float, pause: Pause) -> str:
    await pause(seconds)
    return "Done.\n"


NEWER = (
    command(
        "clear counters server", "<bk>/<srv> [force]", "clear the counters of one server", _clear_server, Level.ADMIN
    ),
    command("echo", "<text>", "print text to the output", _echo),
    command(
        "wait", "{-h|<delay>} [<cond>]", "wait, at most for so long, for a server to be removable", _wait, Level.ADMIN
    ),
)
