"""Names to addresses at start: each distinct name once, in parallel, as `init-addr` says.

Source: spec/haproxy-checks.md §9.6; haproxy configuration manual, `init-addr`. Re-resolution while running is another matter.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

import msgspec
import trio

from risefall.config.haproxy.model import Address, Family
from risefall.engine.native import Endpoint

NOWHERE = Endpoint(4, b"\xff\xff\xff\xff")
"""Where checks of a server go that has no address yet: nothing can answer there. Its health check is paused anyway."""
AT_ONCE = 32
DEADLINE_S = 10.0
DEFAULT_METHODS = ("last", "libc")

Key = tuple[str, Family | None]


class Unresolved(msgspec.Struct, frozen=True):
    """A name without an address, and why."""

    why: str


Found = dict[Key, Endpoint | Unresolved]


def key_of(address: Address) -> Key:
    """What has to be looked up for an address: its name and the family that a prefix forces."""
    return address.host, address.prefer


async def _look_up(key: Key, found: Found, limit: trio.CapacityLimiter) -> None:
    name, prefer = key
    family = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6, None: socket.AF_UNSPEC}.get(
        prefer, socket.AF_UNSPEC
    )
    async with limit:
        try:
            with trio.fail_after(DEADLINE_S):
                answers = await trio.socket.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
        except trio.TooSlowError:
            found[key] = Unresolved(f"no answer within {DEADLINE_S:.0f} s")
            return
        except (OSError, UnicodeError) as error:
            found[key] = Unresolved(str(getattr(error, "strerror", None) or error))
            return
    # HAProxy's own choice: the first IPv4 address unless the name has none.
    ordered = sorted(answers, key=lambda answer: answer[0] != socket.AF_INET)
    chosen, _, _, _, address = ordered[0]
    packed = socket.inet_pton(chosen, str(address[0]).partition("%")[0])
    scope = int(address[3]) if len(address) > 3 else 0
    found[key] = Endpoint(4 if chosen == socket.AF_INET else 6, packed, 0, scope)


async def resolve(addresses: Iterable[Address]) -> Found:
    """Looks up every name among the addresses, at most AT_ONCE at a time, each with a deadline of its own."""
    found: Found = {}
    limit = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        for key in {key_of(address) for address in addresses if address.family is Family.NAME}:
            nursery.start_soon(_look_up, key, found, limit)
    return found


def endpoint(address: Address, port: int, found: Found) -> Endpoint | Unresolved:
    """An address as a driver takes it. An unspecified one is the local host (spec §2.5)."""
    match address.family:
        case Family.IPV4 | Family.IPV6:
            packed = ipaddress.ip_address(address.host.partition("%")[0]).packed
            if address.unspecified:
                packed = ipaddress.ip_address("127.0.0.1" if address.family is Family.IPV4 else "::1").packed
            return Endpoint(int(address.family), packed, port)
        case Family.UNIX | Family.ABNS if not address.host:
            return Unresolved(f"'{address.family.name.lower()}@' names no socket")
        case Family.UNIX | Family.ABNS:
            return Endpoint(int(address.family), address.host.encode("utf-8", "surrogateescape"))
        case Family.NAME:
            known = found.get(key_of(address), Unresolved("not looked up"))
            return known if isinstance(known, Unresolved) else msgspec.structs.replace(known, port=port)
        case _:  # ELSEWHERE; no server is at an inherited descriptor
            return Unresolved(f"a check cannot be made to '{address.host}'")


def initial(methods: str, address: Address, port: int, found: Found) -> Endpoint | Unresolved | None:
    """What `init-addr` gives a server: its address, None to start without one in MAINT (resolution), or the reason why not.

    methods: the comma-separated words of `init-addr`, empty for the default.
    """
    if address.family is not Family.NAME:
        return endpoint(address, port, found)
    last: Endpoint | Unresolved = Unresolved("no method of init-addr gave an address")
    for method in methods.split(",") if methods else DEFAULT_METHODS:
        if method == "none":
            return None
        if method == "libc":
            last = endpoint(address, port, found)
            if isinstance(last, Endpoint):
                return last
        elif method != "last":  # an address to fall back on; `last` needs a state file
            packed = ipaddress.ip_address(method).packed
            return Endpoint(4 if len(packed) == 4 else 6, packed, port)
    return last
