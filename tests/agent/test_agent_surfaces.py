"""The agent's other surfaces on loopback: orders over the control socket, HTTP pages, keepalived's track file."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

import risefall.agent.control as control_module
from risefall.agent.control import CLIENTS_MAX, KEEP_S, Control, asker, reply_to
from risefall.agent.desk import Desk
from risefall.agent.leases import Book, Order, OrderWord
from risefall.agent.machine import this_machine
from risefall.agent.metrics import COUNTERS
from risefall.agent.service import Service
from risefall.agent.settings import Agent, Condition, File, Op, Say, Settings
from risefall.agent.settings import Service as ServiceSettings
from risefall.agent.standing import Standing, standing_of
from risefall.agent.track_file import write_number
from risefall.agent.voice import Kept, Voice
from risefall.agent.web import CLIENTS_MAX as WEB_MAX
from risefall.agent.wire import Ask, Do, Said
from risefall.agent.words import Part
from risefall.cli.ctl_agent import ask_agent
from risefall.engine.answerer import Answerer, Counts, Peer
from risefall.errors import PeerLost, StartError

LONG_S = 20.0
PLAIN = ServiceSettings(send="app", default=True)


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[Service]:
    """An agent with two services; options: of `[agent]`, `app` for the first service."""
    app = options.pop("app", PLAIN)
    services = {"app": app, "db": ServiceSettings(send="db")}
    settings = Settings(agent=Agent(listen=("127.0.0.1:0",), **options), service=services)  # type: ignore[arg-type]
    service = Service(settings, this_machine(), None, lambda line: None)
    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            yield service
            service.stop()


async def order(path: Path, **ask: object) -> Said:
    return await trio.to_thread.run_sync(ask_agent, str(path), Ask(**ask), LONG_S)  # type: ignore[arg-type]


async def get(service: Service, path: str, method: str = "GET") -> tuple[int, bytes]:
    def fetch() -> tuple[int, bytes]:
        assert service.http_address is not None
        connection = http.client.HTTPConnection(*service.http_address, timeout=LONG_S)
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.read()

    return await trio.to_thread.run_sync(fetch)


# --- the operator -----------------------------------------------------------------------------------------


def test_an_order_with_who_why_and_lease_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "in" / "agent.sock"

    async def main() -> None:
        async with running(socket=str(path)) as service:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            said = await order(path, do=Do.DRAIN, service="app", lease_ms=60_000, reason="deploy 41", who="ann")
            shown = said.services[0]
            assert shown.standing.line == "up drain 100% #deploy 41"
            given = shown.orders[0]
            assert (given.word, given.reason, given.ends_ns) == (
                OrderWord.DRAIN,
                "deploy 41",
                given.given_ns + 60 * 10**9,
            )
            assert given.who == asker(os.getuid(), "ann")
            assert (await order(path, do=Do.WEIGHT, service="app", weight_pct=50)).services[0].standing.line == (
                "up drain 50% #deploy 41"
            )
            assert len((await order(path, do=Do.RELEASE, service="app")).ended) == 2
            assert (await order(path, do=Do.SHOW)).services[0].standing.line == "up 100%"
            assert [one.standing.service for one in (await order(path, do=Do.SHOW)).services] == ["app", "db"]
            assert service.desk.book.orders() == []
        assert not path.exists()

    trio.run(main)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (Ask(do=Do.DRAIN, service="nosuch"), "no service 'nosuch'; there are: app, db"),
        (Ask(do=Do.DRAIN), "which service?"),
        (Ask(do=Do.WEIGHT, service="app"), "'weight' wants a percentage"),
        (Ask(do=Do.WEIGHT, service="app", weight_pct=101), "a weight is 0% to 100%"),
        (Ask(do=Do.DRAIN, service="app", lease_ms=0), "longer than nothing"),
    ],
)
def test_what_cannot_be_ordered_is_said_and_changes_nothing(tmp_path: Path, ask: Ask, error: str) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        async with running(socket=str(path)) as service:
            said = await trio.to_thread.run_sync(ask_agent, str(path), ask, LONG_S)
            assert error in said.error
            assert service.desk.book.orders() == []

    trio.run(main)


@pytest.mark.parametrize("disk", ["slow", "full", "hangs"])
def test_an_order_is_on_the_disk_before_anybody_hears_of_it(disk: str) -> None:
    """And where the disk does not take it, it is obeyed all the same, and who has ordered is told."""
    settings = Settings(service={"app": PLAIN})
    seen: list[tuple[str, int]] = []

    async def settled() -> str:
        desk.refresh("app", 0)  # a reading comes meanwhile
        seen.append((desk.standing("app", 0, 0).line, len(desk.book.orders())))
        await trio.sleep({"slow": KEEP_S / 2, "full": 0, "hangs": 1e6}[disk])
        return "/state: No space left on device" if disk == "full" else ""

    async def main() -> None:
        def line() -> bytes:
            voice.freshen("app", 0, 0)
            return answerer.ask(Peer(ipaddress.ip_address("10.0.0.1")), 0, 0)

        voice = Voice(desk, answerer)
        control = Control(
            lambda: desk,
            lambda: voice,
            dict,
            now_ns=lambda: 0,
            wall_ns=lambda: 0,
            settled=settled,
            ordered=lambda: None,
            log=lambda _: None,
        )
        desk.refresh("app", 0)
        for do, before, after, kept in (
            (Do.DRAIN, "up 100%", b"up drain 100%\n", 1), (Do.RELEASE, "up drain 100%", b"up ready 100%\n", 0),
        ):  # fmt: skip
            said = await control.answer(Ask(do=do, service="app"), 0)
            assert seen.pop() == (before, kept)
            assert line() == after
            assert bool(said.warning) == (disk != "slow")

    desk = Desk(settings, Book(), started_ns=0)
    with Answerer() as answerer:
        trio.run(main, clock=MockClock(autojump_threshold=0))


class Slow:
    """A folder whose disk takes nothing for long, but what is written at the end."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.waiting = trio.Event()

    def read(self) -> tuple[Book, list[Kept]]:
        return Book(), []

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def run(self, orders: object, told: object) -> None:
        await trio.sleep_forever()

    async def settled(self) -> str:
        self.waiting.set()
        await trio.sleep_forever()
        return ""

    async def write(self, orders: list[Order], told: list[Kept], *, last: bool = False) -> bool:
        self.orders = orders
        await trio.lowlevel.checkpoint()
        return True


@pytest.mark.parametrize("end", ["stop", "reload"])
def test_an_order_that_waits_for_the_disk_outlives_what_comes_meanwhile(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop, or a reload after which its service is gone: it is in the file, and nobody stumbles over it."""
    path = tmp_path / "s"
    monkeypatch.setattr(control_module, "KEEP_S", 0.2)
    settings = Settings(agent=Agent(listen=("127.0.0.1:0",), socket=str(path)), service={"app": PLAIN})
    slow = Slow()
    service = Service(settings, this_machine(), None, lambda line: None, keeper=slow)
    errors: list[str] = []

    async def drain() -> None:
        with suppress(PeerLost):
            errors.append((await order(path, do=Do.DRAIN, service="app")).error)

    async def main() -> None:
        with trio.fail_after(LONG_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(service.run)
                nursery.start_soon(drain)
                await slow.waiting.wait()
                if end == "reload":
                    await service.reload(msgspec.structs.replace(settings, service={"db": PLAIN}), None)
                    while not errors:
                        await trio.sleep(0.01)
                service.stop()

    trio.run(main)
    assert [one.service for one in slow.orders] == ["app"]
    assert "went with a reload" in errors[0] if end == "reload" else not any(errors)


def test_only_root_may_order_in_anothers_name() -> None:
    assert asker(0, " ann\n") == "ann"
    assert asker(0, "") == "root"
    assert asker(54321, "root") == "uid 54321"


@pytest.mark.parametrize(
    "line", [b"{}\n", b"show stat\n", b'{"do":"drain","extra":1}\n', b"x" * 5000 + b"\n", b"\xff\n"]
)
def test_what_is_no_question_gets_an_answer(line: bytes) -> None:
    async def nobody(ask: Ask, uid: int) -> Said:
        raise AssertionError

    assert trio.run(reply_to, line, 0, nobody).error


def test_idle_clients_keep_no_operator_out(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        idle = []
        try:
            async with running(socket=str(path)):
                for _ in range(CLIENTS_MAX * 3):
                    idle.append(await trio.open_unix_socket(path))
                assert not (await order(path, do=Do.SHOW)).error
        finally:
            for stream in idle:
                await trio.aclose_forcefully(stream)

    trio.run(main)


def test_a_socket_that_nobody_asked_for_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    settings = Settings(agent=Agent(listen=("127.0.0.1:0",)), service={"app": PLAIN})

    async def main(**options: object) -> None:
        service = Service(settings, this_machine(), None, told.append, usual_socket=str(tmp_path / "file"))
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            service.stop()

    trio.run(main)
    assert told[0].startswith("note: no control socket: ")
    wanted = msgspec.structs.replace(
        settings, agent=msgspec.structs.replace(settings.agent, socket=str(tmp_path / "file"))
    )
    with pytest.raises(StartError):
        trio.run(Service(wanted, this_machine(), None, told.append).run)


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PeerLost, match="is `risefall agent` running"):
        ask_agent(str(tmp_path / "none"), Ask(do=Do.SHOW), 1.0)


# --- for others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "good", "weight", "state"),
    [
        (None, False, 0, "unknown"),
        (Part(health="up", admin="", weight_pct=40), True, 40, "up"),
        (Part(health="up", admin=""), True, 100, "up"),
        (Part(health="up", admin="", weight_pct=0), False, 0, "up"),
        (Part(health="up", admin="drain", weight_pct=40), False, 0, "drain"),
        (Part(health="down", admin="maint"), False, 0, "maint"),
        (Part(health="down", admin=""), False, 0, "down"),
        (Part(health="stopped"), False, 0, "down"),
        (Part(admin="", weight_pct=50), False, 0, "unknown"),
    ],
)
def test_what_is_good(part: Part | None, good: bool, weight: int, state: str) -> None:
    standing = standing_of("app", part)
    assert (standing.good, standing.weight_pct, standing.state) == (good, weight, state)


def test_pages(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        async with running(socket=str(path), http="127.0.0.1:0") as service:
            status, body = await get(service, "/")
            assert (status, json.loads(body)["line"]) == (200, "up 100%")
            await order(path, do=Do.MAINT, service="app", reason="disks")
            status, body = await get(service, "/?probe=1")
            assert (status, json.loads(body)["state"], json.loads(body)["reason"]) == (503, "maint", "disks")
            assert await get(service, "/", "HEAD") == (503, b"")
            assert (await get(service, "/db"))[0] == 200
            assert (await get(service, "/nosuch"))[0] == 404
            assert (await get(service, "/", "POST"))[0] == 405
            status, page = await get(service, "/metrics")
            assert status == 200
            assert b'risefall_agent_good{service="app"} 0.0\n' in page
            assert b'risefall_agent_weight_ratio{service="db"} 1.0\n' in page
            assert b'risefall_agent_state{service="app",state="maint"} 1.0\n' in page
            assert b'risefall_agent_state{service="app",state="up"} 0.0\n' in page
            assert b'risefall_agent_order_left_seconds{order="maint",service="app"} +Inf\n' in page
            assert b"risefall_agent_answers_total 0.0\n" in page
            assert b"process_resident_memory_bytes " in page
            assert {
                name.removesuffix("_total")
                for name in re.findall(r"^# TYPE (\S+) counter", page.decode(), re.MULTILINE)
            } >= {f"risefall_agent_{name}" for name, _ in COUNTERS.values()}
            assert {*COUNTERS, "open"} == set(Counts.__struct_fields__)

    trio.run(main)


def test_signals_are_measured(tmp_path: Path) -> None:
    app = ServiceSettings(send="app", signal=(File(name="n", path=str(tmp_path / "n"), every_ms=50),))

    async def main() -> None:
        async with running(app=app, http="127.0.0.1:0") as service:
            while b'risefall_agent_signal{service="app",signal="n"} 0.0\n' not in (await get(service, "/metrics"))[1]:
                await trio.sleep(0.01)

    trio.run(main)


def test_clients_that_say_nothing_or_nonsense_keep_no_probe_out() -> None:
    async def main() -> None:
        async with running(http="127.0.0.1:0") as service:
            assert service.http_address is not None
            idle = [await trio.open_tcp_stream(*service.http_address) for _ in range(WEB_MAX * 3)]
            assert (await get(service, "/"))[0] == 200
            for bad in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000):
                stream = await trio.open_tcp_stream(*service.http_address)
                await stream.send_all(bad)
                assert (await stream.receive_some(99)).startswith(
                    (b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 431 Request ")
                )
                await stream.aclose()
            assert (await get(service, "/"))[0] == 200
            for stream in idle:
                await trio.aclose_forcefully(stream)

    trio.run(main)


def test_who_may_not_ask_gets_no_page() -> None:
    async def main() -> None:
        async with running(http="127.0.0.1:0", allow=("10.0.0.0/8",)) as service:
            with pytest.raises((http.client.HTTPException, OSError)):
                await get(service, "/")

    trio.run(main)


def test_the_track_file_follows(tmp_path: Path) -> None:
    """keepalived reads the weight, and `track_down` while the service is not good."""
    file, flag = tmp_path / "app.weight", tmp_path / "flag"
    app = ServiceSettings(
        send="app",
        signal=(File(name="flag", path=str(flag), every_ms=50),),
        state=(Condition(say=Say.DOWN, signal="flag", op=Op.EQUAL, value=1),),
        track_file=str(file),
        track_down=-254,
    )
    told: list[Standing] = []

    async def until(text: str) -> None:
        while not file.exists() or file.read_text() != text:
            await trio.sleep(0.01)

    async def main() -> None:
        async with running(app=app) as service:
            service.follow_standings(told.append)
            await until("100\n")
            flag.touch()
            await until("-254\n")
            flag.unlink()
            await until("100\n")

    trio.run(main)
    mine = [(one.good, one.state) for one in told if one.service == "app"]
    assert mine[-3:] == [(True, "up"), (False, "down"), (True, "up")]


def test_a_track_file_is_replaced_whole_and_never_followed(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_number(str(path), 7)
    first = path.stat().st_ino
    write_number(str(path), 100)
    assert (path.read_text(), path.stat().st_ino == first, list(tmp_path.iterdir())) == ("100\n", False, [path])
    (tmp_path / "w.new").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic"):
        write_number(str(path), 1)
    assert path.read_text() == "100\n"


def test_the_socket_of_a_dead_agent_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def main() -> None:
        async with running(socket=str(path)):
            assert not (await order(path, do=Do.SHOW)).error

    trio.run(main)
