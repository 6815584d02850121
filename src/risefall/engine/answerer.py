"""The agent's answerer: a thread in C that says lines which are kept fresh here. Source: native/answer.h."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native import Owned, refusal

LINE_MAX, TEXT_MAX, TAG_MAX = lib.RF_ANSWER_LINE_MAX, lib.RF_ANSWER_TEXT_MAX, lib.RF_ANSWER_TAG_MAX
SERVICES_MAX, PEERS_MAX = lib.RF_ANSWER_SERVICES_MAX, lib.RF_ANSWER_PEERS_MAX
FOR_EVER = (1 << 64) - 1
DRAIN_MAX = 256
IPV4_BITS = 96

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Peer(msgspec.Struct, frozen=True):
    """Who asks. tag: the second word of what it sends."""

    address: Address
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.address} {self.tag}" if self.tag else str(self.address)


class Told(msgspec.Struct, frozen=True):
    """What a peer was told last of a service. owed: how often it has to hear `ready` yet. at_ns: monotonic; 0 for never."""

    peer: Peer
    service: int
    word: int = 0
    owed: int = 0
    at_ns: int = 0


class Lines(msgspec.Struct, frozen=True):
    """What is said of a service, without line feeds; an empty one resets whoever asks.

    takes: the lines take a server out, so each who hears them is owed so many `ready`. news: to those who are owed one; of
    lines that take out, to those who have not heard them yet.
    """

    fresh: bytes = b""
    news: bytes = b""
    stale: bytes = b""
    stale_news: bytes = b""
    takes: int = 0


class Counts(msgspec.Struct, frozen=True):
    """Since the start; see `rf_answerer_counts`."""

    accepted: int
    answered: int
    stale: int
    silent: int
    refused: int
    crowded: int
    evicted: int
    late: int
    unknown: int
    told_lost: int
    open: int


def packed(address: Address) -> bytes:
    """As C has addresses: 16 bytes, IPv4 mapped."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpacked(raw: bytes) -> Address:
    """Undoes `packed`."""
    address = ipaddress.IPv6Address(raw)
    return address.ipv4_mapped or address


class Answerer(Owned):
    """Answers until it is closed. Its thread never takes the GIL. Calls come from one thread."""

    def __init__(
        self, *, connections_max: int = 4096, per_source_max: int = 64, text_ms: int = 1000, linger_ms: int = 1000
    ) -> None:
        """Raises: NativeError."""
        options = ffi.new(
            "rf_answerer_options *",
            {
                "connections_max": connections_max,
                "per_source_max": per_source_max,
                "text_ms": text_ms,
                "linger_ms": linger_ms,
            },
        )
        super().__init__(lib.rf_answerer_open(options), lib.rf_answerer_close, "answerer")
        self._answer = ffi.new("rf_answer *")
        self._told = ffi.new("rf_told[]", DRAIN_MAX)

    def listen(self, listener: socket.socket, services: Iterable[int], fallback: int | None, *, by_text: bool) -> None:
        """Takes over a listening socket.

        Args:
            services: those that a text may choose there.
            fallback: who answers to no text and to an unknown one; None for nobody.
            by_text: a text is waited for.
        Raises: NativeError; then the socket is the caller's still.
        """
        listener.setblocking(False)
        bits = sum(1 << service for service in set(services))
        nobody = lib.RF_ANSWER_NOBODY if fallback is None else fallback
        self._check(lib.rf_answerer_listen(self._pointer, listener.fileno(), bits, nobody, by_text))
        listener.detach()

    def name(self, text: str, service: int) -> None:
        """A text (`agent-send`, without its line feed) that means a service. Raises: NativeError."""
        self._check(lib.rf_answerer_name(self._pointer, text.encode("utf-8", "surrogateescape"), service))

    def allow(self, network: Network) -> None:
        """Only those that are allowed may ask, once there is one. Raises: NativeError."""
        bits = network.prefixlen + (IPV4_BITS if network.version == 4 else 0)
        self._check(lib.rf_answerer_allow(self._pointer, packed(network.network_address), bits))

    def say(self, service: int, lines: Lines, *, word: int = 0, good_until_ns: int = FOR_EVER) -> None:
        """A service's lines from now on.

        Args:
            word: a number that is another one when peers must be told something new.
            good_until_ns: later the stale lines are said instead.
        Raises: NativeError for lines that hold a line feed; ValueError for one that is too long.
        """
        answer = self._answer
        answer.service, answer.word, answer.good_until_ns = service, word, good_until_ns
        answer.takes = lines.takes
        for which, line in enumerate((lines.fresh, lines.news, lines.stale, lines.stale_news)):
            if len(line) > LINE_MAX:
                raise ValueError(f"a line of {len(line)} bytes, at most {LINE_MAX} are said")
            answer.len[which] = len(line)
            ffi.memmove(answer.line[which], line, len(line))
        self._check(lib.rf_answerer_say(self._pointer, answer))

    def remember(self, told: Told) -> None:
        """What a peer was told in an earlier run. Raises: NativeError."""
        raw = ffi.new("rf_told *", {"service": told.service, "word": told.word, "owed": told.owed, "at_ns": told.at_ns})
        ffi.memmove(raw.ip, packed(told.peer.address), 16)
        tag = told.peer.tag.encode("ascii", "replace")[:TAG_MAX]
        ffi.memmove(raw.tag, tag, len(tag))
        self._check(lib.rf_answerer_remember(self._pointer, raw))

    def ask(self, peer: Peer, service: int, at_ns: int, *, sent: bool = True) -> bytes:
        """What a peer would be told at a moment, as if it had asked, noted as told; b"" for a reset.

        sent: whether the answer reached it whole. Raises: NativeError.
        """
        out = ffi.new("char[]", LINE_MAX + 1)
        tag = peer.tag.encode("ascii", "replace")
        count = lib.rf_answerer_ask(self._pointer, packed(peer.address), tag, service, at_ns, sent, out)
        if count < 0:
            raise refusal("answerer")
        return bytes(ffi.buffer(out, count))

    def drain(self) -> list[Told]:
        """Who was told something new since the last call, oldest first; at most DRAIN_MAX."""
        return self._read(lib.rf_answerer_drain(self._pointer, self._told, DRAIN_MAX), self._told)

    def peers(self) -> list[Told]:
        """Everybody who has asked or is owed a `ready`, for each service: what was told last, and when."""
        room = ffi.new("rf_told[]", PEERS_MAX)
        return self._read(lib.rf_answerer_peers(self._pointer, room, PEERS_MAX), room)

    def unknown(self) -> tuple[Address, str, int | None] | None:
        """Who last asked for what no service of its port is called: address, first word, and the service that answered."""
        raw = ffi.new("rf_told *")
        if not lib.rf_answerer_unknown(self._pointer, raw):
            return None
        service = None if raw.service == lib.RF_ANSWER_NOBODY else int(raw.service)
        return unpacked(bytes(ffi.buffer(raw.ip))), ffi.string(raw.tag).decode("ascii"), service

    def _read(self, count: int, raw: Any) -> list[Told]:
        return [
            Told(
                Peer(unpacked(bytes(ffi.buffer(one.ip))), ffi.string(one.tag).decode("ascii")),
                one.service,
                one.word,
                one.owed,
                one.at_ns,
            )
            for one in (raw[i] for i in range(count))
        ]

    def fileno(self) -> int:
        """Readable while there is something to drain."""
        return int(lib.rf_answerer_event_fd(self._pointer))

    def counts(self) -> Counts:
        """What has happened so far."""
        raw = ffi.new("rf_answerer_counts *")
        lib.rf_answerer_counts_read(self._pointer, raw)
        return Counts(*(int(getattr(raw, field)) for field in Counts.__struct_fields__))

    def _check(self, result: int) -> None:
        if result != lib.RF_OK:
            raise refusal("answerer")
