"""What systemd is told and hands over: the messages on a socket of the test, the watchdog's condition, listening sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from risefall.daemon.notify import Given, Notifier, Pulse, take_environment
from risefall.engine.native import Engine
from risefall.errors import StartError
from risefall.surfaces.client import Client
from risefall.surfaces.serve import adopt, inherited

DEADLINE_S = 20.0
CONFIG = "backend b\n  server s1 127.0.0.1:{port} check inter 50ms\n"
HANDS_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""As a manager does it: the pid is known only to the process itself."""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that a manager reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "notify"))
        reader.settimeout(DEADLINE_S)
        yield reader


@contextlib.contextmanager
def daemon(folder: Path, port: int, *options: str, listen: int | None = None, **environment: str) -> Iterator[int]:
    """`risefall run` with what a manager says to it; its pid. listen: a descriptor to hand over as number 3."""
    path = folder / "t.cfg"
    path.write_text(CONFIG.format(port=port))
    command = [sys.executable, "-m", "risefall", "run", "-f", str(path), *options]
    if listen is not None:
        command = [sys.executable, "-c", HANDS_OVER, str(listen), *command]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        pass_fds=() if listen is None else (listen,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def words_until(manager: socket.socket, wanted: str) -> list[str]:
    """Every word that comes, up to the one that is waited for."""
    words: list[str] = []
    while wanted not in words:
        words += manager.recv(65536).decode().split("\n")
    return words


def test_ready_comes_once_the_socket_answers_and_stopping_at_the_end(
    tmp_path: Path, free_port: int, manager: socket.socket
) -> None:
    run = tmp_path / "run.sock"
    with daemon(tmp_path, free_port, RISEFALL_SOCKET=str(run), NOTIFY_SOCKET=str(tmp_path / "notify")) as pid:
        words = words_until(manager, "READY=1")
        assert Client(str(run)).ask("show version").text.strip()
        assert words[0].startswith("STATUS=")
        if (down := "STATUS=checking 1 servers, 1 down") not in words:
            words_until(manager, down)
        os.kill(pid, signal.SIGTERM)
        assert not any(word.startswith("WATCHDOG") for word in words_until(manager, "STOPPING=1"))


def test_signs_of_life_come_while_it_moves(tmp_path: Path, free_port: int, manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    with daemon(tmp_path, free_port, RISEFALL_SOCKET=str(tmp_path / "run.sock"), **environment):
        words_until(manager, "READY=1")
        for _ in range(3):
            words_until(manager, "WATCHDOG=1")


def test_sockets_that_are_handed_over_are_served_and_left(
    tmp_path: Path, free_port: int, manager: socket.socket
) -> None:
    path = tmp_path / "handed"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "LISTEN_FDS": "1"}
        with daemon(tmp_path, free_port, listen=listener.fileno(), **environment) as pid:
            words_until(manager, "READY=1")
            assert "b,s1," in Client(str(path)).ask("show stat").text
            os.kill(pid, signal.SIGTERM)
            words_until(manager, "STOPPING=1")
        assert path.exists()


def test_fd_at_a_number_is_served(tmp_path: Path, free_port: int, manager: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = ("--socket", "fd@3")
        with daemon(tmp_path, free_port, *options, listen=listener.fileno(), NOTIFY_SOCKET=str(tmp_path / "notify")):
            words_until(manager, "READY=1")
            assert "b,s1," in Client(f"127.0.0.1:{port}").ask("show stat").text


# --- the parts --------------------------------------------------------------------------------------------


def test_the_environment_is_taken_away() -> None:
    environment = {
        "NOTIFY_SOCKET": "@abstract",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": "7",
        "LISTEN_FDS": "2",
        "LISTEN_PID": "7",
        "LISTEN_FDNAMES": "a:b",
        "PATH": "/bin",
    }
    assert take_environment(environment, 7) == Given("\0abstract", 3.0, (3, 4))
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "x", "LISTEN_FDS": "1"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8", "LISTEN_FDS": "1", "LISTEN_PID": "8"},
    ],
)
def test_what_is_not_for_us_is_nothing(environment: dict[str, str]) -> None:
    assert take_environment(environment, 7) == Given()


def test_an_abstract_address_works() -> None:
    name = f"\0risefall-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(name)
        reader.settimeout(DEADLINE_S)
        notifier = Notifier(name)
        notifier.tell("READY=1", "STATUS=two\nlines")
        notifier.close()
        assert reader.recv(1000) == b"READY=1\nSTATUS=two lines"


def test_a_manager_that_takes_nothing_costs_messages_only(tmp_path: Path, manager: socket.socket) -> None:
    for address in (str(tmp_path / "nobody"), str(tmp_path / "notify"), ""):
        notifier = Notifier(address)
        for _ in range(2000):  # more than a queue of datagrams holds
            notifier.tell("WATCHDOG=1")
        notifier.close()
        notifier.tell("WATCHDOG=1")
        assert not notifier.active


def test_the_pulse_is_that_of_every_thread() -> None:
    with Engine(checks_max=1, slots=1) as idle, Engine(checks_max=1, slots=1) as dead:
        idle.start()
        pulse = Pulse([idle])
        for _ in range(3):  # an engine without a check wakes for it alone
            deadline = time.monotonic() + DEADLINE_S
            while not pulse.moved():
                assert time.monotonic() < deadline, "an idle engine does not answer"
        both = Pulse([idle, dead])
        turns = idle.turns
        idle.nudge()
        deadline = time.monotonic() + DEADLINE_S
        while idle.turns == turns:
            assert time.monotonic() < deadline, "an idle engine does not answer"
        assert not both.moved()


def test_what_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    assert inherited("/run/x") is None
    assert inherited("fd@12") == 12
    with pytest.raises(StartError, match="no descriptor"):
        inherited("fd@x")
    with socket.socket() as idle, (tmp_path / "file").open("w") as file:
        for fd in (idle.fileno(), file.fileno()):
            with pytest.raises(StartError, match=f"fd@{fd}: "):
                adopt(fd)
        assert idle.fileno() >= 0
        os.fstat(idle.fileno())
