"""The daemon as a process: signals, exit codes, what it prints, and targets that take nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from risefall.engine.play import OK, SILENT, Act, Player, http_reply

ENDS_S = 5.0


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def start(folder: Path, text: str, *options: str) -> subprocess.Popen[str]:
    """`risefall run` on a configuration, its socket in a folder of its own."""
    path = folder / "t.cfg"
    path.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "risefall", "run", "-f", str(path), "--as", "2.6", *options],
        env={**os.environ, "RISEFALL_SOCKET": str(folder / "run.sock")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and output. Fails when it does not end by itself."""
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def fill(sock: socket.socket) -> None:
    """Sends until the other end takes no more."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 1000)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGUSR1, 0)])
def test_signals_end_it_with_silent_servers_in_flight(
    tmp_path: Path, player: Player, number: signal.Signals, code: int
) -> None:
    _, port = player.listen("127.0.0.1", 0, SILENT)
    servers = "".join(f"  server s{i} 127.0.0.1:{port} check inter 20s\n" for i in range(20))
    process = start(tmp_path, f"backend b\n  option httpchk\n{servers}", "--json", "--stats", "50ms")
    assert process.stdout is not None
    for line in process.stdout:  # the first reading that has a check under way
        if json.loads(line).get("in_flight"):
            break
    process.send_signal(number)
    process.wait(ENDS_S)
    found, _, err = ended(process)
    assert (found, "Traceback" in err) == (code, False)
    assert ("Proxy b stopped" in err) == (number is signal.SIGUSR1)


def test_for_ends_it_and_tells_how_it_stands(tmp_path: Path, player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    code, _, err = ended(
        start(tmp_path, f"backend b\n  server s1 127.0.0.1:{port} check inter 50ms\n", "--for", "300ms")
    )
    assert code == 0
    assert "1 servers, 0 down" in err


def test_a_server_down_at_the_end_is_exit_code_1(tmp_path: Path, free_port: int) -> None:
    text = f"backend b\n  server s1 127.0.0.1:{free_port} check inter 50ms\n"
    code, _, err = ended(start(tmp_path, text, "--for", "500ms"))
    assert code == 1
    assert "[WARNING]  (" in err
    assert ") : Server b/s1 is DOWN, reason: Layer4 connection problem" in err
    assert "backend 'b' has no server available!" in err


def test_json_is_an_object_a_line(tmp_path: Path, player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, OK, Act(http_reply(503, "Busy")))
    text = f"backend b\n  option httpchk\n  option log-health-checks\n  server s1 127.0.0.1:{port} check inter 40ms\n"
    _, out, _ = ended(start(tmp_path, text, "--json", "--stats", "200ms", "--for", "800ms", "--log", "none"))
    events = [json.loads(line) for line in out.splitlines()]
    kinds = {event.get("event", "stats") for event in events}
    assert kinds == {"check", "state", "log", "stats"}
    check = next(event for event in events if event.get("event") == "check")
    assert list(check) == [
        "event", "time", "backend", "server", "check", "status", "code", "duration_ms", "health", "text", "late_us",
    ]  # fmt: skip
    state = next(event for event in events if event.get("event") == "state")
    assert (state["backend"], state["server"], state["status"], state["op"]) == ("b", "s1", "DOWN", "STOPPED")


@pytest.mark.parametrize("log", ["config", "stderr", "none"])
def test_where_lines_go(tmp_path: Path, free_port: int, log: str) -> None:
    """`config`: the config's targets and the terminal; `stderr`: the terminal; `none`: nowhere."""
    text = f"global\n  log stdout format raw local0\ndefaults\n  log global\nbackend b\n  server s1 127.0.0.1:{free_port} check inter 40ms\n"
    _, out, err = ended(start(tmp_path, text, "--for", "400ms", "--log", log))
    assert ("Server b/s1 is DOWN" in out, "Server b/s1 is DOWN" in err) == (log == "config", log != "none")


def test_log_targets_that_take_nothing_cost_lines_only(tmp_path: Path, free_port: int) -> None:
    """One missing, one full: the run goes on, and the lost lines are counted."""
    full = tmp_path / "full"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as holder:
        holder.bind(str(full))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.connect(str(full))
            fill(filler)
            text = (
                f"global\n  log {full} local0\n  log {tmp_path}/missing local0\ndefaults\n  log global\n  option log-health-checks\n"
                f"backend b\n  server s1 127.0.0.1:{free_port} check inter 40ms\n"
            )
            code, _, err = ended(start(tmp_path, text, "--for", "500ms"))
    assert code == 1
    assert "lines dropped" in err
    assert "Server b/s1 is DOWN" in err


def test_a_socket_in_use_is_a_clear_refusal(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
        holder.bind(str(tmp_path / "run.sock"))
        holder.listen()
        code, _, err = ended(start(tmp_path, "backend b\n  server s1 127.0.0.1:1\n"))
    assert code == 3
    assert "another process serves this socket" in err
    assert "Traceback" not in err


def test_a_closed_reader_ends_nothing(tmp_path: Path, free_port: int) -> None:
    process = start(
        tmp_path, f"backend b\n  server s1 127.0.0.1:{free_port} check inter 40ms\n", "--json", "--for", "500ms"
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
