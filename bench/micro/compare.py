"""A run of bench/micro beside the stored baseline: the ratio of the medians, bench by bench.

pytest bench/micro --benchmark-json=run.json
python bench/micro/compare.py run.json [--fail 1.5]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

BASELINE = Path(__file__).parent / "baseline.json"


def medians(path: Path) -> dict[str, float]:
    """Seconds by name of bench."""
    return {one["name"]: float(one["stats"]["median"]) for one in json.loads(path.read_text())["benchmarks"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1: some bench is slower than the baseline by more than --fail; 2: nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a file of --benchmark-json or of --benchmark-save")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--fail", type=float, default=2.0, help="ratio from which it fails (default 2)")
    options = parser.parse_args(argv)
    try:
        before, after = medians(options.baseline), medians(options.run)
    except (OSError, KeyError, ValueError) as error:
        print(f"compare: no file of --benchmark-json: {error!r}", file=sys.stderr)
        return 2
    if not before.keys() & after.keys():
        print("compare: no bench is in both files", file=sys.stderr)
        return 2
    table = Table("bench", "baseline", "run", "ratio", box=None)
    worst = 0.0
    for name in before.keys() & after.keys():
        worst = max(worst, after[name] / before[name])
    for name in sorted(before.keys() & after.keys()):
        ratio = after[name] / before[name]
        table.add_row(
            escape(name), f"{before[name] * 1e6:,.1f} us", f"{after[name] * 1e6:,.1f} us", f"{ratio:.2f}",
            style="red" if ratio > options.fail else "",
        )  # fmt: skip
    Console().print(table)
    for name in sorted(before.keys() ^ after.keys()):
        print(f"only in one of them: {name}")
    return 1 if worst > options.fail else 0


if __name__ == "__main__":
    sys.exit(main())
