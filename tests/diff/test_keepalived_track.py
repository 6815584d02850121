"""Real keepalived 2.2.7 runs risefall-track as its vrrp_script: what fails puts a node into FAULT or takes its priority, and what
comes back gives it back, with the lines and at the times that the model of scripts and elections foretold; real haproxy and
its socket; and what `--where` says of a copy beside what keepalived's own script security says.

The scenarios are played as in test_election.py, ten seconds of real time, all at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from elections import Play, Step, inst
from risefall.vrrp.scripts import ScriptSettings
from risefall.vrrp.trackers import Kind, Tracked
from stalls import Stalls, tell
from test_election import Outcome, play_once, played
from vrrp_lab import NodePlan, missing

TRACK = str(Path(sysconfig.get_path("scripts")) / "risefall-track")
LIMIT_S = 20.0
STOPPING, DEAD = "HAProxy is stopping", "Connection refused"
SLOW = ScriptSettings(name="chk", rise=2, fall=3)
SCRIPT_LATE_US = 1_200_000
"""risefall runs its own script once a second."""


def track(*words: object, **environment: str) -> tuple[int, str]:
    """Exit code and what was said."""
    argv, env = [TRACK, *map(str, words)], {**os.environ, **environment}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stderr


def until_says(code: int, *words: object, **environment: str) -> str:
    """Waits until risefall-track has this exit code; what it said."""
    limit = time.monotonic() + LIMIT_S
    while (found := track(*words, **environment))[0] != code:
        assert time.monotonic() < limit, found
        time.sleep(0.02)
    return found[1]


class Place:
    """What a check looks at, which can be broken and mended; `words` are those of risefall-track."""

    words: tuple[object, ...]

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *argv: object) -> None:
        self.process = subprocess.Popen([str(word) for word in argv])

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def put(self, broken: int) -> None:
        """Breaks or mends it, and waits until risefall-track finds it so."""
        (self.spoil if broken else self.mend)()
        until_says(1 if broken else 0, *self.words, **self.environment)

    def mend(self) -> None:
        raise NotImplementedError

    def spoil(self) -> None:
        self.stop()


class Server(Place):
    """A server that `risefall run` checks: somebody listens on its port or nobody does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        config = folder / "h.cfg"
        config.write_text(
            "defaults\n  mode tcp\n  timeout connect 1s\nbackend app\n"
            f"  server a 127.0.0.1:{self.port} check inter 50ms fall 1 rise 1\n"
        )
        self.words = ("server", "app/a", "--socket", folder / "run.sock")
        run = (sys.executable, "-m", "risefall", "run", "-f", config, "--socket", folder / "run.sock")
        self.start(*run, "--log", "none", "--state-dir", "none")

    def mend(self) -> None:
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port))

    def spoil(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def stop(self) -> None:
        super().stop()
        self.spoil()


class Told(Server):
    """The same, but only the environment says where to ask."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment = {"RISEFALL_SOCKET": str(folder / "run.sock")}
        self.words = ("server", "app/a")


class Script(Place):
    """A script that `risefall run --scripts` runs for all who ask."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        conf, self.flag = folder / "scripts.conf", folder / "flag"
        conf.write_text(f'vrrp_script own {{\n  script "/usr/bin/test ! -e {self.flag}"\n  interval 1\n}}\n')
        self.words = ("script", "own", "--socket", folder / "run.sock")
        run = (sys.executable, "-m", "risefall", "run", "--scripts", conf, "--socket", folder / "run.sock")
        self.start(*run, "--log", "none", "--state-dir", "none")

    def mend(self) -> None:
        self.flag.unlink(missing_ok=True)

    def spoil(self) -> None:
        self.flag.touch()


class Haproxy(Place):
    """A real haproxy."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """more: of the section `global`."""
        super().__init__(folder)
        self.socket = folder / "admin.sock"
        self.words = ("haproxy", self.socket)
        with socket.create_server(("127.0.0.1", 0)) as spare:
            self.port = spare.getsockname()[1]
        (folder / "h.cfg").write_text(
            f"global\n  stats socket {self.socket} level admin\n{more}defaults\n  mode http\n  timeout connect 1s\n"
            f"  timeout client 1m\n  timeout server 1m\nfrontend f\n  bind 127.0.0.1:{self.port}\n"
        )

    def mend(self) -> None:
        if self.process is None:
            self.start("haproxy", "-q", "-db", "-f", self.folder / "h.cfg")


class Process(Place):
    """A process of a name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.program = folder / f"rft{os.getpid()}"
        shutil.copy("/bin/sleep", self.program)
        self.words = ("process", self.program.name)

    def mend(self) -> None:
        if self.process is None:
            self.start(self.program, "1000")


FAILS, PASSES = Step(2.5, "write", words=("chk", 1)), Step(6.5, "write", words=("chk", 0))
PLAYS: dict[str, tuple[type[Place], int, tuple[Step, ...], str]] = {
    "server-fault": (Server, 0, (FAILS, PASSES), "n0"),
    "environment-fault": (Told, 0, (FAILS, PASSES), "n0"),
    "server-weight": (Server, -20, (FAILS,), "n1"),
    "script-fault": (Script, 0, (FAILS, PASSES), "n0"),
    "haproxy-fault": (Haproxy, 0, (FAILS, PASSES), "n0"),
    "haproxy-weight-and-back": (Haproxy, -20, (FAILS, PASSES), "n0"),
    "process-adds": (Process, 20, (FAILS,), "n0"),
    "process-weight": (Process, -20, (FAILS,), "n1"),
}
"""What is looked at, the weight, what happens, and who is MASTER in the end: 100 with the script, or 90."""


def play_of(name: str, place: Place) -> Play:
    """Two nodes, the first with risefall-track as its script."""
    _, weight, steps, winner = PLAYS[name]
    line = " ".join(map(str, (TRACK, *place.words)))
    first = NodePlan(
        (inst(0, 100),),
        (Tracked(Kind.SCRIPT, "chk", weight),),
        scripts=(SLOW,),
        at_first=(("chk", 0),),
        programs=(("chk", line, place.put),),
        environment=tuple(place.environment.items()),
    )
    later_us = SCRIPT_LATE_US if name.startswith("script") else 0
    return Play((first, NodePlan((inst(1, 90),))), steps, steps[-1].at_s + 4.5, (winner,), later_us=later_us)


def of_track(name: str, folder: Path, stalls: Stalls) -> tuple[tuple[str, list[tuple[int, str]]], Outcome]:
    """What does not fit, and the last outcome."""
    last: list[Outcome] = []

    def once(attempt: int) -> Outcome:
        with ExitStack() as undo:
            place = PLAYS[name][0](folder / f"{name}{attempt}p")
            undo.callback(place.stop)
            last[:] = [play_once(play_of(name, place), folder / f"{name}{attempt}", stalls)]
        logged = (folder / f"{name}{attempt}" / "n0" / "log").read_text()
        assert "VRRP_Script(chk) succeeded" in logged
        assert "(exited with status 1)" in logged
        return last[0]

    return played(once), last[0]


Tracks = dict[str, Future[tuple[tuple[str, list[tuple[int, str]]], Outcome]]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracks]:
    """The scenarios of the tests that were selected, under way."""
    if why := missing():
        pytest.skip(why)
    here = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params.get("name") for item in here if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("track")
    with Stalls() as stalls, ThreadPoolExecutor(max_workers=8) as pool:
        yield {name: pool.submit(of_track, name, folder, stalls) for name in PLAYS if name in names}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", PLAYS)
def test_keepalived_acts_on_risefall_track_as_foretold(name: str, outcomes: Tracks) -> None:
    """Lines, order, winner, and the time of each."""
    (differs, again), outcome = outcomes[name].result()
    for late_us, what in again:
        tell(name, late_us, what)
    assert differs == ""
    if PLAYS[name][1] == 0:
        assert [one.line.split()[2] for one in outcome.real if one.node == "n0"][-4:] == [
            "MASTER",
            "FAULT",
            "BACKUP",
            "MASTER",
        ]


def test_a_real_haproxy_alive_stopping_and_dead(tmp_path: Path, version: str) -> None:
    """SIGUSR1: with `grace` it says so as long as that lasts; then it refuses, though its last client is still there."""
    place = Haproxy(tmp_path / "h", "  grace 1s\n")
    try:
        place.put(0)
        assert track(*place.words) == (0, "")
        with socket.create_connection(("127.0.0.1", place.port), timeout=LIMIT_S) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")  # a request that is not over
            assert place.process is not None
            place.process.send_signal(signal.SIGUSR1)
            assert STOPPING in until_says(1, *place.words)
            limit = time.monotonic() + LIMIT_S
            while DEAD not in (said := track(*place.words)[1]):
                assert time.monotonic() < limit, said
            assert place.process.poll() is None
        place.process.wait(LIMIT_S)
        assert DEAD in until_says(1, *place.words)
    finally:
        place.stop()


def test_a_reload_of_haproxy_is_no_failure(tmp_path: Path, version: str) -> None:
    """`haproxy -sf`: the new one answers on the socket before the old one goes."""
    place = Haproxy(tmp_path / "h")
    try:
        place.put(0)
        old = place.process
        assert old is not None
        place.start("haproxy", "-q", "-db", "-f", tmp_path / "h" / "h.cfg", "-sf", old.pid)
        while old.poll() is None:
            assert track(*place.words) == (0, "")
        assert track(*place.words) == (0, "")
    finally:
        place.stop()


def mode_of(copy: Path, mode: int) -> None:
    copy.chmod(mode)


def folder_of_all(copy: Path, mode: int) -> None:
    copy.parent.chmod(mode)


def owner(copy: Path, uid: int) -> None:
    os.chown(copy, uid, 0)


@pytest.mark.parametrize(
    ("change", "to", "accepted"),
    [
        (mode_of, 0o755, True),
        (mode_of, 0o757, False),
        (mode_of, 0o775, True),
        (folder_of_all, 0o777, False),
        (folder_of_all, 0o1777, True),
        (owner, 65534, False),
    ],
)
def test_where_and_keepalived_agree(
    change: Callable[[Path, int], None], to: int, accepted: bool, tmp_path: Path
) -> None:
    """What enable_script_security makes of a copy that runs as root."""
    if why := missing():
        pytest.skip(why)
    copy = tmp_path / "bin" / "risefall-track"
    copy.parent.mkdir(mode=0o755)
    shutil.copy(TRACK, copy)
    copy.chmod(0o755)
    change(copy, to)
    conf = tmp_path / "keepalived.conf"
    conf.write_text(
        "global_defs {\n  enable_script_security\n  script_user root\n}\n"
        f'vrrp_script chk {{\n  script "{copy} file /"\n}}\n'
        "vrrp_instance VI_1 {\n  interface lo\n  virtual_router_id 51\n  priority 100\n  track_script {\n    chk\n  }\n"
        "  virtual_ipaddress {\n    10.0.0.9\n  }\n}\n"
    )
    told = subprocess.run(
        ["keepalived", "-t", "-f", conf], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert ("disabling" not in told.stderr.lower() + told.stdout.lower()) is accepted, told
    done = subprocess.run([TRACK, "--where", copy], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode == 0) is accepted, done.stdout
