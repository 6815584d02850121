"""`risefall ctl show vrrp`: what keepalived says of itself beside what risefall computes, and the scripts that lead to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from risefall.cli.fitted import Fitted, fitted
from risefall.config.text import printable
from risefall.surfaces.client import Reply

BAD, DULL = "bold red", "dim"
STYLES = {"MASTER": "green", "BACKUP": "cyan", "GOOD": "green", "UP": "green", "FAULT": BAD, "BAD": BAD, "DOWN": BAD}
STATES = ("instance", "group", "virtual_server", "real_server")


def objects_of(reply: Reply, names: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of `show vrrp json`; names: only these, where there are any."""
    found = [json.loads(line) for line in reply.text.splitlines() if line]
    return [one for one in found if not names or one["name"] in names]


def pictures(found: Sequence[dict[str, Any]], span: Callable[[int | None], str]) -> Group:
    """Tables of states and scripts, and a line about the FIFO. span: renders seconds."""
    parts: list[Fitted | Text] = []
    states = [one for one in found if one["kind"] in STATES]
    if states:
        heads = ("what", "keepalived says", "for", "computed", "because of", "differs")
        rows = [_state_row(one, span) for one in states]
        parts.append(fitted(heads, rows, drop=("for", "because of"), fold="because of"))
    scripts = [one for one in found if one["kind"] == "script"]
    if scripts:
        heads = ("script", "state", "result", "runs", "last run", "took")
        rows = [_script_row(one) for one in scripts]
        parts.append(fitted(heads, rows, drop=("took", "runs", "result", "last run"), fold="last run"))
    for one in found:
        if one["kind"] == "fifo":
            bad = f", {one['bad']} that keepalived did not write" if one["bad"] else ""
            text = f"notify FIFO {one['name']}: {one['status']}; {one['lines']} lines read{bad}"
            parts.append(Text(printable(text), style=DULL))
    return Group(*parts)


def _state_row(one: dict[str, Any], span: Callable[[int | None], str]) -> tuple[str | Text, ...]:
    age_s = None if one["real_since"] is None else int(time.time() - one["real_since"])
    return (
        printable(f"{one['kind'].replace('_', ' ')} {one['name']}"),
        _real(one),
        span(age_s),
        _state(one["computed"], one["priority"] if one["kind"] == "instance" else None),
        printable(", ".join(one["why"])),
        Text(one["differs"] or "", style=BAD),
    )


def _script_row(one: dict[str, Any]) -> tuple[str | Text, ...]:
    full = one["rise"] + one["fall"] - 1
    return (
        printable(one["name"]),
        _state(one["state"], None),
        f"{one['result']} of {full}, good from {one['rise']}",
        str(one["runs"]),
        printable(one["last"] or ""),
        f"{one['took_ms']:.0f} ms" if one["runs"] else "",
    )


def _state(state: str | None, priority: int | None) -> Text:
    shown = "" if state is None else state if priority is None else f"{state} {priority}"
    return Text(shown, style=STYLES.get(state or "", ""))


def _real(one: dict[str, Any]) -> Text:
    """`was` stands before what was said before a restart, or by a keepalived that is gone."""
    if one["real"] is None:
        return Text("nothing yet", style=DULL)
    text = _state(one["real"], one["real_priority"])
    return text if one["real_sure"] else Text(f"was {text.plain}", style=DULL)
