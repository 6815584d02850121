"""A run that ends and begins again: nothing flaps, and no file of any kind keeps it from starting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from daemon_kit import loaded, running, say, status, until

from risefall.config.haproxy.dialect import DIALECTS
from risefall.daemon import keeping
from risefall.daemon.keeping import Head, Unusable, decode, encode, file_name, usual_folder, write_whole
from risefall.daemon.service import Service
from risefall.engine.play import OK, Act, Door, Player, Then, When, http_reply
from risefall.state.commands import lose_address
from risefall.state.fleet import Fleet
from risefall.state.remembering import Shown, keep_proxy, keep_server
from risefall.state.server import HEALTH, Admin, Op, ProxyState, ServerState
from risefall.surfaces.client import Client

NAME, ASIDE = "run.state", "run.state.unused"
HTTP = "defaults\n  mode http\n  option httpchk GET /\n  timeout check 5s\n"
BUSY = Act(http_reply(503, "Busy"))


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=16, connections=256) as one:
        yield one


def stat(service: Service, name: str, column: str) -> str:
    """One figure of `show stat`."""
    head, *rows = say(service, "show stat\n").strip().splitlines()
    at = head.removeprefix("# ").split(",").index(column)
    return next(row.split(",")[at] for row in rows if row.startswith(name.replace("/", ",") + ","))


def test_what_hands_agents_and_checks_said_is_there_again(player: Player, tmp_path: Path) -> None:
    good, port = player.listen("127.0.0.1", 0, OK)
    _, bad = player.listen("127.0.0.1", 0, BUSY)
    agent, agent_port = player.listen("127.0.0.1", 0, Act(b"down 50% #busy\n", When.ACCEPT, Then.FIN))
    text = (
        f"{HTTP}backend b\n  server up 127.0.0.1:{port} check inter 30ms\n"
        f"  server down 127.0.0.1:{bad} check inter 30ms\n  server drained 127.0.0.1:{port} check inter 30ms weight 8\n"
        f"  server held 127.0.0.1:{port} check inter 30ms\n"
        f"  server said 127.0.0.1:{port} weight 10 agent-check agent-port {agent_port} agent-inter 30ms\n"
        f"  server moved 127.0.0.1:{bad} check inter 30ms\n  server t 127.0.0.1:1 track b/held\n"
    )
    words = {}
    figures = {}

    async def first() -> None:
        async with running(text, state_dir=str(tmp_path)) as service:
            await until(lambda: status(service, "b/down") == "DOWN", "DOWN")
            await until(lambda: status(service, "b/said") == "DOWN (agent)", "DOWN (agent)")
            say(service, "set server b/drained state drain;set weight b/drained 3;disable server b/held\n")
            say(service, f"set server b/moved addr 127.0.0.1 port {port};disable health b/up\n")
            await until(lambda: status(service, "b/moved") == "UP", "UP at its other port")
            words.update({row.name: row.status for row in service.rows()})
            figures.update({name: stat(service, name, "chkfail") for name in ("b/down", "b/up")})

    async def second() -> None:
        player.door(good, Door.DEAF)
        player.door(agent, Door.DEAF)
        async with running(text, state_dir=str(tmp_path)) as service:
            assert {row.name: row.status for row in service.rows()} == words
            assert stat(service, "b/down", "check_status") == "L7STS"
            assert stat(service, "b/down", "check_code") == "503"
            assert {name: stat(service, name, "chkfail") for name in figures} == figures
            assert figures["b/down"] >= "1"
            assert say(service, "get weight b/drained\n") == "3 (initial 8)\n\n"
            assert say(service, "get weight b/said\n") == "5 (initial 10)\n\n"
            assert int(stat(service, "b/down", "chkdown")) == 1
            player.door(good, Door.OPEN)
            player.door(agent, Door.OPEN)
            say(service, "enable server b/held;enable health b/up\n")
            await until(lambda: status(service, "b/held") == "UP", "UP after its maintenance")
            index = next(i for i, server in enumerate(service.fleet.servers) if server.name == "moved")
            await until(lambda: service.api.record(index, HEALTH).runs > 1, "checks at the other port")  # type: ignore[union-attr]
            assert status(service, "b/moved") == "UP"

    trio.run(first)
    trio.run(second)


def test_the_file_counts_where_it_is_another_one(player: Player, tmp_path: Path) -> None:
    _, port = player.listen("127.0.0.1", 0, OK)
    lines = f"  server a 127.0.0.1:{port} check inter 30ms\n  server b 127.0.0.1:{port} check inter 30ms weight {{}}\n"

    async def scenario(text: str, act: Callable[[Service], None]) -> None:
        async with running(text, state_dir=str(tmp_path)) as service:
            act(service)

    def first(service: Service) -> None:
        say(service, "disable server b/a;set weight b/b 1;add server b/new 127.0.0.1:1\n")

    def second(service: Service) -> None:
        assert service.rows()[0].status == "MAINT"
        assert say(service, "get weight b/b\n") == "20 (initial 20)\n\n"
        assert service.fleet.count == 2

    trio.run(scenario, f"{HTTP}backend b\n{lines.format(10)}", first)
    trio.run(
        scenario,
        f"{HTTP}backend x\n  server s 127.0.0.1:1\nbackend b\n{lines.format(20)}".replace("x\n", "x\n", 1),
        lambda service: None,
    )
    trio.run(scenario, f"{HTTP}backend b\n{lines.format(20)}", second)


def told(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> str:
    async def scenario() -> None:
        async with running(text, state_dir=str(tmp_path), log="stderr") as service:
            await until(lambda: service.fleet.count > 0, "it runs")

    trio.run(scenario)
    return capfd.readouterr().err


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: b"", lambda data: b"nonsense\n" * 99])
def test_a_file_of_no_use_is_told_and_put_aside(
    spoil: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "backend b\n  server s 127.0.0.1:1\n"
    assert "state" not in told(tmp_path, text, capfd)
    spoilt = spoil((tmp_path / NAME).read_bytes())
    (tmp_path / NAME).write_bytes(spoilt)
    assert "every server starts anew, and the file is" in told(tmp_path, text, capfd)
    assert (tmp_path / ASIDE).read_bytes() == spoilt
    assert "state" not in told(tmp_path, text, capfd)


def test_another_configuration_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told(tmp_path, "backend b\n  server s 127.0.0.1:1\n", capfd)
    assert "is of another configuration" in told(tmp_path, "backend c\n  server s 127.0.0.1:1\n", capfd)


def test_an_old_file_is_of_no_use() -> None:
    data = encode(Head(1_000, "1", 0), [])
    assert decode(data, 1_500) == (500, {})
    assert decode(data, 0) == (0, {})  # the clock was set back
    with pytest.raises(Unusable, match="hours old"):
        decode(data, 1_000 + 25 * 3_600_000)
    with pytest.raises(Unusable):
        decode(encode(Head(1_000, "1", 1), [b"\xc0"]), 1_500)


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        text, folder = "backend b\n  server s 127.0.0.1:1\n", str(tmp_path)
        async with running(text, state_dir=folder), running(text, state_dir=folder, log="stderr") as other:
            assert other.fleet.count == 1

    trio.run(scenario)
    assert "another risefall keeps its state there" in capfd.readouterr().err


def test_a_folder_that_cannot_be_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "no state is kept" in told(tmp_path / "file" / "below", "backend b\n  server s 127.0.0.1:1\n", capfd)


def test_it_is_written_while_it_runs(player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "EVERY_S", 0.05)
    _, bad = player.listen("127.0.0.1", 0, BUSY)

    async def scenario() -> None:
        text = f"{HTTP}backend b\n  server s 127.0.0.1:{bad} check inter 30ms\n"
        async with running(text, state_dir=str(tmp_path)) as service:
            await until(lambda: status(service, "b/s") == "DOWN", "DOWN")
            await until((tmp_path / NAME).exists, "the file")

            def is_down() -> bool:
                (_, kept) = decode((tmp_path / NAME).read_bytes(), time.time_ns() // 1_000_000)
                return kept["backend", "b"][1]["s"].op == 0

            await until(is_down, "the news in it")

    trio.run(scenario)


def test_large_backends_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SLICE", 2)
    names = [f"s{number}" for number in range(5)]
    text = "frontend f\n  bind 127.0.0.1:1\nbackend b\n" + "".join(f"  server {name} 127.0.0.1:1\n" for name in names)

    async def first() -> None:
        async with running(text, state_dir=str(tmp_path)) as service:
            for name in names:
                say(service, f"set server b/{name} state drain\n")

    async def second() -> None:
        async with running(text, state_dir=str(tmp_path)) as service:
            assert [row.status for row in service.rows()] == ["DRAIN"] * 5

    trio.run(first)
    _, kept = decode((tmp_path / NAME).read_bytes(), time.time_ns() // 1_000_000)
    assert {key: list(servers) for key, (_, servers) in kept.items()} == {
        ("frontend", "f"): [],
        ("backend", "b"): names,
    }
    trio.run(second)


def test_two_runs_keep_a_file_each(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By the names of their runtime sockets."""
    text = "backend b\n  server s 127.0.0.1:1\n"

    async def scenario() -> None:
        for _ in range(2):
            one = running(text, state_dir=str(tmp_path), socket_path=str(tmp_path / "a.sock"), log="stderr")
            other = running(text, state_dir=str(tmp_path), socket_path=str(tmp_path / "b.sock"), log="stderr")
            async with one as first, other as second:
                say(first, "disable server b/s\n")
                assert [row.status for row in second.rows()] == ["no check"]

    trio.run(scenario)
    assert {"a.state", "b.state"} <= {path.name for path in tmp_path.iterdir()}
    assert "state" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "run"),
        ("/run/risefall/run.sock", "run"),
        ("fd@3", "run"),
        ("/tmp/lb.2.sock", "lb.2"),
        ("/tmp/.sock", ".sock"),
    ],
)
def test_file_names(path: str, name: str) -> None:
    assert file_name(path) == name


def test_a_reload_and_a_name_server_are_news(tmp_path: Path) -> None:
    text = "backend b\n  server s 127.0.0.1:1\n"

    async def scenario() -> None:
        async with running(text, state_dir=str(tmp_path), reread=lambda: loaded(text)) as service:
            before = service.present.news()
            await service.reload()
            assert service.present.news() > before
            before = service.present.news()
            service.present.join.apply(lose_address(service.fleet, 0, "DNS NX status", service.api.now_ms()))
            assert service.present.news() > before

    trio.run(scenario)


def test_what_could_not_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keeping, "EVERY_S", 0.02)
    (tmp_path / "run.state.new").mkdir()
    said: list[str] = []

    def told_so() -> bool:
        said.append(capfd.readouterr().err)
        return "cannot be kept" in "".join(said)

    async def scenario() -> None:
        async with running("backend b\n  server s 127.0.0.1:1\n", state_dir=str(tmp_path), log="stderr") as service:
            say(service, "disable server b/s\n")
            await until(told_so, "a word")
            (tmp_path / "run.state.new").rmdir()
            await until((tmp_path / NAME).exists, "the file, without more news")

    trio.run(scenario)
    assert "".join([*said, capfd.readouterr().err]).count("the state cannot be kept: Is a directory") == 1


def test_the_file_takes_a_server_into_maintenance_now(tmp_path: Path) -> None:
    """All the time that it was UP is no time DOWN."""
    data = encode(Head(time.time_ns() // 1_000_000 - 3_600_000, "1", 1), [part(age_ms=7_200_000)])

    async def scenario(word: str, downs: str) -> None:
        (tmp_path / NAME).write_bytes(data)
        async with running(f"backend b\n  server s 127.0.0.1:1 {word}\n", state_dir=str(tmp_path)) as service:
            old = not word
            assert (int(stat(service, "b/s", "lastchg")) >= 10_800) is old
            assert int(stat(service, "b/s", "downtime") or 0) < 3600
            assert stat(service, "b/s", "chkdown") in ("", downs)
            assert service.fleet.servers[0].downs == int(downs)
            assert service.fleet.proxies[0].downs == int(downs)

    trio.run(scenario, "", "0")
    trio.run(scenario, "disabled", "1")


def part(*, age_ms: int) -> bytes:
    """A backend `b` whose server `s` has been UP for so long."""
    state = ServerState("s", 0, 1, "127.0.0.1", 1, "", Op.RUNNING, Admin(0), 1, 1, False, None, None, -age_ms)
    fleet = Fleet(
        [ProxyState("b", "backend", 2, "http", "roundrobin", 0, 1, False, False, False)], [state], DIALECTS["2.6"], 0
    )
    kept = keep_proxy(fleet.proxies[0], 0), [keep_server(fleet, 0, lambda index, which: Shown(0, None), 0)]
    return msgspec.msgpack.encode(kept)


def test_haproxys_file_speaks_for_those_that_are_not_known(tmp_path: Path) -> None:
    head, rest = "1\n", "1 1 100 15 3 4 6 0 0 0 - 1 - 0 0 - - 0\n"
    (tmp_path / "haproxy").write_text(head + "".join(f"2 b 1 {name} 127.0.0.1 2 8 {rest}" for name in ("old", "new")))
    top = f"global\n  server-state-file {tmp_path}/haproxy\ndefaults\n  load-server-state-from-file global\nbackend b\n"

    async def scenario(names: list[str], words: list[str], command: str) -> None:
        text = top + "".join(f"  server {name} 127.0.0.1:1\n" for name in names)
        async with running(text, state_dir=str(tmp_path / "state")) as service:
            assert [row.status for row in service.rows()] == words
            say(service, command)

    trio.run(scenario, ["old"], ["DRAIN"], "set server b/old state maint\n")
    trio.run(scenario, ["old", "new"], ["MAINT", "DRAIN"], "")


def test_a_frontend_that_was_shut_down_comes_back(tmp_path: Path) -> None:
    """In HAProxy, too, only a new start brings it back; one that is paused can be resumed, and stays so."""
    text = "frontend f\n  bind 127.0.0.1:1\nfrontend g\n  bind 127.0.0.1:2\nbackend b\n  server s 127.0.0.1:1\n"

    async def scenario(words: list[str]) -> None:
        async with running(text, state_dir=str(tmp_path)) as service:
            assert [stat(service, f"{name}/FRONTEND", "status") for name in "fg"] == words
            say(service, "shutdown frontend f;disable frontend g\n")

    trio.run(scenario, ["OPEN", "OPEN"])
    trio.run(scenario, ["OPEN", "PAUSED"])


def test_where_it_is_kept() -> None:
    assert usual_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == "/var/lib/a"
    assert usual_folder({"RISEFALL_STATE_DIR": "none", "STATE_DIRECTORY": "/var/lib/a"}) == ""
    assert usual_folder({"RISEFALL_STATE_DIR": "/x"}) == "/x"


def test_a_kill_at_any_instant_costs_no_start(player: Player, tmp_path: Path) -> None:
    """Killed while it starts, runs and writes; the next one starts, and takes the socket of the dead."""
    _, bad = player.listen("127.0.0.1", 0, BUSY)
    config = tmp_path / "t.cfg"
    config.write_text(f"{HTTP}backend b\n  server s 127.0.0.1:{bad} check inter 20ms\n")
    path = str(tmp_path / "run.sock")
    command = [sys.executable, "-m", "risefall", "run", "-f", str(config), "--socket", path, "--log", "none"]
    environment = {**os.environ, "RISEFALL_STATE_DIR": str(tmp_path / "state")}
    for number in range(6):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
        try:
            if number % 2:
                wait_for(lambda: Path(path).exists(), process)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.communicate()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    try:
        wait_for(lambda: answers(path), process)
    finally:
        process.terminate()
        _, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    assert (tmp_path / "state" / NAME).exists()


def answers(path: str) -> bool:
    try:
        return "risefall" in Client(path).ask("show info").text
    except Exception:
        return False


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert process.poll() is None, process.stderr
        assert time.monotonic() < deadline
        time.sleep(0.005)


WRITER = """
import sys
from pathlib import Path
from risefall.daemon.keeping import Head, encode, write_whole
number = 0
while True:
    number += 1
    write_whole(Path(sys.argv[1]), encode(Head(number, "1", number % 7), [bytes(100_000 * (number % 7))]))
"""


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Whenever that is: what is there can be read."""
    path = tmp_path / NAME
    for _ in range(8):
        before = inode(path)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stderr=subprocess.PIPE)
        try:
            wait_for(lambda before=before: inode(path) not in (0, before), process)  # type: ignore[misc]
        finally:
            process.kill()
            process.communicate()
        with pytest.raises(Unusable, match="does not say what it should"):
            decode(path.read_bytes(), 1)


def inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def test_a_file_is_whole_or_old(tmp_path: Path) -> None:
    path = tmp_path / NAME
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
