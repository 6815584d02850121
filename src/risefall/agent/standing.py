"""How a service stands, for those who do not speak HAProxy's words: HTTP probes, keepalived, metrics.

There is one rule for what `good` is, and it stands here: whoever hears the answer would send new clients.
"""

from __future__ import annotations

import msgspec

from risefall.agent.words import SERVING, Part, render_line

UNKNOWN = "unknown"
"""The state of a service of which nothing is said."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it stands. weight_pct: 0 where it is not good, 100 where no weight is said.

    line: what a balancer hears that is owed no `ready`; "" for silence. reason: the answer's own, or what it lacks.
    """

    service: str
    good: bool
    weight_pct: int
    state: str
    reason: str = ""
    line: str = ""


def standing_of(service: str, part: Part | None) -> Standing:
    """A part in plain words. Silence is not good: HAProxy keeps what it knew, but who asks here knows nothing else."""
    if part is None:
        return Standing(service=service, good=False, weight_pct=0, state=UNKNOWN, reason="nothing is known yet")
    admin = part.admin or SERVING
    line = render_line(part, admin).decode("ascii").rstrip("\n")
    weight = 100 if part.weight_pct is None else part.weight_pct
    if admin:
        state = admin
    elif part.health is None:
        state = UNKNOWN
    else:
        state = "up" if part.health == "up" else "down"
    good = state == "up" and weight > 0
    return Standing(
        service=service, good=good, weight_pct=weight if good else 0, state=state, reason=part.reason, line=line
    )
