"""What lines of routes and rules have in common: their words one after the other, their family, names of iproute2.

The words are those of `ip route` and `ip rule`, unabbreviated. Source: man page keepalived.conf(5), spec/keepalived-track.md
§7.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

from risefall.config.keepalived import numbers
from risefall.config.keepalived.addresses import plain_address
from risefall.config.keepalived.blocks import Missing, Walk
from risefall.config.keepalived.model import Line, Place, Routing
from risefall.config.keepalived.words import strtol

IPROUTE2 = Path("/etc/iproute2")
OWN_PROTOCOL = 18
"""RTPROT_KEEPALIVED: that of everything which keepalived follows."""
ANYWHERE = {"default": 0, "any": 0, "all": 0, "default6": 6}
"""Words for every address, and the family that they decide."""
TYPES = {
    "local": 2,
    "nat": 10,
    "broadcast": 3,
    "brd": 3,
    "anycast": 4,
    "multicast": 5,
    "prohibit": 8,
    "unreachable": 7,
    "blackhole": 6,
    "xresolve": 11,
    "unicast": 1,
    "throw": 9,
}
TABLES = {"default": 253, "main": 254, "local": 255}
PROTOCOLS = {
    "redirect": 1,
    "kernel": 2,
    "boot": 3,
    "static": 4,
    "gated": 8,
    "ra": 9,
    "mrt": 10,
    "zebra": 11,
    "bird": 12,
    "dnrouted": 13,
    "xorp": 14,
    "ntk": 15,
    "dhcp": 16,
    "keepalived": OWN_PROTOCOL,
    "babel": 42,
}
SCOPES = {"host": 254, "link": 253, "global": 0, "site": 200, "nowhere": 255}
"""Names that need no file; those of /etc/iproute2 come first, as for `ip`."""


class Dropped(Exception):
    """The line is not taken; why has been said."""


@cache
def _named(file: str) -> dict[str, int]:
    """The names in one file of /etc/iproute2; none when it cannot be read."""
    found: dict[str, int] = {}
    try:
        text = (IPROUTE2 / file).read_text(errors="surrogateescape")
    except OSError:
        return found
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2:
            value, end = strtol(words[0])
            if end == len(words[0]):
                found.setdefault(words[1], value)
    return found


def number_of(word: str, file: str, names: Mapping[str, int], most: int) -> int | None:
    """A number of a table, protocol and the like that is given by name or as a C number; None for neither."""
    for known in (_named(file), names):
        if word in known:
            return known[word]
    value, end = strtol(word)
    return value if word and end == len(word) and 0 <= value <= most else None


def realms(word: str) -> bool:
    """Whether `FROM/TO` or `TO` is made of realms."""
    return all(number_of(part, "rt_realms", {}, 65535) is not None for part in word.split("/", 1))


class Item:
    """One line while it is read, and what it comes to."""

    def __init__(self, walk: Walk, line: Line, what: str, groups: Sequence[str] | None) -> None:
        """what: route or rule. groups: the track groups that a static line may name; None for lines of an instance."""
        self.walk, self.line, self.what, self.groups = walk, line, what, groups
        self.at = 0
        self.family = 0
        self.devices: list[str] = []
        self.tracked = True
        self.group: str | None = None
        self.protocol: int | None = None

    # --- words ------------------------------------------------------------------------------------------------------

    @property
    def more(self) -> bool:
        return self.at < len(self.line.words)

    @property
    def word(self) -> str:
        """The word in hand. Raises Missing behind the last."""
        if not self.more:
            raise Missing(self.at, self.line)
        return self.line.words[self.at]

    def take(self) -> str:
        """The word behind that in hand."""
        self.at += 1
        return self.word

    # --- messages ---------------------------------------------------------------------------------------------------

    def say(self, message: str, help: str) -> None:
        self.walk.warn(self.line, message, help, min(self.at, len(self.line.words) - 1))

    def drop(self, message: str, help: str = "") -> NoReturn:
        self.say(message, help or f"keepalived leaves the {self.what} out: correct it, or take it out")
        raise Dropped

    # --- values -----------------------------------------------------------------------------------------------------

    def number(self, low: int, high: int, message: str) -> int:
        """The next word as a decimal number; without one the line is dropped."""
        given = self.take()
        value = self.walk.judge(self.line, self.at, numbers.unsigned(given, low, high), message.format(value=given))
        if value is None:
            raise Dropped
        return value

    def address(self, message: str) -> int:
        """The family of the word in hand, an address without a length."""
        family = plain_address(self.word)
        if not family:
            self.say(f"VRRP parsed invalid IP {self.word}. skipping IP...", "write a numeric address")
            self.drop(message.format(value=self.word))
        return family

    def network(self, message: str) -> int:
        """The family of the word in hand, an address with or without its length, or a word for all; 0 for any family."""
        given = self.word
        if given in ANYWHERE:
            return ANYWHERE[given]
        text, slash, length = given.partition("/")
        most = 128 if ":" in given else 32
        if slash:
            wrong = f"Invalid address prefix len {length} for address {given} - using {most}"
            self.walk.judge(self.line, self.at, numbers.unsigned(length, 0, most), wrong)
        family = plain_address(text)
        if not family:
            self.say(f"VRRP parsed invalid IP {given}. skipping IP...", "write a network, such as 10.1.0.0/16")
            self.drop(message.format(value=given))
        return family

    def agree(self, family: int, message: str) -> None:
        """The first address decides the family; one of the other drops the line."""
        if not self.family:
            self.family = family
        elif self.family != family:
            self.drop(message, "use addresses of one family")

    def name(self, file: str, names: Mapping[str, int], most: int, message: str) -> int:
        given = self.take()
        value = number_of(given, file, names, most)
        if value is None:
            self.drop(message.format(value=given), f"write a number, or a name of {IPROUTE2 / file}")
        return value

    def track_group(self) -> None:
        given = self.take()
        if self.group is not None:
            self.drop(f"track_group {given} is a duplicate", "take one out")
        elif given in (self.groups or ()):
            self.group = given
        else:
            self.say(f"track_group {given} not found", "define the track_group above this line")

    # --- the end ----------------------------------------------------------------------------------------------------

    def done(self) -> Routing:
        if not self.tracked:
            self.devices.clear()
        elif self.protocol not in (None, OWN_PROTOCOL):
            what = self.what.capitalize()
            text = f"{what} cannot be tracked if protocol is not RTPROT_KEEPALIVED({OWN_PROTOCOL}), resetting protocol"
            self.walk.warn(self.line, text, "add no_track, or take the protocol out", 0)
        place = Place(self.line.file, self.line.line)
        return Routing(self.line.text, tuple(dict.fromkeys(self.devices)), self.group, place)
