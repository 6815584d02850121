"""One play for `risefall vrrp --notify` and the healthcheck process of the real keepalived 2.2.7, each in a namespace of its own.

A play's servers answer by the number of the connection, its programs by that of the run, so that what is compared does not
depend on time. The kernel need not have IPVS: `ipvs_shim.c` says yes to all that keepalived asks of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from vrrp_lab import LOG_TIME

WHO = ("keepalived", "risefall")
DEADLINE_S = 40.0
CALLS_S = 5.0
QUIET = re.compile(
    r"Activating BFD|Starting |Running on|Command line|^ +\S*'|in our process group|Opening file|Configuration file|NOTICE|Initializing ipvs|Startup complete"
    r"|^SMTP alert|^Remote SMTP server .* connected|^Warning - quorum|: hysteresis \d+ >= quorum|Stopping|Stopped|CPU usage|Registering|Netlink reflector|^Printing"
)
"""What is keepalived's own matter."""
POOL = re.compile(r"\[(?:10\.0\.0\.|2001:db8::)\d+\]:\w+:\d+")
PORT = re.compile(r"\][:\w]*:(\d+)")
OR = " OR "
GLOBAL = "global_defs {{\n router_id t\n script_user root\n lvs_notify_fifo {own}/fifo\n {more}\n}}\n"

Speak = Callable[[socket.socket, int], None]
Answer = Callable[[bytes, int], list[bytes]]
"""Of a UDP server: what it says to a datagram, which is its first, second ..."""


def one_of(*speaks: Speak) -> Speak:
    """The first for the first connection and so on; the last for all others."""
    return lambda connection, number: speaks[min(number, len(speaks)) - 1](connection, number)


def says(reply: bytes, *, rest_s: float = 0) -> Speak:
    """Reads a request, answers, and closes in peace. rest_s: closes so much later."""

    def speak(connection: socket.socket, number: int) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(4096)
            if not data:
                return
            request += data
        if reply:
            connection.sendall(reply)
        time.sleep(rest_s)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)

    return speak


def mail(*answers: bytes) -> Speak:
    """A mail server: one answer before the first line and one behind each; then it closes."""

    def speak(connection: socket.socket, number: int) -> None:
        lines = connection.makefile("rb")
        for answer in answers:
            connection.sendall(answer)
            if not lines.readline():
                return

    return speak


def tls(context: ssl.SSLContext, speak: Speak) -> Speak:
    def secure(connection: socket.socket, number: int) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            speak(wrapped, number)
            with suppress(OSError, ValueError):
                wrapped.unwrap()

    return secure


class Play(msgspec.Struct, frozen=True):
    """config: with {own}. servers: by port. programs: shell scripts, by name. steps: once both have logged all of the texts, the
    value is written into the file; into `ip`: is what `ip` is told in the namespace. until: what both must have logged before they are ended. mail_port: where mails go. datagrams: UDP servers, by port. six: servers listen
    at ::1 and not at 127.0.0.1; where mails go is always the latter."""

    config: str
    until: tuple[str, ...]
    servers: tuple[tuple[int, Speak], ...] = ()
    programs: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[tuple[str, ...], str, str], ...] = ()
    mail_port: int = 0
    datagrams: tuple[tuple[int, Answer], ...] = ()
    six: bool = False


class Outcome(msgspec.Struct):
    """By who, then by virtual server: the lines; FIFO lines; calls in the order of each."""

    lines: dict[str, dict[str, list[str]]]
    fifo: dict[str, dict[str, list[str]]]
    calls: dict[str, dict[str, list[str]]]
    mails: dict[str, dict[str, list[str]]]

    def differences(self) -> dict[str, object]:
        """What the two do not agree on, keepalived's first."""
        parts: dict[str, dict[str, Any]] = {
            "lines": self.lines,
            "fifo": self.fifo,
            "calls": self.calls,
            "mails": self.mails,
        }
        found = {}
        for name, part in parts.items():
            theirs, ours = (part[who] for who in WHO)
            for key in sorted({*theirs, *ours}):
                if theirs.get(key) != ours.get(key):
                    found[f"{name} {key}"] = (theirs.get(key), ours.get(key))
        return found


def build_shim(folder: Path) -> Path:
    """The library that stands in for the kernel's IPVS."""
    made = folder / "ipvs_shim.so"
    source = Path(__file__).with_name("ipvs_shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True)
    return made


class Side:
    """One of the two programs, with its namespace, its folder and its servers."""

    def __init__(self, who: str, name: str, play: Play, folder: Path, shim: Path) -> None:
        self.who, self.play, self.own, self.shim = who, play, folder / who, shim
        self.space = f"rfck{os.getpid()}{name}{who[0]}"
        self._sockets: list[socket.socket] = []
        self._heard: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._fifo = -1
        self.fifo = b""
        self._mails: list[str] = []
        self._servers = [*play.servers, (play.mail_port, self._keep)] if play.mail_port else [*play.servers]

    def __enter__(self) -> Side:
        self.own.mkdir()
        subprocess.run(["ip", "netns", "add", self.space], check=True, capture_output=True)
        subprocess.run(["ip", "-n", self.space, "link", "set", "lo", "up"], check=True, capture_output=True)
        for name, body in self.play.programs:
            path = self.own / name
            path.write_text("#!/bin/sh\n" + body.replace("{own}", str(self.own)) + "\n")
            path.chmod(0o755)
        (self.own / "conf").write_text(self.play.config.replace("{own}", str(self.own)))
        os.mkfifo(self.own / "fifo")
        self._fifo = os.open(self.own / "fifo", os.O_RDWR | os.O_NONBLOCK)
        opener = threading.Thread(target=self._listen)
        opener.start()
        opener.join()
        if len(self._sockets) < len(self._servers):
            raise OSError("the servers of a play cannot listen")
        for heard, (_, answer) in zip(self._heard, self.play.datagrams, strict=True):
            threading.Thread(target=self._answer, args=(heard, answer), daemon=True).start()
        for listener, (_, speak) in zip(self._sockets, self._servers, strict=True):
            threading.Thread(target=self._serve, args=(listener, speak), daemon=True).start()
        self._start()
        return self

    def _listen(self) -> None:
        """In a thread of its own, which alone goes into the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        space = os.open(f"/run/netns/{self.space}", os.O_RDONLY | os.O_CLOEXEC)
        if libc.setns(space, 0):
            return
        os.close(space)
        address = "::1" if self.play.six else "127.0.0.1"
        family = socket.AF_INET6 if self.play.six else socket.AF_INET
        for port, _ in self._servers:
            mails = port == self.play.mail_port
            listener = socket.socket(socket.AF_INET if mails else family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1" if mails else address, port))
            listener.listen(16)
            self._sockets.append(listener)
        for port, _ in self.play.datagrams:
            heard = socket.socket(family, socket.SOCK_DGRAM)
            heard.bind((address, port))
            self._heard.append(heard)

    def _keep(self, connection: socket.socket, number: int) -> None:
        """A mail server: keeps subject, addressees and body of each mail, in one line."""
        lines = connection.makefile("rb")
        connection.sendall(b"220 sink\r\n")
        told: list[str] = []
        for raw in lines:
            word = raw.split()[0].upper() if raw.split() else b""
            if word == b"DATA":
                connection.sendall(b"354 go on\r\n")
                text = b"".join(iter(lines.readline, b".\r\n"))
                head, _, body = text.decode().replace("\r\n", "\n").partition("\n\n")
                told += [line for line in head.splitlines() if line.startswith(("Subject:", "X-Mailer:", "To:"))]
                told.append(body.strip())
                self._mails.append(" | ".join(told))
            elif word == b"RCPT":
                told.append(raw.decode().strip().partition(" ")[2])
            connection.sendall(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    def mails(self) -> dict[str, list[str]]:
        """By the virtual server; several at one moment may come in any order: sorted."""
        return {key: sorted(found) for key, found in by_object(self._mails).items()}

    @staticmethod
    def _answer(heard: socket.socket, answer: Answer) -> None:
        number = 0
        with suppress(OSError):
            while True:
                data, where = heard.recvfrom(4096)
                if not data:
                    return  # it was shut down
                number += 1
                for reply in answer(data, number):
                    heard.sendto(reply, where)

    @staticmethod
    def _serve(listener: socket.socket, speak: Speak) -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=_one, args=(connection, speak, number), daemon=True).start()

    def _start(self) -> None:
        inside = ["ip", "netns", "exec", self.space]
        with (self.own / "log").open("wb") as log:
            if self.who == "keepalived":
                pids = [f"--{name}={self.own / name}" for name in ("pid", "vrrp_pid", "checkers_pid", "bfd_pid")]
                command = ["keepalived", "-n", "-l", "-D", "-C", "-f", str(self.own / "conf"), *pids]
                env = {**os.environ, "LD_PRELOAD": str(self.shim), "TMPDIR": str(self.own)}
            else:
                command = [sys.executable, "-m", "risefall", "vrrp", "-f", str(self.own / "conf"), "--notify", "--json"]
                env = dict(os.environ)
            self._process = subprocess.Popen([*inside, *command], stdout=log, stderr=subprocess.STDOUT, env=env)

    def lines(self) -> list[str]:
        """What has been logged, without times and without what differs by the folder."""
        self._drain()
        found = []
        for raw in (self.own / "log").read_text(errors="replace").splitlines():
            if self.who == "keepalived":
                text = raw[LOG_TIME:]
            else:
                with suppress(ValueError):
                    one = json.loads(raw)
                    if one.get("kind") == "log":
                        found.append(one["text"].replace(str(self.own), "OWN"))
                continue
            if not QUIET.search(text):
                found.append(text.replace(str(self.own), "OWN"))
        return found

    def has(self, text: str) -> bool:
        """text: one or more alternatives, divided by `OR`."""
        return any(part in line for part in text.split(OR) for line in self.lines())

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self._fifo, 65536):
                self.fifo += data

    def stop(self) -> None:
        """Ends the program as an operator does."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=DEADLINE_S)
        self._drain()

    def calls(self) -> dict[str, list[str]]:
        """By their last word, which says of what they are. Several at one moment may write in any order: sorted."""
        path = self.own / "calls"
        grouped: dict[str, list[str]] = {}
        for call in path.read_text().splitlines() if path.exists() else ():
            grouped.setdefault(call.split()[-1], []).append(call)
        return {key: sorted(found) for key, found in grouped.items()}

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for listener in self._sockets:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for heard in self._heard:
            with suppress(OSError):
                heard.shutdown(socket.SHUT_RDWR)
            heard.close()
        if self._fifo >= 0:
            os.close(self._fifo)
        subprocess.run(["ip", "netns", "del", self.space], check=False, capture_output=True)


def _one(connection: socket.socket, speak: Speak, number: int) -> None:
    with connection, suppress(OSError, ValueError):
        connection.settimeout(DEADLINE_S)
        speak(connection, number)


def wait_for(sides: Sequence[Side], text: str, step: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not all(side.has(text) for side in sides):
        if time.monotonic() > deadline:
            told = {side.who: side.lines()[-6:] for side in sides if not side.has(text)}
            raise AssertionError(f"{step}: nobody said {text!r} in {DEADLINE_S} s: {told}")
        time.sleep(0.05)


def by_object(lines: Sequence[str]) -> dict[str, list[str]]:
    """Lines by the virtual server, all of them 10.0.0.x or 2001:db8::x, that they name, or whose server's port they name."""
    owner: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for line in lines:
        pool = POOL.search(line)
        port = PORT.search(POOL.sub("", line))
        if pool and port:
            owner.setdefault(port.group(1), pool.group())
        key = pool.group() if pool else owner.get(port.group(1), "") if port else ""
        found.setdefault(key, []).append(line)
    found.get("", []).sort()  # of no pool: nothing says in what order
    return found


def play(name: str, one: Play, folder: Path, shim: Path) -> Outcome:
    """Runs it on both at once."""
    with Side(WHO[0], name, one, folder, shim) as theirs, Side(WHO[1], name, one, folder, shim) as ours:
        sides = (theirs, ours)
        for number, (texts, value, file) in enumerate(one.steps):
            for text in texts:
                wait_for(sides, text, f"{name}, step {number}")
            for side in sides:
                if file == "ip":
                    subprocess.run(["ip", "-n", side.space, *value.split()], check=True, capture_output=True)
                    continue
                (side.own / f"{file}.new").write_text(value)
                os.replace(side.own / f"{file}.new", side.own / file)
        for text in one.until:
            wait_for(sides, text, name)
        deadline = time.monotonic() + CALLS_S
        while theirs.mails() != ours.mails() and time.monotonic() < deadline:
            time.sleep(0.05)  # those that are on their way at the end are lost
        mails = {side.who: side.mails() for side in sides}
        for side in sides:
            side.stop()
        calls = {side.who: side.calls() for side in sides}
        deadline = time.monotonic() + CALLS_S
        while calls[WHO[0]] != calls[WHO[1]] and time.monotonic() < deadline:
            time.sleep(0.05)  # the last ones may still be starting
            calls = {side.who: side.calls() for side in sides}
        return Outcome(
            {side.who: by_object(side.lines()) for side in sides},
            {side.who: by_object(side.fifo.decode().splitlines()) for side in sides},
            calls,
            mails,
        )
