"""The entries of `track_*` blocks of instances and sync groups.

Source: spec/keepalived-track.md §2.1; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from typing import NamedTuple

from risefall.config.keepalived import numbers
from risefall.config.keepalived.blocks import Keyword, Walk
from risefall.config.keepalived.model import Line, Place, Tracked
from risefall.config.keepalived.trackers import Known
from risefall.config.text import nearest


class Kind(NamedTuple):
    """How the entries of one `track_*` block are read. limit: of the weight; wrong: what is said outside it."""

    key: str
    limit: int
    wrong: str
    clamped: bool = False
    noreverse: bool = True


KINDS = {
    "track_interface": Kind(
        "interface",
        254,
        "({owner}) weight {value} for {name} must be between [-253..253] inclusive. Ignoring...",
        True,
        False,
    ),
    "track_script": Kind(
        "script",
        254,
        "({owner}) track script {name}: weight must be between [-253..253] inclusive, ignoring...",
        True,
    ),
    "track_file": Kind(
        "file", 254, "({owner}) weight for track file {name} must be in [-254..254] inclusive. Ignoring..."
    ),
    "track_process": Kind(
        "process", 254, "({owner}) weight for track process {name} must be in [-254..254] inclusive. Ignoring..."
    ),
    "track_bfd": Kind(
        "bfd", 253, "({owner}) weight for track bfd {name} must be in [-253..253] inclusive. Ignoring..."
    ),
}


def entries(keyword: str, field: str, known: Known) -> Keyword:
    """A `track_*` block of an instance or a group; what stands in a second block is added."""
    kind = KINDS[keyword]

    def read(walk: Walk, line: Line) -> None:
        found: list[Tracked] = walk.draft.values.setdefault(field, [])
        for inner in walk.value_lines(line):
            one = _entry(walk, inner, kind, found, known)
            if one is not None:
                found.append(one)

    return Keyword(read)


def _entry(walk: Walk, line: Line, kind: Kind, found: list[Tracked], known: Known) -> Tracked | None:
    owner, name, words = walk.draft.name, line.words[0], line.words
    weight, reverse = 0, False
    if kind.key != "interface":
        definition = known.find(kind.key, name)
        if definition is None:
            meant = nearest(name, [one.name for one in known.all(kind.key)])
            help = f"did you mean '{meant}'?" if meant else "define it above this line: now it is not tracked"
            walk.warn(line, f"({owner}) track {kind.key} {name} not found, ignoring...", help, 0)
            return None
        weight, reverse = definition.weight, definition.reverse
    if any(one.name == name for one in found):
        walk.warn(line, f"({owner}) duplicate track_{kind.key} {name} - ignoring", "the first one stays", 0)
        return None
    if len(words) > 1:
        if words[1] != "weight":
            what = f"track_interface {name}" if kind.key == "interface" else f"track {kind.key}"
            what += f" {name}" if kind.key == "bfd" else ""
            walk.warn(line, f"({owner}) unknown {what} option {words[1]} - ignoring", "write weight N, or nothing", 1)
            return None
        if len(words) == 2:
            what = "track_interface" if kind.key == "interface" else f"track {kind.key}"
            walk.warn(
                line, f"({owner}) weight without value specified for {what} {name} - ignoring", "write a number", 2
            )
            return None
        weight = _entry_weight(walk, line, kind, weight)
    if len(words) > 3:
        allowed = {"reverse": True, "noreverse": False} if kind.noreverse else {"reverse": True}
        if words[3] in allowed:
            reverse = allowed[words[3]]
        else:
            what = {"interface": "track_interace", "script": "track_script", "process": "track_process"}.get(
                kind.key, f"track {kind.key}"
            )
            text = f"({owner}) unknown {what} {name} weight option {words[3]} - ignoring"
            walk.warn(line, text, f"write {' or '.join(allowed)}", 3)
            if kind.key in ("file", "bfd"):
                return None
    walk.leftover(line, 4)
    return Tracked(name, weight, reverse, Place(line.file, line.line))


def _entry_weight(walk: Walk, line: Line, kind: Kind, default: int) -> int:
    owner, name, given = walk.draft.name, line.words[0], line.words[2]
    message = kind.wrong.format(owner=owner, name=name, value=given)
    value = walk.judge(line, 2, numbers.signed(given, -kind.limit, kind.limit), message)
    if value is None:
        return default
    if kind.clamped and abs(value) == 254:
        walk.warn(line, f"({owner}) weight for {name} cannot be +/-254. Setting to +/-253", "write 253", 2)
        return 253 if value > 0 else -253
    return value
