"""Several nodes in virtual time: who hears whom, what is lost, and who is MASTER when.

Packets are rendered and judged as bytes once for each pair of instances that can hear one another (`acceptance`); what
travels then is the priority. Events of one moment come in this order: what the caller scheduled, packets, deadlines;
among equals the node added first, then the event scheduled first.

Source: spec/keepalived-track.md §4.11; timelines §4.9 in tests/vrrp/test_timelines.py.
Differs: delivery takes one constant time, where a real bridge and a busy host take 0.1 to 40 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush

import msgspec

from risefall.vrrp.acceptance import UNHEARD, Judged, frames_of, judge
from risefall.vrrp.actions import Action, Enter, Send, State
from risefall.vrrp.election import NEVER, Instance
from risefall.vrrp.groups import Group
from risefall.vrrp.priority import Trackers
from risefall.vrrp.settings import AuthType, InstanceSettings
from risefall.vrrp.trackers import DOWN, UP, Kind, Reading, Tracked, effect

DELAY_US = 500
_CALLED, _PACKET, _DEADLINE = 0, 1, 2


class Change(msgspec.Struct, frozen=True, gc=False):
    """An instance entered a state. priority: its effective one then."""

    at_us: int
    node: str
    instance: str
    state: State
    priority: int


class Happened(msgspec.Struct, frozen=True):
    """Any action of a node, kept when the network records."""

    at_us: int
    node: str
    action: Action


class Port:
    """One instance where it meets the network. armed_us: the deadline that lies in the heap, NEVER for none."""

    __slots__ = ("armed_us", "instance", "link", "node", "routes", "trackers")

    def __init__(self, node: Node, instance: Instance, link: str, trackers: Trackers) -> None:
        self.node = node
        self.instance = instance
        self.link = link
        self.trackers = trackers
        self.armed_us = NEVER
        self.routes: list[Route] | None = None


class Route(msgspec.Struct, frozen=True):
    """Where an advert of one port goes. judged: with the address list looked at, and without."""

    to: Port
    judged: Judged
    judged_blind: Judged


class Node:
    """One keepalived."""

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        self.out: list[Action] = []
        self.ports: dict[str, Port] = {}
        self.groups: list[Group] = []
        self.links_down: set[str] = set()
        self.running = False


class Network:
    """Nodes, links and an event heap. Times are microseconds from an arbitrary zero."""

    def __init__(
        self, *, delay_us: int = DELAY_US, lost: Callable[[str, str], bool] | None = None, record: bool = True
    ) -> None:
        """lost: asked for every packet with sender's and receiver's node names. record: keep `happened`."""
        self.now_us = 0
        self.delay_us = delay_us
        self.lost = lost
        self.record = record
        self.nodes: dict[str, Node] = {}
        self.blocked: set[tuple[str, str]] = set()
        self.changes: list[Change] = []
        self.happened: list[Happened] = []
        self._heap: list[tuple[int, int, int, int, object]] = []
        self._sequence = 0

    # Building.

    def add_node(
        self,
        name: str,
        instances: Iterable[InstanceSettings],
        *,
        links: Mapping[str, str] | None = None,
        tracked: Mapping[str, Iterable[Tracked]] | None = None,
        groups: Mapping[str, Iterable[str]] | None = None,
    ) -> Node:
        """A node that does not run yet.

        Args:
            links: which link (a bridge) each instance is on, by its name; "eth0" where nothing is said.
            tracked: what each instance tracks, after `kept_trackers`.
            groups: the members of each sync group.
        """
        node = Node(name, len(self.nodes))
        for settings in instances:
            instance = Instance(settings, node.out)
            trackers = Trackers(settings.priority, (tracked or {}).get(settings.name, ()))
            node.ports[settings.name] = Port(node, instance, (links or {}).get(settings.name, "eth0"), trackers)
        for group, members in (groups or {}).items():
            node.groups.append(Group(group, [node.ports[one].instance for one in members], node.out))
        self.nodes[name] = node
        for other in self.nodes.values():
            for port in other.ports.values():
                port.routes = None
        return node

    def at(self, at_us: int, act: Callable[[], None]) -> None:
        """Calls `act` at that time; the methods below may be used in it."""
        self._push(max(at_us, self.now_us), _CALLED, 0, act)

    # What befalls nodes and links, now.

    def start(self, name: str, *, delay_us: int = 0) -> None:
        """keepalived starts here, with what its trackers have told by now. delay_us: vrrp_startup_delay."""
        node = self.nodes[name]
        for port in node.ports.values():
            port.instance.pending |= self._prepare(port)
        for group in node.groups:
            group.start()
        for port in node.ports.values():
            port.instance.start(self.now_us, delay_us=delay_us)
        self._settle(node)

    def _prepare(self, port: Port) -> frozenset[str]:
        """What its trackers have told by now becomes the instance's; returns those that have not."""
        node, instance, standing = port.node, port.instance, port.trackers.standing()
        node.running = True
        instance.halt()
        instance.set_total(self.now_us, standing.total)
        instance.faults |= standing.faults
        if port.link in node.links_down and not instance.settings.dont_track_primary:
            instance.faults.add(f"interface {port.link}")
        return standing.pending

    def resume(
        self,
        name: str,
        before: Mapping[str, State],
        groups: Mapping[str, State],
        gone: Iterable[Action] = (),
        *,
        again: bool = False,
    ) -> None:
        """keepalived goes on here after a reload: scripts that have not told hold nothing back any more.

        before, groups: the states till then of instances and groups, by name; who is not among them starts. gone: what those
        that are no more still want done. again: whether states that stand are said again to the FIFO.
        """
        node = self.nodes[name]
        for port in node.ports.values():
            self._prepare(port)
        node.out += gone
        for group in node.groups:
            members = [before.get(one.settings.name, State.INIT) for one in group.members]
            group.resume(groups.get(group.name, State.INIT), members, again=again)
        for port in node.ports.values():
            port.instance.resume(self.now_us, before.get(port.instance.settings.name, State.INIT), again=again)
        self._settle(node)

    def delete(self, name: str, instance: str) -> list[Action]:
        """A reload has removed an instance from this node: what is left to be done of it, but for packets."""
        node = self.nodes[name]
        node.ports[instance].instance.delete()
        left = [action for action in node.out if type(action) is not Send]
        self._settle(node)
        return left

    def stop(self, name: str) -> None:
        """keepalived is told to end: a MASTER resigns."""
        node = self.nodes[name]
        for port in node.ports.values():
            port.instance.stop(self.now_us)
        for group in node.groups:
            group.stop()
        self._settle(node)
        node.running = False

    def kill(self, name: str) -> None:
        """The host dies without a word."""
        node = self.nodes[name]
        node.running = False
        for port in node.ports.values():
            port.instance.halt()

    def read(self, name: str, key: str, reading: Reading) -> None:
        """A tracked thing of this node tells; key: `Tracked.key`. All instances that track it are asked in order."""
        node = self.nodes[name]
        for port in node.ports.values():
            if key in port.trackers.tracked:
                self._read(port, key, reading)
        self._settle(node)

    def _read(self, port: Port, key: str, reading: Reading) -> None:
        port.trackers.read(key, reading)
        if not port.node.running:
            return
        standing = port.trackers.standing()
        tracked = port.trackers.tracked[key]
        told = effect(tracked, reading)
        by_weight = tracked.kind is Kind.FILE and tracked.weight != 0
        if by_weight and key in port.instance.faults and not told.fault:
            port.instance.restore_total(standing.total)
        elif not (by_weight and told.fault):  # 2.2.7 leaves the priority as it is for as long as that lasts
            port.instance.set_total(self.now_us, standing.total)
        if told.fault:
            port.instance.fault(self.now_us, key)
        elif not told.pending:
            port.instance.clear(self.now_us, key)

    def link_down(self, name: str, link: str = "eth0") -> None:
        """The interface of this node goes down: nothing passes, and instances on it are at fault."""
        node = self.nodes[name]
        node.links_down.add(link)
        if node.running:
            for port in node.ports.values():
                if port.link == link and not port.instance.settings.dont_track_primary:
                    port.instance.fault(self.now_us, f"interface {link}")
        self.read(name, f"interface {link}", DOWN)

    def link_up(self, name: str, link: str = "eth0") -> None:
        """And back."""
        node = self.nodes[name]
        node.links_down.discard(link)
        if node.running:
            for port in node.ports.values():
                if port.link == link and f"interface {link}" not in port.trackers.tracked:
                    port.instance.clear(self.now_us, f"interface {link}")
        self.read(name, f"interface {link}", UP)

    def block(self, sender: str, receiver: str) -> None:
        """From now on nothing passes this way; the other way is another matter."""
        self.blocked.add((sender, receiver))

    def unblock(self, sender: str, receiver: str) -> None:
        """And again."""
        self.blocked.discard((sender, receiver))

    def part(self, one: str, other: str) -> None:
        """Nothing passes between the two."""
        self.blocked |= {(one, other), (other, one)}

    def heal(self) -> None:
        """No packet is blocked any more; links that are down stay so."""
        self.blocked.clear()

    # Looking.

    def state(self, name: str, instance: str | None = None) -> State:
        """Of one instance; of the only one when it is not named."""
        ports = self.nodes[name].ports
        return ports[instance or next(iter(ports))].instance.state

    def masters(self) -> list[str]:
        """The nodes with an instance that is MASTER now."""
        return [
            node.name
            for node in self.nodes.values()
            if any(port.instance.state is State.MASTER for port in node.ports.values())
        ]

    # Running.

    def next_us(self) -> int:
        """When something happens by itself; NEVER when nothing does."""
        return self._heap[0][0] if self._heap else NEVER

    def drain_happened(self) -> list[Happened]:
        """What has happened since the last call, when the network records."""
        happened, self.happened = self.happened, []
        self.changes.clear()
        return happened

    def run(self, until_us: int) -> None:
        """Lets everything happen up to and including this time."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            at_us, kind, _, _, what = heappop(heap)
            self.now_us = at_us
            if kind == _PACKET:
                self._deliver(*what)  # type: ignore[misc]
            elif kind == _DEADLINE:
                self._deadline(at_us, what)  # type: ignore[arg-type]
            else:
                what()  # type: ignore[operator]
        self.now_us = until_us

    def _deadline(self, at_us: int, port: Port) -> None:
        if port.armed_us != at_us:
            return  # an earlier deadline was put in later
        port.armed_us = NEVER
        if port.instance.deadline_us <= at_us:
            port.instance.time(at_us)
            self._settle(port.node)
        self._rearm(port)

    def _deliver(self, route: Route, source: str, priority: int, adv_us: int) -> None:
        port = route.to
        instance = port.instance
        judged = route.judged if instance.checks_vips(source) else route.judged_blind
        if judged.refusal is None:
            instance.advert(self.now_us, source, priority, adv_us)
        else:
            instance.refused(self.now_us, judged.text)
        if port.node.out:
            self._settle(port.node)
        else:
            self._rearm(port)

    def _settle(self, node: Node) -> None:
        """Does what the node wants done, and waits for its deadlines."""
        for action in node.out:
            if type(action) is Send:
                self._send(node.ports[action.instance], action.priority)
            elif type(action) is Enter:
                change = Change(self.now_us, node.name, action.instance, action.state, action.priority)
                self.changes.append(change)
            if self.record:
                self.happened.append(Happened(self.now_us, node.name, action))
        node.out.clear()
        for port in node.ports.values():
            self._rearm(port)

    def _rearm(self, port: Port) -> None:
        """A deadline that moved back needs nothing: the old entry comes early and is put in again."""
        deadline_us = port.instance.deadline_us
        if deadline_us < port.armed_us:
            port.armed_us = deadline_us
            self._push(deadline_us, _DEADLINE, port.node.index, port)

    def _push(self, at_us: int, kind: int, index: int, what: object) -> None:
        self._sequence += 1
        heappush(self._heap, (at_us, kind, index, self._sequence, what))

    def _send(self, port: Port, priority: int) -> None:
        node, link = port.node, port.link
        if link in node.links_down:
            return
        settings = port.instance.settings
        for route in self._routes(port):
            there = route.to.node
            if link in there.links_down or not there.running or (node.name, there.name) in self.blocked:
                continue
            if self.lost is not None and self.lost(node.name, there.name):
                continue
            packet = (route, settings.source, priority, settings.adv_us)
            self._push(self.now_us + self.delay_us, _PACKET, there.index, packet)

    def _routes(self, port: Port) -> list[Route]:
        if port.routes is None:
            port.routes = [route for node in self.nodes.values() for route in _routes_between(port, node)]
        return port.routes


def _routes_between(port: Port, node: Node) -> Iterable[Route]:
    """Where adverts of this port reach that node: through the group, or as peers."""
    sender = port.instance.settings
    frames = frames_of(sender, sender.priority)
    for other in node.ports.values():
        own = other.instance.settings
        if other.link != port.link or own.vrid != sender.vrid or (":" in own.source) != (":" in sender.source):
            continue
        if sender.unicast:
            frame = frames.get(own.source)
        else:
            # Who is not in the group, as a unicast node, does not hear it at all.
            frame = next(iter(frames.values())) if other is not port and not own.unicast else None
        if frame is None:
            continue
        same_key = own.auth == sender.auth or own.auth.kind is not AuthType.AH
        frame = msgspec.structs.replace(frame, ah_ok=same_key)
        judged = judge(own, frame)
        if judged.refusal not in UNHEARD:
            yield Route(to=other, judged=judged, judged_blind=judge(own, frame, check_vips=False))
