"""What passes between the parts of this room: how an attempt ended, what is logged, and what is called."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from risefall.vrrp.notify import Call

TAIL = re.compile(r"(?: to| from| with)? *$")
"""Where keepalived's words go on with a server's name."""


class Verdict(Enum):
    """Of one attempt. UNMADE: it could not be made, through no fault of the server: nothing counts, it is tried again."""

    PASS = "pass"
    FAIL = "fail"
    UNMADE = "unmade"


class Attempt(msgspec.Struct, frozen=True):
    """How one attempt ended.

    why: what keepalived says of it: of a pass what passed (`HTTP status code`), of a failure its words; empty where it
    has none. said: lines that are logged whatever the state. length: of an HTTP reply, the Content-Length and the bytes
    that came; the same number twice where none was declared; None when it was not looked at. seen: for people, such as `500`.
    """

    verdict: Verdict
    why: str = ""
    said: tuple[str, ...] = ()
    length: tuple[int, int] | None = None
    seen: str = ""

    @property
    def told(self) -> str:
        """In a few words, for people."""
        if self.verdict is Verdict.UNMADE:
            return self.said[0].rstrip(".") if self.said else "not made"
        word = "passed" if self.verdict is Verdict.PASS else "failed"
        seen = f" ({self.seen})" if self.seen else ""
        if self.verdict is Verdict.PASS or self.why in ("", "failed"):
            return word + seen
        return f"{word}: {TAIL.sub('', self.why)}{seen}"


class Line(msgspec.Struct, frozen=True):
    """A line that keepalived logs."""

    text: str


class Due(msgspec.Struct, frozen=True):
    """A notification that is due."""

    call: Call


Out = Line | Due
