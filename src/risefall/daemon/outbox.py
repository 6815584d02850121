"""Lines for stdout or stderr that never make the daemon wait: a bounded queue, and a task that writes it.

A terminal, a pipe or a socket (systemd's journal) that takes nothing costs counted lines. A regular file is written at
once, since it never blocks for long and cannot be waited for; a full disk costs the lines of its time.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections import deque

import trio

from risefall.surfaces.sinks import own_description

LINES_MAX = 262_144
CHUNK_BYTES = 65_536
FLUSH_S = 0.4


class Outbox:
    """One descriptor's lines. `dropped` counts those that found the queue full or the other end gone."""

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._news = trio.Event()
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._gone = False
        self._fd = fd
        kind = os.fstat(fd).st_mode
        self._plain = stat.S_ISREG(kind) or (stat.S_ISCHR(kind) and not os.isatty(fd))
        """Files, /dev/null and the like: nothing to wait for, and no epoll."""
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif not self._plain:
            self._own = own_description(fd)
            self._fd = fd if self._own is None else self._own

    def put(self, line: bytes) -> None:
        """Takes a line; never blocks, never raises."""
        if self._gone or len(self._lines) >= LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._plain:
            self._write_some()
        else:
            self._news.set()

    def _write_some(self) -> bool:
        """Writes as much as is taken at once; true when nothing is left."""
        while self._rest or self._lines:
            if not self._rest:
                pieces, size = [], 0
                while self._lines and size < CHUNK_BYTES:
                    pieces.append(self._lines.popleft())
                    size += len(pieces[-1])
                self._rest = b"".join(pieces)
            try:
                sent = self._write(self._rest)
            except BlockingIOError:
                return False
            except OSError:
                self._drop_all()
                self._gone = not self._plain
                return True
            self._rest = self._rest[sent:]
        return True

    def _write(self, data: bytes) -> int:
        """One write that never blocks. Raises BlockingIOError when nothing is taken now."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._plain or self._own is not None:
            return os.write(self._fd, data)
        asked = select.poll()
        asked.register(self._fd, select.POLLOUT)
        if not asked.poll(0):
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])  # a pipe that polls writable takes so much whole

    def _drop_all(self) -> None:
        self.dropped += len(self._lines) + self._rest.count(b"\n")
        self._lines.clear()
        self._rest = b""

    async def run(self) -> None:
        """Writes what comes until cancelled, and then for a short while what is left."""
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                await self._drain()
        finally:
            with trio.move_on_after(FLUSH_S) as scope:
                scope.shield = True
                await self._drain()

    async def _drain(self) -> None:
        while not self._write_some():
            await trio.lowlevel.wait_writable(self._fd)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Counts what was never written."""
        self._drop_all()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._own is not None:
            os.close(self._own)
            self._own = None
        self._gone = True
