"""The daemon on real sockets: states, commands, memory, and that a steady fleet costs Python nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from daemon_kit import ask, running, status, until

from risefall.config.haproxy.model import Section
from risefall.engine.play import OK, Act, Door, Player, When, http_reply
from risefall.errors import StartError

HTTP = "defaults\n  mode http\n  option httpchk GET /\n  timeout check 5s\n  default-server inter 60ms\n"
BUSY = Act(http_reply(503, "Busy"))


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def test_down_and_up_again(player: Player) -> None:
    door, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        async with running(f"{HTTP}backend b\n  server s1 127.0.0.1:{port} check\n") as service:
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            player.door(door, Door.REFUSE)
            await until(lambda: status(service, "b/s1") == "DOWN", "DOWN")
            assert service.down() == 1
            player.door(door, Door.OPEN)
            await until(lambda: status(service, "b/s1") == "UP", "UP again")

    trio.run(scenario)


def test_an_agent_drains(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    agent, agent_port = player.listen("127.0.0.1", 0, Act(b"up\n", when=When.ACCEPT))

    async def scenario() -> None:
        server = f"  server s1 127.0.0.1:{port} check agent-check agent-port {agent_port} agent-inter 30ms\n"
        async with running(f"{HTTP}backend b\n{server}") as service:
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            player.script(agent, Act(b"drain 50%\n", when=When.ACCEPT))
            await until(lambda: status(service, "b/s1") == "DRAIN (agent)", "drained")
            player.script(agent, Act(b"ready down\n", when=When.ACCEPT))
            await until(lambda: status(service, "b/s1") == "DOWN (agent)", "down by its agent")

    trio.run(scenario)


def test_send_state_tells_state_and_weights(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        servers = f"  server s1 127.0.0.1:{port} check weight 3\n  server s2 127.0.0.1:{port} weight 5\n"
        async with running(f"{HTTP}backend b\n  http-check send-state\n{servers}") as service:
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            seen = b"x-haproxy-server-state: UP; address=127.0.0.1"
            await until(lambda: seen in (player.request(listener, 0) or b""), "a request that tells UP")
            request = player.request(listener, 0) or b""
            assert b"weight=3/8;" in request

    trio.run(scenario)


def test_runtime_socket(player: Player, tmp_path: Path) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    path = tmp_path / "run.sock"

    async def scenario() -> None:
        text = f"{HTTP}backend b\n  server s1 127.0.0.1:{port} check\n"
        async with running(text, runtime_socket=True, socket_path=str(path)) as service:
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            assert await ask(path, "set server b/s1 state maint") == "\n"
            assert status(service, "b/s1") == "MAINT"
            assert "MAINT" in await ask(path, "show stat")
            assert await ask(path, "set server b/s1 state ready") == "\n"
            await until(lambda: status(service, "b/s1") == "UP", "UP again")
            assert await ask(path, "set server b/sx state ready") == "No such server.\n\n"
            assert "Uptime_sec" in await ask(path, "show info")
        assert not path.exists()

    trio.run(scenario)


def test_a_socket_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.sock"

    async def scenario() -> None:
        text = "backend b\n  server s1 127.0.0.1:1\n"
        async with running(text, runtime_socket=True, socket_path=str(path)):
            with pytest.raises(BaseExceptionGroup) as raised:
                async with running(text, runtime_socket=True, socket_path=str(path)):
                    pass
            assert raised.group_contains(StartError, match="another process serves this socket")

    trio.run(scenario)


def test_the_tree_is_let_go(player: Player) -> None:
    """All but the short section that `add server` asks for files."""
    _, port = player.listen("127.0.0.1", 0, OK)
    gc.unfreeze()  # what an earlier daemon of this process left behind is not this one's
    gc.collect()

    async def scenario() -> None:
        async with running(f"global\n{HTTP}backend b\n  server s1 127.0.0.1:{port} check\n") as service:
            gc.unfreeze()
            assert [one.kind for one in gc.get_objects() if isinstance(one, Section) and one.lines] == []
            await until(lambda: status(service, "b/s1") == "UP", "UP")

    trio.run(scenario)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_steady_fleet_costs_python_nothing(player: Player, workers: int) -> None:
    """Hundreds of checks and not one event more than the first of each server."""
    _, port = player.listen("127.0.0.1", 0, OK)
    servers = "".join(f"  server s{i} 127.0.0.1:{port} check\n" for i in range(10))

    async def scenario() -> None:
        async with running(f"{HTTP}backend b\n{servers}", workers=workers) as service:
            await until(lambda: all(row.status == "UP" for row in service.rows()), "all UP")

            def finished() -> int:
                return sum(one.finished for one in service.present.join.workers.statistics())

            handled, before = service.present.handled, finished()
            await until(lambda: finished() > before + 300, "300 checks more")
            assert service.present.handled == handled

    trio.run(scenario)


def test_names_without_an_address(tmp_path: Path) -> None:
    async def scenario(tail: str) -> str:
        async with running(f"backend b\n  server s1 none.invalid:80 check {tail}\n") as service:
            return status(service, "b/s1")

    with pytest.raises(BaseExceptionGroup) as raised:
        trio.run(scenario, "")
    assert raised.group_contains(StartError, match=r"t\.cfg:2: error: could not resolve address 'none\.invalid'")
    assert trio.run(scenario, "init-addr libc,none") == "MAINT (resolution)"


def test_what_cannot_be_checked_is_told(player: Player, capfd: pytest.CaptureFixture[str]) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        servers = "".join(f"  server s{i} 127.0.0.1:{port} check namespace none-such\n" for i in range(3))
        async with running(f"backend b\n{servers}") as service:
            assert {row.status for row in service.rows()} == {"not checked"}

    trio.run(scenario)
    told = capfd.readouterr().err
    assert "b/s0 is not checked: cannot open namespace 'none-such': No such file or directory" in told
    assert "2 more servers are not checked" in told


def test_a_want_of_ours_is_told_and_does_not_count(player: Player, capfd: pytest.CaptureFixture[str]) -> None:
    """No descriptor for a socket: SOCKERR, the counter stays, a line a second owns up to it."""
    _, port = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        from risefall.engine._native import lib

        async with running(
            f"{HTTP}backend b\n  server s1 127.0.0.1:{port} check addr 127.0.0.1 source 127.0.0.1\n"
        ) as service:
            engine = service.present.join.workers.engines[0]
            await until(lambda: status(service, "b/s1") == "UP", "UP")
            engine.inject(lib.RF_CALL_SOCKET, 24, 20)
            await until(lambda: engine.self_blamed >= 5, "five checks that could not be made")
            assert status(service, "b/s1") == "UP"
            await until(lambda: "could not be made" in capfd.readouterr().err, "a line that owns up")

    trio.run(scenario)
