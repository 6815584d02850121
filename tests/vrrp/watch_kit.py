"""A watch in virtual time: packets of settings, or those of a whole election, and the events that they bring."""

from __future__ import annotations

from collections.abc import Iterable

from vrrp_kit import Lab, us

from risefall.vrrp.acceptance import frames_of
from risefall.vrrp.actions import Send
from risefall.vrrp.datagrams import Datagram
from risefall.vrrp.senders import Own
from risefall.vrrp.settings import InstanceSettings
from risefall.vrrp.watch import Watch
from risefall.vrrp.watch_events import Event, Kind

ETH = "eth0"


def packet(settings: InstanceSettings, priority: int | None = None, *, ttl: int = 255) -> Datagram:
    """What a node of these settings sends when it is MASTER."""
    place, frame = next(iter(frames_of(settings, settings.priority if priority is None else priority).items()))
    return Datagram(frame.source, place, ttl, frame.protocol, frame.payload)


class Ear:
    """A watch, its events, and a clock in seconds."""

    def __init__(self, *own: InstanceSettings, interfaces: Iterable[str] = (ETH,)) -> None:
        self.watch = Watch(Own(one) for one in own)
        self.events: list[Event] = []
        for interface in interfaces:
            self.watch.link(0, interface, up=True)

    def hear(self, at: float, datagram: Datagram, interface: str = ETH) -> Ear:
        self.until(at)
        self.events += self.watch.hear(us(at), interface, datagram)
        return self

    def every(self, first: float, last: float, step: float, *datagrams: Datagram) -> Ear:
        """These, 0.2 s apart, at each step."""
        count = 0
        while (at := first + count * step) <= last:
            for number, one in enumerate(datagrams):
                self.hear(at + number * 0.2, one)
            count += 1
        return self

    def until(self, at: float) -> Ear:
        """Time passes as a driver lets it: at each moment that the watch asks for."""
        while (due_us := self.watch.next_us()) is not None and due_us <= us(at):
            self.events += self.watch.time(due_us)
        self.events += self.watch.time(us(at))
        return self

    def play(self, lab: Lab, until: float) -> Ear:
        """All that the nodes of an election have sent."""
        settings = {name: next(iter(node.ports.values())).instance.settings for name, node in lab.network.nodes.items()}
        for one in lab.network.happened:
            if isinstance(one.action, Send) and one.at_us <= us(until):
                self.hear(one.at_us / 1e6, packet(settings[one.node], one.action.priority))
        return self.until(until)

    def kinds(self) -> list[Kind]:
        return [one.kind for one in self.events]

    def told(self, kind: Kind) -> list[Event]:
        return [one for one in self.events if one.kind is kind]

    def masters(self) -> list[str]:
        """Sources that hold any router now."""
        return sorted(sender.source for router in self.watch.routers.values() for sender in router.holders)
