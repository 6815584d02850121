"""Scripted backends for whole dialogues, and one run of a program against all of them at once.

A case is a backend with one server; its listener plays a script. What is compared is what `show stat` says of the first
check that ended (status, code, text) and the bytes that the listener got on its first connection, with how it ended.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from haproxy_kit import stop

ROOT = Path(__file__).parents[1]
SILENCE_S = 6.0
READY_S = 20.0
PACE = "inter 1s rise 1 fall 1"
Play = Callable[[socket.socket], bytes]
"""Plays one connection; returns what came, with a mark for how it ended."""


class Case(msgspec.Struct, frozen=True):
    """lines: of its backend; words: of its server; both may hold `{port}`, the listener's own.

    bytes_count: whether the bytes are compared. defaults: lines of a section of its own before the backend.
    """

    name: str
    lines: tuple[str, ...]
    play: Play
    words: str = ""
    bytes_count: bool = True
    defaults: tuple[str, ...] = ()


BY_RESET = " (Connection reset by peer)"
"""Behind a handshake that failed, where the peer's reset arrived before that was seen: in either program, now and then."""


class Said(msgspec.Struct, frozen=True):
    """What one program showed, and what its server got."""

    status: str
    code: str
    text: str
    got: bytes


def script(*steps: int | bytes | float, then: str = "close") -> Play:
    """A server that waits for so many bytes (int), says something (bytes), or pauses (float); then: close, stay or rst."""

    def play(sock: socket.socket) -> bytes:
        got = b""
        try:
            for step in steps:
                if isinstance(step, bytes):
                    sock.sendall(step)
                elif isinstance(step, float):
                    threading.Event().wait(step)
                else:
                    while len(got) < step:
                        data = sock.recv(65536)
                        if not data:
                            return got + b"|FIN"
                        got += data
            if then == "stay":
                while data := sock.recv(65536):
                    got += data
                return got + b"|FIN"
            if then == "rst":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except ConnectionResetError:
            return got + b"|RST"
        except TimeoutError:
            return got + b"|silence"
        return got

    return play


class Listener:
    """Plays a case on every connection; `first` is what the first one got, once it is over."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._socket.getsockname()[1])
        self.first: bytes | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock, number), daemon=True).start()
            number += 1

    def _one(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(SILENCE_S)
        with sock:
            try:
                got = self._play(sock)
            except OSError as error:
                got = b"|" + type(error).__name__.encode()
        if number == 0:
            self.first = got

    def close(self) -> None:
        """No more connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


MASKS = (
    (re.compile(rb" \d{4,5} \d{4,5}\r\n"), b" PORT PORT\r\n"),  # a PROXY line
    (re.compile(rb"^\x04\x01..", re.DOTALL), b"SOCKS PORT"),
    (re.compile(rb"\x16\x03\x01.*", re.DOTALL), b"CLIENT HELLO"),
    (re.compile(rb"(\x16\x03\x00\x00\x79.{6}).{4}", re.DOTALL), rb"\1TIME"),
)


def masked(got: bytes | None) -> bytes:
    """Bytes without what differs from run to run."""
    for pattern, instead in MASKS:
        got = pattern.sub(instead, got or b"")
    return got or b""


DEFAULTS = ("defaults", "timeout connect 5s", "timeout client 5s", "timeout server 5s")


def config(cases: Sequence[Case], ports: Sequence[int], sock: Path) -> str:
    """All cases as one configuration."""
    text = [
        f"global\n    stats socket {sock} level admin\n    nbthread 1\n    external-check\n    insecure-fork-wanted\n",
        "\n    ".join(DEFAULTS) + "\n",
    ]
    for number, (case, port) in enumerate(zip(cases, ports, strict=True)):
        lines = [f"backend c{number}", *case.lines, f"server s 127.0.0.1:{port} check {PACE} {case.words}"]
        sections = [[*DEFAULTS, *case.defaults], lines, list(DEFAULTS)] if case.defaults else [lines]
        text.extend("\n    ".join(section).replace("{port}", str(port)) + "\n" for section in sections)
    return "".join(text)


def ask(path: Path, command: str) -> str:
    """One command on a runtime socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: sock.recv(1 << 20), b"")).decode("latin-1")


def first_results(
    sock: Path, wanted: int, process: subprocess.Popen[bytes], log: Path
) -> dict[str, tuple[str, str, str]]:
    """Status, code and text of each server's first check that ended, by backend."""
    seen: dict[str, tuple[str, str, str]] = {}
    end = time.monotonic() + READY_S
    while len(seen) < wanted and time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        with contextlib.suppress(OSError):
            rows = csv.DictReader(ask(sock, "show stat -1 4 -1").removeprefix("# ").splitlines())
            for row in rows:
                if row["check_status"] and row["check_status"] != "INI" and not row["check_status"].startswith("*"):
                    seen.setdefault(row["pxname"], (row["check_status"], row["check_code"], row["last_chk"]))
        threading.Event().wait(0.02)
    return seen


def run(program: str, cases: Sequence[Case], folder: Path) -> list[Said]:
    """What one program (`haproxy` or `risefall`) says of all cases."""
    listeners = [Listener(case.play) for case in cases]
    sock, log, path = folder / f"{program}.sock", folder / f"{program}.log", folder / f"{program}.cfg"
    own = sock if program == "haproxy" else folder / "unused.sock"
    path.write_text(config(cases, [listener.port for listener in listeners], own), encoding="utf-8")
    argv = (
        [shutil.which("haproxy") or "haproxy", "-db", "-f", str(path)]
        if program == "haproxy"
        else [
            sys.executable,
            "-m",
            "risefall",
            "run",
            "-f",
            str(path),
            "--as",
            "2.6",
            "--log",
            "none",
            "--state-dir",
            "none",
        ]
    )
    python_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": python_path, "RISEFALL_SOCKET": str(sock)}
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            seen = first_results(sock, len(cases), process, log)
            wait_for_bytes(cases, listeners)
        finally:
            stop(process)
            for listener in listeners:
                listener.close()
    said = []
    for number, (case, listener) in enumerate(zip(cases, listeners, strict=True)):
        status, code, text = seen.get(f"c{number}", ("no check ended", "", ""))
        text = text.removesuffix(BY_RESET) if status == "L6RSP" else text
        said.append(Said(status, code, text, masked(listener.first) if case.bytes_count else b""))
    return said


def wait_for_bytes(cases: Sequence[Case], listeners: Sequence[Listener]) -> None:
    """Until every first connection is over; a port that nobody called stays None."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end and any(
        listener.first is None for case, listener in zip(cases, listeners, strict=True) if case.bytes_count
    ):
        threading.Event().wait(0.02)
