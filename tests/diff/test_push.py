"""`run --push` with the real haproxy: it becomes what risefall sees, through restarts of either, and gets its checks back.

The two see different backends, so that it shows whose checks count: haproxy's own ports refuse, risefall's answer.
Some fifteen seconds in all, most of it waiting for what is read anew.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from risefall.engine.play import OK, Act, Door, Listener, Player, When, http_reply

pytestmark = pytest.mark.usefixtures("version")

DEADLINE_S = 25.0
POLL_S = 0.02
BUSY = Act(http_reply(404, "Not Found"))


def until(condition: Callable[[], bool], what: str, told: Callable[[], str] = str) -> None:
    """Waits for an observed condition."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_S:.0f} s: {what}\n{told()}"
        time.sleep(POLL_S)


class Haproxy:
    """A haproxy whose own checks find every server refusing."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self.socket = folder / "haproxy.sock"
        self.config = folder / "haproxy.cfg"
        self.log = folder / "haproxy.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.config.write_text(
            f"global\n stats socket {self.socket} level admin\ndefaults\n mode http\n timeout connect 1s\n"
            f" timeout client 1s\n timeout server 1s\nbackend b\n"
            f" server s 127.0.0.1:{port} check inter 100ms rise 2 fall 1\n server follower 127.0.0.1:{port} track s\n"
            f" server lone 127.0.0.1:{port}\n server unknown 127.0.0.1:{port} check inter 100ms fall 1\n{more}"
        )

    def start(self, *options: str) -> None:
        with self.log.open("ab") as log:
            argv = ["haproxy", *options, "-db", "-f", str(self.config)]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        until(lambda: "Pid" in self.ask("show info"), "haproxy answers", self.log.read_text)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pid(self) -> str:
        """Of the process that answers; a worker, where there is a master."""
        return next((line for line in self.ask("show info").splitlines() if line.startswith("Pid")), "")

    def ask(self, command: str) -> str:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.socket))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()
        return ""

    def status(self, server: str = "s") -> str:
        """The status column."""
        rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
        return next((row["status"] for row in rows if row["svname"] == server), "")

    def enabled(self) -> bool:
        """Whether its own check of s runs."""
        return bool(int(self.row()["srv_check_state"]) & 4)

    def row(self, server: str = "s") -> dict[str, str]:
        _, head, *rows = self.ask("show servers state").splitlines()
        columns = head.removeprefix("# ").split()
        return next(dict(zip(columns, row.split(), strict=False)) for row in rows if f" {server} " in row)


class World:
    """A haproxy, what risefall checks, and a risefall that can be started and ended."""

    def __init__(self, folder: Path, player: Player) -> None:
        self.folder = folder
        self.player = player
        refused, port = player.listen("127.0.0.1", 0, OK)
        player.door(refused, Door.REFUSE)
        self.haproxy = Haproxy(folder, port)
        self.backend: Listener
        self.backend, self.port = player.listen("127.0.0.1", 0, OK)
        self.output = folder / "risefall.out"
        self.process: subprocess.Popen[bytes] | None = None

    def told(self) -> str:
        return self.output.read_text()

    def configure(self, *names: str, server: str = "check inter 100ms fall 1 rise 1") -> None:
        """What risefall reads: these servers, each checked, but `follower`."""
        place = f"127.0.0.1:{self.port}"
        lines = [f" server {name} {place} {'track s' if name == 'follower' else server}\n" for name in names]
        (self.folder / "risefall.cfg").write_text(
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nbackend b\n"
            f" option httpchk\n http-check disable-on-404\n{''.join(lines)}"
        )

    def start(self, *more: str, **server: str) -> None:
        self.configure("s", "follower", "lone", "gone", **server)
        config = self.folder / "risefall.cfg"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "risefall", "run", "-f", str(config), "--push", str(self.haproxy.socket), *more],
                env={**os.environ, "RISEFALL_SOCKET": str(self.folder / "run.sock")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(DEADLINE_S)
            self.process = None

    def script(self, *acts: Act) -> None:
        self.player.script(self.backend, *acts)

    def until_status(self, status: str, server: str = "s") -> None:
        until(lambda: self.haproxy.status(server) == status, f"{server} is {status}", self.told)


@contextmanager
def made(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        world = World(folder, stack.enter_context(Player(listeners=16, connections=512)))
        stack.callback(world.haproxy.kill)
        stack.callback(world.end, signal.SIGKILL)
        yield world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """haproxy runs, and has found its servers DOWN; risefall does not run yet."""
    with made(tmp_path) as world:
        world.haproxy.start()
        world.until_status("DOWN")
        yield world


def test_haproxy_becomes_what_risefall_sees_and_gets_its_checks_back(world: World) -> None:
    """Up, down, nolb; trackers follow; a server without a check there too; SIGTERM gives everything back."""
    world.start()
    world.until_status("no check")
    assert not world.haproxy.enabled()
    world.until_status("no check", "follower")
    world.script(BUSY)
    world.until_status("NOLB")
    world.until_status("NOLB", "follower")
    world.until_status("NOLB", "lone")
    world.player.door(world.backend, Door.REFUSE)
    world.until_status("DOWN")
    world.until_status("DOWN", "lone")
    world.player.door(world.backend, Door.OPEN)
    world.script(OK)
    world.until_status("no check")
    world.until_status("no check", "lone")
    world.script(BUSY)
    world.until_status("NOLB", "lone")
    assert world.haproxy.status("unknown") == "DOWN", "a server that is known only there is left alone"
    world.end()
    assert world.haproxy.enabled()
    assert world.haproxy.status("lone") == "no check", "nothing there would ever end its NOLB"
    world.until_status("DOWN")
    told = world.told()
    assert "b/s: UP" in told
    assert "b/s: STOPPING" in told
    assert "1 server of ours is not there: b/gone" in told
    assert "gave the checks of 1 server back" in told
    assert "was refused" not in told


def test_a_haproxy_that_was_killed_is_set_again(world: World) -> None:
    world.start()
    world.until_status("no check")
    world.haproxy.kill()
    until(lambda: "trying again" in world.told(), "the loss is told", world.told)
    world.haproxy.start()
    world.until_status("no check")
    assert not world.haproxy.enabled()
    until(lambda: "reached again" in world.told(), "and its end", world.told)


def test_a_haproxy_that_reloads_is_set_again(world: World) -> None:
    """Its new worker has its own checks, on the same socket; nobody has seen a connection fail."""
    world.haproxy.kill()
    world.haproxy.start("-W")
    world.start()
    world.until_status("no check")
    before = world.haproxy.pid()
    assert world.haproxy.process is not None
    world.haproxy.process.send_signal(signal.SIGUSR2)
    until(lambda: world.haproxy.pid() not in ("", before), "a new worker answers")
    world.until_status("no check")
    assert not world.haproxy.enabled()
    world.haproxy.process.terminate()
    world.haproxy.process.wait(DEADLINE_S)


def test_a_reload_here_gives_back_what_is_not_checked_any_more(world: World) -> None:
    world.start()
    world.until_status("no check")
    world.until_status("no check", "lone")
    world.script(BUSY)
    world.until_status("NOLB", "lone")
    world.configure("unknown")
    assert world.process is not None
    world.process.send_signal(signal.SIGHUP)
    world.until_status("DOWN")
    assert world.haproxy.enabled()
    world.until_status("no check", "lone")
    world.script(OK)
    world.until_status("no check", "unknown")
    world.end()
    assert "gave the checks of 1 server back" in world.told()


def test_a_risefall_that_was_killed_goes_on(world: World) -> None:
    world.start()
    world.until_status("no check")
    world.end(signal.SIGKILL)
    assert not world.haproxy.enabled()
    world.player.door(world.backend, Door.REFUSE)
    world.start()
    world.until_status("DOWN")
    world.player.door(world.backend, Door.OPEN)
    world.until_status("no check")
    world.end()
    assert world.haproxy.enabled()


def test_an_operators_drain_and_maintenance_there_survive(world: World) -> None:
    world.haproxy.ask("set server b/s state drain")
    world.start()
    world.until_status("DRAIN")
    world.player.door(world.backend, Door.REFUSE)
    world.until_status("DOWN")
    world.player.door(world.backend, Door.OPEN)
    world.until_status("DRAIN")
    world.haproxy.ask("set server b/s state maint")
    world.player.door(world.backend, Door.REFUSE)
    world.until_status("DOWN", "lone")
    assert world.haproxy.status() == "MAINT"
    world.haproxy.ask("set server b/s state ready")
    world.until_status("DOWN")
    world.end()
    assert world.haproxy.row()["srv_admin_state"] == "0"


def test_what_an_operator_changes_there(world: World) -> None:
    """A forced health is set right; checks that are enabled there are left alone until they are disabled."""
    world.start()
    world.until_status("no check")
    world.haproxy.ask("set server b/s health down")
    world.until_status("no check")
    world.haproxy.ask("enable health b/s")
    until(lambda: "is left to that" in world.told(), "it is left alone", world.told)
    world.until_status("DOWN")
    assert world.haproxy.enabled()
    world.haproxy.ask("disable health b/s")
    world.until_status("no check")
    assert "from here again" in world.told()


def test_an_agent_that_only_risefall_asks(world: World) -> None:
    """Its weight and drain hold there; in the end both are undone, since nobody there would."""
    agent, port = world.player.listen("127.0.0.1", 0, Act(b"ready 300%\n", when=When.ACCEPT))
    world.start(server=f"check inter 100ms fall 1 rise 1 agent-check agent-inter 100ms agent-port {port}")
    until(lambda: world.haproxy.row()["srv_uweight"] == "3", "the weight is set", world.told)
    world.player.script(agent, Act(b"drain\n", when=When.ACCEPT))
    world.until_status("DRAIN")
    world.player.script(agent, Act(b"ready\n", when=When.ACCEPT))
    world.until_status("no check")
    world.player.script(agent, Act(b"drain\n", when=When.ACCEPT))
    world.until_status("DRAIN")
    world.end()
    row = world.haproxy.row()
    assert (row["srv_uweight"], row["srv_admin_state"]) == ("1", "0")


def test_a_haproxy_that_hangs_delays_nothing(world: World, tmp_path: Path) -> None:
    """One that is stopped, and one whose socket takes no connection, while a third is set as ever; and the end comes."""
    full = tmp_path / "full.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(full))
        door.listen(0)
        other = tmp_path / "other"
        other.mkdir()
        with made(other) as hung:
            hung.haproxy.start()
            world.start("--push", str(hung.haproxy.socket), "--push", str(full))
            until(lambda: not hung.haproxy.enabled(), "the other is set too", world.told)
            assert hung.haproxy.process is not None
            hung.haproxy.process.send_signal(signal.SIGSTOP)
            for _ in range(3):
                world.player.door(world.backend, Door.REFUSE)
                world.until_status("DOWN")
                world.player.door(world.backend, Door.OPEN)
                world.until_status("no check")
            world.end()
            assert "could not give the checks of 1 server back" in world.told()
            assert world.haproxy.enabled()


def test_only_some_backends(world: World) -> None:
    """An unknown one is an error; what is no socket is one too."""
    world.start("--push-only", "nope")
    assert world.process is not None
    assert world.process.wait(DEADLINE_S) == 2
    assert "--push-only nope: there is no such backend" in world.told()
    world.start("--push", "127.0.0.1:0")
    assert world.process.wait(DEADLINE_S) == 2
    world.start("--push-only", "b")
    world.until_status("no check")


def test_a_socket_below_admin_is_told(world: World) -> None:
    config = world.haproxy.config
    world.haproxy.kill()
    config.write_text(config.read_text().replace("level admin", "level operator"))
    world.haproxy.start()
    world.start()
    until(lambda: "needs `level admin`" in world.told(), "why nothing is set", world.told)
