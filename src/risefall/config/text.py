"""Texts of configurations and what is wrong with them: place, caret, next step; all of a run at once.

Knows no grammar: both readers use it. A `Wrong` is raised where a word is found wanting, and noted by the loop over
lines, which goes on with the next; so one run shows every error of every file.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import msgspec

from risefall.errors import ConfigError

SHOWN_MAX = 200
"""Errors printed in full; of the rest only the number is told."""
WIDTH_MAX = 160
"""Longest piece of a line that is shown above a caret."""
FILE_BYTES_MAX = 512 * 1024 * 1024


class Source(msgspec.Struct, frozen=True):
    """One file: its name as the operator gave it, and its text (bytes that are no UTF-8 as surrogates)."""

    name: str
    text: str


class Wrong(Exception):
    """A word (`at`, counted from 0) of the line in hand is wrong; None: the whole line. `help` is the next step.

    column: where it is known better than the word, counted from 1. fatal: an error wherever it stands. soft: a
    warning wherever it stands.
    """

    def __init__(
        self,
        message: str,
        at: int | None = None,
        *,
        help: str = "",
        column: int = 0,
        fatal: bool = False,
        soft: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.help = help
        self.column = column
        self.fatal = fatal
        self.soft = soft


def sources(paths: Sequence[str], stdin: IO[str]) -> list[Source]:
    """Reads files, folders (their `*.cfg`, in the order of their bytes, hidden ones left out) and `-`, in order.

    Raises ConfigError when something cannot be read. Source: haproxy management guide, -f; spec §9.1.
    """
    found: list[Source] = []
    for path in paths:
        if path == "-":
            data = stdin.buffer.read(FILE_BYTES_MAX + 1) if hasattr(stdin, "buffer") else stdin.read().encode()
            found.append(Source("<stdin>", decode(data, "<stdin>")))
        elif os.path.isdir(path):
            names = sorted(os.listdir(path), key=os.fsencode)
            inside = [os.path.join(path, name) for name in names if name.endswith(".cfg") and not name.startswith(".")]
            found.extend(read_file(name) for name in inside if not os.path.isdir(name))
        else:
            found.append(read_file(path))
    return found


def read_file(path: str) -> Source:
    """One file as a source."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}: error: cannot be read: {why}\n  help: check the path and its permissions"
        ) from error
    return Source(path, decode(data, path))


def decode(data: bytes, name: str) -> str:
    """Bytes of a file as text that keeps every one of them."""
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{name}: error: longer than {FILE_BYTES_MAX} bytes\n  help: this is no configuration")
    return data.decode("utf-8", "surrogateescape")


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def printable(text: str) -> str:
    """Text for a terminal: what cannot be printed as `?`, tabs kept."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)


def encodable(text: str) -> str:
    """Text for JSON: bytes that were no UTF-8 as U+FFFD."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def render(level: str, file: str, line: int, raw: str, column: int, message: str, help: str) -> str:
    """`file:line:column: level: message`, the line, a caret below the place, the next step."""
    place = f"{file}:{line}" if line else file
    head = f"{place}:{column}: " if column else f"{place}: "
    out = [f"{head}{level}: {printable(message)}"]
    if raw:
        indent = len(raw) - len(raw.lstrip(" \t"))
        at = max(0, column - 1 - indent)
        shown = raw.strip()
        cut = max(0, at - WIDTH_MAX // 2) if len(shown) > WIDTH_MAX else 0
        piece = printable(shown[cut : cut + WIDTH_MAX])
        out.append("    " + piece)
        if column:
            before = piece[: at - cut]
            out.append("    " + "".join("\t" if char == "\t" else " " for char in before) + "^")
    if help:
        out.append(f"  help: {printable(help)}")
    return "\n".join(out)


class Diagnostics:
    """Collects what is wrong. `strict` makes every warning an error."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._errors: list[tuple[int, str]] = []
        self._warnings: list[tuple[int, str]] = []
        self._order: dict[str, int] = {}
        self.columns: Callable[[str, int], int] = lambda raw, at: 0
        """How a reader finds the column of a word in a line."""

    def files(self, names: Iterable[str]) -> None:
        """The order in which messages are shown."""
        self._order = {name: index for index, name in enumerate(names)}

    def add(self, wrong: Wrong, file: str, line: int, raw: str, *, error: bool) -> None:
        """Notes one finding, as an error or as a warning."""
        column = wrong.column or (self.columns(raw, wrong.at) if wrong.at is not None and raw else 0)
        level = (error and not wrong.soft) or wrong.fatal or self._strict
        text = render("error" if level else "warning", file, line, raw, column, wrong.message, wrong.help)
        key = self._order.get(file, 0) * 1_000_000_000 + line
        (self._errors if level else self._warnings).append((key, text))

    @property
    def failed(self) -> bool:
        return bool(self._errors)

    def warnings(self) -> tuple[str, ...]:
        """All warnings, in file order."""
        return tuple(text for _, text in sorted(self._warnings, key=lambda one: one[0]))

    def check(self) -> None:
        """Raises ConfigError with every error, if there is one."""
        if not self._errors:
            return
        texts = [text for _, text in sorted(self._errors, key=lambda one: one[0])]
        more = len(texts) - SHOWN_MAX
        tail = [f"... and {more} more errors"] if more > 0 else []
        raise ConfigError("\n".join([*texts[:SHOWN_MAX], *tail]))
