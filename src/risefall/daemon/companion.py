"""Beside keepalived: its scripts run for it, its states heard from its notify FIFO, and what is computed of its configuration.

Three things that may each be there without the others: `run --scripts`, `--notify-fifo`, `--keepalived`. What scripts find goes to
whoever asks and to the node that computes; what keepalived says of itself is kept over a restart, as the past.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from risefall.config.keepalived.model import Config
from risefall.daemon.keeping import write_whole
from risefall.daemon.scripts import Publisher, Scripts, TrackFiles, read_scripts
from risefall.daemon.tracked import Board, ScriptBoard
from risefall.evaluator.beside import beside
from risefall.evaluator.hearing import Heard, Hearing
from risefall.evaluator.node import GroupView, InstanceView
from risefall.evaluator.watched import Watched
from risefall.vrrp.fifo import Told
from risefall.vrrp.scripts import Init
from risefall.vrrp.trackers import DOWN, UP, Kind

SUFFIX = ".vrrp"
EVERY_S = 5.0
Say = Callable[[str], None]


class Asked(msgspec.Struct, frozen=True):
    """What `run` was asked for. Paths, "" for none; read_keepalived: reads `keepalived`, and may raise ConfigError."""

    scripts: str = ""
    track_dir: str = ""
    notify_fifo: str = ""
    keepalived: str = ""
    read_keepalived: Callable[[], Config] | None = None


class Read(msgspec.Struct, frozen=True):
    """The files of it, read."""

    scripts: Config | None = None
    keepalived: Config | None = None


def read_files(asked: Asked, hear: Say) -> Read:
    """hear: told warnings about the scripts. Raises: ConfigError."""
    return Read(
        scripts=read_scripts(asked.scripts, hear) if asked.scripts else None,
        keepalived=asked.read_keepalived() if asked.read_keepalived is not None else None,
    )


class HeardFile:
    """What keepalived has said, kept over a restart; by the name of the runtime socket, as all that is kept."""

    def __init__(self, folder: str, socket_path: str, fifo: str) -> None:
        """Without a folder or a FIFO it keeps nothing."""
        name = Path(socket_path).name.partition(".")[0] or "run"
        self._path = Path(folder) / (name + SUFFIX) if folder and fifo else None
        self._fifo = fifo

    def load(self) -> list[Heard]:
        """What an earlier run heard on this FIFO; a file that cannot be used is passed over."""
        if self._path is not None:
            with suppress(OSError, msgspec.MsgspecError, ValueError):
                fifo, heard = msgspec.msgpack.decode(self._path.read_bytes(), type=tuple[str, list[Heard]])
                return heard if fifo == self._fifo else []
        return []

    def write(self, heard: Sequence[Heard]) -> None:
        """May be called in a thread. Where it cannot be written, what keeps the state beside it says so."""
        if self._path is not None:
            with suppress(OSError, ValueError):
                write_whole(self._path, msgspec.msgpack.encode((self._fifo, heard)))


class Companion:
    """`run` for ever; `reload` and `rows` meanwhile."""

    def __init__(
        self, asked: Asked, read: Read, board: Board, publishers: Iterable[Publisher], say: Say, memory: HeardFile
    ) -> None:
        """board: where risefall-track is answered. Raises: StartError for a script that may not run; OSError."""
        self._asked = asked
        self._say = say
        self._memory = memory
        self._life = trio.CancelScope()
        self._names = ScriptBoard(board, [one.name for one in read.scripts.scripts] if read.scripts is not None else ())
        self.scripts: Scripts | None = None
        if read.scripts is not None:
            told: list[Publisher] = [self._names, *publishers, self]
            if asked.track_dir:
                told.append(TrackFiles(asked.track_dir, say))
            self.scripts = Scripts(read.scripts, told, say)
        self._hearing: Hearing | None = None
        if asked.notify_fifo:
            self._hearing = Hearing(asked.notify_fifo, say, memory=memory.load(), hear=self._heard)
        self._watched: Watched | None = None
        if read.keepalived is not None:
            self._watched = self._watch(read.keepalived)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.scripts is not None:
                nursery.start_soon(self.scripts.run)
            if self._watched is not None:
                nursery.start_soon(self._compute, self._watched)
            if self._hearing is not None:
                nursery.start_soon(self._hearing.run)
                nursery.start_soon(self._keep, self._hearing)

    def reload(self, read: Read) -> str:
        """Goes on with what the files say now; returns what came of it. Raises: StartError, OSError; then nothing has changed."""
        told = []
        watched = self._watch(read.keepalived, read.scripts) if read.keepalived is not None else None
        if self.scripts is not None and read.scripts is not None:
            try:
                told.append(self.scripts.reload(read.scripts))
            except BaseException:
                if watched is not None:
                    watched.close()
                raise
            self._names.follow(self.scripts.configs)
        if watched is not None and self._watched is not None:
            old, self._watched = self._watched, watched
            self._tell_scripts(watched)
            watched.begin(lambda node: node.resume(old.node))
            old.close()
            self._life.cancel()
            told.append(f"{len(watched.config.instances)} instances")
        return ", ".join(told)

    # --- what is computed -------------------------------------------------------------------------------------------

    def _watch(self, config: Config, scripts: Config | None = None) -> Watched:
        known = {one.name for one in scripts.scripts} if scripts is not None else set(self._known())
        for name in dict.fromkeys(one.name for one in config.scripts if one.name not in known):
            self._say(f"vrrp_script {name} of {self._asked.keepalived} is not among --scripts: nothing is known of it")
        return Watched(config, [one.name for one in config.scripts], lambda said: None, self._say, strict=False)

    def _known(self) -> Iterable[str]:
        return self.scripts.configs if self.scripts is not None else ()

    async def _compute(self, watched: Watched) -> None:
        watched.begin()
        while True:
            with trio.CancelScope() as self._life:
                assert self._watched is not None
                await self._watched.run()

    def _tell_scripts(self, watched: Watched) -> None:
        for job in self.scripts.jobs() if self.scripts is not None else ():
            if job.script.init is Init.DONE:
                watched.node.read(Kind.SCRIPT, job.name, UP if job.script.good else DOWN)

    def publish_script(self, name: str, good: bool, weight: int, reason: str) -> None:
        """A script's result is news for the node that computes."""
        if self._watched is not None:
            self._watched.feed(Kind.SCRIPT, name, UP if good else DOWN)

    def forget_script(self, name: str) -> None:
        """It is in no list any more."""

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _heard(self, told: Told) -> None:
        priority = "" if told.priority is None else f" {told.priority}"
        self._say(f"keepalived: {told.kind} {told.name} {told.state}{priority}")

    async def _keep(self, hearing: Hearing) -> None:
        """Writes what was heard when it is news, and at the end."""
        written = hearing.changes
        try:
            while True:
                await trio.sleep(EVERY_S)
                if hearing.changes != written:
                    written = hearing.changes
                    await trio.to_thread.run_sync(self._memory.write, hearing.heard())
        finally:
            if hearing.changes != written:
                self._memory.write(hearing.heard())

    # --- what people ask --------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, object]]:
        """The objects of `show vrrp`: instances and groups, scripts, and the FIFO."""
        instances: list[InstanceView] = []
        groups: list[GroupView] = []
        config = None
        if self._watched is not None:
            self._watched.advance()
            self._watched.flush()
            config = self._watched.config
            instances, groups = self._watched.node.instances(), self._watched.node.groups()
        heard = self._hearing.heard() if self._hearing is not None else ()
        rows = [
            {
                "kind": one.kind,
                "name": one.name,
                "real": one.real or None,
                "real_priority": one.real_priority,
                "real_since": None if one.since_s is None else round(one.since_s, 3),
                "real_sure": one.sure if one.real else None,
                "computed": one.computed or None,
                "priority": one.priority,
                "why": list(one.why),
                "differs": one.differs or None,
            }
            for one in beside(config, instances, groups, heard)
        ]
        for job in self.scripts.jobs() if self.scripts is not None else ():
            script = job.script
            rows.append(
                {
                    "kind": "script",
                    "name": job.name,
                    "state": "INIT" if script.init is not Init.DONE else "GOOD" if script.good else "BAD",
                    "result": script.result,
                    "rise": script.settings.rise,
                    "fall": script.settings.fall,
                    "runs": job.runs,
                    "last": job.last or None,
                    "took_ms": round(job.took_ms, 1),
                }
            )
        if (hearing := self._hearing) is not None:
            fifo = {"kind": "fifo", "name": hearing.path, "status": hearing.writer.value}
            rows.append({**fifo, "lines": hearing.lines, "bad": hearing.bad})
        return [{key: _clean(value) for key, value in row.items()} for row in rows]


def _clean(value: object) -> object:
    """Names of files as JSON can hold them."""
    if isinstance(value, str):
        return os.fsencode(value).decode("utf-8", "replace")
    return [_clean(one) for one in value] if isinstance(value, list) else value
