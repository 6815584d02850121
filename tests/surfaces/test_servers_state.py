"""`show servers state` against a real haproxy 2.6, and the columns that it cannot show at rest."""

from __future__ import annotations

import pytest
from surfaces_kit import NOW_MS, FakeApi, FakeRecord, ask, ask_at_rest

from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Op
from risefall.status import Status, Verdict
from risefall.surfaces.servers_state import HEADER, NoBackend, show_servers_state

AGE = HEADER.split().index("srv_time_since_last_change") - 1
STATES = [HEADER.split().index(name) - 1 for name in ("srv_check_state", "srv_agent_state")]


def ours(backend: str = "", api: FakeApi | None = None) -> str:
    api = api or FakeApi()
    return show_servers_state(api.fleet, api.record, NOW_MS, backend)


def ageless(text: str) -> list[list[str]]:
    """Rows without their age."""
    rows = [line.split(" ") for line in text.splitlines()]
    for row in rows[2:]:
        if len(row) > 1:
            row[AGE] = ""
    return rows


def busy(text: str) -> bool:
    """Whether a check of any row is under way."""
    return any(int(row[column]) & 1 for row in ageless(text)[2:] if len(row) > 1 for column in STATES)


@pytest.mark.parametrize("backend", ["", "b1", "#77", "em"])
def test_every_column_is_haproxys(peer: str, backend: str) -> None:
    assert ageless(f"{ours(backend)}\n") == ageless(ask_at_rest(peer, f"show servers state {backend}", busy))


@pytest.mark.parametrize("backend", ["nope", "fe", "b1/s1"])
def test_an_unknown_backend(peer: str, backend: str) -> None:
    with pytest.raises(NoBackend) as caught:
        ours(backend)
    assert f"{caught.value}\n\n".encode() == ask(peer, f"show servers state {backend}\n".encode())


def row(api: FakeApi, name: str = "s5") -> dict[str, str]:
    names = HEADER.split()[1:]
    lines = [line.split(" ") for line in ours("b1", api).splitlines()]
    return next(dict(zip(names, line, strict=True)) for line in lines if line[3:4] == [name])


def test_a_check_under_way_and_its_agent() -> None:
    """Bits of spec §7.5; 23 is an agent in progress."""
    api = FakeApi()
    server = api.fleet.servers[5]
    server.health, server.agent = CheckState(2, 3, 4), CheckState(1, 1, 1)
    api.records[5, HEALTH] = FakeRecord(Status.L7OK, Verdict.PASSED, 200, 1, b"", 4, in_progress=True)
    api.records[5, AGENT] = FakeRecord(in_progress=True)
    shown = row(api)
    assert [shown[f"srv_{name}"] for name in ("check_status", "check_result", "check_health", "check_state")] == [
        "15", "0", "4", "7",
    ]  # fmt: skip
    assert shown["srv_agent_state"] == "23"
    server.health.enabled = server.agent.enabled = False
    assert (row(api)["srv_check_state"], row(api)["srv_agent_state"]) == ("3", "19")


def test_maintenance_holds_the_counter_at_0() -> None:
    """Also while the engine's record still tells of the run before."""
    api = FakeApi()
    server = api.fleet.servers[5]
    server.health, server.op, server.admin = CheckState(2, 3, 0, paused=True), Op.STOPPED, Admin.FMAINT
    api.records[5, HEALTH] = FakeRecord(Status.L4OK, Verdict.PASSED, health=4)
    shown = row(api)
    assert (shown["srv_check_health"], shown["srv_check_state"], shown["srv_admin_state"]) == ("0", "14", "1")


def test_the_columns_of_addresses() -> None:
    api = FakeApi()
    server = api.fleet.servers[5]
    server.address, server.port, server.fqdn, server.ssl = "10.1.2.3", 443, "app.example", True
    server.check_addr, server.check_port, server.agent_addr, server.agent_port = "10.0.0.9", 81, "::1", 82
    assert " ".join(list(row(api).values())[16:]) == "0 app.example 443 - 1 81 10.0.0.9 ::1 82"
    server.address = "/run/app.sock"
    assert row(api)["srv_addr"] == "-"


def test_a_counter_of_an_unchecked_server() -> None:
    api = FakeApi()
    api.fleet.servers[5].idle_health = 4
    assert row(api)["srv_check_health"] == "4"
