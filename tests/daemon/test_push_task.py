"""The task that pushes: on a played HAProxy that refuses, hangs and lies, and on another risefall."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from daemon_kit import ask, running, until

from risefall.daemon.push import Pusher
from risefall.daemon.wanted import Wanted
from risefall.engine.play import OK, Door, Player
from risefall.state.pushing import Want

HEAD = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
)


def in_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that runs under trio, with its fixtures."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        trio.run(functools.partial(test, **fixtures))

    return run


class Known(Wanted):
    """Wishes that a test sets."""

    def __init__(self, *names: str) -> None:
        self.wants: dict[str, Want | None] = dict.fromkeys(names, Want("up"))

    def names(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.wants)}

    def name(self, index: int) -> str:
        return list(self.wants)[index]

    def follows(self, index: int) -> bool:
        return False

    def want(self, index: int) -> Want | None:
        return list(self.wants.values())[index]


class Played:
    """A runtime socket. orders: what it was told to change, a list a connection. gate: it answers while this is set."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path = path
        self.rows = {name: f"1 {name.replace('/', ' 1 ')} - 2 0 1 1 9 6 3 4 6 0" for name in names}
        self.orders: list[list[str]] = []
        self.refuse: Callable[[str], str] = lambda command: ""
        self.gate = trio.Event()
        self.gate.set()
        self.most = self._now = 0
        self.pid = 1

    async def run(self, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED) -> None:
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        with listener:
            await listener.bind(str(self.path))
            listener.listen(16)
            await trio.serve_listeners(self._serve, [trio.SocketListener(listener)], task_status=task_status)

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            async with stream:
                line = b""
                while not line.endswith(b"\n"):
                    line += await stream.receive_some(65536)
                await self.gate.wait()
                await stream.send_all(self._answer(line.decode().strip()).encode())
        finally:
            self._now -= 1

    def _answer(self, line: str) -> str:
        if line.startswith("show info"):
            return f"Name: HAProxy\nPid: {self.pid}\n\n1\n{HEAD}\n" + "\n".join(self.rows.values()) + "\n\n"
        if line.startswith("show stat"):
            return "# pxname,svname,type,tracked,\n\n"
        commands = line.split(";")
        self.orders.append(commands)
        for command in commands:
            if command.startswith("disable health ") and not self.refuse(command):
                name = command.split()[2]
                self.rows[name] = self.rows[name].replace(" 6 0", " 2 0")
        return "".join(f"{told}\n\n" if (told := self.refuse(command)) else "\n" for command in commands)


@asynccontextmanager
async def pushing(played: Played, known: Known) -> AsyncIterator[tuple[Pusher, list[str]]]:
    """A pusher while it runs, and what it says."""
    told: list[str] = []
    pusher = Pusher(str(played.path), known, told.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(played.run)
        async with trio.open_nursery() as inner:
            inner.start_soon(pusher.run)
            yield pusher, told
            inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


@in_trio
async def test_only_the_newest_state_is_said(tmp_path: Path) -> None:
    """While an answer is awaited, a server that goes up and down many times is one command later."""
    played, known = Played(tmp_path / "s", "b/one", "b/two"), Known("b/one", "b/two")
    async with pushing(played, known) as (pusher, _):
        await until(lambda: pusher.ledger.ours == 2, "both are taken")
        played.gate = trio.Event()
        known.wants["b/one"] = Want("down")
        pusher.changed([0])
        await until(lambda: played._now == 1, "it hangs")
        for word in ("down", "up", "stopping") * 20:
            known.wants["b/two"] = Want(word)
            pusher.changed([1])
            await trio.lowlevel.checkpoint()
        played.gate.set()
        await until(lambda: len(played.orders) >= 3, "the rest is said")
    assert played.orders[1:3] == [["set server b/one health down"], ["set server b/two health stopping"]]
    assert played.most == 1, "one connection at a time"


@in_trio
async def test_refusals_are_found_among_many_and_told_once(tmp_path: Path) -> None:
    names = [f"b/s{number}" for number in range(40)]
    played, known = Played(tmp_path / "s", *names), Known(*names)
    played.refuse = lambda command: (
        "No such server." if command in ("disable health b/s7", "disable health b/s31") else ""
    )
    async with pushing(played, known) as (pusher, told):
        await until(lambda: pusher.ledger.ours == 38, "all others are taken")
        played.pid = 2
        await until(lambda: sum("refused" in line for line in told) == 4, "another process is asked again")
    refused = [line for line in told if "refused" in line]
    assert all("disable health b/s7'" in line or "disable health b/s31'" in line for line in refused)
    assert "its own checks are disabled for 38 servers" in "\n".join(told)


@in_trio
async def test_many_changes_are_told_as_one(tmp_path: Path) -> None:
    names = [f"b/s{number}" for number in range(400)]
    played, known = Played(tmp_path / "s", *names), Known(*names)
    known.wants = dict.fromkeys(names, Want("down"))
    async with pushing(played, known) as (pusher, told):
        await until(lambda: pusher.ledger.ours == 400, "all are taken")
        await until(lambda: any(line.endswith("400 servers: DOWN") for line in told), "it is told")
    assert max(len(";".join(chunk)) for chunk in played.orders) <= 8000
    assert pusher.last_words == f"push {played.path}: gave the checks of 400 servers back"


@in_trio
async def test_what_is_no_haproxy_is_told_once(tmp_path: Path) -> None:
    played = Played(tmp_path / "s")
    played._answer = lambda line: "SSH-2.0-OpenSSH\n"  # type: ignore[method-assign]
    async with pushing(played, Known("b/s")) as (pusher, told):
        await until(lambda: bool(told), "it is told")
    assert "no runtime socket of HAProxy" in told[0]
    assert "SSH-2.0" in told[0]
    assert (len(told), pusher.last_words) == (1, "")


# --- on another risefall ------------------------------------------------------------------------------------


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def config(port: int, servers: str = "one two") -> str:
    lines = "".join(f" server {name} 127.0.0.1:{port} check inter 100ms rise 1 fall 1\n" for name in servers.split())
    return f"defaults\n timeout connect 1s\nbackend b\n{lines}backend other\n{lines}"


@in_trio
async def test_a_server_that_is_deleted_here_gets_its_checks_back(tmp_path: Path, player: Player) -> None:
    """The pushed side is a risefall too: its runtime API is HAProxy's. --push-only leaves the other backend alone."""
    away, own_port = player.listen("127.0.0.1", 0, OK)
    player.door(away, Door.REFUSE)
    _, port = player.listen("127.0.0.1", 0, OK)
    there, here = tmp_path / "there.sock", tmp_path / "here.sock"
    async with running(config(own_port), runtime_socket=True, socket_path=str(there)) as pushed:

        def shown() -> dict[str, str]:
            return {row.name: row.status for row in pushed.rows()}

        await until(lambda: "UP" not in shown().values(), "it finds all down")
        async with running(
            config(port), runtime_socket=True, socket_path=str(here), push=(str(there),), push_only=("b",)
        ):
            await until(lambda: shown()["b/one"] == shown()["b/two"] == "no check", "both are up there")
            assert (await ask(here, "disable server b/one;del server b/one")).strip() == "Server deleted."
            await until(lambda: shown()["b/one"] == "DOWN", "its own checks find it down")
            assert shown() == {"b/one": "DOWN", "b/two": "no check", "other/one": "DOWN", "other/two": "DOWN"}
        await until(lambda: shown()["b/two"] == "DOWN", "in the end all have their checks back")
