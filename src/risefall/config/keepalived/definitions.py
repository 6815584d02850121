"""`$NAME=VALUE`, its uses, and the repeaters `~SEQ` and `~LST` of keepalived.conf.

A use is replaced when its line is read, so a later definition counts for later lines, and what was put in is looked at
again. Source: spec/keepalived-track.md §7.2; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from risefall.config.keepalived.words import strtol
from risefall.config.text import Wrong

DEFINES = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)=[ \t]*")
USE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)(?=[ \t,)]|$)|\$\{([A-Za-z_][A-Za-z0-9_]*)((?:[ 0-9]*[0-9])?)\}")
LINE_BYTES_MAX = 1024
EXPANSIONS_MAX = 10_000
"""Uses in one line: more can only be a definition that holds itself, on which keepalived 2.2.7 hangs."""
SEQUENCE_MAX = 1_000_000
RANDOM_MAX = 32767
SEQ_HELP = "write ~SEQ(name, [start, [step,]] end) and the line to repeat"
LST_HELP = "write ~LST(name, a, b) or ~LST({name1, name2}, {a, b}, {c, d}) and the line to repeat"


class Definitions:
    """What every `$NAME` stands for at this place of the reading."""

    def __init__(self, instance: str, folder: Callable[[], str], random: Callable[[int, int], int]) -> None:
        self._values: dict[str, str] = {"_INSTANCE": instance, "_HASH": "#", "_BANG": "!"}
        self._folder = folder
        self._random = random
        self._own: set[str] = set()

    def set(self, name: str, value: str) -> None:
        """Defines a name; one of keepalived's own can be defined anew."""
        self._values[name] = value
        self._own.add(name)

    def _value(self, name: str, parameters: str) -> str | None:
        if name not in self._own:
            if name == "_RANDOM":
                return self._draw(parameters)
            if name == "_PWD" and not parameters:
                return self._folder()
        return None if parameters else self._values.get(name)

    def _draw(self, parameters: str) -> str:
        numbers = [int(word[:6]) for word in parameters.split()[:2]]
        low = numbers[0] if numbers else 0
        high = numbers[1] if len(numbers) > 1 else RANDOM_MAX
        return str(self._random(min(low, high), max(low, high)))

    def expand(self, text: str) -> tuple[str, list[str]]:
        """A line with its uses replaced, and the lines that follow it when a definition has several.

        Raises Wrong when it does not end.
        """
        after: list[str] = []
        at = 0
        for _ in range(EXPANSIONS_MAX):
            found = USE.search(text, at)
            if not found:
                return text, after
            value = self._value(found.group(1) or found.group(2), found.group(3) or "")
            if value is None or ("\n" in value and found.end() < len(text)):
                at = found.start() + 1
                continue
            first, *rest = value.split("\n")
            after = rest + after
            text = text[: found.start()] + first + text[found.end() :]
            if len(text.encode("utf-8", "surrogateescape")) > LINE_BYTES_MAX:
                raise Wrong(
                    "parameter substitution makes the line longer than 1024 bytes",
                    help="shorten the definitions that it uses",
                    soft=True,
                )
            at = found.start()
            if first.lstrip(" \t").startswith("~"):
                return text, after
        raise Wrong("a definition holds itself: keepalived never ends reading it", fatal=True, help="take it out")


class Sequence:
    """One `~SEQ` or `~LST`: each turn defines its names and gives its line once more."""

    def __init__(self, text: str, turns: Iterator[dict[str, str]]) -> None:
        self._text = text
        self._turns = turns

    def next(self, definitions: Definitions) -> str | None:
        """The line of the next turn, None after the last."""
        turn = next(self._turns, None)
        if turn is None:
            return None
        for name, value in turn.items():
            definitions.set(name, value)
        return self._text


def sequence(text: str, definitions: Definitions) -> Sequence:
    """Reads `~SEQ(…) line` or `~LST(…) line`. Raises Wrong for what keepalived cannot make out."""
    return _seq(text, definitions) if text.startswith("~SEQ") else _lst(text)


def _seq(text: str, definitions: Definitions) -> Sequence:
    found = re.match(r"~SEQ(x?)[ \t]*\([ \t]*([^ \t,)]+)[ \t]*,[ \t]*([^)]*\))[ \t]*", text)
    if not found:
        raise Wrong(f"Invalid ~SEQ definition '{text}'", help=SEQ_HELP)
    inside, several = definitions.expand(found.group(3))
    if several:
        raise Wrong(f"~SEQ parameter is multiline definition '{text}'", help="use a definition of one line")
    numbers, at = [], 0
    while True:
        value, at = strtol(inside, at)
        numbers.append(value)
        at += len(inside[at:]) - len(inside[at:].lstrip(" \t"))
        if inside[at : at + 1] == ")":
            break
        if inside[at : at + 1] != "," or len(numbers) == 3:
            raise Wrong(f"Invalid ~SEQ definition '{text}'", help=SEQ_HELP)
        at += 1
    match numbers:
        case [end]:
            start, step = (-1 if end < 0 else 1), (-1 if end < 1 else 1)
        case [start, end]:
            step = 1 if start <= end else -1
        case _:
            start, step, end = numbers
            if not step or (start < end and step < 0) or (start > end and step > 0):
                raise Wrong(f"Invalid ~SEQ values '{text}'", help="let the step lead from the start to the end")
    hexadecimal = bool(found.group(1))
    if hexadecimal and (start < 0 or end < 0):
        raise Wrong(f"~SEQx is only valid for positive numbers '{text}'", help="write ~SEQ for negative ones")
    if abs(end - start) // abs(step) > SEQUENCE_MAX:
        raise Wrong(f"~SEQ of more than {SEQUENCE_MAX} lines", help="this is no configuration", fatal=True)
    values = range(start, max(end, start) + 1, step) if step > 0 else range(start, min(end, start) - 1, step)
    name = found.group(2)
    return Sequence(
        text[found.end() :],
        ({name: format(value, "x") if hexadecimal else str(value)} for value in values),
    )


def _lst(text: str) -> Sequence:
    found = re.match(r"~LST[ \t]*\([ \t]*", text)
    if not found:
        raise Wrong(f"Invalid ~LST specification '{text}'", help=LST_HELP)
    names, at = _members(text, found.end(), stop=",", first=True)
    turns: list[dict[str, str]] = []
    while True:
        values, at = _members(text, at, stop=",", first=False)
        if len(values) > len(names):
            raise Wrong(f"~LST specification has too many values '{text}'", help="give one value to each name")
        turns.append({name: values[i] if i < len(values) else "" for i, name in enumerate(names)})
        if text[at : at + 1] == ")":
            break
        if text[at : at + 1] != ",":
            raise Wrong(f"Invalid ~LST specification '{text}'", help=LST_HELP)
        at = _skip(text, at + 1)
    return Sequence(text[_skip(text, at + 1) :], iter(turns))


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _members(text: str, at: int, *, stop: str, first: bool) -> tuple[list[str], int]:
    """`a` or `{a, b}` at a place; for the names, the comma behind them is passed too."""
    braced = text[at : at + 1] == "{"
    if braced:
        at = _skip(text, at + 1)
        stop = "}"
    members = []
    while True:
        word = re.compile(r"[^ \t,}]*" if first else r"[^ \t,})]*").match(text, at)
        assert word is not None
        members.append(word.group())
        at = _skip(text, word.end())
        char = text[at : at + 1]
        if char == stop or (char == ")" and not braced and not first):
            break
        if char != ",":
            raise Wrong(f"Invalid ~LST specification '{text}'", help=LST_HELP)
        at = _skip(text, at + 1)
    if braced:
        at = _skip(text, at + 1)
    if first:
        if text[at : at + 1] != ",":
            raise Wrong(f"Invalid ~LST specification '{text}'", help=LST_HELP)
        at = _skip(text, at + 1)
    return members, at
