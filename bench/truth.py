"""Detection times: do risefall, the real HAProxy 2.6 and the simulator draw from one distribution?

For 12 configurations x 6 faults. `risefall bench --against haproxy` breaks many servers of one configuration, each by a fault that
its seed draws, so that one run has every fault of a configuration in it; it lasts as long as the slowest detection needs, and only
the first failure of each server counts: what was still going on at the end would be missing among the slow ones. A two-sample
Kolmogorov-Smirnov test says whether detection times may come from one distribution. Each configuration is run twice, with two
seeds: risefall's failures of one are compared with HAProxy's of the other, since those of one seed come at the same moments, and
the test wants independent samples. HAProxy is compared with itself too: so often does the test reject what is the same. The
simulator's are compared with HAProxy's of both.

    python bench/truth.py --keep truth.jsonl             all of it, some 20 minutes; goes on where an earlier run ended
    python bench/truth.py --keep truth.jsonl --most 1    the next configuration only, about a minute
    python bench/truth.py --quick                        one configuration, one fault, a few seconds: shows that it works
    python bench/truth.py --draw docs/truth.png truth.jsonl    a picture of what was kept
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import BenchError, environment, refuse
from risefall.cli.loading import load_text

FAULTS = ("refuse", "deaf", "reset", "silent", "error", "half")
TCP_FAULTS = ("refuse", "deaf")
ALPHA = 0.01
OTHER_SEED = 1000
SIMULATED = 40
"""Servers of a simulated run."""
KEPT = 400
"""Values of a column that `--json` tells, evenly over its quantiles."""
TIMEOUTS = "timeout connect 400ms\n"
HTTP = "option httpchk GET /health\nhttp-check expect status 200\n"
CONFIGS = {
    "http 1s 2/3": (HTTP, "inter 1s rise 2 fall 3"),
    "http fast": (HTTP, "inter 1s fastinter 200ms rise 2 fall 3"),
    "http fall 1": (HTTP, "inter 1s rise 2 fall 1"),
    "http fall 5": (HTTP, "inter 500ms rise 2 fall 5"),
    "http 2s": (HTTP, "inter 2s fastinter 500ms downinter 1s rise 3 fall 2"),
    "http slow down": (HTTP, "inter 500ms downinter 2s rise 1 fall 2"),
    "http string": ('option httpchk\nhttp-check expect string "all is well"\n', "inter 800ms fastinter 300ms rise 2 fall 2"),
    "http check timeout": (HTTP + "timeout check 1500ms\n", "inter 1s fastinter 300ms rise 2 fall 2"),
    "redis": ("option redis-check\n", "inter 700ms rise 2 fall 2"),
    "tcp-check": ("option tcp-check\ntcp-check send PING\\r\\n\ntcp-check expect string +PONG\n", "inter 1s fastinter 300ms rise 2 fall 3"),
    "tcp": ("", "inter 600ms fastinter 200ms rise 2 fall 3"),
    "smtp": ("option smtpchk HELO localhost\n", "inter 1s rise 2 fall 2"),
}  # fmt: skip
"""No `timeout check` that is shorter than the connect deadline: 2.6 enforces those late (trap 7 of the specification)."""


class Cell(msgspec.Struct, frozen=True):
    """One configuration and one fault. p_*: of the two-sample test against haproxy; None where there was no sample."""

    config: str
    fault: str
    samples: dict[str, int]
    median_s: dict[str, float]
    p_risefall: float | None
    p_simulated: float | None
    p_itself: float | None
    detection_s: dict[str, list[float]]

    @property
    def agrees(self) -> bool:
        return all(p is None or p >= ALPHA for p in (self.p_risefall, self.p_simulated))


def ks_2samp(one: Sequence[float], other: Sequence[float]) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov test (Smirnov's asymptotic series, with Stephens' correction)."""
    first, second = sorted(one), sorted(other)
    n, m = len(first), len(second)
    i = j = 0
    most = 0.0
    while i < n and j < m:
        at = min(first[i], second[j])
        while i < n and first[i] <= at:
            i += 1
        while j < m and second[j] <= at:
            j += 1
        most = max(most, abs(i / n - j / m))
    root = math.sqrt(n * m / (n + m))
    x = (root + 0.12 + 0.11 / root) * most
    if x < 0.2:
        return 1.0
    total = sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def config_of(name: str, servers: int) -> str:
    lines, words = CONFIGS[name]
    text = "".join(f"    {line}\n" for line in (TIMEOUTS + lines).splitlines())
    listed = "".join(f"    server s{n} 192.0.2.{n % 250 + 1}:80 check {words}\n" for n in range(servers))
    return f"backend b\n{text}{listed}"


def faults_of(config: str) -> tuple[str, ...]:
    return TCP_FAULTS if config == "tcp" else FAULTS


def span_s(path: Path) -> float:
    """The longest sound time before a first failure (`trial/running.py`), and the longest time to find one; and a second."""
    planned = load_text(str(path), path.read_text(), {}, "2.6").planned[0]
    reply_ms = (planned.timeout_connect_ms or 0) + max(planned.timeout_check_ms or 0, planned.inter_ms)
    pace_ms = max(planned.inter_ms, planned.fastinter_ms or 0)
    return 1 + (3.5 * planned.inter_ms + planned.fall * (reply_ms + pace_ms)) / 1000


def detections(path: Path, faults: Sequence[str], seed: int) -> dict[str, dict[str, list[float]]]:
    """By program and fault: detection times of the first failure of each server. Raises BenchError when the bench did not run."""
    words = ["bench", "-f", str(path), "--as", "2.6", "--against", "haproxy", "--faults", ",".join(faults)]
    done = subprocess.run(
        [sys.executable, "-m", "risefall", *words, "--for", f"{span_s(path) * 1000:.0f}ms", "--seed", str(seed), "--json"],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"risefall bench ended with {done.returncode}: {done.stderr.strip()}")
    found: dict[str, dict[str, list[float]]] = {
        name: {fault: [] for fault in faults} for name in ("risefall", "haproxy")
    }
    seen = set()
    for line in done.stdout.splitlines():
        one = json.loads(line)
        if one["event"] == "failure" and (one["program"], one["server"]) not in seen:
            seen.add((one["program"], one["server"]))
            found[one["program"].split()[0]][one["fault"]] += one["detection_s"]
    return found


SCENARIO = """
balancers = 1
[network]
loss = 0.0
trip = {{ shape = "constant", median = 0.03 }}
[reply]
shape = "constant"
median = 0.1
[[event]]
kind = "{kind}"
every = "5m"
lasts = "1m"
steady = true
"""
"""A quiet loopback on which a server fails now and then, at any phase of its checks."""
KINDS = {"refuse": "crash", "deaf": "host", "silent": "hang", "reset": "wrong", "error": "wrong", "half": "wrong"}
"""The simulator's word for a fault. A reset or an answer that is cut comes as soon as a wrong answer."""


WAITS = ("redis", "tcp-check")
"""Configurations that take the bench's wrong answer for the beginning of one, and wait for the rest."""


def simulated(config: str, fault: str, folder: Path) -> list[float]:
    """Detection times of `risefall simulate`. Raises BenchError when it did not run."""
    kind = "hang" if fault == "error" and config in WAITS else KINDS[fault]
    path, scenario = folder / "simulated.cfg", folder / "simulated.toml"
    path.write_text(config_of(config, SIMULATED))
    scenario.write_text(SCENARIO.format(kind=kind))
    words = ["simulate", "-f", str(path), "--as", "2.6", "--scenario", str(scenario), "--span", "6h", "--detections"]
    done = subprocess.run(
        [sys.executable, "-m", "risefall", *words, "--json"],
        capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"risefall simulate ended with {done.returncode}: {done.stderr.strip()}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [value for line in lines for value in line.get("detection_s", ())]


def cells_of(config: str, faults: Sequence[str], each: int, seed: int) -> list[Cell]:
    """The cells of one configuration. each: servers that meet the same fault, on average."""
    with tempfile.TemporaryDirectory(prefix="risefall-truth-") as name:
        path = Path(name) / "truth.cfg"
        path.write_text(config_of(config, each * len(faults)))
        one, other = detections(path, faults, seed), detections(path, faults, seed + OTHER_SEED)
        return [
            cell(
                config,
                fault,
                one["risefall"][fault],
                one["haproxy"][fault],
                other["haproxy"][fault],
                simulated(config, fault, Path(name)),
            )
            for fault in faults
        ]


def cell(
    config: str,
    fault: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    other: Sequence[float],
    computed: Sequence[float],
) -> Cell:
    """ours, theirs: of one seed; other: HAProxy's of another."""

    def p(of: Sequence[float], against: Sequence[float]) -> float | None:
        return ks_2samp(of, against) if of and against else None

    found = {"risefall": ours, "haproxy": [*theirs, *other], "simulated": computed}
    return Cell(
        config,
        fault,
        {name: len(values) for name, values in found.items()},
        {name: sorted(values)[len(values) // 2] for name, values in found.items() if values},
        p(ours, other),
        p(computed, found["haproxy"]),
        p(theirs, other),
        {
            name: [round(value, 4) for value in sorted(values)[:: max(1, len(values) // KEPT)]]
            for name, values in found.items()
        },
    )


def kept(path: str) -> list[Cell]:
    """What a file holds so far; a line that was cut short counts for nothing."""
    cells = []
    for line in Path(path).read_bytes().splitlines() if path and Path(path).exists() else []:
        with suppress(msgspec.DecodeError):
            cells.append(msgspec.json.decode(line, type=Cell))
    return cells


def show(cells: Sequence[Cell]) -> Table:
    table = Table(
        "configuration",
        "fault",
        "failures",
        "median risefall",
        "haproxy",
        "simulated",
        "p",
        "p simulated",
        "p itself",
        box=None,
    )
    for one in cells:
        medians = [
            f"{one.median_s[name]:.3f}" if name in one.median_s else "-"
            for name in ("risefall", "haproxy", "simulated")
        ]
        ps = ["-" if p is None else f"{p:.3f}" for p in (one.p_risefall, one.p_simulated, one.p_itself)]
        style = "" if one.agrees else "red"
        table.add_row(one.config, one.fault, "/".join(map(str, one.samples.values())), *medians, *ps, style=style)
    return table


def draw(cells: Sequence[Cell], path: str) -> None:
    """The share of failures that were found within a time, a curve for each program; a row a configuration, a column a fault."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    configs = [name for name in CONFIGS if any(one.config == name for one in cells)]
    figure = Figure(figsize=(2.5 * len(FAULTS), 1.75 * len(configs) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    fields = figure.subplots(len(configs), len(FAULTS), squeeze=False)
    for field in fields.flat:
        field.set_axis_off()
    for one in cells:
        field = fields[configs.index(one.config)][FAULTS.index(one.fault)]
        field.set_axis_on()
        for name, style, width in (
            ("haproxy", "#d9534f", 2.6),
            ("risefall", "#1f5fa8", 1.3),
            ("simulated", "#222222", 1.0),
        ):
            values = sorted(one.detection_s.get(name, []))
            if values:
                shares = [(place + 1) / len(values) for place in range(len(values))]
                dashes = "--" if name == "simulated" else "-"
                field.step(values, shares, where="post", color=style, linestyle=dashes, linewidth=width, label=name)
        p = "-" if one.p_simulated is None else f"{one.p_simulated:.2f}"
        field.set_title(
            f"{one.config}, {one.fault}: p {p}", fontsize="x-small", color="#222222" if one.agrees else "red"
        )
        field.set_xlim(left=0)
        field.tick_params(labelsize="x-small")
    figure.legend(*fields.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize="small")
    figure.supxlabel("seconds from the failure to DOWN", fontsize="small")
    figure.supylabel("share of failures", fontsize="small")
    figure.savefig(path, dpi=90)


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0; 1 when more cells disagree than chance explains; 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one configuration, one fault, a few seconds")
    parser.add_argument("--configs", default="", help=f"by comma, of {', '.join(CONFIGS)}")
    parser.add_argument("--faults", default="", help=f"by comma, of {', '.join(FAULTS)}")
    parser.add_argument("--each", type=int, default=100, help="servers for each fault, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FILE", default="", help="adds cells to it, and leaves out those that it has")
    parser.add_argument("--most", type=int, default=len(CONFIGS), help="at most so many configurations now")
    parser.add_argument("--json", action="store_true", help="one object a cell in place of the table")
    parser.add_argument("--draw", metavar="FILE.png", default="", help="draw the cells of these files")
    parser.add_argument("files", nargs="*", help="with --draw: what --keep or --json has written")
    options = parser.parse_args(argv)
    if options.draw:
        draw([one for name in options.files for one in kept(name)], options.draw)
        return 0
    configs = options.configs.split(",") if options.configs else ["redis"] if options.quick else list(CONFIGS)
    wanted = options.faults.split(",") if options.faults else ["refuse"] if options.quick else list(FAULTS)
    each = 10 if options.quick else options.each
    errors = Console(stderr=True)
    cells = kept(options.keep)
    have = {(one.config, one.fault) for one in cells}
    left = options.most
    try:
        for config in configs:
            faults = [one for one in wanted if one in faults_of(config) and (config, one) not in have]
            if not faults or left == 0:
                continue
            left -= 1
            made = cells_of(config, faults, each, options.seed)
            cells += made
            if options.keep:
                with Path(options.keep).open("ab") as file:
                    file.write(msgspec.json.Encoder().encode_lines(made))
            for one in made:
                errors.print(
                    f"{one.config}, {one.fault}: p = {one.p_risefall}, simulated {one.p_simulated}", highlight=False
                )
    except BenchError as error:
        return refuse(error)
    except KeyboardInterrupt:
        errors.print("interrupted: what is done so far", highlight=False)
    if options.json:
        sys.stdout.write(msgspec.json.Encoder().encode_lines(cells).decode())
    else:
        Console().print(show(cells))
    disagree = sum(not one.agrees for one in cells)
    allowed = math.ceil(3 * ALPHA * len(cells))
    errors.print(f"{len(cells)} cells, {disagree} disagree at {ALPHA:g} (chance explains {allowed})", highlight=False)
    return 1 if disagree > allowed else 0


if __name__ == "__main__":
    sys.exit(main())
