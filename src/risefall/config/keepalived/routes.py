"""Lines of `virtual_routes` and `static_routes`: their words, and the interface that a route follows.

Source: man page keepalived.conf(5); observed with `keepalived -t` and the dump of 2.2.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import Walk
from risefall.config.keepalived.model import Line, Routing
from risefall.config.keepalived.routing import PROTOCOLS, SCOPES, TABLES, TYPES, Dropped, Item, realms

U32 = numbers.UINT_MAX
MIXED = "Cannot mix IPv4 and IPv6 addresses for route"
TIME = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:s|sec|secs|ms|msec|msecs|us|usec|usecs)?")
NUMBERS = {
    "metric": ("metric {value}", U32),
    "priority": ("metric {value}", U32),
    "preference": ("metric {value}", U32),
    "mtu": ("MTU {value}", U32),
    "hoplimit": ("hoplimit {value}", 255),
    "advmss": ("advmss {value}", U32),
    "reordering": ("reordering value {value}", U32),
    "window": ("window value {value}", U32),
    "cwnd": ("cwnd value {value}", U32),
    "ssthresh": ("ssthresh value {value}", U32),
    "initcwnd": ("initcwnd value {value}", U32),
    "initrwnd": ("initrwnd value {value}", U32),
    "quickack": ("quickack value {value}", 1),
    "fastopen_no_cookie": ("fastopen_no_cookie value {value}", 1),
}
"""Words with a number: what keepalived says of a wrong one, and the most."""
LOCKED = ("mtu", "advmss", "rtt", "rttvar", "reordering", "cwnd", "ssthresh", "rto_min", "congctl")
"""Those that `lock` may stand behind."""
TIMES = {
    "rtt": "Invalid rtt {value} for route",
    "rttvar": "Invalid rttvar {value} for route",
    "rto_min": "Invalid rto_min value {value} specified for route",
}
ENCAP_PAIRS = {
    "ip": ("id", "dst", "src", "tos", "ttl", "flags"),
    "ip6": ("id", "dst", "src", "tc", "hoplimit", "flags"),
}
ENCAP_ALONE = {
    "mpls": ("missing address for MPLS encapsulation", "invalid mpls address {value} for encapsulation", r"[0-9/]+"),
    "ila": (
        "missing locator for ILA encapsulation",
        "invalid locator {value} for ila encapsulation",
        r"[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){3}",
    ),
}


class _Route(Item):
    def __init__(self, walk: Walk, line: Line, groups: Sequence[str] | None) -> None:
        super().__init__(walk, line, "route", groups)
        self.destination = ""
        self.either = False
        """Whether `or` stood, the old word for two next hops."""


def read_route(walk: Walk, line: Line, groups: Sequence[str] | None = None) -> Routing | None:
    """One line; None when keepalived drops it. groups: the track groups of static routes. Raises Missing."""
    route = _Route(walk, line, groups)
    try:
        _words(route)
        if not route.destination:
            route.drop("Route must have a destination", "write the network, or default, first")
        _tracking(route)
    except Dropped:
        return None
    return route.done()


def _words(route: _Route) -> None:
    while route.more:
        given = route.word
        if given == "nexthop":
            if not route.either:
                _nexthops(route)
                return
            route.say('Cannot specify nexthops with "or" route', 'take "or" out')
            route.drop("Route has trailing nonsense - nexthop")
        if given in ("inet", "inet6"):
            family, other = (4, 6) if given == "inet" else (6, 4)
            route.agree(family, f"{given} specified for IPv{other} route")
            route.at += 1  # 2.2.7 passes over the word behind it
        elif given in NUMBERS:
            _lock(route, given)
            text, most = NUMBERS[given]
            route.number(0, most, f"Invalid {text} specified for route")
        elif given in TIMES:
            _lock(route, given)
            _time(route, TIMES[given])
        elif given in WORDS:
            WORDS[given](route)
        elif given == "track_group" and route.groups is not None:
            route.track_group()
        else:
            _destination(route)
        route.at += 1


def _lock(route: _Route, given: str) -> None:
    if given in LOCKED and route.line.words[route.at + 1 : route.at + 2] == ("lock",):
        route.at += 1


def _time(route: _Route, message: str) -> None:
    given = route.take()
    if not TIME.fullmatch(given):
        route.drop(message.format(value=given), "write a number, or one with s or ms behind it")


def _destination(route: _Route) -> None:
    first = route.word
    if first == "to" or first in TYPES:
        route.take()
    family = route.network("unknown route keyword {value}")
    if family:
        route.agree(family, f"{MIXED} ({route.word})")
    route.destination = route.word


def _source(route: _Route) -> None:
    route.take()
    route.agree(route.address("invalid route src address {value}"), MIXED)


def _via(route: _Route) -> None:
    if route.word == "gw":
        route.say('"gw" for routes is deprecated. Please use "via"', "write via")
    given = route.take()
    if given in ("inet", "inet6"):
        route.agree(4 if given == "inet" else 6, MIXED)
        route.take()
    route.agree(route.address("invalid route via address {value}"), MIXED)


def _from(route: _Route) -> None:
    given = route.take()
    family = route.network("invalid route from address {value}")
    if family != 6:
        route.drop(f"route from address only supported with IPv6 ({given})")
    route.agree(6, MIXED)


def _as(route: _Route) -> None:
    if route.take() == "to":
        route.at += 1
    route.say('"as to" for MPLS only - ignoring', "take it out")


def _table(route: _Route) -> None:
    route.name("rt_tables", TABLES, U32, "Routing table {value} not found for route")


def _protocol(route: _Route) -> None:
    route.protocol = route.name("rt_protos", PROTOCOLS, 255, "Protocol {value} not found or invalid for route")


def _scope(route: _Route) -> None:
    route.name("rt_scopes", SCOPES, 255, "Scope {value} not found or invalid for route")


def _tos(route: _Route) -> None:
    route.name("rt_dsfield", {}, 255, "TOS value {value} is invalid")


def _device(route: _Route) -> None:
    route.devices[:] = [route.take()]


def _expires(route: _Route) -> None:
    route.take()
    if route.family == 4:
        route.drop("expires is only valid for IPv6")
    route.family = 6
    route.at -= 1
    route.number(0, U32, "Invalid expires time {value} specified for route")


def _realms(route: _Route) -> None:
    given = route.take()
    if not realms(given):
        route.drop(f"Invalid realms {given} for route")
    if route.family == 6:
        route.drop("realms are only valid for IPv4")
    route.family = 4


def _features(route: _Route) -> None:
    if route.take() != "ecn":
        route.say(f"feature {route.word} not supported", "the only one is ecn")


def _preferred(route: _Route) -> None:
    given = route.take()
    if route.family == 4:
        route.drop("pref is only valid for IPv6")
    route.family = 6
    if given not in ("low", "medium", "high"):
        route.at -= 1
        route.number(0, 255, "Invalid pref value {value} specified for route")


def _ttl(route: _Route) -> None:
    if route.take() not in ("enabled", "disabled"):
        route.say(f"ttl-propagate value {route.word} not recognised", "write enabled or disabled")


def _congestion(route: _Route) -> None:
    _lock(route, "congctl")
    route.take()


def _vrf(route: _Route) -> None:
    route.take()


def _or(route: _Route) -> None:
    route.say('"or" for routes is deprecated. Please use "nexthop"', "write nexthop via A nexthop via B")
    if route.either:
        route.say('"or" route already specified - ignoring subsequent', "write nexthop for each")
        route.at += 1
        return
    route.either = True
    route.take()
    route.address('Invalid "or" address {value}')


def _untracked(route: _Route) -> None:
    route.tracked = False


def _encap(route: Item) -> None:
    """`encap TYPE …`: what is wrong in it is said, and the route is taken all the same."""
    words = route.line.words
    route.at += 1
    if not route.more:
        route.say("Missing encap type", "write ip, ip6, mpls or ila")
        return
    kind = route.word
    route.at += 1
    if kind in ENCAP_ALONE:
        missing, wrong, pattern = ENCAP_ALONE[kind]
        if not route.more:
            route.say(missing, "write one behind it")
        elif not re.fullmatch(pattern, route.word):
            route.say(wrong.format(value=route.word), "write it as ip route does")
            route.at += 1
        else:
            route.at += 1
    elif kind in ENCAP_PAIRS:
        seen = set()
        while route.at + 1 < len(words) and route.word in ENCAP_PAIRS[kind]:
            seen.add(route.word)
            route.at += 2
        if "id" not in seen and (kind == "ip6" or "dst" not in seen):
            route.say(f"address or id missing for {kind} encapsulation", "write dst or id")
    else:
        route.say(f"Unknown encap type - {kind}", "write ip, ip6, mpls or ila")
        return
    route.at -= 1


def _flag(route: _Route) -> None:
    """A word alone, which is only passed on to the kernel."""


WORDS: dict[str, Callable[[_Route], None]] = {
    "src": _source,
    "via": _via,
    "gw": _via,
    "from": _from,
    "as": _as,
    "tos": _tos,
    "dsfield": _tos,
    "table": _table,
    "protocol": _protocol,
    "scope": _scope,
    "dev": _device,
    "oif": _device,
    "onlink": _flag,
    "add": _flag,
    "append": _flag,
    "prepend": _flag,
    "encap": _encap,
    "expires": _expires,
    "realms": _realms,
    "features": _features,
    "pref": _preferred,
    "ttl-propagate": _ttl,
    "congctl": _congestion,
    "vrf": _vrf,
    "or": _or,
    "no_track": _untracked,
}


def _nexthops(route: _Route) -> None:
    """The hops at the end of a line; what is wrong in one ends the reading, and the route is taken with those before it."""
    try:
        while route.more and route.word == "nexthop":
            route.at += 1
            while route.more and _hop(route):
                route.at += 1
        if route.more:
            route.drop(f"Route has trailing nonsense after nexthops - {route.word}", "write hops last")
    except Dropped:
        return


def _hop(route: _Route) -> bool:
    """One option of a hop; False for a word that is none."""
    match route.word:
        case "via":
            given = route.take()
            if given in ("inet", "inet6"):
                route.agree(4 if given == "inet" else 6, "IPv4/6 mismatch for nexthop")
                route.take()
            route.agree(route.address("invalid nexthop address {value}"), "Address family mismatch for next hop")
        case "dev":
            route.take()
        case "weight":
            if not route.number(0, 256, "Invalid weight {value} specified for route"):
                route.drop("Invalid weight 0 specified for route", "write 1 to 256")
        case "onlink":
            pass
        case "encap":
            _encap(route)
        case "realms":
            if not realms(route.take()):
                route.drop(f"Invalid realms {route.word} for route")
            route.agree(4, "realms are only supported for IPv4")
        case "as":
            if route.take() == "to":
                route.at += 1
            route.drop("'as [to]' (nat) not supported", "take it out")
        case _:
            return False
    return True


def _tracking(route: _Route) -> None:
    if route.tracked and not route.devices:
        text = f"Warning - cannot track route {route.destination} with no interface specified, not tracking"
        route.walk.warn(route.line, text, "add dev INTERFACE, or no_track", 0)
    if route.group and not route.devices:
        text = "Static route cannot have track group if no oif specified"
        route.walk.warn(route.line, text, "add dev INTERFACE", 0)
        route.group = None
