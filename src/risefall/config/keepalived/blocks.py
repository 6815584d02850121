"""Blocks of a keepalived.conf: the walk through tables of keywords, and the makers of their entries.

A table says of every keyword of a block who reads its line, which table is valid within its braces, and what is done at
their end. The walk imitates what 2.2.7 does with braces that are missing, too many, or behind a keyword that it does not
know: then the first `}` ends the block that it does know (spec/keepalived-track.md §7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from risefall.config.keepalived import numbers
from risefall.config.keepalived.lexer import Lines, column
from risefall.config.keepalived.model import Command, Line, Place
from risefall.config.keepalived.numbers import BOOLEANS, Number
from risefall.config.keepalived.words import shell_words
from risefall.config.text import Diagnostics, Wrong, nearest

Values = dict[str, Any]


class Skip(Exception):
    """The block whose keyword is in hand is passed over. inner: it is already open."""

    def __init__(self, *, inner: bool = False) -> None:
        super().__init__()
        self.inner = inner


class Draft:
    """A block while it is read: its name, its line, and what was said in it."""

    def __init__(self, name: str, line: Line, **values: Any) -> None:
        self.name = name
        self.line = line
        self.values: Values = values
        self.lines: dict[str, Line] = {}
        self.dead = False

    @property
    def place(self) -> Place:
        return Place(self.line.file, self.line.line)

    def at(self, keyword: str) -> Line:
        """The line of a keyword, else that of the block."""
        return self.lines.get(keyword, self.line)


class Walk:
    """One reading: lines, messages, and the blocks that are open."""

    def __init__(self, lines: Lines, diagnostics: Diagnostics) -> None:
        self.lines = lines
        self.diagnostics = diagnostics
        self.open: list[Draft] = []
        self._skip = 0
        self._level = 0
        self._roots: Table = {}

    @property
    def draft(self) -> Draft:
        return self.open[-1]

    def warn(self, line: Line, message: str, help: str = "", at: int | None = None) -> None:
        self._note(line, Wrong(message, help=help), at, error=False)

    def error(self, line: Line, message: str, help: str = "", at: int | None = None) -> None:
        """What keepalived does not start with."""
        self._note(line, Wrong(message, help=help), at, error=True)

    def _note(self, line: Line, wrong: Wrong, at: int | None, *, error: bool) -> None:
        place = column(line, at) if at is not None else column(line, 0)
        noted = Wrong(wrong.message, help=wrong.help, column=place)
        self.diagnostics.add(noted, line.file, line.line, line.raw, error=error)

    # --- the walk ---------------------------------------------------------------------------------------------------

    def run(self, table: Table) -> None:
        """Reads everything."""
        self._roots = table
        while (line := self.lines.next()) is not None:
            self._line(line, table)
        if self.lines.depth > 0:
            self.lines.warn(
                f"There are {self.lines.depth} missing '}}'s or extra '{{'s", "close every block with a '}' of its own"
            )

    def _block(self, table: Table) -> bool:
        """Reads a block to its end. False when it was passed over, so that nothing is done at its end."""
        wants_brace = True
        self._level += 1
        try:
            while (line := self.lines.next()) is not None:
                word = line.words[0]
                if self._skip and self._skipped(word):
                    if word == "}" and not self._skip:
                        return False
                    if self._skip == 1 and word == "{":
                        wants_brace = False
                    continue
                if wants_brace:
                    wants_brace = False
                    if word == "{":
                        continue
                    self.warn(line, "Missing '{' at beginning of configuration block", "write it behind the keyword")
                elif word == "{":
                    self.warn(
                        line, "Unexpected '{' - ignoring", "its '}' ends the block that it stands in: take both out"
                    )
                    continue
                if word == "}":
                    return True
                self._keyword(line, table)
            return True
        finally:
            self._level -= 1

    def _line(self, line: Line, table: Table) -> None:
        """One line outside all blocks."""
        word = line.words[0]
        if self._skip and self._skipped(word):
            return
        if word == "{":
            self.warn(line, "Unexpected '{' - ignoring", "write a keyword before it")
            return
        self._keyword(line, table)

    def _skipped(self, word: str) -> bool:
        """Whether a line belongs to a block that is passed over."""
        if self._skip == -1:
            if word == "{":
                self._skip = 1
                return True
            self._skip = 0
            return False
        self._skip += (word == "{") - (word == "}")
        return True

    def _keyword(self, line: Line, table: Table) -> None:
        entry = table.get(line.words[0])
        if entry is None:
            self._unknown(line, table)
            return
        depth = len(self.open)
        try:
            if entry.read is not None:
                entry.read(self, line)
        except Skip as skip:
            self._skip = 1 if skip.inner else -1
        except Missing as missing:
            self._missing(missing.line or line, missing.at)
            self._skip = -1 if entry.table is not None else self._skip
        except Wrong as wrong:
            self._note(line, wrong, wrong.at, error=wrong.fatal)
        if entry.table is not None:
            begun = len(self.open) > depth
            if not begun and entry.read is not None:
                self.open.append(
                    Draft("", line, family=0, method=None)
                )  # for what stands in a block that is passed over but has no brace
            if self._block(entry.table) and begun and entry.end is not None:
                entry.end(self)
            del self.open[depth:]

    def _unknown(self, line: Line, table: Table) -> None:
        word = line.words[0]
        if word == "}":
            help = "it closes nothing that keepalived knows"
        elif word in self._roots:
            help = "it stands outside all blocks: is a '}' missing above it?"
        else:
            meant = nearest(word, table)
            help = f"did you mean '{meant}'?" if meant else "keepalived 2.2.7 ignores the line"
        self.warn(line, f"Unknown keyword '{word}'", help, 0)

    def _missing(self, line: Line, at: int) -> None:
        before = line.words[at - 1]
        self.error(
            line,
            f"*** Configuration line starting `{line.words[0]}` is missing a parameter after keyword `{before}`"
            f" at word position {at + 1}",
            f"write a value behind '{before}': keepalived ends here",
            at,
        )

    # --- blocks of plain lines ----------------------------------------------------------------------------------------

    def value_lines(self, line: Line, *, named: bool = False) -> list[Line]:
        """The lines of a block without keywords, such as a list of addresses."""
        extra = line.words[2 if named else 1 :]
        if extra:
            self.warn(line, f"Block {line.words[0]} has extra parameters {extra[0]} ...", "take them out", 1)
        found: list[Line] = []
        first = True
        while (inner := self.lines.next()) is not None:
            word = inner.words[0]
            if first and word == "{":
                first = False
                continue
            first = False
            if word == "}":
                break
            found.append(inner)
        return found

    # --- values -----------------------------------------------------------------------------------------------------

    def set(self, line: Line, field: str, value: Any) -> None:
        self.draft.values[field] = value
        self.draft.lines[field] = line

    def leftover(self, line: Line, count: int) -> None:
        """Says that words behind the first <count> are ignored, which keepalived does not say."""
        if len(line.words) > count:
            what = " ".join(line.words[count:])
            help = "write one keyword a line" if count > 1 or "{" in line.raw else "take it out"
            self.warn(line, f"keepalived ignores '{what}' behind '{' '.join(line.words[:count])}'", help, count)

    def judge(self, line: Line, at: int, number: Number, message: str) -> int | None:
        """The value of a number that was read; says what is wrong with it. message: what it means when it is not used."""
        if number.value is None:
            self.warn(line, message, f"{number.complaint}: it is not used", at)
        elif number.complaint:
            self.warn(line, number.complaint, f"keepalived goes on with {number.value}; its -t refuses the file", at)
        return number.value


class Missing(Exception):
    """Word <at> of a line is not there, and keepalived ends. line: None for that of the keyword in hand."""

    def __init__(self, at: int, line: Line | None = None) -> None:
        super().__init__()
        self.at = at
        self.line = line


def word(line: Line, at: int = 1) -> str:
    """A word that has to be there."""
    if at >= len(line.words):
        raise Missing(at)
    return line.words[at]


Read = Callable[[Walk, Line], None]


class Keyword(NamedTuple):
    """One entry of a table. read: who reads the line; table: what may stand within its braces; end: done at the `}`."""

    read: Read | None = None
    table: Mapping[str, Keyword] | None = None
    end: Callable[[Walk], None] | None = None


Table = Mapping[str, Keyword]
"""Keywords of a block by name."""


# --- makers of entries --------------------------------------------------------------------------------------------------


def flag(field: str, value: bool = True) -> Keyword:
    """A keyword alone."""

    def read(walk: Walk, line: Line) -> None:
        walk.set(line, field, value)
        walk.leftover(line, 1)

    return Keyword(read)


def boolean(field: str, message: str) -> Keyword:
    """A keyword alone, or with on, off, true, false, yes, no. message: may hold {name} and {value}."""

    def read(walk: Walk, line: Line) -> None:
        value = True
        if len(line.words) > 1:
            if line.words[1] not in BOOLEANS:
                text = message.format(name=walk.draft.name, value=line.words[1])
                walk.warn(line, text, "write on, off, true, false, yes or no", 1)
                return
            value = BOOLEANS[line.words[1]]
        walk.set(line, field, value)
        walk.leftover(line, 2)

    return Keyword(read)


def text(field: str, *, absent: str = "") -> Keyword:
    """A keyword with one word. absent: what is said without one; empty: keepalived ends."""

    def read(walk: Walk, line: Line) -> None:
        if absent and len(line.words) < 2:
            walk.warn(line, absent.format(name=walk.draft.name), "write a value behind it", 1)
            return
        walk.set(line, field, word(line))
        walk.leftover(line, 2)

    return Keyword(read)


def number(
    field: str,
    low: int,
    high: int,
    message: str,
    *,
    lenient: bool = True,
    instead: int | None = None,
    plus: bool = False,
) -> Keyword:
    """A keyword with a whole number. plus: a sign is allowed. instead: the value when it is wrong; None keeps the old."""

    def read(walk: Walk, line: Line) -> None:
        given = word(line)
        kind = numbers.signed if plus else numbers.unsigned
        read_ = kind(given, low, high, lenient=lenient)
        value = walk.judge(line, 1, read_, message.format(name=walk.draft.name, value=given))
        value = instead if value is None else value
        if value is not None:
            walk.set(line, field, value)
        walk.leftover(line, 2)

    return Keyword(read)


def seconds(field: str, message: str, *, zero: str = "", high: int = numbers.SECONDS_MAX) -> Keyword:
    """A keyword with whole seconds, kept as ms. zero: what is said of 0, which then becomes 1 s."""

    def read(walk: Walk, line: Line) -> None:
        given = word(line)
        value = walk.judge(line, 1, numbers.unsigned(given, 0, high), message.format(name=walk.draft.name, value=given))
        if value is None:
            return
        if value == 0 and zero:
            walk.warn(line, zero.format(name=walk.draft.name), "write at least 1", 1)
            value = 1
        walk.set(line, field, value * 1000)
        walk.leftover(line, 2)

    return Keyword(read)


def timer(
    field: str, message: str, *, low: int = 0, high: int = numbers.TIMER_MAX_US, instead: int | None = None
) -> Keyword:
    """A keyword with seconds and up to six decimals, kept as ms. low, high: in microseconds."""

    def read(walk: Walk, line: Line) -> None:
        given = word(line)
        read_ = numbers.decimal(given, low, high)
        value = walk.judge(line, 1, read_, message.format(name=walk.draft.name, value=given))
        if value is not None:
            walk.set(line, field, numbers.ms(value))
        elif instead is not None:
            walk.set(line, field, instead)
        walk.leftover(line, 2)

    return Keyword(read)


def passed(count: int | None = None) -> Keyword:
    """A keyword that risefall has no use for: its words are kept. count: words without which keepalived ends."""

    def read(walk: Walk, line: Line) -> None:
        if count is not None:
            word(line, count)
        walk.draft.values.setdefault("others", {})[line.words[0]] = line.words[1:]

    return Keyword(read)


def command_of(walk: Walk, line: Line, *, user: bool) -> Command | None:
    """The program of a line, split twice as 2.2.7 does. user: whether user and group may follow it. Raises Missing."""
    words = shell_words(line.text)
    if len(words) < 2:
        raise Missing(1)
    argv = tuple(shell_words(words[1]))
    if not argv:
        if user:  # a script has messages of its own for it
            walk.warn(line, f"Unable to parse script '{words[1]}' - ignoring", "write a command, or take it out", 1)
        return None
    if not user and len(words) > 2:
        walk.warn(
            line,
            f"keepalived ignores '{' '.join(words[2:])}' behind the command '{words[1]}'",
            "put the command and its arguments into one pair of double quotes",
            2,
        )
    extra = words[2:] if user else []
    return Command(argv, extra[0] if extra else None, extra[1] if len(extra) > 1 else None)


def command(field: str, taken: str) -> Keyword:
    """A keyword with a program. taken: what is said when there is one already, which stays."""

    def read(walk: Walk, line: Line) -> None:
        if walk.draft.values.get(field) is not None:
            text = taken.format(name=walk.draft.name, value=line.words[1] if len(line.words) > 1 else "")
            walk.warn(line, text, "the first one stays; take one out", 0)
            return
        walk.set(line, field, command_of(walk, line, user=True))

    return Keyword(read)
