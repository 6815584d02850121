"""The runtime sockets: those told, handed over by systemd, or the usual one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from risefall.errors import StartError
from risefall.surfaces.calls import Api, Level
from risefall.surfaces.client import usual_socket_path
from risefall.surfaces.serve import INHERITED, inherited, serve


class Sockets:
    """Where commands of every level come in. `paths`: those that are open."""

    def __init__(self, told: str, handed: Sequence[int], say: Callable[[str], None]) -> None:
        """told: a path, "" for none. handed: descriptors of sockets that listen already."""
        self.paths: list[str] = []
        self._told = told
        self._handed = handed
        self._say = say

    async def open(self, api: Api, nursery: trio.Nursery, timeout_s: float) -> None:
        """The one told, else those handed over, else the usual one; without any the run goes on. Raises: StartError."""
        handed = [f"{INHERITED}{fd}" for fd in self._handed]
        told = [self._told] if self._told else []
        usual = usual_socket_path()
        paths = told or handed or ([usual] if usual else [])
        if not paths:
            self._say("no runtime socket: set RISEFALL_SOCKET to a path for it")
        for path in paths:
            await self._open(path, api, nursery, timeout_s)
            self.paths.append(path)

    async def _open(self, path: str, api: Api, nursery: trio.Nursery, timeout_s: float) -> None:
        """Begins to answer on one. Raises: StartError."""
        if inherited(path) is None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StartError(
                    f"{path}: cannot make its folder: {error.strerror}; set RISEFALL_SOCKET to another path"
                ) from error

        async def answer(task_status: trio.TaskStatus[None]) -> None:
            await serve(path, api, level=Level.ADMIN, timeout_s=timeout_s, fault=self.fault, task_status=task_status)

        await nursery.start(answer)

    def fault(self, error: Exception) -> None:
        """A command that hit a mistake of ours is told where it happened, and costs one client its answer."""
        told = "".join(traceback.format_exception(error)).rstrip()
        self._say(f"unexpected error in a command of the runtime socket, the checks go on:\n{told}")
