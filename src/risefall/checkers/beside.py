"""The checkers as they run beside an evaluation, with what they call: made with `notify`, else only told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import trio

from risefall.checkers.service import Checkers, PoolView, commands
from risefall.config.keepalived.model import Config
from risefall.evaluator.calling import Caller
from risefall.evaluator.commands import inherited
from risefall.vrrp.notify import Call


class Output(Protocol):
    """Who is told what happens, in its order; nothing of it may wait."""

    def line(self, text: str, *, detail: bool = False) -> None: ...
    def called(self, call: Call) -> None: ...


class Pools:
    """The virtual servers of one configuration, for `evaluator.service.Evaluator`."""

    def __init__(
        self,
        config: Config,
        output: Output,
        *,
        env: Mapping[str, str] | None = None,
        notify: bool = False,
        once: bool = False,
        seed: int = 0,
    ) -> None:
        """Raises: StartError for an SSL block that cannot be used."""
        self._config = config
        self._output = output
        self._env = inherited() if env is None else dict(env)
        self._notify = notify
        self._caller: Caller | None = None
        self._checkers = Checkers(config, self._env, output.line, self._call, once=once, seed=seed)

    def _call(self, call: Call) -> None:
        if self._caller is not None:
            self._caller.call(call)
        self._output.called(call)

    @property
    def healthy(self) -> bool:
        return self._checkers.healthy

    @property
    def longest_us(self) -> int:
        return self._checkers.longest_us

    def views(self) -> list[PoolView]:
        """How the virtual servers stand."""
        return self._checkers.views()

    def start(self) -> None:
        """Raises: OSError when a FIFO cannot be made."""
        if self._notify:
            global_ = self._config.global_
            script = None if self._config.instances else global_.notify_fifo_script
            fifos = ((global_.lvs_notify_fifo, global_.lvs_notify_fifo_script), (global_.notify_fifo, script))
            self._caller = Caller(
                self._config, self._env, self._output.line, commands=commands(self._config), fifos=fifos
            )
        caller = self._caller
        self._checkers.start(
            programs=caller.programs if caller is not None else 0, insecure=caller is not None and caller.insecure
        )

    async def run(self) -> None:
        if self._caller is None:
            await self._checkers.run()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._caller.run)
            nursery.start_soon(self._checkers.run)

    async def first(self) -> None:
        await self._checkers.first()

    async def stop(self) -> None:
        self._checkers.stop()
        if self._caller is not None:
            await self._caller.last()

    def close(self) -> None:
        if self._caller is not None:
            self._caller.close()
            self._caller = None
