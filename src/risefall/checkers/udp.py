"""One attempt of DNS_CHECK or UDP_CHECK: a datagram goes there, and what comes back, or does not, decides.

DNS_CHECK has one deadline for all: datagrams that are no answer to its question are passed over. UDP_CHECK passes when nothing
came back, unless a reply is required; only what a reply has to hold is compared, and its lengths only then. An ICMP error fails both.
Source: spec/keepalived-track.md §11.3; run on 2.2.7.
"""

from __future__ import annotations

import os
import random
import socket
import struct

import trio

from risefall.checkers.plan import server_name, target
from risefall.checkers.wire import CONNECT, BoundWire, NotConnected, Unmade
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Checker, RealServer, VirtualServer

DNS_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28, "RRSIG": 46, "DNSKEY": 48}
DNS_BYTES_MAX = 4096
ANSWER, RECURSION, RCODE = 0x8000, 0x0100, 0x000F
CLASS_IN = 1
HEADER = struct.Struct("!HHHHHH")
PAYLOAD = b"keepalived check - keepalived ch"
"""What a UDP_CHECK without payload says."""


class DatagramWire(BoundWire):
    """A UDP socket of one checker, which hears of its server alone."""

    KIND = socket.SOCK_DGRAM
    PROTOCOL = socket.IPPROTO_UDP


def question(identity: int, checker: Checker) -> bytes:
    """A query for one name, with recursion desired."""
    labels = [label.encode("utf-8", "surrogateescape") for label in checker.dns_name.split(".") if label]
    name = b"".join(bytes([len(label) & 0xFF]) + label for label in labels) + b"\0"
    asked = struct.pack("!HH", DNS_TYPES[checker.dns_type], CLASS_IN)
    return HEADER.pack(identity, RECURSION, 1, 0, 0, 0) + name + asked


def rcode_of(reply: bytes, identity: int) -> int | None:
    """The result code of an answer; None for what is no answer to the question."""
    if len(reply) < HEADER.size:
        return None
    answered, flags, *_ = HEADER.unpack_from(reply)
    return flags & RCODE if answered == identity and flags & ANSWER else None


async def ask(pool: VirtualServer, server: RealServer, checker: Checker) -> Attempt:
    """One attempt of DNS_CHECK."""

    def failed(why: str) -> Attempt:
        return Attempt(Verdict.FAIL, why)

    wire = DatagramWire(server, checker)
    try:
        await wire.connect(CONNECT)
        identity = random.getrandbits(16)
        with trio.move_on_after(checker.connect_timeout_ms / 1000):
            try:
                await wire.send(question(identity, checker))
            except OSError:
                return failed("failed to write socket.")
            code = None
            while code is None:
                try:
                    code = rcode_of(await wire.receive(DNS_BYTES_MAX), identity)
                except OSError as error:
                    number = error.errno or 0
                    return failed(f"failed to read socket; errno {number} ({os.strerror(number)})")
            return failed(f"read error occurred. (rcode = {code})") if code else Attempt(Verdict.PASS)
        return failed("read timeout from socket")
    except NotConnected:
        address, port = target(server, checker)
        return failed(f"network unreachable for [{address}]:{port}")
    except Unmade as unmade:
        what = "UDP socket bind failed." if unmade.socket else "failed to create socket."
        again = f"DNS_CHECK ({server_name(pool, server)}) {what} Rescheduling."
        return Attempt(Verdict.UNMADE, said=(unmade.said, again) if unmade.said else (again,))
    finally:
        wire.end(0)


def octets(text: str) -> tuple[bytes, bytes]:
    """Hexadecimal digits as bytes, and the bits that count: all but those of an `x`. A digit alone at the end of a word is a byte."""
    values, masks = bytearray(), bytearray()
    for word in text.split():
        for at in range(0, len(word), 2):
            pair = word[at : at + 2]
            values.append(int(pair.lower().replace("x", "0"), 16))
            masks.append(int("".join("0" if digit in "xX" else "f" for digit in pair).rjust(2, "f"), 16))
    return bytes(values), bytes(masks)


def fits(reply: bytes, checker: Checker) -> bool:
    """Whether a reply is as long and says as much as it has to; a shorter one is compared as far as it goes."""
    assert checker.reply is not None
    if not checker.min_reply_length <= len(reply) <= checker.max_reply_length:
        return False
    wanted, masks = octets(checker.reply)
    return all(not (got ^ want) & mask for got, want, mask in zip(reply, wanted, masks, strict=False))


async def knock(server: RealServer, checker: Checker) -> Attempt:
    """One attempt of UDP_CHECK."""
    wire = DatagramWire(server, checker)
    try:
        await wire.connect(CONNECT)
        sent = False
        try:
            with trio.move_on_after(checker.connect_timeout_ms / 1000) as scope:
                await wire.send(octets(checker.payload)[0] if checker.payload else PAYLOAD)
                sent = True
                reply = await wire.receive(checker.max_reply_length + 1)
        except OSError:
            return Attempt(Verdict.FAIL, "failed")
        if scope.cancelled_caught:
            return Attempt(Verdict.PASS) if sent and not checker.require_reply else Attempt(Verdict.FAIL, "failed")
        if checker.require_reply and checker.reply and not fits(reply, checker):
            return Attempt(Verdict.FAIL, "reply data mismatch")
        return Attempt(Verdict.PASS)
    except NotConnected:
        return Attempt(Verdict.FAIL)
    except Unmade as unmade:
        if not unmade.socket:
            return Attempt(Verdict.UNMADE, said=("UDP connect fail to create socket. Rescheduling.",))
        return Attempt(Verdict.FAIL, said=(unmade.said,) if unmade.said else ())
    finally:
        wire.end(0)
