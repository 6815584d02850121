"""A grid of settings, each run in the same weather, on all cores.

Processes are forked, so that the weather lies in memory once. Settings go out and scores come back one at a time, and a run
that turns again and again is given up: memory is bounded by the weather and by what one run may keep.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence

import msgspec

from risefall.config.haproxy.plan import Loaded
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


_ground: list[Ground] = []
"""Of a forked process."""


def _begin(ground: Ground) -> None:
    _ground[:] = [ground]


def _run(setting: Setting) -> Scored:
    return run_setting(_ground[0], setting)


def sweep(ground: Ground, settings: Sequence[Setting], processes: int | None = None) -> Iterator[Scored]:
    """Scores as they come. Closing it, or an exception in whoever reads it, ends the processes."""
    count = min(processes or len(os.sched_getaffinity(0)), len(settings))
    signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGINT]
    )  # is inherited: Ctrl-C is the parent's matter, which ends them
    try:
        pool = multiprocessing.get_context("fork").Pool(count, _begin, (ground,))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    with pool:
        yield from pool.imap_unordered(_run, settings)
