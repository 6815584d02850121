"""The two files in the state folder, written in a thread whenever what they hold has changed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import BinaryIO, Protocol

import trio

from risefall.agent.keep import read_kept, write_kept
from risefall.agent.leases import Book, Order
from risefall.agent.voice import Kept
from risefall.errors import StartError

ORDERS_FILE = "orders.json"
TOLD_FILE = "told.json"
LOCK_FILE = "lock"
Log = Callable[[str], None]


class Keep(Protocol):
    """What outlives an agent, wherever it is kept."""

    def read(self) -> tuple[Book, list[Kept]]: ...

    def wake(self) -> None: ...

    async def run(self, orders: Callable[[], list[Order]], told: Callable[[], list[Kept]]) -> None: ...

    async def settled(self) -> str: ...

    async def write(self, orders: list[Order], told: list[Kept], *, last: bool = False) -> bool: ...

    def close(self) -> None: ...


class Keeper:
    """Keeps orders, and what each balancer was told. folder: None keeps nothing; else it is this agent's alone."""

    def __init__(self, folder: str | None, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._wake = trio.Event()
        self._orders: list[Order] = []
        self._owed: list[Kept] = []
        self._failed = ""
        self._asked = self._written = 0
        self._turned = trio.Event()
        self._lock = trio.Lock()
        self._claim: BinaryIO | None = None

    def read(self) -> tuple[Book, list[Kept]]:
        """What an earlier agent left. Raises StartError when it cannot be known, or another agent keeps its own there."""
        if self._folder is None:
            return Book(), []
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._take()
            orders, first = read_kept(f"{self._folder}/{ORDERS_FILE}", list[Order])
            told, second = read_kept(f"{self._folder}/{TOLD_FILE}", list[Kept])
        except OSError as error:
            raise StartError(f"{error.filename or self._folder}: {error.strerror}: orders cannot be kept") from error
        for warning in (first, second):
            if warning:
                self._log(f"warning: {warning}")
        self._orders, self._owed = orders or [], owed_of(told or [])
        return Book(self._orders), told or []

    def _take(self) -> None:
        """Makes the folder this agent's own; where that cannot be (a full disk), it is told and goes on."""
        try:
            self._claim = claim(f"{self._folder}/{LOCK_FILE}")
        except BlockingIOError:
            raise StartError(
                f"{self._folder}: another agent keeps its orders there: end it, or give this one a state_dir of its own"
            ) from None
        except OSError as error:
            self._log(f"warning: {error.filename}: {error.strerror}: nothing keeps a second agent out of this folder")

    def close(self) -> None:
        """Another agent may keep its own there. Idempotent."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def run(self, orders: Callable[[], list[Order]], told: Callable[[], list[Kept]]) -> None:
        """Writes for ever. A disk that is full is told once, and tried again at the next change."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            asked = self._asked
            await self.write(orders(), told())
            self._written = asked
            self._turned.set()
            self._turned = trio.Event()

    async def settled(self) -> str:
        """Waits until all that stands now was written; why it could not be. For as long as the disk takes: the caller has a limit."""
        if self._folder is None:
            await trio.lowlevel.checkpoint()
            return ""
        self._asked += 1
        mine = self._asked
        self.wake()
        while self._written < mine:
            await self._turned.wait()
        return self._failed

    async def write(self, orders: list[Order], told: list[Kept], *, last: bool = False) -> bool:
        """Writes what has changed since the last time; whether all is on the disk. last: also who has polled."""
        if self._folder is None:
            return True
        async with self._lock:
            try:
                if orders != self._orders:
                    await trio.to_thread.run_sync(write_kept, f"{self._folder}/{ORDERS_FILE}", orders)
                    self._orders = orders
                if last or owed_of(told) != self._owed:
                    await trio.to_thread.run_sync(write_kept, f"{self._folder}/{TOLD_FILE}", told)
                    self._owed = owed_of(told)
                self._failed = ""
            except OSError as error:
                why = f"{error.filename or self._folder}: {error.strerror}"
                if why != self._failed:
                    self._log(f"warning: orders are not kept: {why}")
                self._failed = why
                return False
            return True


def claim(path: str) -> BinaryIO:
    """A lock that holds until it is closed, or this process ends in whatever way. Raises: OSError; BlockingIOError: taken."""
    lock = open(path, "ab")  # noqa: SIM115 - whoever calls closes it
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        lock.close()
        raise
    return lock


def owed_of(told: list[Kept]) -> list[Kept]:
    """What must be in the file at once; when somebody polled may be old."""
    return [Kept(service=one.service, balancer=one.balancer, owed=one.owed) for one in told if one.owed]
