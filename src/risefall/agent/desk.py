"""All that decides what is said, in one place without clock, socket or disk: what a listener asks and what it reports.

A listener calls `choose` with what came in, `speak` for the line, sends it, and then `sent`. Whoever reads signals calls
`put`, and `refresh` at its pace; whoever takes orders calls `give` and `release`. Two clocks are passed in: `now_ns`
never goes back and is for readings; `wall_ns` survives reboots and is for orders and for who polls.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from risefall.agent.leases import Book, Order, Slot
from risefall.agent.reading import Reading, latest
from risefall.agent.rules import ADMIN, Answer, Memory, Node, decide
from risefall.agent.settings import Say, Service, Settings
from risefall.agent.words import SERVING, Ledger, Part, render_line, resolve

TAG_MAX = 64
CLOSING = "agent stops"


class Spoken(msgspec.Struct, frozen=True):
    """What is to be sent to a balancer; line None: nothing, the connection is just closed."""

    service: str
    balancer: str
    line: bytes | None
    word: str = ""
    version: int = 0


class Counter:
    """What stands at one service's counter: its readings, its past and its present answer."""

    def __init__(self, service: Service, started_ns: int) -> None:
        self.service = service
        self.readings: dict[str, Reading] = {}
        self.memory = Memory()
        self.answer = Answer(at_ns=started_ns, known=False, tree=Node("load and conditions", "-", "not read yet"))
        self.version = 0
        """Of the orders; a balancer that was given an answer of this version knows them all."""


class Desk:
    """The services of an agent, its orders, and what each balancer was told."""

    def __init__(
        self,
        settings: Settings,
        book: Book,
        ledger: Ledger,
        *,
        started_ns: int,
        boot_ns: int | None = None,
    ) -> None:
        self.settings = settings
        self.book = book
        self.ledger = ledger
        self._started_ns = started_ns
        self._boot_ns = boot_ns
        self._counters = {name: Counter(service, started_ns) for name, service in settings.service.items()}
        self._words = {(service.send or name): name for name, service in settings.service.items()}
        self.closing: Say | None = None
        """The word of an agent that is about to go."""
        self._default = next((name for name, each in settings.service.items() if each.default), None)

    # --- readings and orders

    def put(self, service: str, signal: str, reading: Reading) -> None:
        """Takes one reading."""
        readings = self._counters[service].readings
        readings[signal] = latest(readings.get(signal), reading)

    def refresh(self, service: str, now_ns: int, wall_ns: int) -> Answer:
        """Decides anew what a service has to say."""
        counter = self._counters[service]
        counter.answer, counter.memory = decide(
            counter.service,
            counter.readings,
            now_ns,
            counter.memory,
            started_ns=self._started_ns,
            boot_ns=self._boot_ns,
            balancers=len(self.ledger.seen(service, wall_ns, self.settings.agent.seen_ms)),
        )
        return counter.answer

    def give(self, order: Order) -> Order | None:
        """Takes an operator's order; returns the one whose place it took. Raises KeyError for an unknown service."""
        self._counters[order.service].version += 1
        return self.book.give(order)

    def release(self, service: str, slot: Slot) -> Order | None:
        """Ends an order before its time."""
        self._counters[service].version += 1
        return self.book.release(service, slot)

    def expire(self, wall_ns: int) -> list[Order]:
        """Takes out the orders that have ended. Those on services that the settings no longer know end here too."""
        ended = self.book.expire(wall_ns)
        for order in ended:
            if order.service in self._counters:
                self._counters[order.service].version += 1
        return ended

    def waiting(self, service: str, wall_ns: int) -> list[str]:
        """Balancers that poll a service and do not know its present orders yet."""
        return self.ledger.waiting(service, self._counters[service].version, wall_ns, self.settings.agent.seen_ms)

    # --- answers

    def choose(self, sent: bytes, source: str, only: Iterable[str] | None = None) -> tuple[str, str] | None:
        """Whom a balancer asks for, and under which name it is remembered; None: there is no such service.

        Args:
            sent: what came in; its first word names the service, a second one tells apart several servers of one
                HAProxy that poll the same service (`agent-send "app web-backend\\n"`): each is drained by itself.
            source: the address it came from.
            only: the services of the port it came to; None for all.
        """
        names = None if only is None else list(only)
        words = sent.split(b"\n", 1)[0].decode("ascii", "replace").split()
        name = self._words.get(words[0]) if words else None
        if name is None or (names is not None and name not in names):
            name = self._fallback(names)
        if name is None:
            return None
        return name, f"{source} {words[1][:TAG_MAX]}" if len(words) > 1 else source

    def _fallback(self, names: list[str] | None) -> str | None:
        """The service for who asks for none: the only one of its port, else the default one."""
        known = list(self._counters) if names is None else names
        if len(known) == 1:
            return known[0]
        return self._default if self._default in known else None

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

    def speak(self, service: str, balancer: str, now_ns: int, wall_ns: int) -> Spoken:
        """The line for a balancer. What it must hear taken back later is noted before it is sent."""
        counter = self._counters[service]
        part = self.part(service, now_ns, wall_ns)
        if part is None:
            return Spoken(service, balancer, None)
        word = self.ledger.word(service, balancer, part.admin or SERVING)
        self.ledger.before(service, balancer, word, counter.service.ready_polls, wall_ns)
        return Spoken(service, balancer, render_line(part, word), word, counter.version)

    def sent(self, spoken: Spoken, wall_ns: int) -> None:
        """Notes that a line was sent whole."""
        if spoken.line is not None:
            self.ledger.after(spoken.service, spoken.balancer, spoken.word, wall_ns, spoken.version)

    # --- what people ask

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
        return Node(service, line, f"limit {self._counters[service].service.stale_ms} ms{old}", (*orders, answer.tree))
