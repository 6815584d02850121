"""The agent's answerer: a thread in C that says lines which are kept fresh here. Source: native/answer.h."""

from __future__ import annotations

import ipaddress
import socket
from types import TracebackType
from typing import Any, Self

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native import refusal

LINE_MAX, TEXT_MAX = lib.RF_ANSWER_LINE_MAX, lib.RF_ANSWER_TEXT_MAX
SERVICES_MAX, PEERS_MAX = lib.RF_ANSWER_SERVICES_MAX, lib.RF_ANSWER_PEERS_MAX
FOR_EVER = (1 << 64) - 1
DRAIN_MAX = 256
IPV4_BITS = 96

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Told(msgspec.Struct, frozen=True):
    """A peer was told a word of a service that it had not been told before. once: by the line that was for it alone.

    at_ns: monotonic.
    """

    peer: Address
    service: int
    word: int
    once: bool
    at_ns: int


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


class Answerer:
    """Answers until it is closed. Its thread never takes the GIL. Calls come from one thread."""

    def __init__(
        self, *, connections_max: int = 4096, per_peer_max: int = 64, text_ms: int = 1000, linger_ms: int = 1000
    ) -> None:
        """Raises: NativeError."""
        options = ffi.new(
            "rf_answerer_options *",
            {
                "connections_max": connections_max,
                "per_peer_max": per_peer_max,
                "text_ms": text_ms,
                "linger_ms": linger_ms,
            },
        )
        pointer = lib.rf_answerer_open(options)
        if pointer == ffi.NULL:
            raise refusal("answerer")
        self._pointer = pointer
        self._answer = ffi.new("rf_answer *")
        self._told = ffi.new("rf_told[]", DRAIN_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and every connection; idempotent."""
        if self._pointer is not None:
            lib.rf_answerer_close(self._pointer)
            self._pointer = None

    def listen(self, listener: socket.socket, service: int | None, *, by_text: bool = False) -> None:
        """Takes over a listening socket. service: who answers without a text, None for nobody. by_text: a text may choose.

        Raises: NativeError; then the socket is the caller's still.
        """
        listener.setblocking(False)
        self._check(
            lib.rf_answerer_listen(
                self._pointer, listener.fileno(), lib.RF_ANSWER_NOBODY if service is None else service, by_text
            )
        )
        listener.detach()

    def name(self, text: str, service: int) -> None:
        """A text (`agent-send`, without its line feed) that means a service. Raises: NativeError."""
        self._check(lib.rf_answerer_name(self._pointer, text.encode("utf-8", "surrogateescape"), service))

    def allow(self, network: Network) -> None:
        """Only those that are allowed may ask, once there is one. Raises: NativeError."""
        bits = network.prefixlen + (IPV4_BITS if network.version == 4 else 0)
        self._check(lib.rf_answerer_allow(self._pointer, packed(network.network_address), bits))

    def say(
        self, service: int, line: bytes, *, word: int = 0, good_until_ns: int = FOR_EVER, stale: bytes = b""
    ) -> None:
        """A service's line from now on, without a line feed; an empty one resets whoever asks.

        Args:
            word: a number that is another one when peers must be told something of another kind.
            good_until_ns: later `stale` is said instead.
        Raises: NativeError for lines that are too long or hold a line feed.
        """
        if max(len(line), len(stale)) > LINE_MAX:
            raise ValueError(f"a line of {max(len(line), len(stale))} bytes, at most {LINE_MAX} are said")
        answer = self._answer
        answer.service, answer.word, answer.good_until_ns = service, word, good_until_ns
        answer.line_len, answer.stale_len = len(line), len(stale)
        ffi.memmove(answer.line, line, len(line))
        ffi.memmove(answer.stale, stale, len(stale))
        self._check(lib.rf_answerer_say(self._pointer, answer))

    def say_once(self, peer: Address, service: int, line: bytes) -> None:
        """One peer is told this once, and then what all are told; an empty line takes it back. Raises: NativeError."""
        self._check(lib.rf_answerer_once(self._pointer, packed(peer), service, line, len(line)))

    def remember(self, peer: Address, service: int, word: int) -> None:
        """What a peer was told in an earlier run. Raises: NativeError."""
        self._check(lib.rf_answerer_told(self._pointer, packed(peer), service, word))

    def drain(self) -> list[Told]:
        """Who was told something new since the last call, oldest first; at most DRAIN_MAX."""
        return self._read(lib.rf_answerer_drain(self._pointer, self._told, DRAIN_MAX), self._told)

    def peers(self) -> list[Told]:
        """Everybody who has asked, for each service: what was told last, and when."""
        room = ffi.new("rf_told[]", PEERS_MAX)
        return self._read(lib.rf_answerer_peers(self._pointer, room, PEERS_MAX), room)

    def _read(self, count: int, raw: Any) -> list[Told]:
        return [
            Told(
                unpacked(bytes(ffi.buffer(raw[i].ip))), raw[i].service, raw[i].word, bool(raw[i].once), raw[i].at_ns
            )
            for i in range(count)
        ]  # fmt: skip

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
