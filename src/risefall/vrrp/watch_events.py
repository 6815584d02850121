"""What a watch tells, and how much of it at once."""

from __future__ import annotations

from enum import Enum

import msgspec

from risefall.vrrp.settings import US_PER_S

EVENTS_AT_ONCE = 40
EVENT_EVERY_US = US_PER_S // 2


class Kind(Enum):
    """What an event is about; the value is its `kind` in JSON."""

    MASTER = "master"
    TAKEOVER = "takeover"
    RESIGNED = "resigned"
    LOST = "lost"
    NOBODY = "nobody"
    TWO_MASTERS = "two_masters"
    ONE_MASTER = "one_master"
    RIVAL = "rival"
    PRIORITY = "priority"
    CHANGED = "changed"
    REFUSED = "refused"
    ACCEPTED = "accepted"
    WRONG = "wrong"
    MALFORMED = "malformed"
    INTERFACE = "interface"
    FLOOD = "flood"


class Event(msgspec.Struct, frozen=True):
    """text: for people, without interface and router. vrid: 0 where it is about the interface. at_us: the caller's clock.

    masters: those of the router from then on.
    """

    at_us: int
    kind: Kind
    interface: str
    text: str
    vrid: int = 0
    family: int = 0
    instance: str = ""
    source: str = ""
    masters: tuple[str, ...] = ()


class Bucket:
    """So many events at once, and one each half second."""

    __slots__ = ("_full_us", "held")

    def __init__(self) -> None:
        self._full_us = 0
        """When it will be full again."""
        self.held = 0

    def allows(self, now_us: int) -> bool:
        full_us = max(self._full_us, now_us) + EVENT_EVERY_US
        if full_us - now_us > EVENTS_AT_ONCE * EVENT_EVERY_US:
            self.held += 1
            return False
        self._full_us = full_us
        return True

    def say(self, out: list[Event], event: Event) -> None:
        """Appends it if there is room, and first how many there was none for."""
        if not self.allows(event.at_us):
            return
        if self.held:
            text = f"{self.held} more events were too many to tell"
            out.append(msgspec.structs.replace(event, kind=Kind.FLOOD, text=text, source=""))
            self.held = 0
        out.append(event)
