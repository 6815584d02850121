"""Orders of an operator: drain, maint, ready or a weight, until a lease ends them; who gave them, when and why.

A lease runs on the wall clock, because it has to survive a reboot; all times here are nanoseconds since 1970, given as
arguments. A service has at most one order on its state and one on its weight; a newer one takes the older one's place.
`ready` as an order keeps a service in against its conditions, so it should have a lease; to go back to what signals
say, the order is released.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import assert_never

import msgspec

NS = 1_000_000_000
FORGIVEN_NS = 2 * NS
"""So much the wall clock may be set back without an order looking as if it came from the future."""


class OrderWord(StrEnum):
    DRAIN = "drain"
    MAINT = "maint"
    READY = "ready"
    WEIGHT = "weight"


class Slot(StrEnum):
    """What an order is about; two orders about one thing cannot stand together."""

    STATE = "state"
    WEIGHT = "weight"


def slot_of(word: OrderWord) -> Slot:
    match word:
        case OrderWord.DRAIN | OrderWord.MAINT | OrderWord.READY:
            return Slot.STATE
        case OrderWord.WEIGHT:
            return Slot.WEIGHT
        case _:
            assert_never(word)


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order. ends_ns: None stands until it is released. weight_pct: of `weight` alone, 0..100."""

    service: str
    word: OrderWord
    given_ns: int
    ends_ns: int | None = None
    weight_pct: int | None = None
    who: str = ""
    reason: str = ""

    def ended(self, now_ns: int) -> bool:
        return self.ends_ns is not None and now_ns >= self.ends_ns


def make_order(
    service: str,
    word: OrderWord,
    now_ns: int,
    *,
    lease_ms: int | None = None,
    weight_pct: int | None = None,
    who: str = "",
    reason: str = "",
) -> Order:
    """An order from now on. Raises ValueError with what is wrong with it."""
    if (word is OrderWord.WEIGHT) != (weight_pct is not None):
        raise ValueError("'weight' wants a percentage, and no other order has one")
    if weight_pct is not None and not 0 <= weight_pct <= 100:
        raise ValueError(f"a weight is 0% to 100%, not {weight_pct}%")
    if lease_ms is not None and lease_ms <= 0:
        raise ValueError("a lease must be longer than nothing")
    ends = None if lease_ms is None else now_ns + lease_ms * 1_000_000
    return Order(
        service=service,
        word=word,
        given_ns=now_ns,
        ends_ns=ends,
        weight_pct=weight_pct,
        who=plain(who),
        reason=plain(reason),
    )


def plain(text: str) -> str:
    """One printable line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


class Book:
    """All orders that stand, and those that are about to: these are kept first, so that nothing is said that a crash undoes."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._orders = {(order.service, slot_of(order.word)): order for order in orders}
        self._coming: dict[tuple[str, Slot], Order | None] = {}

    def announce(self, service: str, slot: Slot, order: Order | None) -> None:
        """What will be given or, None, released: it belongs into the file from now on, and does not stand yet."""
        self._coming[service, slot] = order

    def give(self, order: Order) -> Order | None:
        """Takes an order; returns the one whose place it took."""
        key = order.service, slot_of(order.word)
        before = self._orders.get(key)
        self._orders[key] = order
        self._came(key, order)
        return before

    def release(self, service: str, slot: Slot) -> Order | None:
        """Ends an order before its time; returns it, None when there was none."""
        self._came((service, slot), None)
        return self._orders.pop((service, slot), None)

    def _came(self, key: tuple[str, Slot], order: Order | None) -> None:
        """What was announced has come, unless something else has been announced since."""
        if self._coming.get(key) is order:
            self._coming.pop(key, None)

    def expire(self, now_ns: int) -> list[Order]:
        """Takes out and returns what has ended. After a clock set back, a lease runs its whole length again, no longer."""
        gone = []
        for key, order in list(self._orders.items()):
            if order.given_ns > now_ns + FORGIVEN_NS:
                ends = None if order.ends_ns is None else now_ns + order.ends_ns - order.given_ns
                self._orders[key] = order = msgspec.structs.replace(order, given_ns=now_ns, ends_ns=ends)
            if order.ended(now_ns):
                gone.append(self._orders.pop(key))
        return gone

    def standing(self, service: str, now_ns: int) -> tuple[Order, ...]:
        """The orders on a service, its state first. One that has ended does not count, whether or not it was taken out."""
        found = (self._orders.get((service, slot)) for slot in Slot)
        return tuple(order for order in found if order is not None and not order.ended(now_ns))

    def next_end_ns(self) -> int | None:
        """When the next lease ends."""
        return min((order.ends_ns for order in self._orders.values() if order.ends_ns is not None), default=None)

    def orders(self) -> list[Order]:
        """All, by service, as they are kept in a file: with what was announced."""
        found = {**self._orders, **self._coming}
        return [order for key in sorted(found) if (order := found[key]) is not None]


def rows(orders: Iterable[Order], now_ns: int) -> list[tuple[str, str, str, str, str, str]]:
    """A table of orders: service, order, since, left, who, why."""
    return [
        (
            order.service,
            order.word.value if order.weight_pct is None else f"weight {order.weight_pct}%",
            length(now_ns - order.given_ns),
            "-" if order.ends_ns is None else length(order.ends_ns - now_ns),
            order.who or "-",
            order.reason or "-",
        )
        for order in orders
    ]


def length(ns: int) -> str:
    """A length of time in its two largest units."""
    seconds = max(0, ns // NS)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"
