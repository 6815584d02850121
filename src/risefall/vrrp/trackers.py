"""What an instance tracks, and what each tracker has told: how much it gives or takes, and whether it is a fault.

A tracker with a weight moves the priority; one without drives FAULT. A file does both.
Source: spec/keepalived-track.md §1.7 (table of weights), §2; `trackers/track_file.c` of 2.2.7.
"""

from __future__ import annotations

import re
from enum import Enum

import msgspec

FILE_BYTES = 127
FILE_MAX = 253
FILE_FAULT = -254
INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")


class Kind(Enum):
    """What is tracked; the limit of its weight differs (§2.1)."""

    SCRIPT = "script"
    FILE = "file"
    PROCESS = "process"
    INTERFACE = "interface"
    BFD = "bfd"


WEIGHT_MAX = {Kind.SCRIPT: 253, Kind.FILE: 254, Kind.PROCESS: 254, Kind.INTERFACE: 253, Kind.BFD: 253}
WEIGHT_DEFAULT = {Kind.SCRIPT: 0, Kind.FILE: 1, Kind.PROCESS: 0, Kind.INTERFACE: 0, Kind.BFD: 0}


class Tracked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a track_… block, its definition's weight and direction already joined in.

    weight: kept as written for a script even out of range; only the sum is clamped.
    """

    kind: Kind
    name: str
    weight: int = 0
    reverse: bool = False

    @property
    def key(self) -> str:
        """Names it among all trackers of an instance, and is the fault's reason."""
        return f"{self.kind.value} {self.name}"


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the tracked thing. up: None before the first result. value: of a file only."""

    up: bool | None = None
    value: int = 0


UNKNOWN = Reading()
UP = Reading(up=True)
DOWN = Reading(up=False)

AT_START = {
    Kind.SCRIPT: UNKNOWN,
    Kind.FILE: Reading(up=True, value=0),
    Kind.PROCESS: DOWN,
    Kind.INTERFACE: UP,
    Kind.BFD: DOWN,
}
"""Until something is read; keepalived reads files, processes and interfaces before its instances start."""


class Effect(msgspec.Struct, frozen=True):
    """points: what the priority gets. fault: FAULT as long as it is so. pending: holds the instance back at start."""

    points: int = 0
    fault: bool = False
    pending: bool = False


def effect(tracked: Tracked, reading: Reading) -> Effect:
    """The tables of §1.7 and §2.3."""
    if tracked.kind is Kind.FILE:
        return _file_effect(tracked, reading.value)
    if reading.up is None:
        return Effect(pending=tracked.weight == 0)
    if tracked.weight == 0:
        return Effect(fault=reading.up is tracked.reverse)
    sign = -1 if tracked.reverse else 1
    counts = reading.up if tracked.weight > 0 else not reading.up
    return Effect(points=tracked.weight * sign if counts else 0)


def _file_effect(tracked: Tracked, value: int) -> Effect:
    if tracked.weight == 0:
        return Effect(fault=(value == 0) is tracked.reverse)
    points = value * tracked.weight * (-1 if tracked.reverse else 1)
    if points <= FILE_FAULT:
        return Effect(fault=True)
    return Effect(points=min(points, FILE_MAX))


def file_value(content: bytes | None, last: int) -> int:
    """The number in a track file, as strtol with base 0 reads it.

    Args:
        content: None when the file is missing or unreadable.
        last: the value before, which stays when the number does not fit.
    """
    found = _NUMBER.match((content or b"")[:FILE_BYTES].split(b"\0")[0])
    if not found:
        return 0
    digits = found[2]
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits.startswith(b"0") else 10
    number = int(digits, base) * (-1 if found[1] == b"-" else 1)
    # keepalived takes one more than an int32 holds.
    return number if INT32_MIN <= number <= INT32_MAX + 1 else last


def has_quorum(count: int, quorum: int = 1, quorum_max: int | None = None) -> bool:
    """Whether a tracked process is good; zombies are not counted. quorum_max 0: it must not run."""
    if quorum_max == 0:
        return count == 0
    return count >= quorum and (quorum_max is None or count <= quorum_max)
