"""Processes of Python's own: started by `native/spawn.c`, watched through one epoll, at most so many at once.

A `Program` holds argv and environment as C wants them, so that a start is one call. `Children.descriptor` turns readable
when one has ended; `ended` then says which, and how. Nothing here waits.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence

import trio

from risefall.engine._native import ffi, lib
from risefall.engine.native import Closing, refusal

CHILDREN_MAX = 256
AS_THEY_ARE = 2**32 - 1
UMASK = 0o177
"""keepalived's, unless its configuration says otherwise."""
EVENTS_MAX = 64


class Program:
    """What to start, and as whom. May be started any number of times, by one thread."""

    def __init__(
        self,
        path: bytes,
        argv: Sequence[bytes],
        env: Sequence[bytes],
        *,
        uid: int | None = None,
        gid: int | None = None,
        groups: Sequence[int] | None = None,
        umask: int | None = None,
        die_with_us: bool = False,
    ) -> None:
        """groups: the supplementary ones; None leaves ours. die_with_us: SIGTERM when our thread ends."""
        self.path = path
        words = [ffi.new("char[]", word) for word in argv]
        variables = [ffi.new("char[]", word) for word in env]
        self._order = ffi.new("rf_spawn_order *")
        order = self._order
        flags = lib.RF_SPAWN_NEW_GROUP | lib.RF_SPAWN_NULL_STDIO
        path_ = ffi.new("char[]", path)
        vectors = ffi.new("char *[]", [*words, ffi.NULL]), ffi.new("char *[]", [*variables, ffi.NULL])
        order.path = path_
        order.argv, order.envp = vectors
        order.uid = AS_THEY_ARE if uid is None else uid
        order.gid = AS_THEY_ARE if gid is None else gid
        numbers = ffi.new("uint32_t[]", list(groups or ())) if groups else ffi.NULL
        if groups is not None:
            flags |= lib.RF_SPAWN_GROUPS
            order.groups, order.groups_len = numbers, len(groups)
        if umask is not None:
            flags |= lib.RF_SPAWN_UMASK
            order.umask = umask
        order.flags = flags | (lib.RF_SPAWN_DIE_WITH_US if die_with_us else 0)
        self._error = ffi.new("int32_t *")
        order.error_out = self._error
        self._kept = (path_, words, variables, vectors, numbers)
        self._out = ffi.new("int32_t[2]")

    def start(self) -> tuple[int, int, int]:
        """pid, pidfd, and the errno of what kept it from being executed, else 0. Raises: NativeError."""
        out = self._out
        if lib.rf_spawn(self._order, out, out + 1) != lib.RF_OK:
            raise refusal("spawn")
        return out[0], out[1], self._error[0]


class Child:
    """One process under way. error: the errno of a program that could not be executed, 0 when it could."""

    __slots__ = ("alone", "error", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, error: int, *, alone: bool) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.error = error
        self.alone = alone


class Children(Closing):
    """All processes that one owner has started. `close` kills what is left, and reaps it."""

    def __init__(self, most: int = CHILDREN_MAX) -> None:
        self.most = most
        self._epoll = select.epoll()
        self._running: dict[int, Child] = {}
        self._status = ffi.new("int32_t *")

    def __len__(self) -> int:
        return len(self._running)

    @property
    def room(self) -> bool:
        """Whether one more may be started."""
        return len(self._running) < self.most

    @property
    def descriptor(self) -> int:
        """Readable when `ended` has something to say."""
        return self._epoll.fileno()

    def start(self, program: Program, *, group: bool = True) -> Child:
        """Starts it. group: what it has started itself and left in its group ends with it. Raises: NativeError."""
        pid, pidfd, error = program.start()
        child = Child(pid, pidfd, error, alone=not group)
        self._running[pidfd] = child
        self._epoll.register(pidfd, select.EPOLLIN)
        return child

    async def wait(self) -> None:
        """Until one has ended."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def signal(self, child: Child, number: int) -> bool:
        """Sends it to the process and its group; False when nobody is there."""
        if self._running.get(child.pidfd) is not child:
            return False
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def ended(self) -> list[tuple[Child, int]]:
        """Those that have ended since the last call: exit code, or -signal."""
        return [told for pidfd, _ in self._epoll.poll(0, EVENTS_MAX) if (told := self._reap(self._running[pidfd]))]

    def _reap(self, child: Child) -> tuple[Child, int] | None:
        if child.alone:
            info = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOHANG)
            if info is None:
                return None
            status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        else:
            if lib.rf_spawn_reap(child.pidfd, child.pid, self._status) != lib.RF_OK:
                return None
            status = self._status[0]
        del self._running[child.pidfd]
        os.close(child.pidfd)  # takes it out of the epoll too
        return child, status

    def close(self) -> None:
        """Kills every group and waits for its leader; SIGKILL lets nobody wait for long. Idempotent."""
        for child in [*self._running.values()]:
            self.signal(child, signal.SIGKILL)
        for child in [*self._running.values()]:
            select.select([child.pidfd], [], [], 5)
            self._reap(child)
        self._epoll.close()
