"""Programs that speak to a stats socket, and who answers them: `risefall run`, and the real haproxy 2.6 on the same file.

A test that takes `api` runs once with each, so that what it expects is what those programs see of haproxy.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pyte

from haproxy_kit import haproxy_path
from peers_kit import Missing, program, until

CONFIG = """
global
  stats socket {folder}/haproxy.sock mode 600 level admin
  node here
  maxconn 100
defaults
  mode http
  maxconn 50
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend front
  bind unix@{folder}/front.sock
  default_backend app
backend app
  balance roundrobin
  cookie SRV insert
  option httpchk GET /ok
  server ap01 127.0.0.1:{up} check inter 50ms weight 10 cookie one
  server ap02 127.0.0.1:{up} check inter 50ms weight 10 maxconn 20
  server dead 127.0.0.1:{down} check inter 50ms
backend other
  mode tcp
  server w1 127.0.0.1:{up}
  server ap01 127.0.0.1:{up} check inter 50ms
backend broken
  server dead 127.0.0.1:{down} check inter 50ms
"""
"""`front` has a limit of connections in haproxy alone: where nothing is proxied there is nothing to limit."""

COLUMNS, LINES = 120, 40
TOOL_S = 30.0


class ServedApi(msgspec.Struct, frozen=True):
    """Who answers. name: `risefall` or `haproxy`; path: of its socket."""

    name: str
    path: Path

    def ask(self, command: str) -> str:
        """What one command is answered."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TOOL_S)
            sock.connect(str(self.path))
            sock.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: sock.recv(65_536), b"")).decode()

    def column(self, name: str) -> dict[str, str]:
        """A column of `show stat` by `proxy/server`."""
        rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        return {f"{row['pxname']}/{row['svname']}": row[name] for row in rows if row["pxname"]}

    def settle(self) -> None:
        """Until each check has said what it will."""
        wanted = {"app/ap01": "UP", "app/ap02": "UP", "app/dead": "DOWN", "other/ap01": "UP", "broken/dead": "DOWN"}

        def settled() -> bool:
            with contextlib.suppress(OSError):
                return wanted.items() <= self.column("status").items()
            return False

        until(settled, f"{self.name} answers and has checked")


@contextlib.contextmanager
def api_of(name: str, folder: Path, *, up: int, down: int) -> Iterator[ServedApi]:
    """One of the two, from when it has checked all servers. Raises: Missing."""
    path = folder / "t.cfg"
    path.write_text(CONFIG.format(folder=folder, up=up, down=down))
    api = ServedApi(name, folder / f"{name}.sock")
    words = {
        "haproxy": [haproxy_path(), "-db", "-f", str(path)],
        "risefall": [
            sys.executable, "-m", "risefall", "run", "-f", str(path), "--as", "2.6", "--log", "none",
            "--socket", str(api.path),
        ],
    }[name]  # fmt: skip
    if not words[0]:
        raise Missing("haproxy 2.6 is not installed")
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        api.settle()
        yield api
    finally:
        process.kill()
        process.wait()


def output(*words: str, stdin: str = "") -> str:
    """What a program prints, its first word looked for where programs are. Raises: Missing."""
    done = ended(*words, stdin=stdin)
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def ended(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A program that ran to its end. Raises: Missing."""
    argv = [program(words[0], "/usr/lib/nagios/plugins"), *words[1:]]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TOOL_S, check=False)


def shell(line: str) -> str:
    """What a one-liner prints."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOOL_S, check=False
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


class Terminal:
    """A program on a terminal of its own. Use with `with`; what it draws is on `screen`."""

    def __init__(self, words: Sequence[str]) -> None:
        argv = [program(words[0]), *words[1:]]
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "TERM": "linux", "LC_ALL": "C.UTF-8", "COLUMNS": str(COLUMNS), "LINES": str(LINES)},
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._fd)

    @property
    def text(self) -> str:
        """What is on the screen now."""
        return "\n".join(self.screen.display)

    def row(self, begin: str, after: str = "") -> int:
        """The number of the first line that begins so, from the one on that begins with `after`; -1 for none."""
        lines = self.screen.display
        start = next((at for at, line in enumerate(lines) if line.startswith(after)), len(lines))
        return next((at for at, line in enumerate(lines) if at >= start and line.startswith(begin)), -1)

    def line(self, begin: str, after: str = "") -> str:
        """That line; empty while it is not drawn."""
        row = self.row(begin, after)
        return self.screen.display[row] if row >= 0 else ""

    def marked(self, row: int) -> bool:
        """Whether a line begins in reverse, as what is chosen does."""
        return bool(self.screen.buffer[row][0].reverse)

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self._fd, keys.encode())

    def until(self, condition: Callable[[str], bool]) -> None:
        """Reads what it draws until the screen is as wanted."""
        end = time.monotonic() + TOOL_S
        while not condition(self.text):
            assert time.monotonic() < end, f"not seen on the screen:\n{self.text}"
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self._stream.feed(os.read(self._fd, 65_536))
                except OSError:
                    self._process.wait(TOOL_S)
                    raise AssertionError(f"it ended with {self._process.returncode}:\n{self.text}") from None

    def wait(self) -> int:
        """Its exit code, once it has ended by itself; what it draws meanwhile is taken."""
        with contextlib.suppress(OSError):  # the other end is closed
            while select.select([self._fd], [], [], TOOL_S)[0]:
                self._stream.feed(os.read(self._fd, 65_536))
        return self._process.wait(TOOL_S)
