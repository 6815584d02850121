"""haproxy 2.6 and risefall on one configuration, whom the same hands command: what both show and what both write."""

from __future__ import annotations

import csv
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

import msgspec

from risefall.errors import PeerLost
from risefall.surfaces.client import Client

DEADLINE_S = 20.0
POLL_S = 0.01
PROGRAMS = ("haproxy", "risefall")
SHOWN = (
    "status", "weight", "act", "bck", "chkdown", "throttle", "tracked", "check_status", "check_desc", "check_rise",
    "check_fall", "check_health", "agent_status", "agent_desc", "agent_rise", "agent_fall", "agent_health", "uweight",
)  # fmt: skip
"""Columns of `show stat` that hold neither time nor traffic."""

IN_PROGRESS, PAUSED = 1, 8
SINCE, RESULT, HEALTH, CHECK_STATE, AGENT_STATE = 9, 11, 12, 13, 14
"""Fields of `show servers state` that change while a check runs, or with time."""


class Side(msgspec.Struct):
    """One program: where it is asked, and where its lines come in. moving: its checks come often."""

    process: subprocess.Popen[bytes]
    client: Client
    log: socket.socket
    moving: bool

    def ask(self, line: str) -> str:
        return self.client.ask(line).text

    def lines(self) -> list[str]:
        """What it has logged since, without time and process id; a line is `<PRI> text`."""
        found = []
        while True:
            try:
                told = self.log.recv(65536).decode("utf-8", "surrogateescape").strip()
            except BlockingIOError:
                return found
            told = re.sub(r"^(<\d+>)\w+ +\d+ [\d:]+ \S+?\[\d+\]: ", r"\1 ", told)
            found.append(re.sub(r"duration: \d+ms", "duration: #ms", told))

    def shown(self) -> dict[str, object]:
        """Every server and backend as both ought to show it, by name."""
        rows: dict[str, object] = {}
        for row in csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines()):
            if row["svname"] != "FRONTEND":
                kept = {name: row[name].removeprefix("* ") for name in SHOWN}
                rows[f"{row['pxname']}/{row['svname']}"] = kept
        for line in self.ask("show servers state").splitlines()[2:]:
            if words := line.split(" "):
                running = (int(words[CHECK_STATE]) | int(words[AGENT_STATE])) & IN_PROGRESS
                for place in (CHECK_STATE, AGENT_STATE):
                    words[place] = str(int(words[place]) & ~IN_PROGRESS)
                words[SINCE] = "#"
                if running:
                    words[RESULT] = "#"
                if self.moving and int(words[CHECK_STATE]) & PAUSED:
                    words[HEALTH] = "#"  # a check that was under way when maintenance began has counted, or not
                rows[f"state of {words[1]}/{words[3]}"] = words
        return rows

    def in_progress(self) -> set[str]:
        """Backends a check of which is under way."""
        rows = (line.split(" ") for line in self.ask("show servers state").splitlines()[2:] if line)
        return {words[1] for words in rows if (int(words[CHECK_STATE]) | int(words[AGENT_STATE])) & IN_PROGRESS}


class Pair(msgspec.Struct):
    """Both programs."""

    haproxy: Side
    risefall: Side

    def both(self, line: str) -> tuple[str, str]:
        """The answers of both to a command."""
        return self.haproxy.ask(line), self.risefall.ask(line)

    def until(self, found: Callable[[Side], bool]) -> None:
        """Waits for a condition on both at once."""
        end = time.monotonic() + DEADLINE_S
        while not (found(self.haproxy) and found(self.risefall)):
            assert time.monotonic() < end, f"haproxy {self.haproxy.shown()}, risefall {self.risefall.shown()}"
            time.sleep(POLL_S)

    def apart(self) -> list[str]:
        """Where what both show differs; nothing where it is the same."""
        theirs, ours = self.haproxy.shown(), self.risefall.shown()
        return [
            f"{name}: haproxy {theirs.get(name)}, risefall {ours.get(name)}"
            for name in sorted(theirs.keys() | ours.keys())
            if theirs.get(name) != ours.get(name)
        ]

    def settle(self, *, quiet: int = 1) -> list[str]:
        """Waits until both have shown the same `quiet` times in a row; else what differs in the end."""
        end = time.monotonic() + DEADLINE_S
        same = 0
        while same < quiet:
            told = self.apart()
            same = 0 if told else same + 1
            if told and time.monotonic() > end:
                return told
            if told or quiet > 1:
                time.sleep(POLL_S)
        return []

    def logged(self, lines: Callable[[list[str]], object]) -> list[str]:
        """Waits until both have logged the same, as `lines` sees it; else what each has."""
        end = time.monotonic() + DEADLINE_S
        theirs: list[str] = []
        ours: list[str] = []
        while True:
            theirs += self.haproxy.lines()
            ours += self.risefall.lines()
            if lines(theirs) == lines(ours):
                return []
            if time.monotonic() > end:
                return [f"haproxy logged {lines(theirs)}", f"risefall logged {lines(ours)}"]
            time.sleep(POLL_S)


def by_server(lines: list[str]) -> dict[str, list[str]]:
    """Lines by whom they are about, without results, repetitions as one: where checks come often, the order between servers,
    their counts, a check under way as maintenance begins, and how often 2.6 repeats itself are chance.
    """
    found: dict[str, list[str]] = {}
    for line in lines:
        if " check for " in line:
            continue
        name = re.search(r"[Ss]erver (\S+/\S+)|(?:backend|proxy) (\S+)", line)
        text = re.sub(r"\d+ active and \d+ backup", "#", line)
        found.setdefault(name[1] or name[2] if name else "", []).append(text)
    return {name: [text for text, _ in groupby(texts)] for name, texts in found.items()}


@contextmanager
def running(folder: Path, body: str, *, moving: bool = False) -> Iterator[Pair]:
    """Starts both with a configuration of these proxies. moving: checks come often, so that some things are chance."""
    with ExitStack() as stack:
        sides = []
        for program in PROGRAMS:
            home = folder / program
            home.mkdir()
            log = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            log.bind(str(home / "log.sock"))
            log.setblocking(False)
            config = home / "c.cfg"
            config.write_text(
                f"global\n  log {home}/log.sock local0\n  stats socket {home}/s.sock level admin\n"
                f"defaults\n  mode http\n  log global\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n{body}"
            )
            ours = [sys.executable, "-m", "risefall", "run", "--as", "2.6", "--state-dir", "none"]
            argv = ["haproxy", "-db"] if program == "haproxy" else [*ours, "--socket", str(home / "s.sock")]
            error = stack.enter_context((home / "err").open("wb"))
            process = subprocess.Popen([*argv, "-f", str(config)], stdout=error, stderr=error)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            sides.append(Side(process, Client(str(home / "s.sock")), log, moving))
        for side, program in zip(sides, PROGRAMS, strict=True):
            answers(side, folder / program / "err")
        yield Pair(*sides)


def answers(side: Side, error: Path) -> None:
    """Waits for its socket."""
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            side.ask("show version")
        except PeerLost:
            assert side.process.poll() is None, error.read_text()
            assert time.monotonic() < end, error.read_text()
            time.sleep(POLL_S)
        else:
            return


SWITCHES = ("enable health", "enable agent", "disable agent", "enable server", "disable server", "disable health")


def command(chance: random.Random, servers: list[str], switches: Sequence[str] = SWITCHES) -> str:
    """One that changes a server."""
    server = chance.choice(servers)
    choices = (
        (34, "set server {} state", ("ready", "drain", "maint")),
        (20, "set server {} health", ("up", "down", "stopping")),
        (12, "set server {} agent", ("up", "down")),
        (10, "set weight {}", ("0", "1", "50%", "100%", "0%", "256", "20")),
    )
    weights = [weight for weight, *_ in choices]
    kind = chance.choices(range(len(choices) + 1), [*weights, 24])[0]
    if kind == len(choices):
        return f"{chance.choice(switches)} {server}"
    _, text, words = choices[kind]
    return f"{text.format(server)} {chance.choice(words)}"
