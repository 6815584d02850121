"""risefall-track at a daemon that reads 100,000 servers: is each answer right, and in time? Part of track.py.

The daemon runs once, until one of two servers of its own is DOWN, and ends. It is started again, and asked from the moment its socket
is there until its runtime socket answers, that is until the configuration is loaded: all of it is answered from what was kept. Then
it reloads, as often as it takes, and is asked meanwhile.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchlib import BenchError, Responder, config_text, environment, stop, wait_until
from risefall.engine.play import Act, http_reply
from track_runs import TRACK, one_run

GOAL_MS = 50.0
CPU = 0
LISTENERS = 16
START_S = 120.0
PROBE = (
    "backend probe\n  server good 127.0.0.1:{good} check inter 1s\n  server bad 127.0.0.1:{bad} check inter 1s fall 1\n"
)
ASKED = (
    (["server", "probe/good"], 0, b""),
    (["server", "probe/bad"], 1, b"DOWN"),
    (["backend", "probe"], 0, b""),
    (["backend", "probe", "--min-up", "2"], 1, b"1 of 2 servers up"),
)
"""Words, exit code, and what its line holds."""


class Row(msgspec.Struct, frozen=True):
    """What came of the runs while it was loading. wrong: the first answer that was not right."""

    what: str
    took_s: float
    wall_ms: list[float]
    wrong: str

    @property
    def good(self) -> bool:
        return not self.wrong and max(self.wall_ms) < GOAL_MS


class Asker:
    """Asks in turn, and keeps how long each took."""

    def __init__(self, path: Path) -> None:
        self._socket = ["--socket", str(path)]
        self._null = os.open("/dev/null", os.O_RDWR)
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self.wall_ms: list[float] = []
        self.wrong = ""

    def once(self) -> bool:
        """Whether it was right."""
        words, code, line = ASKED[len(self.wall_ms) % len(ASKED)]
        wall, _, found = one_run([TRACK, *words, *self._socket], self._null, self._write)
        said = b""
        with suppress(BlockingIOError):
            said = os.read(self._read, 4096)
        right = found == code and line in said
        if not right:
            self.wrong = self.wrong or f"{' '.join(words)}: exit code {found}, {said.decode() or 'no word'}"
        self.wall_ms.append(wall)
        return right

    def during(self, going: Callable[[], bool]) -> None:
        while going():
            self.once()

    def take(self, what: str, took_s: float) -> Row:
        row = Row(what, took_s, self.wall_ms, self.wrong)
        self.wall_ms, self.wrong = [], ""
        return row

    def close(self) -> None:
        for fd in (self._null, self._read, self._write):
            os.close(fd)


def command(path: Path, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(START_S)
        sock.connect(str(path))
        sock.sendall(line.encode() + b"\n")
        return b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()


def start(folder: Path) -> subprocess.Popen[bytes]:
    words = ["run", "-f", str(folder / "h.cfg"), "--socket", str(folder / "r"), "--log", "none"]
    return subprocess.Popen(
        [sys.executable, "-m", "risefall", *words, "--state-dir", str(folder / "state")],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        preexec_fn=lambda: os.sched_setaffinity(0, {CPU}),
    )


def measure_loading(servers: int, runs: int) -> list[Row]:
    """A start, and reloads that go on until there were so many runs."""
    with (
        tempfile.TemporaryDirectory(prefix="risefall-bench-") as name,
        socket.create_server(("127.0.0.1", 0)) as nobody,
        Responder(LISTENERS, 1) as responder,
    ):
        folder, path = Path(name), Path(name) / "r"
        bad = nobody.getsockname()[1]
        nobody.close()
        responder.script(Act(http_reply(200, "OK")))
        text = config_text(servers, responder.places, "check inter 60s")
        (folder / "h.cfg").write_text(text + PROBE.format(good=responder.places[0][1], bad=bad))
        asker = Asker(path)
        daemon = start(folder)
        try:
            wait_until(
                "the first run knows its servers", lambda: sum(asker.once() for _ in ASKED) == len(ASKED), START_S
            )
            stop_softly(daemon)
            asker.take("", 0)
            began = time.monotonic()
            daemon = start(folder)
            while not Path(f"{path}.track").exists():
                if daemon.poll() is not None:
                    raise BenchError(f"risefall ended with {daemon.returncode}")
            first_s = time.monotonic() - began
            asker.during(lambda: not path.exists())
            rows = [asker.take(f"start (asked after {first_s:.2f} s)", time.monotonic() - began)]
            took, count = 0.0, 0
            while len(asker.wall_ms) < runs:
                began = time.monotonic()
                told: list[str] = []
                reload = threading.Thread(target=lambda told=told: told.append(command(path, "reload")))
                reload.start()
                asker.during(reload.is_alive)
                if not (told and told[0].startswith("Success=1")):
                    raise BenchError(f"the reload failed: {told}")
                took, count = took + time.monotonic() - began, count + 1
            return [*rows, asker.take(f"{count} reloads", took)]
        finally:
            asker.close()
            stop(daemon)


def stop_softly(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    if daemon.wait(START_S):
        raise BenchError(f"risefall ended with {daemon.returncode}")


def show_loading(rows: list[Row]) -> bool:
    """Prints them; whether all are within the goal."""
    table = Table(
        "while it loads", "took", "runs", "p50", "p99", "longest", "wrong", title="answers of a daemon that loads"
    )
    for row in rows:
        wall = sorted(row.wall_ms)
        p99 = wall[min(len(wall) - 1, len(wall) * 99 // 100)]
        figures = (f"{one:.2f} ms" for one in (statistics.median(wall), p99, wall[-1]))
        table.add_row(row.what, f"{row.took_s:.1f} s", str(len(wall)), *figures, row.wrong or "none")
    Console(width=110).print(table)
    return all(row.good for row in rows)
