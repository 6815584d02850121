"""Where log lines go, without ever waiting.

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

Source: spec/haproxy-checks.md §6.1, §6.4; haproxy configuration manual 2.6 §3.1 log.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import stat
from typing import Protocol

SYSLOG_PORT = 514
RETRY_S = 1.0
FAMILY_PREFIXES = {
    "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "udp": socket.AF_UNSPEC, "udp4": socket.AF_INET,
    "udp6": socket.AF_INET6,
}  # fmt: skip


def own_description(fd: int) -> int | None:
    """A descriptor for the same pipe or terminal that never blocks, while the caller's stays as it is.

    None where it is refused: the pipe is another user's.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


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
            self._own = own_description(fd)
            self._fd = fd if self._own is None else self._own

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
