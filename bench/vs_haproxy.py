"""HAProxy and risefall side by side: CPU per check, most checks a second of one core, memory per server.

Both check the same servers from the same configuration against the same responder, one after the other, round by
round; the order changes with each round. A ratio is taken within a round, so that a machine that slows down slows
down both. A round in which the responder was busy for more than 90 % of the time measures the responder: it is
void, and repeated. Before any figure is taken both must find every server DOWN once the responder answers 503.

    python bench/vs_haproxy.py                 all three measures, five rounds: about ten minutes
    python bench/vs_haproxy.py --quick         few servers, one short round: shows that it works
    python bench/vs_haproxy.py --only haproxy  one side alone, no ratios
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import PROGRAMS, BenchError, Checker, Responder, config_text, refuse, wait_until
from risefall.engine.play import Act, Then, http_reply

GOOD = Act(http_reply(200, "OK"), then=Then.STAY)
BAD = Act(http_reply(503, "Service Unavailable"), then=Then.STAY)
BUSY_MAX = 0.90
VOID_MAX = 3
SETTLE_S = 2.0


class Sizes(msgspec.Struct, frozen=True):
    """How much is measured. window_s: seconds of one measurement; memory_inter_s: `inter` while memory is measured."""

    rounds: int
    window_s: float
    paced: int
    flood: int
    small: int
    large: int
    memory_inter_s: int


FULL = Sizes(rounds=5, window_s=10.0, paced=5000, flood=15000, small=1000, large=15000, memory_inter_s=5)
QUICK = Sizes(rounds=1, window_s=2.0, paced=500, flood=2000, small=200, large=1000, memory_inter_s=1)


class Sample(msgspec.Struct, frozen=True):
    """One program in one round. value is what the measure is about, in its unit."""

    program: str
    round: int
    value: float
    checks_per_s: float = 0.0
    cpu_share: float = 0.0
    responder_busy: float = 0.0


class Measure(msgspec.Struct, frozen=True):
    """One measure over all rounds. ratios: risefall to haproxy, round by round; empty when only one was run."""

    name: str
    unit: str
    goal: str
    samples: list[Sample]
    ratios: list[float]
    void_rounds: int = 0


def _all_show(checker: Checker, status: str, servers: int) -> bool:
    return checker.statuses()[status] == servers


class Bench:
    """Holds what the measures need: the responder, the sizes, the cores, whom to measure."""

    def __init__(
        self, responder: Responder, sizes: Sizes, programs: Sequence[str], cpu: int, say: Callable[[str], None]
    ):
        self.responder, self.sizes, self.programs, self.cpu, self.say = responder, sizes, programs, cpu, say

    def checker(self, program: str, servers: int, words: str) -> Checker:
        """Starts a program on <servers> servers."""

        def config(path: Path) -> str:
            return config_text(servers, self.responder.places, words, socket_path=path)

        return Checker(program, config, self.cpu)

    def order(self, number: int) -> Sequence[str]:
        """Who goes first changes with the round."""
        return self.programs if number % 2 == 0 else self.programs[::-1]

    def show_that_both_check(self) -> None:
        """Raises: BenchError when a program does not find every server DOWN within fall x inter + 2 s."""
        servers, limit_s = self.sizes.paced, 3 * 1 + 2
        for program in self.programs:
            self.responder.script(GOOD)
            with self.checker(program, servers, "check inter 1s") as checker:
                wait_until(f"{program}: every server UP", partial(_all_show, checker, "UP", servers), 30)
                self.responder.script(BAD)
                down = partial(_all_show, checker, "DOWN", servers)
                took = wait_until(f"{program}: every server DOWN", down, limit_s + 1)
                if took > limit_s:
                    raise BenchError(f"{program} found every server DOWN only after {took:.1f} s")
                self.say(f"{program}: {servers} servers UP, and DOWN {took:.1f} s after the responder turned to 503")
        self.responder.script(GOOD)

    def window(self, checker: Checker, number: int) -> tuple[Sample, float]:
        """Measures a settled checker for one window. Returns: a sample without value, and CPU microseconds a check."""
        self.responder.busy()
        requests, cpu_s, start = self.responder.counts().requests, checker.cpu_s(), time.monotonic()
        time.sleep(self.sizes.window_s)
        done = self.responder.counts().requests - requests
        used_s, wall_s = checker.cpu_s() - cpu_s, time.monotonic() - start
        busy = self.responder.busy().share
        if done == 0:
            raise BenchError(f"{checker.program} made no check in {wall_s:.1f} s")
        sample = Sample(checker.program, number, 0.0, done / wall_s, used_s / wall_s, busy)
        return sample, used_s / done * 1e6

    def wait_checks(self, program: str, checks: int) -> None:
        """Waits until so many more checks were answered."""
        before = self.responder.counts().requests
        wait_until(f"{program}: {checks} checks", lambda: self.responder.counts().requests - before >= checks, 120)

    def settled(self, program: str, number: int, servers: int, words: str) -> tuple[Sample, float]:
        """Starts a program, waits until every server was checked at least once and a little longer, measures."""
        with self.checker(program, servers, words) as checker:
            self.wait_checks(program, servers)
            time.sleep(SETTLE_S)
            return self.window(checker, number)

    def paced(self, program: str, number: int) -> Sample:
        """CPU microseconds a check, as many checks a second as there are servers."""
        sample, cpu_us = self.settled(program, number, self.sizes.paced, "check inter 1s")
        if sample.checks_per_s < 0.95 * self.sizes.paced:
            raise BenchError(f"{program} kept up with {sample.checks_per_s:.0f} of {self.sizes.paced} checks a second")
        return msgspec.structs.replace(sample, value=cpu_us)

    def flood(self, program: str, number: int) -> Sample:
        """Checks a second with far more offered than one core can do."""
        sample, _ = self.settled(program, number, self.sizes.flood, "check inter 200ms")
        return msgspec.structs.replace(sample, value=sample.checks_per_s)

    def memory(self, program: str, number: int) -> Sample:
        """Bytes a server: growth of the proportional set size from the small to the large number of servers."""
        sizes: list[int] = []
        for servers in (self.sizes.small, self.sizes.large):
            with self.checker(program, servers, f"check inter {self.sizes.memory_inter_s}s") as checker:
                self.wait_checks(program, 2 * servers)
                sizes.append(checker.memory_bytes())
        return Sample(program, number, (sizes[1] - sizes[0]) / (self.sizes.large - self.sizes.small))

    def measure(self, name: str, unit: str, goal: str, take: Callable[[str, int], Sample]) -> Measure:
        """Runs all rounds of one measure; void rounds are repeated, at most VOID_MAX of them."""
        samples: list[Sample] = []
        ratios: list[float] = []
        void = number = 0
        while number < self.sizes.rounds:
            both = {program: take(program, number) for program in self.order(number)}
            if any(sample.responder_busy > BUSY_MAX for sample in both.values()):
                void += 1
                self.say(f"{name}: round {number + 1} is void, the responder was too busy")
                if void > VOID_MAX:
                    raise BenchError(f"{name}: the responder is too slow for this machine")
                continue
            samples += [both[program] for program in self.programs]
            if len(both) == len(PROGRAMS):
                ratios.append(both["risefall"].value / both["haproxy"].value)
            told = ", ".join(f"{p} {both[p].value:.1f} {unit}" for p in self.programs)
            self.say(f"{name}: round {number + 1}: {told}" + (f", ratio {ratios[-1]:.2f}" if ratios else ""))
            number += 1
        return Measure(name, unit, goal, samples, ratios, void)

    def all(self, names: Sequence[str]) -> list[Measure]:
        """Every measure asked for."""
        sizes = self.sizes
        known: dict[str, tuple[str, str, str, Callable[[str, int], Sample]]] = {
            "cpu": (f"CPU per httpchk check, {sizes.paced} servers inter 1s", "us", "<= 0.75", self.paced),
            "rate": (f"most checks of one core, {sizes.flood} servers inter 200ms", "checks/s", ">= 1.5", self.flood),
            "memory": (f"memory per server, {sizes.small} to {sizes.large}", "bytes", "<= 0.35", self.memory),
        }
        return [self.measure(*known[name]) for name in names]


def render(measures: Sequence[Measure], programs: Sequence[str]) -> Table:
    """Medians and spreads as a table."""
    table = Table("measure", *programs, "ratio", "spread", "goal")
    for measure in measures:
        cells = []
        for program in programs:
            values = [sample.value for sample in measure.samples if sample.program == program]
            cells.append(f"{statistics.median(values):,.1f} {measure.unit}\n({min(values):,.1f} .. {max(values):,.1f})")
        ratio = f"{statistics.median(measure.ratios):.2f}" if measure.ratios else ""
        spread = f"{min(measure.ratios):.2f} .. {max(measure.ratios):.2f}" if measure.ratios else ""
        table.add_row(measure.name, *cells, ratio, spread, measure.goal)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """See the head of this file. Exit code: 0, or 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PROGRAMS, help="measure one side alone")
    parser.add_argument("--measures", default="cpu,rate,memory", help="which of them, by comma")
    parser.add_argument("--quick", action="store_true", help="few servers, one short round")
    parser.add_argument("--json", action="store_true", help="one object a measure in place of the table")
    parser.add_argument("--cpu", type=int, default=0, help="core of the checker")
    parser.add_argument("--responder-cpu", type=int, default=1, help="core of the responder")
    for field in Sizes.__struct_fields__:
        kind = float if field == "window_s" else int
        parser.add_argument(f"--{field.replace('_', '-')}", type=kind, help=f"default {getattr(FULL, field)}")
    options = parser.parse_args(argv)
    given = {field: value for field in Sizes.__struct_fields__ if (value := getattr(options, field)) is not None}
    sizes = msgspec.structs.replace(QUICK if options.quick else FULL, **given)
    programs = [options.only] if options.only else list(PROGRAMS)
    errors = Console(stderr=True)
    try:
        with Responder(8, options.responder_cpu) as responder:
            bench = Bench(
                responder, sizes, programs, options.cpu, partial(errors.print, highlight=False, soft_wrap=True)
            )
            bench.show_that_both_check()
            measures = bench.all(options.measures.split(","))
    except BenchError as error:
        return refuse(error)
    if options.json:
        for measure in measures:
            sys.stdout.write(msgspec.json.encode(measure).decode() + "\n")
    else:
        Console().print(render(measures, programs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
