"""A client of the runtime API: one command, one connection, its reply; a deadline on everything and a bound on sizes.

A connection a command is what both HAProxy and risefall frame without doubt: the reply ends where the peer closes.
(In prompt mode a reply that holds `> ` at the start of a line could not be told from its end.) Whether a reply is a
refusal is asked of the peer: with `set severity-output number` in front, messages carry their severity.
Source: spec/haproxy-checks.md §7.1; haproxy management guide 2.6 §9.3. Works against 2.6.12.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Sequence

import msgspec

from risefall.errors import PeerLost

TIMEOUT_S = 5.0
COMMAND_MAX_BYTES = 1 << 20
"""Peers refuse what does not fit their buffer, whose size (16,384 bytes; `tune.bufsize`) is not known here."""

REPLY_MAX_BYTES = 256 << 20
"""More than `show stat typed desc` of a hundred thousand servers."""

READ_BYTES = 1 << 16
ERR = 3
"""The severity `err`; smaller numbers are worse."""

SEVERITY = re.compile(r"^\[([0-7])\]: ", re.MULTILINE)
ASK_SEVERITY = "set severity-output number"
UNKNOWN = re.compile("^Unknown command", re.MULTILINE)
PAYLOAD_MARK = "<<"


def usual_socket_path() -> str:
    """`$RISEFALL_SOCKET`, else /run/risefall/run.sock for root, else $XDG_RUNTIME_DIR/risefall/run.sock; "" for nowhere."""
    if path := os.environ.get("RISEFALL_SOCKET"):
        return path
    if os.geteuid() == 0:
        return "/run/risefall/run.sock"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/risefall/run.sock" if base else ""


class Place(msgspec.Struct, frozen=True):
    """Where a peer listens. host is a path (port 0), an abstract name behind a NUL (port 0), or a host of TCP."""

    host: str
    port: int = 0


def parse_place(text: str) -> Place:
    """`PATH`, `HOST:PORT`, `[V6]:PORT`, and HAProxy's `unix@`, `abns@`, `ipv4@`, `ipv6@`.

    Raises: ValueError saying what was expected.
    """
    prefix, at, rest = text.partition("@")
    if at and prefix in ("unix", "abns"):
        if not rest:
            raise ValueError(f"'{text}' names no socket")
        return Place(rest if prefix == "unix" else f"\0{rest}")
    if at and prefix in ("ipv4", "ipv6", "tcp", "tcp4", "tcp6"):
        text = rest
    elif text and ("/" in text or ":" not in text):
        return Place(text)
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"'{text}' is no socket; write /run/haproxy/admin.sock, 127.0.0.1:9999 or [::1]:9999")
    return Place(host.removeprefix("[").removesuffix("]"), int(port))


class Reply(msgspec.Struct, frozen=True):
    """What a peer said to one line, without the line feed that ends it. refused: it would not do it, or not all of it."""

    text: str
    refused: bool


def command_line(*words: str) -> str:
    """One command whose words reach the peer as they are, blanks, semicolons and backslashes included."""
    return " ".join(re.sub(r"([\\; \t])", r"\\\1", word) for word in words)


class Client:
    """One peer. Holds no connection between commands, so it outlives restarts of the peer.

    Args:
        name: the address as `parse_place` takes it; what messages call the peer.
        timeout_s: for one command from connect to the end of its reply.
    Raises: ValueError for what is no address.
    """

    def __init__(self, name: str, *, timeout_s: float = TIMEOUT_S, reply_max_bytes: int = REPLY_MAX_BYTES) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._place = parse_place(name)
        self._reply_max_bytes = reply_max_bytes
        self._tells_severity: bool | None = None

    def ask(self, line: str, payload: Sequence[str] = ()) -> Reply:
        """Sends one line, which may hold several commands; with `<<` at its end, the payload's lines after it.

        Raises: PeerLost when there is no peer, or no whole reply in time.
        """
        whole = "\n".join([line, *payload, ""]) if line.endswith(PAYLOAD_MARK) else line
        if len(whole) > COMMAND_MAX_BYTES:
            raise PeerLost(f"{self.name}: a command of {len(whole)} characters is not sent: too long")
        if self._tells_severity is None:
            # Asked alone and first, since a peer that does not know it would carry out what stands behind it.
            self._tells_severity = self._exchange(ASK_SEVERITY).strip() == ""
        if not self._tells_severity:
            text = self._exchange(whole)
            return Reply(text.removesuffix("\n"), bool(UNKNOWN.search(text)) or text.startswith("Permission denied"))
        text = self._exchange(f"{ASK_SEVERITY};{whole}").removeprefix("\n")
        severities = [int(digit) for digit in SEVERITY.findall(text)]
        plain = SEVERITY.sub("", text).removesuffix("\n")
        return Reply(plain, bool(UNKNOWN.search(plain)) or any(one <= ERR for one in severities))

    def order(self, *words: str) -> Reply:
        """A command that changes something: whoever carries it out says nothing, so any word is a refusal."""
        reply = self.ask(command_line(*words))
        text = reply.text.strip()
        return Reply(text, reply.refused or bool(text))

    # --- one connection --------------------------------------------------------------------------------------

    def _exchange(self, text: str) -> str:
        """Everything that the peer says to `text` until it closes."""
        data = f"{text}\n".encode("utf-8", "surrogateescape")
        deadline = time.monotonic() + self.timeout_s
        try:
            with self._connect(deadline) as sock:
                sock.settimeout(self._left(deadline))
                sock.sendall(data)
                raw = self._read_all(sock, deadline)
        except TimeoutError:
            raise PeerLost(
                f"{self.name}: no whole answer within {self.timeout_s:g} s; "
                "is it busy, or no runtime socket at all? --timeout waits longer"
            ) from None
        except OSError as error:
            raise PeerLost(self._explain(error)) from error
        return raw.decode("utf-8", "surrogateescape")

    def _connect(self, deadline: float) -> socket.socket:
        host, port = self._place.host, self._place.port
        if port:
            return socket.create_connection((host, port), timeout=self._left(deadline))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._left(deadline))
            sock.connect(host)
        except BaseException:
            sock.close()
            raise
        return sock

    def _read_all(self, sock: socket.socket, deadline: float) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            sock.settimeout(self._left(deadline))
            piece = sock.recv(READ_BYTES)
            if not piece:
                break
            size += len(piece)
            if size > self._reply_max_bytes:
                raise PeerLost(f"{self.name}: its answer is longer than {self._reply_max_bytes} bytes; given up")
            pieces.append(piece)
        if not pieces:
            raise PeerLost(f"{self.name}: closed the connection without an answer; is it a runtime socket?")
        return b"".join(pieces)

    @staticmethod
    def _left(deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _explain(self, error: OSError) -> str:
        """An error of the socket with a next step."""
        why = error.strerror or str(error)
        tcp = bool(self._place.port)
        step = {
            errno.ENOENT: "is `risefall run` or haproxy running? `stats socket` in haproxy.cfg names its socket; --socket",
            errno.ECONNREFUSED: "nobody listens there: is it running?"
            + ("" if tcp else " the file is what a process that ended has left"),
            errno.EACCES: "its `mode`, `user` and `group` decide who may; try as root or as a member of its group",
            errno.EPIPE: "the peer closed early; are all of its places taken (`stats maxconn`)?",
            errno.ECONNRESET: "the peer closed early; is it a runtime socket?",
        }.get(error.errno or 0, "check the address" if tcp else "check the path")
        return f"{self.name}: {why}; {step}"
