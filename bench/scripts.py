"""CPU per run of 300 vrrp_scripts `interval 1` in the evaluator, beside a bare C loop that starts as many.

Both run /bin/true on one core and in turn, round by round; the price is the CPU of the process and of what it started, divided by the
runs that counted. The loop is that of check_kinds.py: vfork, exec, wait, at the same pace.

    python bench/scripts.py            five rounds of 10 s each
    python bench/scripts.py --quick    one short round: shows that it works
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from check_kinds import loop_us
from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.daemon.scripts import Scripts
from risefall.evaluator.runner import Runner

GOAL = 1.2
WARM_S = 3.0
START_DEADLINE_S = 60


def cpu_s() -> float:
    """Of this process and of what it has started and reaped."""
    told = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in told)


def running(scripts: Scripts) -> Runner:
    """Who runs them, once they are running."""
    assert scripts.runner is not None
    return scripts.runner


async def evaluated(count: int, window_s: float) -> dict[str, float]:
    """In a process of its own: runs in the window, and CPU microseconds a run."""
    text = "".join(f'vrrp_script s{number} {{\n  script "/bin/true"\n  interval 1\n}}\n' for number in range(count))
    scripts = Scripts(read(Source("bench", text)), (), lambda line: None, env={})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scripts.run)
        await trio.sleep(WARM_S)
        used, runs = cpu_s(), running(scripts).statistics()["runs"]
        await trio.sleep(window_s)
        used, runs = cpu_s() - used, running(scripts).statistics()["runs"] - runs
        good = sum(one.script.good for one in running(scripts).jobs.values())
        nursery.cancel_scope.cancel()
    if good != count:
        raise SystemExit(f"{count - good} scripts are not good: the runs do not what they should")
    return {"runs": runs, "us": used / runs * 1e6}


def one_round(count: int, window_s: float, cpu: int, folder: Path) -> tuple[float, float]:
    """CPU microseconds a run: evaluator, loop."""
    words = [sys.executable, __file__, "--child", str(count), "--window-s", str(window_s)]
    ran = subprocess.run(
        ["taskset", "-c", str(cpu), *words], check=True, capture_output=True, timeout=START_DEADLINE_S + window_s
    )
    told = json.loads(ran.stdout)
    if told["runs"] < count * (window_s - 1):
        raise SystemExit(f"only {told['runs']} runs in {window_s} s: the evaluator does not keep its pace")
    return float(told["us"]), loop_us(folder, int(count * window_s), cpu, count)


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, or 1 when the goal was missed, except with --quick."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window-s", type=float, default=10.0)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(trio.run(evaluated, options.child, options.window_s)))
        return 0
    rounds, window_s = (1, 2.0) if options.quick else (options.rounds, options.window_s)
    cpu = options.cpu if options.cpu < (os.cpu_count() or 1) else 0
    with tempfile.TemporaryDirectory(prefix="risefall-bench-") as name:
        taken = [one_round(options.scripts, window_s, cpu, Path(name)) for _ in range(rounds)]
    ratios = [ours / bare for ours, bare in taken]
    table = Table("figure", "evaluator", "loop in C", "ratio", "spread", "goal")
    figures = [f"{statistics.median(column):.0f} us" for column in zip(*taken, strict=True)]
    ratio = statistics.median(ratios)
    table.add_row(
        f"CPU per run, {options.scripts} scripts",
        *figures,
        f"{ratio:.2f}",
        f"{min(ratios):.2f} .. {max(ratios):.2f}",
        f"<= {GOAL}",
    )
    Console().print(table)
    return 0 if ratio <= GOAL or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
