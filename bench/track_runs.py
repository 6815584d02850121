"""One start of a program to its end, as keepalived starts a script."""

from __future__ import annotations

import os
import sysconfig
import time
from pathlib import Path

TRACK = str(Path(sysconfig.get_path("scripts")) / "risefall-track")


def one_run(argv: list[str], null: int, stderr: int = -1) -> tuple[float, float, int]:
    """Wall and CPU ms, exit code. null: for all descriptors, but for stderr where one is given."""
    began = time.perf_counter_ns()
    fds = (null, null, null if stderr < 0 else stderr)
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)]
    pid = os.posix_spawn(argv[0], argv, dict(os.environ), file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = (time.perf_counter_ns() - began) / 1e6
    return wall, (usage.ru_utime + usage.ru_stime) * 1e3, os.waitstatus_to_exitcode(status)
