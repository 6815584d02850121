"""The runtime API's protocol: bytes of a client in, bytes of the answer out. No socket, no clock.

Commands are split at line feeds and semicolons, words at blanks; a backslash takes the next character as it is and goes
away. Each reply is followed by a line feed, or in prompt mode by a line feed and `> `. Without `prompt` the session ends
once every line that has come is answered, which lets a client send several in one go (HAProxy 3 looks at the first alone).
A command whose line ends in `<<` takes the lines after it, up to an empty one, as its payload; in HAProxy 3 up to one that
is what stands behind `<<`.
Source: spec/haproxy-checks.md §7.1, trap 49; compared with 2.6.12 over a socket; src/cli.c of HAProxy 3.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from risefall.surfaces.calls import Api, Call, Command, Later, Level, Reply, Severity, refuse, says
from risefall.surfaces.foreign import FOREIGN, FOREIGN_3
from risefall.surfaces.handlers import COMMANDS, COMMANDS_3
from risefall.surfaces.prompting import PAYLOAD_PROMPT, Prompt
from risefall.surfaces.usage import ALL, ALWAYS, ALWAYS_3, CLOSE, CLOSE_3, HELP, Usage, closest, render_usage

LINE_MAX = 16_384
"""Longest line or payload, in bytes; HAProxy's buffer."""

WORDS_MAX = 64
PAYLOAD_MARK = b"<<"
PATTERN_MAX = 64
"""Longest text behind the mark that ends a payload, in HAProxy 3.4; with a longer one it is no mark."""
BACKSLASH, SEMICOLON = b"\\;"

SEVERITY_WORDS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
SEVERITY_OUTPUTS = ("none", "number", "string")

TIMEOUT = re.compile(r"([0-9]{1,12})(|us|ms|s|m|h|d)")
TIMEOUT_UNITS = {"": 1, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400}
TIMEOUT_MAX_S = (2**31 - 1) / 1000

SESSION_COMMANDS = (
    Usage(("operator",), "operator", "lower the level of this session to operator"),
    Usage(
        ("set", "severity-output"),
        "set severity-output [none|number|string]",
        "choose whether messages show their severity",
    ),
    Usage(("set", "timeout"), "set timeout cli <delay>", "let this session be silent for so long"),
    Usage(("show", "cli", "level"), "show cli level", "display the level of this session"),
    Usage(("user",), "user", "lower the level of this session to user"),
)
"""Commands that are about the session itself."""


def _usages(commands: Sequence[Command]) -> list[Usage]:
    return sorted((*SESSION_COMMANDS, *(one.usage for one in commands)), key=lambda usage: usage.words)


USAGES = _usages(COMMANDS)
USAGES_3 = _usages(COMMANDS_3)


def cut_command(line: bytes) -> tuple[bytes, bytes | None]:
    """A line's first command, up to a semicolon without a backslash, and what follows it; None for nothing."""
    at = 0
    while at < len(line):
        if line[at] == BACKSLASH:
            at += 1
        elif line[at] == SEMICOLON:
            return line[:at], line[at + 1 :]
        at += 1
    return line, None


def split_words(command: bytes) -> list[str]:
    """The words of one command, their backslashes taken away."""
    words: list[str] = []
    word, inside, at = bytearray(), False, 0
    while at < len(command) and len(words) < WORDS_MAX:
        byte = command[at]
        if byte == BACKSLASH:
            inside = True
            word += command[at + 1 : at + 2]
            at += 1
        elif byte in b" \t":
            if inside:
                words.append(_text(word))
            word, inside = bytearray(), False
        else:
            inside = True
            word.append(byte)
        at += 1
    if inside and len(words) < WORDS_MAX:
        words.append(_text(word))
    return words


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class Session:
    """One client. `feed` it what came; write what it returns; close the connection once `closed` is true.

    Args:
        api: what the commands work on.
        level: what the client may do at most.
        severity: how messages show theirs, as `set severity-output` has it.
    """

    def __init__(self, api: Api, level: Level, severity: str = "none") -> None:
        self.closed = False
        self.level = level
        self._api = api
        self._pending = b""
        self._severity = severity
        newer = self._newer = api.fleet.dialect.newer_commands
        self._prompt = Prompt(newer=newer)
        self._commands: tuple[Command, ...] = COMMANDS_3 if newer else COMMANDS
        self._usages = USAGES_3 if newer else USAGES
        self._modes: set[str] = set()
        self.timeout_s: float | None = None
        """How long the client may be silent, where it has said so itself."""
        self._command: Sequence[str] | None = None
        """One whose payload is still to come."""
        self._pattern = b""
        self._payload = b""

    def feed(self, data: bytes) -> bytes:
        """Takes bytes, cut anywhere; returns the replies to the commands that they complete. Nothing once closed."""
        pieces = list(self.feed_pieces(data))
        if any(not isinstance(piece, bytes) for piece in pieces):
            raise ValueError("an answer that takes its time needs feed_pieces")
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    def feed_pieces(self, data: bytes) -> Iterator[bytes | Later]:
        """The same in pieces, each made when it is asked for. Take all of them before the next call.

        A piece may be one to wait for.
        """
        if self.closed:
            return
        lines = (self._pending + data).split(b"\n")
        self._pending = lines.pop()
        for number, line in enumerate(lines):
            yield from self._line(line.removesuffix(b"\r"))
            if self.closed:
                return
            if not self._prompt.goes_on and self._command is None and number == len(lines) - 1 and not self._pending:
                self.closed = True
        if len(self._pending) > LINE_MAX:
            yield self._too_long()

    def _too_long(self) -> bytes:
        self.closed = True
        return self._message(f"Line or payload too long, at most {LINE_MAX} bytes are read.\n", Severity.ERR) + b"\n"

    def _line(self, line: bytes) -> Iterator[bytes | Later]:
        if len(line) > LINE_MAX:
            yield self._too_long()
            return
        rest: bytes | None = line
        while rest is not None and not self.closed:
            if self._command is not None:
                yield from self._payload_line(rest)
                return
            command, rest = cut_command(rest)
            marked = self._cut_mark(command, last=rest is None)
            if marked is not None:
                self._command, self._pattern = marked
                yield self._more()
            else:
                yield from self._run(split_words(command), b"", last=rest is None)

    def _cut_mark(self, command: bytes, *, last: bool) -> tuple[Sequence[str], bytes] | None:
        """The words of a command whose payload is to come, and the line that will end it; None for any other.

        last: nothing stands behind it in its line.
        """
        if not self._newer:
            if not command.endswith(PAYLOAD_MARK):
                return None
            words = split_words(command)
            # A mark that is no word of its own stays part of the last word.
            return words[:-1] if words[-1] == "<<" else words, b""
        start = max(command.rfind(b" "), command.rfind(b"\t")) + 1
        word = command[start:]
        if not last or not word.startswith(PAYLOAD_MARK) or len(word) - len(PAYLOAD_MARK) > PATTERN_MAX:
            return None
        return split_words(command[:start]), word.removeprefix(PAYLOAD_MARK)

    def _payload_line(self, line: bytes) -> Iterator[bytes | Later]:
        assert self._command is not None
        if line != self._pattern:
            self._payload += line + b"\n"
            yield self._too_long() if len(self._payload) > LINE_MAX else self._more()
            return
        words, payload = self._command, self._payload
        self._command, self._payload = None, b""
        yield from self._run(words, payload, last=True)

    def _more(self) -> bytes:
        """What follows a line of a payload: only a prompt, and only where there are prompts."""
        return PAYLOAD_PROMPT if self._prompt.shown else b""

    def _run(self, words: Sequence[str], payload: bytes, *, last: bool) -> Iterator[bytes | Later]:
        reply = self._answer(words, payload)
        if self.closed:
            return
        yield self._message(reply.text, reply.severity)
        if reply.later is not None:
            yield reply.later
        for piece in reply.pieces or ():
            yield _bytes_of(piece)
        yield self._prompt.behind(self._uptime_s, last=last)

    def _uptime_s(self) -> int:
        return int(self._api.info().get("Uptime_sec", 0))

    def _message(self, text: str, severity: Severity | None) -> bytes:
        if text and severity is not None and self._severity != "none":
            shown = str(int(severity)) if self._severity == "number" else SEVERITY_WORDS[severity]
            text = f"[{shown}]: {text}"
        return _bytes_of(text)

    def _answer(self, words: Sequence[str], payload: bytes) -> Reply:
        match list(words):
            case []:
                return Reply() if self._newer else Reply(self._listed(ALL, self._usages), Severity.INFO)
            case ["quit", *_]:
                self.closed = True
                return Reply()
            case ["prompt", *rest]:
                return self._prompt.change(rest)
            case ["help", *typed]:
                return Reply(self._listed(HELP, closest(typed, self._usages)), Severity.INFO)
            case ["user" | "operator" as name, *_]:
                return self._lower(Level[name.upper()])
            case ["show", "cli", "level", *_]:
                return Reply(f"{self.level.name.lower()}\n", Severity.INFO)
            case ["set", "severity-output", *rest]:
                return self._set_severity(rest)
            case ["set", "timeout", *rest]:
                return self._set_timeout(rest)
            case ["expert-mode" | "experimental-mode" as name, *rest]:
                return self._switch_mode(name, rest)
        for command in (*self._commands, *(FOREIGN_3 if self._newer else FOREIGN)):
            called = command.usage.words
            if tuple(words[: len(called)]) == called:
                if self.level < command.level:
                    return refuse("Permission denied")
                return command.run(self._api, Call(tuple(words[len(called) :]), self.level, payload))
        title = CLOSE_3.format(word=words[0]) if self._newer else CLOSE
        return Reply(self._listed(title, closest(words, self._usages)), Severity.INFO)

    def _listed(self, title: str, usages: Sequence[Usage]) -> str:
        return render_usage(title, (*usages, *(ALWAYS_3 if self._newer else ALWAYS)))

    def _lower(self, level: Level) -> Reply:
        if level > self.level:
            return refuse("Permission denied")
        self.level = level
        return Reply()

    def _switch_mode(self, name: str, rest: Sequence[str]) -> Reply:
        """Hidden words for commands that come at one's own risk; there are none here."""
        if self.level < Level.ADMIN:
            return refuse("Permission denied")
        if not rest:
            return says(f"{name} is {'ON' if name in self._modes else 'OFF'}")
        (self._modes.add if rest[0] == "on" else self._modes.discard)(name)
        return Reply()

    def _set_timeout(self, rest: Sequence[str]) -> Reply:
        if rest[:1] != ["cli"]:
            return refuse("'set timeout' only supports 'cli'.")
        if len(rest) < 2:
            return refuse("Expects an integer value.")
        match = TIMEOUT.fullmatch(rest[1])
        seconds = int(match[1]) * TIMEOUT_UNITS[match[2]] if match else 0.0
        if not 0.001 <= seconds <= TIMEOUT_MAX_S:
            return refuse("Invalid timeout value.")
        self.timeout_s = seconds
        return Reply()

    def _set_severity(self, rest: Sequence[str]) -> Reply:
        if not rest or rest[0] not in SEVERITY_OUTPUTS:
            return refuse("one of 'none', 'number', 'string' is a required argument")
        self._severity = rest[0]
        return Reply()
