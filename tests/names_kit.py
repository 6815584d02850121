"""A small name server on loopback: a zone that a test changes while it is asked."""

from __future__ import annotations

import socket
import struct
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


def ports(tcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """A UDP socket, and a listener at the same port where TCP is wanted."""
    while True:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        if not tcp:
            return datagrams, None
        try:
            return datagrams, socket.create_server(datagrams.getsockname())
        except OSError:  # somebody has this one
            datagrams.close()


class NameServer:
    """Answers over UDP from `zone`: (name, type) to records as text. A name that the zone does not have is NXDOMAIN.

    extra: additional records of a name, each (name, type, text). rcodes: what a name gets instead. silent: names that
    get no answer at all. truncated: names whose answers say that they are cut; over TCP they are not. over_tcp: names asked so.
    """

    def __init__(self, *, tcp: bool = False) -> None:
        """tcp: answers there too, at the same port."""
        self._socket, self._listener = ports(tcp)
        self._socket.settimeout(0.1)
        self.port: int = self._socket.getsockname()[1]
        self.over_tcp: list[str] = []
        self.resets = 0
        """So many questions over TCP get a reset."""
        self.zone: dict[Key, list[str]] = {}
        self.extra: dict[str, list[tuple[str, str, str]]] = {}
        self.rcodes: dict[str, str] = {}
        self.silent: set[str] = set()
        self.truncated: set[str] = set()
        self.asked: Counter[Key] = Counter()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run)]
        if self._listener is not None:
            self._listener.settimeout(0.1)
            self._threads.append(threading.Thread(target=self._run_tcp, args=(self._listener,)))

    def __enter__(self) -> NameServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()
        if self._listener is not None:
            self._listener.close()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                data, peer = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            reply = self.answer(dns.message.from_wire(data))
            if reply is not None:
                self._socket.sendto(reply.to_wire(), peer)

    def _run_tcp(self, listener: socket.socket) -> None:
        """One question a connection."""
        while not self._done.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            with client, client.makefile("rwb") as stream:
                client.settimeout(10)
                if not (length := stream.read(2)):
                    continue  # it was given up
                query = dns.message.from_wire(stream.read(int.from_bytes(length)))
                self.over_tcp.append(query.question[0].name.to_text(omit_final_dot=True))
                if self.resets:
                    self.resets -= 1
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                reply = self.answer(query)
                assert reply is not None
                reply.flags &= ~dns.flags.TC
                wire = reply.to_wire()
                stream.write(len(wire).to_bytes(2) + wire)

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
