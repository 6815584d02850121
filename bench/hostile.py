"""A hostile client of an agent-check, one kind a process, until it is ended: `python bench/hostile.py KIND PORT`.

idle: 5,000 connections that are held and, where the agent ends them, begun anew, 1,000 a second; drip: two hundred that send a
byte a second; deaf: they never read; gone: 500 a second that go before they are answered; megabyte: agent-sends without an
end; syn: 5,000 half-open ones a second, from addresses that never answer. All from a hundred addresses of loopback, but syn,
which needs root and a namespace whose addresses 10.9.0.0/16 swallow every packet, 10.9.0.1 being the agent's.

Prints "ready" once it does what it does.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Callable

KINDS = ("idle", "drip", "deaf", "gone", "megabyte", "syn")
HOST = "10.9.0.1"
TICK_S = 0.01
BEGUN_A_TICK = {"idle": 10, "drip": 1, "deaf": 4, "gone": 5, "megabyte": 1}
KEPT = {"idle": 5000, "drip": 200, "deaf": 500, "gone": 3, "megabyte": 8}
SYNS_A_TICK = 50
READY_TICKS = 100


class Crowd:
    """The connections of one kind."""

    def __init__(self, kind: str, port: int) -> None:
        self.kind = kind
        self.port = port
        self.held: list[socket.socket] = []
        self.turn = 0
        self.dripped_at = 0.0

    def begin(self) -> None:
        self.turn += 1
        one = socket.socket()
        one.setblocking(False)
        if self.kind == "deaf":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        quietly(lambda: one.bind((f"127.0.0.{100 + self.turn % 100}", 0)))
        one.connect_ex(("127.0.0.1", self.port))
        self.held.append(one)

    def tick(self) -> None:
        for _ in range(BEGUN_A_TICK[self.kind]):
            self.begin()
        if self.kind == "drip" and time.monotonic() - self.dripped_at >= 1:
            self.dripped_at = time.monotonic()
            for one in self.held:
                quietly(lambda one=one: one.send(b"x"))
        if self.kind == "megabyte":
            for one in self.held:
                for _ in range(4):
                    quietly(lambda one=one: one.send(b"x" * 65536))
        while len(self.held) > KEPT[self.kind]:
            self.held.pop(0).close()


def quietly(call: Callable[[], object]) -> None:
    """What is refused is no news here."""
    try:
        call()
    except OSError:
        return


def checksum(data: bytes) -> int:
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xFFFF)
    return ~(words + (words >> 16)) & 0xFFFF


def syn(source: str, port: int) -> bytes:
    """An IPv4 packet with a SYN to the agent."""
    here, there = socket.inet_aton(source), socket.inet_aton(HOST)
    head = struct.pack(
        "!HHIIBBHHH", random.randrange(1024, 65536), port, random.getrandbits(32), 0, 5 << 4, 2, 8192, 0, 0
    )
    total = checksum(here + there + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head)) + head)
    head = head[:16] + struct.pack("!H", total) + head[18:]
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0, here, there) + head


class Flood:
    """Half-open connections."""

    def __init__(self, port: int) -> None:
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.packets = [
            syn(f"10.9.{random.randrange(1, 255)}.{random.randrange(1, 255)}", port) for _ in range(200 * SYNS_A_TICK)
        ]
        self.at = 0

    def tick(self) -> None:
        for packet in self.packets[self.at : self.at + SYNS_A_TICK]:
            self.raw.sendto(packet, (HOST, 0))
        self.at = (self.at + SYNS_A_TICK) % len(self.packets)


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    one: Crowd | Flood = Flood(port) if kind == "syn" else Crowd(kind, port)
    if kind == "idle" and isinstance(one, Crowd):
        while len(one.held) < KEPT["idle"]:
            one.begin()
            time.sleep(0.0002)
    ticks = 0
    while True:
        one.tick()
        ticks += 1
        if ticks == READY_TICKS:
            print("ready", flush=True)
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
