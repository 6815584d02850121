"""Asks name servers while the checks run; what follows from their answers, `state.resolution` decides.

One task for each `resolvers` section that servers use, and below it one for each name server, which takes its replies; a
name server that is asked over TCP has one for each question. A section needs one descriptor for a name server, however many
names there are: descriptors belong to the checks. What changes goes the way of a command's effects.
"""

from __future__ import annotations

import ipaddress
import math
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import dns.asyncquery
import dns.entropy
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec
import trio
from dns.asyncbackend import get_backend

from risefall.config.haproxy.model import Address, Family, NameServer, Resolvers
from risefall.daemon.join import Join, now_ms
from risefall.daemon.report import Report
from risefall.state.answers import Answer, Kind, Outcome, Service
from risefall.state.resolution import Ask, Resolving, Wish
from risefall.surfaces.resolvers import Tally

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
PAYLOAD_MAX = 65535
REPLIES_MAX = 64
"""Replies that are taken before other tasks get their turn."""
STREAMS_MAX = 16
"""Connections to name servers that are asked over TCP, of one section; what waits too long is asked again."""

Fault = Callable[[str], None]
Answered = Callable[[Ask, Answer, NameServer], None]


def machine_servers(path: Path = RESOLV_CONF) -> list[NameServer]:
    """The name servers of resolv.conf, named by their address as in HAProxy. Raises: OSError."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if words[:1] != ["nameserver"] or len(words) < 2:
            continue
        try:
            address = ipaddress.ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        family = Family.IPV4 if address.version == 4 else Family.IPV6
        found.append(NameServer(words[1], Address(family, words[1], PORT)))
    return found


class Link:
    """One name server, asked over UDP. Its port is the kernel's choice, its numbers are random, and the kernel lets through
    only what comes from where it was asked; a reply counts if its number and question are those of a question that waits.
    """

    def __init__(self, nameserver: NameServer, payload_bytes: int, counts: Counter[str], fault: Fault) -> None:
        self.nameserver = nameserver
        self._counts = counts
        self.answered: Answered | None = None
        self._payload_bytes = payload_bytes
        self._fault = fault
        self._waiting: dict[int, tuple[Ask, dns.message.QueryMessage]] = {}
        self._numbers: dict[int, int] = {}
        """The number of the question that a resolution asked last: it can wait for one only, so this is bounded."""
        self._socket = inet_socket(nameserver.address)

    def close(self) -> None:
        self._socket.close()

    def ask(self, ask: Ask) -> None:
        """Sends a question; what the last one of the same resolution would bring is void."""
        self._waiting.pop(self._numbers.pop(ask.number, -1), None)
        query = query_of(ask, self._payload_bytes)
        while query.id in self._waiting:
            query.id = dns.entropy.random_16()
        try:
            self._socket.send(query.to_wire())
        except OSError as error:
            self._counts["snd_error"] += 1
            self._fault(f"cannot ask {self.nameserver.name}: {error.strerror}")
            return
        self._counts["sent"] += 1
        self._waiting[query.id] = ask, query
        self._numbers[ask.number] = query.id

    async def run(self) -> None:
        """Takes replies until cancelled, in the order in which they came."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(REPLIES_MAX):
                try:
                    data = self._socket.recv(PAYLOAD_MAX)
                except BlockingIOError:
                    break
                except OSError as error:  # an ICMP message: nobody listens there
                    self._fault(f"cannot ask {self.nameserver.name}: {error.strerror}")
                    continue
                self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            reply = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError) as error:
            self._counts["invalid"] += 1
            self._fault(f"{self.nameserver.name} sent what is no answer: {error or type(error).__name__}")
            return
        ask, query = self._waiting.get(reply.id, (None, None))
        if ask is None or query is None or not query.is_response(reply):
            self._counts["outdated"] += 1
            return
        del self._waiting[reply.id], self._numbers[ask.number]
        assert self.answered is not None
        self.answered(ask, read_answer(reply, ask.kind), self.nameserver)


class Resolver:
    """One `resolvers` section at work."""

    def __init__(self, settings: Resolvers, wishes: list[Wish], join: Join, report: Report, tally: Tally) -> None:
        """Opens a socket for each name server, and reads the machine's own ones where the section asks for them.

        tally: counts what is asked, for `show resolvers`.
        """
        self.settings = settings
        self._tally = tally
        self._join = join
        self._report = report
        self._faults: set[str] = set()
        nameservers = [*settings.nameservers, *self._machine_servers()]
        self._links = [link for one in nameservers if not one.stream and (link := self._link(one))]
        self._streams = [one for one in nameservers if one.stream]
        self._count = len(self._links) + len(self._streams)
        if not self._count:
            report.say(f"resolvers {settings.name}: no name server to ask, so names stay as they are")
        self.policy = Resolving(settings, wishes, join.fleet, now_ms(), self._count)
        self._limit = trio.CapacityLimiter(STREAMS_MAX)
        self._news = trio.Event()

    def _machine_servers(self) -> list[NameServer]:
        if not self.settings.parse_resolv_conf:
            return []
        try:
            return machine_servers()
        except OSError as error:
            self._fault(f"cannot read {RESOLV_CONF}: {error.strerror}")
            return []

    def _link(self, nameserver: NameServer) -> Link | None:
        try:
            return Link(nameserver, self.settings.payload_bytes, self._counts(nameserver), self._fault)
        except OSError as error:
            self._fault(f"name server {nameserver.name} is left out: {error.strerror}")
            return None

    def rename(self, index: int, name: str) -> None:
        """A server has another name now."""
        self.policy.rename(index, name, now_ms())
        self._news.set()

    async def run(self) -> None:
        """Asks until cancelled."""
        if not self._count:
            return
        try:
            async with trio.open_nursery() as nursery:
                for link in self._links:
                    link.answered = partial(self._heard, nursery)
                    nursery.start_soon(link.run)
                await self._ask_what_is_due(nursery)
        finally:
            for link in self._links:
                link.close()

    async def _ask_what_is_due(self, nursery: trio.Nursery) -> None:
        while True:
            asks, effects = self.policy.step(now_ms())
            self._join.apply(effects)
            self._ask(nursery, asks)
            due = self.policy.due_ms()
            self._news = trio.Event()
            with trio.move_on_after(math.inf if due is None else max(0, due - now_ms()) / 1000):
                await self._news.wait()

    def _ask(self, nursery: trio.Nursery, asks: Sequence[Ask]) -> None:
        for ask in asks:
            for link in self._links:
                link.ask(ask)
            for nameserver in self._streams:
                self._counts(nameserver)["sent"] += 1
                nursery.start_soon(self._ask_stream, nursery, ask, nameserver)

    def _answered(self, nursery: trio.Nursery, ask: Ask, answer: Answer, nameserver: NameServer) -> None:
        self._faults.clear()
        counts = self._counts(nameserver)
        if not self.policy.waits_for(ask):
            counts["outdated"] += 1
            return
        who = f"{self.settings.name}/{nameserver.name}"
        asks, effects = self.policy.answer(ask, answer, who, now_ms())
        counts[answer.count] += 1
        counts["update"] += sum(line.text.endswith(f" by {who}.") for line in effects.lines)
        self._join.apply(effects)
        self._ask(nursery, asks)
        self._news.set()

    def _heard(self, nursery: trio.Nursery, ask: Ask, answer: Answer, nameserver: NameServer) -> None:
        """What came over UDP; where it is cut, and TCP may be tried, that decides."""
        may = self._join.fleet.dialect.dns_over_tcp and not nameserver.datagram
        if not (answer.cut and may and self.policy.waits_for(ask)):
            self._answered(nursery, ask, answer, nameserver)
            return
        counts = self._counts(nameserver)
        counts["truncated"] += 1
        counts["tcp_fallback"] += 1
        nursery.start_soon(self._ask_stream, nursery, ask, nameserver)

    async def _ask_stream(self, nursery: trio.Nursery, ask: Ask, nameserver: NameServer) -> None:
        """One question over TCP, on a connection of its own; it is given up when it would be asked again."""
        query, to = query_of(ask, self.settings.payload_bytes), nameserver.address
        with trio.move_on_after(self.settings.retry_ms / 1000) as limit:
            async with self._limit:
                try:
                    reply = await dns.asyncquery.tcp(query, to.host, port=to.port, backend=get_backend("trio"))
                except (OSError, trio.BrokenResourceError, dns.exception.DNSException, EOFError, ValueError) as error:
                    self._fault(f"{nameserver.name} was asked over TCP, and failed: {error or type(error).__name__}")
                    return
            self._answered(nursery, ask, read_answer(reply, ask.kind), nameserver)
        if limit.cancelled_caught:
            self._fault(f"{nameserver.name} was asked over TCP, and did not answer in time")

    def _counts(self, nameserver: NameServer) -> Counter[str]:
        return self._tally.nameservers.setdefault(nameserver.name, Counter())

    def _fault(self, text: str) -> None:
        """Told once, until something works again."""
        if text not in self._faults:
            self._faults.add(text)
            self._report.say(f"resolvers {self.settings.name}: {text}")


def inet_socket(to: Address) -> socket.socket:
    """A UDP socket that hears one address alone. Raises: OSError."""
    made = socket.socket(socket.AF_INET if to.family is Family.IPV4 else socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.connect(socket.getaddrinfo(to.host, to.port, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError:
        made.close()
        raise
    return made


def query_of(ask: Ask, payload_bytes: int) -> dns.message.QueryMessage:
    query = dns.message.make_query(ask.name, dns.rdatatype.RdataType.make(ask.kind))
    query.use_edns(payload=payload_bytes)
    return query


def read_answer(reply: dns.message.Message, kind: Kind) -> Answer:
    """A reply as the policy takes it."""
    found = _read_answer(reply, kind)
    return msgspec.structs.replace(found, cut=True) if reply.flags & dns.flags.TC else found


def _read_answer(reply: dns.message.Message, kind: Kind) -> Answer:
    """Anything that is no plain answer to the question is `OTHER`."""
    match reply.rcode():
        case dns.rcode.NXDOMAIN:
            return Answer(Outcome.NX, count="nx")
        case dns.rcode.REFUSED:
            return Answer(Outcome.REFUSED, count="refused")
        case dns.rcode.NOERROR if kind is Kind.SRV or not reply.flags & dns.flags.TC:
            pass  # HAProxy takes what a cut answer has of SRV records
        case code:
            return Answer(Outcome.OTHER, count="truncated" if code == dns.rcode.NOERROR else "other")
    if not reply.answer:
        return Answer(Outcome.OTHER, count="any_err")
    try:
        assert isinstance(reply, dns.message.QueryMessage)
        found = reply.resolve_chaining().answer
    except dns.exception.DNSException:
        return Answer(Outcome.OTHER, count="cname_error")
    if found is None:
        return Answer(Outcome.OTHER, count="other")
    if kind is not Kind.SRV:
        return Answer(Outcome.VALID, addresses=tuple(packed_of(record) for record in found))
    services = tuple(Service(name_of(record.target), record.port, record.weight) for record in found)
    additional = tuple(
        (name_of(rrset.name), packed_of(record))
        for rrset in reply.additional
        if rrset.rdclass == dns.rdataclass.IN and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    )
    return Answer(Outcome.VALID, services=services, additional=additional)


def packed_of(record: object) -> bytes:
    """The address of an A or AAAA record."""
    text = getattr(record, "address", "")
    return ipaddress.ip_address(text).packed


def name_of(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
