"""Orders on their way to the engines: one that finds a queue full waits here, before all later ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

RETRY_S = 0.005


class Orders:
    """Sends in order; `run` it. An order is called until it returns true."""

    def __init__(self) -> None:
        self._pending: deque[Callable[[], bool]] = deque()
        self._late = trio.Event()

    def send(self, order: Callable[[], bool]) -> None:
        """Gives an order now, or once all that wait before it are given."""
        if self._pending or not order():
            self._pending.append(order)
            self._late.set()

    async def run(self) -> None:
        """Sends what found a queue full, until cancelled."""
        while True:
            await self._late.wait()
            self._late = trio.Event()
            while self._pending:
                if self._pending[0]():
                    self._pending.popleft()
                else:
                    await trio.sleep(RETRY_S)
