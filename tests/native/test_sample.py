"""The evaluator of sample expressions and log-formats against what haproxy 2.6.12 wrote for the same texts.

tests/data/samples.jsonl holds the table; tests/diff/test_samples.py runs it through an installed haproxy again. Here the C
part is called alone: no probe, no socket.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.engine._native import lib
from risefall.engine.formats import Formats
from risefall.engine.layout import NotChecked, Op
from sample_kit import (
    HEARD,
    HTTP_KINDS,
    OUT_MAX,
    ROOT,
    Row,
    compiled,
    evaluate,
    formats_of_rows,
    rows,
    texts_of,
    written,
)

ROWS_MIN = 600
NOON_NS = 1_700_000_000_123_456_789
"""14 November 2023, 22:13:20 UTC."""


def told(row: Row) -> bytes | None:
    """What we write for a row; None: refused."""
    formats = formats_of_rows()
    try:
        ops = compiled(row, formats)
        facts = texts_of(formats)
    except NotChecked:
        return None
    length, found = evaluate(ops, HEARD[row.kind], http=row.kind in HTTP_KINDS, facts=facts)
    return None if length < 0 else found


def test_every_recorded_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts, casts, undefined values and refusals: as the real program had them."""
    monkeypatch.chdir(ROOT)
    table = rows()
    wrong = {
        (row.kind, row.text): (row.written, ours)
        for row in table
        if (ours := told(row)) != (None if row.written is None else row.written.encode("latin-1"))
    }
    assert not wrong
    assert len(table) >= ROWS_MIN


@pytest.mark.parametrize(
    ("text", "heard", "expected"),
    [
        ("%[res.payload(0,0),cut_crlf]", b"-NOAUTH Authentication required.\r\n", b"-NOAUTH Authentication required."),
        ("%[res.payload(4,0),ltrim(' '),cut_crlf]", b"221  bye\r\nx", b"bye"),
        ("%[res.payload(0,3)]", b"221 bye\r\n", b"221"),
        ("%[res.payload(6,0)]", b"R\0\0\0\x08rest", b"est"),
        ("%[res.payload(6,0)]", b"R\0\0\0", b""),
    ],
)
def test_formats_of_the_presets(text: str, heard: bytes, expected: bytes) -> None:
    """What smtpchk, redis-check and pgsql-check say of a reply (spec 3.10)."""
    assert written(text, heard) == expected


@pytest.mark.parametrize(
    ("expression", "heard", "number"),
    [
        ("res.payload(0,3)", b"221 bye", b"221"),
        ("res.payload(0,3)", b"ab\r\n", b"0"),
        ("res.payload(0,3)", b"\x0012", b""),
        ("res.payload(0,3)", b"12", b""),
        ("res.payload(0,0),bytes(0,0)", b"12", b""),
        ("res.payload(0,3),field(1,x)", b"4x5", b"4"),
        ("int(7),add(1)", b"", b"8"),
        ("bool(true)", b"", b"1"),
        ("var(check.none)", b"", b""),
    ],
)
def test_status_codes(expression: str, heard: bytes, number: bytes) -> None:
    """What an expression gives as a number; nothing: none, and the code stays as it was."""
    ops = Formats().expression(expression, "status-code")
    assert evaluate(ops, heard, as_number=True)[1] == number


def test_time_of_a_client_hello() -> None:
    """`%[date(),htonl,hex]` is how ssl-hello-chk tells the time."""
    ops = Formats().format("%[date(),htonl,hex]", "test")
    assert evaluate(ops, now_ns=NOON_NS) == (8, b"6553F100")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%[date]", b"1700000000"),
        ("%[date(5)]", b"1700000005"),
        ("%[date(-1,ms)]", b"1700000000122"),
        ("%[date(0,us)]", b"1700000000123456"),
        ("%[date_us]", b"123456"),
        ("%Ts", b"1700000000"),
        ("%T", b"14/Nov/2023:22:13:20 +0000"),
        ("%[date,http_date]", b"Tue, 14 Nov 2023 22:13:20 GMT"),
    ],
)
def test_time_of_day(text: str, expected: bytes) -> None:
    """The clock is an argument."""
    assert evaluate(Formats().format(text, "test"), now_ns=NOON_NS)[1] == expected


def test_random_values() -> None:
    """Their form; each is another one."""
    text = "%[uuid] %[uuid(4)] %[rand(10)] %[rand]"
    first, second, small, _any = evaluate(Formats().format(text, "test"))[1].split()
    form = rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert re.fullmatch(form, first)
    assert re.fullmatch(form, second)
    assert first != second
    assert 0 <= int(small) < 10


def test_too_long_is_cut_and_told() -> None:
    """The length is that of the whole text."""
    ops = Formats().format("abc%[str(defgh)]", "test")
    assert evaluate(ops, out_max=5) == (8, b"abcde")
    assert evaluate(ops, out_max=0) == (8, b"")


def test_a_fact_that_is_not_there_is_undefined() -> None:
    """A site with fewer texts, or a cut one, gives nothing."""
    formats = Formats()
    ops = formats.format("%[be_name]%[srv_name]%s", "test")
    assert formats.facts == ["be_name", "srv_name"]
    assert evaluate(ops, facts=[b"b"]) == (1, b"b")
    assert evaluate(ops, facts=[b"b", b"s"]) == (3, b"bss")


def test_a_variable_that_outlives_its_change() -> None:
    """A value taken from the variables stays what it was while they move."""
    text = "%[str(aaa),set-var(check.a),concat(b),set-var(check.b)]"
    text += "%[var(check.b),unset-var(check.a),set-var(check.c)]%[var(check.a)]%[var(check.b)]%[var(check.c)]"
    assert written(text) == b"aaab" * 4


def test_variables_that_do_not_fit_are_not_set() -> None:
    """The room of one run is bounded; what was set before stays."""
    formats = Formats()
    big = "x" * 3000
    text = f"%[str({big}),set-var(check.a),length]%[str({big}),set-var(check.b),length]"
    text += "%[str(y),set-var(check.a)]%[var(check.a)]%[var(check.b)]"
    assert evaluate(formats.format(text, "test"))[1] == b"30003000yy"


@pytest.mark.parametrize(
    ("expression", "length"),
    [
        (f"str({'x' * 1000}),{','.join(['hex'] * 5)}", b"16384"),
        (f"str({'x' * 1000}),set-var(check.a),{','.join(['concat(,check.a)'] * 16)}", b"16383"),
        (f"str({'x' * 1000}),be2hex(-,1),be2hex(-,1),be2hex(-,1)", b"16382"),
        (f"str({'x' * 1000}),regsub(x,{'y' * 29},g)", b"16384"),
        (f"bin({'ff' * 1800}),{','.join(['url_enc'] * 5)}", b"16383"),
        (f"str({'x' * 1000}),{','.join(['base64'] * 12)}", b""),
    ],
)
def test_values_as_long_as_the_buffer(expression: str, length: bytes) -> None:
    """HAProxy cuts them, or has none: run against 2.6.12 with its 16384 bytes."""
    assert written(f"%[{expression},length]") == length


@pytest.mark.parametrize(
    ("op", "why"),
    [
        (Op(99), b"unknown operation of a format"),
        (Op(lib.RF_CONV_LAST + 1), b"unknown operation of a format"),
        (Op(lib.RF_FETCH_PAYLOAD, -1), b"a payload at no place"),
        (Op(lib.RF_FETCH_PAYLOAD, 0, 2**31), b"a payload at no place"),
        (Op(lib.RF_FETCH_PAYLOAD_LV, 0, 0), b"a payload with a length at no place"),
        (Op(lib.RF_FETCH_PAYLOAD_LV, 3 << 32, 1), b"a payload with a length at no place"),
        (Op(lib.RF_FETCH_DATE, 0, 3), b"a date in no unit"),
        (Op(lib.RF_FETCH_RAND, -1), b"a random number of no range"),
        (Op(lib.RF_FETCH_FACT, -1), b"a fact of no number"),
        (Op(lib.RF_FETCH_VAR, -1), b"a variable of no number"),
        (Op(lib.RF_CONV_SET_VAR, 2**32), b"a variable of no number"),
        (Op(lib.RF_CONV_BE2HEX, 0), b"pieces of no size"),
        (Op(lib.RF_CONV_JSON, 5), b"json of no encoding"),
        (Op(lib.RF_CONV_REGSUB, text=b"("), b"regex '(' is invalid (error=missing closing parenthesis, erroffset=1)"),
    ],
)
def test_operations_that_cannot_be(op: Op, why: bytes) -> None:
    """They are refused when a program is made, not found when it runs."""
    assert evaluate([op]) == (lib.RF_BAD, why)


CODES = [
    *range(lib.RF_OP_TEXT, lib.RF_OP_TOTAL + 1),
    *range(lib.RF_FETCH_TEXT, lib.RF_FETCH_LAST + 1),
    *(code for code in range(lib.RF_CONV_ADD, lib.RF_CONV_LAST + 1) if code != lib.RF_CONV_REGSUB),
]
SMALL = st.integers(-3, 9)
OPS = st.builds(Op, st.sampled_from(CODES), SMALL, SMALL, st.binary(max_size=4), st.binary(max_size=4))


@given(st.lists(OPS, max_size=12), st.binary(max_size=60), st.booleans(), st.integers(0, 40))
def test_any_operations_end(ops: list[Op], heard: bytes, http: bool, out_max: int) -> None:
    """Whatever is asked of whatever was heard: a length, or a refusal; and a cut text is the beginning of the whole."""
    length, text = evaluate(ops, heard, http=http, facts=[b"a", b"bc"])
    assert length == lib.RF_BAD or length == len(text) <= OUT_MAX
    if length >= 0:
        assert evaluate(ops, heard, http=http, facts=[b"a", b"bc"], out_max=out_max) == (length, text[:out_max])
