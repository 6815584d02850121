"""What comes ahead of the rules on a connection that the trio driver makes: another namespace, SOCKS4, the PROXY header.

Those of the native one: native/net.c, native/transport.c. Source: haproxy doc/proxy-protocol.txt; haproxy configuration manual
2.6, §5.2 namespace, socks4, check-via-socks4, send-proxy, check-send-proxy; spec §2.6.
"""

from __future__ import annotations

import errno
import socket

import msgspec
import trio

from risefall.engine import native
from risefall.engine.drive import CallError, SocketWire, SocksError, sockaddr
from risefall.engine.native import Endpoint, Want

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_LOCAL = SIGNATURE + b"\x20\0\0\0"
"""A check speaks for nobody: version 2, command LOCAL, no addresses."""
SOCKS_CONNECT = b"\x04\x01"
SOCKS_USER = b"HAProxy\0"
SOCKS_REPLY_BYTES = 8
SOCKS_GRANTED = b"\0\x5a"


class Ahead(msgspec.Struct, frozen=True):
    """proxy: version of the PROXY header, 0 none. socks4: its proxy. netns: a descriptor, 0 none. source: where from, its last
    port, and through which interface."""

    proxy: int = 0
    socks4: Endpoint | None = None
    netns: int = 0
    source: Endpoint | None = None
    source_port_max: int = 0
    interface: str = ""


class AheadWire(SocketWire):
    """A socket that does all this as soon as it is connected."""

    def __init__(self, to: Endpoint, ahead: Ahead) -> None:
        super().__init__(to)
        self._ahead = ahead

    async def connect(self, want: Want) -> None:
        goal, through = want.to or self._to, self._ahead.socks4
        if through is not None:
            await super().connect(msgspec.structs.replace(want, to=through, port=through.port))
            await self._ask_socks(goal, want.port)
        else:
            await super().connect(want)
        if self._ahead.proxy:
            await self._say(V2_LOCAL if self._ahead.proxy == 2 else line(*self.addresses()))

    def make(self, family: socket.AddressFamily) -> trio.socket.SocketType:
        """A socket of its namespace, bound to its source."""
        if family == socket.AF_UNIX:
            return super().make(family)
        if not self._ahead.netns:
            plain = socket.socket(family, socket.SOCK_STREAM)
        elif (made := native.socket_within(self._ahead.netns, 4 if family == socket.AF_INET else 6)) >= 0:
            plain = socket.socket(fileno=made)
        else:
            raise CallError(native.AT_SOCKET, -made)
        try:
            self._bind(plain)
        except OSError:
            plain.close()
            raise
        return trio.socket.from_stdlib_socket(plain)

    def _bind(self, plain: socket.socket) -> None:
        """As native/net.c: every port of the range in turn; without a range the kernel chooses."""
        ahead = self._ahead
        if ahead.interface:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ahead.interface.encode())
        if ahead.source is None:
            return
        first, last = ahead.source.port, max(ahead.source.port, ahead.source_port_max)
        if first:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in range(first, last + 1):
            try:
                plain.bind(sockaddr(ahead.source, port))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == last:
                    raise

    async def _say(self, left: bytes) -> None:
        while left:
            left = left[await self.send(left) :]

    async def _ask_socks(self, goal: Endpoint, port: int) -> None:
        """Raises SocksError."""
        address = goal.packed if goal.family == 4 else bytes(4)  # there is no other here
        await self._say(SOCKS_CONNECT + port.to_bytes(2, "big") + address + SOCKS_USER)
        reply = b""
        while len(reply) < SOCKS_REPLY_BYTES:
            more = await self.receive(SOCKS_REPLY_BYTES - len(reply))
            if not more:
                raise SocksError("SOCKS4 Proxy read error during handshake")
            reply += more
        if not reply.startswith(SOCKS_GRANTED):
            raise SocksError("SOCKS4 Proxy deny the request")


def line(local: Endpoint, remote: Endpoint) -> bytes:
    """The header of version 1: both ends of the connection; a UNIX socket has no address there."""
    if local.family not in (4, 6) or local.family != remote.family:
        return b"PROXY UNKNOWN\r\n"
    family = socket.AF_INET if local.family == 4 else socket.AF_INET6
    ends = " ".join(socket.inet_ntop(family, end.packed) for end in (local, remote))
    return f"PROXY TCP{local.family} {ends} {local.port} {remote.port}\r\n".encode()
