"""How the servers stand, for people: a row each, and how many are down."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, MAINT, Op
from risefall.state.words import status_word
from risefall.surfaces.live import RecordOf


class Row(msgspec.Struct, frozen=True):
    """One server for a table. Texts are empty where a thing does not apply."""

    name: str
    status: str
    check_status: str
    code: str
    duration: str
    weight: int
    text: str


def rows_of(fleet: Fleet, record: RecordOf, why_not: Mapping[int, str]) -> list[Row]:
    """Every server as it stands now. why_not: reasons of those that are not checked, by their place in the fleet."""
    return [_row(fleet, index, record, why_not) for proxy in fleet.proxies for index in proxy.own]


def _row(fleet: Fleet, index: int, record_of: RecordOf, why_not: Mapping[int, str]) -> Row:
    server = fleet.servers[index]
    name = f"{fleet.proxies[server.proxy].name}/{server.name}"
    weight = fleet.effective_weight(index)
    record, agent = record_of(index, HEALTH), record_of(index, AGENT)
    shown = record or agent
    if index in why_not and server.health is None and not server.admin & MAINT:
        return Row(name, "not checked", "", "", "", weight, why_not[index])
    status = status_word(fleet, index)
    if shown is None or shown.runs == 0:
        return Row(name, status, "", "", "", weight, "")
    texts = [one.text.decode("utf-8", "replace") for one in (shown, agent) if one is not None and one.text]
    code = str(shown.code) if shown.status.has_code else ""
    return Row(name, status, shown.status.name, code, str(shown.duration_ms), weight, ", ".join(dict.fromkeys(texts)))


def down_of(fleet: Fleet) -> int:
    """Servers that are DOWN; those in maintenance are not counted."""
    return sum(server.op is Op.STOPPED and not server.admin & MAINT for server in fleet.servers)
