"""Where a signal's numbers are read: this machine's files, or those of the cgroup that has a limit.

Whose figures are right depends on where the agent runs. In a container its cgroup is the root of what it sees, and the
limits there are those of the service beside it. On a plain machine under systemd its cgroup is its own unit, where
nothing but itself runs: what it may use says nothing of the service, so its own leaf is passed over, and only a limit
on a slice around it counts. `scope` overrides this. Of several limits one around another (a pod's around a container's) any
may be the one that is reached, so the fullest counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from risefall.agent import procfs
from risefall.agent.settings import Scope

FILE_BYTES_MAX = 8 << 20
LIMITS = {"cpu": ("cpu.max", "cpuset.cpus"), "memory": ("memory.max",), "io": ("io.max",)}
"""The files of a cgroup that say how much of a resource it may use."""
FIRST_S = 0.1
"""How long the first measurement of busy CPU takes, as there is none before it."""


def read_text(path: str) -> str:
    """A small file as text."""
    with open(path, "rb") as file:
        return file.read(FILE_BYTES_MAX).decode("utf-8", "replace")


class Machine(msgspec.Struct, frozen=True):
    """Where the kernel's files are, and how many CPUs this process may run on; tests give others."""

    proc: str = "/proc"
    cgroups: str = "/sys/fs/cgroup"
    cpus: int = 1
    clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000
    pause: Callable[[float], None] = time.sleep

    def find_cgroups(self, scope: Scope, *limit_files: str) -> list[str]:
        """The folders of the cgroups whose figures count for a limit such as `cpu.max`, inner ones first; none: the machine's."""
        if scope is Scope.MACHINE:
            return []
        try:
            own = procfs.parse_cgroup_path(read_text(f"{self.proc}/self/cgroup"))
        except OSError:
            own = None
        if own is None or ".." in own:
            own = "/"
        here = own.rstrip("/")
        if scope is Scope.AUTO and here:
            here = here.rpartition("/")[0]
        found = []
        while True:
            folder = self.cgroups + here
            if any(self.is_limited(f"{folder}/{name}") for name in limit_files):
                found.append(folder)
            if not here:
                break
            here = here.rpartition("/")[0]
        if not found and scope is Scope.CGROUP:
            return [self.cgroups + own.rstrip("/")]
        return found

    def is_limited(self, path: str) -> bool:
        try:
            return read_text(path).split()[:1] not in ([], [procfs.UNLIMITED])
        except OSError:
            return False

    def cpu_times(self, cgroup: str | None) -> procfs.CpuTimes:
        """CPU used and CPU that could have been used, since some start."""
        if cgroup is None:
            return procfs.parse_stat(read_text(f"{self.proc}/stat"))
        used = procfs.parse_cpu_usage(read_text(f"{cgroup}/cpu.stat"))
        cpus = float(self.cpus)
        with suppress(FileNotFoundError):
            cpus = procfs.parse_cpu_max(read_text(f"{cgroup}/cpu.max"), self.cpus)
        with suppress(FileNotFoundError):
            cpus = min(cpus, procfs.count_cpus(read_text(f"{cgroup}/cpuset.cpus")) or cpus)
        return procfs.CpuTimes(used, int(self.clock_us() * cpus))

    def memory_pct(self, scope: Scope) -> float:
        """Used memory of the fullest cgroup with a limit, else of the machine."""
        found = []
        for cgroup in self.find_cgroups(scope, *LIMITS["memory"]):
            texts = [read_text(f"{cgroup}/memory.{name}") for name in ("current", "max", "stat")]
            if (pct := procfs.cgroup_memory_pct(*texts)) is not None:
                found.append(pct)
        return max(found) if found else procfs.parse_meminfo(read_text(f"{self.proc}/meminfo"))

    def pressure(self, scope: Scope, resource: str) -> str:
        """The text of a pressure file."""
        for cgroup in self.find_cgroups(
            scope, *LIMITS[resource]
        ):  # the innermost feels what those around it are short of
            if os.path.exists(f"{cgroup}/{resource}.pressure"):
                return read_text(f"{cgroup}/{resource}.pressure")
        return read_text(f"{self.proc}/pressure/{resource}")


def boot_ns(machine: Machine) -> int:
    """When this machine, or this container, began, on the monotonic clock. Process 1 of a container begins with it."""
    slept = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    try:
        return procfs.parse_start_ns(read_text(f"{machine.proc}/1/stat")) - slept
    except (OSError, ValueError):
        return -slept


def this_machine() -> Machine:
    return Machine(cpus=len(os.sched_getaffinity(0)))
