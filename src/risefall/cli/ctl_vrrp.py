"""`risefall ctl show vrrp`: what keepalived says of itself beside what risefall computes, and the scripts that lead to it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from risefall.config.text import printable
from risefall.surfaces.client import Reply

BAD, DULL = "bold red", "dim"
STYLES = {"MASTER": "green", "BACKUP": "cyan", "GOOD": "green", "UP": "green", "FAULT": BAD, "BAD": BAD, "DOWN": BAD}
STATES = ("instance", "group", "virtual_server", "real_server")


def objects_of(reply: Reply, names: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of `show vrrp json`; names: only these, where there are any."""
    found = [json.loads(line) for line in reply.text.splitlines() if line]
    return [one for one in found if not names or one["name"] in names]


def pictures(found: Sequence[dict[str, Any]], span: Any) -> Group:
    """Tables of states and scripts, and a line about the FIFO. span: renders seconds."""
    parts: list[Table | Text] = []
    states = [one for one in found if one["kind"] in STATES]
    if states:
        table = _table("what", "keepalived says", "for", "computed", "because of", "differs")
        for one in states:
            age_s = None if one["real_since"] is None else int(time.time() - one["real_since"])
            table.add_row(
                Text(printable(f"{one['kind'].replace('_', ' ')} {one['name']}")),
                _real(one),
                span(age_s),
                _state(one["computed"], one["priority"] if one["kind"] == "instance" else None),
                Text(printable(", ".join(one["why"]))),
                Text(one["differs"] or "", style=BAD),
            )
        parts.append(table)
    scripts = [one for one in found if one["kind"] == "script"]
    if scripts:
        table = _table("script", "state", "result", "runs", "last run", "took")
        for one in scripts:
            full = one["rise"] + one["fall"] - 1
            result = f"{one['result']} of {full}, good from {one['rise']}"
            took = f"{one['took_ms']:.0f} ms" if one["runs"] else ""
            last = Text(printable(one["last"] or ""))
            table.add_row(
                Text(printable(one["name"])), _state(one["state"], None), result, str(one["runs"]), last, took
            )
        parts.append(table)
    for one in found:
        if one["kind"] == "fifo":
            bad = f", {one['bad']} that keepalived did not write" if one["bad"] else ""
            text = f"notify FIFO {one['name']}: {one['status']}; {one['lines']} lines read{bad}"
            parts.append(Text(printable(text), style=DULL))
    return Group(*parts)


def _table(*heads: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _state(state: str | None, priority: int | None) -> Text:
    shown = "" if state is None else state if priority is None else f"{state} {priority}"
    return Text(shown, style=STYLES.get(state or "", ""))


def _real(one: dict[str, Any]) -> Text:
    """`was` stands before what was said before a restart, or by a keepalived that is gone."""
    if one["real"] is None:
        return Text("nothing yet", style=DULL)
    text = _state(one["real"], one["real_priority"])
    return text if one["real_sure"] else Text(f"was {text.plain}", style=DULL)
