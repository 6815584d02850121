"""Readings to an answer: (settings, readings, now, what was before) -> (answer, what is remembered).

Pure, so that a replay, a test and the agent itself run the same lines; `now_ns` may be any clock that does not go back.

A weight goes through these, in this order:
1. each signal's curve, then `combine`, into what the load asks for;
2. smoothing, which needs the time since the last call and therefore the memory;
3. hysteresis on the *aim*, so that the next step cannot be held up by it half-way;
4. the largest step a second from what was said last towards the aim;
5. the slow start's ceiling after boot. It only rises, so it never makes a step down;
6. the floor and the rounding to whole per cents.
State is decided beside it, by conditions that must hold for a time and be gone for a time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import msgspec

from risefall.agent import curves
from risefall.agent.reading import Reading, Readings
from risefall.agent.settings import Condition, MaxConn, Missing, Op, Say, Service, Signal

COMPARE: dict[Op, Callable[[float, float], bool]] = {
    Op.LESS: operator.lt,
    Op.LESS_EQUAL: operator.le,
    Op.MORE: operator.gt,
    Op.MORE_EQUAL: operator.ge,
    Op.EQUAL: operator.eq,
    Op.OTHER: operator.ne,
}
ADMIN = (Say.MAINT, Say.DRAIN)
HEALTH = (Say.STOPPED, Say.DOWN, Say.FAIL)
"""Stronger words first."""


class Node(msgspec.Struct, frozen=True):
    """One step of what led to an answer: its name, what came out, and why; and what went in."""

    what: str
    value: str
    why: str = ""
    inner: tuple[Node, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """A condition's past: whether it compared so, since when, and whether its word is said."""

    holds: bool = False
    turned_ns: int | None = None
    active: bool = False


class Memory(msgspec.Struct, frozen=True):
    """What one call leaves to the next."""

    at_ns: int | None = None
    asked: float | None = None
    smooth: float | None = None
    aim: float | None = None
    said: float | None = None
    maxconn: int | None = None
    held: tuple[Held, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has to say of itself, before any operator's order.

    at_ns: age of the oldest number that it rests on; of the start, while one has never been read (`known` is False).
    health, admin: a word of a condition, None for none. weight_pct: 1..100. maxconn: for each balancer, 1 or more.
    """

    at_ns: int
    known: bool = True
    health: Say | None = None
    admin: Say | None = None
    weight_pct: int = 100
    maxconn: int | None = None
    reason: str = ""
    tree: Node = Node("answer", "")


def decide(
    service: Service,
    readings: Readings,
    now_ns: int,
    memory: Memory,
    *,
    started_ns: int = 0,
    boot_ns: int | None = None,
    balancers: int = 1,
) -> tuple[Answer, Memory]:
    """One evaluation.

    Args:
        readings: the last reading of each signal, by name; one that is not there has never been read.
        now_ns: not before `memory.at_ns`.
        started_ns: when this agent began to read.
        boot_ns: from when a slow start counts, on the same clock; None for none.
        balancers: how many poll, 0 counts as one.
    """
    elapsed = 0 if memory.at_ns is None else max(0, now_ns - memory.at_ns)
    at_ns, known = age(service, readings, started_ns, now_ns)
    weight, memory, tree = weigh(service, readings, now_ns, elapsed, memory, boot_ns, begun=known)
    maxconn: int | None = None
    limits: tuple[Node, ...] = ()
    if service.maxconn is not None:
        maxconn, node = limit(service, service.maxconn, readings, now_ns, memory.maxconn, balancers)
        limits = (node,)
    held = memory.held if len(memory.held) == len(service.state) else (Held(),) * len(service.state)
    held = tuple(
        judge(each, before, readings.get(each.signal), now_ns, service.stale_ms)
        for each, before in zip(service.state, held, strict=True)
    )
    health, admin, reason = words(service, readings, held)
    states = tuple(
        state_node(each, now, readings.get(each.signal), now_ns) for each, now in zip(service.state, held, strict=True)
    )
    answer = Answer(
        at_ns=at_ns,
        known=known,
        health=health,
        admin=admin,
        weight_pct=weight,
        maxconn=maxconn,
        reason=reason,
        tree=Node(
            "load and conditions", f"{weight}%", "", (tree, *limits, *states, *lacking(service, readings, now_ns))
        ),
    )
    return answer, msgspec.structs.replace(memory, at_ns=now_ns, maxconn=maxconn, held=held)


def age(service: Service, readings: Readings, started_ns: int, now_ns: int) -> tuple[int, bool]:
    """When the oldest number was measured that the answer must not do without, and whether all are known."""
    oldest, known = now_ns, True
    for signal in service.signal:
        if signal.missing is Missing.IGNORE:
            continue
        reading = readings.get(signal.name)
        if reading is None or reading.value is None:
            oldest, known = min(oldest, started_ns), False
        else:
            oldest = min(oldest, reading.at_ns)
    return oldest, known


def lacking(service: Service, readings: Readings, now_ns: int) -> tuple[Node, ...]:
    """The signals that make the answer stale or silent and stand nowhere else in the tree."""
    told_of = {condition.signal for condition in service.state}
    found = ((each, readings.get(each.name)) for each in service.signal if not each.curve and each.name not in told_of)
    return tuple(
        Node(each.name, "-", why_none(reading, now_ns))
        for each, reading in found
        if each.missing is Missing.STALE and (reading is None or reading.is_old(now_ns, service.stale_ms))
    )


def usable(signal: Signal, reading: Reading | None, now_ns: int, stale_ms: int) -> float | None:
    """A signal's number, unless there is none, or it is old and may be left out."""
    if reading is None or reading.value is None:
        return None
    if signal.missing is Missing.IGNORE and reading.is_old(now_ns, stale_ms):
        return None
    return reading.value


def weigh(
    service: Service,
    readings: Readings,
    now_ns: int,
    elapsed_ns: int,
    memory: Memory,
    boot_ns: int | None,
    *,
    begun: bool,
) -> tuple[int, Memory, Node]:
    """The weight in whole per cents, what is remembered of it, and how it came about.

    begun: all numbers are there. Before that nothing is said, and nothing may be remembered: the first weight is that of the
    first numbers, and no way down to it from full.
    """
    asked: list[tuple[float, float]] = []
    inner: list[Node] = []
    for signal in service.signal:
        reading = readings.get(signal.name)
        value = usable(signal, reading, now_ns, service.stale_ms)
        if not signal.curve:
            continue
        if value is None:
            inner.append(Node(signal.name, "-", why_none(reading, now_ns)))
            continue
        weight = max(0.0, min(curves.FULL_PCT, curves.at(signal.curve, value)))
        asked.append((weight, signal.share))
        inner.append(Node(signal.name, f"{weight:.1f}%", told(reading, now_ns)))
    floor = float(service.floor_pct)
    curved = any(signal.curve for signal in service.signal)
    nothing = not asked and curved and memory.smooth is not None
    raw = memory.smooth if nothing and memory.smooth is not None else curves.combined(service.combine, asked)
    smooth = curves.smoothed(memory.smooth, raw, elapsed_ns, service.smooth_ms)
    wanted = max(floor, min(curves.FULL_PCT, smooth))
    aim = curves.held(memory.aim, wanted, service.hysteresis_pct, (floor, curves.FULL_PCT))
    said = curves.stepped(memory.said, aim, elapsed_ns, service.step_pct)
    top = curves.FULL_PCT if boot_ns is None else curves.ramp(now_ns - boot_ns, service.slow_start_ms, floor)
    said = max(floor, min(said, top))
    if memory.smooth is not None or (begun and (asked or not curved)):
        memory = msgspec.structs.replace(memory, asked=raw, smooth=smooth, aim=aim, said=said)
    nodes = [
        Node("asked for", f"{raw:.1f}%", f"{service.combine.value} of {len(asked)}", tuple(inner)),
        Node("smoothed", f"{smooth:.1f}%", f"time constant {service.smooth_ms / 1000:g} s"),
        Node("aim", f"{aim:.1f}%", f"moves by {service.hysteresis_pct:g} or more"),
        Node("stepped", f"{said:.1f}%", f"at most {service.step_pct:g} a second"),
    ]
    if top < curves.FULL_PCT:
        nodes.append(Node("slow start", f"{top:.1f}%", f"{service.slow_start_ms / 1000:g} s after boot"))
    weight = max(service.floor_pct, int(said + 0.5))
    return weight, memory, Node("weight", f"{weight}%", f"floor {service.floor_pct}%", tuple(nodes))


def limit(
    service: Service, rule: MaxConn, readings: Readings, now_ns: int, before: int | None, balancers: int
) -> tuple[int | None, Node]:
    """`maxconn:` for each balancer; what it was before while the signal has no number. Never 0, which is no limit."""
    signal = next(each for each in service.signal if each.name == rule.signal)
    reading = readings.get(rule.signal)
    value = usable(signal, reading, now_ns, service.stale_ms)
    if value is None:
        return before, Node("maxconn", "-" if before is None else str(before), why_none(reading, now_ns))
    whole = curves.at(rule.curve, value)
    share = max(1, balancers) if rule.divide else 1
    result = max(1, int(whole / share))
    return result, Node("maxconn", str(result), f"{whole:.0f} for {share}, {rule.signal}: {told(reading, now_ns)}")


def judge(condition: Condition, before: Held, reading: Reading | None, now_ns: int, stale_ms: int) -> Held:
    """A condition at this time. A number that is not known changes nothing."""
    if condition.op is Op.FAILING:
        holds = reading is not None and (bool(reading.failure) or reading.is_old(now_ns, stale_ms))
    elif reading is None or reading.value is None or condition.value is None or reading.is_old(now_ns, stale_ms):
        return before
    else:
        holds = COMPARE[condition.op](reading.value, condition.value)
    turned = now_ns if before.turned_ns is None or holds != before.holds else before.turned_ns
    enough = condition.for_ms if holds else condition.clear_ms
    active = holds if now_ns - turned >= enough * 1_000_000 else before.active
    return Held(holds, turned, active)


def words(service: Service, readings: Readings, held: tuple[Held, ...]) -> tuple[Say | None, Say | None, str]:
    """The strongest words of the conditions that are active, and the reason of the first of them that matters most."""
    active = [each for each, now in zip(service.state, held, strict=True) if now.active]
    said = {each.say for each in active}
    health = next((word for word in HEALTH if word in said), None)
    admin = next((word for word in ADMIN if word in said), None)
    for word in (health, admin):
        for each in active:
            if each.say is word:
                return health, admin, each.reason or reason_of(each, readings.get(each.signal))
    return health, admin, ""


def reason_of(condition: Condition, reading: Reading | None) -> str:
    """A reason where the operator wrote none."""
    if reading is None:
        return condition.signal
    if condition.op is Op.FAILING:
        return f"{condition.signal} {reading.failure or 'too old'}"
    text = f" ({reading.text})" if reading.text else ""
    value = "" if reading.value is None else f" {reading.value:g}"
    return f"{condition.signal}{value}{text}"


def state_node(condition: Condition, now: Held, reading: Reading | None, now_ns: int) -> Node:
    """What became of one condition."""
    value = "" if condition.value is None else f" {condition.value:g}"
    test = f"{condition.signal} {condition.op.value}{value}"
    since = "" if now.turned_ns is None else f" for {(now_ns - now.turned_ns) / 1e9:.1f} s"
    state = "said" if now.active else "not said"
    return Node(
        condition.say.value,
        state,
        f"{test} is {str(now.holds).lower()}{since}",
        (Node(condition.signal, "", told(reading, now_ns)),),
    )


def told(reading: Reading | None, now_ns: int) -> str:
    """A reading in words."""
    if reading is None or reading.value is None:
        return why_none(reading, now_ns)
    text = f" ({reading.text})" if reading.text else ""
    failure = f"; since then: {reading.failure}" if reading.failure else ""
    return f"{reading.value:g}{text}, {(now_ns - reading.at_ns) / 1e9:.1f} s old{failure}"


def why_none(reading: Reading | None, now_ns: int) -> str:
    if reading is None:
        return "not read yet"
    if reading.value is not None:
        return f"too old: {(now_ns - reading.at_ns) / 1e9:.1f} s; {reading.failure or 'no newer reading'}"
    return reading.failure
