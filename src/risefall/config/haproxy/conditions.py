"""The conditions of `.if` and `.elif`, answered as the HAProxy that is imitated would.

Source: spec/haproxy-checks.md §9.3; haproxy configuration manual 2.6, §2.4 (conditional blocks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.units import atoi, integer
from risefall.config.text import Wrong, nearest

DEPTH_MAX = 100
FEATURES = frozenset(
    [
        "ACCEPT4",
        "BACKTRACE",
        "CPU_AFFINITY",
        "CRYPT_H",
        "DL",
        "EPOLL",
        "GETADDRINFO",
        "LIBCRYPT",
        "LINUX_SPLICE",
        "LINUX_TPROXY",
        "LUA",
        "NETFILTER",
        "NS",
        "OPENSSL",
        "PCRE2",
        "PCRE2_JIT",
        "POLL",
        "PRCTL",
        "PROMEX",
        "RT",
        "SLZ",
        "SYSTEMD",
        "TFO",
        "THREAD",
        "THREAD_DUMP",
        "TPROXY",
    ]
)
"""Build options of Debian's haproxy 2.6; `haproxy -vv` lists them."""
ENABLED = frozenset(("POLL", "EPOLL", "SPLICE", "GETADDRINFO", "REUSEPORT", "FAST-FORWARD"))
OPENSSL = "3.0.0"
SSLLIB = "OpenSSL 3.0"
INTEGER = re.compile(r"[+-]?(?:0[xX]([0-9a-fA-F]+)|[0-9]+)")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VERSION = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-(dev|rc)(\d*)|[.-](\d+))?", re.ASCII)
ARITY = {
    "defined": 1, "feature": 1, "streq": 2, "strneq": 2, "version_atleast": 1, "version_before": 1,
    "openssl_version_atleast": 1, "openssl_version_before": 1, "ssllib_name_startswith": 1,
    "strstr": 2, "enabled": 1, "awslc_api_atleast": 1, "awslc_api_before": 1,
}  # fmt: skip
NEWER = frozenset(("strstr", "enabled", "awslc_api_atleast", "awslc_api_before"))


def version_key(text: str) -> tuple[int, ...]:
    """A version to compare, 0 for what is none: development snapshots come before the release they lead to, commits behind it."""
    found = VERSION.match(text.lstrip(" "))
    if not found:
        return 0, 0, 0, 2, 0
    major, minor, patch, stage, number, commits = found.groups()
    rank = {"dev": 0, "rc": 1, None: 2}[stage]
    return integer(major), integer(minor or "0"), integer(patch or "0"), rank, integer(number or commits or "0")


class Condition:
    """One condition, read from left to right; the value is known at the end of it."""

    def __init__(self, text: str, word: str, env: Mapping[str, str], dialect: Dialect) -> None:
        self._text = text
        self._word = word
        self._env = env
        self._dialect = dialect
        self._at = 0
        self._depth = 0

    def value(self) -> bool:
        """Raises Wrong when it cannot be read."""
        if not self._text.strip():
            return False
        found = self._either()
        self._blanks()
        if self._at < len(self._text):
            raise self._wrong(f"unexpected character '{self._text[self._at]}' at the end of conditional expression")
        return found

    def _wrong(self, message: str, help: str = "") -> Wrong:
        return Wrong(
            f"{message} '{self._text}' in '{self._word}' at position {self._at + 1}",
            1,
            help=help or "known are " + ", ".join(f"{name}()" for name in self._known()),
        )

    def _known(self) -> Sequence[str]:
        return [name for name in ARITY if name not in NEWER or self._dialect.healthcheck_sections]

    def _blanks(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _takes(self, token: str) -> bool:
        self._blanks()
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def _either(self) -> bool:
        found = self._both()
        while self._takes("||"):
            found = self._both() or found
        return found

    def _both(self) -> bool:
        found = self._term()
        while self._takes("&&"):
            found = self._term() and found
        return found

    def _term(self) -> bool:
        negate = False
        while self._takes("!"):
            negate = not negate
        return self._plain() != negate

    def _plain(self) -> bool:
        if self._takes("("):
            self._depth += 1
            if self._depth > DEPTH_MAX:
                raise self._wrong("too many parentheses in conditional expression")
            found = self._either()
            if not self._takes(")"):
                raise self._wrong("expected ')' in conditional expression")
            self._depth -= 1
            return found
        number = INTEGER.match(self._text, self._at)
        if number:
            self._at = number.end()
            return int(number.group(1), 16) != 0 if number.group(1) else atoi(number.group()) != 0
        name = WORD.match(self._text, self._at)
        if not name or name.group() not in self._known():
            meant = nearest(name.group(), self._known()) if name else ""
            raise self._wrong("unparsable conditional expression", f"did you mean {meant}(...)?" if meant else "")
        return self._predicate(name.group(), name.end())

    def _predicate(self, name: str, begin: int) -> bool:
        """Without parentheses the argument is empty, which only a predicate of one takes."""
        arguments, end = [""], begin
        if self._text[begin : begin + 1] == "(":
            end = self._text.find(")", begin) + 1
            if not end:
                self._at = len(self._text)
                raise self._wrong(f"expected ')' in argument 1 of predicate '{name}' used in conditional expression")
            arguments = self._text[begin + 1 : end - 1].split(",")
        if len(arguments) != ARITY[name]:
            raise self._wrong(f"predicate '{name}' wants {ARITY[name]} argument(s) in conditional expression")
        self._at = end
        return self._answer(name, arguments)

    def _answer(self, name: str, arguments: Sequence[str]) -> bool:
        first, last = arguments[0], arguments[-1]
        match name:
            case "defined":
                return first in self._env
            case "feature":
                return not first or first in FEATURES
            case "enabled":
                return first.upper() in ENABLED
            case "streq":
                return first == last
            case "strneq":
                return first != last
            case "strstr":
                return last in first
            case "awslc_api_atleast" | "awslc_api_before":
                return False  # of a library that is not OpenSSL
            case "ssllib_name_startswith":
                return SSLLIB.startswith(first)
        against = self._dialect.version if name.startswith("version") else OPENSSL
        atleast = version_key(against) >= version_key(first)
        return atleast if name.endswith("atleast") else not atleast
