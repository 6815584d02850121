"""A service's weight in a file, for keepalived's `track_file`: no process is started to ask for it.

keepalived looks again when a file in its folder was closed or moved to its name, so a new one is written beside it and
takes its place: nobody ever reads half a number. Source: spec/keepalived-track.md, track files; keepalived 2.2.7.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import trio

from risefall.agent.settings import Service
from risefall.agent.standing import Standing

Log = Callable[[str], None]


def number_of(service: Service, standing: Standing) -> int:
    """What stands in the file: the weight in per cent; `track_down` where the service is not good."""
    return standing.weight_pct if standing.good else service.track_down


def write_number(path: str, number: int) -> None:
    """Puts a number in place of the file. Raises: OSError."""
    beside = f"{path}.new"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(handle, b"%d\n" % number)
    finally:
        os.close(handle)
    try:
        os.rename(beside, path)
    except OSError:
        with suppress(OSError):
            os.unlink(beside)
        raise


class TrackFile:
    """One file for as long as the agent lives, whatever service it follows: written when its number changes, by a thread, since
    a disk may hang.
    """

    def __init__(self, path: str, log: Log) -> None:
        self._path = path
        self._log = log
        self._wanted: int | None = None
        self._wake = trio.Event()

    def put(self, number: int) -> None:
        """What it says from now on."""
        if number != self._wanted:
            self._wanted = number
            self._wake.set()

    async def run(self) -> None:
        """Writes for ever; what came meanwhile is written next, what was overtaken never. A failure is told once."""
        written: int | None = None
        failed = ""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if self._wanted is None or self._wanted == written:
                continue
            number = self._wanted
            try:
                # A disk that hangs holds up no end.
                await trio.to_thread.run_sync(write_number, self._path, number, abandon_on_cancel=True)
            except OSError as error:
                said = f"warning: {self._path}: {error.strerror}: keepalived does not hear of changes"
                if said != failed:
                    self._log(said)
                failed = said
            else:
                written, failed = number, ""
