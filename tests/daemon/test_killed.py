"""SIGKILL at any moment of a start or a run: the next start finds nothing in its way, and a living one is never replaced."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from risefall.engine.play import OK, Player

LIMIT_S = 60
ROUNDS = 12
SEED = 20_261_124
CONFIG = "global\n  stats timeout 5s\nbackend b\n  option httpchk\n  server s 127.0.0.1:{port} check inter 20ms\n"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "t.cfg"
    with Player(listeners=4, connections=64) as player:
        path.write_text(CONFIG.format(port=player.listen("127.0.0.1", 0, OK)[1]))
        yield path


def start(config: Path) -> subprocess.Popen[bytes]:
    """`risefall run`, which prints a line of statistics every few milliseconds once it runs."""
    words = ["run", "-f", str(config), "--as", "2.6", "--json", "--stats", "20ms", "--socket", str(sock_of(config))]
    return subprocess.Popen(
        [sys.executable, "-m", "risefall", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def sock_of(config: Path) -> Path:
    return config.with_name("run.sock")


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)


def wait_line(process: subprocess.Popen[bytes]) -> None:
    """Until it runs, and says so."""
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"{"), process.communicate(timeout=LIMIT_S)[1].decode()


def answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LIMIT_S)
        sock.connect(str(path))
        sock.sendall(b"show version\n")
        return bool(sock.recv(100))
    return False


def entered(process: subprocess.Popen[bytes], moment: str, path: Path) -> None:
    """Waits until a process is at a moment of its life: the name of a condition, not of a time."""
    pid = process.pid
    seen = {
        "born": lambda: Path(f"/proc/{pid}").exists(),
        "maps": lambda: "_native" in Path(f"/proc/{pid}/maps").read_text(),
        "threads": lambda: len(os.listdir(f"/proc/{pid}/task")) > 1,
        "socket": path.exists,
        "answers": lambda: answers(path),
    }[moment]
    for _ in range(LIMIT_S * 2000):
        with contextlib.suppress(FileNotFoundError):
            if seen():
                return
        select.select([], [], [], 0.0005)
    raise AssertionError(f"it never came to {moment}")


@pytest.mark.parametrize("moment", ["born", "maps", "threads", "socket", "answers"])
def test_killed_at_a_moment_of_its_start(config: Path, moment: str) -> None:
    process = start(config)
    entered(process, moment, sock_of(config))
    kill(process)
    assert_starts(config)


def test_killed_again_and_again(config: Path) -> None:
    """At moments that a seed picks, between the first instruction and a while after the first answers."""
    dice = random.Random(SEED)
    path = sock_of(config)
    for _ in range(ROUNDS):
        process = start(config)
        moment = dice.choice(["born", "maps", "threads", "socket", "answers"])
        entered(process, moment, path)
        for _ in range(dice.randrange(2000)):
            os.getppid()  # somewhere between this moment and the next one
        kill(process)
        assert not answers(path), "it is dead"
    assert_starts(config)


def assert_starts(config: Path) -> None:
    """The next one runs, answers, and ends as it should; it leaves nothing."""
    process = start(config)
    try:
        wait_line(process)
        path = sock_of(config)
        assert answers(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        process.terminate()
        _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, err.decode()
        assert not path.exists()
        assert {one.name for one in config.parent.iterdir()} == {"t.cfg"}
    finally:
        if process.poll() is None:
            kill(process)


def test_a_living_ones_socket_is_never_taken(config: Path) -> None:
    """Nor while it is stopped and takes no connection, nor when several start at once."""
    path = sock_of(config)
    first = start(config)
    try:
        wait_line(first)
        before = path.stat().st_ino
        first.send_signal(signal.SIGSTOP)
        others = [start(config) for _ in range(2)]
        for other in others:
            _, err = other.communicate(timeout=LIMIT_S)
            assert other.returncode == 3, err.decode()
            assert f"{path}: another process serves this socket" in err.decode()
        first.send_signal(signal.SIGCONT)
        assert path.stat().st_ino == before
        assert answers(path)
    finally:
        first.send_signal(signal.SIGCONT)
        kill(first)


def test_of_several_that_find_a_stale_socket_one_wins(config: Path) -> None:
    """Whoever loses says so; the winner's socket is there and answers."""
    path = sock_of(config)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    several = [start(config) for _ in range(3)]
    try:
        running = []
        for one in several:
            assert one.stdout is not None
            if one.stdout.readline():
                running.append(one)
            else:
                assert b"another process serves this socket" in one.communicate(timeout=LIMIT_S)[1]
        assert len(running) == 1
        assert answers(path)
    finally:
        for one in several:
            if one.poll() is None:
                kill(one)
