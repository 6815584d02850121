"""One line of a haproxy.cfg to words: quotes, escapes, comments, environment variables.

Most lines hold nothing special and are split by the C library of Python; the others go character by character.
Source: spec/haproxy-checks.md §9.2; haproxy configuration manual 2.6, §2.2, §2.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from risefall.config.text import Wrong

SPECIAL = re.compile(r"[\\'\"#\x00-\x08\x0a-\x1f\x7f-\U0010ffff]")
WORDS_MAX = 64
ESCAPES = {"\\": "\\", " ": " ", "#": "#", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
HEX = re.compile(r"[0-9a-fA-F]{2}")
VARIABLE = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_]*")


def split(raw: str, env: Mapping[str, str]) -> list[str]:
    """The words of a line. Raises Wrong for a quote, a brace or an escape that does not end."""
    if not SPECIAL.search(raw):
        return raw.split()
    return Lexer(raw, env).words()


def column(raw: str, at: int, env: Mapping[str, str]) -> int:
    """Where word `at` begins, counted from 1; just behind the line's end for the word after the last, 0 if unknown."""
    lexer = Lexer(raw, env)
    try:
        lexer.words()
    except Wrong:
        return 0
    if at < len(lexer.starts):
        return lexer.starts[at] + 1
    return len(raw.rstrip()) + 2 if lexer.starts else 0


class Lexer:
    """Reads one line character by character. `starts` are the columns of the words read so far, from 0."""

    def __init__(self, raw: str, env: Mapping[str, str], *, rest_from: int = WORDS_MAX + 1) -> None:
        """rest_from: from this word on blanks separate nothing (the condition of `.if`)."""
        self._raw = raw
        self._env = env
        self._rest_from = rest_from
        self._words: list[str] = []
        self._word: list[str] = []
        self._open = False
        self.starts: list[int] = []

    def words(self) -> list[str]:
        raw, end, i = self._raw, len(self._raw), 0
        quote, quote_at = "", 0
        while i < end:
            char = raw[i]
            if quote == "'":
                if char == "'":
                    quote = ""
                else:
                    self._put(char, i)
                i += 1
            elif char == "\\":
                i = self._escape(i, quoted=bool(quote))
            elif char == '"' or (char == "'" and not quote):
                self._begin(i)
                quote, quote_at = ("", 0) if quote else (char, i)
                i += 1
            elif quote and char == "$":
                i = self._variable(i)
            elif quote:
                self._put(char, i)
                i += 1
            elif char == "#":
                break
            elif char in " \t\r\n":
                if self._open and len(self._words) >= self._rest_from:
                    self._put(char, i)
                else:
                    self._end()
                i += 1
            else:
                self._put(char, i)
                i += 1
        if quote:
            raise Wrong(
                f"unmatched quote at position {quote_at + 1}",
                column=quote_at + 1,
                help=f"close it with another {quote}",
            )
        self._end()
        if self._rest_from <= WORDS_MAX:
            self._words = [word.rstrip(" \t\r\n") for word in self._words]
        return self._words

    def _begin(self, at: int) -> None:
        if not self._open:
            self._open = True
            self.starts.append(at)

    def _put(self, char: str, at: int) -> None:
        self._begin(at)
        self._word.append(char)

    def _end(self) -> None:
        if self._open:
            self._words.append("".join(self._word))
            self._word.clear()
            self._open = False

    def _escape(self, i: int, *, quoted: bool) -> int:
        raw = self._raw
        following = raw[i + 1 : i + 2]
        if following in ESCAPES:
            self._put(ESCAPES[following], i)
            return i + 2
        if quoted and following == "$":
            self._put("$", i)
            return i + 2
        if following == "x":
            digits = HEX.match(raw, i + 2)
            if not digits:
                raise Wrong(
                    f"truncated or invalid hexadecimal sequence at position {i + 1}",
                    column=i + 1,
                    help="write two hexadecimal digits after \\x, such as \\x0d",
                )
            byte = int(digits.group(), 16)
            self._put(chr(byte) if byte < 0x80 else chr(0xDC00 + byte), i)
            return i + 4
        self._put("\\", i)
        return i + 1

    def _variable(self, i: int) -> int:
        raw, at = self._raw, i + 1
        braced = raw[at : at + 1] == "{"
        at += braced
        name = VARIABLE.match(raw, at)
        if not name:
            raise Wrong(
                f"forbidden first char in environment variable name at position {at + 1}",
                column=at + 1,
                help="write \\$ for a dollar sign",
            )
        at = name.end()
        value = self._env.get(name.group())
        if not braced:
            self._expand(value or "", i, split=False)
            return at
        close = raw.find("}", at)
        if close < 0:
            raise Wrong(
                f"unmatched brace in environment variable name at position {i + 2}",
                column=i + 2,
                help="close it with }",
            )
        inside = raw[at:close]
        several = inside.startswith("[*]")
        inside = inside[3:] if several else inside
        if inside.startswith("-"):
            value = inside[1:] if value is None else value
        elif inside:
            raise Wrong(
                f"unexpected '{inside}' in environment variable name at position {at + 1}",
                column=at + 1,
                help="write ${NAME}, ${NAME-default} or ${NAME[*]}",
            )
        self._expand(value or "", i, split=several)
        return close + 1

    def _expand(self, value: str, at: int, *, split: bool) -> None:
        self._begin(at)
        if not split:
            self._word.append(value)
            return
        for index, piece in enumerate(value.split()):
            if index:
                self._end()
            self._begin(at)
            self._word.append(piece)
