"""Where what the desk has decided becomes what the answerer says, and what the answerer has told comes back.

The answerer (C) picks a line for each connection without asking here; this keeps its lines fresh. A line comes with the
one that takes its place once its numbers are too old, so that a Python that hangs is no excuse for an old answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from risefall.agent.desk import Desk
from risefall.agent.settings import Say
from risefall.agent.words import READY, SERVING, Part, render_line
from risefall.engine.answerer import TAG_MAX, Answerer, Lines, Peer, Told

MS = 1_000_000
TAKES = (Say.DRAIN.value, Say.MAINT.value)


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file says of one balancer: how often it has to hear `ready` yet, and when it polled (wall clock)."""

    service: str
    balancer: str
    owed: int = 0
    asked_ms: int = 0


def lines_of(part: Part | None, admin: str, *, quiet_drain: bool = False) -> tuple[bytes, bytes]:
    """A part as the answerer takes it, usual and for who has something to hear once; nothing for silence.

    quiet_drain: a server that is drained hears its weight once. Each time HAProxy hears one then it logs "remains in forced
    drain mode" (2.6.12), and a weight does nothing until the drain ends, when it is said again.
    """
    if part is None:
        return b"", b""
    usual = msgspec.structs.replace(part, weight_pct=None) if quiet_drain and admin == Say.DRAIN.value else part
    return line_of(usual, admin), line_of(part, admin or READY)


def line_of(part: Part, word: str) -> bytes:
    """A part without its end."""
    return render_line(part, word).rstrip(b"\n")


class Voice:
    """The services of a desk as the answerer says them; their numbers there are their places here."""

    def __init__(self, desk: Desk, answerer: Answerer) -> None:
        self.desk = desk
        self._answerer = answerer
        self._names = desk.services()
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def number(self, name: str) -> int:
        return self._numbers[name]

    # --- what is said

    def freshen(self, name: str, now_ns: int, wall_ns: int) -> None:
        """Puts a service's present words into the answerer. Raises: NativeError."""
        limit_ns = self.desk.stale_at_ns(name)
        fresh, stale = (self.desk.part(name, at_ns, wall_ns) for at_ns in (now_ns, max(now_ns, limit_ns + 1)))
        admin = next((part.admin or SERVING for part in (fresh, stale) if part is not None), SERVING)
        takes = self.desk.settings.service[name].ready_polls if admin in TAKES else 0
        quiet = self.desk.settings.agent.quiet_drain
        usual, old = (lines_of(part, admin, quiet_drain=quiet) for part in (fresh, stale))
        lines = Lines(*usual, *old, takes)
        self._answerer.say(self._numbers[name], lines, word=self.desk.version(name), good_until_ns=max(0, limit_ns))

    def ask(self, name: str, peer: Peer, now_ns: int, *, sent: bool = True) -> bytes:
        """What a balancer would be told, noted as told. sent: whether it arrived. Raises: NativeError."""
        return self._answerer.ask(peer, self._numbers[name], now_ns, sent=sent)

    # --- who was told what

    def drain(self) -> bool:
        """Takes what was told out of the answerer; whether there was something."""
        found = False
        while self._answerer.drain():
            found = True
        return found

    def polling(self, now_ns: int) -> dict[str, list[Told]]:
        """For each service, the balancers that have polled it of late."""
        oldest = now_ns - self.desk.settings.agent.seen_ms * MS
        found: dict[str, list[Told]] = {name: [] for name in self._names}
        for told in sorted(self._answerer.peers(), key=lambda told: str(told.peer)):
            if told.at_ns and told.at_ns >= oldest:
                found[self._names[told.service]].append(told)
        return found

    def count(self, now_ns: int) -> None:
        """Tells the desk how many poll each service."""
        for name, several in self.polling(now_ns).items():
            self.desk.count(name, len(several))

    def waiting(self, name: str, now_ns: int) -> list[str]:
        """Balancers that poll a service and have not been given an answer that obeys its present orders."""
        version = self.desk.version(name)
        return [str(told.peer) for told in self.polling(now_ns)[name] if told.word != version]

    def unknown(self) -> str:
        """Who last asked for what is no service here, as it is told to an operator; "" while nobody has."""
        found = self._answerer.unknown()
        if found is None:
            return ""
        address, word, number = found
        instead = "gets no answer" if number is None else f"is answered for '{self._names[number]}'"
        return f"{address} asks for '{word}', which is no service of its port, and {instead}; services: {', '.join(self._names)}"

    # --- what outlives this process

    def kept(self, now_ns: int, wall_ns: int) -> list[Kept]:
        """Who is owed a `ready`, and who has polled of late."""
        oldest = now_ns - self.desk.settings.agent.seen_ms * MS
        return [
            Kept(
                service=self._names[told.service],
                balancer=str(told.peer),
                owed=told.owed,
                asked_ms=(wall_ns - (now_ns - told.at_ns)) // MS if told.at_ns else 0,
            )
            for told in sorted(self._answerer.peers(), key=lambda told: (told.service, str(told.peer)))
            if told.owed or told.at_ns >= oldest
        ]

    def remember(self, kept: Iterable[Kept], now_ns: int, wall_ns: int) -> None:
        """Puts back what an earlier run has kept; services that are gone are passed over."""
        for one in kept:
            address, _, tag = one.balancer.partition(" ")
            try:
                peer = Peer(ipaddress.ip_address(address), tag[:TAG_MAX])
            except ValueError:
                continue
            if one.service not in self._numbers:
                continue
            at_ns = now_ns - max(0, wall_ns - one.asked_ms * MS) if one.asked_ms else 0
            self._answerer.remember(Told(peer, self._numbers[one.service], owed=one.owed, at_ns=max(0, at_ns)))
