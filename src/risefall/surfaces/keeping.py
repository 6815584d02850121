"""Commands about frontends, counters and limits: what an operator's scripts say besides.

Limits of traffic are kept and shown, and hold nothing back, for there is none. Source: run on 2.6.12.
"""

from __future__ import annotations

import re

from risefall.state import upkeep
from risefall.state.commands import Refused
from risefall.surfaces.calls import Api, Call, Handler, Level, Reply, Severity, command, refuse, refused, says
from risefall.surfaces.query import leading_int

RATES = {
    "connections": "ConnRateLimit", "sessions": "SessRateLimit", "ssl-sessions": "SslRateLimit",
    "http-compression": "CompressBpsRateLim",
}  # fmt: skip
"""What is limited, and where `show info` shows it; compression is said in kB and shown in bytes."""

RATE_USAGE = (
    "'set rate-limit' only supports :\n"
    "   - 'connections global' to set the per-process maximum connection rate\n"
    "   - 'sessions global' to set the per-process maximum session rate\n"
    "   - 'ssl-sessions global' to set the per-process maximum SSL session rate\n"
    "   - 'http-compression global' to set the per-process maximum compression speed in kB/s\n"
)


def _find_frontend(api: Api, name: str) -> int:
    """The place of a frontend. Raises: Refused."""
    if not name:
        raise Refused("A frontend name is expected.")
    for place, proxy in enumerate(api.fleet.proxies):
        if proxy.has_frontend and name in (proxy.name, f"#{proxy.id}"):
            return place
    raise Refused("No such frontend.")


def _switch_frontend(act: upkeep.FrontendAct) -> Handler:
    def run(api: Api, call: Call) -> Reply:
        try:
            told = act(api.fleet, _find_frontend(api, call.word(0)))
        except Refused as error:
            return refused(api.fleet, error)
        api.apply(told.effects)
        return says(told.text, Severity.NOTICE) if told.text else Reply()

    return run


def _set_maxconn_frontend(api: Api, call: Call) -> Reply:
    try:
        place = _find_frontend(api, call.word(0))
    except Refused as error:
        return refused(api.fleet, error)
    if not call.word(1):
        return refuse("Integer value expected.")
    if (limit := leading_int(call.word(1))) < 0:
        return refuse("Value out of range.")
    api.fleet.proxies[place].front_limit = limit
    return Reply()


def _set_maxconn_global(api: Api, call: Call) -> Reply:
    if not call.word(0):
        return refuse("Expects an integer value.")
    limit = leading_int(call.word(0))
    hard = int(api.info().get("Hard_maxconn", 0))
    if hard and limit > hard:
        return refuse("Value out of range.")
    api.fleet.limits["Maxconn"] = limit if limit > 0 else hard
    return Reply()


def _set_rate_limit(api: Api, call: Call) -> Reply:
    if call.word(0) not in RATES or call.word(1) != "global":
        return refuse(RATE_USAGE.removesuffix("\n"))
    if not call.word(2):
        return refuse("Expects an integer value.")
    if (limit := leading_int(call.word(2))) < 0:
        return refuse("Value out of range.")
    api.fleet.limits[RATES[call.word(0)]] = limit * 1024 if call.word(0) == "http-compression" else limit
    return Reply()


def _clear_counters(api: Api, call: Call) -> Reply:
    """The plain form clears maxima of traffic, which are 0."""
    if call.word(0) == "all":
        if call.level < Level.ADMIN:
            return refuse("Permission denied")
        upkeep.clear_counters(api.fleet, api.record)
    return Reply()


def _shutdown_session(api: Api, call: Call) -> Reply:
    word = call.word(0)
    number = re.match(r"0x[0-9a-fA-F]+|[1-9]", word)
    if number is None or not int(number[0], 16):
        return refuse("Session pointer expected (use 'show sess').")
    return refuse("No such session (use 'show sess').")


_pause, _resume, _stop = (
    _switch_frontend(act) for act in (upkeep.pause_frontend, upkeep.resume_frontend, upkeep.stop_frontend)
)

KEEPING = (
    command("clear counters", "[all]", "clear the counters of servers", _clear_counters, Level.OPERATOR),
    command("disable frontend", "<frontend>", "show a frontend as paused", _pause, Level.ADMIN),
    command("enable frontend", "<frontend>", "show a frontend as open again", _resume, Level.ADMIN),
    command("set maxconn frontend", "<px> <n>", "show another limit of a frontend", _set_maxconn_frontend, Level.ADMIN),
    command("set maxconn global", "<n>", "show another limit of connections", _set_maxconn_global, Level.ADMIN),
    command("set rate-limit", "<what> global <n>", "show another limit of a rate", _set_rate_limit, Level.ADMIN),
    command("shutdown frontend", "<frontend>", "show a frontend as stopped", _stop, Level.ADMIN),
    command("shutdown session", "<id>", "nothing: there are none", _shutdown_session, Level.ADMIN),
)
