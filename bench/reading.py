"""Reading a configuration of 100,000 servers: `risefall plan --no-resolve` beside `haproxy -c`.

Both run as the operator runs them, in turns; the ratio is taken round by round. `plan` reads, checks and prints a
line for every server, of which `haproxy -c` prints none. Goal: at most twice haproxy's time.

    python bench/reading.py            100,000 servers, five rounds
    python bench/reading.py --quick    5,000 servers, one round
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchlib import BenchError, config_text, environment, refuse

GOAL = 2.0


class Reading(msgspec.Struct, frozen=True):
    """Seconds of each round, and risefall's to haproxy's."""

    servers: int
    haproxy_s: list[float]
    risefall_s: list[float]
    ratios: list[float]


def seconds(argv: Sequence[str]) -> float:
    """Wall time of one command, output thrown away. Raises: BenchError when it fails."""
    start = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), check=False)
    if done.returncode != 0:
        raise BenchError(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-1000:]}")
    return time.monotonic() - start


def measure(servers: int, rounds: int, cpu: int) -> Reading:
    """Both in turns on one file."""
    os.sched_setaffinity(0, {cpu})
    haproxy = shutil.which("haproxy")
    if not haproxy:
        raise BenchError("haproxy is not installed here")
    with tempfile.TemporaryDirectory(prefix="risefall-bench-") as folder:
        path = Path(folder) / "bench.cfg"
        places = [(f"10.{i // 250 % 250}.{i % 250}.1", 80) for i in range(5000)]
        path.write_text(config_text(servers, places, "check inter 20s", socket_path=Path(folder) / "sock"))
        plan = [sys.executable, "-m", "risefall", "plan", "-f", str(path), "--no-resolve", "--as", "2.6", "--json"]
        found = [(seconds([haproxy, "-c", "-f", str(path)]), seconds(plan)) for _ in range(rounds)]
    theirs, ours = [pair[0] for pair in found], [pair[1] for pair in found]
    return Reading(servers, theirs, ours, [b / a for a, b in found])


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, 1 when the goal was missed, 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu", type=int, default=0)
    options = parser.parse_args(argv)
    servers = options.servers or (5000 if options.quick else 100_000)
    try:
        found = measure(servers, options.rounds or (1 if options.quick else 5), options.cpu)
    except BenchError as error:
        return refuse(error)
    ratio = statistics.median(found.ratios)
    if options.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        ours, theirs = statistics.median(found.risefall_s), statistics.median(found.haproxy_s)
        print(f"{servers} servers: haproxy -c {theirs:.2f} s, risefall plan {ours:.2f} s,", end=" ")
        print(f"ratio {ratio:.2f} ({min(found.ratios):.2f} .. {max(found.ratios):.2f})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
