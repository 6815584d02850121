"""Scripts that ask risefall for scripts: a ring of them would wait for itself, and is refused with its chain.

An edge is a command `risefall-track ... script NAME`, in the arguments of a script, or in the text of the program that it runs, and of
the programs that this one names by an absolute path in turn.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable

import msgspec

from risefall.config.keepalived.model import Config, Script
from risefall.errors import ConfigError

TRACK = "risefall-track"
ASKS = re.compile(rb"risefall-track\b((?:[ \t]+[^\s;|&]+)*?)[ \t]+script[ \t]+([^\s;|&)`]+)")
NAMES = re.compile(rb"(?<![\w/.-])(/[\w./-]+)")
TEXT_BYTES = 65536
FILES_MAX = 64
"""Programs that are looked into for one script."""


class Asked(msgspec.Struct, frozen=True):
    """One edge. where: the file and line that asks, "" for the command of the script itself."""

    name: str
    where: str


def asked_by(script: Script) -> list[Asked]:
    """Whose results this script asks risefall for."""
    found: dict[str, str] = {}
    words = script.command.argv
    _words_ask(words, found)
    looked: set[str] = set()
    waiting = [word for word in words if word.startswith("/")]
    while waiting and len(looked) < FILES_MAX:
        path = os.path.realpath(waiting.pop())
        if path in looked:
            continue
        looked.add(path)
        waiting += _file_asks(path, found)
    return [Asked(name, where) for name, where in found.items()]


def _words_ask(words: Iterable[str], found: dict[str, str]) -> None:
    text = " ".join(shlex.quote(word) if " " not in word else word for word in words)
    for told in ASKS.finditer(text.encode("utf-8", "surrogateescape")):
        found.setdefault(_name(told[2]), "")


def _name(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape").strip("'\"")


def _file_asks(path: str, found: dict[str, str]) -> list[str]:
    """Looks into a program that is a text; the further programs that it names."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"#!":
                return []
            text = file.read(TEXT_BYTES)
    except OSError:
        return []
    lines = text.split(b"\n")
    for number, line in enumerate(lines[1:], 2):
        if line.lstrip().startswith(b"#"):
            continue
        for told in ASKS.finditer(line):
            found.setdefault(_name(told[2]), f"{path}:{number}")
    return [one.decode("utf-8", "surrogateescape") for line in lines[1:] for one in NAMES.findall(line)]


def refuse_rings(config: Config) -> None:
    """Raises ConfigError with every script that asks for itself, directly or through others."""
    scripts = {one.name: one for one in reversed(config.scripts)}
    edges = {name: asked_by(one) for name, one in scripts.items()}
    wrong: list[str] = []
    told: set[frozenset[str]] = set()
    for name in (one.name for one in config.scripts):
        chain = _ring(name, edges)
        if chain is None or frozenset(one.name for one in chain) in told:
            continue
        told.add(frozenset(one.name for one in chain))
        place = scripts[name].place
        where = "".join(f"\n    {one.where} asks for {one.name}" for one in chain if one.where)
        text = " -> ".join([name, *(one.name for one in chain)])
        wrong.append(
            f"{place.file}:{place.line}: error: vrrp_script {name} asks risefall for itself: {text}{where}\n"
            f"  help: let one of them do its check itself: `{TRACK} script` only repeats what risefall has found"
        )
    if wrong:
        raise ConfigError("\n".join(wrong))


def _ring(start: str, edges: dict[str, list[Asked]]) -> list[Asked] | None:
    """The shortest chain from a script back to it."""
    chains: list[list[Asked]] = [[one] for one in edges[start]]
    seen: set[str] = set()
    while chains:
        chain = chains.pop(0)
        last = chain[-1].name
        if last == start:
            return chain
        if last in seen:
            continue
        seen.add(last)
        chains += [[*chain, one] for one in edges.get(last, ())]
    return None
