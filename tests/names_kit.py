"""A small name server on loopback: a zone that a test changes while it is asked."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from types import TracebackType

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Key = tuple[str, str]
TTL = 5


class NameServer:
    """Answers over UDP from `zone`: (name, type) to records as text. A name that the zone does not have is NXDOMAIN.

    extra: additional records of a name, each (name, type, text). rcodes: what a name gets instead. silent: names that
    get no answer at all. truncated: names whose answers say that they are cut.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.port: int = self._socket.getsockname()[1]
        self.zone: dict[Key, list[str]] = {}
        self.extra: dict[str, list[tuple[str, str, str]]] = {}
        self.rcodes: dict[str, str] = {}
        self.silent: set[str] = set()
        self.truncated: set[str] = set()
        self.asked: Counter[Key] = Counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                data, peer = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            reply = self.answer(dns.message.from_wire(data))
            if reply is not None:
                self._socket.sendto(reply.to_wire(), peer)

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """The reply to a query; None for silence."""
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if name in self.silent:
            return None
        reply = dns.message.make_response(query)
        records = self.zone.get((name, kind))
        if name in self.rcodes:
            reply.set_rcode(dns.rcode.from_text(self.rcodes[name]))
        elif records:
            reply.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *records))
            for extra, extra_kind, text in self.extra.get(name, ()):
                reply.additional.append(dns.rrset.from_text(f"{extra}.", TTL, "IN", extra_kind, text))
        elif not any(known == name for known, _ in list(self.zone)):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if name in self.truncated:
            reply.flags |= dns.flags.TC
        return reply
