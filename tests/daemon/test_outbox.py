"""Lines for a descriptor that may take nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from risefall.daemon import outbox
from risefall.daemon.outbox import Outbox

LINES = 2000


def full_pipe() -> tuple[int, int]:
    """A pipe of one page with nobody reading."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def pair() -> tuple[int, int]:
    """A stream socket, as systemd gives for stdout and stderr; both ends stay as they are: blocking."""
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


@pytest.fixture(params=["pipe", "socket", "pipe of another user"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Reader and writer of what a daemon's stdout may be."""
    if request.param == "pipe of another user":

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(os, "open", refuse)
    reader, writer = pair() if request.param == "socket" else full_pipe()
    yield reader, writer
    monkeypatch.undo()
    os.close(reader)
    os.close(writer)


def test_a_file_gets_every_line_at_once(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        box = Outbox(file.fileno())
        for i in range(1000):
            box.put(b"%d\n" % i)
        box.close()
    assert (tmp_path / "out").read_bytes() == b"".join(b"%d\n" % i for i in range(1000))
    assert box.dropped == 0


@pytest.mark.parametrize(("device", "dropped"), [("/dev/null", 0), ("/dev/full", 3)])
def test_a_device(device: str, dropped: int) -> None:
    """A full disk costs the lines of its time."""
    with Path(device).open("wb") as file:
        box = Outbox(file.fileno())
        for _ in range(3):
            box.put(b"line\n")
        box.close()
    assert box.dropped == dropped


def test_a_file_gets_lines_again_when_its_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (tmp_path / "out").open("wb") as file:
        box = Outbox(file.fileno())
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            box.put(b"lost\n")
        box.put(b"kept\n")
        box.close()
    assert ((tmp_path / "out").read_bytes(), box.dropped) == (b"kept\n", 1)


def test_a_slow_reader_gets_every_line_in_order(ends: tuple[int, int]) -> None:
    reader, writer = ends
    lines = [b"%06d %s\n" % (i, b"x" * 80) for i in range(2000)]

    async def scenario() -> bytes:
        box = Outbox(writer)
        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            for line in lines:
                box.put(line)
            with trio.fail_after(20):
                while len(got) < sum(map(len, lines)):
                    await trio.lowlevel.wait_readable(reader)
                    got += os.read(reader, 4096)
            nursery.cancel_scope.cancel()
        box.close()
        assert box.dropped == 0
        return bytes(got)

    assert trio.run(scenario) == b"".join(lines)


def test_what_was_taken_is_written_at_the_end(ends: tuple[int, int]) -> None:
    """The task is cancelled before it had its turn."""
    reader, writer = ends

    async def scenario() -> None:
        box = Outbox(writer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            box.put(b"last words\n")
            nursery.cancel_scope.cancel()
        box.close()
        assert box.dropped == 0

    trio.run(scenario)
    assert os.read(reader, 100) == b"last words\n"


def test_after_the_end_lines_are_counted() -> None:
    reader, writer = full_pipe()
    box = Outbox(writer)
    box.put(b"never written\n")
    box.close()
    box.put(b"too late\n")
    box.close()
    assert box.dropped == 2
    os.close(reader)
    os.close(writer)


def test_a_reader_that_takes_nothing_costs_counted_lines(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is not written is counted, line by line; the end does not wait for the reader either."""
    monkeypatch.setattr(outbox, "LINES_MAX", 100)
    reader, writer = ends
    blocking = os.get_blocking(writer)

    async def scenario() -> None:
        box = Outbox(writer)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run)
                for number in range(LINES):
                    box.put(b"%06d %s\n" % (number, b"x" * 500))
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        box.close()
        os.set_blocking(reader, False)
        got = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(reader, 1 << 20):
                got += piece
        numbers = [int(line[:6]) for line in got.split(b"\n")[:-1]]  # the last may be cut
        assert numbers == sorted(numbers)
        assert box.dropped > 0
        assert box.dropped + got.count(b"\n") == LINES

    trio.run(scenario)
    assert os.get_blocking(writer) is blocking, "the caller's descriptor was changed"


@pytest.mark.parametrize("make", [full_pipe, pair])
def test_a_reader_that_is_gone_costs_counted_lines(make: Callable[[], tuple[int, int]]) -> None:
    reader, writer = make()
    os.close(reader)

    async def scenario() -> None:
        box = Outbox(writer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            box.put(b"one\n")
            with trio.fail_after(10):
                while not box.dropped:
                    await trio.lowlevel.checkpoint()
            box.put(b"two\n")
            assert box.dropped == 2
            nursery.cancel_scope.cancel()
        box.close()

    trio.run(scenario)
    os.close(writer)
