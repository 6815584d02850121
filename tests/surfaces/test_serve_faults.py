"""Clients that mean harm or are broken: the others are answered, and what is kept of each has a bound."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio
from surfaces_kit import FakeApi

from risefall.surfaces.calls import Level
from risefall.surfaces.runtime import LINE_MAX, Session
from risefall.surfaces.serve import serve

Story = Callable[[str], Awaitable[None]]
PLACES = 8
HONEST = b"get weight b1/s2\n"
ANSWER = b"5 (initial 5)\n\n"


def run(path: Path, story: Story) -> None:
    """Serves eight clients at once while a story lasts; what it waits for has to come."""

    async def main() -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(start)
                await story(str(path))
                nursery.cancel_scope.cancel()

    async def start(task_status: trio.TaskStatus[None]) -> None:
        await serve(str(path), FakeApi(), level=Level.ADMIN, clients_max=PLACES, task_status=task_status)

    trio.run(main)


async def ask(path: str) -> bytes:
    async with await trio.open_unix_socket(path) as client:
        await client.send_all(HONEST)
        return b"".join([piece async for piece in client])


async def send(client: trio.SocketStream, data: bytes) -> None:
    """As much as is taken."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await client.send_all(data)


def test_connections_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    """A thousand of them, of which each second one begins a word; the stats timeout is far away."""

    async def story(path: str) -> None:
        async with AsyncExitStack() as stack:
            for number in range(1000):
                client = await stack.enter_async_context(await trio.open_unix_socket(path))
                if number % 2:
                    await client.send_all(b"show st")
                if number % 100 == 0:
                    assert await ask(path) == ANSWER
            assert await ask(path) == ANSWER

    run(tmp_path / "sock", story)


def test_a_session_that_has_spoken_keeps_its_place(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(await trio.open_unix_socket(path))
            await session.send_all(b"prompt\n")
            assert await session.receive_some() == b"\n> "
            for _ in range(10 * PLACES):
                await stack.enter_async_context(await trio.open_unix_socket(path))
            await session.send_all(HONEST)
            assert await session.receive_some() == ANSWER + b"> "

    run(tmp_path / "sock", story)


@pytest.mark.parametrize(
    "harm",
    [
        b"\n" * LINE_MAX, b"x;" * (LINE_MAX // 2), b"help;" * 3000 + b"\n", b"prompt\n" + b"\n" * LINE_MAX,
        bytes(range(256)) * 40 + b"\n", b"show stat <<\n" + b"a\n" * 6000,
    ],
    ids=["line feeds", "semicolons", "helps", "empty lines of a session", "garbage", "payload"],
)  # fmt: skip
def test_no_line_holds_up_the_others(tmp_path: Path, harm: bytes) -> None:
    """Its answers are megabytes, which it does not read, and minutes of work; others are answered meanwhile."""

    async def story(path: str) -> None:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            for _ in range(PLACES - 2):
                client = await stack.enter_async_context(await trio.open_unix_socket(path))
                nursery.start_soon(send, client, harm + b"\n")
            for _ in range(3):
                assert await ask(path) == ANSWER
            nursery.cancel_scope.cancel()

    run(tmp_path / "sock", story)


def test_a_line_of_a_megabyte_is_refused_early(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        async with await trio.open_unix_socket(path) as client, trio.open_nursery() as nursery:
            nursery.start_soon(send, client, b"x" * 1_000_000)
            got = b""
            with suppress(trio.BrokenResourceError):
                async for piece in client:
                    got += piece
            assert got in (b"", f"Line or payload too long, at most {LINE_MAX} bytes are read.\n\n".encode())
        assert await ask(path) == ANSWER

    run(tmp_path / "sock", story)


def test_what_a_session_keeps_has_a_bound() -> None:
    """Whatever comes, never more than a few lines of it are held, nor of the answer."""
    for data in (b"x" * 16_384, b"show stat <<\n" + b"a\n" * 8000, b"help;" * 3000 + b"\n", b"\\" * 16_384):
        session = Session(FakeApi(), Level.ADMIN)
        gc.collect()
        tracemalloc.start()
        for _ in range(64):
            for number, _ in enumerate(session.feed_pieces(data)):
                if number == 50:
                    break
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2_000_000, data[:20]


def test_a_client_that_reads_slowly_is_one_answer_ahead(tmp_path: Path) -> None:
    """It takes a byte now and then; the others are answered, and its own answer is made no faster than it reads."""

    async def story(path: str) -> None:
        async with await trio.open_unix_socket(path) as slow:
            await slow.send_all(b"prompt\n" + b"show stat\n" * 1000)
            for _ in range(5):
                assert len(await slow.receive_some(1)) == 1
                assert await ask(path) == ANSWER

    run(tmp_path / "sock", story)
