"""`risefall ctl` on a name without a `/`: a running agent, and a real HAProxy that polls it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from cli_kit import risefall

LONG_S = 20.0


class Agent(msgspec.Struct):
    """A running agent. told: what it says on stderr."""

    folder: Path
    process: subprocess.Popen[str]
    port: int

    def ctl(self, *words: str) -> tuple[int, str, str]:
        return risefall("ctl", "--socket", str(self.folder / "s"), *words)

    def show(self, service: str = "app") -> dict[str, object]:
        code, out, err = self.ctl("show", "agent", service, "--json")
        assert code == 0, err
        shown = json.loads(out)
        assert isinstance(shown, dict)
        return shown


@contextlib.contextmanager
def agent(folder: Path, port: int = 0, more: str = "", services: str = "[service.app]\n") -> Iterator[Agent]:
    (folder / "agent.toml").write_text(
        f'[agent]\nlisten = ["127.0.0.1:{port}"]\nsocket = "{folder}/s"\nstate_dir = "{folder}/state"\n{more}{services}'
    )
    words = [sys.executable, "-m", "risefall", "agent", "-f", str(folder / "agent.toml")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while "answering on" not in (line := process.stderr.readline()):
                assert line, "it ended early"
            yield Agent(folder, process, int(line.rpartition(":")[2]))
        finally:
            process.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its path is short: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def until(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_orders_are_given_shown_kept_and_released(folder: Path) -> None:
    with agent(folder) as running:
        code, out, err = running.ctl("drain", "app", "--lease", "20m", "--reason", "deploy 41", "--wait")
        assert (code, err) == (0, "")
        assert out == "app: drain: done, 19m59s left; no balancer polls\n"
        assert running.ctl("weight", "app", "50%")[0] == 0
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(LONG_S) == 0
    with agent(folder) as running:
        code, out, _ = running.ctl("show", "agent", "app")
        assert code == 0
        assert "up drain 50% #deploy 41" in out
        assert "deploy 41" in out.split("why")[1]
        assert "order drain" in out
        assert running.ctl("release", "app")[0] == 0
        assert running.show()["orders"] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("drain", "nosuch"), 2, "no service 'nosuch'; there are: app"),
        (("drain", "app", "web/one"), 2, "one command for each kind"),
        (("drain", "web/one", "--lease", "5m"), 2, "no / in its name"),
        (("weight", "app", "50"), 2, "takes a percentage: 50%"),
        (("weight", "app", "120%"), 1, "a weight is 0% to 100%"),
        (("release", "web/one"), 2, "gets 'ready'"),
        (("release", "app", "--lease", "5m"), 2, "no --lease"),
        (("drain", "web/one"), 3, "a runtime socket?"),
    ],
)
def test_what_cannot_be_ordered(folder: Path, words: tuple[str, ...], code: int, said: str) -> None:
    with agent(folder) as running:
        got = running.ctl(*words)
        assert got[0] == code, got
        assert said in got[2]
        assert running.show()["orders"] == []


def test_a_dry_run_orders_nothing(folder: Path) -> None:
    with agent(folder) as running:
        assert running.ctl("maint", "app", "--dry-run")[1].startswith("app: maint: planned; no balancer polls")
        assert running.show()["orders"] == []


def test_nobody_there(folder: Path) -> None:
    code, _, err = risefall("ctl", "--socket", str(folder / "none"), "drain", "app")
    assert code == 3
    assert "is `risefall agent` running" in err


CONFIG = """\
global
    stats socket {folder}/admin mode 600 level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend f
    bind {folder}/front
    default_backend web
backend web
    server one 127.0.0.1:{server} weight 100 agent-check agent-inter {inter} agent-port {port}
    server other 127.0.0.1:{server} weight 100
"""


@contextlib.contextmanager
def haproxy(folder: Path, port: int, server: int, inter: str = "100ms") -> Iterator[None]:
    (folder / "cfg").write_text(CONFIG.format(folder=folder, port=port, server=server, inter=inter))
    with subprocess.Popen(["haproxy", "-db", "-f", str(folder / "cfg")], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: (folder / "admin").exists())
            yield
        finally:
            process.kill()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_wait_is_until_balancers_were_told_and_sessions_are_gone(folder: Path) -> None:
    """The server is known by the agent's port; its session is a client that leaves when the drain is there."""
    with (
        socket.create_server(("127.0.0.1", 0)) as backend,
        agent(folder) as running,
        haproxy(folder, running.port, backend.getsockname()[1]),
    ):
        until(lambda: bool(running.show()["balancers"]))
        haproxy_socket = str(folder / "admin")
        risefall("ctl", "--socket", haproxy_socket, "drain", "web/other")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "front"))
            held, _ = backend.accept()
            until(lambda: sessions(haproxy_socket) == 1)
            code, out, err = running.ctl("drain", "app", "--wait", "--haproxy", haproxy_socket, "--within", "1s")
            assert code == 1, (out, err)
            assert "heard by 1 of 1 balancers" in out
            assert "web/one: DRAIN (agent), still 1 sessions" in err
            held.close()
        code, out, err = running.ctl("drain", "app", "--wait", "--haproxy", haproxy_socket)
        assert (code, err) == (0, "")
        assert out.splitlines()[1] == "web/one: DRAIN (agent), no sessions"
        code, out, err = running.ctl("release", "app", "--haproxy", haproxy_socket)
        assert (code, err) == (0, "")
        assert out.splitlines()[1] == "web/one: no check, back"
        risefall("ctl", "--socket", haproxy_socket, "drain", "web/one")  # which the agent must not undo
        code, _, err = running.ctl("ready", "app", "--haproxy", haproxy_socket, "--within", "500ms")
        assert code == 1
        assert "web/one: DRAIN (agent), still taken out; an operator's own, or servers that share one word" in err
        code, _, err = running.ctl("drain", "app", "--haproxy", haproxy_socket, "--server", "web/none")
        assert code == 2
        assert "has no web/none" in err


def sessions(path: str) -> int:
    """Of the server that the agent speaks for."""
    _, out, _ = risefall("ctl", "--socket", path, "show", "servers", "web/one", "--json")
    return int(json.loads(out)["sessions"])


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_a_balancer_that_has_gone_silent_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend, agent(folder) as running:
        with haproxy(folder, running.port, backend.getsockname()[1]):
            until(lambda: bool(running.show()["balancers"]))
        code, _, err = running.ctl("drain", "app", "--wait", "--within", "500ms")
        assert code == 1
        assert "app: drain: late; heard by 0 of 1 balancers; not yet by 127.0.0.1" in err
