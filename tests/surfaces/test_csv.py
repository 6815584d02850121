"""`show stat` against a real haproxy 2.6, column by column, and what only a test can set up."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from surfaces_kit import NOW_MS, FakeApi, FakeRecord, ask, ask_at_rest, small_fleet

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Op
from risefall.status import Status, Verdict
from risefall.surfaces.columns import AT, BASE, COLUMNS, EXTENSION
from risefall.surfaces.csv import show_stat
from risefall.surfaces.query import BadQuery, Query, leading_int, parse_query
from risefall.surfaces.shapes import quote

TIMED = ("lastchg", "downtime", "check_duration", "agent_duration")
"""Columns whose value is a matter of when one looks."""

TRAFFIC = ("slim", "need_conn_est")
"""`slim` of frontends and backends: limits that a checker has not; the other counts the checks' own connections."""

Rows = dict[tuple[str, str], dict[str, str]]


def read_rows(text: str) -> Rows:
    """A table by proxy and server, up to the separator."""
    rows = list(csv.reader(io.StringIO(text.removeprefix("# "))))
    names = rows[0][: rows[0].index("-")]
    return {(row[0], row[1]): dict(zip(names, row, strict=False)) for row in rows[1:] if row}


def ours(*words: str, api: FakeApi | None = None, legends: bool = True) -> str:
    api = api or FakeApi()
    return show_stat(api.fleet, api.record, NOW_MS, parse_query(words, api.fleet, legends=legends))


def comparable(rows: Rows) -> Rows:
    """Without what differs for good, or from one moment to the next."""
    for (_, name), row in rows.items():
        for column in TIMED:
            row[column] = "shown" if row[column] else ""
        for column in TRAFFIC if name in ("FRONTEND", "BACKEND") else TRAFFIC[1:]:
            row[column] = ""
    return rows


def theirs(peer: str, command: str = "") -> str:
    return ask_at_rest(peer, f"show stat {command}", lambda answer: "* " in answer)


# --- beside a real one ----------------------------------------------------------------------------


def test_the_header_is_haproxys_up_to_the_separator(peer: str) -> None:
    mine = ours().partition("\n")[0]
    assert mine.endswith(",-,")
    assert theirs(peer).startswith(mine)
    assert len(COLUMNS[False]) == 104


@pytest.mark.parametrize("command", ["", "up", "no-maint", "4 -1 -1", "b1 4 -1", "#77 7 -1", "-1 4 1", "li 3 -1"])
def test_every_cell_is_haproxys(peer: str, command: str) -> None:
    """Rows, their order, and all that neither time nor traffic changes."""
    expected, mine = read_rows(theirs(peer, command)), read_rows(ours(*command.split()))
    assert list(mine) == list(expected)
    assert comparable(mine) == comparable(expected)


def test_a_user_sees_no_addresses(peer: str) -> None:
    assert comparable(read_rows(ours(legends=False))) == comparable(read_rows(theirs(f"{peer}.user")))


TYPED = re.compile(r"([FBS]\.\d+\.\d+\.\d+\.\w+\.1:\w+:\w+):(.*)")


def typed_heads(text: str) -> list[str]:
    """Lines of our columns without their values."""
    heads = [match[1] for line in text.splitlines() if (match := TYPED.match(line))]
    return [
        head for head in heads if int(head.split(".")[3]) < AT["agg_check_status"] and head.split(".")[4] not in TRAFFIC
    ]


def test_typed_lines_have_haproxys_tags_and_types(peer: str) -> None:
    """The same fields are there, in the same order; a check that has not yet had a duration has none at either."""
    assert typed_heads(ours("typed")) == typed_heads(ask(peer, b"show stat typed\n").decode())


def without_values(text: str) -> list[object]:
    """Every item of our columns, its value replaced by the value's type."""
    return [
        {**item, "value": item["value"]["type"]}
        for row in json.loads(text)
        for item in row
        if item["field"]["pos"] < AT["agg_check_status"] and item["field"]["name"] not in TRAFFIC
    ]


def test_json_has_haproxys_shape(peer: str) -> None:
    expected = ask(peer, b"show stat json\n").decode()
    assert [row[0]["objType"] for row in json.loads(ours("json"))] == [
        row[0]["objType"] for row in json.loads(expected)
    ]
    assert without_values(ours("json")) == without_values(expected)


def test_empty_answers_are_haproxys(peer: str) -> None:
    for form in ("typed", "json"):
        assert ask(peer, f"show stat dis 2 -1 {form}\n".encode()) == f"{ours('dis', '2', '-1', form)}\n".encode()


# --- one cell at a time ---------------------------------------------------------------------------


def cell(api: FakeApi, name: str, column: str) -> str:
    rows = read_rows(ours(api=api))
    return rows["b1" if (("b1", name)) in rows else "li", name][column]


def checked(api: FakeApi, check: CheckState | None, record: FakeRecord | None) -> FakeApi:
    """b1/s5 with a health check of its own."""
    api.fleet.servers[5].health = check
    if record is not None:
        api.records[5, HEALTH] = record
    return api


CHECK = ("status", "code", "duration", "desc", "rise", "fall", "health")


def test_a_check_that_has_passed() -> None:
    api = checked(FakeApi(), CheckState(2, 3, 4), FakeRecord(Status.L7OK, Verdict.PASSED, 200, 12, b"OK", 4))
    row = read_rows(ours(api=api))["b1", "s5"]
    assert [row[f"check_{name}"] for name in CHECK] == ["L7OK", "200", "12", "Layer7 check passed", "2", "3", "4"]
    assert row["last_chk"] == "OK"


def test_a_check_under_way_has_a_star() -> None:
    """Code and text of the last one are gone until it ends, as at haproxy 2.6."""
    api = checked(
        FakeApi(), CheckState(2, 3, 4), FakeRecord(Status.L7OK, Verdict.PASSED, 200, 12, b"OK", 4, in_progress=True)
    )
    row = read_rows(ours(api=api))["b1", "s5"]
    assert [row[f"check_{name}"] for name in CHECK] == ["* L7OK", "0", "12", "Layer7 check passed", "2", "3", "4"]
    assert row["last_chk"] == ""


@pytest.mark.parametrize(("status", "code"), [(Status.L7RSP, ""), (Status.L7STS, "503"), (Status.L4OK, "")])
def test_codes_are_shown_for_statuses_that_have_one(status: Status, code: str) -> None:
    api = checked(FakeApi(), CheckState(2, 3, 0), FakeRecord(status, Verdict.FAILED, 503))
    assert cell(api, "s5", "check_code") == code


@pytest.mark.parametrize(("dialect", "shown"), [("2.6", "18446744073709551615"), ("3", "0")])
def test_a_hana_result_has_no_duration(dialect: str, shown: str) -> None:
    api = checked(FakeApi(dialect), CheckState(2, 3, 3), FakeRecord(Status.HANA, Verdict.FAILED, duration_ms=-1))
    assert cell(api, "s5", "check_duration") == shown


def test_durations_before_the_first_check() -> None:
    """None for the health check, 0 for the agent (trap 48)."""
    api = checked(FakeApi(), CheckState(2, 3, 2), None)
    api.fleet.servers[5].agent = CheckState(1, 1, 1)
    row = read_rows(ours(api=api))["b1", "s5"]
    assert (row["check_status"], row["check_duration"]) == ("INI", "")
    assert (row["agent_status"], row["agent_duration"]) == ("INI", "0")


def test_maintenance_empties_the_check_but_not_the_agent() -> None:
    """Also the counts stay (trap 48)."""
    api = checked(FakeApi(), CheckState(2, 3, 0, paused=True), FakeRecord(fails=7))
    server = api.fleet.servers[5]
    server.agent, server.op, server.admin = CheckState(1, 1, 1), Op.STOPPED, Admin.FMAINT
    api.records[5, AGENT] = FakeRecord(Status.L7OK, Verdict.PASSED, 0, 3, b"up", 1)
    row = read_rows(ours(api=api))["b1", "s5"]
    assert [row[f"check_{name}"] for name in ("status", "code", "duration", "desc", "rise", "health")] == [""] * 6
    assert (row["last_chk"], row["last_agt"], row["agent_status"]) == ("", "up", "L7OK")
    assert (row["chkfail"], row["chkdown"], row["downtime"]) == ("7", "0", "42")


def test_a_check_that_was_disabled_shows_nothing() -> None:
    api = checked(FakeApi(), CheckState(2, 3, 0, enabled=False), FakeRecord())
    row = read_rows(ours(api=api))["b1", "s5"]
    assert [row[name] for name in ("check_status", "chkfail", "chkdown", "downtime", "last_chk")] == [""] * 5


def test_a_counter_that_a_command_set_counts_at_once() -> None:
    """The engine's record is older than the order until it has taken it."""
    check = CheckState(2, 3, 4, epoch=3)
    assert cell(checked(FakeApi(), check, FakeRecord(health=0, epoch=2)), "s5", "check_health") == "4"
    assert cell(checked(FakeApi(), check, FakeRecord(health=1, epoch=3)), "s5", "check_health") == "1"


def test_a_revision_is_shown_by_todays_haproxy_alone() -> None:
    for dialect, shown in (("2.6", None), ("3", "4")):
        api = FakeApi(dialect)
        api.fleet.servers[5].revision = 4
        rows = read_rows(ours(api=api))
        assert rows["b1", "s5"].get("srid") == shown
        assert rows["b1", "BACKEND"].get("srid") == (shown and "")


def test_a_slowstart_shows_its_percentage() -> None:
    api = FakeApi()
    server = api.fleet.servers[5]
    server.op, server.warmth = Op.STARTING, 5
    assert (cell(api, "s5", "throttle"), cell(api, "s5", "weight"), cell(api, "s5", "uweight")) == ("32", "3", "7")
    server.admin = Admin.FDRAIN
    assert cell(api, "s5", "throttle") == ""


def test_down_servers_on_their_way_up_are_listed_by_up() -> None:
    """`up` hides a server that is DOWN, but not one whose check has begun to pass."""
    for health, listed in ((0, False), (1, True)):
        api = checked(FakeApi(), CheckState(2, 3, health), FakeRecord(health=health))
        api.fleet.servers[5].op = Op.STOPPED
        assert (("b1", "s5") in read_rows(ours("up", api=api))) is listed


def test_addresses_as_shown() -> None:
    api = FakeApi()
    for address, port, shown in (
        ("::1", 80, "[::1]:80"),
        ("/run/app", 0, "unix"),
        ("", 80, ""),
        ("10.0.0.1", 0, "10.0.0.1:0"),
    ):
        api.fleet.servers[5].address, api.fleet.servers[5].port = address, port
        assert cell(api, "s5", "addr") == shown


def test_texts_are_quoted_only_where_they_must_be() -> None:
    assert [quote(text) for text in ("plain text", "a,b", 'say "x"', "a\nb", "")] == [
        "plain text", '"a,b"', '"say ""x"""', '"a\nb"', "",
    ]  # fmt: skip
    api = checked(FakeApi(), CheckState(2, 3, 0), FakeRecord(text=b'no, "really"'))
    assert ',"no, ""really""",' in ours(api=api)
    assert cell(api, "s5", "last_chk") == 'no, "really"'


def test_bytes_that_are_no_text() -> None:
    """CSV and typed lines pass them on; JSON cannot."""
    api = checked(FakeApi(), CheckState(2, 3, 0), FakeRecord(text=b"\xff!"))
    assert b",\xff!," in ours(api=api).encode("utf-8", "surrogateescape")
    assert b":\xff!\n" in ours("typed", api=api).encode("utf-8", "surrogateescape")
    rows = json.loads(ours("json", api=api).encode())
    assert any(item["value"]["value"] == "\ufffd!" for row in rows for item in row)


def test_numbers_that_json_would_round_are_left_out() -> None:
    api = checked(FakeApi(), CheckState(2, 3, 3), FakeRecord(Status.HANA, Verdict.FAILED, duration_ms=-1))
    names = [
        item["field"]["name"]
        for row in json.loads(ours("json", api=api))
        if row[1]["value"]["value"] == "s5"
        for item in row
    ]
    assert "check_status" in names
    assert "check_duration" not in names


# --- today's haproxy ------------------------------------------------------------------------------


def test_todays_columns() -> None:
    """119 columns in front of the separator, and a fourth letter in the tags; found by name as before."""
    api = FakeApi("3")
    text = ours(api=api)
    names = text.removeprefix("# ").partition("\n")[0].split(",")
    assert names.index("-") == 119
    assert names[103:119] == [column.name for column in EXTENSION]
    old, new = read_rows(ours()), read_rows(text)
    assert {key: {name: row[name] for name in old[key]} for key, row in new.items()} == old
    typed = ours("typed", api=api).splitlines()
    assert "S.4.1.17.status.1:SGPV:str:DOWN" in typed
    assert "S.4.1.21.chkfail.1:MCPP:u64:1" in typed


def test_desc_adds_our_descriptions() -> None:
    assert 'S.4.1.17.status.1:SGP:str:DOWN:"state; of a server as its checks say"' in ours("typed", "desc").splitlines()
    assert ours("desc") == ours()
    assert all(column.text for column in (*BASE, *EXTENSION))


# --- the words ------------------------------------------------------------------------------------


@pytest.fixture
def fleet() -> Fleet:
    return small_fleet()[0]


def test_queries(fleet: Fleet) -> None:
    assert parse_query([], fleet) == Query()
    assert parse_query(["b1", "4", "-1"], fleet) == Query(iid=4, kinds=4)
    assert parse_query(["b1", "4"], fleet) == Query()
    assert parse_query(["#77", "x", "2", "up"], fleet) == Query(iid=77, kinds=0, sid=2, up=True)
    assert parse_query(["999", "7", "1"], fleet) == Query(iid=999, kinds=7, sid=1)
    with pytest.raises(BadQuery, match=r"^No such proxy\.$"):
        parse_query(["nope", "4", "-1"], fleet)


def test_numbers_are_read_as_c_does() -> None:
    assert [leading_int(word) for word in ("12", "-1", "+3", "4x", "x4", "", "-", "0x4", "٣")] == [
        12, -1, 3, 4, 0, 0, 0, 0, 0,
    ]  # fmt: skip
