"""How late this machine wakes whoever waits: what real time may have done to a play, told rather than guessed.

A play that does not fit is played again only where timers were late meanwhile, and says so in a warning. One that does not fit
on a machine that was on time is a defect.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from types import TracebackType

NICE = ("nice", "-n", "-10") if os.geteuid() == 0 else ()
"""Before what must be on time while the machine is busy with something else."""
EVERY_NS = 5_000_000
LATE_US = 25_000
"""Of the margin of an election: two skews that differ by ten points are 8 ms apart, an advert that a loaded machine holds back by
more than this lets the worse node act first."""
ATTEMPTS = 4


class Stalls:
    """A thread that sleeps and looks at the clock. Use it with `with`."""

    def __init__(self) -> None:
        self._late: list[tuple[int, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            began_ns = time.monotonic_ns()
            time.sleep(EVERY_NS / 1e9)
            ended_ns = time.monotonic_ns()
            late_us = (ended_ns - began_ns - EVERY_NS) // 1000
            if late_us > LATE_US:
                self._late.append((ended_ns, late_us))

    def worst_us(self, since_ns: int) -> int:
        """The latest wake since then; 0 when all were on time."""
        return max((late_us for at_ns, late_us in self._late if at_ns >= since_ns), default=0)


def tell(play: str, late_us: int, what: str) -> None:
    """That a play is played again, and why."""
    warnings.warn(f"{play} is played again: timers were {late_us // 1000} ms late, and {what[:300]}", stacklevel=2)
