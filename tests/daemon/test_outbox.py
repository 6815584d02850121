"""Lines for a descriptor that may take nothing."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import trio

from risefall.daemon import outbox
from risefall.daemon.outbox import Outbox


def full_pipe() -> tuple[int, int]:
    """A pipe of one page with nobody reading."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def test_a_file_gets_every_line_at_once(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        box = Outbox(file.fileno())
        for i in range(1000):
            box.put(b"%d\n" % i)
        box.close()
    assert (tmp_path / "out").read_bytes() == b"".join(b"%d\n" % i for i in range(1000))
    assert box.dropped == 0


def test_a_slow_reader_gets_every_line_in_order() -> None:
    reader, writer = full_pipe()
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
    os.close(reader)
    os.close(writer)


def test_a_reader_that_takes_nothing_costs_counted_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LINES_MAX", 100)
    reader, writer = full_pipe()
    blocking = os.get_blocking(writer)

    async def scenario() -> None:
        box = Outbox(writer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.run)
            for _ in range(500):
                box.put(b"x" * 100 + b"\n")
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        box.close()
        assert box.dropped + os.read(reader, 65536).count(b"\n") == 500

    trio.run(scenario)
    assert os.get_blocking(writer) is blocking, "the caller's descriptor was changed"
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_gone_costs_counted_lines() -> None:
    reader, writer = os.pipe()
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
