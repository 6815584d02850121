"""What is done by the clock: slowstarts, faults of our own that are owned up to, figures that are told."""

from __future__ import annotations

import time

import trio

from risefall.daemon.gauge import Gauge, show_reading
from risefall.daemon.join import now_ms
from risefall.daemon.present import Present

TICK_S = 1.0


async def tick(present: Present) -> None:
    """Once a second: slowstarts go on, and faults of our own are owned up to."""
    workers = present.crew.workers
    told = 0
    while True:
        await trio.sleep(TICK_S)
        for index in list(present.fleet.starting):
            present.join.apply(present.fleet.warm(index, now_ms()))
        for engine in workers.engines:
            engine.rest()
        blamed = sum(engine.self_blamed for engine in workers.engines)
        if blamed > told:
            names = ", ".join(sorted({name for one in workers.statistics() for name in one.self_errnos})) or "unknown"
            present.report.say(
                f"{blamed - told} checks of the last second could not be made, and did not count: {names}; "
                "raise the limits (ulimit -n, memory, local ports) or lower --slots"
            )
            told = blamed


async def tell_stats(present: Present, every_s: float, *, as_json: bool) -> None:
    """`--stats`: what happened since the last line."""
    workers = present.crew.workers
    gauge = Gauge(workers.statistics())
    before = time.monotonic()
    while True:
        await trio.sleep(every_s)
        now = time.monotonic()
        reading = gauge.read(workers.statistics(), now - before, present.handled)
        before = now
        if as_json:
            present.report.object(reading)
        else:
            present.report.say(show_reading(reading))
