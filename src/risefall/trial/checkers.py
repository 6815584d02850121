"""The programs on trial, each a process of its own: what they say of their servers, with the time at which it was read.

Both write HAProxy's state lines to a pipe: haproxy by `log stdout`, risefall as objects (`run --json`), whose `--stats` tell
what cannot be seen from outside. They get a session of their own, so that Ctrl-C reaches this program alone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from risefall.errors import StartError

STATE = re.compile(r"Server (\S+/\S+) is (DOWN|UP)\b")
END_S = 5.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MS = 1_000_000


class Told(msgspec.Struct, frozen=True, gc=False):
    """A program said that a server is UP or DOWN now. at_ns: monotonic, when its line was read."""

    at_ns: int
    checker: int
    server: str
    up: bool


class Reading(msgspec.Struct, frozen=True):
    """What is read of a line of `risefall run --stats`."""

    span_s: float
    checks: int
    late_p50_us: int
    late_p99_us: int
    late_max_us: int


class Spent(msgspec.Struct, frozen=True):
    """CPU seconds so far, and proportional memory now, of a process and its children."""

    cpu_s: float
    memory_bytes: int


class _Line(msgspec.Struct):
    """A log object of `run --json`."""

    line: str = ""


def version_of(program: str) -> str:
    """Such as `haproxy 2.6.12-1+deb12u2`. Raises StartError where it is not installed."""
    if program == "risefall":
        from importlib.metadata import version

        return f"risefall {version('risefall')}"
    path = shutil.which("haproxy")
    if path is None:
        raise StartError("--against haproxy: haproxy is not installed here (apt-get install haproxy)")
    told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\S+)", told, re.IGNORECASE)
    return f"haproxy {found.group(1)}" if found else "haproxy"


class Checker:
    """One process that checks. `run` it in a nursery; `started()` once its process lives."""

    def __init__(self, program: str, number: int, config: Path, dialect: str, hear: Callable[[Told], None]) -> None:
        self.program, self.number = program, number
        self.readings: list[Reading] = []
        self._hear = hear
        self._errors = config.parent / f"{program}-{number}.err"
        if program == "haproxy":
            self._argv = [shutil.which("haproxy") or "haproxy", "-db", "-f", str(config)]
        else:
            words = ["run", "-f", str(config), "--as", dialect, "--json", "--log", "none", "--stats", "1s"]
            socket = ["--socket", str(config.parent / f"run-{number}.sock"), "--state-dir", "none"]
            self._argv = [sys.executable, "-m", "risefall", *words, *socket]
        self._process: trio.Process | None = None
        self._lines = msgspec.json.Decoder(_Line)
        self._stats = msgspec.json.Decoder(Reading)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reads what it says until cancelled, then ends it. Raises: StartError when it ends by itself."""
        with self._errors.open("wb") as errors:
            process = self._process = await trio.lowlevel.open_process(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        task_status.started()
        try:
            await self._read(process)
            await process.wait()
            told = self._errors.read_text(errors="replace").strip()
            raise StartError(f"{self.program} ended with {process.returncode}:\n{told[-2000:]}")
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with trio.CancelScope(shield=True), trio.move_on_after(END_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            if process.stdout is not None:
                with trio.CancelScope(shield=True):
                    await process.stdout.aclose()

    async def _read(self, process: trio.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.receive_some():
            at_ns = time.monotonic_ns()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._heard(line, at_ns)

    def _heard(self, raw: bytes, at_ns: int) -> None:
        text = raw.decode("utf-8", "replace")
        if self.program == "risefall":
            with suppress(msgspec.DecodeError):
                self.readings.append(self._stats.decode(raw))
                return
            with suppress(msgspec.DecodeError):
                text = self._lines.decode(raw).line
        found = STATE.search(text)
        if found:
            self._hear(Told(at_ns, self.number, found.group(1), found.group(2) == "UP"))

    def spent(self) -> Spent:
        """Nothing once it has ended."""
        assert self._process is not None
        cpu_s, memory = 0.0, 0
        for pid in family(self._process.pid):
            with suppress(OSError, ValueError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu_s += (int(fields[11]) + int(fields[12])) * TICK_S
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                memory += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        return Spent(cpu_s, memory)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found
