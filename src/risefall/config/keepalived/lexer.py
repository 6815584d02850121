"""keepalived.conf to its logical lines: comments, conditions, definitions, repeaters, includes, braces.

A logical line is a keyword with its arguments, or one brace. Lines come from three places, in this order: what is left
behind a brace, what a definition or a repeater still gives, and the innermost open file.
Source: spec/keepalived-track.md §7.1, §7.2; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import os
import random
import re
from collections import deque
from collections.abc import Callable

from risefall.config.keepalived import files
from risefall.config.keepalived.definitions import DEFINES, Definitions, Sequence, sequence
from risefall.config.keepalived.model import Line
from risefall.config.keepalived.words import split, uncomment
from risefall.config.text import Diagnostics, Source, Wrong

LINE_BYTES = 1023
"""What 2.2.7 reads at once; the rest of a longer line is to it another line."""
BRACE = re.compile(r'[{}"]')


class _File:
    """One open file of an include, and those that the same include opens after it."""

    def __init__(self, sources: list[Source], include_check: int) -> None:
        self.waiting = deque(sources)
        self.include_check = include_check
        self.name = ""
        self.lines: deque[str] = deque()
        self.number = 0

    def open_next(self) -> bool:
        if not self.waiting:
            return False
        source = self.waiting.popleft()
        self.name, self.number = source.name, 0
        self.lines = deque(source.text.split("\n"))
        if self.lines and not self.lines[-1]:
            self.lines.pop()
        return True


class Lines:
    """Gives one logical line after the other."""

    def __init__(
        self, source: Source, config_id: str, diagnostics: Diagnostics, draw: Callable[[int, int], int] | None = None
    ) -> None:
        self._diagnostics = diagnostics
        self._config_id = config_id
        self._open: list[_File] = []
        self._pending: list[deque[str] | Sequence] = []
        self._residue = ""
        self._definitions = Definitions(config_id, self._folder, draw or random.randint)
        self._defining: tuple[str, list[str]] | None = None
        self._place = (source.name, 0, "")
        self._seen: list[str] = []
        self.include_check = 0
        self.depth = 0
        self._enter([source])

    # --- messages ---------------------------------------------------------------------------------------------------

    def warn(self, message: str, help: str, *, error: bool = False) -> None:
        """Notes something about the line in hand."""
        self.note(Wrong(message, help=help), error=error)

    def note(self, wrong: Wrong, *, error: bool = False) -> None:
        file, line, raw = self._place
        self._diagnostics.add(wrong, file, line, raw, error=error)

    # --- files ------------------------------------------------------------------------------------------------------

    def _folder(self) -> str:
        name = self._open[-1].name if self._open else ""
        return os.path.dirname(os.path.abspath(name)) if os.path.dirname(name) else os.getcwd()

    def _enter(self, sources: list[Source]) -> None:
        file = _File(sources, self.include_check)
        if file.open_next():
            self._open.append(file)
            self._know(sources)

    def _know(self, sources: list[Source]) -> None:
        self._seen.extend(source.name for source in sources)
        self._diagnostics.files(dict.fromkeys(self._seen))

    def _include(self, strictness: int, pattern: str) -> None:
        if len(self._open) >= files.DEPTH_MAX or len(self._seen) > files.FILES_MAX:
            what = f"'{pattern}' is included {files.DEPTH_MAX} deep: keepalived never ends reading it"
            if not any(pattern in line for line in [self._place[2]]):
                what = "too many included files"
            self.warn(what, "let no file include itself", error=True)
            self._open.clear()
            self._pending.clear()
            return
        found = files.find(pattern, os.path.dirname(self._open[-1].name) if self._open else "")
        for missing in found.missing:
            refused = bool((strictness | self.include_check) & missing.kinds)
            if missing.kinds != files.WILDCARD or refused:
                self.warn(missing.message, missing.help, error=refused)
        self._enter(found.sources)

    # --- raw lines --------------------------------------------------------------------------------------------------

    def _raw(self) -> str | None:
        """The next line that is not empty, from wherever it comes. None at the end."""
        while self._pending:
            top = self._pending[-1]
            text = top.next(self._definitions) if isinstance(top, Sequence) else top.popleft() if top else None
            if text is not None:
                return text
            self._pending.pop()
        while self._open:
            file = self._open[-1]
            if not file.lines:
                self.include_check = file.include_check
                if not file.open_next():
                    self._open.pop()
                continue
            text = self._physical(file)
            if text:
                return text
        return None

    def _physical(self, file: _File) -> str:
        """One line of a file without its comment; cut where 2.2.7 cuts it."""
        file.number += 1
        raw = file.lines.popleft()
        if raw.endswith("\r"):
            raw = raw.rstrip("\r")
        self._place = (file.name, file.number, raw)
        if len(raw) > LINE_BYTES // 4:
            data = raw.encode("utf-8", "surrogateescape")
            if len(data) > LINE_BYTES:
                self.warn(
                    f"line of {len(data)} bytes: keepalived takes what follows the first {LINE_BYTES} for another line",
                    "use shorter lines; a definition '$NAME=…' can hold a part",
                )
                raw = data[:LINE_BYTES].decode("utf-8", "surrogateescape")
                file.lines.appendleft(data[LINE_BYTES:].decode("utf-8", "surrogateescape"))
                file.number -= 1
        if not raw:
            self._end_definition()
            return ""
        if "\0" in raw:
            raw = raw[: raw.index("\0")]
        text, quoted = uncomment(raw)
        if quoted:
            self.warn(f"Unterminated quote '{text}'", 'close it with another " on the same line')
        return text

    # --- definitions ------------------------------------------------------------------------------------------------

    def _define(self, text: str) -> bool:
        """Takes `$NAME=…`, and begins a definition of several lines."""
        found = DEFINES.match(text)
        if not found:
            return False
        name, value = found.group(1), text[found.end() :]
        if value.endswith("\\"):
            value = value[:-1].rstrip(" \t")
            self._defining = (name, [value] if value else [])
        self._definitions.set(name, value)
        return True

    def _continue(self, text: str) -> None:
        """One more line of the definition in hand."""
        assert self._defining is not None
        name, lines = self._defining
        more = text.endswith("\\")
        line = text[:-1].rstrip(" \t") if more else text
        if line:
            lines.append(line)
        self._definitions.set(name, "\n".join(lines))
        if not more:
            self._defining = None

    def _end_definition(self) -> None:
        self._defining = None

    # --- logical lines ----------------------------------------------------------------------------------------------

    def next(self) -> Line | None:
        """The next logical line, None at the end of all files."""
        while True:
            if self._residue:
                text, self._residue = self._residue, ""
            else:
                raw = self._raw()
                if raw is None:
                    return None
                text = raw
            if self._defining is not None:
                self._continue(text)
                continue
            try:
                text = self._prepare(text)
            except Wrong as wrong:
                self.note(wrong)
                continue
            if not text:
                continue
            include = files.include_of(text) if text.startswith("include") else None
            if include:
                self._include(*include)
                continue
            line = self._cut(text)
            if line.words:
                return line

    def _prepare(self, text: str) -> str:
        """Conditions, definitions, repeaters and uses, until nothing changes. Empty when nothing is left."""
        while True:
            if text.startswith("@"):
                text = self._condition(text)
            if text.startswith("$") and self._define(text):
                return ""
            if text.startswith(("~SEQ", "~LST")):
                self._pending.append(sequence(text, self._definitions))
                return ""
            if "$" not in text or text.startswith("~"):
                return text
            expanded, after = self._definitions.expand(text)
            if after:
                self._pending.append(deque(after))
            if expanded == text and not after:
                return text
            text, _ = uncomment(expanded)
            if not text.startswith("@") and "$" not in text and not text.startswith(("~SEQ", "~LST")):
                return text

    def _condition(self, text: str) -> str:
        """`@ID line` and `@^ID line`: the line, if it is meant for this config id."""
        negated = text.startswith("@^")
        word, _, rest = text[2 if negated else 1 :].replace("\t", " ", 1).partition(" ")
        if not rest or (word == self._config_id) == negated:
            return ""
        return rest.lstrip(" \t")

    def _cut(self, text: str) -> Line:
        """The part of a line up to a brace, or the brace; what follows is kept for the next call."""
        at = 0
        if text[0] not in "{}":
            at = -1
            found = BRACE.search(text)
            while found:
                if found.group() != '"':
                    at = found.start()
                    break
                end = text.find('"', found.end())
                found = BRACE.search(text, end + 1) if end >= 0 else None
        if at == 0:
            self._residue = text[1:].strip(" \t")
            text = text[0]
        elif at > 0:
            self._residue = text[at:].rstrip(" \t")
            text = text[:at]
        text = text.rstrip(" \t")
        self._count(text)
        words, unmatched = split(text)
        if unmatched:
            self.warn(f"Unmatched quote: '{text}'", 'close it with another " on the same line')
        file, number, raw = self._place
        return Line(file, number, raw, text, tuple(words))

    def _count(self, text: str) -> None:
        if text == "{":
            self.depth += 1
        elif text == "}":
            if self.depth < 1:
                self.warn("Extra '}' found", "take it out, or add the '{' that it closes")
            self.depth = max(0, self.depth - 1)


def column(line: Line, at: int) -> int:
    """Where word `at` of a line stands in the text of its file, counted from 1; 0 when a definition put it there."""
    raw = line.raw
    if at >= len(line.words):
        begin = raw.find(line.text)
        return begin + len(line.text) + 2 if begin >= 0 and line.text else 0
    begin = raw.find(line.text)
    begin = max(begin, 0)
    for word in line.words[: at + 1]:
        begin = raw.find(word, begin)
        if begin < 0:
            return 0
        found, begin = begin, begin + len(word)
    return found + 1
