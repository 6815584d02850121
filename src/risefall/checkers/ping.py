"""One attempt of PING_CHECK: an echo request, and its reply.

keepalived opens a ping socket and, for that, the kernel's ping_group_range; risefall changes nothing of the machine: where it may not
have a ping socket it takes a raw one, and knows its replies by identifier and sequence.
Source: spec/keepalived-track.md §11.3; icmp(7); run on 2.2.7.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct

import trio

from risefall.checkers.plan import target
from risefall.checkers.wire import scope_of
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Checker, RealServer

HEADER = struct.Struct("!BBHHH")
DATA = (b"keepalived check - " * 8)[:128]
PACKET_MAX = 2048
REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_sequences = itertools.count()


def checksum(data: bytes) -> int:
    """Of RFC 1071."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(family: int, identity: int, sequence: int) -> bytes:
    """An echo request; IPv6 leaves the checksum to the kernel."""
    head = HEADER.pack(REQUEST[family], 0, 0, identity, sequence)
    sum_ = checksum(head + DATA) if family == 4 else 0
    return HEADER.pack(REQUEST[family], 0, sum_, identity, sequence) + DATA


def answers(packet: bytes, family: int, sequence: int, identity: int | None) -> bool:
    """Whether a packet is the reply. identity: None where the socket hears of its own only."""
    if len(packet) < HEADER.size:
        return False
    kind, _, _, whose, number = HEADER.unpack_from(packet)
    return kind == REPLY[family] and number == sequence and identity in (None, whose)


def _open(family: int) -> tuple[trio.socket.SocketType, bool]:
    """A socket, and whether it is a raw one. Raises: OSError."""
    inet = socket.AF_INET if family == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    try:
        return trio.socket.socket(inet, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol), False
    except PermissionError:
        return trio.socket.socket(inet, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol), True


async def ping(server: RealServer, checker: Checker) -> Attempt:
    """One attempt of PING_CHECK."""
    address, _ = target(server, checker)
    family = 6 if ":" in address else 4
    six = "v6" if family == 6 else ""
    try:
        heard, raw = _open(family)
    except OSError:
        return Attempt(Verdict.UNMADE, said=(f"ICMP{six} connect fail to create socket. Rescheduling.",))
    identity, sequence = random.getrandbits(16), next(_sequences) & 0xFFFF
    try:
        to = (address, 0, 0, scope_of(checker, address)) if family == 6 else (address, 0)
        with trio.move_on_after(checker.connect_timeout_ms / 1000):
            try:
                await heard.connect(to)  # the kernel then keeps what strangers say from this socket
                await heard.send(request(family, identity, sequence))
            except OSError as error:
                tail = f" - errno {error.errno}" if six else ""
                return Attempt(Verdict.FAIL, said=(f"send ICMP{six} packet fail{tail}",))
            while True:
                packet = await heard.recv(PACKET_MAX)
                if raw and family == 4:
                    packet = packet[(packet[0] & 0xF) * 4 :]  # behind the header of IP
                if answers(packet, family, sequence, identity if raw else None):
                    return Attempt(Verdict.PASS)
        return Attempt(Verdict.FAIL, "timeout")
    except OSError:
        return Attempt(Verdict.FAIL, "failed", said=(f"recv ICMP{six} packet error",))
    finally:
        heard.close()
