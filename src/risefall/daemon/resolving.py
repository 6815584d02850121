"""Asks name servers while the checks run; what follows from their answers, `state.resolution` decides.

One task for each `resolvers` section that servers use, and below it one for each question and name server, which ends
with its answer or after `timeout retry`. Each question has a socket, and so a port, of its own: an answer is believed only
if it comes from where it was asked and repeats number and question. What changes goes the way of a command's effects.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import trio
from dns.asyncbackend import get_backend

from risefall.config.haproxy.model import Address, Family, NameServer, Resolvers
from risefall.daemon.join import Join, now_ms
from risefall.daemon.report import Report
from risefall.state.answers import Answer, Kind, Outcome, Service
from risefall.state.resolution import Ask, Resolving, Wish

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
AT_ONCE = 256
"""Questions under way, of one section; what is beyond waits, and is asked late."""


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


class Resolver:
    """One `resolvers` section at work."""

    def __init__(self, settings: Resolvers, wishes: list[Wish], join: Join, report: Report) -> None:
        self.settings = settings
        self.nameservers = list(settings.nameservers)
        self._join = join
        self._report = report
        if settings.parse_resolv_conf:
            try:
                self.nameservers += machine_servers()
            except OSError as error:
                report.say(f"resolvers {settings.name}: cannot read {RESOLV_CONF}: {error.strerror}")
        if not self.nameservers:
            report.say(f"resolvers {settings.name}: no name server to ask, so names stay as they are")
        self.policy = Resolving(settings, wishes, join.fleet, now_ms(), len(self.nameservers))
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._news = trio.Event()
        self._faults: set[str] = set()

    async def run(self) -> None:
        """Asks until cancelled."""
        async with trio.open_nursery() as nursery:
            while self.nameservers:
                now = now_ms()
                asks, effects = self.policy.step(now)
                self._join.apply(effects)
                self._start(nursery, asks)
                due = self.policy.due_ms()
                self._news = trio.Event()
                with trio.move_on_after(max(0, due - now_ms()) / 1000) if due is not None else trio.CancelScope():
                    await self._news.wait()

    def _start(self, nursery: trio.Nursery, asks: Sequence[Ask]) -> None:
        for ask in asks:
            for nameserver in self.nameservers:
                nursery.start_soon(self._ask, nursery, ask, nameserver)

    async def _ask(self, nursery: trio.Nursery, ask: Ask, nameserver: NameServer) -> None:
        """One question to one name server."""
        answer = None
        async with self._limit:
            with trio.move_on_after(self.settings.retry_ms / 1000):
                answer = await self._exchange(ask, nameserver)
        if answer is None:
            return
        who = f"{self.settings.name}/{nameserver.name}"
        asks, effects = self.policy.answer(ask, answer, who, now_ms())
        self._join.apply(effects)
        self._start(nursery, asks)
        self._news.set()

    async def _exchange(self, ask: Ask, nameserver: NameServer) -> Answer | None:
        """What came back; None when nothing that could be read did."""
        try:
            query = dns.message.make_query(ask.name, dns.rdatatype.RdataType.make(ask.kind))
            query.use_edns(payload=self.settings.payload_bytes)
            to = nameserver.address
            if nameserver.stream:
                reply = await dns.asyncquery.tcp(query, to.host, port=to.port, backend=get_backend("trio"))
            else:
                reply = await dns.asyncquery.udp(
                    query,
                    to.host,
                    port=to.port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                    backend=get_backend("trio"),
                )
        except OSError as error:
            self._fault(f"cannot ask {nameserver.name}: {error.strerror or error}")
            return None
        except (dns.exception.DNSException, EOFError, ValueError) as error:
            self._fault(f"{nameserver.name} was asked for {ask.name}, and failed: {error or type(error).__name__}")
            return None
        self._faults.clear()
        return read_answer(reply, ask.kind)

    def _fault(self, text: str) -> None:
        """Told once, until something works again."""
        if text not in self._faults:
            self._faults.add(text)
            self._report.say(f"resolvers {self.settings.name}: {text}")


def read_answer(reply: dns.message.Message, kind: Kind) -> Answer:
    """A reply as the policy takes it. Anything that is no plain answer to the question is `OTHER`."""
    match reply.rcode():
        case dns.rcode.NXDOMAIN:
            return Answer(Outcome.NX)
        case dns.rcode.REFUSED:
            return Answer(Outcome.REFUSED)
        case dns.rcode.NOERROR if not reply.flags & dns.flags.TC:
            pass
        case _:
            return Answer(Outcome.OTHER)
    try:
        assert isinstance(reply, dns.message.QueryMessage)
        found = reply.resolve_chaining().answer
    except dns.exception.DNSException:
        return Answer(Outcome.OTHER)
    if found is None:
        return Answer(Outcome.OTHER)
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
