"""A plain trio listener for agent checks: one send and a FIN for each connection, and nobody gets more than his share.

What came in is read before the socket is closed: closing with unread bytes makes the kernel send an RST, which can
overtake the answer on its way (HAProxy's `agent-send` is such bytes).
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable

import trio

from risefall.agent.desk import Desk, Spoken
from risefall.agent.sense import split_listen
from risefall.errors import StartError

SEND_WAIT_MS = 200
BACKLOG = 1024
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Statistics:
    """What listeners have done, as counts."""

    def __init__(self) -> None:
        self.answered = 0
        self.silent = 0
        self.refused = 0
        self.cut = 0


class Gate:
    """Who may come in: networks, connections of one source, and all connections."""

    def __init__(self, allow: tuple[str, ...], per_source: int, most: int) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(text) for text in allow]
        self._per_source = per_source
        self._most = most
        self._open: Counter[str] = Counter()
        self._count = 0

    def enter(self, source: str) -> bool:
        """Whether a source may come in; if so, `leave` must follow."""
        if self._count >= self._most or self._open[source] >= self._per_source or not self.is_allowed(source):
            if not self._open[source]:
                del self._open[source]
            return False
        self._open[source] += 1
        self._count += 1
        return True

    def leave(self, source: str) -> None:
        self._count -= 1
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]

    def is_allowed(self, source: str) -> bool:
        if not self._networks:
            return True
        address = ipaddress.ip_address(source)
        return any(address in network for network in self._networks if network.version == address.version)


def plain_address(host: str) -> str:
    """An address without a zone, and an IPv4 one that came over an IPv6 socket as what it is."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class Port:
    """One listening address, the services that answer there, and how."""

    def __init__(
        self, desk: Desk, only: list[str], gate: Gate, statistics: Statistics, dirty: Callable[[], None]
    ) -> None:
        agent = desk.settings.agent
        self._desk = desk
        self._only = only
        self._gate = gate
        self._statistics = statistics
        self._dirty = dirty
        self._deadline_s = agent.deadline_ms / 1000
        self._bytes_max = agent.send_bytes_max
        wait = agent.send_ms if agent.send_ms is not None else SEND_WAIT_MS if len(only) > 1 else 0
        self._wait_s = wait / 1000

    async def answer(self, stream: trio.SocketStream) -> None:
        """One connection. Whatever a peer does, it ends by the deadline and raises nothing."""
        try:
            source = plain_address(stream.socket.getpeername()[0])
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        if not self._gate.enter(source):
            self._statistics.refused += 1
            await trio.aclose_forcefully(stream)
            return
        try:
            with trio.move_on_after(self._deadline_s) as scope:
                await self._talk(stream, source)
            self._statistics.cut += scope.cancelled_caught
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._statistics.cut += 1
        finally:
            self._gate.leave(source)
            await trio.aclose_forcefully(stream)

    async def _talk(self, stream: trio.SocketStream, source: str) -> None:
        chosen = self._desk.choose(await self._hear(stream), source, self._only)
        if chosen is None:
            self._statistics.silent += 1
            return
        spoken = self._desk.speak(*chosen, time.monotonic_ns(), time.time_ns())
        self._dirty()
        if spoken.line is None:
            self._statistics.silent += 1
            return
        await self._say(stream, spoken, spoken.line)

    async def _hear(self, stream: trio.SocketStream) -> bytes:
        """What HAProxy sends, up to the end of its line, or the end of the wait; nothing where nobody waits for it."""
        data = b""
        if self._wait_s > 0:
            with trio.move_on_after(self._wait_s):
                while b"\n" not in data and len(data) < self._bytes_max:
                    piece = await stream.receive_some(self._bytes_max)
                    if not piece:
                        break
                    data += piece
        return data[: self._bytes_max]

    async def _say(self, stream: trio.SocketStream, spoken: Spoken, line: bytes) -> None:
        """The line, a FIN, and then what the peer still sends, until it has closed too."""
        await stream.send_all(line)
        self._desk.sent(spoken, time.time_ns())
        self._statistics.answered += 1
        self._dirty()
        await stream.send_eof()
        left = self._bytes_max
        while left > 0 and (piece := await stream.receive_some(4096)):
            left -= len(piece)


async def open_ports(listen: tuple[str, ...]) -> list[trio.SocketListener]:
    """Listening sockets. Raises StartError with the address that cannot be had."""
    opened: list[trio.SocketListener] = []
    for text in listen:
        host, port = split_listen(text)
        try:
            opened.extend(await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG))
        except OSError as error:
            for listener in opened:
                await listener.aclose()
            why = error.strerror or str(error)
            raise StartError(f"cannot listen on {text}: {why}") from error
    return opened
