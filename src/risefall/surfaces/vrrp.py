"""`show vrrp`: what keepalived says of itself beside what is computed here, as text and as an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from risefall.surfaces.calls import Api, Call, Reply, command, refuse

Row = Mapping[str, object]
"""One object of `show vrrp json`: `kind` and `name` first, and what belongs to that kind (docs/vrrp.md)."""

COLUMNS = (
    "kind",
    "name",
    "real",
    "real_priority",
    "computed",
    "priority",
    "differs",
    "state",
    "result",
    "last",
    "status",
)
NONE = "-"


def show_vrrp(rows: Sequence[Row]) -> Iterator[str]:
    """A line each, its fields behind a line with their names; `-` for nothing, blanks only between fields."""
    yield "# " + " ".join(COLUMNS) + "\n"
    for row in rows:
        yield " ".join(_word(row.get(column)) for column in COLUMNS) + "\n"


def _word(value: object) -> str:
    text = "" if value is None else str(value)
    return "_".join(text.split()) or NONE


def _show(api: Api, call: Call) -> Reply:
    rows = api.vrrp()
    if not rows:
        return refuse("This risefall knows of no keepalived: run it with --scripts or --notify-fifo.")
    if call.word(0) == "json":
        return Reply(pieces=(json.dumps(row) + "\n" for row in rows))
    if call.word(0):
        return refuse("'show vrrp' only supports 'json'.")
    return Reply(pieces=show_vrrp(rows))


VRRP = (command("show vrrp", "[json]", "report states of keepalived, told and computed", _show),)
