"""What risefall-track was told, kept over a restart: until the configuration is read and a check has run, the last word stands.

keepalived asks every second, and a daemon that is being restarted must not look like a failure; but neither may a word of
yesterday look like today's. So the file is read only when it was written or confirmed within `AGE_MAX_S`, whichever way the
clock was set since. While the daemon lives it writes what changed, and confirms what did not by the file's time. What `keeping.py`
keeps is the state that the checks go on from, for a day; this is only what was said.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import trio

from risefall.daemon.keeping import DIGEST_BYTES, write_whole
from risefall.engine.facts import Facts
from risefall.errors import NativeError

MAGIC = b"risefall facts 1\n"
SUFFIX = ".facts"
EVERY_S = 5.0
AGE_MAX_S = 300.0
"""A restart, or a reboot; who comes back later is told that nothing is known yet."""


class FactsFile:
    """The file of one run. Without a folder, or a path at which it is asked, it keeps nothing."""

    def __init__(self, folder: str, asked_at: str) -> None:
        """asked_at: the path where risefall-track asks. Another run's words, which lie under the same name, are not taken."""
        self._path = Path(folder) / (Path(asked_at).name.partition(".")[0] + SUFFIX) if folder and asked_at else None
        self._asked_at = os.fsencode(asked_at)

    def load(self, facts: Facts) -> int:
        """Puts what was known when the last run ended; how many. A file that is old or of no use is passed over."""
        if self._path is None:
            return 0
        with suppress(OSError, NativeError):
            if abs(time.time() - self._path.stat().st_mtime) <= AGE_MAX_S:
                return facts.restore(self._decoded(self._path.read_bytes()))
        return 0

    def _decoded(self, data: bytes) -> bytes:
        """The facts of this run; nothing where it is another's, or damaged."""
        head = len(MAGIC) + DIGEST_BYTES
        body = data[head:]
        if data[:head] != MAGIC + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest():
            return b""
        asked_at, _, saved = body.partition(b"\n")
        return saved if asked_at == self._asked_at else b""

    def write(self, facts: Facts) -> bool:
        """Whether it is written. May be called in a thread."""
        if self._path is None:
            return False
        body = self._asked_at + b"\n" + facts.save()
        with suppress(OSError):  # what keeps the state beside it says so
            write_whole(self._path, MAGIC + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() + body)
            return True
        return False

    async def run(self, facts: Facts) -> None:
        """Writes what changed, confirms what did not, until cancelled."""
        written = -1
        while self._path is not None:
            await trio.sleep(EVERY_S)
            changes = facts.changes()
            if changes == written:
                with suppress(OSError):
                    os.utime(self._path)
            elif await trio.to_thread.run_sync(self.write, facts):
                written = changes
