"""The ears of `risefall vrrp --watch`: raw sockets on interfaces, and what comes in told to a `Watch`.

Received adverts come through raw sockets, behind the firewall, as keepalived itself would get them: IPv4 with its header, IPv6
with hop limit and destination beside. What this machine sends loops back to no raw socket, so a packet socket with a filter
for outgoing VRRP tells of it: else a MASTER on this very node would not be seen. Times are the kernel's of arrival.

Bounded: a turn takes BATCH packets of a socket, what the kernel has no room for is lost there.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress

import trio

from risefall.errors import StartError
from risefall.evaluator.watching import Links
from risefall.vrrp.datagrams import Datagram, parse_ipv4, parse_ipv6
from risefall.vrrp.packets import GROUP_V4, GROUP_V6, PROTOCOL_AH, PROTOCOL_VRRP, PacketError
from risefall.vrrp.watch import Watch
from risefall.vrrp.watch_events import Event, Kind

BATCH = 64
PACKET_BYTES = 8192
_CONTROL_BYTES = 256
_SO_TIMESTAMPNS = 35
_SO_ATTACH_FILTER = 26
_SO_RCVBUF_BYTES = 1 << 20
_ETH_P_ALL = 3
_AGE_MAX_US = 60_000_000
"""A packet that is older than this by its time stamp came while the clock was set."""
_OUTGOING = [
    (0x30, 0, 0, 0xFFFFF004),  # A = packet type
    (0x15, 0, 10, 4),  # outgoing?
    (0x28, 0, 0, 0xFFFFF000),  # A = protocol
    (0x15, 0, 4, 0x0800),  # IPv4?
    (0x30, 0, 0, 9),
    (0x15, 5, 0, PROTOCOL_VRRP),
    (0x15, 4, 0, PROTOCOL_AH),
    (0x06, 0, 0, 0),
    (0x15, 0, 3, 0x86DD),  # IPv6?
    (0x30, 0, 0, 6),
    (0x15, 0, 1, PROTOCOL_VRRP),
    (0x06, 0, 0, PACKET_BYTES),
    (0x06, 0, 0, 0),
]
"""A classic BPF program over the packet from its IP header on."""
_INSTRUCTION = struct.Struct("=HBBI")

Read = Callable[[bytes, list[tuple[int, int, bytes]], str], Datagram]


def now_us() -> int:
    """The watch's clock."""
    return time.monotonic_ns() // 1000


def index_of(name: str) -> int:
    """Of an interface; 0 when there is none of this name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


class Listener:
    """Some interfaces, one watch. `run` until it is cancelled; every event goes to `output` as it happens."""

    def __init__(
        self, watch: Watch, interfaces: Iterable[str], output: Callable[[Event], None], groups: Iterable[str] = ()
    ) -> None:
        """groups: multicast groups besides the usual two. Raises StartError when an interface is not there."""
        self.watch = watch
        self._interfaces = [*dict.fromkeys(interfaces)]
        self._output = output
        self._groups = [*dict.fromkeys([GROUP_V4, GROUP_V6, *groups])]
        self._links = Links()
        self._changed = trio.Event()
        missing = [name for name in self._interfaces if not index_of(name)]
        if missing:
            known = ", ".join(name for _, name in socket.if_nameindex())
            raise StartError(f"risefall: there is no interface {missing[0]}\n  help: this machine has {known}")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listens for ever. Started once every interface that is up is heard. Raises StartError where it may not listen."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_links)
            for name in self._interfaces:
                await nursery.start(self._listen, name)
            task_status.started()
            await self._keep_time()

    async def _follow_links(self) -> None:
        while True:
            await self._links.changed()
            self._changed.set()
            self._changed = trio.Event()

    async def _keep_time(self) -> None:
        """Wakes at the watch's deadlines; a packet may bring a nearer one, hence the bound."""
        while True:
            due_us = self.watch.next_us()
            wait_us = 100_000 if due_us is None else min(max(due_us - now_us(), 1000), 100_000)
            await trio.sleep(wait_us / 1e6)
            self._tell(self.watch.time(now_us()))

    async def _listen(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """One interface, also through its times of absence."""
        told = False
        while True:
            index = index_of(name)
            up = bool(index) and self._links.up(name)
            if up:
                with ExitStack() as stack:
                    readers = self._open(name, index, stack)
                    if readers is not None:
                        self._tell(self.watch.link(now_us(), name, up=True))
                        if not told:
                            self._output(Event(now_us(), Kind.INTERFACE, name, "listening"))
                            task_status.started()
                            told = True
                        await self._hear(name, index, readers)
            why = "is down: nothing is heard" if index_of(name) else "is gone: nothing is heard"
            self._tell(self.watch.link(now_us(), name, up=False, why=why))
            if not told:
                task_status.started()
                told = True
            while not (index_of(name) and self._links.up(name)):
                await self._changed.wait()

    async def _hear(self, name: str, index: int, readers: list[tuple[socket.socket, Read]]) -> None:
        """Until the interface is down, gone, or another one of the same name."""
        async with trio.open_nursery() as nursery:
            for sock, read in readers:
                nursery.start_soon(self._drain, name, sock, read)
            while index_of(name) == index and self._links.up(name):
                await self._changed.wait()
            nursery.cancel_scope.cancel()

    async def _drain(self, name: str, sock: socket.socket, read: Read) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            for at_us, packet in _packets(sock, read):
                self._tell(self.watch.hear(at_us, name, packet))

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._output(event)

    # Sockets.

    def _open(self, name: str, index: int, stack: ExitStack) -> list[tuple[socket.socket, Read]] | None:
        """None when the interface went meanwhile."""
        try:
            found: list[tuple[socket.socket, Read]] = []
            for protocol in (PROTOCOL_VRRP, PROTOCOL_AH):
                found.append((self._raw4(name, index, protocol, stack), _read4))
            try:
                found.append((self._raw6(name, index, stack), _read6))
            except OSError as error:
                if index_of(name) == index and not isinstance(error, PermissionError):
                    text = f"IPv6 is not heard: {error.strerror}"
                    self._output(Event(now_us(), Kind.INTERFACE, name, text))
            found.append((self._outgoing(name, stack), _read_outgoing))
            return found
        except PermissionError as error:
            raise StartError(
                f"risefall: --watch needs raw sockets, which this user may not open ({error.strerror})\n"
                "  help: run it as root, or with CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_RAW)"
            ) from error
        except OSError as error:
            if index_of(name) != index:
                return None
            raise StartError(f"risefall: cannot listen on {name}: {error.strerror}") from error

    def _raw4(self, name: str, index: int, protocol: int, stack: ExitStack) -> socket.socket:
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol))
        _prepare(sock, name)
        for group in self._groups:
            if ":" not in group:
                mreqn = socket.inet_aton(group) + struct.pack("=4si", bytes(4), index)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreqn)
        return sock

    def _raw6(self, name: str, index: int, stack: ExitStack) -> socket.socket:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        sock = stack.enter_context(socket.socket(socket.AF_INET6, kind, PROTOCOL_VRRP))
        _prepare(sock, name)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        for group in self._groups:
            if ":" in group:
                mreq = ipaddress.IPv6Address(group).packed + struct.pack("=I", index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, mreq)
        return sock

    def _outgoing(self, name: str, stack: ExitStack) -> socket.socket:
        """The filter is set before it is bound, so that nothing else gets in."""
        sock = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0))
        code = b"".join(_INSTRUCTION.pack(*one) for one in _OUTGOING)
        buffer = ctypes.create_string_buffer(code)
        program = struct.pack("@HP", len(_OUTGOING), ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((name, _ETH_P_ALL))
        return sock


def _prepare(sock: socket.socket, name: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SO_RCVBUF_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def _packets(sock: socket.socket, read: Read) -> Iterator[tuple[int, Datagram]]:
    """What waits in a socket, at most BATCH; what is no IP packet is passed over."""
    for _ in range(BATCH):
        try:
            data, control, _, sender = sock.recvmsg(PACKET_BYTES, _CONTROL_BYTES)
        except OSError:  # nothing left; or the interface went, which its own task sees
            return
        with suppress(PacketError):
            yield _arrival_us(control), read(data, control, str(sender[0]))


def _arrival_us(control: list[tuple[int, int, bytes]]) -> int:
    """The kernel's stamp, which is of the wall clock, as monotonic time."""
    read_us = now_us()
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("@qq", data)
            age_us = (time.time_ns() - seconds * 1_000_000_000 - nanoseconds) // 1000
            return read_us - age_us if 0 <= age_us <= _AGE_MAX_US else read_us
    return read_us


def _read4(data: bytes, control: list[tuple[int, int, bytes]], sender: str) -> Datagram:
    return parse_ipv4(data)


def _read6(data: bytes, control: list[tuple[int, int, bytes]], sender: str) -> Datagram:
    """The header is not among the bytes: source, destination and hop limit come beside them."""
    destination, hops = GROUP_V6, None
    for level, kind, value in control:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= 16:
            destination = str(ipaddress.IPv6Address(value[:16]))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT and len(value) >= 4:
            hops = int(struct.unpack_from("=i", value)[0])
    source = str(ipaddress.IPv6Address(sender.partition("%")[0]))
    return Datagram(source, destination, hops, PROTOCOL_VRRP, data)


def _read_outgoing(data: bytes, control: list[tuple[int, int, bytes]], sender: str) -> Datagram:
    return parse_ipv6(data, ours=True) if data[:1] and data[0] >> 4 == 6 else parse_ipv4(data, ours=True)
