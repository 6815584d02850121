"""Log lines to where `log` says: rendered as HAProxy renders them, handed to the sinks.

Source: spec/haproxy-checks.md §6.1, §6.4; haproxy configuration manual 2.6 §3.1 log, §8.2.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

import msgspec

from risefall.config.haproxy.model import LogTarget
from risefall.surfaces.sinks import Sink, open_sink

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp", "audit",
    "alert", "cron2", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITY_NUMBER = {name: number for number, name in enumerate(FACILITIES)}
LEVEL_NUMBER = {name: number for number, name in enumerate(LEVELS)}

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""strftime's %b follows the locale; syslog does not."""


class Stamp(msgspec.Struct, frozen=True):
    """What the formats need besides the text. host: None where `log-send-hostname` was not asked for."""

    wall: float
    host: str | None
    tag: str
    pid: int


def rfc3164_date(wall: float) -> str:
    """`Nov  3 02:37:34`, local time; the day is padded with a blank."""
    at = time.localtime(wall)
    return f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def iso_date(wall: float) -> str:
    """`2026-11-23T02:33:18.104986+00:00`, local time with its offset."""
    micros = round(wall * 1e6)
    at = time.localtime(micros // 1_000_000)
    sign, offset = ("-", -at.tm_gmtoff) if at.tm_gmtoff < 0 else ("+", at.tm_gmtoff)
    return (
        f"{at.tm_year:04d}-{at.tm_mon:02d}-{at.tm_mday:02d}T{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
        f".{micros % 1_000_000:06d}{sign}{offset // 3600:02d}:{offset // 60 % 60:02d}"
    )


def _local(facility: int, level: int, stamp: Stamp) -> str:
    return f"<{facility * 8 + level}>{rfc3164_date(stamp.wall)} {stamp.tag}[{stamp.pid}]: "


def _rfc3164(facility: int, level: int, stamp: Stamp) -> str:
    host = "localhost" if stamp.host is None else stamp.host
    return f"<{facility * 8 + level}>{rfc3164_date(stamp.wall)} {host} {stamp.tag}[{stamp.pid}]: "


def _default(facility: int, level: int, stamp: Stamp) -> str:
    return (_local if stamp.host is None else _rfc3164)(facility, level, stamp)


def _rfc5424(facility: int, level: int, stamp: Stamp) -> str:
    host = "-" if stamp.host is None else stamp.host
    return f"<{facility * 8 + level}>1 {iso_date(stamp.wall)} {host} {stamp.tag} {stamp.pid} - - "


def _priority(facility: int, level: int, stamp: Stamp) -> str:
    return f"<{facility * 8 + level}>"


def _short(facility: int, level: int, stamp: Stamp) -> str:
    return f"<{level}>"


def _timed(facility: int, level: int, stamp: Stamp) -> str:
    return f"<{level}>{iso_date(stamp.wall)} "


def _iso(facility: int, level: int, stamp: Stamp) -> str:
    return f"{iso_date(stamp.wall)} "


def _raw(facility: int, level: int, stamp: Stamp) -> str:
    return ""


HEADS: dict[str, Callable[[int, int, Stamp], str]] = {
    "": _default, "local": _local, "rfc3164": _rfc3164, "rfc5424": _rfc5424, "priority": _priority, "short": _short,
    "timed": _timed, "iso": _iso, "raw": _raw,
}  # fmt: skip


def render_line(target: LogTarget, level: int, text: str, stamp: Stamp) -> bytes | None:
    """One line for one target, its line feed included.

    Args:
        level: 0 (emerg) .. 7 (debug).
    Returns: None where the target's maximum level leaves the line out; at most `len` bytes and the line feed.
    Source: spec §6.4. Differs: nothing known; compared byte by byte with 2.6.12.
    """
    if level > LEVEL_NUMBER[target.max_level]:
        return None
    raised = max(level, LEVEL_NUMBER[target.min_level])
    head = HEADS[target.format](FACILITY_NUMBER[target.facility], raised, stamp)
    return _bytes_of(head + text)[: target.len_bytes] + b"\n"


def _bytes_of(text: str) -> bytes:
    """A peer's bytes travel as surrogates and come out as they were; any other text must not raise."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


class Logger:
    """All `log` lines of a configuration. Targets with one address share one sink, whatever their format.

    Args:
        targets_by_proxy: for each proxy its targets, in order.
        tags: for each proxy its log-tag.
        send_hostname: None when log-send-hostname is not asked for, "" for the machine's own name.
        clock: wall time in seconds.

    `warnings` names, once, each address that cannot be served; whoever made the logger shows it.
    """

    def __init__(
        self,
        targets_by_proxy: Sequence[Sequence[LogTarget]],
        *,
        tags: Sequence[str],
        send_hostname: str | None,
        pid: int,
        clock: Callable[[], float],
    ) -> None:
        self._targets = targets_by_proxy
        self._tags = tags
        self._host = socket.gethostname() if send_hostname == "" else send_hostname
        self._pid = pid
        self._clock = clock
        addresses = dict.fromkeys(target.address for targets in targets_by_proxy for target in targets)
        self.sinks: dict[str, Sink] = {address: open_sink(address) for address in addresses}
        self.warnings = tuple(sink.why for sink in self.sinks.values() if sink.why)

    def log(self, proxy: int, level: int, text: str) -> None:
        """Writes one line to each target of the proxy, in order. Never blocks, never raises.

        Args:
            proxy: index as in `targets_by_proxy`.
            level: 0 (emerg) .. 7 (debug).
        """
        targets = self._targets[proxy]
        if not targets:
            return
        now = self._clock()
        stamp = Stamp(now, self._host, self._tags[proxy], self._pid)
        for target in targets:
            line = render_line(target, level, text, stamp)
            if line is not None:
                self.sinks[target.address].write(line, now)

    @property
    def dropped(self) -> int:
        """Lines that no target took, over all sinks; DroppedLogs of `show info`."""
        return sum(sink.dropped for sink in self.sinks.values())

    def close(self) -> None:
        """Closes every sink; the caller's own descriptors stay open."""
        for sink in self.sinks.values():
            sink.close()
