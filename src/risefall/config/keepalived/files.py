"""Which files a keepalived.conf consists of: `include` and its strict kinds, wildcards, braces, folders.

Source: spec/keepalived-track.md §7.2; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
from typing import NamedTuple

from risefall.config.text import Source, Wrong, read_file
from risefall.errors import ConfigError

INCLUDE = re.compile(r"include([rmwba]?)\s[ \t]*(.*)", re.DOTALL)
READ, MATCH, WILDCARD, BRACE = 1, 2, 4, 8
STRICT = {
    "": 0,
    "r": READ,
    "m": READ | MATCH,
    "w": READ | MATCH | WILDCARD,
    "b": READ | BRACE,
    "a": READ | MATCH | WILDCARD | BRACE,
}
WORDS = {"read": READ, "match": MATCH, "wildcard_match": WILDCARD, "brace_match": BRACE}
DEPTH_MAX = 64
FILES_MAX = 100_000
EXPANSIONS_MAX = 4096
WILD = re.compile(r"[*?\[]")


class Missing(NamedTuple):
    """Something that an include could not have: what keepalived says, and which strict kinds refuse to start on it."""

    kinds: int
    message: str
    help: str


class Included(NamedTuple):
    """What an include gives: files in their order, and what is missing."""

    sources: list[Source]
    missing: list[Missing]


def include_of(text: str) -> tuple[int, str] | None:
    """The strictness and the pattern of an include line; None for another line."""
    found = INCLUDE.match(text)
    return (STRICT[found.group(1)], found.group(2)) if found else None


def find(pattern: str, folder: str) -> Included:
    """The files of an include. folder: where a relative pattern begins. Raises Wrong for a pattern without end."""
    missing: list[Missing] = []
    paths: list[str] = []
    absent = False
    for one in braces(pattern):
        whole = os.path.join(folder, one)
        if WILD.search(one):
            paths.extend(sorted(glob.glob(whole), key=os.fsencode))
            absent = absent or not os.path.isdir(os.path.dirname(whole[: WILD.search(whole).start()]) or ".")  # type: ignore[union-attr]
        elif os.path.lexists(whole):
            paths.append(whole)
        else:
            absent = True
    braced = "{" in pattern
    if not paths:
        help = f"create it, or correct the path, which begins at {folder or '.'}"
        if absent:
            missing.append(Missing(BRACE if braced else MATCH, f"Config files missing '{pattern}'.", help))
        else:
            missing.append(Missing(WILDCARD, f"No config files matched '{pattern}'.", help))
    elif absent:
        missing.append(Missing(BRACE, f'Some config files missing: "{pattern}".', "create them, or take them out"))
    sources = []
    for path in paths[:FILES_MAX]:
        problem = unfit(path)
        if problem:
            missing.append(Missing(READ, *problem))
            continue
        try:
            sources.append(read_file(path))
        except ConfigError as error:
            why = str(error).partition("cannot be read: ")[2].partition("\n")[0] or "cannot be read"
            problem = f"Configuration file '{path}' open problem ({why}) - skipping", "check its permissions"
            missing.append(Missing(READ, *problem))
    return Included(sources, missing)


def unfit(path: str) -> tuple[str, str] | None:
    """Why keepalived passes over a file, and what to do about it; None if it reads it."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = 0
    if stat.S_ISDIR(mode):
        return f"Configuration file '{path}/' is a directory - skipping", f"write {path}/*.conf"
    if not stat.S_ISREG(mode) or mode & 0o111:
        help = f"chmod a-x {path}" if stat.S_ISREG(mode) else "name a regular file"
        return f"Configuration file '{path}' is not a regular non-executable file - skipping", help
    return None


def braces(pattern: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`, nested ones too; a brace without its end stays as text. Raises Wrong for too many."""
    done: list[str] = []
    left = [pattern]
    while left:
        text = left.pop(0)
        if len(done) + len(left) > EXPANSIONS_MAX:
            raise Wrong(f"an include of more than {EXPANSIONS_MAX} braces", help="use a wildcard")
        parts = _first_brace(text)
        if parts is None:
            done.append(text)
        else:
            left[:0] = parts
    return done


def _first_brace(text: str) -> list[str] | None:
    start = text.find("{")
    if start < 0 or text[start : start + 2] == "{}":
        return None
    depth, cuts = 0, [start]
    for at in range(start, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "," and depth == 1:
            cuts.append(at)
        elif text[at] == "}":
            depth -= 1
            if not depth:
                cuts.append(at)
                inside = [text[a + 1 : b] for a, b in itertools.pairwise(cuts)]
                return [text[:start] + one + text[at + 1 :] for one in inside]
    return None
