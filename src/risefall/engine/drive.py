"""The trio driver: moves the bytes of one probe and tells each step. For reach, not for rate.

A driver never turns a time-out or an errno into a status: it reports it, and the probe decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Protocol, assert_never

import msgspec
import trio

from risefall.engine import native
from risefall.engine.native import Endpoint, Probe, ProbeResult, Want


class StepKind(Enum):
    """What a transcript tells, in the order in which things happen."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    TLS_DONE = "TLS handshake done"
    SENT = "sent"
    RECEIVED = "received"
    ENDED = "ended by peer"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CLOSED = "closed"


class Step(msgspec.Struct, frozen=True):
    """One step of a run: when (ns since the start), what, and the bytes or the errno with it."""

    at_ns: int
    kind: StepKind
    data: bytes = b""
    error: int = 0
    detail: str = ""


class Wire(Protocol):
    """What a driver needs of a transport: one connection at a time. Raises OSError; may be cancelled anywhere."""

    async def connect(self, want: Want) -> None:
        """Opens the connection that a probe wants. Raises CallError and TlsError too."""

    async def send(self, data: bytes) -> int:
        """Sends some of it; how many bytes."""

    async def receive(self, room: int) -> bytes:
        """What has come, at most `room` bytes; nothing: the peer ended its stream."""

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        """Both ends of the open connection."""

    def end(self, how: int, last: bytes = b"") -> None:
        """Ends the open connection, if any, with an RST or a FIN; last: words that are said if they go out at once."""


class CallError(Exception):
    """An OSError together with where it arose (AT_SOCKET or AT_CONNECT)."""

    def __init__(self, where: int, error: int) -> None:
        super().__init__(errno.errorcode.get(error, str(error)))
        self.where = where
        self.error = error


class WireError(OSError):
    """A protocol between the socket and the probe failed: no errno, a text for people."""


NAME_MISMATCHES = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


VERIFY_HOST = "VERIFY_HOST"
"""The reason of a certificate that `verifyhost` does not find its name in."""


class TlsError(Exception):
    """A TLS handshake failed. reason: OpenSSL's name for it; verify_code: X509_V_..., 0 when the chain was not at fault."""

    def __init__(self, text: str, reason: str = "", verify_code: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.verify_code = verify_code

    @property
    def haproxy_text(self) -> str:
        """As HAProxy words it (spec 3.4)."""
        if self.reason == VERIFY_HOST:
            return "Server presented an SSL certificate different from the configured one"
        if self.verify_code in NAME_MISMATCHES:
            return "Server presented an SSL certificate different from the expected one"
        return "SSL handshake failure"


def sockaddr(to: Endpoint, port: int) -> tuple[str, int] | tuple[str, int, int, int] | bytes | str:
    """An endpoint as Python's socket functions take it."""
    if to.family == 4:
        return socket.inet_ntop(socket.AF_INET, to.packed), port
    if to.family == 6:
        return socket.inet_ntop(socket.AF_INET6, to.packed), port, 0, to.scope
    return b"\0" + to.packed if to.family == 2 else to.packed.decode("utf-8", "surrogateescape")


def endpoint_of(name: object) -> Endpoint:
    """What getsockname() says, as an endpoint; a UNIX socket's name is left out."""
    if not isinstance(name, tuple):
        return Endpoint(1, b"")
    family = socket.AF_INET6 if ":" in name[0] else socket.AF_INET
    packed = socket.inet_pton(family, name[0].partition("%")[0])
    return Endpoint(6 if family == socket.AF_INET6 else 4, packed, name[1])


class SocksError(Exception):
    """SOCKS4 did not let the connection through; its text is HAProxy's."""


class OpenSocket:
    """What every wire over a socket does once it is connected."""

    _socket: trio.socket.SocketType | None

    async def send(self, data: bytes) -> int:
        assert self._socket is not None
        return await self._socket.send(data)

    async def receive(self, room: int) -> bytes:
        assert self._socket is not None
        return await self._socket.recv(room)

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        assert self._socket is not None
        return endpoint_of(self._socket.getsockname()), endpoint_of(self._socket.getpeername())


class SocketWire(OpenSocket):
    """A real socket: IPv4, IPv6 or UNIX."""

    def __init__(self, to: Endpoint) -> None:
        self._to = to
        self._socket: trio.socket.SocketType | None = None

    def make(self, family: socket.AddressFamily) -> trio.socket.SocketType:
        """A socket that is not connected."""
        return trio.socket.socket(family, socket.SOCK_STREAM)

    async def connect(self, want: Want) -> None:
        to = want.to or self._to
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(to.family, socket.AF_UNIX)
        try:
            self._socket = self.make(family)
        except OSError as error:
            raise CallError(native.AT_SOCKET, error.errno or 0) from error
        if family != socket.AF_UNIX:  # as native/net.c: nothing may wait for an ACK, for a reset would throw it away
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if want.how & native.HOW_QUIET_ACK:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        # Not trio's connect(): it cannot tell a refused call from a refused connection, which differ in their text.
        plain = socket.socket(fileno=self._socket.fileno())
        try:
            result = plain.connect_ex(sockaddr(to, want.port))
        finally:
            plain.detach()
        if result == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(self._socket)
            result = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if result:
                raise OSError(result, "connect")
        elif result:
            # a UNIX socket that cannot be reached counts among those that could not be made, as in native/net.c
            raise CallError(native.AT_SOCKET if family == socket.AF_UNIX else native.AT_CONNECT, result)

    def end(self, how: int, last: bytes = b"") -> None:
        if self._socket is None:
            return
        if last:
            with contextlib.suppress(OSError):
                os.write(self._socket.fileno(), last)
        if how != native.CLOSE_FIN:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self._socket = None


def clock_ns() -> int:
    """Trio's clock, which a test may make jump, as the probe's nanoseconds."""
    return int(trio.current_time() * 1e9)


class Transcript:
    """Tells steps with their time since the start. A driver and the wires under it share one."""

    def __init__(self, tell: Callable[[Step], None] | None = None) -> None:
        self._tell = tell or (lambda step: None)
        self._started_ns = 0
        self._connected = False

    def start(self) -> int:
        """Counts from now on; the time now."""
        self._started_ns = clock_ns()
        return self._started_ns

    def say(self, kind: StepKind, data: bytes = b"", error: int = 0, detail: str = "") -> None:
        """One step, now."""
        self._tell(Step(clock_ns() - self._started_ns, kind, data, error, detail))

    def connecting(self, port: int) -> None:
        """A new connection begins; port 0 for a UNIX socket."""
        self._connected = False
        self.say(StepKind.CONNECTING, detail=str(port) if port else "")

    def connected(self) -> None:
        """The socket is connected: told once, by the lowest that knows and has more to tell (TLS), or by the driver."""
        if not self._connected:
            self._connected = True
            self.say(StepKind.CONNECTED)


class Driver:
    """Runs one probe over one wire."""

    def __init__(self, probe: Probe, wire: Wire, tell: Callable[[Step], None] | Transcript | None = None) -> None:
        """`tell` gets every step; a Transcript where the wires tell steps of their own."""
        self._probe = probe
        self._wire = wire
        self._transcript = tell if isinstance(tell, Transcript) else Transcript(tell)
        self._say = self._transcript.say
        self._connection = 0

    async def run(self) -> ProbeResult:
        """One run, from connect to verdict; the probe's own deadlines bound it."""
        probe = self._probe
        self._connection = 0
        probe.start(self._transcript.start())
        want = probe.want()
        try:
            while want.kind != native.DONE:
                with trio.move_on_at(want.deadline_ns / 1e9) as scope:
                    await self._act(want)
                if scope.cancelled_caught:
                    self._say(StepKind.TIMED_OUT)
                    probe.time(max(clock_ns(), want.deadline_ns))
                want = probe.want()
        finally:
            self._wire.end(want.close, want.out if want.kind == native.DONE else b"")
        self._say(StepKind.CLOSED, detail="FIN" if want.close == native.CLOSE_FIN else "RST")
        return probe.result()

    async def _act(self, want: Want) -> None:
        try:
            await self._move(want)
        except CallError as failed:
            self._say(StepKind.FAILED, error=failed.error)
            self._probe.failed(failed.where, failed.error, clock_ns())
        except SocksError as failed:
            self._say(StepKind.FAILED, detail=str(failed))
            self._probe.socks_failed(str(failed), clock_ns())
        except TlsError as failed:
            self._say(StepKind.FAILED, detail=str(failed))
            self._probe.tls_failed(failed.haproxy_text, clock_ns())
        except OSError as failed:
            self._say(StepKind.FAILED, error=failed.errno or 0, detail="" if failed.errno else str(failed))
            self._probe.failed(native.AT_STREAM, failed.errno or 0, clock_ns())

    async def _move(self, want: Want) -> None:
        if want.kind == native.CONNECT:
            if want.connection != self._connection:
                self._wire.end(want.close)
                self._connection = want.connection
            self._transcript.connecting(want.port)
            await self._wire.connect(want)
            self._transcript.connected()
            if want.how & native.HOW_TELL_ADDRESSES:
                self._probe.addresses(*self._wire.addresses())
            self._probe.connected(clock_ns())
        elif want.kind == native.SEND:
            count = await self._wire.send(want.out)
            self._say(StepKind.SENT, want.out[:count])
            self._probe.sent(count, clock_ns())
        elif want.kind == native.RECV:
            data = await self._wire.receive(want.room)
            self._say(StepKind.RECEIVED if data else StepKind.ENDED, data)
            self._probe.received(data, clock_ns())
        else:
            assert_never(want.kind)  # type: ignore[arg-type]
