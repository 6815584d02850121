"""Who sends adverts for one router id: what one sender says, how late, where it stands, and what two make of one another.

Only a MASTER sends, so each sender was one when it spoke. The loser of two yields if it takes the winner's adverts; whether it
does follows from what both say of themselves (`refusal_between`). Source: spec/keepalived-track.md §4.3, §4.5.
"""

from __future__ import annotations

from array import array
from enum import Enum
from ipaddress import ip_address
from statistics import median

import msgspec

from risefall.vrrp.acceptance import UNHEARD, Frame, judge
from risefall.vrrp.datagrams import Datagram, frame_of
from risefall.vrrp.election import address_bytes, master_down_us, skew_us
from risefall.vrrp.packets import TTL, PacketError, Parsed
from risefall.vrrp.settings import US_PER_S, AuthType, InstanceSettings, Peer

LATE_KEPT = 256
"""Adverts of which the lateness is kept for the median."""
WORN_ADVERTS = 1.5
"""A master that has been silent for so many of its intervals has missed one."""


class Standing(Enum):
    """What a sender is now, as far as listening tells."""

    MASTER = "MASTER"
    RIVAL = "rival"
    """It has spoken beside a better master, whose next advert makes it yield."""
    SILENCED = "silenced"
    """It refuses the other master's adverts, each of which puts its own next one off: a MASTER still, though silent."""
    YIELDED = "yielded"
    RESIGNED = "resigned"
    LOST = "lost"


HOLDS = frozenset({Standing.MASTER, Standing.SILENCED})
"""Those that have the addresses."""


class Lateness:
    """How much later than its interval each advert came. An early one, as in an election, counts as on time."""

    __slots__ = ("_at", "_kept", "worst_us")

    def __init__(self) -> None:
        self._kept = array("q")
        self._at = 0
        self.worst_us: int | None = None

    def add(self, late_us: int) -> None:
        late_us = max(late_us, 0)
        if len(self._kept) < LATE_KEPT:
            self._kept.append(late_us)
        else:
            self._kept[self._at] = late_us
            self._at = (self._at + 1) % LATE_KEPT
        self.worst_us = late_us if self.worst_us is None else max(self.worst_us, late_us)

    @property
    def median_us(self) -> int | None:
        """Of the last ones; None before the second advert."""
        return int(median(self._kept)) if self._kept else None


class Sender:
    """One source address. Times are the caller's microseconds."""

    __slots__ = (
        "adverts",
        "before_us",
        "datagram",
        "deadline_us",
        "first_us",
        "frame",
        "last_us",
        "late",
        "parsed",
        "refused",
        "refused_count",
        "since_us",
        "standing",
        "wrong",
    )

    def __init__(self, now_us: int, datagram: Datagram, parsed: Parsed) -> None:
        self.datagram = datagram
        self.frame = frame_of(datagram)
        self.parsed = parsed
        self.standing = Standing.LOST
        self.first_us = self.since_us = now_us
        self.last_us = now_us
        self.before_us: int | None = None
        """When the advert before the last one came."""
        self.deadline_us = now_us
        """When it is taken for gone, unless it speaks before."""
        self.adverts = 0
        self.late = Lateness()
        self.wrong: tuple[str, ...] = ()
        self.refused = ""
        """What keepalived of the given configuration logs of its adverts."""
        self.refused_count = 0

    @property
    def source(self) -> str:
        return self.datagram.source

    @property
    def priority(self) -> int:
        return self.parsed.advert.priority

    @property
    def pace_us(self) -> int:
        """Its interval; a second where it claims none."""
        return self.parsed.advert.adv_us or US_PER_S

    @property
    def down_us(self) -> int:
        """How long a BACKUP of its priority and the usual three adverts would wait for it."""
        return master_down_us(self.settings(), self.priority or 1, self.pace_us)

    @property
    def skew_us(self) -> int:
        return skew_us(self.parsed.advert.version, self.priority or 1, self.pace_us)

    def settings(self) -> InstanceSettings:
        """The settings that its adverts tell of. Of a key of AH nothing is known."""
        advert, there = self.parsed.advert, self.datagram.destination
        return InstanceSettings(
            name=self.source,
            source=self.source,
            vrid=advert.vrid,
            priority=advert.priority,
            version=advert.version,
            adv_us=advert.adv_us,
            vips=advert.vips,
            auth=advert.auth,
            peers=() if ip_address(there).is_multicast else (Peer(there),),
        )

    def beats(self, other: Sender) -> bool:
        """Who stays of two MASTERs: the higher priority, then the higher address."""
        mine, theirs = (self.priority, address_bytes(self.source)), (other.priority, address_bytes(other.source))
        return mine > theirs

    def missing(self, now_us: int) -> bool:
        """Whether an advert of it is overdue."""
        return now_us - self.last_us > WORN_ADVERTS * self.pace_us

    def stand(self, standing: Standing, now_us: int) -> None:
        if self.standing is not standing:
            self.standing = standing
            self.since_us = now_us


def refusal_between(receiver: Sender, sender: Sender) -> str:
    """Why one MASTER would not take the other's adverts, in keepalived 2.2.7's words; empty when it would."""
    return judge(receiver.settings(), sender.frame).text


def is_put_off(receiver: Sender, sender: Sender) -> bool:
    """Whether each advert of one delays the other's next: 2.2.7 starts its interval over at those that it refuses, too."""
    refusal = judge(receiver.settings(), sender.frame).refusal
    return refusal is not None and refusal not in UNHEARD


def disagreement(one: Sender, other: Sender) -> str:
    """Why two are MASTER at once."""
    loser, winner = (other, one) if one.beats(other) else (one, other)
    text = refusal_between(loser, winner)
    if text:
        return f"{loser.source} refuses the adverts of {winner.source}: {text}"
    text = refusal_between(winner, loser)
    if text:
        return f"{winner.source} refuses the adverts of {loser.source}: {text}"
    return "they agree, so they do not hear one another (or their addresses of unicast or keys differ)"


def wrong_by_itself(frame: Frame, parsed: Parsed) -> tuple[str, ...]:
    """What any receiver would mind."""
    found = []
    if ip_address(frame.destination).is_multicast and frame.ttl not in (None, TTL):
        found.append(f"invalid TTL/HL. Received {frame.ttl} and expect {TTL}")
    if not parsed.checksum_ok:
        found.append(f"Invalid VRRPv{parsed.advert.version} checksum")
    return tuple(found)


class Own(msgspec.Struct, frozen=True):
    """An instance of the keepalived.conf to compare with. interface: None when it is bound to none."""

    settings: InstanceSettings
    interface: str | None = None

    def fits(self, interface: str, vrid: int, family: int) -> bool:
        """Whether adverts of this router id here are its own."""
        mine = self.settings
        here = self.interface is None or self.interface == interface
        return here and mine.vrid == vrid and (6 if ":" in mine.source else 4) == family

    def knows(self, source: str) -> bool:
        """Whether this is an address of the unicast cluster: its own or a peer's."""
        known = {ip_address(peer.address) for peer in self.settings.peers} | {ip_address(self.settings.source)}
        return ip_address(source) in known

    def refusal(self, datagram: Datagram, *, known_master: bool) -> str:
        """The line that keepalived logs of it, or the name of its counter where it logs nothing; empty when it is taken."""
        own = self.settings
        if datagram.ours:  # it reaches nobody here; but it must say what the file says
            own = msgspec.structs.replace(own, check_unicast_src=False)
        try:
            frame = frame_of(datagram, own.auth, unicast=own.unicast)
        except PacketError as error:
            return str(error)  # before keepalived has looked for an instance
        judged = judge(own, frame, check_vips=not (known_master and own.skip_check_adv_addr))
        if judged.refusal is None:
            return ""
        unheard = "does not get it: " if judged.refusal in UNHEARD else ""
        return f"({own.name}) {unheard}{judged.text or judged.refusal.value}"

    def differences(self, sender: Sender) -> tuple[str, ...]:
        """Everything in which its adverts differ from this configuration, passwords unsaid."""
        own, advert, auth = self.settings, sender.parsed.advert, sender.parsed.auth_type
        found = []
        if advert.version != own.version:
            return (f"version {advert.version}, here {own.version}",)
        if advert.adv_us != own.adv_us:
            found.append(f"interval {advert.adv_us / US_PER_S:g}s, here {own.adv_us / US_PER_S:g}s")
        if own.version == 2 and auth != own.auth.kind:
            found.append(f"auth {auth_name(auth)}, here {own.auth.kind.name}")
        elif own.version == 2 and own.auth.kind is AuthType.PASS and advert.auth.key != own.auth.key:
            found.append("another password")
        there, here = set(map(ip_address, advert.vips)), set(map(ip_address, own.vips))
        if there != here:
            more = [f"+{one}" for one in sorted(there - here, key=str)]
            found.append("addresses " + " ".join([*more, *(f"-{one}" for one in sorted(here - there, key=str))]))
        return tuple(found)


def auth_name(number: int) -> str:
    """Of the number on the wire."""
    return next((one.name for one in AuthType if one == number), str(number))
