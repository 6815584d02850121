"""The effective priority of an instance with all its trackers, and its reasons for FAULT.

The total is an unbounded sum; the effective priority is the total clamped, so a recovery starts from the total.
Source: spec/keepalived-track.md §3.1, §3.2, §5.3, §5.4, vectors §1.10.
Differs: reasons of a fault are a set, as 2.2.7's count is; HEAD leaves FAULT when one of two interfaces recovers.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from risefall.vrrp.settings import OWNER
from risefall.vrrp.trackers import AT_START, UNKNOWN, Kind, Reading, Tracked, effect

EFFECTIVE_MIN = 1
EFFECTIVE_MAX = 254


def effective_priority(base: int, total: int) -> int:
    """What an advert carries. base: 1..255; total: any. An owner's stays 255."""
    if base == OWNER:
        return OWNER
    return min(max(total, EFFECTIVE_MIN), EFFECTIVE_MAX)


class Kept(msgspec.Struct, frozen=True):
    """trackers: what acts. said: why others do not, one line each."""

    trackers: tuple[Tracked, ...]
    said: tuple[str, ...]


def kept_trackers(
    own: Iterable[Tracked],
    of_group: Iterable[Tracked] = (),
    *,
    owner: bool = False,
    owner_in_group: bool = False,
    in_group: bool = False,
    sync_group_tracking_weight: bool = False,
) -> Kept:
    """Which trackers of an instance and of its group act, with which weights.

    An owner's weighted trackers are dropped, as are those of a group with an owner in it; of a sync group's member the
    weighted scripts and BFDs are dropped unless `sync_group_tracking_weight` is set; a weighted process is kept (spec §13,
    40), and so is a weighted interface, although 2.2.7 logs that it ignores the weight.
    """
    said: list[str] = []
    used: dict[str, Tracked] = {}
    group = {one.key: one for one in reversed([*of_group])}
    for tracked in own:
        if tracked.key in used:
            said.append(f"duplicate track_{tracked.kind.value} {tracked.name} - ignoring")
            continue
        if tracked.key in group and tracked.weight != 0:
            said.append(f"{tracked.name} is configured on VRRP instance and sync group. Remove vrrp instance config")
            continue
        group.pop(tracked.key, None)
        mended = _member(tracked, owner, in_group and not sync_group_tracking_weight, said)
        if mended is not None:
            used[tracked.key] = mended
    for tracked in reversed(group.values()):
        if tracked.weight and owner_in_group:
            tracked = msgspec.structs.replace(tracked, weight=0)
        used[tracked.key] = tracked
    return Kept(trackers=tuple(used.values()), said=tuple(said))


def _member(tracked: Tracked, owner: bool, synced: bool, said: list[str]) -> Tracked | None:
    """One tracker of an instance after the rules for owners and sync groups, or None when it is dropped."""
    if tracked.weight == 0 or not (owner or synced):
        return tracked
    if tracked.kind is Kind.INTERFACE:
        what = "due to address owner" if owner else "weight due to SYNC group"
        said.append(f"ignoring {tracked.name} tracked interface {what}")
        return None if owner else tracked
    if tracked.kind is Kind.FILE and tracked.weight == 1:
        return msgspec.structs.replace(tracked, weight=0)
    if tracked.kind is Kind.PROCESS and not owner:
        return tracked
    why = "address_owner" if owner else "SYNC group"
    said.append(f"ignoring tracked {tracked.kind.value} {tracked.name} with weights due to {why}")
    return None


class Standing(msgspec.Struct, frozen=True):
    """What all trackers of one instance come to. faults: keys of what is at fault; pending: of what holds it back."""

    total: int
    effective: int
    faults: frozenset[str]
    pending: frozenset[str]


class Trackers:
    """The trackers of one instance and what each has told last. Feed `read`; `standing` is what follows."""

    def __init__(self, base: int, tracked: Iterable[Tracked]) -> None:
        """base: 1..255."""
        self.base = base
        self.tracked = {one.key: one for one in tracked}
        self.readings = {one.key: AT_START[one.kind] for one in self.tracked.values()}

    def read(self, key: str, reading: Reading) -> None:
        """A tracker tells. Raises: KeyError when the instance does not track it."""
        if key not in self.tracked:
            raise KeyError(key)
        self.readings[key] = reading

    def points(self, key: str) -> int:
        """What this tracker gives or takes now."""
        return effect(self.tracked[key], self.readings[key]).points

    def standing(self) -> Standing:
        """Sums all trackers."""
        return self._sum(self.readings)

    def supposing(self, key: str, reading: Reading) -> Standing:
        """What all would come to if this tracker told that."""
        return self._sum({**self.readings, key: reading})

    def _sum(self, readings: dict[str, Reading]) -> Standing:
        effects = {key: effect(tracked, readings[key]) for key, tracked in self.tracked.items()}
        total = self.base if self.base == OWNER else self.base + sum(one.points for one in effects.values())
        return Standing(
            total=total,
            effective=effective_priority(self.base, total),
            faults=frozenset(key for key, one in effects.items() if one.fault),
            pending=frozenset(key for key, one in effects.items() if one.pending),
        )

    def forget(self, key: str) -> None:
        """A reload changed this script: it gives nothing until its next result, and holds nobody back."""
        self.readings[key] = UNKNOWN
