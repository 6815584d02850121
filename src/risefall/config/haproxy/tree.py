"""Files to sections: every line with all its words, conditional blocks decided, environment applied.

Whatever the sections mean is read afterwards. Source: spec/haproxy-checks.md §9.1-9.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from risefall.config.haproxy.conditions import DEPTH_MAX, Condition
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.keywords import SECTIONS, STRICT_LINES, is_strict
from risefall.config.haproxy.lexer import SPECIAL, WORDS_MAX, Lexer, split
from risefall.config.haproxy.model import Line, Section
from risefall.config.haproxy.variables import expand
from risefall.config.text import Diagnostics, Source, Wrong, nearest

SAYING = (".alert", ".warning", ".notice", ".diag")
UNNAMED = frozenset(("global",))


class Draft(msgspec.Struct):
    """A section while its lines come in."""

    kind: str
    name: str
    head: Line
    lines: list[Line]

    def done(self) -> Section:
        return Section(self.kind, self.name, self.head, tuple(self.lines))


class Block(msgspec.Struct):
    """One `.if`: whether its present branch is read, whether one was, whether `.else` came."""

    outer: bool
    active: bool
    taken: bool
    otherwise: bool = False


class TreeReader:
    """Reads files one after another into sections. The environment changes as `setenv` and the like come by."""

    def __init__(self, env: dict[str, str], dialect: Dialect, diagnostics: Diagnostics) -> None:
        self.env = env
        self._dialect = dialect
        self._diagnostics = diagnostics
        self._start_env = dict(env)
        self._sections: list[Draft] = []
        self._blocks: list[Block] = []
        self._file = ""

    def read(self, sources: Iterable[Source]) -> list[Section]:
        """All sections of all files, in order."""
        for source in sources:
            self._read_file(source)
        return [draft.done() for draft in self._sections]

    def _note(self, wrong: Wrong, number: int, raw: str, *, error: bool = False) -> None:
        self._diagnostics.add(wrong, self._file, number, raw, error=error)

    def _read_file(self, source: Source) -> None:
        self._file = source.name
        self._blocks = []
        env = self.env
        env[".FILE"] = source.name
        lines = source.text.split("\n")
        last = lines.pop()
        if last:
            lines.append(last)
        special = SPECIAL.search
        for number, raw in enumerate(lines, 1):
            if special(raw):
                env[".LINE"] = str(number)
                self._special_line(number, raw)
                continue
            words = raw.split()
            if words:
                self._line(number, raw, words)
        if last:
            self._note(
                Wrong(
                    "missing line feed on the last line, the file might have been cut",
                    help="end the file with a line feed",
                ),
                len(lines),
                last,
            )
        if self._blocks:
            self._note(Wrong("non-terminated '.if' block", help="close it with .endif"), len(lines), "", error=True)

    def _special_line(self, number: int, raw: str) -> None:
        """A line with quotes, escapes, a comment or odd characters."""
        if raw.endswith("\r"):
            raw = raw[:-1]
        if "\0" in raw:
            self._note(Wrong("a NUL character cuts this line", help="remove it"), number, raw.replace("\0", "?"))
            raw = raw[: raw.index("\0")]
        try:
            words = split(raw, self.env)
        except Wrong as wrong:
            word = next(iter(raw.split()), "")
            strict = word[:1] == "." or (word in STRICT_LINES and self._strict_section())
            self._note(wrong, number, raw, error=strict)
            return
        if any("\0" in word for word in words):
            words = [word.partition("\0")[0] for word in words]  # to HAProxy each is a string of C
        if "" in words:
            words = self._cut_at_empty(number, raw, words)
        if words:
            self._line(number, raw, words)

    def _cut_at_empty(self, number: int, raw: str, words: list[str]) -> list[str]:
        at = words.index("")
        if self._dialect.empty_argument_fatal and at:
            wrong = Wrong(
                f"argument {at} is empty and marks the end of the arguments",
                at,
                help="remove it, or give the variable a default, such as ${NAME-value}",
            )
            self._note(wrong, number, raw, error=self._strict_section() and is_strict(words))
        return words[:at]

    def _strict_section(self) -> bool:
        return bool(self._sections) and self._sections[-1].kind in STRICT_SECTIONS

    def _active(self) -> bool:
        return not self._blocks or self._blocks[-1].active

    def _line(self, number: int, raw: str, words: list[str]) -> None:
        word = words[0]
        if word[0] == ".":
            self._directive(number, raw, words)
            return
        if self._blocks and not self._blocks[-1].active:
            return
        if word[0] == "[":
            return
        if len(words) > WORDS_MAX:
            wrong = Wrong(
                f"too many words, truncating after word {WORDS_MAX}",
                WORDS_MAX,
                help="HAProxy reads 64 words a line: split it",
            )
            self._note(wrong, number, raw, error=self._strict_section() and is_strict(words))
            words = words[:WORDS_MAX]
        line = Line(self._file, number, raw, tuple(words))
        if word in SECTIONS:
            self._open(line)
        elif not self._sections:
            wrong = Wrong(
                f"unknown keyword '{word}' out of section",
                0,
                help=f"begin a section before it, such as {did_you_mean(word)}",
            )
            self._note(wrong, number, raw)
        else:
            section = self._sections[-1]
            if section.kind == "global" and word.endswith("env"):
                self._environment(line)
            if "$" in raw:
                line, told = expand(line, self.env)
                for wrong in told:
                    self._note(wrong, number, raw)
            section.lines.append(line)

    def _open(self, line: Line) -> None:
        kind = line.words[0]
        name = "" if kind in UNNAMED or len(line.words) < 2 else line.words[1]
        since = SECTIONS[kind]
        if since and not since.known(self._dialect):
            self._note(
                Wrong(f"section '{kind}' is {since.words}", 0, help="its lines are read and left alone"),
                line.line,
                line.raw,
            )
        self._sections.append(Draft(kind, name, line, []))
        self.env[".SECTION"] = f"{kind} {name}".strip()

    def _environment(self, line: Line) -> None:
        """`setenv` and its kin act on the lines that follow (haproxy configuration manual 2.6, §3.1)."""
        words = line.words
        match words[0]:
            case "setenv" if len(words) >= 3:
                self.env[words[1]] = words[2]
            case "presetenv" if len(words) >= 3:
                self.env.setdefault(words[1], words[2])
            case "unsetenv":
                for name in words[1:]:
                    self.env.pop(name, None)
            case "resetenv":
                kept = set(words[1:]) | {name for name in self.env if name.startswith(".")}
                for name in [name for name in self.env if name not in kept]:
                    del self.env[name]
            case "setenv" | "presetenv":
                self._note(
                    Wrong(f"'{words[0]}' wants a name and a value", len(words), help="setenv NAME value"),
                    line.line,
                    line.raw,
                )

    # --- lines that begin with a dot ----------------------------------------------------------------

    def _directive(self, number: int, raw: str, words: list[str]) -> None:
        word = words[0]
        try:
            match word:
                case ".if":
                    self._if(raw)
                case ".elif":
                    self._elif(raw)
                case ".else":
                    self._else(words)
                case ".endif":
                    self._endif(words)
                case _:
                    self._say(word, words)
        except Wrong as wrong:
            self._note(wrong, number, raw, error=True)

    def _condition(self, raw: str) -> bool:
        words = Lexer(raw, self.env, rest_from=1).words()
        return Condition(words[1] if len(words) > 1 else "", words[0], self.env, self._dialect).value()

    def _if(self, raw: str) -> None:
        if len(self._blocks) >= DEPTH_MAX:
            raise Wrong(f"more than {DEPTH_MAX} nested '.if' blocks", 0, help="split the file", fatal=True)
        outer = self._active()
        block = Block(outer, active=False, taken=True)
        self._blocks.append(block)  # also when its condition cannot be read: `.endif` belongs to it
        if outer:
            block.active = block.taken = self._condition(raw)

    def _current(self, word: str) -> Block:
        if not self._blocks:
            raise Wrong(f"lone '{word}' with no matching '.if'", 0, help="remove it, or begin the block with .if")
        return self._blocks[-1]

    def _elif(self, raw: str) -> None:
        block = self._current(".elif")
        if block.otherwise:
            raise Wrong("'.elif' after '.else' is not permitted", 0, help="put it before .else")
        block.active = False
        if block.outer and not block.taken:
            block.active = block.taken = self._condition(raw)

    def _else(self, words: list[str]) -> None:
        block = self._current(".else")
        if block.otherwise:
            raise Wrong("'.else' after '.else' is not permitted", 0, help="remove one of them")
        block.otherwise = True
        block.active = block.outer and not block.taken
        block.taken = True
        self._no_more(words)

    def _endif(self, words: list[str]) -> None:
        self._current(".endif")
        self._blocks.pop()
        self._no_more(words)

    def _no_more(self, words: list[str]) -> None:
        if len(words) > 1:
            raise Wrong(f"Unexpected argument '{words[1]}' for '{words[0]}'", 1, help="remove it")

    def _say(self, word: str, words: list[str]) -> None:
        if not self._active():
            return
        text = words[1] if len(words) > 1 else ""
        if word in SAYING and len(words) > 2:
            raise Wrong(
                f"Unexpected argument '{words[2]}' for '{word}'", 2, help="put quotes around a text with blanks"
            )
        match word:
            case ".alert":
                raise Wrong(text, 0, help="the configuration itself refuses to go on here", fatal=True)
            case ".warning" | ".notice":
                raise Wrong(text, 0, help="the configuration says so itself", soft=True)
            case ".diag":
                return
        known = (".if", ".elif", ".else", ".endif", *SAYING)
        meant = nearest(word, known)
        raise Wrong(
            f"unknown directive '{word}'",
            0,
            help=f"did you mean '{meant}'?" if meant else "known are " + " ".join(known),
        )


STRICT_SECTIONS = frozenset(("defaults", "backend", "listen", "frontend", "healthcheck"))


def did_you_mean(word: str) -> str:
    """The section that was probably meant, else the commonest."""
    return f"'{nearest(word, SECTIONS) or 'global'}'"


def lines_of(sections: Iterable[Section]) -> Iterator[Line]:
    """Every line of every section, heads included."""
    for section in sections:
        yield section.head
        yield from section.lines
