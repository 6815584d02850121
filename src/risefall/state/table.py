"""The transition rules of a server, as tables. They only decide; `fleet` counts, logs and notifies.

Source: spec/haproxy-checks.md §1.3, §1.5, §4.5, §5.2, §5.3. Totality: tests/state/test_table.py.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from risefall.state.exchange import AdminWord
from risefall.state.server import AGENT, HEALTH, Admin, Op
from risefall.status import Verdict


class Move(IntEnum):
    """What may befall the operational state of a server."""

    NONE = 0
    STOP = 1
    RUN = 2
    START = 3
    """As RUN, of a server with a slowstart."""
    UNLOAD = 4
    """HAProxy's *stopping*: no new traffic, NOLB."""
    WARM = 5
    """A slowstart is over."""


NEXT: dict[tuple[Op, Move], Op] = {
    (Op.STOPPED, Move.NONE): Op.STOPPED,
    (Op.STOPPED, Move.STOP): Op.STOPPED,
    (Op.STOPPED, Move.RUN): Op.RUNNING,
    (Op.STOPPED, Move.START): Op.STARTING,
    (Op.STOPPED, Move.UNLOAD): Op.STOPPING,
    (Op.STOPPED, Move.WARM): Op.STOPPED,
    (Op.STARTING, Move.NONE): Op.STARTING,
    (Op.STARTING, Move.STOP): Op.STOPPED,
    (Op.STARTING, Move.RUN): Op.STARTING,
    (Op.STARTING, Move.START): Op.STARTING,
    (Op.STARTING, Move.UNLOAD): Op.STOPPING,
    (Op.STARTING, Move.WARM): Op.RUNNING,
    (Op.RUNNING, Move.NONE): Op.RUNNING,
    (Op.RUNNING, Move.STOP): Op.STOPPED,
    (Op.RUNNING, Move.RUN): Op.RUNNING,
    (Op.RUNNING, Move.START): Op.RUNNING,
    (Op.RUNNING, Move.UNLOAD): Op.STOPPING,
    (Op.RUNNING, Move.WARM): Op.RUNNING,
    (Op.STOPPING, Move.NONE): Op.STOPPING,
    (Op.STOPPING, Move.STOP): Op.STOPPED,
    (Op.STOPPING, Move.RUN): Op.RUNNING,
    (Op.STOPPING, Move.START): Op.STARTING,
    (Op.STOPPING, Move.UNLOAD): Op.STOPPING,
    (Op.STOPPING, Move.WARM): Op.STOPPING,
}
"""Outside of maintenance; inside, a server is STOPPED whatever befalls it."""

ASKS: dict[tuple[int, Verdict], Move] = {
    (HEALTH, Verdict.UNKNOWN): Move.NONE,
    (HEALTH, Verdict.NEUTRAL): Move.NONE,
    (HEALTH, Verdict.FAILED): Move.STOP,
    (HEALTH, Verdict.PASSED): Move.RUN,
    (HEALTH, Verdict.CONDPASS): Move.UNLOAD,
    (AGENT, Verdict.UNKNOWN): Move.NONE,
    (AGENT, Verdict.NEUTRAL): Move.NONE,
    (AGENT, Verdict.FAILED): Move.STOP,
    (AGENT, Verdict.PASSED): Move.RUN,
    (AGENT, Verdict.CONDPASS): Move.NONE,
}
"""The move that a verdict asks for; whether it is granted depends on counters (`Fleet._granted`)."""

COPIED: dict[Op, Move] = {
    Op.STOPPED: Move.STOP,
    Op.STARTING: Move.RUN,
    Op.RUNNING: Move.RUN,
    Op.STOPPING: Move.UNLOAD,
}
"""The move of a tracker when the server it tracks has entered a state."""

ADMIN: dict[AdminWord, tuple[tuple[bool, Admin], ...]] = {
    AdminWord.NONE: (),
    AdminWord.READY: ((False, Admin.FDRAIN), (False, Admin.FMAINT)),
    AdminWord.DRAIN: ((True, Admin.FDRAIN), (False, Admin.FMAINT)),
    AdminWord.MAINT: ((True, Admin.FMAINT), (False, Admin.FDRAIN)),
}
"""What an administrative word sets (True) and clears, in this order: it shows in the log."""

INHERITED: dict[Admin, Admin] = {
    Admin.FMAINT: Admin.IMAINT,
    Admin.IMAINT: Admin.IMAINT,
    Admin.RMAINT: Admin.IMAINT,
    Admin.FDRAIN: Admin.IDRAIN,
    Admin.IDRAIN: Admin.IDRAIN,
}
"""The flag that a tracker gets, or loses, with each flag of the server it tracks."""

INIT: dict[str, tuple[Callable[[int, int], int], Op]] = {
    "": (lambda rise, fall: rise, Op.RUNNING),
    "none": (lambda rise, fall: rise, Op.RUNNING),
    "fully-up": (lambda rise, fall: rise + fall - 1, Op.RUNNING),
    "up": (lambda rise, fall: rise, Op.RUNNING),
    "down": (lambda rise, fall: rise - 1, Op.STOPPED),
    "fully-down": (lambda rise, fall: 0, Op.STOPPED),
}
"""`init-state`: the counter of (rise, fall), and the state, at start and after maintenance."""


def first_health(init_state: str, rise: int, fall: int) -> int:
    """The counter with which a health check begins."""
    return INIT[init_state][0](rise, fall)


def first_op(init_state: str) -> Op:
    """The state of a server that begins outside of maintenance."""
    return INIT[init_state][1]
