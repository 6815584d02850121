"""Another configuration takes over while the checks run, on real sockets: what is unchanged does not notice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio
from daemon_kit import ask, loaded, running, say, status, until

from risefall.config.haproxy.plan import Loaded
from risefall.daemon.service import Service
from risefall.engine.native import Handle
from risefall.engine.play import OK, Act, Player, Then, When, http_reply
from risefall.errors import ConfigError, RisefallError
from risefall.state.server import AGENT, HEALTH

HTTP = "defaults\n  mode http\n  option httpchk GET /\n  timeout check 5s\n"
BUSY = Act(http_reply(503, "Busy"))


class File:
    """A configuration that a test changes."""

    def __init__(self, text: str) -> None:
        self.text = HTTP + text

    def __call__(self) -> Loaded:
        return loaded(self.text)

    def write(self, text: str) -> None:
        self.text = HTTP + text


@contextlib.asynccontextmanager
async def served(file: File, **options: object) -> AsyncIterator[Service]:
    async with running(file.text, reread=file, **options) as service:
        yield service


def handle(service: Service, name: str, which: int = HEALTH) -> Handle:
    """The engine's handle of a check."""
    check = service.present.join.placed.check_id(index_of(service, name), which)
    assert check is not None
    return check.handle


def index_of(service: Service, name: str) -> int:
    backend, _, server = name.partition("/")
    for proxy in service.fleet.proxies:
        for index in proxy.own:
            if (proxy.name, service.fleet.servers[index].name) == (backend, server):
                return index
    raise AssertionError(f"no {name}")


def live_checks(service: Service) -> int:
    return sum(one.checks for one in service.present.join.workers.statistics())


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def play(scenario: Callable[[], object]) -> None:
    trio.run(scenario)  # type: ignore[arg-type]


def test_what_is_unchanged_does_not_notice(player: Player) -> None:
    """Its check, counter, figures and what hands have made of it stay, wherever in the file it stands now."""
    _, good = player.listen("127.0.0.1", 0, OK)
    _, bad = player.listen("127.0.0.1", 0, BUSY)
    lines = (
        f"  server up 127.0.0.1:{good} check inter 30ms\n  server down 127.0.0.1:{bad} check inter 30ms weight 9\n"
        f"  server held 127.0.0.1:{good} check inter 30ms\n"
    )

    async def scenario() -> None:
        file = File(f"backend b\n{lines}")
        async with served(file) as service:
            await until(lambda: status(service, "b/down") == "DOWN", "DOWN")
            say(service, "disable server b/held;set weight b/down 3;set server b/up state drain\n")
            before = {name: handle(service, f"b/{name}") for name in ("up", "down", "held")}
            changed = {name: service.fleet.servers[index_of(service, f"b/{name}")].changed_ms for name in before}
            fails = service.api.record(index_of(service, "b/down"), HEALTH).fails  # type: ignore[union-attr]
            file.write(f"backend first\n  server x 127.0.0.1:{good} check inter 30ms\nbackend b\n{lines}")
            assert await service.reload() == "3 servers as before, 0 changed, 1 added, 0 removed"
            assert {name: handle(service, f"b/{name}") for name in before} == before
            for name, at in changed.items():
                assert service.fleet.servers[index_of(service, f"b/{name}")].changed_ms == at, name
            assert [row.status for row in service.rows() if row.name.startswith("b/")] == ["DRAIN", "DOWN", "MAINT"]
            record = service.api.record(index_of(service, "b/down"), HEALTH)
            assert record is not None
            assert record.fails >= fails > 0
            assert say(service, "get weight b/down\n") == "3 (initial 9)\n\n"
            await until(lambda: status(service, "first/x") == "UP", "the new one UP")
            say(service, "enable server b/held\n")
            await until(lambda: status(service, "b/held") == "UP", "its check goes on")
            assert live_checks(service) == 4

    play(scenario)


def test_news_after_a_reload_are_of_the_right_server(player: Player) -> None:
    listener, port = player.listen("127.0.0.1", 0, OK)
    _, good = player.listen("127.0.0.1", 0, OK)
    one = f"  server one 127.0.0.1:{good} check inter 30ms\n"
    two = f"  server two 127.0.0.1:{port} check inter 30ms rise 1 fall 1\n"

    async def scenario() -> None:
        file = File(f"backend b\n{one}{two}")
        async with served(file) as service:
            await until(lambda: status(service, "b/two") == "UP", "UP")
            file.write(f"backend b\n{two}{one}")
            await service.reload()
            player.script(listener, BUSY)
            await until(lambda: status(service, "b/two") == "DOWN", "two is DOWN")
            assert status(service, "b/one") == "UP"

    play(scenario)


def test_a_changed_check_begins_where_the_old_one_was(player: Player) -> None:
    """DOWN stays DOWN until the new check says otherwise; other paces and ports are taken."""
    _, good = player.listen("127.0.0.1", 0, OK)
    _, bad = player.listen("127.0.0.1", 0, BUSY)

    async def scenario() -> None:
        file = File(f"backend b\n  server s 127.0.0.1:{bad} check inter 30ms rise 2 fall 3\n")
        async with served(file) as service:
            await until(lambda: status(service, "b/s") == "DOWN", "DOWN")
            old = handle(service, "b/s")
            file.write(f"backend b\n  server s 127.0.0.1:{bad} check inter 60s rise 5 fall 1\n")
            assert (await service.reload()).startswith("0 servers as before, 1 changed")
            assert handle(service, "b/s") != old
            server = service.fleet.servers[0]
            assert (status(service, "b/s"), server.health.rise) == ("DOWN", 5)  # type: ignore[union-attr]
            file.write(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms rise 2 fall 1\n")
            await service.reload()
            assert status(service, "b/s").startswith("DOWN")
            await until(lambda: status(service, "b/s") == "UP", "UP at the other port")
            await until(lambda: live_checks(service) == 1, "the old checks are gone")

    play(scenario)


def test_what_the_file_says_of_maintenance_and_weight_counts_where_it_changed(player: Player) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)
    tail = f"127.0.0.1:{good} check inter 30ms"

    async def scenario() -> None:
        file = File(f"backend b\n  server s1 {tail} disabled\n  server s2 {tail} weight 5\n  server s3 {tail}\n")
        async with served(file) as service:
            await until(lambda: status(service, "b/s2") == "UP", "UP")
            say(service, "set weight b/s2 2;disable server b/s3\n")
            file.write(
                f"backend b\n  server s1 {tail}\n  server s2 {tail} weight 7 disabled\n  server s3 {tail} weight 4\n"
            )
            await service.reload()
            assert say(service, "get weight b/s2\n") == "7 (initial 7)\n\n"
            assert [row.status for row in service.rows()][1:] == ["MAINT", "MAINT"]
            await until(lambda: status(service, "b/s1") == "UP", "s1 is checked")
            record = service.api.record(0, HEALTH)
            await until(lambda: (service.api.record(0, HEALTH) or record).runs > 0, "a check of s1")  # type: ignore[union-attr]
            say(service, "enable server b/s2;enable server b/s3\n")
            await until(lambda: [row.status for row in service.rows()] == ["UP"] * 3, "all UP")

    play(scenario)


def test_trackers_follow_across_a_reload(player: Player) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)
    tail = f"127.0.0.1:{good} check inter 30ms"

    async def scenario() -> None:
        file = File(f"backend a\n  server m {tail}\nbackend b\n  server t 127.0.0.1:1 track a/m\n")
        async with served(file) as service:
            say(service, "disable server a/m\n")
            assert status(service, "b/t") == "MAINT (via a/m)"
            file.write(
                f"backend n\n  server x {tail}\nbackend a\n  server m {tail}\nbackend b\n  server t 127.0.0.1:1 track a/m\n"
            )
            await service.reload()
            assert status(service, "b/t") == "MAINT (via a/m)"
            say(service, "enable server a/m\n")
            assert status(service, "b/t").startswith("UP")
            file.write(f"backend a\n  server m {tail}\nbackend b\n  server t 127.0.0.1:1\n")
            say(service, "disable server a/m\n")
            await service.reload()
            assert (status(service, "a/m"), status(service, "b/t")) == ("MAINT", "no check")

    play(scenario)


def test_an_agents_words_stay_and_act_again(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"down 30% #busy\n", When.ACCEPT, Then.FIN))

    async def scenario() -> None:
        words = f"agent-check agent-port {port} agent-inter 30ms"
        file = File(f"backend b\n  server s 127.0.0.1:{port} weight 10 {words}\n")
        async with served(file) as service:
            await until(lambda: status(service, "b/s") == "DOWN (agent)", "DOWN (agent)")
            before = handle(service, "b/s", AGENT)
            file.write(f"backend b\n  server s 127.0.0.1:{port} weight 20 {words}\n")
            await service.reload()
            assert status(service, "b/s") == "DOWN (agent)"
            await until(lambda: say(service, "get weight b/s\n") == "6 (initial 20)\n\n", "30% of the new weight")
            assert handle(service, "b/s", AGENT) != before  # relative weights are reckoned by the check

    play(scenario)


def test_a_bad_configuration_changes_nothing(player: Player) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        file = File(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n")
        async with served(file) as service:
            before = handle(service, "b/s")
            file.write("backend b\n  server s 127.0.0.1:x check\n")
            with pytest.raises(ConfigError):
                await service.reload()
            file.write("backend b\n  server s name.invalid:80 check\n")
            with pytest.raises(RisefallError, match="could not resolve"):
                await service.reload()
            assert handle(service, "b/s") == before
            assert live_checks(service) == 1
            assert say(service, f"add server b/n 127.0.0.1:{good}\n") == "New server registered.\n\n"
            file.write(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n")
            assert await service.reload() == (
                "1 servers as before, 0 changed, 0 added, 0 removed, 1 of 'add server' dropped"
            )

    play(scenario)


def test_a_run_under_way_is_neither_lost_nor_made_twice(player: Player) -> None:
    slow, port = player.listen("127.0.0.1", 0, Act(http_reply(200), delay_ms=400))
    other = player.listen("127.0.0.1", 0, OK)[1]

    async def scenario() -> None:
        line = f"  server s 127.0.0.1:{port} check inter 60s\n"
        file = File(f"backend b\n{line}")
        async with served(file) as service:
            await until(lambda: player.counts(slow).accepts == 1, "the check is under way")
            file.write(f"backend x\n  server n 127.0.0.1:{other}\nbackend b\n{line}")
            await service.reload()
            await until(lambda: status(service, "b/s") == "UP" and bool(service.rows()[1].check_status), "its result")
            assert service.rows()[1].check_status == "L7OK"
            assert player.counts(slow).accepts == 1

    play(scenario)


def test_by_signal_and_by_command(player: Player, tmp_path: Path) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)
    path = tmp_path / "run.sock"

    async def scenario() -> None:
        file = File(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n")
        async with served(file, runtime_socket=True, socket_path=str(path)) as service:
            file.write(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n  server s2 127.0.0.1:{good}\n")
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: service.fleet.count == 2, "two servers")
            file.write(f"backend b\n  server s3 127.0.0.1:{good}\n")
            assert await ask(path, "reload") == (
                "Success=1\n--\n0 servers as before, 0 changed, 1 added, 2 removed\n\n"
            )
            file.write("backend b\n  server s3 127.0.0.1:x\n")
            told = await ask(path, "reload")
            assert told.startswith("Success=0\n--\n")
            assert "s3" in told
            assert "b,s3," in await ask(path, "show stat")

    play(scenario)


def test_growing_far_beyond_the_start(player: Player) -> None:
    """Engines, slots and groups take what the first configuration did not foresee."""
    _, good = player.listen("127.0.0.1", 0, OK)
    many = "".join(
        f"backend b{proxy}\n  http-check send-state\n"
        + "".join(f"  server s{number} 127.0.0.1:{good} check inter 2s\n" for number in range(20))
        for proxy in range(100)
    )

    async def scenario() -> None:
        file = File(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n")
        async with served(file) as service:
            file.write(many)
            assert await service.reload() == "0 servers as before, 0 changed, 2000 added, 1 removed"
            await until(lambda: all(row.check_status == "L7OK" for row in service.rows()), "all checked")
            assert live_checks(service) == 2000

    play(scenario)


def test_when_a_second_reload_is_asked_for_meanwhile(player: Player) -> None:
    _, good = player.listen("127.0.0.1", 0, OK)

    async def scenario() -> None:
        file = File(f"backend b\n  server s 127.0.0.1:{good} check inter 30ms\n")
        async with served(file) as service:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(service.reload)
            assert live_checks(service) == 1
            assert status(service, "b/s").startswith("UP")

    play(scenario)
