"""Names at run time, as HAProxy's `resolvers` have it: what is asked when, which answer is believed, who gets which address.

Servers with the same name and the same preferred family share a *resolution*; a `server-template` of an SRV name shares
one too, whose records fill its servers with target, port and weight, and each target is a name again unless its address
came along. A resolution runs (asked, answers awaited), then waits `timeout resolve`, whatever came of it. All name
servers are asked at once: the first good answer counts, a bad one only when all are in. A bad answer is followed by the
other address family at once, and that by the next try after `timeout retry`.

A bad end leaves addresses alone until the last good answer is older than the `hold` of its kind; then the servers go into
MAINT (resolution) and have no address. In a good answer, a server keeps its address while it is there. Otherwise it gets
the best one that no other server of its proxy has (`resolve-opts allow-dup-ip` lifts that), or none.

Nothing here sleeps, sends or looks at a clock. Source: resolvers.c and server.c of 2.6; every line and figure was run on
2.6.12. Differs: a failing check does not start a resolution before its time.
"""

from __future__ import annotations

import heapq
import ipaddress
from collections.abc import Iterator

import msgspec

from risefall.config.haproxy.model import Resolvers
from risefall.state.answers import REMOVED, Answer, Item, Kind, Outcome, Records, Service, kind_of
from risefall.state.fleet import Effects, Fleet, Work
from risefall.state.moving import changes_fqdn, changes_ip, move, ready
from risefall.state.server import Admin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ASKS_MAX = 128
"""Questions of one step: thousands of names must not keep the news of checks waiting."""
DIVISOR = 256
"""SRV weights go to 65535, HAProxy's to 256."""


class Wish(msgspec.Struct, frozen=True):
    """What one server wants of its resolvers. name: that of the file; service: it is an SRV name.

    prefer: the family that is asked first, A or AAAA. networks: `resolve-net`.
    """

    server: int
    name: str
    service: bool = False
    prefer: Kind = Kind.AAAA
    networks: tuple[Network, ...] = ()
    dup_ip: bool = False
    ignore_weight: bool = False


class Ask(msgspec.Struct, frozen=True):
    """A question for every name server. number: which resolution asks; serial: an answer to an older one is void."""

    number: int
    serial: int
    name: str
    kind: Kind


class Group(msgspec.Struct):
    """The servers of one proxy that wait for records of one SRV name. free: those without one, next first."""

    free: list[int]
    own: frozenset[int]


class Resolution(msgspec.Struct):
    """One name. servers, groups: who wants it. tries: questions left. due_ms: when it must be looked at again.

    status: how it ended last. bad: the outcome of this run's answers so far. asked: name servers that were asked.
    """

    number: int
    name: str
    prefer: Kind
    last_valid_ms: int
    records: Records
    servers: list[int] = []
    groups: list[Group] = []
    status: Outcome = Outcome.NONE
    kind: Kind = Kind.A
    running: bool = False
    serial: int = 0
    tries: int = 0
    answers: int = 0
    due_ms: int = 0


class Resolving:
    """The names of one `resolvers` section.

    Each call that may change servers returns the effects. `due_ms` tells when `step` must be called.
    """

    def __init__(self, settings: Resolvers, wishes: list[Wish], fleet: Fleet, now_ms: int, nameservers: int) -> None:
        self.settings = settings
        self.resolutions: dict[int, Resolution] = {}
        self.retries = max(1, settings.retries)
        self._fleet = fleet
        self._nameservers = nameservers
        self._wishes = {wish.server: wish for wish in wishes}
        self._by_name: dict[tuple[str, Kind], int] = {}
        self._of: dict[int, int] = {}
        """The resolution that a server takes its address from; a server with an additional record has none."""
        self._due: list[tuple[int, int]] = []
        self._numbers = 0
        groups: dict[tuple[int, str], list[int]] = {}
        for wish in wishes:
            if wish.service:
                groups.setdefault((fleet.servers[wish.server].proxy, wish.name.lower()), []).append(wish.server)
            elif (
                name := fleet.servers[wish.server].fqdn or wish.name
            ):  # a command may have given it another one before a reload
                self._link(wish.server, name, now_ms)
        for members in groups.values():
            name = self._wishes[members[0]].name
            one = self._resolution(name, Kind.SRV, now_ms)
            free = [index for index in members if not self._adopt(one, index, now_ms)]
            one.groups.append(Group(free, frozenset(members)))

    def _adopt(self, one: Resolution, index: int, now_ms: int) -> bool:
        """A server that has name, address and port from before a reload keeps them until answers say otherwise."""
        server = self._fleet.servers[index]
        if not server.fqdn or server.admin & Admin.RMAINT:
            return False
        one.records.adopt(Service(server.fqdn, server.port, server.uweight * DIVISOR), index, now_ms)
        self._link(index, server.fqdn, now_ms)
        return True

    def resolves(self, index: int) -> bool:
        """Whether a server's name, or the service that it belongs to, is resolved here."""
        return index in self._wishes

    def rename(self, index: int, name: str, now_ms: int) -> None:
        """A server has another name, which is asked for at once; its address stays until there is an answer."""
        self._unlink(index)
        self._link(index, name, now_ms)

    # --- time -----------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        """When something must be asked or given up next."""
        while self._due:
            due, number = self._due[0]
            known = self.resolutions.get(number)
            if known is not None and known.due_ms == due:
                return due
            heapq.heappop(self._due)
        return None

    def step(self, now_ms: int) -> tuple[list[Ask], Effects]:
        """Asks what is due, and gives up what was asked often enough. Of very many, some at a time: see `due_ms`."""
        work = Work(self._fleet, now_ms)
        asks: list[Ask] = []
        while len(asks) < ASKS_MAX and (due := self.due_ms()) is not None and due <= now_ms:
            asks.extend(self._look(self.resolutions[heapq.heappop(self._due)[1]], work))
        return asks, work.finish()

    def _look(self, one: Resolution, work: Work) -> Iterator[Ask]:
        """One resolution whose time has come."""
        if not one.running:
            one.running, one.kind, one.tries = True, one.prefer, self.retries - 1
            yield self._ask(one, work.now_ms)
        elif one.tries > 0:
            other = OTHER_KIND.get(one.kind)
            if one.answers and one.kind is one.prefer and other is not None:
                one.kind = other  # some name server said no, another said nothing
            else:
                one.kind, one.tries = one.prefer, one.tries - 1
            yield self._ask(one, work.now_ms)
        else:
            if not one.answers:
                one.status = Outcome.TIMEOUT
            self._fail(one, work)

    def _ask(self, one: Resolution, now_ms: int) -> Ask:
        one.serial += 1
        one.answers = 0
        self._wait(one, now_ms + self.settings.retry_ms)
        return Ask(one.number, one.serial, one.name, one.kind)

    def _wait(self, one: Resolution, due_ms: int) -> None:
        one.due_ms = due_ms
        heapq.heappush(self._due, (due_ms, one.number))

    # --- answers --------------------------------------------------------------------------------------

    def waits_for(self, ask: Ask) -> bool:
        """Whether an answer to this question still counts."""
        one = self.resolutions.get(ask.number)
        return one is not None and one.running and one.serial == ask.serial

    def answer(self, ask: Ask, answer: Answer, who: str, now_ms: int) -> tuple[list[Ask], Effects]:
        """One name server has answered. who: `<resolvers>/<nameserver>`."""
        work = Work(self._fleet, now_ms)
        if not self.waits_for(ask):
            return [], work.effects
        one = self.resolutions[ask.number]
        one.answers += 1
        asks: list[Ask] = []
        if answer.outcome is Outcome.VALID:
            self._succeed(one, answer, who, work)
        else:
            one.status = answer.outcome
            if one.answers >= self._nameservers:
                asks.extend(self._all_bad(one, work))
        return asks, work.finish()

    def _all_bad(self, one: Resolution, work: Work) -> Iterator[Ask]:
        """Every name server has said no: the other family now, or the next try when `timeout retry` is over."""
        if one.kind is one.prefer and one.kind in OTHER_KIND:
            one.kind = OTHER_KIND[one.kind]
            yield self._ask(one, work.now_ms)
        elif one.kind is not one.prefer and one.tries == 0:
            self._fail(one, work)

    def _succeed(self, one: Resolution, answer: Answer, who: str, work: Work) -> None:
        one.status, one.last_valid_ms = Outcome.VALID, work.now_ms
        one.records.take(answer, work.now_ms)
        self._settle(one, work)
        for index in list(one.servers):
            self._give(one, index, who, work)
            who = "DNS cache"
        self._rest(one, work)

    def _rest(self, one: Resolution, work: Work) -> None:
        one.running = False
        self._wait(one, work.now_ms + self.settings.resolve_ms)

    def _fail(self, one: Resolution, work: Work) -> None:
        """A run has ended badly; servers lose their address once the last good answer is too old."""
        held = work.now_ms < one.last_valid_ms + self._hold_ms(one.status)
        if not held:
            for index in one.servers:
                self._lose(index, one.status.value, work)
            for group in one.groups:
                for item in one.records.items:
                    for index in [at for at in item.servers if at in group.own]:
                        self._remove(group, index, work)
            one.records.clear()
        self._rest(one, work)

    def _hold_ms(self, status: Outcome) -> int:
        settings = self.settings
        match status:
            case Outcome.NX:
                return settings.hold_nx_ms
            case Outcome.REFUSED:
                return settings.hold_refused_ms
            case Outcome.TIMEOUT:
                return settings.hold_timeout_ms
        return settings.hold_other_ms

    # --- addresses ------------------------------------------------------------------------------------

    def _give(self, one: Resolution, index: int, who: str, work: Work) -> None:
        """A server gets its address out of a good answer, or keeps it, or has none."""
        found = self._best(one, index)
        if found is None:
            self._lose(index, Outcome.VALID.value, work)
            return
        if index not in found.servers:
            one.records.let_go(index)
            found.servers.append(index)
        changes_ip(self._fleet, work, index, found.data, who)
        ready(self._fleet, work, index, said=True)

    def _best(self, one: Resolution, index: int) -> Item | None:
        """HAProxy's score: the family 8, the network 4, that nobody else has it 2, that it is in use here 1."""
        wish = self._wishes[index]
        servers = self._fleet.servers
        current = packed(servers[index].address)
        kept = one.records.address(current)
        if kept is not None and kept.servers == [index] and kind_of(current) is wish.prefer and liked(current, wish):
            return kept  # nothing can be better, and hundreds of servers may ask hundreds of records
        best: dict[int, Item] = {}
        score_best = -1
        for item in one.records.items:
            if not item.data:
                continue
            kind = kind_of(item.data)
            taken = any(at != index and servers[at].proxy == servers[index].proxy for at in item.servers)
            if taken and not wish.dup_ip:
                continue
            score = 8 * (kind is wish.prefer) + 4 * within(item.data, wish.networks) + 2 * (not taken)
            score += item.data == current
            if score > score_best:
                score_best = score
                best[kind] = item
        return best.get(wish.prefer) or best.get(OTHER_KIND[wish.prefer])

    def _lose(self, index: int, cause: str, work: Work) -> None:
        """The server has no address any more: MAINT (resolution), unless it is there."""
        if self._fleet.servers[index].admin & Admin.RMAINT:
            return
        self._fleet.administer(work, index, ((True, Admin.RMAINT),), cause)
        move(self._fleet, work, index, b"", self._fleet.servers[index].port)

    # --- services -------------------------------------------------------------------------------------

    def _settle(self, one: Resolution, work: Work) -> None:
        """What answers have not held for `hold obsolete` goes; services get their servers. In HAProxy's order."""
        oldest = work.now_ms - self.settings.hold_obsolete_ms
        for item in list(one.records.items):
            if item.extra and item.extra_seen_ms < oldest:
                item.extra = b""
            if item.seen_ms < oldest:
                for group in one.groups:
                    for index in [at for at in item.servers if at in group.own]:
                        item.servers.remove(index)
                        self._remove(group, index, work)
                one.records.drop(item)
            elif item.target:
                for group in one.groups:
                    self._serve(group, item, work)

    def _serve(self, group: Group, item: Item, work: Work) -> None:
        """One record of a service to the server that has it, or to the first that has none."""
        index = next((at for at in item.servers if at in group.own), -1)
        if index < 0:
            if not group.free:
                return
            index = group.free.pop(0)
            item.servers.append(index)
        fleet, wish = self._fleet, self._wishes[index]
        server = fleet.servers[index]
        if item.extra:
            changes_ip(fleet, work, index, item.extra, "DNS additional record")
            self._unlink(index)
        if not server.fqdn:
            changes_fqdn(fleet, work, index, item.target)
        if not item.extra and index not in self._of:
            self._link(index, item.target, work.now_ms)
        server.mapped_ports = False
        if server.port != item.port:
            move(fleet, work, index, packed(server.address), item.port)
        if server.address:
            ready(fleet, work, index, said=False)
        weight = -(-item.weight // DIVISOR)
        if not wish.ignore_weight and weight != server.uweight and fleet.accepts(index, weight):
            fleet.weigh(work, index, weight)

    def _remove(self, group: Group, index: int, work: Work) -> None:
        """The record of a server is gone: it waits for another one, without name, address and port."""
        self._unlink(index)
        fleet = self._fleet
        fleet.administer(work, index, ((True, Admin.RMAINT),), REMOVED)
        fleet.servers[index].fqdn = ""
        move(fleet, work, index, b"", 0)
        group.free.append(index)

    # --- who wants what -------------------------------------------------------------------------------

    def _link(self, index: int, name: str, now_ms: int) -> None:
        one = self._resolution(name, self._wishes[index].prefer, now_ms)
        one.servers.append(index)
        self._of[index] = one.number

    def _unlink(self, index: int) -> None:
        number = self._of.pop(index, None)
        if number is None:
            return
        one = self.resolutions[number]
        one.servers.remove(index)
        one.records.let_go(index)
        if not one.servers:
            del self.resolutions[number]
            del self._by_name[one.name.lower(), one.prefer]

    def _resolution(self, name: str, prefer: Kind, now_ms: int) -> Resolution:
        key = (name.lower(), prefer)
        number = self._by_name.get(key)
        if number is None:
            number = self._by_name[key] = self._numbers = self._numbers + 1
            one = self.resolutions[number] = Resolution(number, name, prefer, now_ms, Records())
            self._wait(one, now_ms)
        return self.resolutions[number]


OTHER_KIND = {Kind.A: Kind.AAAA, Kind.AAAA: Kind.A}


def packed(address: str) -> bytes:
    """An address as shown, in network order; b"" for none."""
    return ipaddress.ip_address(address).packed if address else b""


def liked(address: bytes, wish: Wish) -> bool:
    """Whether no address of another network could be better."""
    return not wish.networks or within(address, wish.networks)


def within(address: bytes, networks: tuple[Network, ...]) -> bool:
    return bool(networks) and any(ipaddress.ip_address(address) in network for network in networks)
