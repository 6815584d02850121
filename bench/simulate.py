"""Checks in virtual time: how many a second of one core, what the same model costs in plain Python, and a sweep.

    python bench/simulate.py            five rounds of 20 servers, and 200 settings of a month
    python bench/simulate.py --quick    small: shows that it works

The plain model draws the same things from Python's own generator: latencies by quantile, losses, the counter, the pace; quiet
stretches only, since that is where the time goes. Both are timed by the CPU of their process.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import sys
import time
from collections.abc import Sequence
from random import Random

from rich.console import Console

from risefall.cli.loading import load_text
from risefall.sim.grid import parse_sweep
from risefall.sim.latency import levels
from risefall.sim.runs import build_estate, build_simulation
from risefall.sim.scenario import DAY_MS, DEFAULT
from risefall.sim.sweep import Ground, sweep
from risefall.sim.weather import make_weather

GOAL_PER_S = 10_000_000
SWEEP_GOAL_S = 120.0
SWEEP = "inter=1s..10s,fall=2..5,timeout_check=500ms|750ms|1s|2s|3s"
SERVERS = 20


def config(words: str) -> str:
    lines = "\n".join(f"  server s{n} 192.0.2.{n + 1}:80 check {words}" for n in range(SERVERS))
    return f"defaults\n  timeout check 1s\nbackend app\n  option httpchk\n{lines}\n"


def native(days: int, seed: int) -> tuple[int, float]:
    """Checks, and seconds of CPU that the core took: faults and all, without the making of weather and answers."""
    estate = build_estate(load_text("bench.cfg", config("inter 1s"), {}, "2.6"))
    span_ms = days * DAY_MS
    sim, _ = build_simulation(estate, DEFAULT, make_weather(DEFAULT, SERVERS, span_ms, seed), seed)
    with sim:
        started = time.process_time()
        while sim.now_ms < span_ms:
            sim.run(span_ms)
        return sim.checks, time.process_time() - started


def plain_python(hours: int, seed: int) -> tuple[int, float]:
    """The same of quiet checks in plain Python: a heap of timers, three draws, quantiles, the counter, the pace."""
    luck = Random(seed)
    trip, reply = levels(DEFAULT.network.trip)[0], levels(DEFAULT.reply)[0]
    loss, rise, full, inter_ms, limit_us = DEFAULT.network.loss, 2, 4, 1000, 1_000_000
    span_ms = hours * 3_600_000
    health = [full] * SERVERS * DEFAULT.balancers
    heap = [(int(luck.random() * inter_ms), path) for path in range(len(health))]
    heapq.heapify(heap)
    checks = 0
    started = time.process_time()
    while heap[0][0] < span_ms:
        due_ms, path = heap[0]
        lost = luck.random() < loss or luck.random() < loss
        took_us = trip[int(luck.random() * 1024)] + reply[int(luck.random() * 1024)]
        if lost or took_us > limit_us:
            took_us = limit_us
            health[path] = 0 if health[path] - 1 < rise else health[path] - 1
        else:
            health[path] = full if health[path] + 1 >= rise else health[path] + 1
        heapq.heapreplace(heap, (due_ms + -(-took_us // 1000) + inter_ms, path))
        checks += 1
    return checks, time.process_time() - started


def a_sweep(days: int, text: str) -> tuple[int, int, float]:
    """Settings, checks, and seconds of wall time on all cores."""
    loaded = load_text("bench.cfg", config(""), {}, "2.6")
    span_ms = days * DAY_MS
    started = time.perf_counter()
    ground = Ground(loaded, DEFAULT, make_weather(DEFAULT, SERVERS, span_ms, 1), span_ms, 1)
    scored = list(sweep(ground, parse_sweep(text)))
    return len(scored), sum(one.simulated_checks for one in scored), time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-sweep", action="store_true", help="only the core and plain Python")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args(argv)
    rounds, days, hours = (1, 1, 1) if options.quick else (options.rounds, 30, 12)
    fast, plain, ratio = [], [], []
    for seed in range(1, rounds + 1):
        checks, cpu_s = native(days, seed)
        fast.append(checks / cpu_s)
        checks, cpu_s = plain_python(hours, seed)
        plain.append(checks / cpu_s)
        ratio.append(fast[-1] / plain[-1])
    result: dict[str, object] = {
        "checks_per_s": {"median": statistics.median(fast), "least": min(fast), "most": max(fast)},
        "plain_python_per_s": statistics.median(plain),
        "ratio": {"median": statistics.median(ratio), "least": min(ratio), "most": max(ratio)},
    }
    met = statistics.median(fast) >= GOAL_PER_S
    if not options.no_sweep:
        settings, checks, wall_s = a_sweep(1 if options.quick else 30, "inter=1s..2s" if options.quick else SWEEP)
        result["sweep"] = {"settings": settings, "checks": checks, "wall_s": wall_s}
        met &= wall_s <= SWEEP_GOAL_S
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return 0 if met else 1
    show = Console(highlight=False)
    show.print(
        f"one core: {statistics.median(fast) / 1e6:.1f} million checks a second ({min(fast) / 1e6:.1f} .. {max(fast) / 1e6:.1f}), "
        f"goal {GOAL_PER_S / 1e6:.0f}; plain Python {statistics.median(plain) / 1e6:.2f} million: "
        f"{statistics.median(ratio):.0f} x ({min(ratio):.0f} .. {max(ratio):.0f})"
    )
    if "sweep" in result:
        show.print(
            f"sweep: {settings} settings, {checks / 1e9:.2f} G checks, {wall_s:.1f} s, goal {SWEEP_GOAL_S:.0f} s"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
