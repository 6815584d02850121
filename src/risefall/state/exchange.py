"""What passes between the checks (C) and the state of servers (Python): results up, changes down.

`engine` makes `CheckResult`s out of native events and turns `CheckChange`s into native orders; `state`
knows neither sockets nor handles. Source: design "Who owns what"; spec/haproxy-checks.md §1.2, §4.2, §5.3.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from risefall.status import Status, Verdict


class AdminWord(IntEnum):
    """The admin word of an agent's line."""

    NONE = 0
    READY = 1
    DRAIN = 2
    MAINT = 3


class WeightKind(IntEnum):
    """How an agent's weight is meant: percent of the initial weight, or absolute."""

    NONE = 0
    RELATIVE = 1
    ABSOLUTE = 2


class CheckResult(msgspec.Struct, frozen=True, gc=False):
    """One result that is news: of a server's health check, or of its agent.

    epoch: that of the last order that C had taken when the run completed; older than the check's own epoch
    means that a command has overtaken it. health: the counter after it. text: bytes as the peer sent them,
    127 at most. duration_ms: -1 where there is none (HANA). status_changed, counter_moved: against the
    result before; touched: told only because a command asked for the next result.
    """

    epoch: int
    status: Status
    verdict: Verdict
    code: int
    health: int
    duration_ms: int
    text: bytes = b""
    status_changed: bool = True
    counter_moved: bool = False
    touched: bool = False
    admin: AdminWord = AdminWord.NONE
    weight_kind: WeightKind = WeightKind.NONE
    weight: int = 0
    maxconn: int | None = None


class Aim(msgspec.Struct, frozen=True, gc=False):
    """Where a check goes. host: an IP address, a path, or `abns@<name>`; port: 0 for UNIX sockets."""

    host: str
    port: int


class Observed(msgspec.Struct, frozen=True, gc=False):
    """Traffic went wrong too often: the counter is at most `ceiling`, then a failed check counts, with this text (none without).

    again: the check behind the next one comes at `fastinter` too, whatever the counter.
    """

    ceiling: int
    text: bytes
    again: bool = False


class CheckChange(msgspec.Struct, frozen=True, gc=False):
    """What C must know of one check from now on; None leaves a field alone.

    epoch: the check's new epoch where the change overrides what a running check would say (counter, pause,
    enable), else 0. stopped and state_text are facts that a running check reads (disable-on-404, send-state).
    touched: the next result is told even if it is the same as the last (an agent's line acts again).
    aim: where it goes from its next connection on; at_once: which is made now. send: what an agent is sent from now on.
    observed: what traffic did; nothing else of the change counts then.
    """

    epoch: int = 0
    health: int | None = None
    paused: bool | None = None
    enabled: bool | None = None
    stopped: bool | None = None
    state_text: str | None = None
    weight: int | None = None
    touched: bool = True
    aim: Aim | None = None
    send: str | None = None
    at_once: bool = False
    observed: Observed | None = None
