"""The PROXY header ahead of a connection that the trio driver makes; those of the native one: native/transport.c.

Source: haproxy doc/proxy-protocol.txt; haproxy configuration manual 2.6, §5.2 send-proxy, check-send-proxy; spec §2.6.
"""

from __future__ import annotations

import socket

from risefall.engine.drive import SocketWire
from risefall.engine.native import Endpoint, Want

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_LOCAL = SIGNATURE + b"\x20\0\0\0"
"""A check speaks for nobody: version 2, command LOCAL, no addresses."""


class ProxyWire(SocketWire):
    """A socket that says the header as soon as it is connected."""

    def __init__(self, to: Endpoint, version: int) -> None:
        super().__init__(to)
        self._version = version

    async def connect(self, want: Want) -> None:
        await super().connect(want)
        left = V2_LOCAL if self._version == 2 else line(*self.addresses())
        while left:
            left = left[await self.send(left) :]


def line(local: Endpoint, remote: Endpoint) -> bytes:
    """The header of version 1: both ends of the connection; a UNIX socket has no address there."""
    if local.family not in (4, 6) or local.family != remote.family:
        return b"PROXY UNKNOWN\r\n"
    family = socket.AF_INET if local.family == 4 else socket.AF_INET6
    ends = " ".join(socket.inet_ntop(family, end.packed) for end in (local, remote))
    return f"PROXY TCP{local.family} {ends} {local.port} {remote.port}\r\n".encode()
