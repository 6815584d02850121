"""What the benches share: the responder, the checkers, their configuration, CPU and memory of a process.

CPU and memory come from /proc of the process and its children: machine-wide figures count other programs too.
Each checker is pinned to one core and the responder to another, so that neither takes time from the other.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec
from rich.console import Console

from risefall.engine.play import ALL, Act, AskBusy, Busy, Counts, Door, Listen, Listener, Script, SetDoor, Tally

ROOT = Path(__file__).resolve().parent.parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PROGRAMS = ("haproxy", "risefall")
Kind = TypeVar("Kind")
Sizes = TypeVar("Sizes", bound=msgspec.Struct)


class BenchError(Exception):
    """The bench could not measure; the text says what stood in its way."""


def options_of(
    doc: str | None, sizes: Sizes, cpu: str = "core of risefall", responder_cpu: str = "core of the responder"
) -> argparse.ArgumentParser:
    """The command line that benches with sizes share. sizes: the usual ones. cpu, responder_cpu: what these cores are for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="one object a run in place of the table")
    parser.add_argument("--cpu", type=int, default=0, help=cpu)
    parser.add_argument("--responder-cpu", type=int, default=1, help=responder_cpu)
    for field in fields_of(sizes):
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, help=f"default {getattr(sizes, field)}")
    return parser


def sizes_of(options: argparse.Namespace, sizes: Sizes, quick: Sizes) -> Sizes:
    """The sizes that were asked for, and of the others the usual ones, or with --quick the small ones."""
    given = {field: value for field in fields_of(sizes) if (value := getattr(options, field)) is not None}
    return msgspec.structs.replace(quick if options.quick else sizes, **given)


def fields_of(sizes: msgspec.Struct) -> tuple[str, ...]:
    return sizes.__struct_fields__


def refuse(error: BenchError) -> int:
    """Tells why nothing was measured; the exit code for it."""
    Console(stderr=True).print(f"bench: {error}", highlight=False, markup=False)
    return 3


def wait_until(what: str, condition: Callable[[], bool], seconds: float, step_s: float = 0.05) -> float:
    """Waits for a condition. Returns: seconds that it took. Raises: BenchError when it does not come true in time."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(step_s)
    return time.monotonic() - start


def environment(**more: str) -> dict[str, str]:
    """The environment of child processes: this checkout comes first."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "RISEFALL_STATE_DIR": "none", **more}


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a child: SIGTERM, and SIGKILL after five seconds."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- the responder --------------------------------------------------------------------------------


class Responder:
    """`python -m risefall.engine.play` with its thread on a core of its own. ports: where it listens."""

    def __init__(self, listeners: int, cpu: int, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        argv = [sys.executable, "-m", "risefall.engine.play", "--cpu", str(cpu)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
        self.places = [(host, port) for host in hosts for port in self._ask(Listen(listeners, host), list[int])]

    def __enter__(self) -> Responder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        stop(self.process)

    def _ask(self, order: msgspec.Struct, kind: type[Kind]) -> Kind:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line or line.startswith(b'{"error"'):
            raise BenchError(f"responder: {line.decode() or 'it ended'}")
        return msgspec.json.decode(line, type=kind)

    def script(self, *acts: Act, listener: Listener = ALL) -> None:
        """See Player.script."""
        self._ask(Script(list(acts), listener), type(None))

    def door(self, door: Door, listener: Listener = ALL) -> None:
        """See Player.door."""
        self._ask(SetDoor(door, listener), type(None))

    def counts(self) -> Tally:
        """Counts of all listeners together."""
        return self._ask(Counts(), Tally)

    def busy(self) -> Busy:
        """Since last asked."""
        return self._ask(AskBusy(), Busy)


# --- configurations -------------------------------------------------------------------------------


def server_lines(count: int, places: Sequence[tuple[str, int]], words: str) -> list[str]:
    """<count> server lines, going round over the places."""
    return [
        f"    server s{i:06d} {places[i % len(places)][0]}:{places[i % len(places)][1]} {words}" for i in range(count)
    ]


def config_text(
    count: int,
    places: Sequence[tuple[str, int]],
    words: str,
    *,
    socket_path: Path | None = None,
    lines: Sequence[str] = ("option httpchk",),
    global_lines: Sequence[str] = (),
    default_lines: Sequence[str] = (),
    farm: int = 500,
) -> str:
    """A haproxy.cfg of <count> servers in backends of <farm>. words: what each server line ends with."""
    text = ["global", *(f"    {line}" for line in global_lines), "    maxconn 100", "    nbthread 1"]
    text += [f"    stats socket {socket_path} level admin"] if socket_path else []
    text += ["defaults", "    mode http", "    timeout client 5s", "    timeout server 5s", "    timeout connect 5s"]
    text += [f"    {line}" for line in default_lines]
    servers = server_lines(count, places, words)
    for i, start in enumerate(range(0, count, farm)):
        text += [f"backend b{i:04d}", *(f"    {line}" for line in lines), *servers[start : start + farm]]
    return "\n".join(text) + "\n"


# --- checkers -------------------------------------------------------------------------------------


def _raise_descriptors(limit: int) -> None:
    """Descriptors for as many connections as a checker likes; what the machine does not allow is left out."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


class Checker:
    """One running checker on one core, haproxy or risefall, on one configuration. Use with `with`."""

    def __init__(
        self,
        program: str,
        config: Callable[[Path], str],
        cpu: int,
        *,
        descriptors: int = 100_000,
        options: Sequence[str] = ("--log", "none"),
    ) -> None:
        """config: makes the text, given the path of the runtime socket. options: of `risefall run`."""
        self.program = program
        self.folder = tempfile.TemporaryDirectory(prefix="risefall-bench-")
        self.socket_path = Path(self.folder.name) / "run.sock"
        path = Path(self.folder.name) / "bench.cfg"
        path.write_text(config(self.socket_path if program == "haproxy" else Path(self.folder.name) / "unused.sock"))
        if program == "haproxy":
            argv = [shutil.which("haproxy") or "haproxy", "-db", "-f", str(path)]
        else:
            argv = [sys.executable, "-m", "risefall", "run", "-f", str(path), "--as", "2.6", *options]
        self.output = Path(self.folder.name) / "output"

        def prepare() -> None:
            os.sched_setaffinity(0, {cpu})
            _raise_descriptors(descriptors)

        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(RISEFALL_SOCKET=str(self.socket_path)),
                preexec_fn=prepare,
            )

    def __enter__(self) -> Checker:
        try:
            wait_until(f"{self.program} answers on its socket", self._answers, 120)
        except BenchError as error:
            stop(self.process)
            tail = self.output.read_text(errors="replace")[-2000:]
            self.folder.cleanup()
            raise BenchError(f"{error}\n{tail}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        stop(self.process)
        self.folder.cleanup()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise BenchError(f"{self.program} ended with {self.process.returncode}")
        with contextlib.suppress(OSError):
            return "Uptime" in self.ask("show info")
        return False

    def ask(self, command: str) -> str:
        """One command on the runtime socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(60)
            sock.connect(str(self.socket_path))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(1 << 20), b"")).decode()

    def statuses(self) -> Counter[str]:
        """How many servers show each status."""
        rows = csv.DictReader(self.ask("show stat -1 4 -1").lstrip("# ").splitlines())
        return Counter(row["status"] for row in rows if row.get("type") == "2")

    def cpu_s(self) -> float:
        """CPU seconds used so far, children included, ended ones too."""
        return sum(_cpu_s(pid) for pid in family(self.process.pid))

    def memory_bytes(self) -> int:
        """Proportional set size of the process and its children."""
        return sum(_pss_bytes(pid) for pid in family(self.process.pid))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the checker."""
        self.process.send_signal(number)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # a command of a check has ended since it was listed
        return 0.0
    return sum(int(field) for field in fields[11:15]) * TICK_S


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Stats(msgspec.Struct, frozen=True):
    """What the benches read of a line of `risefall run --json --stats`: one span of seconds, times in microseconds.

    late_*: from due to started, of checks whose last run did not time out; late_suspect_*: of the others.
    """

    span_s: float
    checks: int
    late_p99_us: int
    late_max_us: int
    late_suspect_p99_us: int
    timed_out: int
    waiting: int
    python_events: int


def all_stats(output: Path) -> list[Stats]:
    """The statistics in the output of a `risefall run --json --stats`, oldest first; other lines are left out."""
    found: list[Stats] = []
    decoder = msgspec.json.Decoder(Stats)
    for line in output.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            found.append(decoder.decode(line))
    return found


def haproxy_refusal(servers: int, places: Sequence[tuple[str, int]], descriptors: int) -> str:
    """What haproxy says when it is to check so many servers with so few descriptors; `it starts` when it does."""
    if not shutil.which("haproxy"):
        return "not installed here"
    with tempfile.TemporaryDirectory(prefix="risefall-bench-") as folder:
        path = Path(folder) / "bench.cfg"
        path.write_text(config_text(servers, places, "check inter 20s", socket_path=Path(folder) / "sock"))

        def prepare() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=prepare
        )
        try:
            told, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            stop(process)
            return "it starts"
    alerts = [line for line in told.decode(errors="replace").splitlines() if "[ALERT]" in line]
    return alerts[-1].rpartition("] ")[2] if alerts else f"it ended with {process.returncode}"
