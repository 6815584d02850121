"""All that decides what is said, in one place without clock, socket or disk.

Whoever reads signals calls `put`, and `refresh` at its pace; whoever takes orders calls `give` and `release`; whoever
speaks asks for the `part` of a service. Two clocks are passed in: `now_ns` never goes back and is for readings;
`wall_ns` survives reboots and is for orders.
"""

from __future__ import annotations

import msgspec

from risefall.agent.leases import Book, Order, Slot
from risefall.agent.reading import Reading, latest
from risefall.agent.rules import ADMIN, Answer, Held, Memory, Node, decide
from risefall.agent.settings import Say, Service, Settings
from risefall.agent.standing import Standing, standing_of
from risefall.agent.words import Part, render_line, resolve

CLOSING = "agent stops"


class Counter:
    """What stands at one service's counter: its readings, its past and its present answer."""

    def __init__(self, service: Service, started_ns: int) -> None:
        self.service = service
        self.readings: dict[str, Reading] = {}
        self.memory = Memory()
        self.answer = Answer(at_ns=started_ns, known=False, tree=Node("load and conditions", "-", "not read yet"))
        self.balancers = 0
        self.version = 1
        """Of the orders; a balancer that was given an answer of this version knows them all."""


class Desk:
    """The services of an agent and its orders."""

    def __init__(
        self,
        settings: Settings,
        book: Book,
        *,
        started_ns: int,
        boot_ns: int | None = None,
    ) -> None:
        self.settings = settings
        self.book = book
        self._started_ns = started_ns
        self._boot_ns = boot_ns
        self._counters = {name: Counter(service, started_ns) for name, service in settings.service.items()}
        self.closing: Say | None = None
        """The word of an agent that is about to go."""

    def adopt(self, before: Desk, now_ns: int) -> None:
        """Goes on where a desk of other settings was: numbers of the same signals, and what weights and conditions have behind
        them. The orders are one book already.
        """
        self.closing = before.closing
        for name, counter in self._counters.items():
            old = before._counters.get(name)
            if old is None:
                continue
            same = {signal.name for signal in counter.service.signal if signal in old.service.signal}
            counter.readings = {key: reading for key, reading in old.readings.items() if key in same}
            counter.version, counter.balancers = old.version, old.balancers
            past = dict(zip(old.service.state, old.memory.held, strict=False))
            held = tuple(past.get(condition, Held()) for condition in counter.service.state)
            counter.memory = msgspec.structs.replace(old.memory, held=held)
            self.refresh(name, now_ns)

    # --- readings and orders

    def put(self, service: str, signal: str, reading: Reading) -> None:
        """Takes one reading."""
        readings = self._counters[service].readings
        readings[signal] = latest(readings.get(signal), reading)

    def count(self, service: str, balancers: int) -> None:
        """How many poll a service: they share its `maxconn:`."""
        self._counters[service].balancers = balancers

    def refresh(self, service: str, now_ns: int) -> Answer:
        """Decides anew what a service has to say."""
        counter = self._counters[service]
        counter.answer, counter.memory = decide(
            counter.service,
            counter.readings,
            now_ns,
            counter.memory,
            started_ns=self._started_ns,
            boot_ns=self._boot_ns,
            balancers=counter.balancers,
        )
        return counter.answer

    def give(self, order: Order) -> Order | None:
        """Takes an operator's order; returns the one whose place it took. One on a service that is not known waits in the book."""
        self._ordered(order.service)
        return self.book.give(order)

    def release(self, service: str, slot: Slot) -> Order | None:
        """Ends an order before its time."""
        self._ordered(service)
        return self.book.release(service, slot)

    def _ordered(self, service: str) -> None:
        """Balancers have something to hear."""
        if service in self._counters:
            self._counters[service].version += 1

    def expire(self, wall_ns: int) -> list[Order]:
        """Takes out the orders that have ended. Those on services that the settings no longer know end here too."""
        ended = self.book.expire(wall_ns)
        for order in ended:
            self._ordered(order.service)
        return ended

    def version(self, service: str) -> int:
        """Of the orders on a service: another one whenever they have changed."""
        return self._counters[service].version

    # --- answers

    def stale_at_ns(self, service: str) -> int:
        """The last moment at which the numbers of the present answer may be said."""
        counter = self._counters[service]
        return counter.answer.at_ns + counter.service.stale_ms * 1_000_000

    def part(self, service: str, now_ns: int, wall_ns: int) -> Part | None:
        """What a service has to say now, to whomever; None is silence. An agent that is about to go says so first."""
        counter = self._counters[service]
        part = resolve(counter.service, counter.answer, self.book.standing(service, wall_ns), now_ns)
        if self.closing is None:
            return part
        part = part or Part()
        if self.closing in ADMIN:
            return msgspec.structs.replace(part, admin=self.closing.value, reason=CLOSING)
        return msgspec.structs.replace(part, health=self.closing.value, reason=CLOSING)

    # --- what others ask

    def standing(self, service: str, now_ns: int, wall_ns: int) -> Standing:
        """How a service stands, for those who do not speak HAProxy's words."""
        return standing_of(service, self.part(service, now_ns, wall_ns))

    def services(self) -> list[str]:
        return list(self._counters)

    def readings(self, service: str) -> dict[str, Reading]:
        """The last reading of each signal."""
        return dict(self._counters[service].readings)

    def explain(self, service: str, now_ns: int, wall_ns: int) -> Node:
        """The tree of what led to the present answer: orders, then conditions and load."""
        part = self.part(service, now_ns, wall_ns)
        line = "(silence)" if part is None else render_line(part, part.admin or "").decode("ascii").strip()
        answer = self._counters[service].answer
        old = "" if not answer.known else f", numbers {(now_ns - answer.at_ns) / 1e9:.1f} s old"
        orders = tuple(
            Node(f"order {order.word.value}", "" if order.weight_pct is None else f"{order.weight_pct}%",
                 ", ".join(text for text in (order.who, order.reason) if text))
            for order in self.book.standing(service, wall_ns)
        )  # fmt: skip
        return Node(
            service, line, f"limit {self._counters[service].service.stale_ms / 1000:g} s{old}", (*orders, answer.tree)
        )
