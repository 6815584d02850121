"""What name servers said: answers as values, and the records of a name in the order in which HAProxy looks at them.

HAProxy keeps the records of a name in a tree whose key is the XXH32 of the record's data, seeded with its type: of several
addresses, it takes the first of that order that fits. The order has no meaning, but two programs that are to give the same
servers the same addresses must share it. Source: resolvers.c of 2.6; checked on 2.6.12 with twelve addresses and targets.
"""

from __future__ import annotations

import bisect
from enum import Enum, IntEnum

import msgspec


class Kind(IntEnum):
    """Record types that are asked for, with the numbers of DNS."""

    A = 1
    AAAA = 28
    SRV = 33


class Outcome(Enum):
    """How a resolution ended last. The value: the cause in the line of a server that goes into maintenance for it."""

    NONE = ""
    VALID = "No IP for server "
    """The answer held no address that the server may have."""
    NX = "DNS NX status"
    REFUSED = "DNS refused status"
    TIMEOUT = "DNS timeout status"
    OTHER = "unspecified DNS error"


IPV4_BYTES = 4
REMOVED = "entry removed from SRV record"


class Service(msgspec.Struct, frozen=True):
    """One SRV record. target: a name without the last dot."""

    target: str
    port: int
    weight: int


class Answer(msgspec.Struct, frozen=True):
    """One reply of a name server. addresses: packed, in network order, of the type that was asked for.

    additional: address records that came along, for targets of `services`. count: the counter of `show resolvers` that
    it moves. cut: it says that there is more.
    """

    outcome: Outcome
    addresses: tuple[bytes, ...] = ()
    services: tuple[Service, ...] = ()
    additional: tuple[tuple[str, bytes], ...] = ()
    count: str = "valid"
    cut: bool = False


class Item(msgspec.Struct):
    """One record that is believed. servers: who uses it now; seen_ms: when an answer held it last.

    data: a packed address, or b"" for a service. extra: the address that came along with a service.
    """

    key: int
    data: bytes
    target: str
    port: int
    weight: int
    seen_ms: int
    servers: list[int] = []
    extra: bytes = b""
    extra_seen_ms: int = 0


class Records:
    """The records of one name. items: in HAProxy's order."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._known: dict[tuple[bytes, str, int], Item] = {}

    def take(self, answer: Answer, now_ms: int) -> None:
        """Adds what an answer holds to what is known."""
        for address in answer.addresses:
            self._see(address, "", 0, 0, now_ms)
        for service in answer.services:
            self._see(b"", service.target, service.port, service.weight, now_ms)
        extras = {name.lower(): address for name, address in answer.additional}
        for item in self.items if extras else ():
            if address := extras.get(item.target.lower(), b""):
                item.extra, item.extra_seen_ms = address, now_ms

    def _see(self, data: bytes, target: str, port: int, weight: int, now_ms: int) -> None:
        item = self._known.get((data, target, port))
        if item is not None:
            item.seen_ms, item.weight = now_ms, weight
            return
        key = xxh32(data, kind_of(data)) if data else xxh32(labels(target), Kind.SRV)
        item = self._known[data, target, port] = Item(key, data, target, port, weight, now_ms)
        bisect.insort_right(self.items, item, key=lambda one: one.key)

    def adopt(self, service: Service, server: int, now_ms: int) -> None:
        """A server has its record from before: it is believed as if it had just been answered."""
        self._see(b"", service.target, service.port, service.weight, now_ms)
        self._known[b"", service.target, service.port].servers.append(server)

    def address(self, data: bytes) -> Item | None:
        """The record of an address."""
        return self._known.get((data, "", 0))

    def drop(self, item: Item) -> None:
        """A record is not believed any more."""
        self.items.remove(item)
        del self._known[item.data, item.target, item.port]

    def clear(self) -> None:
        self.items.clear()
        self._known.clear()

    def let_go(self, server: int) -> None:
        """The server uses none of them any more."""
        for item in self.items:
            if server in item.servers:
                item.servers.remove(server)


def kind_of(address: bytes) -> Kind:
    return Kind.A if len(address) == IPV4_BYTES else Kind.AAAA


def labels(name: str) -> bytes:
    """A name as DNS writes it, without the empty label at its end."""
    parts = [part.encode("utf-8", "surrogateescape") for part in name.split(".") if part]
    return b"".join(bytes([min(len(part), 63)]) + part for part in parts)


# --- XXH32 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md) -------------------------------

MASK = 0xFFFFFFFF
P1, P2, P3, P4, P5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & MASK


def xxh32(data: bytes, seed: int) -> int:
    """The 32-bit hash of xxHash."""
    at, size = 0, len(data)
    value = seed + P5
    if size >= 16:
        lanes = [seed + P1 + P2, seed + P2, seed, seed - P1]
        while at <= size - 16:
            for lane in range(4):
                word = int.from_bytes(data[at : at + 4], "little")
                lanes[lane] = _rotate((lanes[lane] + word * P2) & MASK, 13) * P1 & MASK
                at += 4
        value = sum(_rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True))
    value = (value + size) & MASK
    while at + 4 <= size:
        word = int.from_bytes(data[at : at + 4], "little")
        value = _rotate((value + word * P3) & MASK, 17) * P4 & MASK
        at += 4
    for byte in data[at:]:
        value = _rotate((value + byte * P5) & MASK, 11) * P1 & MASK
    value = (value ^ value >> 15) * P2 & MASK
    value = (value ^ value >> 13) * P3 & MASK
    return value ^ value >> 16
