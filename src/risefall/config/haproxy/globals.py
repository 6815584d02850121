"""`global` sections. What risefall has no use for is known by name and left alone.

Source: spec/haproxy-checks.md §2.1, §2.2, §7.1, §9.7, §9.8; haproxy configuration manual 2.6, §3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.keywords import GLOBAL_PREFIXES, GLOBAL_WORDS, REMOVED, removed
from risefall.config.haproxy.logs import read_log
from risefall.config.haproxy.model import Global, Line, LogTarget, Place, ProcessVariable, StatsSocket
from risefall.config.haproxy.units import LENIENT, atoi, parse_size, parse_time
from risefall.config.text import Wrong, nearest

TEXTS = {
    "log-tag": "log_tag", "node": "node", "localpeer": "localpeer", "server-state-base": "server_state_base",
    "server-state-file": "server_state_file", "ca-base": "ca_base", "crt-base": "crt_base",
}  # fmt: skip
SPREAD_MAX = 50
BUFSIZE_MIN = 1024


class GlobalReader:
    """Gathers all `global` sections into one."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._fields: dict[str, Any] = {}
        self._logs: list[LogTarget] = []
        self._sockets: list[StatsSocket] = []
        self._variables: list[ProcessVariable] = []

    def line(self, line: Line) -> None:
        """One line. Raises Wrong; what was said before stays."""
        words = line.words
        word = words[0]
        if word in TEXTS:
            self._fields[TEXTS[word]] = argument(words)
        elif word == "description":
            self._fields["description"] = " ".join(words[1:])
        elif word in READERS:
            READERS[word](self._fields, words)
        elif word == "log":
            self._logs.append(read_log(words, Place(line.file, line.line)))
        elif word == "no" and words[1:2] == ("log",):
            self._logs.clear()
        elif word in ("set-var", "set-var-fmt") and len(words) > 2:
            self._variables.append(ProcessVariable(words[1], " ".join(words[2:]), word == "set-var-fmt"))
        elif word == "stats":
            self._stats(line)
        else:
            self._other(words)

    def _stats(self, line: Line) -> None:
        words = line.words
        self._fields["stats_frontend"] = words[1:2] != ()
        match words[1:2]:
            case ("socket",):
                self._sockets.append(stats_socket(words, Place(line.file, line.line)))
            case ("timeout",):
                self._fields["stats_timeout_ms"] = parse_time(argument(words, 2), "'stats timeout'", 2)

    def _other(self, words: Sequence[str]) -> None:
        word = words[0]
        if word in GLOBAL_WORDS:
            return
        was = removed(word, self._dialect)
        if was:
            raise Wrong(f"'{word}' is gone since HAProxy {was[0]}", 0, help=was[1])
        if word not in REMOVED and not word.startswith(GLOBAL_PREFIXES):
            meant = nearest(word, GLOBAL_WORDS)
            raise Wrong(
                f"unknown keyword '{word}' in 'global' section",
                0,
                help=f"did you mean '{meant}'?" if meant else "haproxy manual §3 lists them",
            )

    def finish(self) -> Global:
        return msgspec.structs.replace(
            Global(**self._fields),
            logs=tuple(self._logs),
            variables=tuple(self._variables),
            stats_sockets=tuple(self._sockets),
        )


def argument(words: Sequence[str], at: int = 1) -> str:
    if len(words) <= at:
        raise Wrong(f"'{' '.join(words[:at])}' wants an argument", len(words), help="write its value behind it")
    return words[at]


def spread_checks(fields: dict[str, Any], words: Sequence[str]) -> None:
    number = atoi(argument(words))
    if not 0 <= number <= SPREAD_MAX:
        raise Wrong("'spread-checks' needs a positive value in range 0..50", 1, help="write a percentage of 0 to 50")
    fields["spread_checks_pct"] = number


def max_spread_checks(fields: dict[str, Any], words: Sequence[str]) -> None:
    fields["max_spread_checks_ms"] = parse_time(argument(words), "'max-spread-checks'", 1)


def log_send_hostname(fields: dict[str, Any], words: Sequence[str]) -> None:
    fields["log_send_hostname"] = words[1] if len(words) > 1 else ""


def external_check(fields: dict[str, Any], words: Sequence[str]) -> None:
    fields["external_check"] = True
    fields["external_check_env"] = "preserve-env" in words[1:]


def insecure_fork_wanted(fields: dict[str, Any], words: Sequence[str]) -> None:
    fields["insecure_fork_wanted"] = True


def ssl_server_verify(fields: dict[str, Any], words: Sequence[str]) -> None:
    value = argument(words)
    if value not in ("none", "required"):
        raise Wrong(
            f"'ssl-server-verify' expects 'none' or 'required' as argument, got '{value}'",
            1,
            help="write none or required",
        )
    fields["ssl_server_verify"] = value


def bufsize(fields: dict[str, Any], words: Sequence[str]) -> None:
    text = argument(words)
    try:
        number = parse_size(text)
    except ValueError:
        number = 0
    if number < BUFSIZE_MIN:
        raise Wrong(
            f"'tune.bufsize' expects a positive integer argument, got '{text}'", 1, help=f"write {BUFSIZE_MIN} or more"
        )
    fields["bufsize"] = number


def maxconn(fields: dict[str, Any], words: Sequence[str]) -> None:
    text = argument(words)
    if not LENIENT.match(text):
        raise Wrong(f"'maxconn' expects an integer argument, got '{text}'", 1, help="write a number")
    fields["maxconn"] = atoi(text)


def max_checks_per_thread(fields: dict[str, Any], words: Sequence[str]) -> None:
    fields["max_checks_per_thread"] = atoi(argument(words))


READERS: dict[str, Callable[[dict[str, Any], Sequence[str]], None]] = {
    "spread-checks": spread_checks,
    "max-spread-checks": max_spread_checks,
    "log-send-hostname": log_send_hostname,
    "external-check": external_check,
    "insecure-fork-wanted": insecure_fork_wanted,
    "ssl-server-verify": ssl_server_verify,
    "tune.bufsize": bufsize,
    "maxconn": maxconn,
    "tune.max-checks-per-thread": max_checks_per_thread,
}


STATS_FIELDS = {"mode": "mode", "level": "level", "user": "user", "group": "group", "severity-output": "severity"}


def stats_socket(words: Sequence[str], place: Place) -> StatsSocket:
    """`stats socket <address> [mode m] [level l] [user u] [group g] ...`."""
    fields: dict[str, str] = {}
    at = 3
    while at < len(words) - 1:  # `level user` is no `user`
        name = STATS_FIELDS.get(words[at])
        if name:
            fields[name] = words[at + 1]
        at += 2 if name else 1
    level = fields.get("level", "operator")
    if level not in ("user", "operator", "admin"):
        raise Wrong(
            f"'level' only supports 'user', 'operator', and 'admin' (got '{level}')",
            words.index(level),
            help="write one of them",
        )
    return StatsSocket(argument(words, 2), place=place, **fields)
