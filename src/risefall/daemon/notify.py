"""What systemd is told (sd_notify), and what it hands over: the watchdog's pace and listening sockets.

The protocol is a few lines of text in one datagram, so it is written here. Nothing depends on it: without NOTIFY_SOCKET
nothing is sent, and a manager that does not take a message costs that message only.
Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
import trio

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

STATUS_S = 2.0

NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Given(msgspec.Struct, frozen=True):
    """What a manager says in the environment. notify: an address of AF_UNIX, "" for none.

    watchdog_s: how long it waits between signs of life at most; 0 for no watchdog. sockets: descriptors that it hands over.
    """

    notify: str = ""
    watchdog_s: float = 0.0
    sockets: tuple[int, ...] = ()


def take_environment(environment: MutableMapping[str, str], pid: int) -> Given:
    """Reads what is meant for this process, and takes all of it away, so that no command of an external-check inherits it."""
    said = {name: environment.pop(name, "") for name in NAMES}
    address = said["NOTIFY_SOCKET"]
    notify = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else ""
    count = _number(said["LISTEN_FDS"]) if _number(said["LISTEN_PID"]) == pid else 0
    watchdog_us = _number(said["WATCHDOG_USEC"]) if said["WATCHDOG_PID"] in ("", str(pid)) else 0
    return Given(notify, watchdog_us / 1_000_000, tuple(range(FIRST_FD, FIRST_FD + count)))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


class Notifier:
    """Sends words to the manager; does nothing where there is none."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @property
    def active(self) -> bool:
        """Whether there is a manager to tell."""
        return self._socket is not None

    def tell(self, *words: str) -> None:
        """Sends `READY=1`, `STATUS=...` and the like in one message. One that is not taken at once is dropped."""
        if self._socket is not None:
            data = "\n".join(word.replace("\n", " ") for word in words).encode("utf-8", "replace")
            with suppress(OSError):
                self._socket.sendto(data, self._address)

    def close(self) -> None:
        """Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Stepping(Protocol):
    """An engine, as far as a sign of life needs it."""

    def nudge(self) -> None:
        """Asks its thread for a turn."""

    @property
    def turns(self) -> int:
        """Turns of its thread since the start."""


class Pulse:
    """Whether the threads that check move. An idle one has nothing to do for hours, so each is asked for a turn."""

    def __init__(self, engines: Sequence[Stepping]) -> None:
        self._engines = engines
        self._turns: list[int] = []
        self._ask()

    def _ask(self) -> None:
        self._turns = [engine.turns for engine in self._engines]
        for engine in self._engines:
            engine.nudge()

    def moved(self) -> bool:
        """Whether every thread took a turn since the last call. Asks them for the next one."""
        moved = all(engine.turns != before for engine, before in zip(self._engines, self._turns, strict=True))
        if moved:
            self._ask()
        return moved


async def tell_status(notifier: Notifier, told: str, status: Callable[[], str], news: Callable[[], int]) -> None:
    """Tells how it stands whenever that differs from what was told; looks only when there was news: a steady fleet is free."""
    seen = -1
    while True:
        await trio.sleep(STATUS_S)
        if (now := news()) == seen:
            continue
        seen = now
        if (word := status()) != told:
            notifier.tell(word)
            told = word


async def tell_alive(notifier: Notifier, pulse: Pulse, every_s: float, say: Callable[[str], None]) -> None:
    """The watchdog's sign of life: this loop turns, and so does the thread of every engine."""
    while True:
        await trio.sleep(every_s)
        if pulse.moved():
            notifier.tell("WATCHDOG=1")
        else:
            say("a thread that checks does not move: no sign of life for the watchdog")
