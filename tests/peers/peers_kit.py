"""Real servers on loopback, and one comparison: what haproxy 2.6 and `risefall check` say of the same servers.

A `Peer` is a server's process: on a port that the kernel picked, in a folder of its own, leading its own process group.
Its port is held from the beginning by a socket that does not listen, so that a check of a peer that has not started is
refused, and nobody else gets the port as the source of a connection meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from dialogue_kit import first_results
from haproxy_kit import haproxy_path

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
END_S = 5.0
CHECKS_S = 60.0
SPREAD_MS = 500
"""Over this time haproxy spreads its first checks."""


class Missing(Exception):
    """A program that is not installed, or cannot run here; the text says which and why."""


def program(name: str, *folders: str) -> str:
    """The path of a program; in the folders of the system too that are not in everybody's PATH."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def held_port() -> socket.socket:
    """A loopback port for one peer: bound, not listening; with SO_REUSEADDR a server may listen on it all the same."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def until(condition: Callable[[], bool], what: str, limit_s: float = START_S) -> None:
    """Waits for a condition; fails with what it was when it does not come true in time."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"in {limit_s:.0f} s not seen: {what}"
        threading.Event().wait(0.02)


# --- processes ------------------------------------------------------------------------------------


def as_user(user: str) -> list[str]:
    """The words before a command of a peer: it ends with us even if we are killed, and runs as `user` if we are root.

    Folders of pytest are closed to others than their owner: so the peer keeps the right to go through them, no other.
    """
    words = [program("setpriv"), "--pdeathsig", "KILL"]
    if not user or os.geteuid() != 0:
        return words
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise Missing(f"there is no user {user}") from None
    caps = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--bounding-set=-all,+dac_override")
    return [*words, "--reuid", user, "--regid", user, "--init-groups", *caps]


class Peer:
    """One server.

    Args:
        name: of its folder and log. ports: what it listens on by name, the first one is asked whether it is up.
        hello, answer: what is sent to the first port, and what its reply must match before the peer counts as up.
        user: whose process it is where its program refuses root.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        ports: Sequence[str] = (),
        *,
        hello: bytes = b"",
        answer: bytes = b"",
        user: str = "",
    ) -> None:
        self.name, self.folder, self.user = name, folder / name, user
        self.folder.mkdir()
        self._held = {port: held_port() for port in ports or (name,)}
        self.ports = {port: int(sock.getsockname()[1]) for port, sock in self._held.items()}
        self.port = next(iter(self.ports.values()))
        self._hello, self._answer = hello, re.compile(answer, re.DOTALL)
        self.argv: list[str] = []
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        if user and os.geteuid() == 0:
            shutil.chown(self.folder, user)

    def once(self, *argv: str, stdin: str = "") -> str:
        """Runs a command that prepares the peer, as its user and in its folder."""
        done = subprocess.run(
            [*as_user(self.user), *argv],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Starts `argv`, in the foreground; it need not be up yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*as_user(self.user), *self.argv], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait_up(self) -> None:
        """Until it answers; fails with its log when it ended or took too long."""
        try:
            until(self._is_up, f"{self.name} answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text(errors='replace')[-4000:]}") from None

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
                sock.sendall(self._hello)
                return not self._answer.pattern or self._answer.match(sock.recv(4096)) is not None
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """To every process of its group."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(END_S)

    def close(self) -> None:
        """Ends it for sure; its port is free again."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_S)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # the leader may be gone and a child left
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(END_S)
        for sock in self._held.values():
            sock.close()


def connections_to(port: int) -> int:
    """How many sockets of this machine are connected to a loopback port."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "01" for row in rows)


# --- the comparison -------------------------------------------------------------------------------


class Case(msgspec.Struct, frozen=True):
    """One check of one port. lines: of its backend; words: of its server; in both `{pki}` is the folder of certificates."""

    name: str
    port: str
    lines: tuple[str, ...] = ()
    words: str = ""


class Pace(msgspec.Struct, frozen=True):
    """How often haproxy checks, and when a check gives up."""

    inter_ms: int = 1500
    timeout_ms: int = 1500


PROMPT = Pace()


class Said(msgspec.Struct, frozen=True):
    """What one program said of a check that ended.

    code: empty where the status has none. text: the status's description where the check has nothing to add; of a
    handshake that failed without what errno happened to hold, a reset or what an earlier call had left there.
    """

    status: str
    code: str
    text: str

    @classmethod
    def of(cls, status: str, code: str, text: str) -> Said:
        """As a program told it."""
        return cls(status, code, re.sub(r"(handshake failure) \([^)]*\)", r"\1", text))

    def short(self) -> str:
        """`L7STS/503`, as the tables of expectations have it; a code of 0 says nothing."""
        return self.status if self.code in ("", "0") else f"{self.status}/{self.code}"


NOTHING = Said("none", "", "no check ended")
Both = tuple[Said | None, Said]
"""haproxy's word and risefall's; None where there is no haproxy 2.6."""


def config(cases: Sequence[Case], ports: Mapping[str, int], pki: Path, pace: Pace, sock: Path) -> str:
    """All cases as one configuration: a backend and a server each."""
    limits = "".join(f"    timeout {name} {pace.timeout_ms}ms\n" for name in ("connect", "check", "server"))
    text = [
        f"global\n    stats socket {sock} level admin\n    nbthread 1\n    max-spread-checks {SPREAD_MS}\n"
        f"    log stderr format raw local0\ndefaults\n    log global\n    option log-health-checks\n    mode tcp\n{limits}"
    ]
    for number, case in enumerate(cases):
        server = f"server s 127.0.0.1:{ports[case.port]} check inter {pace.inter_ms}ms rise 1 fall 1 {case.words}"
        text.append("\n    ".join([f"backend c{number}", *case.lines, server]).replace("{pki}", str(pki)) + "\n")
    return "".join(text)


def start_haproxy(path: Path) -> subprocess.Popen[bytes]:
    """haproxy in the foreground on a configuration; its output goes beside it."""
    with path.with_suffix(".haproxy").open("wb") as output:
        return subprocess.Popen(
            [haproxy_path(), "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def start_risefall(path: Path) -> subprocess.Popen[bytes]:
    """`risefall check --json` on a configuration."""
    python_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    with path.with_suffix(".json").open("wb") as output, path.with_suffix(".risefall").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "risefall", "check", "-f", str(path), "--json", "--as", "2.6"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env={**os.environ, "PYTHONPATH": python_path},
        )  # fmt: skip


def haproxy_said(process: subprocess.Popen[bytes], path: Path, wanted: int) -> dict[str, Said]:
    """The first check of each backend that ended; haproxy is ended then."""
    try:
        found = first_results(path.with_suffix(".sock"), wanted, process, path.with_suffix(".haproxy"))
    finally:
        process.kill()  # it has connections to peers that may be stopped: nothing to wait for
        process.wait()
    texts = logged_texts(path.with_suffix(".haproxy").read_text(errors="replace"))
    return {name: Said.of(status, code, texts[name]) for name, (status, code, _) in found.items()}


LOGGED = re.compile(
    r'^Health check for server (.+?)/s [a-z ]+, reason: (.*?)(?:, code: \d+)?(?:, info: "(.*)")?, check duration:',
    re.MULTILINE,
)


def logged_texts(log: str) -> dict[str, str]:
    """What haproxy's log says of each backend's first check: `show stat` leaves out what some checks say when they pass."""
    texts: dict[str, str] = {}
    for backend, reason, info in LOGGED.findall(log):
        texts.setdefault(backend, info or reason)
    return texts


def risefall_said(process: subprocess.Popen[bytes], path: Path) -> dict[str, Said]:
    """What `risefall check` printed, in haproxy's columns."""
    try:
        process.wait(CHECKS_S)
    finally:
        process.kill()
        process.wait()
    lines = path.with_suffix(".json").read_text().splitlines()
    assert lines, path.with_suffix(".risefall").read_text(errors="replace")[-4000:]
    found = {}
    for row in map(msgspec.json.decode, lines):
        code = "" if row["code"] is None else str(row["code"])
        found[row["backend"]] = Said.of(row["status"] or row["outcome"], code, row["reason"])
    return found


def compare(
    cases: Sequence[Case], ports: Mapping[str, int], pki: Path, path: Path, *,
    pace: Pace = PROMPT, meanwhile: Callable[[int], None] | None = None,
) -> dict[str, Both]:  # fmt: skip
    """Both programs at once on one configuration of all cases.

    Args:
        ports: of the peers by name. path: of the configuration to write; outputs go beside it.
        meanwhile: called with the number of programs while they run.
    Returns: what each said, by the name of the case.
    """
    path.write_text(config(cases, ports, pki, pace, path.with_suffix(".sock")))
    theirs_runs = start_haproxy(path) if haproxy_path() else None
    ours_runs = start_risefall(path)
    try:
        if meanwhile is not None:
            meanwhile(2 if theirs_runs else 1)
        theirs = haproxy_said(theirs_runs, path, len(cases)) if theirs_runs else None
        ours = risefall_said(ours_runs, path)
    finally:
        for process in filter(None, (theirs_runs, ours_runs)):
            process.kill()
            process.wait()
    names = {case.name: f"c{number}" for number, case in enumerate(cases)}
    return {
        name: (None if theirs is None else theirs.get(backend, NOTHING), ours.get(backend, NOTHING))
        for name, backend in names.items()
    }


class Outcomes(msgspec.Struct):
    """By state and case; missing: programs that are not there."""

    of: dict[str, dict[str, Both]]
    missing: dict[str, str]

    def get(self, state: str, case: Case) -> Both:
        """Skips where the peer is not there."""
        found = self.of[state].get(case.name)
        if found is None:
            pytest.skip("; ".join(self.missing.values()))
        return found
