"""HAProxy's server-state file by itself: whatever stands in it, risefall goes on. What HAProxy makes of it: tests/diff."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_kit import Rig

from risefall.state.fleet import Fleet
from risefall.state.server import Admin, Op
from risefall.state.server_state_file import FIELDS, FIELDS_MIN, BadFile, BadRow, apply, leading, parse, read

GOOD = "2 b 1 s 127.0.0.1 2 0 1 1 100 15 3 4 6 0 0 0 - 80 - 0 0 - - 0"
NOW_MS = 10_000_000


def row(**values: str) -> dict[str, str]:
    return {**dict(zip(FIELDS, GOOD.split(), strict=True)), **values}


def rig(**more: object) -> Rig:
    made = Rig(now_ms=NOW_MS).proxy("b").server("s", agent=True, **more)  # type: ignore[arg-type]
    return made.server("t", track="s").server("un", check=False).start()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("2\n", None),
        ("1", None),
        ("1 \n", None),
        ("x\n", None),
        ("1\nfew words\n", 1),
        (f"1\n# {GOOD}\n{GOOD}", 2),
        ("1\n" + "#" * 3000 + "\n", 1),
    ],
)
def test_what_is_no_file(text: str, line: int | None) -> None:
    with pytest.raises(BadFile) as caught:
        parse(text)
    assert caught.value.line == line


def test_rows() -> None:
    short = " ".join(GOOD.split()[:FIELDS_MIN])
    rows = parse(f"1\n#x\n\n \t\n{GOOD}\n\t {short}\n{GOOD} 1 2 3\n")
    assert rows[0] == rows[2] == row()
    assert rows[1] == dict(zip(FIELDS, short.split(), strict=False))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-1x", -1), (" +7", 7), ("0x1", 0), ("x", None), ("", None), ("9" * 40, None), ("\u0661", None)],
)
def test_numbers_are_read_as_c_reads_them(text: str, value: int | None) -> None:
    assert leading(text) == value


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(BadRow) as caught:
        read(row(srv_op_state="9", srv_time_since_last_change="x", srv_fqdn="a/b", srv_port="70000"))
    assert str(caught.value) == (
        "invalid srv_op_state value '9', invalid srv_last_time_change value 'x', invalid srv_fqdn value 'a/b', "
        "invalid srv_port value '70000'"
    )


def test_a_row_that_cannot_be_changes_nothing() -> None:
    one, other = rig(), rig()
    with pytest.raises(BadRow):
        apply(one.fleet, 0, row(srv_op_state="0", srv_check_state="99"), NOW_MS)
    assert one.servers == other.servers


def test_since_when() -> None:
    one = rig()
    apply(one.fleet, 0, row(srv_op_state="0"), NOW_MS)
    assert (one.servers[0].op, one.servers[0].changed_ms) == (Op.STOPPED, NOW_MS - 100_000)


def test_maintenance_is_not_told_and_a_cause_is() -> None:
    one = rig()
    effects, wrong = apply(one.fleet, 0, row(srv_admin_state="1"), NOW_MS)
    assert (effects.lines, wrong, one.servers[0].admin) == ([], "", Admin.FMAINT)
    assert one.servers[1].admin == Admin.IMAINT
    effects, _ = apply(rig().fleet, 0, row(srv_op_state="0"), NOW_MS)
    assert [line.text.partition(".")[0] for line in effects.lines] == [
        "Server b/s is DOWN, changed from server-state after a reload",
        "Server b/t is DOWN via b/s",
    ]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"srv_check_addr": "x.y"}, "invalid addr 'x.y'"),
        ({"srv_check_port": "1x"}, "provided port is not an integer"),
        ({"srv_check_port": "-1"}, "provided port is invalid"),
        ({"srv_agent_port": "70000"}, "provided port is invalid"),
        ({"srv_agent_addr": "::1", "srv_agent_port": "7"}, ""),
    ],
)
def test_where_checks_go(values: dict[str, str], wrong: str) -> None:
    one = rig()
    assert apply(one.fleet, 0, row(**values), NOW_MS)[1] == wrong
    told = one.servers[0]
    assert (told.check_addr, told.check_port) == ("", 0)
    assert (told.agent_addr, told.agent_port) == (("", 0) if wrong else ("::1", 7))
    kind = "agent" if "agent" in next(iter(values)) else "health"
    assert apply(rig().fleet, 2, row(**values), NOW_MS)[1] == f"{kind} checks are not enabled on this server"


word = st.text(st.characters(blacklist_characters=" \t\n", blacklist_categories=["Cs"]), min_size=1, max_size=6)
value = st.one_of(st.integers(-2, 300).map(str), st.sampled_from(["-", "127.0.0.1", "::1", "localhost"]), word)


@given(text=st.text(max_size=300))
def test_any_text_is_a_file_or_none(text: str) -> None:
    for prefix in ("", "1\n"):
        try:
            rows = parse(prefix + text)
        except BadFile:
            continue
        assert all(FIELDS_MIN <= len(one) <= len(FIELDS) for one in rows)


@given(
    values=st.dictionaries(st.sampled_from(FIELDS[4:]), value, max_size=4),
    states=st.tuples(st.sampled_from("0123"), st.sampled_from(["0", "1", "4", "5", "8", "12", "33"])),
    disabled=st.booleans(),
    slowstart_ms=st.sampled_from([0, 60_000, 600_000]),
    index=st.integers(0, 2),
)
def test_any_row_leaves_a_fleet_that_is_whole(
    values: dict[str, str], states: tuple[str, str], slowstart_ms: int, index: int, *, disabled: bool
) -> None:
    one = rig(disabled=disabled, slowstart_ms=slowstart_ms)
    given_row = {**row(srv_op_state=states[0], srv_admin_state=states[1]), **values}
    try:
        effects, _ = apply(one.fleet, index, given_row, NOW_MS)
    except BadRow:
        return
    one._take(effects)
    one.verify()
    assert isinstance(one.fleet, Fleet)
