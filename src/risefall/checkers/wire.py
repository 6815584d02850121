"""The socket of one attempt: from where and to where its checker says, and how it can fail to come to be.

Source: spec/keepalived-track.md §11.1; run on 2.2.7.
"""

from __future__ import annotations

import errno
import os
import socket
from enum import Enum

import trio

from risefall.checkers.plan import target
from risefall.config.keepalived.model import Checker, RealServer
from risefall.engine import native
from risefall.engine.drive import OpenSocket
from risefall.engine.native import Want

SO_MARK = 36
CONNECT = Want(native.CONNECT, 0, 0, 1, 0, 0)
"""What a wire is asked: where to is its own matter."""
UNREACHABLE = frozenset(
    (
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
    )
)
"""Of connect() itself: a failure of the server. All others are failures to check it."""


class Trouble(Enum):
    """How a connection did not come to be."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    HANDSHAKE = "handshake"


class NotConnected(Exception):
    """The server's fault."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class Unmade(Exception):
    """Ours. said: what keepalived logs of it, without the line that tells of another try. socket: whether there was one."""

    def __init__(self, said: str = "", *, socket: bool = True) -> None:
        super().__init__(said)
        self.said = said
        self.socket = socket


def scope_of(checker: Checker, address: str) -> int:
    """Of a link-local address: the interface that the checker is bound to."""
    if not checker.bind_if or not address.lower().startswith("fe80:"):
        return 0
    try:
        return socket.if_nametoindex(checker.bind_if)
    except OSError:
        return 0


class BoundWire(OpenSocket):
    """A TCP connection of one checker, from where and to where it says. May be opened once."""

    KIND = socket.SOCK_STREAM
    PROTOCOL = socket.IPPROTO_TCP

    def __init__(self, server: RealServer, checker: Checker) -> None:
        self._checker = checker
        self._address, self._port = target(server, checker)
        self._socket: trio.socket.SocketType | None = None

    def _scope(self) -> int:
        return scope_of(self._checker, self._address)

    async def connect(self, want: Want) -> None:
        """Raises: NotConnected, Unmade."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        try:
            made = trio.socket.socket(family, self.KIND | socket.SOCK_CLOEXEC, self.PROTOCOL)
        except OSError as error:
            raise Unmade(socket=False) from error
        self._socket = made
        self._bind(made, family)
        to = (self._address, self._port, 0, self._scope()) if family == socket.AF_INET6 else (self._address, self._port)
        plain = socket.socket(fileno=made.fileno())
        try:
            plain.setblocking(False)
            result = plain.connect_ex(to)
        finally:
            plain.detach()
        if result in UNREACHABLE:
            raise NotConnected(Trouble.UNREACHABLE)
        if result not in (0, errno.EINPROGRESS):
            raise Unmade()
        if result:
            await trio.lowlevel.wait_writable(made)
            result = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            raise NotConnected(Trouble.TIMEOUT if result == errno.ETIMEDOUT else Trouble.REFUSED)

    def _bind(self, made: trio.socket.SocketType, family: int) -> None:
        checker = self._checker
        if checker.fwmark:
            try:
                made.setsockopt(socket.SOL_SOCKET, SO_MARK, checker.fwmark)
            except OSError as error:
                raise Unmade(f"Error setting fwmark {checker.fwmark} to socket: {error.strerror}") from error
        if checker.bind_if:
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(checker.bind_if) + b"\0")
            except OSError as error:
                text = f"Checker can't bind to device {checker.bind_if}: {error.strerror}"
                raise Unmade(text) from error
        if checker.bindto:
            port = checker.bind_port or 0
            plain = socket.socket(fileno=made.fileno())
            try:  # a number needs no resolver, so the call does not wait
                plain.bind(
                    (checker.bindto, port, 0, self._scope()) if family == socket.AF_INET6 else (checker.bindto, port)
                )
            except OSError as error:
                raise Unmade(f"Checker bind failed: {error.strerror}") from error
            finally:
                plain.detach()

    def end(self, how: int, last: bytes = b"") -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
