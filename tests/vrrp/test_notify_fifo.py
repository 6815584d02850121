"""Lines of a notify FIFO, and a reader that outlives whoever writes it; real FIFOs, no keepalived."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.evaluator.beside import beside
from risefall.evaluator.hearing import LINE_MAX, OBJECTS_MAX, Heard, Hearing, Writer
from risefall.evaluator.node import GroupView, InstanceView
from risefall.vrrp.fifo import STATES, Told, parse_fifo, render_fifo

DEADLINE_S = 20.0
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(st.sampled_from(["instance", "group"]), NAMES, st.sampled_from(STATES), st.integers(0, 255))
def test_what_is_rendered_is_parsed(kind: str, name: str, state: str, priority: int) -> None:
    assert parse_fifo(render_fifo(kind, name, state, priority).rstrip("\n").encode()) == Told(
        kind, name, state, priority
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'INSTANCE "VI 1" MASTER_PRIORITY 80', Told("instance", "VI 1", "MASTER", 80)),
        (b'INSTANCE "VI" BACKUP_PRIORITY 100', Told("instance", "VI", "BACKUP", 100)),
        (b'INSTANCE "VI" MASTER_RX_LOWER_PRI 100', Told("instance", "VI", "MASTER", 100)),
        (b'GROUP "a "b" c" FAULT 0', Told("group", 'a "b" c', "FAULT", 0)),
        (b"\0VS [10.0.0.1]:tcp:80 UP", Told("virtual_server", "[10.0.0.1]:tcp:80", "UP")),
        (
            b"\0RS [10.0.0.2]:tcp:80 [10.0.0.1]:tcp:80 DOWN",
            Told("real_server", "[10.0.0.2]:tcp:80 of [10.0.0.1]:tcp:80", "DOWN"),
        ),
    ],
)
def test_lines_of_keepalived(line: bytes, told: Told) -> None:
    assert parse_fifo(line) == told


@pytest.mark.parametrize(
    "line",
    [
        b"", b"INSTANCE VI MASTER 100", b'INSTANCE "VI" MASTER', b'INSTANCE "VI" MASTER 300', b'INSTANCE "VI" PRIMARY 1',
        b'INSTANCE "VI" FAULT_PRIORITY_ 1', b"VS [10.0.0.1]:tcp:80 MASTER", b"RS [10.0.0.1]:tcp:80 UP", b"\xff\xfe", b"x" * 500,
    ],
)  # fmt: skip
def test_lines_of_nobody(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"^['\"].{0,1000}['\"]$"):
        parse_fifo(line)


def in_trio(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    """The test in a loop of its own."""

    @wraps(test)
    def run(tmp_path: Path) -> None:
        trio.run(test, tmp_path)

    return run


class Reader:
    """A hearing under way, and what it said."""

    def __init__(self, path: Path, memory: list[Heard] | None = None) -> None:
        self.said: list[str] = []
        self.hearing = Hearing(str(path), self.said.append, memory=memory or ())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hearing.run)
            yield
            nursery.cancel_scope.cancel()

    async def until(self, seen: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_S):
            while not seen():
                await trio.sleep(0.01)

    def states(self) -> dict[str, tuple[str, bool]]:
        return {one.told.name: (one.told.state, one.sure) for one in self.hearing.heard()}


def written(path: Path) -> int:
    """The FIFO as keepalived opens it."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


@in_trio
async def test_fifos_that_come_and_go(tmp_path: Path) -> None:
    """It is waited for, read from its first line, and followed to another one; who closed it for good is gone."""
    path = tmp_path / "fifo"
    reader = Reader(path)
    async with reader.running():
        os.mkfifo(path)
        keepalived = written(path)
        os.write(keepalived, b'INSTANCE "A" BACKUP 100\nINSTANCE "A" MAS')
        await reader.until(lambda: reader.states() == {"A": ("BACKUP", True)})
        os.write(keepalived, b'TER 90\nINSTANCE "B" FAULT 100\n')
        await reader.until(lambda: reader.states() == {"A": ("MASTER", True), "B": ("FAULT", True)})
        # A reload: another FIFO under its name, and no state is said again.
        os.close(keepalived)
        path.unlink()
        os.mkfifo(path)
        keepalived = written(path)
        os.write(keepalived, b'INSTANCE "B" BACKUP 100\n')
        await reader.until(lambda: reader.states() == {"A": ("MASTER", True), "B": ("BACKUP", True)})
        # Another one lies there, while the old one is open still.
        path.unlink()
        os.mkfifo(path)
        again = written(path)
        os.write(again, b'INSTANCE "C" MASTER 1\n')
        await reader.until(lambda: "C" in reader.states())
        os.close(keepalived)
        os.close(again)
        await reader.until(lambda: reader.hearing.writer is Writer.NOBODY)
    assert reader.states() == {"A": ("MASTER", False), "B": ("BACKUP", False), "C": ("MASTER", False)}
    assert reader.said == [f"keepalived has ended: nobody writes to it ({path})"]


@in_trio
async def test_what_an_earlier_run_heard_is_the_past(tmp_path: Path) -> None:
    """Until it is said again, even while keepalived has the FIFO open."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keepalived = written(path)
    kept = [Heard(Told("instance", "A", "MASTER", 100), 5.0), Heard(Told("instance", "B", "MASTER", 100), 6.0)]
    reader = Reader(path, kept)
    async with reader.running():
        os.write(keepalived, b'INSTANCE "A" MASTER_PRIORITY 80\n')
        await reader.until(lambda: reader.states()["A"][1])
    assert reader.states() == {"A": ("MASTER", True), "B": ("MASTER", False)}
    assert [one.since_s for one in reader.hearing.heard()] == [5.0, 6.0]
    os.close(keepalived)


@in_trio
async def test_bad_lines_are_told_and_passed_over(tmp_path: Path) -> None:
    """The first at once, those of the same second as a number; a line without end is cut, and names have a bound."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keepalived = written(path)
    os.write(keepalived, b"what\nis\nthis\n\n\0\n" + b"x" * (LINE_MAX + 1))
    reader = Reader(path)
    async with reader.running():
        await reader.until(lambda: reader.hearing.bad == 4)
        os.write(keepalived, b'\nINSTANCE "A" MASTER 1\n')
        await reader.until(lambda: "A" in reader.states())
        for number in range(OBJECTS_MAX + 1):
            line = f'INSTANCE "{number}" MASTER 1\n'.encode()
            while True:
                try:
                    os.write(keepalived, line)
                except BlockingIOError:
                    await trio.sleep(0.001)
                else:
                    break
        await reader.until(lambda: reader.hearing.lines + reader.hearing.bad == OBJECTS_MAX + 6)
    assert len(reader.states()) == OBJECTS_MAX
    assert reader.said[0] == f"notify FIFO {path}: no line of keepalived: 'what'"
    os.close(keepalived)


@in_trio
async def test_what_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    path.write_text("no FIFO\n")
    reader = Reader(path)
    async with reader.running():
        await reader.until(lambda: bool(reader.said))
        path.unlink()
        os.mkfifo(path)
        keepalived = written(path)
        os.write(keepalived, b'INSTANCE "A" MASTER 1\n')
        await reader.until(lambda: "A" in reader.states())
    os.close(keepalived)
    assert reader.said == [f"notify FIFO {path} is no FIFO"]


@in_trio
async def test_a_pipe_that_was_full(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keepalived = written(path)
    lines = 0
    try:
        while True:
            os.write(keepalived, b'INSTANCE "A" MASTER 100\n')
            lines += 1
    except BlockingIOError:
        pass
    reader = Reader(path)
    async with reader.running():
        await reader.until(lambda: reader.hearing.lines == lines)
    os.close(keepalived)
    assert reader.said == [f"notify FIFO {path} was full: keepalived may have lost lines, and states may be old"]


def view(name: str, state: str, effective: int = 100) -> InstanceView:
    faults = ("script x",) if state == "FAULT" else ()
    return InstanceView(name, state, 100, effective, effective, faults, (), False, 0, "", ())


@pytest.mark.parametrize(
    ("computed", "priority", "told", "differs"),
    [
        ("MASTER", 100, Told("instance", "VI", "BACKUP", 100), ""),
        ("BACKUP", 100, Told("instance", "VI", "MASTER", 80), "priority 80 there, 100 here"),
        ("FAULT", 100, Told("instance", "VI", "MASTER", 100), "FAULT here, not there"),
        ("MASTER", 100, Told("instance", "VI", "FAULT", 100), "FAULT there, not here"),
        ("FAULT", 100, Told("instance", "VI", "STOP", 80), ""),
    ],
)
def test_what_differs(computed: str, priority: int, told: Told, differs: str) -> None:
    """FAULT always; the priority only where keepalived tells each; who is MASTER depends on neighbours."""
    block = "vrrp_instance VI {\n interface eth0\n virtual_router_id 1\n notify_priority_changes\n}\n"
    config = read(Source("keepalived.conf", block))
    views, groups = [view("VI", computed, priority)], [GroupView("G", "MASTER", ("VI",))]
    heard = [
        Heard(told, 1.0),
        Heard(Told("group", "G", "MASTER", 0), 1.0),
        Heard(Told("instance", "X", "MASTER", 1), 1.0),
    ]
    found = beside(config, views, groups, heard)
    assert [(one.kind, one.name, one.real, one.computed) for one in found[1:]] == [
        ("group", "G", "MASTER", "MASTER"),
        ("instance", "X", "MASTER", ""),
    ]
    assert found[0].differs == differs
    heard[0].sure = False
    assert beside(config, views, groups, heard)[0].differs == ""
    quiet = read(Source("keepalived.conf", block.replace(" notify_priority_changes\n", "")))
    heard[0].sure = True
    assert ("priority" in beside(quiet, views, groups, heard)[0].differs) is False
