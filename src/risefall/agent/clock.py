"""The two clocks of an agent, as values, so that a test may give its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


class Clock(msgspec.Struct, frozen=True):
    """now_ns never goes back and is for readings; wall_ns survives reboots and is for orders."""

    now_ns: Callable[[], int]
    wall_ns: Callable[[], int]


REAL = Clock(time.monotonic_ns, time.time_ns)
