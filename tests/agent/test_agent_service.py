"""The agent on loopback: real sockets, conditions waited for with a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from risefall.agent.keep import read_kept
from risefall.agent.leases import Order, OrderWord, Slot, make_order
from risefall.agent.listener import Port, ports_of
from risefall.agent.machine import this_machine
from risefall.agent.sensing import Engine, Sensor
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Check, Command, Condition, File, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings
from risefall.agent.voice import Kept
from risefall.errors import StartError

LONG_S = 20.0
HERE = ("127.0.0.1:0",)


@asynccontextmanager
async def running(settings: Settings, engine: Engine | None = None) -> AsyncIterator[tuple[Service, int]]:
    """An agent and its port."""
    service = Service(settings, this_machine(), engine, lambda line: None)
    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(service.run)
            yield service, addresses[0][1]
            service.stop()


async def ask(port: int, send: bytes = b"") -> bytes:
    """What HAProxy would get; nothing for a reset."""
    with suppress(trio.BrokenResourceError, OSError):
        return await ask_rudely(port, send)
    return b""


async def ask_rudely(port: int, send: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        if send:
            await stream.send_all(send)
        return b"".join([piece async for piece in stream])


async def until(port: int, good: Callable[[bytes], bool], send: bytes = b"") -> bytes:
    """Polls until an answer is as wanted; the caller's deadline ends it."""
    while not good(line := await ask(port, send)):
        await trio.sleep(0.01)
    return line


def plain(**options: object) -> Settings:
    services = {"app": ServiceSettings(send="app"), "db": ServiceSettings(send="db", default=True)}
    return Settings(agent=Agent(listen=HERE, **options), service=services)  # type: ignore[arg-type]


def flag(path: Path) -> Settings:
    """A service that is drained while a file is there."""
    signal = File(name="flag", path=str(path), every_ms=50)
    state = Condition(say=Say.DRAIN, signal="flag", op=Op.EQUAL, value=1, reason="flag")
    return Settings(
        agent=Agent(listen=HERE), service={"app": ServiceSettings(send="app", signal=(signal,), state=(state,))}
    )


def test_one_port_answers_for_many_services(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(plain()) as (service, port):
            service.desk.give(make_order("app", OrderWord.WEIGHT, 0, weight_pct=7))
            service.ordered()
            assert await ask(port, b"app\n") == b"up 7%\n"
            assert await ask(port, b"db\n") == b"up 100%\n"
            assert await ask(port) == b"up 100%\n"
            assert service.counts().answered == 3

    trio.run(main)


def test_a_word_that_means_no_service_is_told_once() -> None:
    told: list[str] = []
    service = Service(plain(), this_machine(), None, told.append)

    async def main() -> None:
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                port = (await nursery.start(service.run))[0][1]
                for text in (b"ap\n", b"ap\n", b"\x1b[2J x\n"):
                    assert await ask(port, text) == b"up 100%\n"
                    while not told or "'ap'" not in told[0] or service.voice.unknown() not in told[-1]:
                        service.ordered()  # its tick comes at once
                        await trio.sleep(0.01)
                service.stop()

    trio.run(main)
    assert told == [
        f"note: 127.0.0.1 asks for '{word}', which is no service of its port, and is answered for 'db'; services: app, db"
        for word in ("ap", "?[2J")
    ]


def test_what_a_file_says_is_answered_and_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(flag(tmp_path / "out")) as (_, port):
            await until(port, lambda line: line == b"up 100%\n")
            (tmp_path / "out").touch()
            await until(port, lambda line: line == b"up drain 100% #flag\n")
            (tmp_path / "out").unlink()
            await until(port, lambda line: line == b"up ready 100%\n")
            assert await ask(port) == b"up 100%\n"
            assert await ask(port, b"sent but not waited for\n") == b"up 100%\n"

    trio.run(main)


def test_orders_and_what_was_told_outlive_a_restart(tmp_path: Path) -> None:
    settings = plain(state_dir=str(tmp_path / "state"))

    async def first() -> None:
        async with running(settings) as (service, port):
            service.desk.give(make_order("app", OrderWord.DRAIN, 0, who="ann"))
            service.ordered()
            assert await ask(port, b"app\n") == b"up drain 100%\n"

    async def second() -> None:
        async with running(settings) as (service, port):
            assert await ask(port, b"app\n") == b"up drain 100%\n"
            assert service.desk.release("app", Slot.STATE) is not None
            service.ordered()
            assert await ask(port, b"db\n") == b"up 100%\n"

    async def third() -> None:
        async with running(settings) as (_, port):
            assert await ask(port, b"app\n") == b"up ready 100%\n"
            assert await ask(port, b"app\n") == b"up 100%\n"

    for part in (first, second, third):
        trio.run(part)
    assert read_kept(str(tmp_path / "state/orders.json"), list[Order]) == ([], "")
    told, _ = read_kept(str(tmp_path / "state/told.json"), list[Kept])
    assert told is not None
    assert [(one.service, one.balancer, one.owed) for one in told] == [("app", "127.0.0.1", 0), ("db", "127.0.0.1", 0)]


def test_idle_and_greedy_peers_harm_nobody() -> None:
    async def main() -> None:
        async with running(plain(connections_per_source=40, deadline_ms=1000)) as (service, port):
            async with trio.open_nursery() as nursery:
                idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(30)]
                assert await ask(port, b"app\n") == b"up 100%\n"

                async def flood() -> None:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                    try:
                        for _ in range(64):
                            await stream.send_all(b"x" * 65536)
                    except trio.BrokenResourceError:
                        pass
                    await stream.aclose()

                nursery.start_soon(flood)
                assert await ask(port, b"app\n") == b"up 100%\n"
            for stream in idle:
                assert b"".join([piece async for piece in stream]) == b"up 100%\n"
                await stream.aclose()
            while service.counts().open:
                await trio.sleep(0.01)

    trio.run(main)


def test_who_may_not_come_in_gets_nothing() -> None:
    async def main() -> None:
        async with running(plain(allow=("10.0.0.0/8",))) as (service, port):
            assert await ask(port) == b""
            assert service.counts().refused == 1

    trio.run(main)


def test_who_answers_where() -> None:
    services = {
        "app": ServiceSettings(), "db": ServiceSettings(default=True), "own": ServiceSettings(listen=("127.0.0.1:1", "h")),
        "too": ServiceSettings(listen=("127.0.0.1:1",)),
    }  # fmt: skip
    settings = Settings(agent=Agent(listen=("a", "b")), service=services)
    assert ports_of(settings) == [
        Port("a", ("app", "db"), "db"), Port("b", ("app", "db"), "db"),
        Port("127.0.0.1:1", ("own", "too"), None), Port("h", ("own",), "own"),
    ]  # fmt: skip
    waits = [port.by_text(settings) for port in ports_of(settings)]
    assert waits == [True, True, True, False]


def test_an_address_in_use_is_named() -> None:
    async def main() -> None:
        async with running(plain()) as (_, port):
            other = Settings(agent=Agent(listen=(f"127.0.0.1:{port}",)), service={"a": ServiceSettings(send="a")})
            with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"):
                await Service(other, this_machine(), None, lambda line: None).run()

    trio.run(main)


def test_the_last_word_is_said_for_as_long_as_asked() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with running(plain(shutdown_ms=60_000)) as (service, port):
                service.stop()
                assert await ask(port, b"app\n") == b"up drain 100% #agent stops\n"
                scope.cancel()

    trio.run(main)


def test_a_signal_that_hangs_is_a_failure_and_holds_up_nobody(tmp_path: Path) -> None:
    """A FIFO that nobody writes holds its reader for ever; as a stuck disk would."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main() -> None:
        from risefall.agent.settings import FileOf

        sensor = Sensor(File(path=str(fifo), of=FileOf.NUMBER, timeout_ms=50), this_machine(), None)
        assert (await sensor.read()).failure == "took longer than 50 ms"
        assert (await sensor.read()).failure == "the reading before has not come back"
        writer = threading.Thread(target=lambda: fifo.write_text("5\n"))
        writer.start()
        while (reading := await sensor.read()).failure == "the reading before has not come back":
            await trio.sleep(0.01)
        writer.join()
        assert reading.failure == "took longer than 50 ms"
        writer = threading.Thread(target=lambda: fifo.write_text("5\n"))  # lets the last thread go
        writer.start()
        writer.join()

    with_deadline(main)


def with_deadline(function: Callable[[], object]) -> None:
    async def main() -> None:
        with trio.fail_after(LONG_S):
            await function()  # type: ignore[misc]

    trio.run(main)


def test_a_check_counts_by_rise_and_fall_and_its_errors_are_failures() -> None:
    outcomes: list[object] = [True, False, False, True, True, StartError("no descriptor")]

    async def check(signal: Check) -> tuple[bool, str]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        await trio.lowlevel.checkpoint()
        return bool(outcome), "L7OK" if outcome else "L7STS"

    def step(health: int, rise: int, fall: int, passed: bool) -> int:
        full = rise + fall - 1
        if passed:
            return full if health + 1 >= rise else health + 1
        return 0 if health - 1 < rise else health - 1

    async def main() -> None:
        sensor = Sensor(Check(check="tcp://127.0.0.1:1", rise=2, fall=2), this_machine(), Engine(check, step))
        assert [(await sensor.read()).value for _ in range(5)] == [1, 1, 0, 0, 1]
        assert (await sensor.read()).failure == "no descriptor"

    trio.run(main)


def test_a_hung_command_becomes_stale_and_is_said_so() -> None:
    signal = Command(name="x", run=("/bin/sleep", "600"), every_ms=50, timeout_ms=50)
    settings = Settings(
        agent=Agent(listen=HERE), service={"app": ServiceSettings(send="app", signal=(signal,), stale_ms=200)}
    )

    async def main() -> None:
        async with running(settings) as (_, port):
            assert await until(port, lambda line: line != b"") == b"down #stale\n"

    trio.run(main)


def test_what_decides_imports_neither_trio_nor_sockets() -> None:
    names = "settings load rules words leases explain replay picture desk procfs curves keep reading sense tables"
    code = (
        f"import sys, importlib\nfor name in {names.split()}: importlib.import_module('risefall.agent.' + name)\n"
        "print([name for name in ('trio', 'socket', 'psutil', 'risefall.engine') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
