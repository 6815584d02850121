"""What is said of a service: operator's orders, conditions and load in one line.

Only the agent can undo its own words. HAProxy keeps what an answer does not mention, so `up` or `down`, the weight and
`maxconn:` are in every answer. Who is to hear `ready` besides, and how often, is the answerer's (native/answer_words.h).
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
READY = "ready"
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

    Args: admin_word: `drain`, `maint`, `ready` or nothing.
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
