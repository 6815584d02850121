"""Readers: one callable for each configured signal, which blocks until it has a number or knows why there is none.

A reader is for a thread: a stuck disk or a dead NFS server may hold it for ever, so nobody who answers waits for it.
It remembers at most what the last reading needs (busy CPU is a difference), and is called by one thread at a time.
`check` signals are not here: the engine's programs do them, by what `service.py` is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple, assert_never

from risefall.agent import procfs
from risefall.agent.commands import run_command
from risefall.agent.machine import FIRST_S, LIMITS, Machine, read_text
from risefall.agent.pages import fetch_page, json_number, prometheus_number
from risefall.agent.reading import Reading
from risefall.agent.settings import (
    AnySignal,
    Check,
    Command,
    CommandOf,
    Connections,
    Cpu,
    Disk,
    DiskOf,
    File,
    FileOf,
    Files,
    Json,
    Load,
    Memory,
    Prometheus,
    Psi,
    Systemd,
)

GOOD_STATES = frozenset(("active", "reloading", "refreshing"))
SYSTEMCTL = "systemctl"


class Measure(NamedTuple):
    """A number, and words that came with it."""

    value: float
    text: str = ""


Reader = Callable[[], Measure]


def take(reader: Reader, clock_ns: Callable[[], int]) -> Reading:
    """One reading; a failure is a value. Its time is that of the beginning: the number is at least as old."""
    at_ns = clock_ns()
    try:
        measure = reader()
    except TimeoutError as error:
        return Reading(at_ns, None, str(error) or "took too long")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Reading(at_ns, None, f"{where}{error.strerror or error}")
    except (ValueError, IndexError, ArithmeticError) as error:
        return Reading(at_ns, None, str(error))
    return Reading(at_ns, measure.value, "", measure.text)


def make_reader(signal: AnySignal, machine: Machine) -> Reader:
    """The reader of a signal. Raises TypeError for a check, which is not read but done."""
    seconds = signal.timeout_ms / 1000
    match signal:
        case Cpu():
            return CpuReader(signal, machine).read
        case Load():
            return lambda: read_load(signal, machine)
        case Memory():
            return lambda: Measure(machine.memory_pct(signal.scope))
        case Psi():
            return lambda: read_psi(signal, machine)
        case Disk():
            return lambda: read_disk(signal)
        case Files():
            return lambda: read_files(signal, machine)
        case Connections():
            return lambda: read_connections(signal, machine)
        case File():
            return lambda: read_file(signal)
        case Command():
            return lambda: read_command(signal, seconds)
        case Json():
            return lambda: Measure(json_number(fetch_page(signal.url, seconds), signal.path))
        case Prometheus():
            return lambda: read_prometheus(signal, seconds)
        case Systemd():
            return lambda: read_systemd(signal, seconds)
        case Check():
            raise TypeError("a check is done by the engine")
        case _:
            assert_never(signal)


class CpuReader:
    """Busy CPU since the last reading; of several limits, that of the one that is reached first."""

    def __init__(self, signal: Cpu, machine: Machine) -> None:
        self._signal = signal
        self._machine = machine
        self._before: dict[str | None, procfs.CpuTimes] = {}

    def read(self) -> Measure:
        """Blocks a little the first time, and when the cgroups have become others."""
        machine = self._machine
        cgroups: list[str | None] = [*machine.find_cgroups(self._signal.scope, *LIMITS["cpu"])] or [None]
        if set(self._before) != set(cgroups):
            self._before = {cgroup: machine.cpu_times(cgroup) for cgroup in cgroups}
            machine.pause(FIRST_S)
        now = {cgroup: machine.cpu_times(cgroup) for cgroup in cgroups}
        before, self._before = self._before, now
        return Measure(max(procfs.busy_pct(before[cgroup], now[cgroup]) for cgroup in cgroups))


def read_load(signal: Load, machine: Machine) -> Measure:
    return Measure(procfs.parse_load(read_text(f"{machine.proc}/loadavg"), signal.minutes) / machine.cpus)


def read_psi(signal: Psi, machine: Machine) -> Measure:
    text = machine.pressure(signal.scope, signal.resource.value)
    return Measure(procfs.parse_psi(text, signal.who.value, signal.seconds))


def read_disk(signal: Disk) -> Measure:
    """Used of what a user without privileges may use, as df says it."""
    found = os.statvfs(signal.path)
    if signal.of is DiskOf.INODES:
        used, free = found.f_files - found.f_ffree, found.f_favail
    else:
        used, free = found.f_blocks - found.f_bfree, found.f_bavail
    if used + free <= 0:
        raise ValueError(f"{signal.path} does not count its {signal.of.value}")
    return Measure(used * 100 / (used + free))


def read_files(signal: Files, machine: Machine) -> Measure:
    """Descriptors of a process, or of the system."""
    if signal.pid_file is None:
        return Measure(procfs.parse_file_nr(read_text(f"{machine.proc}/sys/fs/file-nr")))
    pid = int(procfs.parse_number(read_text(signal.pid_file)))
    limit = procfs.parse_files_limit(read_text(f"{machine.proc}/{pid}/limits"))
    return Measure(len(os.listdir(f"{machine.proc}/{pid}/fd")) * 100 / limit)


def read_connections(signal: Connections, machine: Machine) -> Measure:
    """Both families; a machine without IPv6 has no tcp6."""
    count = procfs.count_established(read_text(f"{machine.proc}/net/tcp"), signal.port)
    if os.path.exists(f"{machine.proc}/net/tcp6"):
        count += procfs.count_established(read_text(f"{machine.proc}/net/tcp6"), signal.port)
    return Measure(count)


def read_file(signal: File) -> Measure:
    """A file that is not there is an answer to `present` alone."""
    if signal.of is FileOf.NUMBER:
        with open(signal.path, "rb") as file:
            return Measure(procfs.parse_number(file.read(256).decode("ascii", "replace")))
    try:
        found = os.stat(signal.path)
    except (FileNotFoundError, NotADirectoryError):
        if signal.of is FileOf.PRESENT:
            return Measure(0)
        raise
    if signal.of is FileOf.PRESENT:
        return Measure(1)
    return Measure(max(0.0, time.time() - found.st_mtime))


def read_command(signal: Command, timeout_s: float) -> Measure:
    """The exit code with the first line as text, or the number; then the exit must be 0."""
    ended = run_command(signal.run, timeout_s)
    first = ended.output.decode("utf-8", "replace").partition("\n")[0].strip()[:100]
    if signal.of is CommandOf.EXIT:
        return Measure(ended.code, first)
    if ended.code != 0:
        raise ValueError(f"'{signal.run[0]}' ended with {ended.code}")
    return Measure(procfs.parse_number(first))


def read_prometheus(signal: Prometheus, timeout_s: float) -> Measure:
    page = fetch_page(signal.url, timeout_s).decode("utf-8", "replace")
    return Measure(prometheus_number(page, signal.metric, signal.labels))


def read_systemd(signal: Systemd, timeout_s: float) -> Measure:
    """1 for a unit that works. An unknown unit is 'inactive' to systemd, so it is 0 and its text says not-found."""
    words = (SYSTEMCTL, "show", "--property=LoadState,ActiveState,SubState", "--", signal.unit)
    ended = run_command(words, timeout_s)
    if ended.code != 0:
        raise ValueError(f"systemctl ended with {ended.code}")
    return systemd_measure(ended.output.decode("utf-8", "replace"))


def systemd_measure(text: str) -> Measure:
    """The state of a unit out of `systemctl show`."""
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    state = found.get("ActiveState", "")
    if not state:
        raise ValueError("systemctl told no ActiveState")
    load = found.get("LoadState", "")
    words = f"{state} {found.get('SubState', '')}".strip()
    return Measure(float(state in GOOD_STATES), words if load in ("", "loaded") else load)
