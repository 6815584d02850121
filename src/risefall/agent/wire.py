"""What the agent's control socket carries: one line of JSON each way, then the end. Both sides read it from here."""

from __future__ import annotations

import os
from enum import StrEnum

import msgspec

from risefall.agent.leases import Order
from risefall.agent.standing import Standing

ASK_MAX_BYTES = 4096
SAID_MAX_BYTES = 4 << 20
SOCKET_VARIABLE = "RISEFALL_AGENT_SOCKET"


class Do(StrEnum):
    """What may be asked: the orders, their end, and a look."""

    DRAIN = "drain"
    MAINT = "maint"
    READY = "ready"
    WEIGHT = "weight"
    RELEASE = "release"
    SHOW = "show"


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request. service: "" for all, with `show` alone. who: whom the caller claims to be; root's word alone counts."""

    do: Do
    service: str = ""
    weight_pct: int | None = None
    lease_ms: int | None = None
    reason: str = ""
    who: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One signal. value: the last good number; failure: why there is no newer one; age_s: of the number."""

    name: str
    value: float | None = None
    age_s: float | None = None
    text: str = ""
    failure: str = ""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One balancer that polls. current: it was given an answer that obeys the present orders."""

    balancer: str
    ago_s: float
    current: bool


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One service: how it stands, its orders, what it looks at, who polls it, and the tree of what led to the answer."""

    standing: Standing
    orders: tuple[Order, ...] = ()
    signals: tuple[Seen, ...] = ()
    balancers: tuple[Heard, ...] = ()
    ports: tuple[int, ...] = ()
    alone: bool = True
    """Whether its ports are its own, so that who polls them polls this service."""
    explained: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The reply. error: why nothing was done. unknown: there is no such service. ended: orders that this one ended.

    warning: it was done, and is not on the disk.
    """

    error: str = ""
    warning: str = ""
    unknown: bool = False
    now_ns: int = 0
    ended: tuple[Order, ...] = ()
    services: tuple[Shown, ...] = ()


def usual_agent_socket() -> str:
    """`$RISEFALL_AGENT_SOCKET`, else /run/risefall/agent.sock for root, else one in $XDG_RUNTIME_DIR; "" for nowhere."""
    if path := os.environ.get(SOCKET_VARIABLE):
        return path
    if os.geteuid() == 0:
        return "/run/risefall/agent.sock"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/risefall/agent.sock" if base else ""
