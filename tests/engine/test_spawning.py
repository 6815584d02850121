"""Processes of Python's own: identity, umask, groups, the bound, and that nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from risefall.engine.spawning import Child, Children, Program
from risefall.errors import NativeError

DEADLINE_S = 10.0
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as somebody else")


def shell(text: str, **how: object) -> Program:
    return Program(b"/bin/sh", [b"/bin/sh", b"-c", text.encode()], [b"PATH=/usr/bin:/bin"], **how)  # type: ignore[arg-type]


async def _end(children: Children) -> tuple[Child, int]:
    with trio.fail_after(DEADLINE_S):
        while not (ended := children.ended()):
            await children.wait()
    assert len(ended) == 1
    return ended[0]


@pytest.fixture
def children() -> Iterator[Children]:
    with Children(most=4) as found:
        yield found


def status_of(children: Children, program: Program) -> int:
    child = children.start(program)
    ended, status = trio.run(_end, children)
    assert ended is child
    return status


def alive(pid: int) -> bool:
    """A zombie does not live."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still lives"
        time.sleep(0.01)


@pytest.mark.parametrize(("text", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_how_it_ended(children: Children, text: str, status: int) -> None:
    assert status_of(children, shell(text)) == status
    assert len(children) == 0


def test_what_cannot_be_executed_tells_its_errno(children: Children, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_text("no program\n")
    raw.chmod(0o755)
    for path, error in ((b"/nonexistent", 2), (os.fsencode(raw), 8), (b"/", 13)):
        child = children.start(Program(path, [path], []))
        assert child.error == error
        trio.run(_end, children)
    assert children.start(shell("exit 0")).error == 0
    trio.run(_end, children)


def test_umask_and_groups_are_the_child_s_only(children: Children, tmp_path: Path) -> None:
    ours = os.umask(0)
    os.umask(ours)
    assert status_of(children, shell(f"umask > {tmp_path}/said", umask=0o137)) == 0
    assert (tmp_path / "said").read_text() == "0137\n"
    again = os.umask(ours)
    assert again == ours


@ROOT
def test_runs_as_somebody_else_and_we_stay_who_we_are(children: Children, tmp_path: Path) -> None:
    """All threads of ours keep their ids: the C library's calls would have changed those."""
    tmp_path.chmod(0o777)
    text = f"id -u > /proc/self/fd/3 2>/dev/null; id -u > {tmp_path}/u; id -g > {tmp_path}/g; id -G > {tmp_path}/all"
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    assert status_of(children, shell(text, uid=65534, gid=65533, groups=[65531, 65532])) == 0
    said = [(tmp_path / name).read_text().strip() for name in ("u", "g", "all")]
    assert said == ["65534", "65533", "65533 65531 65532"]
    for task in Path("/proc/self/task").iterdir():
        ids = [
            line.split()[1:] for line in (task / "status").read_text().splitlines() if line.startswith(("Uid", "Gid"))
        ]
        assert ids == [["0"] * 4] * 2


def test_its_group_ends_with_it_unless_it_is_let_be(children: Children, tmp_path: Path) -> None:
    for group in (True, False):
        pid_file = tmp_path / f"pid{group}"
        children.start(shell(f"sleep 60 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}"), group=group)
        trio.run(_end, children)
        pid = int(pid_file.read_text())
        if group:
            wait_gone(pid)
        else:
            assert alive(pid)
            os.kill(pid, signal.SIGKILL)


def test_as_many_as_may_and_nothing_is_left(tmp_path: Path) -> None:
    with Children(most=3) as children:
        begun = [children.start(shell("trap '' TERM; sleep 60 & wait; sleep 60")) for _ in range(3)]
        assert not children.room
        assert children.signal(begun[0], signal.SIGTERM)
    for child in begun:
        wait_gone(child.pid)
        assert not Path(f"/proc/{child.pid}").exists(), "a zombie is left"


def test_a_start_that_fails_is_an_error(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    from risefall.engine import spawning

    class Full:
        def rf_spawn(self, *_: object) -> int:
            return -1

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    real = spawning.lib
    monkeypatch.setattr(spawning, "lib", Full())
    with pytest.raises(NativeError):
        children.start(shell("exit 0"))
    assert len(children) == 0
