"""Where in a TOML text each key and each element of an array of tables stands.

tomllib says what a file holds, not where. This finds the places by a scan that knows only as much TOML as that takes:
headers, keys at the start of a line, and where texts and arrays of several lines end. It runs after tomllib has
accepted the file, so it may trust its form.
"""

from __future__ import annotations

import re

import msgspec

Step = str | int
Where = tuple[Step, ...]

KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
DOTTED = rf"{KEY}(?:[ \t]*\.[ \t]*{KEY})*"
HEADER = re.compile(rf"[ \t]*(\[\[|\[)[ \t]*({DOTTED})[ \t]*\]")
ENTRY = re.compile(rf"[ \t]*({DOTTED})[ \t]*=")
INLINE = re.compile(rf"[{{,][ \t]*({KEY})[ \t]*=")
PIECE = re.compile(KEY)
LITERAL = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'|" r"#[^\n]*", re.DOTALL
)


class Spot(msgspec.Struct, frozen=True):
    """A place in a file: line and column, from 1."""

    line: int
    column: int


def blanked(text: str) -> str:
    """The text with values that are literals and with comments made blank, of the same length and lines."""

    def blank(found: re.Match[str]) -> str:
        literal = found.group()
        before = text.rfind("\n", 0, found.start()) + 1
        after = text[found.end() : found.end() + 80].lstrip(" \t")[:1]
        if literal[0] != "#" and (after in ("=", ".", "]") and not text[before : found.start()].count("=")):
            return literal  # a quoted key
        return re.sub(r"[^\n]", " ", literal)

    return LITERAL.sub(blank, text)


def pieces(dotted: str) -> list[str]:
    """The names of a dotted key, quotes taken off."""
    return [name[1:-1] if name[0] in "\"'" else name for name in PIECE.findall(dotted)]


def find_places(text: str) -> dict[Where, Spot]:
    """Each key's and each array element's place; `("service", "app", "signal", 2, "kind")` -> line and column."""
    places: dict[Where, Spot] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    depth = 0
    for number, line in enumerate(blanked(text).split("\n"), 1):
        if depth == 0 and (header := HEADER.match(line)):
            table = enter(header, number, places, counts)
            continue
        if depth == 0 and (entry := ENTRY.match(line)):
            where = table
            for name in pieces(entry[1]):
                where = (*where, name)
                places.setdefault(where, Spot(number, entry.start(1) + 1))
            for inline in INLINE.finditer(line, entry.end()):
                places.setdefault((*where, *pieces(inline[1])), Spot(number, inline.start(1) + 1))
        depth = max(0, depth + sum(line.count(char) for char in "[{") - sum(line.count(char) for char in "]}"))
    return places


def enter(header: re.Match[str], number: int, places: dict[Where, Spot], counts: dict[Where, int]) -> Where:
    """Notes a `[table]` or an element of `[[tables]]`; returns where what follows belongs."""
    where: Where = ()
    names = pieces(header[2])
    for name in names[:-1]:
        where = (*where, name)
        places.setdefault(where, Spot(number, header.start(2) + 1))
        if where in counts:
            where = (*where, counts[where] - 1)
    where = (*where, names[-1])
    places.setdefault(where, Spot(number, header.start(2) + 1))
    if header[1] == "[[":
        counts[where] = counts.get(where, 0) + 1
        where = (*where, counts[where] - 1)
        places[where] = Spot(number, header.start(2) + 1)
    return where


def nearest_place(places: dict[Where, Spot], where: Where) -> Spot | None:
    """The place of a key, else of what holds it."""
    while where:
        if where in places:
            return places[where]
        where = where[:-1]
    return None


def spelled(where: Where) -> str:
    """`service.app.signal[2].kind`; elements are counted from 1, as people do."""
    out = ""
    for step in where:
        out += f"[{step + 1}]" if isinstance(step, int) else (f".{step}" if out else step)
    return out
