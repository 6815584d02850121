"""One virtual router as it is heard: who holds it, who took it over, who refuses whom.

A master holds it until it resigns, until it has been silent for the master-down time, or until a better one speaks whose adverts it
takes. Whoever speaks again although the other has spoken since does not yield: two masters. Within RACE_US of the other's advert that
is no more than two packets that have crossed.

Source: spec/keepalived-track.md §4.3, §4.5, §4.9; tests/vrrp/test_watch.py, tests/diff/test_watching_nodes.py.
Differs: the sequence numbers of AH are not followed. Who refuses whom is what keepalived 2.2.7 would make of it.
"""

from __future__ import annotations

import msgspec

from risefall.vrrp.acceptance import Frame
from risefall.vrrp.datagrams import Datagram
from risefall.vrrp.election import NEVER, master_down_us
from risefall.vrrp.packets import PROTOCOL_AH, Parsed
from risefall.vrrp.senders import (
    HOLDS,
    Own,
    Sender,
    Standing,
    disagreement,
    is_put_off,
    refusal_between,
    wrong_by_itself,
)
from risefall.vrrp.settings import OWNER, US_PER_S
from risefall.vrrp.watch_events import Bucket, Event, Kind

RACE_US = 50_000
FORGOTTEN_US = 600 * US_PER_S


class Left(msgspec.Struct, frozen=True):
    """The last master that is none any more."""

    source: str
    priority: int
    last_us: int
    how: Standing
    wait_us: int


class Router:
    """One virtual router id of one family on one interface; of one instance, where a configuration knows several.

    Events are appended to `out`. The caller gives times that do not go back.
    """

    __slots__ = (
        "_out",
        "bucket",
        "family",
        "interface",
        "left",
        "now_us",
        "own",
        "senders",
        "takeovers",
        "told_nobody",
        "two_total_us",
        "two_us",
        "unkept",
        "vacant_us",
        "vrid",
        "was_held",
    )

    def __init__(self, interface: str, vrid: int, family: int, own: Own | None, now_us: int, out: list[Event]) -> None:
        self._out = out
        self.now_us = now_us
        self.interface = interface
        self.vrid = vrid
        self.family = family
        self.own = own
        self.senders: dict[str, Sender] = {}
        self.bucket = Bucket()
        self.left: Left | None = None
        self.vacant_us: int | None = now_us
        """Since when nobody holds it."""
        self.told_nobody = False
        self.was_held = 0
        self.two_us: int | None = None
        self.two_total_us = 0
        self.takeovers = 0
        self.unkept = 0
        """Packets of senders for which there was no room."""

    @property
    def instance(self) -> str:
        return self.own.settings.name if self.own is not None else ""

    @property
    def holders(self) -> list[Sender]:
        """Masters, the silenced among them."""
        return [one for one in self.senders.values() if one.standing in HOLDS]

    @property
    def sound(self) -> bool:
        """One master, and nothing wrong with what it sends."""
        holders = self.holders
        return len(holders) == 1 and not holders[0].wrong and not holders[0].refused

    def two_masters_us(self, now_us: int) -> int:
        """How long there was more than one master, in all."""
        return self.two_total_us + (max(now_us - self.two_us, 0) if self.two_us is not None else 0)

    def down_us(self, sender: Sender) -> int:
        """How long its silence means nothing."""
        if self.own is None:
            return sender.down_us
        adverts = self.own.settings.down_timer_adverts
        settings = msgspec.structs.replace(sender.settings(), down_timer_adverts=adverts)
        return master_down_us(settings, sender.priority or 1, sender.pace_us)

    def wait_us(self) -> int:
        """How long nobody may hold it before that is told."""
        if self.left is not None:
            return self.left.wait_us
        if self.own is not None:
            mine = self.own.settings
            return master_down_us(mine, mine.priority, mine.adv_us)
        return NEVER

    def next_us(self) -> int:
        """When time alone changes something."""
        found = [one.deadline_us for one in self.senders.values() if one.standing in (Standing.MASTER, Standing.RIVAL)]
        if self.vacant_us is not None and not self.told_nobody:
            found.append(self.vacant_us + self.wait_us())
        return min(found, default=NEVER)

    # Packets.

    def heard(self, now_us: int, sender: Sender, datagram: Datagram, frame: Frame, parsed: Parsed) -> None:
        self.now_us = now_us
        is_new = not sender.adverts
        if not is_new and self._is_copy(sender, datagram, parsed):
            if datagram.ours:
                sender.datagram = datagram
            return
        before, same, was = sender.parsed, frame == sender.frame, sender.standing
        if not is_new and sender.standing is Standing.MASTER and before.advert.priority and parsed.advert.priority:
            sender.late.add(now_us - sender.last_us - sender.pace_us)
        sender.before_us = None if is_new else sender.last_us
        sender.last_us = now_us
        sender.adverts += 1
        sender.datagram, sender.frame, sender.parsed = datagram, frame, parsed
        if sender.priority == 0:
            self._resign(sender, before.advert.priority)
        else:
            sender.deadline_us = now_us + self.down_us(sender)
            self._speak(sender)
            if was is Standing.MASTER and not same:
                self._compare(sender, before)
        if is_new or not same or frame.protocol == PROTOCOL_AH:
            self._judge(sender)
        sender.refused_count += bool(sender.refused)
        self._recount()

    def _is_copy(self, sender: Sender, datagram: Datagram, parsed: Parsed) -> bool:
        """Whether it is the advert that was heard last, and is of this machine: on its way to another peer, or looped back."""
        known = sender.datagram
        other = datagram.destination != known.destination or datagram.ours != known.ours
        same = (datagram.ours or known.ours) and other and parsed.advert == sender.parsed.advert
        return same and self.now_us - sender.last_us < sender.pace_us // 2

    # Masters.

    def _resign(self, sender: Sender, priority: int) -> None:
        if sender.standing in HOLDS:
            self._leave(sender, Standing.RESIGNED, priority)
            self._tell(Kind.RESIGNED, f"{sender.source} resigns (priority 0)", sender)
        elif sender.standing is not Standing.RESIGNED:
            sender.stand(Standing.RESIGNED, self.now_us)

    def _speak(self, sender: Sender) -> None:
        """It is MASTER, or thinks so."""
        now_us = self.now_us
        if sender.standing is Standing.MASTER:
            self._outlasts(sender)
            return
        if sender.standing is Standing.SILENCED:
            sender.stand(Standing.MASTER, now_us)
            return
        masters = [one for one in self.holders if one is not sender and one.standing is Standing.MASTER]
        ends = [(other, self._against(sender, other)) for other in masters]
        if any(end is Standing.RIVAL for _, end in ends):
            if sender.standing not in (Standing.YIELDED, Standing.RIVAL):
                best = max(masters, key=lambda one: one.priority)
                text = f"{sender.source} speaks too, priority {sender.priority}: {best.source} has {best.priority}"
                self._tell(Kind.RIVAL, text, sender)
                sender.stand(Standing.RIVAL, now_us)
            return
        for other, end in ends:
            if end is not Standing.MASTER:
                self._leave(other, end, other.priority)
        stay = any(end is Standing.MASTER for _, end in ends)
        sender.stand(Standing.MASTER, now_us)
        if not stay:
            self._enthroned(sender)

    def _outlasts(self, sender: Sender) -> None:
        """A worse master that has missed an advert since, and takes those of this one, has yielded."""
        for other in self.holders:
            worn = other is not sender and other.standing is Standing.MASTER and other.missing(self.now_us)
            if worn and sender.beats(other) and not refusal_between(other, sender):
                self._leave(other, Standing.YIELDED, other.priority)

    def _against(self, sender: Sender, other: Sender) -> Standing:
        """What becomes of the other: MASTER still, YIELDED or LOST; or RIVAL: it is the sender that has to yield."""
        now_us, before_us = self.now_us, sender.before_us
        spoke = sender.standing in (Standing.RIVAL, Standing.YIELDED) and before_us is not None
        if spoke and before_us is not None and now_us - before_us < 2 * sender.pace_us:
            if other.last_us > before_us:
                race_us = min(RACE_US, min(sender.pace_us, other.pace_us) // 4)
                return Standing.MASTER if now_us - other.last_us > race_us else Standing.RIVAL
            return Standing.YIELDED if other.missing(now_us) else Standing.RIVAL
        if other.missing(now_us):
            return Standing.LOST
        loser, winner = (other, sender) if sender.beats(other) else (sender, other)
        if refusal_between(loser, winner):
            return Standing.MASTER
        return Standing.YIELDED if loser is other else Standing.RIVAL

    def _enthroned(self, sender: Sender) -> None:
        left, now_us = self.left, self.now_us
        who = f"{sender.source}{' (this machine)' if sender.datagram.ours else ''}"
        owner = " (owner)" if sender.priority == OWNER else ""
        if left is None:
            self._tell(Kind.MASTER, f"{who} is MASTER, priority {sender.priority}{owner}", sender)
            return
        span = f"{(now_us - left.last_us) / US_PER_S:.3f} s after " + (
            "it resigned" if left.how is Standing.RESIGNED else "its last advert"
        )
        if left.source == sender.source:
            self._tell(Kind.MASTER, f"{who} is MASTER again, priority {sender.priority}{owner}, {span}", sender)
            return
        self.takeovers += 1
        text = f"{who} takes over from {left.source}, priority {sender.priority}{owner} after {left.priority}, {span}"
        self._tell(Kind.TAKEOVER, text, sender)

    def _leave(self, sender: Sender, how: Standing, priority: int) -> None:
        wait_us = self.down_us(sender)
        self.left = Left(sender.source, priority or sender.priority, sender.last_us, how, wait_us)
        sender.stand(how, self.now_us)

    def _recount(self) -> None:
        """One master, two, none: tells when that changes. Who is kept silent no longer will speak, or is lost."""
        for sender in self.holders:
            if sender.standing is Standing.SILENCED and self._silencer(sender) is None:
                sender.stand(Standing.MASTER, self.now_us)
                sender.deadline_us = self.now_us + self.down_us(sender)
        now_us, holders = self.now_us, self.holders
        count, was = len(holders), self.was_held
        self.was_held = count
        if count > max(was, 1):
            if self.two_us is None:
                self.two_us = now_us
            first, second = sorted(holders, key=lambda one: (one.last_us, one.source))[-2:]
            who = " and ".join(f"{one.source} (priority {one.priority})" for one in holders)
            text = f"{'two' if count == 2 else count} masters: {who}: {disagreement(first, second)}"
            self._tell(Kind.TWO_MASTERS, text, second)
        elif count <= 1 and self.two_us is not None:
            span_us = now_us - self.two_us
            self.two_total_us += span_us
            self.two_us = None
            if count == 1:
                text = f"one master again, {holders[0].source}, after {span_us / US_PER_S:.3f} s"
                self._tell(Kind.ONE_MASTER, text, holders[0])
        if count == 0 and self.vacant_us is None:
            self.vacant_us, self.told_nobody = now_us, False
        elif count:
            self.vacant_us = None

    def expire(self, now_us: int) -> None:
        """What silence has brought until now."""
        self.now_us = now_us
        for sender in [*self.senders.values()]:
            if sender.standing is Standing.MASTER and now_us >= sender.deadline_us:
                self._silent(sender)
            elif sender.standing is Standing.RIVAL and now_us >= sender.deadline_us:
                sender.stand(Standing.YIELDED, now_us)
            elif sender.standing not in HOLDS and now_us - sender.last_us > FORGOTTEN_US:
                del self.senders[sender.source]
        self._recount()
        if self.vacant_us is not None and not self.told_nobody and now_us >= self.vacant_us + self.wait_us():
            self.told_nobody = True
            left = self.left
            text = "nobody is MASTER: no advert was heard"
            if left is not None:
                text = f"nobody is MASTER since {left.source} {'resigned' if left.how is Standing.RESIGNED else 'was lost'}"
            self._tell(Kind.NOBODY, text)

    def _silencer(self, sender: Sender) -> Sender | None:
        """A master that still speaks, and whose adverts keep this one from speaking."""
        for other in self.senders.values():
            talks = other is not sender and other.standing is Standing.MASTER and self.now_us < other.deadline_us
            if talks and is_put_off(sender, other):
                return other
        return None

    def _silent(self, sender: Sender) -> None:
        other = self._silencer(sender)
        span = f"{(self.now_us - sender.last_us) / US_PER_S:.3f} s"
        if other is not None:
            text = f"{sender.source} has been silent for {span}, but refuses {other.source}: it may be MASTER still"
            sender.stand(Standing.SILENCED, self.now_us)
        else:
            text = f"{sender.source} is lost: nothing was heard of it for {span}"
            self._leave(sender, Standing.LOST, sender.priority)
        self._tell(Kind.LOST, text, sender)

    def resume(self, now_us: int) -> None:
        """After its interface was not heard: everybody's time starts over."""
        self.now_us = now_us
        for sender in self.senders.values():
            sender.deadline_us = self.now_us + self.down_us(sender)
            sender.last_us = self.now_us
        if self.vacant_us is not None:
            self.vacant_us = self.now_us

    # What adverts say.

    def _compare(self, sender: Sender, before: Parsed) -> None:
        """Tells what one sender says otherwise than in its advert before."""
        old, new = before.advert, sender.parsed.advert
        if old.priority and old.priority != new.priority:
            text = f"{sender.source}: priority {old.priority} -> {new.priority}"
            self._tell(Kind.PRIORITY, text, sender)
        words = []
        if old.version != new.version:
            words.append(f"version {old.version} -> {new.version}")
        if old.adv_us != new.adv_us:
            words.append(f"interval {old.adv_us / US_PER_S:g}s -> {new.adv_us / US_PER_S:g}s")
        if before.auth_type != sender.parsed.auth_type:
            words.append(f"auth type {before.auth_type} -> {sender.parsed.auth_type}")
        elif old.auth.key != new.auth.key:
            words.append("another password")
        if old.vips != new.vips:
            words.append(f"addresses {', '.join(new.vips) or 'none'}")
        if words:
            self._tell(Kind.CHANGED, f"{sender.source}: {'; '.join(words)}", sender)

    def _judge(self, sender: Sender) -> None:
        """Compares it with what anybody minds, and with the configuration."""
        wrong = wrong_by_itself(sender.frame, sender.parsed)
        for text in wrong:
            if text not in sender.wrong and self.own is None:
                self._tell(Kind.WRONG, f"{sender.source}: {text}", sender)
        sender.wrong = wrong
        if self.own is None:
            return
        known = any(one is sender for one in self.holders) and not sender.refused and sender.adverts > 1
        refused = self.own.refusal(sender.datagram, known_master=known)
        if refused != sender.refused:
            if refused:
                more = [one for one in self.own.differences(sender) if one != "another password"]
                text = f"{sender.source}: {refused}" + (f" [{'; '.join(more)}]" if more else "")
                self._tell(Kind.REFUSED, text, sender)
            else:
                self._tell(Kind.ACCEPTED, f"{sender.source}: its adverts are as they should be", sender)
        sender.refused = refused

    def _tell(self, kind: Kind, text: str, sender: Sender | None = None) -> None:
        source = sender.source if sender is not None else ""
        masters = tuple(sorted(one.source for one in self.holders))
        event = Event(self.now_us, kind, self.interface, text, self.vrid, self.family, self.instance, source, masters)
        self.bucket.say(self._out, event)
