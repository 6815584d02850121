"""Who really is MASTER: adverts as they are heard go in, what happened comes out. No clock, no socket.

What is forged costs bounded memory: senders are limited for each router and in all, a master is never displaced by one that is
none, and each router and each interface may tell only so many events a second.

Source: spec/keepalived-track.md §4; tests/vrrp/test_watch.py, tests/diff/test_watching_nodes.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from risefall.vrrp.acceptance import Frame
from risefall.vrrp.datagrams import Datagram, frame_of, is_vrrp
from risefall.vrrp.election import NEVER
from risefall.vrrp.packets import PROTOCOL_AH, TYPE_ADVERT, PacketError, Parsed, parse_advert
from risefall.vrrp.routers import Router
from risefall.vrrp.senders import HOLDS, Own, Sender
from risefall.vrrp.watch_events import Bucket, Event, Kind

SENDERS_MAX = 16
"""Of one router."""
SENDERS_ALL_MAX = 512
VERSIONS = (2, 3)


class Link:
    """One interface that is listened to."""

    __slots__ = ("bucket", "malformed", "up")

    def __init__(self) -> None:
        self.up = True
        self.bucket = Bucket()
        self.malformed = 0


class Watch:
    """All that is heard. Each call gives the events that it brings, in order; time must not go back, and is held if it does."""

    def __init__(self, own: Iterable[Own] = ()) -> None:
        self.own = tuple(own)
        self.links: dict[str, Link] = {}
        self.routers: dict[tuple[str, int, int, str], Router] = {}
        self._now_us = 0
        self._out: list[Event] = []

    # What comes in.

    def hear(self, now_us: int, interface: str, datagram: Datagram) -> list[Event]:
        """One packet of protocol 112 or 51. Whatever is in it, this does not raise."""
        now_us = self._forward(now_us)
        link = self.links.setdefault(interface, Link())
        if not is_vrrp(datagram):
            return []
        try:
            frame = frame_of(datagram)
            parsed = self._parsed(interface, datagram, frame)
        except PacketError as error:
            self._malformed(link, interface, datagram, str(error))
            return self._drained()
        router = self._router(interface, parsed.advert.vrid, datagram)
        router.expire(now_us)
        sender = self._sender(router, datagram, parsed)
        if sender is not None:
            router.heard(now_us, sender, datagram, frame, parsed)
        return self._drained()

    def time(self, now_us: int) -> list[Event]:
        """Lets time pass; `next_us` says when that may change something."""
        now_us = self._forward(now_us)
        for router in self.routers.values():
            if self.links[router.interface].up:
                router.expire(now_us)
        return self._drained()

    def link(self, now_us: int, interface: str, *, up: bool, why: str = "") -> list[Event]:
        """An interface is listened to from now on, or no longer: its masters are neither lost nor late meanwhile."""
        now_us = self._forward(now_us)
        known = self.links.get(interface)
        link = self.links.setdefault(interface, Link())
        if known is None:
            for own in self.own:
                self._expect(interface, own)
        if (known is None and up) or link.up == up:
            return []
        link.up = up
        if up:
            for router in self.routers.values():
                if router.interface == interface:
                    router.resume(now_us)
        text = why or ("is heard again" if up else "is not heard any more")
        self._out.append(Event(now_us, Kind.INTERFACE, interface, text))
        return self._drained()

    def next_us(self) -> int | None:
        """When `time` should be called at the latest; None when nothing waits."""
        found = min((one.next_us() for one in self.routers.values() if self.links[one.interface].up), default=NEVER)
        return None if found >= NEVER else found

    @property
    def healthy(self) -> bool:
        """Every router has one master, which sends what it should, and every interface is heard."""
        sound = all(router.sound for router in self.routers.values())
        return bool(self.routers) and sound and all(link.up for link in self.links.values())

    # Packets.

    def _parsed(self, interface: str, datagram: Datagram, frame: Frame) -> Parsed:
        """What the bytes say; those that are as the last ones are not read again."""
        key = datagram.source
        for router in self._routers_of(interface, frame.payload[1] if len(frame.payload) > 1 else 0, datagram.family):
            known = router.senders.get(key)
            if known is not None and known.frame == frame:
                return known.parsed
        parsed = parse_advert(frame.payload, frame.source, frame.destination)
        if parsed.advert.version not in VERSIONS:
            raise PacketError(f"version {parsed.advert.version} is neither 2 nor 3")
        if parsed.kind != TYPE_ADVERT:
            raise PacketError(f"Invalid packet type. {parsed.kind} and expect {TYPE_ADVERT}")
        if not parsed.advert.vrid:
            raise PacketError("virtual router id 0")
        return parsed

    def _malformed(self, link: Link, interface: str, datagram: Datagram, text: str) -> None:
        link.malformed += 1
        vrid = datagram.payload[1] if len(datagram.payload) > 1 and datagram.protocol != PROTOCOL_AH else 0
        own = self._own_of(interface, vrid, datagram)
        if own is not None:
            text = own.refusal(datagram, known_master=False) or text
        event = Event(self._now_us, Kind.MALFORMED, interface, f"{datagram.source}: {text}", source=datagram.source)
        link.bucket.say(self._out, event)

    def _routers_of(self, interface: str, vrid: int, family: int) -> Iterator[Router]:
        for name in ("", *(own.settings.name for own in self.own if own.fits(interface, vrid, family))):
            router = self.routers.get((interface, vrid, family, name))
            if router is not None:
                yield router

    def _own_of(self, interface: str, vrid: int, datagram: Datagram) -> Own | None:
        """The instance whose adverts these are; of several with one id the one that knows the sender."""
        fitting = [own for own in self.own if own.fits(interface, vrid, datagram.family)]
        if len(fitting) <= 1:
            return fitting[0] if fitting else None
        return next((own for own in fitting if own.knows(datagram.source)), None)

    def _router(self, interface: str, vrid: int, datagram: Datagram) -> Router:
        own = self._own_of(interface, vrid, datagram)
        key = (interface, vrid, datagram.family, own.settings.name if own is not None else "")
        if key not in self.routers:
            self.routers[key] = Router(interface, vrid, datagram.family, own, self._now_us, self._out)
        return self.routers[key]

    def _expect(self, interface: str, own: Own) -> None:
        family = 6 if ":" in own.settings.source else 4
        if own.fits(interface, own.settings.vrid, family):
            key = (interface, own.settings.vrid, family, own.settings.name)
            self.routers.setdefault(key, Router(interface, own.settings.vrid, family, own, self._now_us, self._out))

    def _sender(self, router: Router, datagram: Datagram, parsed: Parsed) -> Sender | None:
        """The known one, or a new one where there is room or somebody idle makes some."""
        known = router.senders.get(datagram.source)
        if known is not None:
            return known
        crowded = router.senders
        if len(crowded) >= SENDERS_MAX and not self._evict([router]):
            router.unkept += 1
            return None
        if sum(len(one.senders) for one in self.routers.values()) >= SENDERS_ALL_MAX and not self._evict(
            self.routers.values()
        ):
            router.unkept += 1
            return None
        router.senders[datagram.source] = Sender(self._now_us, datagram, parsed)
        return router.senders[datagram.source]

    def _evict(self, routers: Iterable[Router]) -> bool:
        """Drops the one that has been silent longest of those that hold nothing."""
        idle = [
            (sender.last_us, sender.source, router)
            for router in routers
            for sender in router.senders.values()
            if sender.standing not in HOLDS
        ]
        if not idle:
            return False
        _, source, router = min(idle, key=lambda one: one[:2])
        del router.senders[source]
        return True

    # Small parts.

    def _forward(self, now_us: int) -> int:
        self._now_us = max(self._now_us, now_us)
        return self._now_us

    def _drained(self) -> list[Event]:
        out = self._out[:]
        self._out.clear()
        return out
