"""What one check for keepalived costs, fork and exec included: risefall-track beside what operators use now.

Rounds in which the programs take turns, in an order that changes; each is started as keepalived does, its descriptors on
/dev/null. A figure is the median of all runs, and behind it the smallest and the largest median of a round; `ratio` is that of
CPU to /bin/true in the same round. First each check must say what it should. The process that is looked for is not there, so that
all are read. `loading` asks a daemon that starts and reloads with 100,000 servers, which checks them on core 0.

    python bench/track.py                       nine rounds of 40 runs, with few and with 500 more processes; then loading
    python bench/track.py --only loading        a minute
    python bench/track.py --quick               one round of 5; 5,000 servers
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchlib import BenchError, Responder, stop, wait_until
from risefall.daemon.tracked import Kind, open_board
from risefall.engine.play import Act, http_reply
from track_loading import measure_loading, show_loading
from track_runs import TRACK, one_run

NOBODY = "rf-nobody"
MORE = 500
GOAL_PROCESS = 0.5
PAGE = b"x" * 200
Samples = dict[str, list[list[tuple[float, float]]]]
"""Of each program its rounds, of each round wall and CPU ms of each run."""


def measure(programs: dict[str, list[str]], rounds: int, runs: int) -> Samples:
    taken: Samples = {name: [] for name in programs}
    null = os.open("/dev/null", os.O_RDWR)
    for _ in range(rounds):
        for name in random.sample(list(programs), len(programs)):
            one_run(programs[name], null)
            taken[name].append([one_run(programs[name], null)[:2] for _ in range(runs)])
    os.close(null)
    return taken


def medians(rounds: list[list[tuple[float, float]]], part: int) -> list[float]:
    """Wall (0) or CPU (1), of each round."""
    return [statistics.median(run[part] for run in one) for one in rounds]


def whole(rounds: list[list[tuple[float, float]]], part: int) -> float:
    return statistics.median(run[part] for one in rounds for run in one)


def show(title: str, taken: Samples, beside: str) -> None:
    """A table. beside: the program that the ratio is to."""
    table = Table("check", "wall ms (rounds)", "CPU ms (rounds)", f"CPU to {beside}", title=title)
    for name, rounds in taken.items():
        cells = [name]
        for part in (0, 1):
            each = medians(rounds, part)
            cells.append(f"{whole(rounds, part):.2f} ({min(each):.2f} .. {max(each):.2f})")
        if beside in taken:
            ratios = [ours / theirs for ours, theirs in zip(medians(rounds, 1), medians(taken[beside], 1), strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})")
        table.add_row(*cells)
    Console(width=110).print(table)


@contextmanager
def haproxy_socket(folder: str) -> Iterator[str]:
    """The admin socket of a real haproxy; "" where there is none."""
    if not (program := shutil.which("haproxy")):
        yield ""
        return
    path, config = f"{folder}/admin.sock", Path(folder) / "h.cfg"
    with socket.create_server(("127.0.0.1", 0)) as spare:
        port = spare.getsockname()[1]
    config.write_text(
        f"global\n  stats socket {path} level admin\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n"
        f"  timeout server 1s\nfrontend f\n  bind 127.0.0.1:{port}\n"
    )
    process = subprocess.Popen([program, "-q", "-db", "-f", str(config)])
    try:
        wait_until("haproxy answers", lambda: Path(path).exists(), 10)
        yield path
    finally:
        stop(process)


def of_kinds(rounds: int, runs: int) -> bool:
    """Each kind that asks one socket or file. Whether all are within the goal."""
    with ExitStack() as undo:
        folder = undo.enter_context(tempfile.TemporaryDirectory())
        board = undo.enter_context(open_board(f"{folder}/r.track"))
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        board.publish(Kind.SERVER, "app/a", good=True)
        board.publish(Kind.BACKEND, "app", good=True, weight=2)
        board.publish(Kind.SCRIPT, "chk", good=True)
        board.publish(Kind.AGENT, "web", good=True, weight=75)
        responder = undo.enter_context(Responder(1, 1))
        responder.script(Act(http_reply(200, "OK", body=PAGE)))
        page = f"http://127.0.0.1:{responder.places[0][1]}/ok"
        asked = ["--socket", f"{folder}/r"]
        checks = {
            "server": ["server", "app/a", *asked],
            "backend": ["backend", "app", "--min-up", "2", *asked],
            "script": ["script", "chk", *asked],
            "agent": ["agent", "web", "--min-weight", "50", *asked],
            "tcp": ["tcp", f"127.0.0.1:{listener.getsockname()[1]}"],
            "unix": ["unix", f"{folder}/r.track"],
            "file": ["file", "/etc/passwd"],
            "http": ["http", page, "--expect", "200"],
        }
        if admin := undo.enter_context(haproxy_socket(folder)):
            checks["haproxy"] = ["haproxy", admin]
        ours = {f"risefall-track {name}": [TRACK, *words] for name, words in checks.items()}
        programs = {"/bin/true": ["/bin/true"], **ours}
        if curl := shutil.which("curl"):
            programs["curl, the same page"] = [curl, "-sf", "-m", "1", "-o", "/dev/null", page]
        for name, argv in programs.items():
            if done := subprocess.run(argv, capture_output=True, check=False).returncode:
                raise BenchError(f"{name}: exit code {done}, and not 0")
        taken = measure(programs, rounds, runs)
    show("one socket or file", taken, "/bin/true")
    return all(whole(taken[name], part) <= whole(taken["/bin/true"], part) for name in ours for part in (0, 1))


def of_processes(rounds: int, runs: int, more: int) -> bool:
    looks = {"risefall-track process": [TRACK, "process", NOBODY]}
    for name, words in (("killall", ["-0", NOBODY]), ("pidof", [NOBODY])):
        if path := shutil.which(name):
            looks[name] = [path, *words]
    good = True
    for count in (0, more):
        sleepers = [subprocess.Popen(["/bin/sleep", "1000"]) for _ in range(count)]
        try:
            alive = sum(name.isdigit() for name in os.listdir("/proc"))
            taken = measure(looks, rounds, runs)
        finally:
            for one in sleepers:
                one.kill()
                one.wait()
        show(f"a process, among {alive}", taken, "killall")
        if "killall" in taken:
            good = good and whole(taken["risefall-track process"], 0) <= whole(taken["killall"], 0) * GOAL_PROCESS
    return good


def main() -> int:
    """Prints the figures; 1 when a goal was missed, except with --quick; 3 when it could not measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument(
        "--only", choices=["kinds", "process", "loading"], action="append", help="this part; may repeat"
    )
    parser.add_argument("--rounds", type=int, default=9, help="default 9")
    args = parser.parse_args()
    rounds, runs = (1, 5) if args.quick else (args.rounds, 40)
    parts = args.only or ["kinds", "process", "loading"]
    good = True
    try:
        if "kinds" in parts:
            good = of_kinds(rounds, runs)
        if "process" in parts:
            good = of_processes(rounds, runs, 5 if args.quick else MORE) and good
        if "loading" in parts:
            rows = measure_loading(5000 if args.quick else 100_000, 50 if args.quick else 1000)
            good = show_loading(rows) and good
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    return 0 if good or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
