"""A grid of settings, each run in the same weather, on all cores.

Processes are forked, so that the weather lies in memory once. A setting goes out and its score comes back before the next one
goes, and a run that turns again and again is given up: memory is bounded by the weather and by what one run may keep.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import msgspec

from risefall.config.haproxy.plan import Loaded
from risefall.errors import StartError
from risefall.sim.answers import Seen, spread
from risefall.sim.grid import Setting, loaded_with
from risefall.sim.runs import Outcome, TooMany, build_estate, simulate
from risefall.sim.scenario import Scenario
from risefall.sim.wants import Scored
from risefall.sim.weather import Weather

TURNS_MAX = 300_000
"""Of one setting: some 100 MB of a process."""


class Ground(msgspec.Struct, frozen=True):
    """What all settings of a sweep have in common."""

    loaded: Loaded
    scenario: Scenario
    weather: Weather
    span_ms: int
    seed: int


def score(setting: Setting, outcome: Outcome, ground: Ground) -> Scored:
    """All servers together."""
    seen: Sequence[Seen] = outcome.seen
    detection = spread([value for one in seen for value in one.detection])
    recovery = spread([value for one in seen for value in one.recovery])
    watched_s = len(seen) * ground.scenario.balancers * ground.span_ms / 1000
    false_downs = sum(one.false_downs for one in seen)
    return Scored(
        setting=setting,
        detect=detection.p99,
        detect_mean=detection.mean,
        detect_p50=detection.p50,
        detect_worst=detection.worst,
        recover=recovery.p99,
        recover_mean=recovery.mean,
        recover_worst=recovery.worst,
        false=false_downs / watched_s,
        load=max(row.checks_per_s for row in outcome.rows),
        dead=sum(row.dead_minutes for row in outcome.rows) / len(outcome.rows),
        spared=sum(row.spared_minutes for row in outcome.rows) / len(outcome.rows),
        outages=sum(row.outages for row in outcome.rows),
        unseen=sum(row.missed for row in outcome.rows),
        false_downs=false_downs,
        watched_s=watched_s,
        simulated_checks=outcome.simulated_checks,
        transitions=outcome.transitions,
        wall_s=outcome.wall_s,
    )


def given_up(setting: Setting, ground: Ground, why: str) -> Scored:
    """A setting that never comes to rest: as bad as can be."""
    worst = float("inf")
    return Scored(
        setting, None, None, None, None, None, None, None, worst, worst, worst, worst, 0, 0, 0,
        0.0, 0, 0, 0.0, why,
    )  # fmt: skip


def run_setting(ground: Ground, setting: Setting) -> Scored:
    """One setting in the common weather."""
    estate = build_estate(loaded_with(ground.loaded, setting))
    try:
        outcome = simulate(
            estate, ground.scenario, ground.weather, span_ms=ground.span_ms, seed=ground.seed, turns_max=TURNS_MAX
        )
    except TooMany:
        return given_up(setting, ground, f"more than {TURNS_MAX:,} changes of state")
    return score(setting, outcome, ground)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C counts at the end of this.

    Python's fork calls handlers in which a KeyboardInterrupt is printed and lost; and the signal may have been taken by a thread
    of some library, so that blocking it in this one would not do.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def serve(ground: Ground, asked: Connection, asking: Connection) -> None:
    """A process of a sweep: a setting comes, its score goes, one at a time, until None comes or nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter, which ends the others
    asking.close()  # the other end, a copy that would keep it from seeing that whoever asks is gone
    with suppress(EOFError, BrokenPipeError):
        while (setting := asked.recv()) is not None:
            try:
                asked.send(run_setting(ground, setting))
            except Exception as error:  # is raised where it can be told
                asked.send(error)


def sweep(ground: Ground, settings: Sequence[Setting], processes: int | None = None) -> Generator[Scored, None, None]:
    """Scores as they come. Closing it, or an exception in whoever reads it, ends the processes.

    Raises StartError where a process is ended from outside, and what a run raises.

    Not multiprocessing's Pool: its threads and locks leave it hanging now and then when it is ended in the middle.
    """
    context = multiprocessing.get_context("fork")
    left = iter(settings)
    workers: dict[Connection, BaseProcess] = {}
    try:
        with interrupts_wait():
            for setting in islice(left, processes or len(os.sched_getaffinity(0))):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(ground, theirs, ours), daemon=True)
                process.start()
                theirs.close()
                workers[ours] = process
                ours.send(setting)
        while workers:
            for ready in wait(list(workers)):
                assert isinstance(ready, Connection)
                try:
                    one = ready.recv()
                except EOFError as error:
                    raise StartError(
                        "a process of the sweep was ended from outside, perhaps for want of memory"
                    ) from error
                if isinstance(one, Exception):
                    raise one
                following = next(left, None)
                ready.send(following)
                if following is None:
                    workers.pop(ready).join()
                yield one
    finally:
        for worker in workers.values():
            worker.kill()
            worker.join()
