"""Which processes a tracker counts. Each row was read from the dump of keepalived 2.2.7 with exactly these processes running."""

from __future__ import annotations

import pytest

from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.evaluator.watching import count_processes
from risefall.vrrp.processes import Parameters, matches

RUNNING = (
    ("evproc", ("./evproc", "100.5")),
    ("evproc", ("./evproc", "100.5", "0")),
    ("evproc", ("/tmp/ev1/evproc", "100.55")),
    ("evproc-long-nam", ("./evproc-long-name-here", "100")),
    ("evproc-long-nam", ("/tmp/ev1/evproc-long-name-here", "100")),
    ("sleep", ("evproc", "99")),
    ("kthread", ()),
)
ROWS = (
    ("process evproc", 3),
    ("process evproc 100.5", 0),
    ("process ./evproc 100.5", 1),
    ("process ./evproc 100.5\n param_match partial", 2),
    ("process ./evproc 100.5\n param_match initial", 2),
    ("process /tmp/ev1/evproc 100.5\n param_match initial", 1),
    ("process evproc-long-name-here", 0),
    ("process ./evproc-long-name-here", 0),
    ("process evproc\n full_command", 1),
    ("process /tmp/ev1/evproc\n full_command", 1),
    ("process /tmp/ev1/evproc", 0),
)


@pytest.mark.parametrize(("text", "count"), ROWS)
def test_rows_of_2_2_7(text: str, count: int) -> None:
    one = read(Source("k", f"vrrp_track_process p {{\n {text}\n}}\n")).processes[0]
    how = Parameters(one.match.value)
    found = [
        matches(one.path, one.arguments, how, full_command=one.full_command, comm=comm, argv=argv)
        for comm, argv in RUNNING
    ]
    assert sum(found) == count


def test_this_machine_s() -> None:
    """Ourselves, by the name that the kernel has of us."""
    with open("/proc/self/comm") as file:
        comm = file.read().strip()
    wanted = read(Source("k", f'vrrp_track_process p {{\n process "{comm}"\n}}\n')).processes
    assert count_processes(wanted)["p"] >= 1
