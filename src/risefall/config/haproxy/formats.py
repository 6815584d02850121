"""Log-format strings and sample expressions as check rules hold them, read into structs; nothing is evaluated here.

A log-format is text with `%variable`, `%[expression]` and `%%`; `%{+Q}` before one of them sets flags for it, before `%o` for
all that follow. An expression is a fetch and converters: `fetch(args),converter(args)`. Which names exist, and what they take,
`engine/formats.py` knows. Source: haproxy configuration manual 2.6, §2.3, §7.3, §8.2.4; odd cases were run against 2.6.12.
"""

from __future__ import annotations

import enum
import re

import msgspec

NAME = re.compile(r"[A-Za-z0-9_.:+-]*", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)
BLANK_OR_DIGIT = " \t0123456789"
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", " ": " ", '"': '"', "'": "'"}


class FormatError(Exception):
    """A text that is no format, or no expression. at: the place inside the text, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} at position {at + 1}")
        self.message = message
        self.at = at


class Flags(enum.Flag):
    """How a value is written: in quotes, with escapes, in hexadecimal, `-` when it is empty."""

    QUOTE = enum.auto()
    ESCAPE = enum.auto()
    HEX = enum.auto()
    MANDATORY = enum.auto()


FLAG_LETTERS = {"Q": Flags.QUOTE, "E": Flags.ESCAPE, "X": Flags.HEX, "M": Flags.MANDATORY}


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fetch or a converter. args: None without parentheses, which a few tell from empty ones. at: place in the text."""

    name: str
    args: tuple[str, ...] | None = None
    at: int = 0


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fetch and what is done with its value, in order."""

    fetch: Call
    converters: tuple[Call, ...] = ()
    flags: int = 0
    """`Flags` in a format; 0 elsewhere."""


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text that is written as it is."""

    text: str


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`%name` of a log-format."""

    name: str
    flags: int = 0
    at: int = 0


Piece = Text | Expression | Variable


def parse_format(text: str) -> tuple[Piece, ...]:
    """The pieces of a log-format, in order; never two texts behind each other. Raises FormatError."""
    return _FormatReader(until_nul(text)).pieces()


def parse_expression(text: str) -> Expression:
    """A sample expression alone; commas at its end are passed over. Raises FormatError."""
    text = until_nul(text).rstrip(",")
    expression, at = _expression(text, 0, 0)
    if at < len(text):
        raise FormatError(f"unexpected '{text[at]}' after the expression", at)
    return expression


def until_nul(text: str) -> str:
    """What HAProxy sees of a text: it ends at the first NUL."""
    return text.partition("\0")[0]


# --- formats -------------------------------------------------------------------------------------------


class _FormatReader:
    """Goes through a format once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: list[Piece] = []
        self._plain: list[str] = []
        self._flags = Flags(0)  # those that `%{...}o` set for the rest

    def pieces(self) -> tuple[Piece, ...]:
        text, at = self._text, 0
        while at < len(text):
            percent = text.find("%", at)
            if percent < 0:
                percent = len(text)
            self._plain.append(text[at:percent])
            at = self._special(percent + 1) if percent < len(text) else percent
        self._end_plain()
        return tuple(self._found)

    def _special(self, at: int) -> int:
        """What stands behind a `%`; where the text goes on."""
        text = self._text
        flags = self._flags
        if text[at : at + 1] == "{":
            close = text.find("}", at)
            if close < 0:
                raise FormatError("missing '}' after '%{'", at)
            flags = flags_of(text[at + 1 : close], flags)
            start, at = at, close + 1
            if text[at : at + 1] != "[" and not VARIABLE.match(text, at):
                raise FormatError(f"flags '{text[start:at]}' without a variable behind them", start)
        if text[at : at + 1] == "[":
            return self._expression(at + 1, flags)
        if name := VARIABLE.match(text, at):
            return self._variable(name.group(), flags, at)
        return self._single(at)

    def _single(self, at: int) -> int:
        """`%` before what names nothing: only its own double and punctuation may follow, and stay alone."""
        char = self._text[at : at + 1]
        if not char:
            raise FormatError("truncated line after '%'", at)
        if char in BLANK_OR_DIGIT:
            raise FormatError(f"unexpected variable name near '{char}': a single '%' is written '%%'", at)
        self._plain.append(char)
        return at + 1

    def _variable(self, name: str, flags: Flags, at: int) -> int:
        if name == "o":
            self._flags = flags
        else:
            self._end_plain()
            self._found.append(Variable(name, flags.value, at))
        return at + len(name)

    def _expression(self, at: int, flags: Flags) -> int:
        self._end_plain()
        expression, end = _expression(self._text, at, flags.value)
        if self._text[end : end + 1] != "]":
            found = f"but found '{self._text[end]}'" if end < len(self._text) else "but the text ends"
            raise FormatError(f"expected ']' after '{self._text[at:end]}', {found}", end)
        self._found.append(expression)
        return end + 1

    def _end_plain(self) -> None:
        plain = "".join(self._plain)
        self._plain.clear()
        if plain:
            self._found.append(Text(plain))


def flags_of(words: str, before: Flags) -> Flags:
    """`+Q,-E` applied to the flags before; letters that mean nothing are passed over, as HAProxy does."""
    flags = before
    for sign, letter in re.findall(r"([+-])([A-Za-z])", words):
        flag = FLAG_LETTERS.get(letter, Flags(0))
        flags = flags | flag if sign == "+" else flags & ~flag
    return flags


# --- expressions ---------------------------------------------------------------------------------------


def _expression(text: str, at: int, flags: int) -> tuple[Expression, int]:
    """An expression from `at` on, and where it ends."""
    fetch, at = _call(text, at)
    if not fetch.name:
        raise FormatError("missing fetch method", at)
    converters: list[Call] = []
    while text[at : at + 1] == ",":
        while text[at : at + 1] == ",":
            at += 1
        converter, at = _call(text, at)
        if not converter.name:
            raise FormatError("missing converter after ','", at)
        converters.append(converter)
    return Expression(fetch, tuple(converters), flags), at


def _call(text: str, at: int) -> tuple[Call, int]:
    match = NAME.match(text, at)
    name = match.group() if match else ""
    end = at + len(name)
    if not name or text[end : end + 1] != "(":
        return Call(name, None, at), end
    args, end = _arguments(text, end + 1, name)
    return Call(name, args, at), end


def _arguments(text: str, at: int, name: str) -> tuple[tuple[str, ...], int]:
    """Arguments up to the closing parenthesis, and where the text goes on behind it."""
    if text[at : at + 1] == ")":
        return (), at + 1
    args: list[str] = []
    while True:
        arg, at = _argument(text, at)
        args.append(arg)
        if text[at : at + 1] == ")":
            return tuple(args), at + 1
        if at >= len(text):
            raise FormatError(f"'{name}': expected ')'", at)
        at += 1  # the comma


def _argument(text: str, at: int) -> tuple[str, int]:
    """One argument without its quotes, and where it ends: at `,`, at `)`, or at the end of the text."""
    out: list[str] = []
    quote = ""
    while at < len(text):
        char = text[at]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                out.append(char)
        elif char == "\\" and text[at + 1 : at + 2] in ESCAPES and at + 1 < len(text):
            out.append(ESCAPES[text[at + 1]])
            at += 1
        elif quote and char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        elif not quote and char in ",)":
            break
        else:
            out.append(char)
        at += 1
    return "".join(out), at
