"""Processes of external checks: how they end, what they inherit, what is left of them. Source: spec §3.10.8."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from risefall.engine._native import ffi, lib

DEADLINE_S = 10.0
FLAGS = lib.RF_SPAWN_NEW_GROUP | lib.RF_SPAWN_NULL_STDIO


def spawn(path: str, *words: str, env: Sequence[str] = (), flags: int = FLAGS) -> tuple[int, int]:
    """Starts a program; its pid and pidfd."""
    kept = [ffi.new("char[]", word.encode()) for word in (path, *words)]
    kept_env = [ffi.new("char[]", word.encode()) for word in env]
    argv = ffi.new("char *[]", [*kept, ffi.NULL])
    envp = ffi.new("char *[]", [*kept_env, ffi.NULL])
    order = ffi.new("rf_spawn_order *")
    order.path, order.argv, order.envp = kept[0], argv, envp
    order.uid = order.gid = 2**32 - 1
    order.flags = flags
    pid, pidfd = ffi.new("int32_t *"), ffi.new("int32_t *")
    assert lib.rf_spawn(order, pid, pidfd) == lib.RF_OK
    return pid[0], pidfd[0]


def finish(pid: int, pidfd: int) -> int:
    """Waits for the end of a process and reaps it: exit code, or -signal."""
    status = ffi.new("int32_t *")
    assert select.select([pidfd], [], [], DEADLINE_S)[0], "the process does not end"
    assert lib.rf_spawn_reap(pidfd, pid, status) == lib.RF_OK
    os.close(pidfd)
    return int(status[0])


def shell(script: str, **more: Sequence[str]) -> int:
    return finish(*spawn("/bin/sh", "-c", script, **more))


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", -9)])
def test_how_it_ended(script: str, status: int) -> None:
    assert shell(script) == status


@pytest.mark.parametrize("path", ["/nonexistent", "/", "/etc/hostname"])
def test_what_cannot_be_executed_exits_with_255(path: str) -> None:
    assert finish(*spawn(path)) == 255


def test_only_the_given_environment() -> None:
    assert shell('[ "$A" = b ] && [ -z "$HOME" ]', env=["A=b"]) == 0


def test_descriptors_are_closed_and_signals_as_usual(tmp_path: Path) -> None:
    """Whatever this process has open, inheritable or not, blocked or ignored."""
    fd = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        assert shell(f"[ ! -e /proc/self/fd/{fd} ] && [ -e /proc/self/fd/2 ]") == 0
        assert shell("kill -USR1 $$; exit 0") == -signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(fd)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_all_of_its_group_ends_with_it(tmp_path: Path) -> None:
    """A child that a command leaves behind is gone once the command is reaped."""
    left = tmp_path / "pid"
    assert shell(f"/bin/sleep 60 & echo $! > {left}; exit 3") == 3
    child, end = int(left.read_text()), time.monotonic() + DEADLINE_S
    while is_alive(child) and time.monotonic() < end:
        select.select([], [], [], 0.01)
    assert not is_alive(child)


def test_a_group_can_be_told_to_end() -> None:
    pid, pidfd = spawn("/bin/sh", "-c", "/bin/sleep 60")
    status = ffi.new("int32_t *")
    assert lib.rf_spawn_reap(pidfd, pid, status) == lib.RF_FULL
    lib.rf_spawn_signal_group(pid, signal.SIGTERM)
    assert finish(pid, pidfd) == -signal.SIGTERM


def test_nothing_is_left_of_many() -> None:
    gc.collect()  # what earlier tests have left is not counted, nor what is collected meanwhile
    before = len(os.listdir("/proc/self/fd"))
    pids = []
    for _ in range(200):
        pid, pidfd = spawn("/bin/true")
        pids.append(pid)
        assert finish(pid, pidfd) == 0
    assert len(os.listdir("/proc/self/fd")) <= before
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
