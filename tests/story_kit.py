"""A story of a regression test: a configuration whose `{name}` are addresses of scripted servers, told to risefall."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dialogue_kit import ROOT, Listener, Play, script

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LATER = "defaults\n  timeout connect 2s\n  timeout client 2s\n  timeout server 2s\n  timeout check 2s\n"
LIMIT_S = 30.0


def http(status: str = "200 OK", *headers: str, body: bytes = b"") -> bytes:
    """A reply."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Running:
    """A `risefall run`: its runtime socket and the lines that it logged."""

    def __init__(self, sock: Path, log: Path) -> None:
        self._sock, self._log = sock, log

    def ask(self, command: str) -> str:
        """One command of the runtime API; waits for the socket to be there, which has its path before it listens."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT_S)
            until(lambda: client.connect_ex(str(self._sock)) == 0, "the runtime socket")
            client.sendall(command.encode() + b"\n")
            answer = b""
            while more := client.recv(65536):
                answer += more
        return answer.decode()

    def server(self, name: str) -> dict[str, str]:
        """A server's row of `show servers state`, by column."""
        lines = self.ask("show servers state").splitlines()
        columns = lines[1].removeprefix("# ").split()
        rows = (dict(zip(columns, line.split(), strict=True)) for line in lines[2:] if line)
        return next(row for row in rows if f"{row['be_name']}/{row['srv_name']}" == name)

    def becomes(self, name: str, **columns: str) -> None:
        """Waits until a server's row says all this."""
        until(lambda: self.server(name).items() >= columns.items(), f"{name}: {columns}")

    def lines(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def said(self, pattern: str) -> None:
        """Waits for a line."""
        until(lambda: re.search(pattern, self.lines()), pattern)


def until(found: Callable[[], object], what: str) -> None:
    """Waits for a condition; fails after a while, naming it."""
    end = time.monotonic() + LIMIT_S
    while not found():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.01)


class Story:
    """Runs `risefall check` on a configuration whose `{name}` are addresses of scripted servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listeners: dict[str, Listener] = {}
        self.words: dict[str, str | Path] = {"folder": folder}

    def server(self, name: str, *steps: int | bytes | float, then: str = "close", play: Play | None = None) -> None:
        """A listener that plays a script on each connection."""
        self._listeners[name] = Listener(play or script(*steps, then=then))
        self.words[name] = f"127.0.0.1:{self._listeners[name].port}"
        self.words[f"{name}_port"] = str(self._listeners[name].port)

    def listening(self, name: str, port: int) -> None:
        """A server that somebody else plays."""
        self.words[name] = f"127.0.0.1:{port}"
        self.words[f"{name}_port"] = str(port)

    def _write(self, text: str) -> Path:
        path = self._folder / "story.cfg"
        path.write_text("global\n  node here\n" + LATER + text.format_map(self.words), encoding="utf-8")
        return path

    def _environment(self) -> dict[str, str]:
        python_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": python_path}

    @contextmanager
    def run(self, text: str, *, dialect: str = "3", serve: str = "none") -> Iterator[Running]:
        """`risefall run` as long as the block; HAProxy's lines are gathered. serve: as its option."""
        sock, log = self._folder / "run.sock", self._folder / "lines"
        command = [sys.executable, "-m", "risefall", "run", "-f", str(self._write(text)), "--as", dialect]
        with log.open("wb") as lines, subprocess.Popen(
            [*command, "--serve", serve, "--log", "stderr", "--socket", str(sock), "--state-dir", "none"],
            env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=lines,
        ) as process:  # fmt: skip
            try:
                yield Running(sock, log)
            finally:
                process.terminate()
                process.wait(LIMIT_S)

    def check(self, text: str, *, dialect: str = "3") -> dict[str, tuple[str, int, str]]:
        """Status, code and text of every server's health check, by `backend/server`."""
        path = self._write(text)
        ran = subprocess.run(
            [sys.executable, "-m", "risefall", "check", "-f", str(path), "--as", dialect, "--json"],
            capture_output=True, text=True, timeout=60, env=self._environment(), check=False,
        )  # fmt: skip
        assert ran.returncode in (0, 1), ran.stdout + ran.stderr
        rows = [json.loads(line) for line in ran.stdout.splitlines()]
        return {
            f"{row['backend']}/{row['server']}": (row["status"], row["code"] or 0, row["reason"])
            for row in rows
            if row["kind"] == "health"
        }

    def wait(self, found: Callable[[], object], what: str) -> None:
        """Until something is so; fails when it never is."""
        until(found, what)

    def got(self, name: str) -> bytes:
        """What the first connection to a listener brought, without the mark of its end."""
        return (self._listeners[name].first or b"").partition(b"|")[0]

    def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()


def statuses(results: dict[str, tuple[str, int, str]]) -> dict[str, str]:
    return {name.partition("/")[0]: status for name, (status, _, _) in results.items()}


def names(count: int) -> Sequence[int]:
    return range(1, count + 1)
