"""How a check ended, in HAProxy's words.

Source: spec/haproxy-checks.md §3.1; the numbers are those of `show servers state` and of native/risefall.h
(tests/native/test_abi.py compares them).
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Number of a check's status; `name` is the short word of logs and CSV."""

    UNK = 0
    INI = 1
    START = 2
    CHECKED = 3
    HANA = 4
    SOCKERR = 5
    L4OK = 6
    L4TOUT = 7
    L4CON = 8
    L6OK = 9
    L6TOUT = 10
    L6RSP = 11
    L7TOUT = 12
    L7RSP = 13
    L7OK = 15
    L7OKC = 16
    L7STS = 17
    PROCERR = 18
    PROCTOUT = 19
    PROCOK = 20

    @property
    def has_code(self) -> bool:
        """Whether the numeric code (HTTP status, exit code ...) is shown with it."""
        return self > 14

    @property
    def text(self) -> str:
        """The words behind `reason:` in logs and in the CSV's check_desc."""
        return TEXT[self]


class Verdict(IntEnum):
    """What a status means for the counter; numbers of srv_check_result."""

    UNKNOWN = 0
    NEUTRAL = 1
    FAILED = 2
    PASSED = 3
    CONDPASS = 4


TEXT = {
    Status.UNK: "Unknown",
    Status.INI: "Initializing",
    Status.START: "Check started",
    Status.CHECKED: "No status change",
    Status.HANA: "Health analyze",
    Status.SOCKERR: "Socket error",
    Status.L4OK: "Layer4 check passed",
    Status.L4TOUT: "Layer4 timeout",
    Status.L4CON: "Layer4 connection problem",
    Status.L6OK: "Layer6 check passed",
    Status.L6TOUT: "Layer6 timeout",
    Status.L6RSP: "Layer6 invalid response",
    Status.L7TOUT: "Layer7 timeout",
    Status.L7RSP: "Layer7 invalid response",
    Status.L7OK: "Layer7 check passed",
    Status.L7OKC: "Layer7 check conditionally passed",
    Status.L7STS: "Layer7 wrong status",
    Status.PROCERR: "External check error",
    Status.PROCTOUT: "External check timeout",
    Status.PROCOK: "External check passed",
}
