"""What keepalived says of itself beside what is computed here of the same configuration.

MASTER and BACKUP depend on neighbours that only keepalived hears, so they are shown and not compared. FAULT does not, nor does the
priority; but the FIFO carries a priority for every change only with notify_priority_changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from risefall.config.keepalived.model import Config
from risefall.evaluator.hearing import Heard
from risefall.evaluator.node import GroupView, InstanceView

AWAY = ("STOP", "DELETED")
FAULT = "FAULT"


class Beside(msgspec.Struct, frozen=True):
    """One thing. real: keepalived's state, "" where nothing was heard. since_s: wall clock. sure: not of before a restart.

    computed: "" for what the configuration does not have. why: reasons for FAULT, scripts that it waits for. differs: what the
    two do not agree on, "" for nothing.
    """

    kind: str
    name: str
    real: str = ""
    real_priority: int | None = None
    since_s: float | None = None
    sure: bool = True
    computed: str = ""
    priority: int | None = None
    why: tuple[str, ...] = ()
    differs: str = ""


def beside(
    config: Config | None, instances: Iterable[InstanceView], groups: Iterable[GroupView], heard: Iterable[Heard]
) -> list[Beside]:
    """Instances and groups of the configuration in their order, then what only keepalived knows."""
    left = {(one.told.kind, one.told.name): one for one in heard}
    told = {one.name for one in (config.instances if config is not None else ()) if one.notify_priority_changes}
    found: list[Beside] = []
    for view in instances:
        why = (*view.faults, *(f"waits for {name}" for name in view.waits_for))
        one = Beside("instance", view.name, computed=view.state, priority=view.effective, why=why)
        found.append(_joined(one, left.pop(("instance", view.name), None), by_priority=view.name in told))
    for group in groups:
        one = Beside("group", group.name, computed=group.state)
        found.append(_joined(one, left.pop(("group", group.name), None), by_priority=False))
    for unknown in left.values():
        one = Beside(unknown.told.kind, unknown.told.name)
        found.append(_joined(one, unknown, by_priority=False))
    return found


def _joined(one: Beside, heard: Heard | None, *, by_priority: bool) -> Beside:
    if heard is None:
        return one
    told = heard.told
    return msgspec.structs.replace(
        one,
        real=told.state,
        real_priority=None if told.kind == "group" else told.priority,
        since_s=heard.since_s,
        sure=heard.sure,
        differs=_differs(one, heard, by_priority=by_priority),
    )


def _differs(one: Beside, heard: Heard, *, by_priority: bool) -> str:
    told = heard.told
    if not heard.sure or not one.computed or told.state in AWAY:
        return ""
    if (told.state == FAULT) is not (one.computed == FAULT):
        return "FAULT there, not here" if told.state == FAULT else "FAULT here, not there"
    if by_priority and told.priority != one.priority:
        return f"priority {told.priority} there, {one.priority} here"
    return ""
