"""What a keepalived beside us says of itself: the lines that it writes to a notify FIFO.

keepalived makes the FIFO where there is none, opens it for reading and writing, and removes it at its end if it has made it. So lines
wait in the pipe for whoever reads later, up to its size, and the rest is lost silently. A reload ends it and makes another one,
and repeats no state. Here it is opened as soon as it is there, and again whenever another one lies under its name. That nobody has
it open for writing for a while is what tells that keepalived is gone, whatever its last lines were. A FIFO has one reader: two would
share the lines.
Source: fifo(7), pipe(7); spec/keepalived-track.md §6.4; observed on 2.2.7.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum

import msgspec
import trio

from risefall.vrrp.fifo import Told, parse_fifo

LOOK_S = 1.0
"""How often to look whether the FIFO is there, whether it is the same one, and whether somebody has it open."""
PATIENCE = 3
"""Looks that find nobody before keepalived is gone: a reload is over by then."""
READ_BYTES = 65536
LINE_MAX = 4096
OBJECTS_MAX = 4096
"""Instances, groups and servers that are remembered; who writes more names is no keepalived."""
FULL = 0.9
"""A pipe filled so far may have lost lines: each page ends where a line does not fit."""


class Writer(Enum):
    """Who is at the other end."""

    MISSING = "there is no FIFO"
    NOBODY = "nobody writes to it"
    THERE = "keepalived has it open"


class Heard(msgspec.Struct):
    """The last that was said of one thing. since_s: wall clock. sure: said by the keepalived that has the FIFO open now."""

    told: Told
    since_s: float
    sure: bool = True


class Hearing:
    """One FIFO. `run` for ever; the rest may be asked meanwhile."""

    def __init__(
        self,
        path: str,
        say: Callable[[str], None],
        *,
        memory: Iterable[Heard] = (),
        hear: Callable[[Told], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """say: what an operator should know. hear: told each line that is understood. memory: of an earlier run; since then
        lines may have been lost with the FIFO in which they lay, so nothing of it is sure before it is said again."""
        self.path = path
        self.writer = Writer.MISSING
        self.lines = 0
        self.bad = 0
        self._say = say
        self._hear = hear
        self._clock = clock
        self._heard: dict[tuple[str, str], Heard] = {}
        for one in memory:
            self._heard[one.told.kind, one.told.name] = msgspec.structs.replace(one, sure=False)
        self._problem = ""
        self._missed = 0
        self._quiet_until_s = 0.0
        self._unsaid = 0
        self.changes = 0
        """Rises with everything that `heard` tells."""

    def heard(self) -> list[Heard]:
        """Of each thing, in the order in which they came."""
        return [*self._heard.values()]

    # --- reading ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            fd = self._open()
            if fd is not None:
                try:
                    await self._read(fd)
                finally:
                    os.close(fd)
            else:
                self._miss(Writer.MISSING)
                await trio.sleep(LOOK_S)

    def _open(self) -> int | None:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None  # keepalived makes it when it starts
        except OSError as error:
            self._complain(f"notify FIFO {self.path} cannot be opened: {error.strerror}")
            return None
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            self._complain(f"notify FIFO {self.path} is no FIFO")
            return None
        self._problem = ""
        self._look_whether_full(fd)
        return fd

    def _look_whether_full(self, fd: int) -> None:
        waiting = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        if waiting > FULL * fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ):
            self._say(f"notify FIFO {self.path} was full: keepalived may have lost lines, and states may be old")

    async def _read(self, fd: int) -> None:
        """Until it is another one, or its writer has closed it."""
        rest = b""
        while True:
            woken = False
            with trio.move_on_after(LOOK_S):
                await trio.lowlevel.wait_readable(fd)
                woken = True
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                self._meet()
            else:
                if data:
                    self._meet()
                    rest = self._take(rest + data)
                    continue
                if woken:
                    return  # closed: at a reload only for a moment, so that nothing is said of it yet
                self._miss(Writer.NOBODY)
            if not woken and not self._same(fd):
                return

    def _same(self, fd: int) -> bool:
        ours = os.fstat(fd)
        with suppress(OSError):
            there = os.stat(self.path)
            return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        return False

    def _take(self, data: bytes) -> bytes:
        """The lines that are whole; returns what has begun."""
        *lines, rest = data.split(b"\n")
        if len(rest) > LINE_MAX:
            lines.append(rest[:LINE_MAX])
            rest = b""
        for line in lines:
            if line.strip(b"\0"):
                self._line(line)
        return rest

    def _line(self, line: bytes) -> None:
        try:
            told = parse_fifo(line)
        except ValueError as error:
            self._bad_line(str(error))
            return
        key = (told.kind, told.name)
        before = self._heard.get(key)
        if before is None and len(self._heard) >= OBJECTS_MAX:
            self._bad_line(f"{told.kind} {told.name!r} is one too many")
            return
        self.lines += 1
        self.changes += 1
        since_s = before.since_s if before is not None and before.told.state == told.state else self._clock()
        self._heard[key] = Heard(told, since_s)
        if self._hear is not None:
            self._hear(told)

    def _bad_line(self, text: str) -> None:
        """Told at once, but no more than one a second."""
        self.bad += 1
        if self._clock() < self._quiet_until_s:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} before it)" if self._unsaid else ""
        self._say(f"notify FIFO {self.path}: no line of keepalived: {text}{more}")
        self._unsaid = 0
        self._quiet_until_s = self._clock() + LOOK_S

    def _complain(self, text: str) -> None:
        """Once for each problem."""
        if text != self._problem:
            self._problem = text
            self._say(text)

    def _meet(self) -> None:
        """Somebody has it open."""
        self._missed = 0
        self.writer = Writer.THERE

    def _miss(self, writer: Writer) -> None:
        """Nobody has it open, or it is not there."""
        self._missed += 1
        if self._missed < PATIENCE or self.writer is writer:
            return
        was, self.writer = self.writer, writer
        if was is Writer.THERE:
            for one in self._heard.values():
                one.sure = False
            self._say(f"keepalived has ended: {writer.value} ({self.path})")
