"""`log` lines. Source: spec/haproxy-checks.md §6.4; haproxy configuration manual 2.6, §3.1 log, §4.2 log."""

from __future__ import annotations

from collections.abc import Sequence

from risefall.config.haproxy.model import LogTarget, Place
from risefall.config.haproxy.units import atoi
from risefall.config.text import Wrong, nearest

FACILITIES = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "auth2",
    "ftp",
    "ntp",
    "audit",
    "alert",
    "cron2",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
]
LEVELS = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
FORMATS = ("local", "rfc3164", "rfc5424", "priority", "short", "timed", "iso", "raw")
LEN_MIN, LEN_MAX = 80, 65535


def read_log(words: Sequence[str], place: Place) -> LogTarget:
    """`log <address> [len <n>] [format <f>] [sample ...] <facility> [<max level> [<min level>]]`. Raises Wrong."""
    if len(words) < 3:
        raise Wrong(
            "'log' expects either <address[:port]> and <facility> or 'global' as arguments",
            len(words),
            help="such as log /dev/log local0",
        )
    address, length, form, at = words[1], 1024, "", 2
    while at + 1 < len(words) and words[at] in ("len", "format", "sample", "profile"):
        value = words[at + 1]
        if words[at] == "len":
            length = atoi(value)
            if not LEN_MIN <= length <= LEN_MAX:
                raise Wrong(
                    f"log : invalid log length '{value}', must be between {LEN_MIN} and {LEN_MAX}",
                    at + 1,
                    help="write a length of 80 to 65535",
                )
        elif words[at] == "format":
            form = known(value, FORMATS, "log format", at + 1)
        at += 2
    if at >= len(words):
        raise Wrong("log : no facility", len(words), help="write a facility, such as local0")
    facility = known(words[at], FACILITIES, "log facility", at)
    levels = [known(word, LEVELS, "optional log level", at + 1 + i) for i, word in enumerate(words[at + 1 : at + 3])]
    if len(words) > at + 3:
        raise Wrong(f"log : unexpected argument '{words[at + 3]}'", at + 3, help="remove it")
    return LogTarget(
        address,
        facility,
        form,
        levels[0] if levels else "debug",
        levels[1] if len(levels) > 1 else "emerg",
        length,
        place,
    )


def known(word: str, words: Sequence[str], what: str, at: int) -> str:
    if word not in words:
        meant = nearest(word, words)
        raise Wrong(
            f"log : unknown {what} '{word}'",
            at,
            help=f"did you mean '{meant}'?" if meant else "known are " + " ".join(words),
        )
    return word
