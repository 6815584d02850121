"""Texts of /proc and of cgroup files to numbers. Pure: text in, numbers out; ValueError for a text that is not that.

Sources: proc(5); kernel Documentation/admin-guide/cgroup-v2.rst (cpu.stat, cpu.max, memory.*), accounting/psi.rst.
"""

from __future__ import annotations

import msgspec

UNLIMITED = "max"
TCP_ESTABLISHED = "01"
USER_HZ = 100
"""Ticks a second in /proc/stat: a constant of the kernel's ABI on every platform of interest."""


class CpuTimes(msgspec.Struct, frozen=True):
    """Time spent since some start. busy_us: by whoever is measured; capacity_us: what could have been spent."""

    busy_us: int
    capacity_us: int


def parse_stat(text: str) -> CpuTimes:
    """The first line of /proc/stat. Waiting for disks and stolen time: the one is idle, the other is not ours to use.

    guest and guest_nice are in user and nice already (proc(5)), so only the first eight are added up.
    """
    words = text.partition("\n")[0].split()
    if not words or words[0] != "cpu" or len(words) < 5:
        raise ValueError("no line of 'cpu' in /proc/stat")
    ticks = [int(word) for word in words[1:9]]
    idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
    return CpuTimes((sum(ticks) - idle) * 1_000_000 // USER_HZ, sum(ticks) * 1_000_000 // USER_HZ)


def busy_pct(before: CpuTimes, now: CpuTimes) -> float:
    """Busy between two measurements, in per cent, 0..100. ValueError when no time has passed between them."""
    capacity = now.capacity_us - before.capacity_us
    if capacity <= 0:
        raise ValueError("no time has passed since the last measurement")
    return max(0.0, min(100.0, (now.busy_us - before.busy_us) * 100 / capacity))


def parse_keyed(text: str) -> dict[str, int]:
    """`name number` lines, as in cpu.stat and memory.stat."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def parse_cpu_usage(text: str) -> int:
    """Microseconds of CPU that a cgroup has used, from cpu.stat."""
    try:
        return parse_keyed(text)["usage_usec"]
    except KeyError as error:
        raise ValueError("no usage_usec in cpu.stat") from error


def parse_cpu_max(text: str, cpus: int) -> float:
    """How many CPUs a cgroup may use, from cpu.max (`max 100000`, `150000 100000`); at most all of them."""
    words = text.split()
    if len(words) != 2:
        raise ValueError("cpu.max wants a quota and a period")
    if words[0] == UNLIMITED:
        return float(cpus)
    quota, period = int(words[0]), int(words[1])
    if quota <= 0 or period <= 0:
        raise ValueError("cpu.max wants a quota and a period above 0")
    return min(float(cpus), quota / period)


def count_cpus(text: str) -> int:
    """How many CPUs a list such as `0-3,8` names."""
    ranges = (piece.partition("-") for piece in text.strip().split(",") if piece)
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def parse_limit(text: str) -> int | None:
    """A file with one number or `max`, such as memory.max; None is no limit."""
    word = text.strip()
    return None if word == UNLIMITED else int(word)


def parse_load(text: str, minutes: int) -> float:
    """A load average of /proc/loadavg: over 1, 5 or 15 minutes."""
    words = text.split()
    return float(words[{1: 0, 5: 1, 15: 2}[minutes]]) if len(words) >= 3 else fail("no three averages in /proc/loadavg")


def fail(message: str) -> float:
    raise ValueError(message)


def parse_meminfo(text: str) -> float:
    """Used memory in per cent, by MemAvailable, which counts what caches can give back."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name] = int(rest.split()[0])
    if not found.get("MemTotal") or "MemAvailable" not in found:
        raise ValueError("no MemTotal and MemAvailable in /proc/meminfo")
    return max(0.0, (1 - found["MemAvailable"] / found["MemTotal"]) * 100)


def cgroup_memory_pct(current: str, most: str, stat: str) -> float | None:
    """Used memory of a cgroup in per cent of its limit, without page cache that is out of use; None without a limit."""
    limit = parse_limit(most)
    if not limit:
        return None if limit is None else 100.0
    reclaimable = parse_keyed(stat).get("inactive_file", 0)
    return max(0.0, min(100.0, (int(current) - reclaimable) * 100 / limit))


def parse_psi(text: str, who: str, seconds: int) -> float:
    """One average of a pressure file: `some avg10=0.27 avg60=1.16 avg300=0.94 total=702426552`."""
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == who:
            for word in words[1:]:
                name, _, value = word.partition("=")
                if name == f"avg{seconds}":
                    return float(value)
    raise ValueError(f"no avg{seconds} of '{who}' in the pressure file: cpu has 'full' only since Linux 5.13")


def parse_cgroup_path(text: str) -> str | None:
    """Where this process is in cgroup v2, from /proc/self/cgroup; None where there is only v1."""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def parse_file_nr(text: str) -> float:
    """File descriptors of the system in use, in per cent of the limit, from /proc/sys/fs/file-nr."""
    words = text.split()
    if len(words) != 3 or int(words[2]) <= 0:
        raise ValueError("no three numbers in file-nr")
    return (int(words[0]) - int(words[1])) * 100 / int(words[2])


def parse_files_limit(text: str) -> int:
    """The soft limit of open files, from /proc/PID/limits."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return 2**63 - 1 if word == "unlimited" else int(word)
    raise ValueError("no 'Max open files' among the limits")


def count_established(text: str, port: int) -> int:
    """Established connections to a local port, in a text of /proc/net/tcp or tcp6."""
    suffix = f":{port:04X}"
    count = 0
    for line in text.splitlines()[1:]:
        words = line.split(None, 4)
        if len(words) > 3 and words[3] == TCP_ESTABLISHED and words[1].endswith(suffix):
            count += 1
    return count


def parse_number(text: str) -> float:
    """The number at the beginning of a text; what follows after a blank does not matter."""
    words = text.split(None, 1)
    if not words:
        raise ValueError("there is no number: it is empty")
    try:
        value = float(words[0].rstrip("%")) if words[0][:1] in "+-.0123456789" else float("nan")
    except ValueError:
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise ValueError(f"'{words[0][:40]}' is no number")
    return value


def parse_start_ns(text: str) -> int:
    """When a process started, in nanoseconds since the boot, from its /proc/PID/stat; its name may hold anything."""
    words = text.rpartition(")")[2].split()
    if len(words) < 20:
        raise ValueError("no start time in stat")
    return int(words[19]) * 1_000_000_000 // USER_HZ
