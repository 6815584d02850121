"""A real HAProxy polls the agent: each answer has the effect that spec §4 says, and undoes nothing of anybody else's.

Takes about 15 seconds of real time: HAProxy polls every 100 ms, and a hundred polls are waited for.
"""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from risefall.agent.leases import OrderWord, Slot, make_order
from risefall.agent.machine import this_machine
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, File, FileOf, MaxConn, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings

WAIT_S = 10.0
LONG_S = 60.0
UP = "no check"
"""What HAProxy calls a server that is up and has an agent only."""
CONFIG = """\
global
    stats socket {socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend f
    bind {front}
    default_backend web
backend web
    server app 127.0.0.1:9 weight 100 agent-check agent-inter 100ms agent-port {port} agent-send "app web\\n"
backend api
    server app 127.0.0.1:9 weight 100 agent-check agent-inter 100ms agent-port {port} agent-send "app api\\n"
    server small 127.0.0.1:9 weight 1 agent-check agent-inter 100ms agent-port {port} agent-send "app small\\n"
"""


class Peer:
    """A running HAProxy."""

    def __init__(self, path: str) -> None:
        self.path = path

    def ask(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(LONG_S)
            stream.connect(self.path)
            stream.sendall(line.encode() + b"\n")
            data = b""
            while piece := stream.recv(65536):
                data += piece
        return data.decode()

    def servers(self) -> dict[str, tuple[str, str, str]]:
        """Status, weight and connection limit of each server."""
        rows = csv.DictReader(self.ask("show stat -1 4 -1").removeprefix("# ").splitlines())
        return {f"{row['pxname']}/{row['svname']}": (row["status"], row["weight"], row["slim"]) for row in rows}

    async def until(self, good: Callable[[dict[str, tuple[str, str, str]]], bool]) -> None:
        """Waits for a state, with a deadline; what there is instead is told."""
        with trio.move_on_after(WAIT_S):
            while not good(self.servers()):
                await trio.sleep(0.02)
            return
        raise AssertionError(f"still {self.servers()}")


@asynccontextmanager
async def haproxy(folder: Path, port: int) -> AsyncIterator[Peer]:
    """A HAProxy that polls a port."""
    path = str(folder / "s")
    (folder / "cfg").write_text(CONFIG.format(socket=path, front=folder / "f", port=port))
    with subprocess.Popen(["haproxy", "-db", "-f", str(folder / "cfg")], stderr=subprocess.DEVNULL) as process:
        try:
            while not (folder / "s").exists():
                assert process.poll() is None, "haproxy ended"
                await trio.sleep(0.02)
            yield Peer(path)
        finally:
            process.kill()


@asynccontextmanager
async def agent(settings: Settings) -> AsyncIterator[tuple[Service, int]]:
    """A running agent and its port."""
    service = Service(settings, this_machine(), None, lambda line: None)
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(service.run)
        yield service, addresses[0][1]
        service.stop()


def settings(folder: Path, port: int = 0) -> Settings:
    """Weight, maxconn and state from a number in a file."""
    signal = File(name="n", path=str(folder / "n"), of=FileOf.NUMBER, every_ms=50, curve=((0, 100), (100, 0)))
    app = ServiceSettings(
        send="app", signal=(signal,), smooth_ms=0, hysteresis_pct=0, step_pct=10_000,
        maxconn=MaxConn(signal="n", curve=((0, 90), (100, 30))),
        state=(Condition(say=Say.DOWN, signal="n", op=Op.MORE, value=150, reason="too much"),),
    )  # fmt: skip
    return Settings(
        agent=Agent(listen=(f"127.0.0.1:{port}",), state_dir=str(folder / "state"), send_ms=2000), service={"app": app}
    )


async def story(folder: Path) -> None:
    number = folder / "n"
    number.write_text("0\n")
    async with agent(settings(folder)) as (service, port), haproxy(folder, port) as peer:
        await load_and_conditions(peer, number)
        await another_operator(peer, service)
        service.desk.give(make_order("app", OrderWord.DRAIN, 0))
        await peer.until(lambda found: all("DRAIN" in status for status, _, _ in found.values()))
        await restarted(peer, service, folder, port)


async def load_and_conditions(peer: Peer, number: Path) -> None:
    """Weight, a third of maxconn for each of three that poll, and a word for a state."""
    await peer.until(lambda found: found["web/app"] == (UP, "100", "30"))
    number.write_text("60\n")
    await peer.until(lambda found: found["web/app"] == found["api/app"] == (UP, "40", "18"))
    await peer.until(lambda found: found["api/small"][1] == "0")  # 40 % of weight 1 is cut to 0
    number.write_text("200\n")
    await peer.until(lambda found: found["web/app"][0] == "DOWN (agent)")
    number.write_text("0\n")
    await peer.until(lambda found: all(found[name][0] == UP for name in ("web/app", "api/app")))


async def another_operator(peer: Peer, service: Service) -> None:
    """What somebody disables on HAProxy stays so, while everything else that is said has its effect."""
    peer.ask("disable server web/app")
    service.desk.give(make_order("app", OrderWord.WEIGHT, 0, weight_pct=50))
    await peer.until(lambda found: found["api/app"][:2] == (UP, "50"))
    heard = service.counts().answered
    while service.counts().answered < heard + 9:
        assert peer.servers()["web/app"][0] == "MAINT"
        await trio.sleep(0.02)
    peer.ask("enable server web/app")


async def restarted(peer: Peer, before: Service, folder: Path, port: int) -> None:
    """Another agent at the same port, with the first one's files, takes back what that one has said, from each server."""
    before.stop()
    while port_is_taken(port):
        await trio.sleep(0.02)
    async with agent(settings(folder, port)) as (service, _):
        service.desk.release("app", Slot.STATE)
        await peer.until(lambda found: all("DRAIN" not in status for status, _, _ in found.values()))


def port_is_taken(port: int) -> bool:
    """Whether somebody still listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_a_real_haproxy_obeys_and_is_left_its_own() -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await story(folder)

    with tempfile.TemporaryDirectory() as folder:  # its path is short: a socket's may have 107 bytes
        trio.run(main, Path(folder))


async def disabled_story(folder: Path) -> None:
    """`disable server` on HAProxy, then a hundred polls of that server, another agent, and more polls."""
    (folder / "n").write_text("0\n")

    async def polled(service: Service, each: int) -> None:
        """Until each of the three servers has polled so often; one of them is in maintenance all the while."""
        wanted = service.counts().answered + 3 * each
        while service.counts().answered < wanted:
            assert peer.servers()["web/app"][0] == "MAINT"
            await trio.sleep(0.02)
        assert peer.servers()["api/app"][0] == UP

    async with agent(settings(folder)) as (first, port), haproxy(folder, port) as peer:
        await peer.until(lambda found: found["web/app"][0] == found["api/app"][0] == UP)
        peer.ask("disable server web/app")
        await polled(first, 100)
        first.stop()
        while port_is_taken(port):
            await trio.sleep(0.02)
        async with agent(settings(folder, port)) as (second, _):
            await polled(second, 10)
            peer.ask("enable server web/app")
            await peer.until(lambda found: found["web/app"][0] == UP)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_disable_server_survives_a_hundred_polls_and_a_restart() -> None:
    async def main(folder: Path) -> None:
        with trio.fail_after(LONG_S):
            await disabled_story(folder)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
