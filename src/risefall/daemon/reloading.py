"""SIGHUP, `reload` and what they lead to: the configuration is read again while everything goes on, then takes over.

`reload.Heir` is the rule of what goes on and what is new; here is the way there. Whatever fails on it changes nothing.
"""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from risefall.config.haproxy.plan import Loaded
from risefall.daemon.draft import Draft
from risefall.daemon.notify import Notifier
from risefall.daemon.options import Options
from risefall.daemon.present import Present
from risefall.daemon.reload import Heir, Moves
from risefall.daemon.report import Following
from risefall.engine.names import Found, resolve
from risefall.engine.native import now_ns
from risefall.errors import RisefallError, StartError

if TYPE_CHECKING:
    from risefall.daemon.companion import Read

Reread = Callable[[], Loaded]
"""Reads the configuration again, in a thread. May raise ConfigError."""


class Reloader:
    """One reload at a time; one that is asked for by a signal meanwhile is made once more."""

    def __init__(
        self,
        present: Present,
        options: Options,
        node: str,
        reread: Reread | None,
        notifier: Notifier,
        before: Callable[[], None],
        after: Callable[[Draft], Awaitable[None]],
    ) -> None:
        """node: the name of this host. before: just before the exchange. after: serves what the new configuration asks for."""
        self._present = present
        self._options = options
        self._node = node
        self._reread = reread
        self._notifier = notifier
        self._before = before
        self._after = after
        self._wanted = trio.Event()
        self._one_at_a_time = trio.Lock()

    def want(self) -> None:
        """Asks for a reload."""
        self._wanted.set()

    async def run(self) -> None:
        """Makes those that are wanted."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            with suppress(RisefallError):  # it is told
                await self.reload()

    async def reload(self) -> str:
        """Reads the configuration again, and lets it take over. Returns what came of it.

        Raises: RisefallError where it cannot be; then nothing has changed.
        """
        async with self._one_at_a_time:
            say = self._present.report.say
            stamp = time.monotonic_ns() // 1000
            self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={stamp}", "STATUS=reading the configuration again")
            try:
                if self._reread is None and self._present.companion is None:
                    raise StartError("this configuration cannot be read again: it did not come from files")
                beside = await self._read_beside()
                parts = [await self._reload(self._reread)] if self._reread is not None else []
                if beside is not None:
                    parts.append(self._reload_beside(beside, alone=not parts))
                told = "; ".join(parts)
                say(f"reloaded: {told}")
            except RisefallError as error:
                say(f"not reloaded, everything goes on as it was:\n{error}")
                raise
            finally:
                self._notifier.tell("READY=1", self._present.status())
        return told

    async def _read_beside(self) -> Read | None:
        """What is done beside keepalived, read again before anything changes."""
        if self._options.beside is None:
            return None
        from risefall.daemon.companion import read_files

        return await trio.to_thread.run_sync(read_files, self._options.beside, self._present.report.say)

    def _reload_beside(self, beside: Read, *, alone: bool) -> str:
        """alone: nothing else was reloaded, so that a fault is one of the whole. Returns what came of it. Raises: StartError."""
        companion = self._present.companion
        assert companion is not None
        try:
            return companion.reload(beside)
        except (RisefallError, OSError) as error:
            told = f"what runs beside keepalived goes on as it was: {error}"
            if alone:
                raise StartError(told) from error
            return told

    async def _reload(self, reread: Reread) -> str:
        present = self._present
        present.growing = False
        gc.disable()  # it would stop this thread for every page of the old configuration
        try:
            loaded = await trio.to_thread.run_sync(reread)
            if loaded.config.global_.bufsize > present.crew.workers.bufsize:
                raise StartError("tune.bufsize has grown: restart risefall to use it")
            found = await resolve(loaded.addresses(waiting=True))
            following = await trio.to_thread.run_sync(present.report.prepare, loaded.config)
            heir = await trio.to_thread.run_sync(self._make_heir, loaded, found)
            del loaded, found
            await heir.hand_over(present.crew)
            with trio.CancelScope(shield=True):
                tally = await self._exchange(heir, following)
            return tally.text()
        finally:
            gc.enable()
            present.growing = True

    def _make_heir(self, loaded: Loaded, found: Found) -> Heir:
        present, options = self._present, self._options
        draft = Draft(loaded, found, present.groups, node=self._node, first_ns=now_ns(), serve=options.serve_config)
        return Heir(draft, present.join, present.proxies, options.workers)

    async def _exchange(self, heir: Heir, following: Following) -> Moves:
        self._before()
        tally = self._present.exchange(heir, following)
        await self._after(heir.draft)
        del heir
        await trio.to_thread.run_sync(settle_memory)
        return tally


def settle_memory() -> None:
    """After a start or a reload: what is left lives as long as the daemon, and the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    if platform.libc_ver()[0] == "glibc":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
