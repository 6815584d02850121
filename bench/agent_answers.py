"""Answers of `risefall agent` beside xinetd with a bash script: how late, how many, at what cost.

Both answer on the same core in turn; a client in C on the other core (agent_client.c) asks as HAProxy does. First both are
shown to say a line that HAProxy understands. Measured: connect to close at 1,000 answers a second, in turn with an accept
loop in C (bare_answer.c), which is what the machine and the client take; the most answers
a second; CPU of whole process trees for each answer. `--fifo` gives the client real-time priority, so that nobody else
on its core counts; what a hypervisor takes of both cores counts always.

    python bench/agent_answers.py            five rounds (needs gcc and xinetd)
    python bench/agent_answers.py --quick    one short round

The script is the cheapest that says anything: bash alone, no other program started. What people run costs more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import BenchError, environment, stop, wait_until

GOAL_P99_MS = 1.0
GOAL_RATIO = 25.0
PACE = 1000
SCRIPT = """#!/bin/bash
read -r load rest </proc/loadavg
load=${load/./}
weight=$((100 - 10#$load / 2))
[ "$weight" -ge 1 ] || weight=1
echo "up $weight%"
"""
XINETD = """defaults
{{
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 100000 1
}}
service agent
{{
    type = UNLISTED
    port = {port}
    bind = 127.0.0.1
    socket_type = stream
    protocol = tcp
    wait = no
    user = {user}
    server = {script}
}}
"""
AGENT = """[agent]
listen = ["{host}:0"]
socket = "{folder}/s"
[service.app]
[[service.app.signal]]
kind = "cpu"
curve = [[50, 100], [95, 5]]
"""
TURN_S = 1
FIFO = ("chrt", "-f", "50")
TICKS = os.sysconf("SC_CLK_TCK")


class Run(msgspec.Struct, frozen=True):
    """One run of the client. busy: its own part of a core; cpu_us: of the server for each answer.

    due_p99_ms: from when a connection should have begun, so that what the client was late counts too.
    """

    answered: int
    failed: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    due_p99_ms: float
    busy: float
    per_s: float
    cpu_us: float


class Round(msgspec.Struct, frozen=True):
    """paced: 1,000 a second; most: as many as go.

    bare: a loop that accepts, says a line and closes: what this machine and the client add by themselves. It and the agent take
    turns of `TURN_S`; of each all turns.
    """

    agent_paced: list[Run]
    bare_paced: list[Run]
    agent_most: Run
    xinetd_paced: Run
    xinetd_most: Run


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended. xinetd's are reaped by it."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / TICKS


def ask(port: int) -> bytes:
    """One answer; b"" while nobody listens or it is silent."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        return stream.makefile("rb").read()
    return b""


def says_a_line(port: int) -> bool:
    return re.fullmatch(rb"up (ready )?[0-9]+%\n", ask(port)) is not None


@contextlib.contextmanager
def agent(folder: Path, cpu: int, host: str = "127.0.0.1") -> Iterator[tuple[int, int]]:
    """Pid and port."""
    (folder / "agent.toml").write_text(AGENT.format(folder=folder, host=host))
    words = ["taskset", "-c", str(cpu), sys.executable, "-m", "risefall", "agent", "-f", str(folder / "agent.toml")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=environment())
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b"answering on" in line:
                port = int(line.rpartition(b":")[2])
                break
        else:
            raise BenchError("the agent ended")
        wait_until("the agent says a line", lambda: says_a_line(port), 20)
        yield process.pid, port
    finally:
        stop(process)


@contextlib.contextmanager
def xinetd(folder: Path, cpu: int) -> Iterator[tuple[int, int]]:
    """Pid and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = folder / "answer"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    user = os.environ.get("USER") or "root"
    (folder / "xinetd.conf").write_text(XINETD.format(port=port, script=script, user=user))
    words = ["taskset", "-c", str(cpu), "xinetd", "-dontfork", "-f", str(folder / "xinetd.conf")]
    words += ["-pidfile", str(folder / "pid"), "-filelog", "/dev/null"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("xinetd says a line", lambda: says_a_line(port), 20)
        yield process.pid, port
    finally:
        stop(process)


@contextlib.contextmanager
def bare(binary: Path, cpu: int) -> Iterator[tuple[int, int]]:
    """Pid and port of bare_answer.c."""
    process = subprocess.Popen(["taskset", "-c", str(cpu), str(binary)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        stop(process)


class Client(msgspec.Struct, frozen=True):
    """binary: agent_client.c. before: words in front of it."""

    binary: Path
    cpu: int
    before: tuple[str, ...] = ()


def run_client(
    client: Client, pid: int, port: int, rate: int, concurrent: int, seconds: int, times: Path | None = None
) -> Run:
    """One run. times: gets every time."""
    before = cpu_s(pid)
    words = [*client.before, "taskset", "-c", str(client.cpu), str(client.binary)]
    words += [str(port), str(rate), str(concurrent), str(seconds), *([str(times)] if times else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=seconds + 60)
    answered, failed, p50, p99, worst, own, wall, _, due_p99, _ = map(int, done.stdout.split())
    if not answered:
        raise BenchError("nothing was answered")
    spent = cpu_s(pid) - before
    return Run(
        answered=answered,
        failed=failed,
        p50_ms=p50 / 1e6,
        p99_ms=p99 / 1e6,
        worst_ms=worst / 1e6,
        due_p99_ms=due_p99 / 1e6,
        busy=own / wall,
        per_s=answered / (wall / 1e9),
        cpu_us=spent / answered * 1e6,
    )


def one_round(folder: Path, client: Client, bare_binary: Path, cpu: int, seconds: int, first: bool) -> Round:
    """All, each alone; who is first alternates."""
    runs: dict[str, Any] = {"agent_paced": [], "bare_paced": []}

    def of_agent() -> None:
        with agent(folder, cpu) as (pid, port), bare(bare_binary, cpu) as (bare_pid, bare_port):
            for _ in range(seconds):
                runs["agent_paced"].append(run_client(client, pid, port, PACE, 0, TURN_S))
                runs["bare_paced"].append(run_client(client, bare_pid, bare_port, PACE, 0, TURN_S))
            runs["agent_most"] = run_client(client, pid, port, 0, 16, seconds)

    def of_xinetd() -> None:
        with xinetd(folder, cpu) as (pid, port):
            runs["xinetd_paced"] = run_client(client, pid, port, 50, 0, seconds)
            runs["xinetd_most"] = run_client(client, pid, port, 0, 4, seconds)

    for each in (of_agent, of_xinetd) if first else (of_xinetd, of_agent):
        each()
    return Round(**runs)


def rows_of(rounds: list[Round]) -> dict[str, list[Run]]:
    """All runs of each row of the table."""
    rows = {
        "agent, 1,000/s": [run for each in rounds for run in each.agent_paced],
        "bare loop in C, 1,000/s": [run for each in rounds for run in each.bare_paced],
    }
    rows["agent, most"] = [each.agent_most for each in rounds]
    rows["xinetd + bash, 50/s"] = [each.xinetd_paced for each in rounds]
    rows["xinetd + bash, most"] = [each.xinetd_most for each in rounds]
    return rows


def p99_of(runs: list[Run]) -> float:
    return statistics.median(run.p99_ms for run in runs)


def table_of(rounds: list[Round]) -> Table:
    """Medians of all turns."""
    table = Table(box=None)
    for column in (
        "what",
        "answers/s",
        "failed",
        "p50 ms",
        "p99 ms",
        "best .. worst",
        "p99 from due",
        "worst ms",
        "CPU us/answer",
        "client busy",
    ):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, runs in rows_of(rounds).items():
        median = {
            key: statistics.median(getattr(run, key) for run in runs)
            for key in ("per_s", "p50_ms", "p99_ms", "due_p99_ms", "cpu_us", "busy")
        }
        best = min(run.p99_ms for run in runs)
        table.add_row(
            name,
            f"{median['per_s']:,.0f}",
            str(sum(run.failed for run in runs)),
            f"{median['p50_ms']:.3f}",
            f"{median['p99_ms']:.3f}",
            f"{best:.3f} .. {max(run.p99_ms for run in runs):.3f}",
            f"{median['due_p99_ms']:.3f}",
            f"{max(run.worst_ms for run in runs):.1f}",
            f"{median['cpu_us']:.0f}",
            f"{median['busy']:.0%}",
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--cpu", type=int, default=0, help="core of who answers")
    parser.add_argument("--client-cpu", type=int, default=1)
    parser.add_argument("--fifo", action="store_true", help="the client has real-time priority (root)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds_wanted, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    for program in ("gcc", "xinetd", "taskset"):
        if shutil.which(program) is None:
            raise BenchError(f"{program} is not installed here: nothing was measured")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in ("agent_client", "bare_answer"):
            source = Path(__file__).with_name(f"{name}.c")
            subprocess.run(["gcc", "-std=c11", "-O2", "-o", str(folder / name), str(source)], check=True)
        client = Client(folder / "agent_client", options.client_cpu, FIFO if options.fifo else ())
        rounds = [
            one_round(folder, client, folder / "bare_answer", options.cpu, seconds, number % 2 == 0)
            for number in range(rounds_wanted)
        ]
    ratios = [each.agent_most.per_s / each.xinetd_most.per_s for each in rounds]
    p99 = p99_of([run for each in rounds for run in each.agent_paced])
    bare_p99 = p99_of([run for each in rounds for run in each.bare_paced])
    good = p99 <= GOAL_P99_MS and statistics.median(ratios) >= GOAL_RATIO
    if options.json:
        print(msgspec.json.encode(rounds).decode())
    else:
        Console(width=170).print(table_of(rounds))
        print(
            f"p99 at {PACE}/s {p99:.3f} ms (goal <= {GOAL_P99_MS:g}), of the bare loop {bare_p99:.3f} ms; agent / xinetd {statistics.median(ratios):.0f} x"
            f" ({min(ratios):.0f} .. {max(ratios):.0f}, goal >= {GOAL_RATIO:g})"
        )
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
