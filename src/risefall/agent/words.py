"""What is said to one balancer: operator's orders, conditions and load in one line, and `ready` only where it is owed.

Only the agent can undo its own words, and it must undo nobody else's. HAProxy keeps what an answer does not mention, so
`up` or `down`, the weight and `maxconn:` are in every answer. The word `ready` clears every drain and every maintenance
of a server, also one that an operator has set on HAProxy itself; so it is said only to a balancer to which this agent
has said `drain` or `maint`, and once. What each was told is kept over restarts.

`drain` is noted before it is sent and `ready` after it was: when a connection breaks in between, a balancer may hear
`ready` twice, but never keeps a drain that nobody takes back.
Source: spec/haproxy-checks.md §4.2, §4.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from risefall.agent.leases import Order, OrderWord
from risefall.agent.rules import Answer
from risefall.agent.settings import Safe, Service

Value = TypeVar("Value")

REASON_MAX = 100
BALANCERS_MAX = 4096
SERVING = ""
"""The administrative state of a service that is neither drained nor in maintenance."""


class Part(msgspec.Struct, frozen=True):
    """What one source has to say; None passes on to the next source."""

    health: str | None = None
    admin: str | None = None
    weight_pct: int | None = None
    maxconn: int | None = None
    reason: str = ""


# What an order says, and what it leaves to conditions and load. Its weight and its reason are its own.
ORDERS = {
    OrderWord.DRAIN: Part(admin="drain"),
    OrderWord.MAINT: Part(admin="maint"),
    OrderWord.READY: Part(health="up", admin=SERVING),
    OrderWord.WEIGHT: Part(),
}


def operator_part(order: Order) -> Part:
    """An order as a part."""
    return msgspec.structs.replace(ORDERS[order.word], weight_pct=order.weight_pct, reason=order.reason)


def condition_part(answer: Answer, fresh: bool) -> Part:
    """What conditions say. Where numbers are old, `drain` and `maint` stay, since taking them back would be news."""
    admin = answer.admin.value if answer.admin else None
    if not fresh:
        return Part(admin=admin)
    return Part(health=answer.health.value if answer.health else None, admin=admin, reason=answer.reason)


def load_part(service: Service, answer: Answer, fresh: bool, stale: bool) -> Part:
    """What is said when nothing else is; the safe word where numbers are too old, nothing while none has come."""
    if fresh:
        return Part("up", SERVING, answer.weight_pct, answer.maxconn)
    if stale and service.stale_word is not Safe.SILENCE:
        return Part(health=service.stale_word.value, admin=SERVING, reason="stale")
    return Part(admin=SERVING)


def resolve(service: Service, answer: Answer, orders: Sequence[Order], now_ns: int) -> Part | None:
    """Operator before condition before load, each word by itself. None is silence: there is nothing to say.

    Args: now_ns: on the clock of `answer.at_ns`; orders: those that stand.
    """
    stale = now_ns - answer.at_ns > service.stale_ms * 1_000_000
    fresh = answer.known and not stale
    parts = [*map(operator_part, orders), condition_part(answer, fresh), load_part(service, answer, fresh, stale)]
    told = Part(
        health=first(part.health for part in parts),
        admin=first(part.admin for part in parts),
        weight_pct=first(part.weight_pct for part in parts),
        maxconn=first(part.maxconn for part in parts),
        reason=next((part.reason for part in parts if part.reason), ""),
    )
    if told.health is None and not orders:
        return None
    return told


def first(values: Iterable[Value | None]) -> Value | None:
    return next((value for value in values if value is not None), None)


def render_line(part: Part, admin_word: str) -> bytes:
    """The line that HAProxy reads; its end included.

    Args: admin_word: `drain`, `maint`, `ready` or nothing, as `Ledger.word` says for this balancer.
    """
    words = [part.health or "", admin_word]
    if part.weight_pct is not None:
        words.append(f"{part.weight_pct}%")
    if part.maxconn is not None:
        words.append(f"maxconn:{part.maxconn}")
    if reason := clean_reason(part.reason):
        words.append(f"#{reason}")
    return (" ".join(word for word in words if word) + "\n").encode("ascii")


def clean_reason(text: str) -> str:
    """A reason as HAProxy can log it: one line of printable ASCII."""
    line = " ".join(text.split())
    return "".join(char if " " <= char <= "~" else "?" for char in line)[:REASON_MAX].strip()


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one balancer was told of one service. admin: `drain` or `maint` that it may hold; owed: `ready` yet to say."""

    service: str
    balancer: str
    admin: str = SERVING
    owed: int = 0
    asked_ns: int = 0
    version: int = 0


class Ledger:
    """Who polls and what each was told. Times are those of one clock, the wall's where it is kept in a file."""

    def __init__(self, told: Iterable[Told] = ()) -> None:
        self._told = {(each.service, each.balancer): each for each in told}
        self.changed = False
        """Something that must outlive a restart is not yet in the file; whoever writes it clears this."""

    def word(self, service: str, balancer: str, admin: str) -> str:
        """The administrative word for this balancer now: the state itself, or `ready` where it is owed."""
        if admin != SERVING:
            return admin
        told = self._told.get((service, balancer))
        return "ready" if told is not None and told.owed > 0 else ""

    def before(self, service: str, balancer: str, word: str, ready_polls: int, now_ns: int) -> None:
        """Notes what is about to be sent: from a `drain` or `maint` on, `ready` is owed."""
        told = self._told.get((service, balancer)) or self._enter(service, balancer, now_ns)
        if word in ("drain", "maint") and (told.admin, told.owed) != (word, ready_polls):
            self._put(msgspec.structs.replace(told, admin=word, owed=ready_polls))
            self.changed = True

    def after(self, service: str, balancer: str, word: str, now_ns: int, version: int = 0) -> None:
        """Notes that it was sent: a `ready` is no longer owed. version: of the orders that the answer obeyed."""
        told = self._told.get((service, balancer)) or self._enter(service, balancer, now_ns)
        if word == "ready" and told.owed > 0:
            owed = told.owed - 1
            told = msgspec.structs.replace(told, owed=owed, admin=told.admin if owed else SERVING)
            self.changed = True
        self._put(msgspec.structs.replace(told, asked_ns=now_ns, version=version))

    def seen(self, service: str, now_ns: int, within_ms: int) -> list[Told]:
        """The balancers that have polled a service of late."""
        oldest = now_ns - within_ms * 1_000_000
        return [each for each in self._told.values() if each.service == service and each.asked_ns >= oldest]

    def waiting(self, service: str, version: int, now_ns: int, within_ms: int) -> list[str]:
        """Balancers that poll but have not yet been given an answer that obeys orders of a version."""
        return sorted(each.balancer for each in self.seen(service, now_ns, within_ms) if each.version < version)

    def kept(self) -> list[Told]:
        """What a file has to hold: who is owed a `ready`."""
        return sorted(
            (each for each in self._told.values() if each.owed), key=lambda each: (each.service, each.balancer)
        )

    def _put(self, told: Told) -> None:
        self._told[told.service, told.balancer] = told

    def _enter(self, service: str, balancer: str, now_ns: int) -> Told:
        """A new balancer; when there are too many, the one goes that has asked longest ago, before those owed a word."""
        if len(self._told) >= BALANCERS_MAX:
            oldest = min(self._told.values(), key=lambda each: (each.owed > 0, each.asked_ns))
            del self._told[oldest.service, oldest.balancer]
        told = Told(service=service, balancer=balancer, asked_ns=now_ns)
        self._put(told)
        return told
