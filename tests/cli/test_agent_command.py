"""`risefall agent` as an operator runs it."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from cli_kit import risefall
from risefall.agent.settings import Check, Service, Settings
from risefall.cli.agent_checks import make_engine
from risefall.engine.play import Act, Player, When

LONG_S = 20.0


def ask(port: int, send: bytes = b"") -> bytes:
    """The answer; nothing where the agent is silent yet and resets."""
    data = b""
    with (
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
        socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as stream,
    ):
        stream.sendall(send)
        while piece := stream.recv(4096):
            data += piece
    return data


@contextlib.contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An agent that answers, and its port; whatever happens, it is gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "risefall", "agent", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            while "answering on" not in (line := process.stderr.readline()):
                assert line, "it ended early"
            yield process, int(line.rpartition(":")[2])
        finally:
            process.kill()


def test_it_answers_without_a_configuration_and_ends_on_sigterm() -> None:
    with started("--listen", "127.0.0.1:0") as (process, port):
        deadline = time.monotonic() + LONG_S
        while not (said := ask(port)):
            assert time.monotonic() < deadline
        assert said.startswith(b"up ")
        assert said.endswith(b"%\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONG_S) == 0


def test_its_checks_are_the_engines(tmp_path: Path, free_port: int) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f"""
        [[service.app.signal]]
        kind = "check"
        check = "tcp://127.0.0.1:{free_port}"
        rise = 1
        fall = 1
        [[service.app.state]]
        say = "down"
        signal = "check"
        op = "=="
        value = 0
    """)
    _, out, _ = risefall("agent", "-f", str(path), "--explain")
    assert out.startswith("app: down 100% #check 0 (L4CON)")
    with socket.create_server(("127.0.0.1", free_port)):
        _, out, _ = risefall("agent", "-f", str(path), "--explain")
    assert out.startswith("app: up 100%")


@pytest.mark.parametrize(
    ("url", "act", "status"),
    [
        ("tcp://{}", Act(b"", when=When.ACCEPT), "L4OK"),
        ("http://{}/health", Act(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", when=When.REQUEST), "L7OK"),
        ("http://{}/health", Act(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", when=When.REQUEST), "L7STS"),
        ("redis://{}", Act(b"+PONG\r\n", when=When.BYTES, bytes_wanted=14), "L7OK"),
        ("mysql://{}", Act(b"\x0a\0\0\0\x0a8.0.1\0\0\0\0", when=When.ACCEPT), "L7OK"),
        ("mysql://{}", Act(b"\x10\0\0\0\xff\x6a\x04Host not here", when=When.ACCEPT), "L7STS"),
        ("pgsql://check@{}", Act(b"R\0\0\0\x08\0\0\0\0", when=When.BYTES, bytes_wanted=1), "L7OK"),
    ],
)
def test_a_signal_is_a_check_of_any_kind(url: str, act: Act, status: str) -> None:
    """With its verdict and its status as text; rise and fall are the engine's counter."""
    with Player(listeners=1, connections=8) as player:
        _, port = player.listen("127.0.0.1", 0, act)
        signal = Check(name="own", check=url.format(f"127.0.0.1:{port}"), timeout_ms=20_000)
        engine = make_engine(Settings(service={"app": Service(signal=(signal,))}))
        assert trio.run(engine.check, signal) == (status in ("L4OK", "L7OK"), status)


def test_a_configuration_that_is_wrong_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[agent]\nlisen = []\n")
    code, _, err = risefall("agent", "-f", str(path))
    assert code == 2
    assert f"{path}:2:1: error: agent.lisen: there is no such key here" in err
    path.write_text('[[service.a.signal]]\nkind = "check"\ncheck = "gopher://x"\n')
    code, _, err = risefall("agent", "-f", str(path))
    assert code == 2
    assert "the scheme is one of" in err


def test_replay_prints_what_would_be_said(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("t,cpu\n0,50\n10,95\n20,95\n")
    _, out, _ = risefall("agent", "--replay", str(trace))
    assert out.splitlines()[0] == "t,cpu,pressure,memory,asked,weight,maxconn,answer"
    assert out.splitlines()[1].endswith(',100,,"up 100%"')
    assert risefall("agent", "--plot", "x.png")[0] == 2


def test_risefall_track_asks_it_for_a_service(tmp_path: Path, free_port: int) -> None:
    """Beside the control socket; a weight below what is wanted is a failure with the agent's own reason."""
    number, control = tmp_path / "number", tmp_path / "agent.sock"
    number.write_text("40")
    (tmp_path / "agent.toml").write_text(f"""
        [agent]
        listen = ["127.0.0.1:{free_port}"]
        socket = "{control}"
        [service.app]
        [[service.app.signal]]
        kind = "file"
        path = "{number}"
        of = "number"
        every = "100ms"
        curve = [[0, 0], [100, 100]]
    """)

    def ask_track(*words: str) -> tuple[int, str]:
        command = [Path(sysconfig.get_path("scripts")) / "risefall-track", "agent", *words, "--socket", str(control)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False)
        return done.returncode, done.stderr

    with started("-f", str(tmp_path / "agent.toml")):
        deadline = time.monotonic() + LONG_S
        while (heard := ask_track("app", "--min-weight", "41"))[0] != 1 or "40" not in heard[1]:
            assert time.monotonic() < deadline, heard
        assert ask_track("app", "--min-weight", "40") == (0, "")
        assert "none of this name" in ask_track("web")[1]
