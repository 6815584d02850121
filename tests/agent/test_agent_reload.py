"""SIGHUP: another agent.toml without a gap. What stays goes on where it was; what cannot be used changes nothing."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from test_agent_process import LONG_S, Running, running, until, write
from trio.testing import MockClock

from risefall.agent.desk import Desk
from risefall.agent.leases import Book, OrderWord, make_order
from risefall.agent.machine import this_machine
from risefall.agent.reading import Reading
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, Cpu, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings
from risefall.agent.standing import Standing
from risefall.agent.wire import Do
from risefall.errors import StartError

S = 1_000_000_000
RELOADS = 5


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def hang_up(one: Running, wanted: str) -> str:
    """SIGHUP, and the lines up to the one that is waited for."""
    one.process.send_signal(signal.SIGHUP)
    assert one.process.stderr is not None
    lines = []
    while wanted not in (line := one.process.stderr.readline()):
        assert line, lines
        lines.append(line)
    return "".join([*lines, line])


def answer_or_silence(one: Running, send: bytes) -> str:
    try:
        return one.ask(send)
    except ConnectionResetError:
        return ""


def test_what_stands_goes_on_and_what_is_new_begins(folder: Path) -> None:
    """The same process, the same port; the drain stands, and is taken back from who was told before."""
    with running(folder) as one:
        one.order(Do.DRAIN, reason="deploy 41")
        assert one.ask() == "up drain 100% #deploy 41\n"
        write(folder, agent="send_wait = 2000", app="default = true\n[service.db]")
        hang_up(one, f"reloaded, answering on 127.0.0.1:{one.port}")
        assert one.ask(b"app\n") == "up drain 100% #deploy 41\n"
        until(lambda: answer_or_silence(one, b"db\n") == "up 100%\n")  # once its first numbers are there
        assert [shown.standing.service for shown in one.order(Do.SHOW).services] == ["app"]
        one.order(Do.RELEASE)
        assert one.ask(b"app\n") == "up ready 100%\n"
        assert one.ask(b"app\n") == "up 100%\n"
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(LONG_S) == 0


def test_a_file_that_cannot_be_used_changes_nothing(folder: Path) -> None:
    """A wrong key, an address that is taken, and what takes a restart: each is told with its reason."""
    with running(folder) as one, socket.create_server(("127.0.0.1", 0)) as taken:
        write(folder, app='smoth = "5s"')
        said = hang_up(one, "did you mean 'smooth'?")
        assert "not reloaded, all goes on as before: " in said
        write(folder, taken.getsockname()[1])
        hang_up(one, "not reloaded, all goes on as before: cannot listen on ")
        write(folder, agent='http = "127.0.0.1:99999"')
        hang_up(one, "is no address with a port")
        text = (folder / "agent.toml").read_text()
        (folder / "agent.toml").write_text(text.replace(f"{folder}/state", f"{folder}/other").replace(":99999", ":0"))
        hang_up(one, "agent.state_dir is another one: this takes a restart")
        assert one.ask() == "up 100%\n"
        one.order(Do.DRAIN)
        assert one.ask() == "up drain 100%\n"


def test_nobody_is_refused_meanwhile(folder: Path) -> None:
    """A client that asks all the while is let in each time; the listening socket is never closed."""
    over = threading.Event()
    refused, answered = [], []

    def client(port: int) -> None:
        while not over.is_set():
            with socket.socket() as stream:
                stream.settimeout(LONG_S)
                try:
                    stream.connect(("127.0.0.1", port))
                except OSError as error:
                    refused.append(error)
                    continue
                with contextlib.suppress(ConnectionResetError):
                    answered.append(stream.makefile("rb").read())

    with running(folder) as one:
        thread = threading.Thread(target=client, args=(one.port,))
        thread.start()
        for _ in range(RELOADS):
            before = len(answered)
            until(lambda before=before: len(answered) > before)
            hang_up(one, "reloaded")
        over.set()
        thread.join(LONG_S)
    assert not refused
    assert set(answered) <= {b"up 100%\n", b""}


def test_weights_and_conditions_keep_what_they_have_behind_them() -> None:
    """A weight that is on its way goes on from where it is, and a condition that has held keeps its word."""
    cpu = Cpu(name="cpu", curve=((50, 100), (90, 10)))
    full = Condition(say=Say.DRAIN, signal="cpu", op=Op.MORE, value=80, for_ms=30_000)
    app = ServiceSettings(signal=(cpu,), state=(full,), smooth_ms=60_000)
    old = Desk(
        Settings(service={"app": app, "gone": app}),
        Book([make_order("app", OrderWord.WEIGHT, 0, weight_pct=5)]),
        started_ns=0,
    )
    for second in range(40):
        old.put("app", "cpu", Reading(second * S, 0.0 if second < 2 else 90.0))
        old.refresh("app", second * S)
    before = old.refresh("app", 39 * S)
    assert before.admin is Say.DRAIN
    assert 20 < before.weight_pct < 100
    other = msgspec.structs.replace(
        app, floor_pct=2, state=(Condition(say=Say.DOWN, signal="cpu", op=Op.FAILING), full)
    )
    new = Desk(Settings(service={"app": other, "new": app}), old.book, started_ns=39 * S)
    new.adopt(old, 39 * S)
    part = new.part("app", 39 * S, 0)
    assert part is not None
    assert (part.admin, part.weight_pct) == ("drain", 5)
    assert new.refresh("app", 39 * S).weight_pct == before.weight_pct
    assert new.part("new", 39 * S, 0) is None  # of whom nothing is known yet
    other = msgspec.structs.replace(app, signal=(msgspec.structs.replace(cpu, curve=((0, 50), (100, 50))),))
    third = Desk(Settings(service={"app": other}), old.book, started_ns=39 * S)
    third.adopt(new, 39 * S)
    assert third.readings("app") == {}, "a number of another signal is none"


def test_a_stop_in_the_midst_of_a_reload_says_its_last_word_once() -> None:
    """In virtual time: it takes as long as is asked, no matter in which moment of the reload the stop comes."""
    spent = []

    def settings(floor: int) -> Settings:
        agent = Agent(listen=("127.0.0.1:0",), shutdown_ms=60_000)
        return Settings(agent=agent, service={"app": ServiceSettings(floor_pct=floor)})

    async def main(steps: int) -> None:
        service = Service(settings(1), this_machine(), None, lambda line: None)
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:
                await inner.start(service.run)
                nursery.start_soon(service.reload, settings(2), None)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                began = trio.current_time()
                service.stop()
            spent.append(trio.current_time() - began)

    for steps in range(12):
        trio.run(main, steps, clock=MockClock(autojump_threshold=0))
    assert spent == [60.0] * len(spent)


def test_who_follows_hears_of_services_that_went(tmp_path: Path) -> None:
    def settings(*names: str, **options: object) -> Settings:
        services = {name: ServiceSettings(send=name, track_file=str(tmp_path / name)) for name in names}
        return Settings(agent=Agent(listen=("127.0.0.1:0",), **options), service=services)  # type: ignore[arg-type]

    async def written(name: str, number: str) -> None:
        while not (tmp_path / name).exists() or (tmp_path / name).read_text() != number:
            await trio.sleep(0.01)

    async def main() -> None:
        heard: list[Standing] = []
        service = Service(settings("app", "db"), this_machine(), None, lambda line: None)
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                before = await nursery.start(service.run)
                service.follow_standings(heard.append)
                await written("db", "100\n")
                await service.reload(settings("app", "new", http="127.0.0.1:0"), None)
                assert service.addresses == before
                assert service.http_address is not None
                while (heard[-1].service, heard[-1].state) != ("new", "up"):
                    await trio.sleep(0.01)
                assert ("db", "unknown") in [(one.service, one.state) for one in heard]
                await written("db", "0\n")  # nobody follows it any more, and keepalived shall not trust it
                await service.reload(settings("app", "db", http="127.0.0.1:0"), None)
                await written("db", "100\n")
                await written("new", "0\n")
                with pytest.raises(StartError, match=r"agent\.socket is another one"):
                    await service.reload(settings("app", socket=str(tmp_path / "s")), None)
                async with trio.open_nursery() as both:  # the later one overtakes, and both come back
                    both.start_soon(service.reload, settings("app", "first", http="127.0.0.1:0"), None)
                    both.start_soon(service.reload, settings("app", "second", http="127.0.0.1:0"), None)
                assert service.desk.services() in (["app", "first"], ["app", "second"])
                service.stop()
                await service.reload(settings("app"), None)  # it ends, and does not begin anew

    trio.run(main)
