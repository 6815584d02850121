"""Whether hostile clients make the agent's answers to others later: p99 of connect to close, with them and without.

Two agents on one core, a client in C on the other (agent_client.c, at real-time priority), which asks both in turns of a
second, 1,000 times. Blocks without and with hostile clients alternate; these (hostile.py) share the client's core, are nice,
and go for the first agent alone. So three figures stand beside each other: the attacked agent, the same agent in quiet blocks,
and its neighbour while it is attacked, which is what the machine does to anybody then. A figure is the median of the turns'
p99, with their middle half, since what a hypervisor takes comes in bursts; ratios have the 95 % interval of a bootstrap over
the turns, and "moved" is a kind whose ratio to the quiet blocks has an interval above 1.

Everything runs in a network namespace made for it (root), where half-open floods have addresses that swallow all.

    python bench/agent_hostile.py            four blocks of each kind, some ten minutes (needs gcc)
    python bench/agent_hostile.py --quick    one turn of two of them
"""

from __future__ import annotations

import argparse
import array
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from agent_answers import FIFO, PACE, Client, agent, run_client
from benchlib import BenchError, stop
from hostile import HOST, KINDS

RESAMPLED = 1000
TURNS_MIN = 8
"""Of fewer turns an interval says nothing."""
INSIDE = "RISEFALL_BENCH_NAMESPACE"
LINKS = (
    "link set lo up",
    "link add d0 type veth peer name d1",
    "link set d1 up",
    f"addr add {HOST}/16 dev d0",
    "link set d0 arp off up",
)


class Turn(msgspec.Struct, frozen=True):
    """One second of the client: times in ns, and connections that were not answered."""

    times_ns: list[int]
    failed: int


class Ratio(msgspec.Struct, frozen=True):
    """low, high: of its 95 % interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} .. {self.high:.2f})"


class Case(msgspec.Struct):
    """All turns of a kind. neighbour: the agent that nobody attacks, in the blocks in which the other is."""

    quiet: list[Turn] = []
    attacked: list[Turn] = []
    neighbour: list[Turn] = []


def p99_ms(turn: Turn) -> float:
    return sorted(turn.times_ns)[len(turn.times_ns) * 99 // 100] / 1e6


def ratio_of(above: list[float], below: list[float]) -> Ratio:
    """Of the medians, with a bootstrap over the turns."""
    chance = random.Random(1)
    ratios = sorted(
        statistics.median(chance.choices(above, k=len(above))) / statistics.median(chance.choices(below, k=len(below)))
        for _ in range(RESAMPLED)
    )
    middle = statistics.median(above) / statistics.median(below)
    return Ratio(middle, ratios[RESAMPLED * 25 // 1000], ratios[RESAMPLED * 975 // 1000])


@contextlib.contextmanager
def hostile(kind: str, port: int, cpu: int) -> Iterator[None]:
    words = [
        "taskset",
        "-c",
        str(cpu),
        "nice",
        sys.executable,
        str(Path(__file__).with_name("hostile.py")),
        kind,
        str(port),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise BenchError(f"the {kind} clients did not begin")
        yield
        if process.poll() is not None:
            raise BenchError(f"the {kind} clients ended")
    finally:
        stop(process)


class Ground:
    """The two agents and the client."""

    def __init__(self, folder: Path, client: Client, attacked: tuple[int, int], neighbour: tuple[int, int]) -> None:
        self.folder = folder
        self.client = client
        self.attacked = attacked
        self.neighbour = neighbour

    def turn(self, of: tuple[int, int]) -> Turn:
        path = self.folder / "times"
        run = run_client(self.client, *of, PACE, 0, 1, path)
        times = array.array("Q")
        times.frombytes(path.read_bytes())
        return Turn(times.tolist(), run.failed)

    def case(self, kind: str, blocks: int, turns: int) -> Case:
        """Blocks without and with hostile clients of a kind."""
        case = Case()
        for _ in range(blocks):
            for _ in range(turns):
                case.quiet.append(self.turn(self.attacked))
                self.turn(self.neighbour)  # the same company as in the block to come
            with hostile(kind, self.attacked[1], self.client.cpu):
                for _ in range(turns):
                    case.attacked.append(self.turn(self.attacked))
                    case.neighbour.append(self.turn(self.neighbour))
        return case


def table_of(cases: dict[str, Case]) -> tuple[Table, list[str]]:
    """And the kinds that move others' p99."""
    table = Table(box=None)
    for column in ("hostile", "failed", "quiet ms", "attacked ms", "neighbour ms", "attacked / quiet", "/ neighbour"):
        table.add_column(column, justify="left" if column == "hostile" else "right")
    moved = []
    for kind, case in cases.items():
        quiet, attacked, neighbour = (
            [p99_ms(turn) for turn in turns] for turns in (case.quiet, case.attacked, case.neighbour)
        )
        against = [ratio_of(attacked, quiet), ratio_of(attacked, neighbour)]
        if against[0].low > 1:
            moved.append(kind)
        failed = sum(turn.failed for turn in (*case.quiet, *case.attacked, *case.neighbour))
        table.add_row(kind, str(failed), *map(middle_half, (quiet, attacked, neighbour)), *map(str, against))
    return table, moved


def middle_half(values: list[float]) -> str:
    """The median, and between which values the middle half lies."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.3f} ({low:.2f} .. {high:.2f})"


def in_namespace() -> int:
    """Runs this once more in a namespace of its own."""
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        raise BenchError("no network namespace can be made here: nothing was measured")
    return subprocess.run(
        ["unshare", "--net", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, check=False
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--turns", type=int, default=8, help="of a second, in each block")
    parser.add_argument("--kinds", help=f"by comma; all of {', '.join(KINDS)}, with --quick idle and syn")
    parser.add_argument("--cpu", type=int, default=0, help="core of the agents")
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one turn of two kinds")
    parser.add_argument("--json", action="store_true", help="every time of every turn")
    options = parser.parse_args()
    blocks, turns = (1, 1) if options.quick else (options.blocks, options.turns)
    kinds = options.kinds.split(",") if options.kinds else ("idle", "syn") if options.quick else KINDS
    for program in ("gcc", "taskset", "unshare", "ip", "chrt"):
        if shutil.which(program) is None:
            raise BenchError(f"{program} is not installed here: nothing was measured")
    if INSIDE not in os.environ:
        return in_namespace()
    for words in LINKS:
        subprocess.run(["ip", *words.split()], check=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        binary = folder / "agent_client"
        source = Path(__file__).with_name("agent_client.c")
        subprocess.run(["gcc", "-std=c11", "-O2", "-o", str(binary), str(source)], check=True)
        client = Client(binary, options.client_cpu, FIFO)
        (folder / "b").mkdir()
        with agent(folder, options.cpu, "0.0.0.0") as one, agent(folder / "b", options.cpu, "0.0.0.0") as other:
            ground = Ground(folder, client, one, other)
            cases = {kind: ground.case(kind, blocks, turns) for kind in kinds}
    table, moved = table_of(cases)
    few = blocks * turns < TURNS_MIN
    if options.json:
        print(msgspec.json.encode(cases).decode())
        return 1 if moved and not few else 0
    Console(width=140).print(table)
    print(f"p99 of {PACE:,} answers a second; moved: {'too few turns to say' if few else ', '.join(moved) or 'none'}")
    return 1 if moved and not few else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
