"""Log lines to where `log` says: rendered as HAProxy renders them, written without ever waiting.

A checker must not stand still because a syslog daemon does. So a line that its target does not take at once is
dropped and counted, as HAProxy does (DroppedLogs); nothing here raises. Three kernel facts shape the sinks:

- An unconnected datagram socket looks its target up with every send, so a syslog daemon that comes back is found
  without a reconnect. A UNIX path that is missing is left alone for a second all the same: a burst of lines would
  otherwise cost a failed look-up each.
- O_NONBLOCK belongs to the open file description, which stdout shares with the shell that started us. Opening
  /proc/self/fd/N anew gives a description of our own for pipes and terminals; where that is refused, poll(2) is
  asked before each piece of at most PIPE_BUF, which a pipe that polls writable takes whole.
- A stream that takes half a line keeps the rest here until it takes it; lines that come meanwhile are dropped, so
  that no line ever starts inside another.

Source: spec/haproxy-checks.md §6.1, §6.4; haproxy configuration manual 2.6 §3.1 log, §8.2.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from risefall.config.haproxy.model import LogTarget

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2", "ftp", "ntp", "audit",
    "alert", "cron2", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITY_NUMBER = {name: number for number, name in enumerate(FACILITIES)}
LEVEL_NUMBER = {name: number for number, name in enumerate(LEVELS)}

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""strftime's %b follows the locale; syslog does not."""

SYSLOG_PORT = 514
RETRY_S = 1.0
FAMILY_PREFIXES = {
    "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "udp": socket.AF_UNSPEC, "udp4": socket.AF_INET,
    "udp6": socket.AF_INET6,
}  # fmt: skip


# --- lines ----------------------------------------------------------------------------------------


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


# --- sinks ----------------------------------------------------------------------------------------


class Sink(Protocol):
    """Where lines of one address go. `write` never blocks and never raises: it counts in `dropped`.

    why: what an operator should know about a sink that cannot work, or "".
    """

    dropped: int
    why: str

    def write(self, line: bytes, now: float) -> None: ...

    def close(self) -> None: ...


class Nowhere:
    """An address that cannot be served; every line is dropped."""

    def __init__(self, why: str) -> None:
        self.why = why
        self.dropped = 0

    def write(self, line: bytes, now: float) -> None:
        self.dropped += 1

    def close(self) -> None:
        pass


class UdpSink:
    """Datagrams to one address, resolved once."""

    why = ""

    def __init__(self, family: int, address: tuple[object, ...]) -> None:
        self.dropped = 0
        self._address = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def write(self, line: bytes, now: float) -> None:
        try:
            self._socket.sendto(line, self._address)
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        self._socket.close()


class UnixSink:
    """Datagrams to a path such as /dev/log. After a missing reader nothing is tried for RETRY_S."""

    why = ""

    def __init__(self, path: str) -> None:
        self.dropped = 0
        self._path = path
        self._missed: float | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def write(self, line: bytes, now: float) -> None:
        if self._missed is not None and 0 <= now - self._missed < RETRY_S:
            self.dropped += 1
            return
        self._missed = None
        try:
            self._socket.sendto(line, self._path)
        except BlockingIOError:  # a full queue may have room for the next line
            self.dropped += 1
        except OSError:
            self.dropped += 1
            self._missed = now

    def close(self) -> None:
        self._socket.close()


class StreamSink:
    """stdout, stderr or `fd@N`: a byte stream that somebody else owns; see the head of this file."""

    why = ""

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._rest = b""
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._fd = fd
        self._piece = select.PIPE_BUF
        kind = os.fstat(fd).st_mode
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            self._reopen()

    def _reopen(self) -> None:
        try:
            self._own = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return
        self._fd = self._own

    def write(self, line: bytes, now: float) -> None:
        try:
            self._finish()
            if self._rest:
                self.dropped += 1
                return
            sent = self._put(line)
        except OSError:
            self.dropped += 1 + bool(self._rest)
            self._rest = b""
            return
        if sent:
            self._rest = line[sent:]
        else:
            self.dropped += 1

    def _finish(self) -> None:
        if self._rest:
            self._rest = self._rest[self._put(self._rest) :]

    def _put(self, data: bytes) -> int:
        """Writes what is taken at once; returns how many bytes that was."""
        done = 0
        while done < len(data):
            piece = data[done : done + self._piece]
            try:
                if self._socket is not None:
                    sent = self._socket.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                elif self._own is None and not self._writable():
                    break
                else:
                    sent = os.write(self._fd, piece)
            except BlockingIOError:
                break
            done += sent
            if sent < len(piece):
                break
        return done

    def _writable(self) -> bool:
        asked = select.poll()
        asked.register(self._fd, select.POLLOUT)
        return bool(asked.poll(0))

    def close(self) -> None:
        """Tries once more to finish a line that was cut; leaves the caller's descriptor open."""
        try:
            self._finish()
        except OSError:
            self._rest = b""
        self.dropped += bool(self._rest)
        self._rest = b""
        if self._socket is not None:
            self._socket.close()
        if self._own is not None:
            os.close(self._own)
            self._own = None


STANDARD = {"stdout": 1, "stderr": 2}


def open_sink(address: str) -> Sink:
    """The sink of one `log` address; an address that cannot be served gives one that drops everything.

    Looks names up, which may block: call it before the event loop runs, or in a thread.
    """
    try:
        if address in STANDARD:
            return StreamSink(STANDARD[address])
        prefix, at, rest = address.partition("@")
        if not at:
            prefix, rest = "", address
        if prefix == "fd":
            return StreamSink(int(rest))
        if prefix in ("ring", "tcp", "tcp4", "tcp6", "abns"):
            return Nowhere(f"log {address}: not supported; use a UDP address, a UNIX path, stdout or stderr")
        if prefix == "unix" or rest.startswith("/"):
            return UnixSink(rest)
        return _open_udp(rest, FAMILY_PREFIXES.get(prefix, socket.AF_UNSPEC))
    except (OSError, ValueError, OverflowError) as error:
        return Nowhere(f"log {address}: {getattr(error, 'strerror', None) or error}")


def split_host_port(text: str) -> tuple[str, int]:
    """`10.0.0.1:514`, `[::1]:514`, `::1:514`, `host`; the last colon outside brackets separates the port.

    Raises: ValueError for what is no port.
    """
    if text.endswith("]"):
        return text.strip("[]"), SYSLOG_PORT
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, SYSLOG_PORT
    if not 0 < int(port) < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return host.strip("[]"), int(port)


def _open_udp(text: str, family: int) -> Sink:
    host, port = split_host_port(text)
    try:
        numeric = ipaddress.ip_address(host)
    except ValueError:
        answers = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)
        # HAProxy's own choice: the first IPv4 address unless the name has none.
        chosen, _, _, _, address = min(answers, key=lambda answer: answer[0] != socket.AF_INET)
        return UdpSink(chosen, address)
    return UdpSink(socket.AF_INET6 if numeric.version == 6 else socket.AF_INET, (str(numeric), port))


# --- the logger -----------------------------------------------------------------------------------


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
