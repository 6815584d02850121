"""Whether a process is one that `vrrp_track_process` counts.

The kernel keeps fifteen characters of a name: 2.2.7 never finds a longer one, unless `full_command` or arguments make it look at the
command line, whose first word must then be the same to the letter.
Source: spec/keepalived-track.md §2.4; rows observed on 2.2.7: tests/vrrp/test_tracked_processes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Parameters(Enum):
    """How the arguments are compared; the values are the words of `param_match`."""

    NONE = "none"
    EXACT = "exact"
    PARTIAL = "partial"
    INITIAL = "initial"


def matches(
    path: str, wanted: Sequence[str], how: Parameters, *, full_command: bool, comm: str, argv: Sequence[str]
) -> bool:
    """One process, by the name that the kernel keeps and by its command line (empty: a kernel thread)."""
    if not full_command and how is Parameters.NONE:
        return comm == path
    if not argv or argv[0] != path:
        return False
    given = list(argv[1:])
    match how:
        case Parameters.NONE:
            return True
        case Parameters.EXACT:
            return given == list(wanted)
        case Parameters.PARTIAL:
            return given[: len(wanted)] == list(wanted)
        case Parameters.INITIAL:
            if len(given) < len(wanted):
                return False
            last = len(wanted) - 1
            return given[:last] == list(wanted[:last]) and given[last].startswith(wanted[last])
