"""What is told of checks and ordered of them: news, records as they stand, changes."""

from __future__ import annotations

from typing import Any, NewType

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.native.calls import Endpoint
from risefall.state.exchange import AdminWord, CheckResult, WeightKind
from risefall.status import Status, Verdict

Handle = NewType("Handle", int)
"""A check of one engine: generation << 32 | index."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """News of one check; `tag` is the caller's own word for it. run: not 0 where an outside check is due (no news then)."""

    check: Handle
    tag: int
    late_us: int
    result: CheckResult
    run: int = 0


class Record(msgspec.Struct, frozen=True, gc=False):
    """A check's last result as it stands; see `rf_record`. done_ns is 0 before the first."""

    check: Handle
    tag: int
    epoch: int
    health: int
    fails: int
    runs: int
    in_progress: bool
    done_ns: int
    status: Status
    verdict: Verdict
    code: int
    duration_ms: int
    text: bytes
    admin: AdminWord = AdminWord.NONE
    weight_kind: WeightKind = WeightKind.NONE
    weight: int = 0
    maxconn: int | None = None


class Change(msgspec.Struct, frozen=True):
    """An order to one check; None leaves a field alone. See `rf_order`."""

    epoch: int = 0
    health: int | None = None
    paused: bool | None = None
    enabled: bool | None = None
    stopped: bool | None = None
    state_text: str | None = None
    weight: int | None = None
    touched: bool = False
    now: bool = False
    to: Endpoint | None = None
    keep_pace: bool = False


def read_event(raw: Any) -> Event:
    """A copy of an `rf_event`."""
    result = raw.result
    flags = raw.flags
    return Event(
        check=Handle(raw.check),
        tag=raw.tag,
        late_us=raw.late_us_capped,
        result=CheckResult(
            epoch=raw.epoch,
            status=Status(result.status),
            verdict=Verdict(result.verdict),
            code=result.code,
            health=raw.health,
            duration_ms=result.duration_ms,
            text=bytes(ffi.buffer(result.text, result.text_len)),
            status_changed=bool(flags & lib.RF_EV_STATUS),
            counter_moved=bool(flags & lib.RF_EV_COUNTER),
            touched=bool(flags & lib.RF_EV_TOUCHED),
            admin=AdminWord(result.admin),
            weight_kind=WeightKind(result.weight_kind),
            weight=result.weight,
            maxconn=result.maxconn if result.has_maxconn else None,
        ),
        run=raw.run if flags & lib.RF_EV_RUN else 0,
    )


def read_record(raw: Any) -> Record | None:
    """A copy of an `rf_record`; None for a check that is gone."""
    if raw.check == 0:
        return None
    result = raw.result
    return Record(
        check=Handle(raw.check),
        tag=raw.tag,
        epoch=raw.epoch,
        health=raw.health,
        fails=raw.fails,
        runs=raw.runs,
        in_progress=bool(raw.in_progress),
        done_ns=raw.done_ns,
        status=Status(result.status),
        verdict=Verdict(result.verdict),
        code=result.code,
        duration_ms=result.duration_ms,
        text=bytes(ffi.buffer(result.text, result.text_len)),
        admin=AdminWord(result.admin),
        weight_kind=WeightKind(result.weight_kind),
        weight=result.weight,
        maxconn=result.maxconn if result.has_maxconn else None,
    )
