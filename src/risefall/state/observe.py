"""`observe`: what live traffic says of a server. For whoever has traffic to report; a checker sees none by itself.

Source: spec/haproxy-checks.md §1.6; haproxy configuration manual 2.6, §5.2 observe, on-error, error-limit.
"""

from __future__ import annotations

from enum import Enum

from risefall.state.exchange import CheckChange, Observed
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import HEALTH, CheckState
from risefall.state.work import Order

NO_CEILING = 2**31 - 1


class Traffic(Enum):
    """What became of one connection or one request; the words are HAProxy's."""

    CONNECTED = "connected"
    CONNECT_FAILED = "L4 unsuccessful connection"
    RESPONSE_OK = "response"
    RESPONSE_BAD = "Wrong http response"
    HEADERS_BAD = "Invalid http response (headers)"
    RESPONSE_INVALID = "Invalid http response"
    READ_ERROR = "Read error (http)"
    READ_TIMEOUT = "Read timeout (http)"
    CLOSED = "Close from server (http)"


GOOD = (Traffic.CONNECTED, Traffic.RESPONSE_OK)
SEEN = {
    False: frozenset((Traffic.CONNECTED, Traffic.CONNECT_FAILED)),
    True: frozenset(Traffic) - {Traffic.CONNECTED},
}
"""What each layer looks at, by `Watch.layer7`: to layer 7 a connection is no good word, a failed one is a bad word."""


def of_status(status: int) -> Traffic:
    """What the status of a response says."""
    good = 100 <= status < 500 or status in (501, 505)
    return Traffic.RESPONSE_OK if good else Traffic.RESPONSE_BAD


def ceiling_of(check: CheckState, on_error: str) -> int:
    """How high the counter may stand before the one failure counts."""
    return {"sudden-death": check.rise + 1, "mark-down": check.rise}.get(on_error, NO_CEILING)


def observe(fleet: Fleet, index: int, traffic: Traffic) -> Effects:
    """One connection or request of a server. Nothing for a server without `observe`, or of a layer that it does not watch."""
    effects = Effects()
    server = fleet.servers[index]
    watch, check = server.watch, server.health
    if watch is None or check is None or not check.enabled or check.paused:
        return effects
    if traffic not in SEEN[watch.layer7]:
        return effects
    if traffic in GOOD:
        watch.errors = 0
        return effects
    watch.errors += 1
    if watch.errors < watch.limit:
        return effects
    text = f"Detected {watch.errors} consecutive errors, last one was: {traffic.value}"
    watch.errors = 0
    watch.limit_reached += 1
    told = b"" if watch.on_error == "fastinter" else text.encode()
    observed = Observed(ceiling_of(check, watch.on_error), told, fleet.dialect.observe_fastinter)
    effects.orders.append(Order(index, HEALTH, CheckChange(observed=observed, touched=False)))
    return effects
