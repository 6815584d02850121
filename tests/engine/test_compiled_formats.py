"""Formats compiled for one program: operations, facts, variables, and what is refused by name."""

from __future__ import annotations

import pytest

from risefall.engine._native import lib
from risefall.engine.converters import CONVERTERS
from risefall.engine.fetches import FETCHES
from risefall.engine.formats import LOG_VARIABLES, Formats
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Sample
from sample_kit import evaluate


def test_a_plain_text_is_one_operation() -> None:
    """And nothing is none."""
    assert Formats().format("a  b%%", "test") == [Op(lib.RF_OP_TEXT, text=b"a  b%")]
    assert Formats().format("", "test") == []


def test_facts_and_variables_are_shared() -> None:
    """Numbers belong to the program, in the order of first use."""
    formats = Formats()
    assert formats.format("%s", "test") == [Op(lib.RF_OP_FACT, 0)]
    assert formats.expression("be_id", "test") == [Op(lib.RF_FETCH_FACT, 1), Op(lib.RF_CONV_INT)]
    assert formats.expression("srv_name", "test") == [Op(lib.RF_FETCH_FACT, 0)]
    assert formats.facts == ["srv_name", "be_id"]
    assert formats.expression("var(check.b),add(check.a)", "test") == [
        Op(lib.RF_FETCH_VAR, 0),
        Op(lib.RF_CONV_ADD, 1, 1),
    ]
    assert (formats.variable("check.a"), formats.variable("check.b"), formats.variable("check.c")) == (1, 0, 2)


def test_environment() -> None:
    """Read when the program is made; unset is undefined."""
    formats = Formats({b"HERE": b"x\xff"})
    assert evaluate(formats.format("<%[env(HERE)]><%[env(NOT)]>", "test"))[1] == b"<x\xff><>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("%[wt6(1)]", "the fetch 'wt6' is not supported"),
        ("%[str(a),wt6]", "the converter 'wt6' is not supported"),
        ("%[srv_is_up(b/s)]", "'srv_is_up(b/s)': only of the server that is checked"),
        ("%lc", "the log variable '%lc' is not supported"),
        ("%{+X}Ts", "the log variable '%Ts' in hexadecimal is not supported"),
        ("%[var(txn.a)]", "variable 'txn.a': only the scope 'check' is supported"),
        ("%[var(a)]", "'a' is no variable: it begins with its scope, such as 'check.'"),
        ("%[bin(00),add(1)]", "converter 'add' cannot be applied to what 'bin' gives"),
        ("%[str(a),b64dec,not]", "converter 'not' cannot be applied to what 'b64dec' gives"),
        ("%[str(a),bytes(x)]", "'bytes': argument 1 has to be an integer, got 'x'"),
        ("%[str(a),bytes]", "'bytes': missing arguments (got 0, wants 1)"),
        ("%[str(a,b)]", "'str': too many arguments (got 2, takes 1)"),
        ("%[date(0,h)]", "'date': argument 2 is one of s, ms, us, got 'h'"),
        ("%[str(a),regsub(a,b,x)]", "'regsub': invalid flag 'x', only 'i' and 'g' are supported"),
        ("%[str(a]", "'str': expected ')' at position 9"),
    ],
)
def test_refused(text: str, why: str) -> None:
    """With the place in the configuration and the name of what is missing."""
    with pytest.raises(NotChecked) as caught:
        Formats().format(text, "on-error")
    assert str(caught.value) == f"on-error: {why}"


def test_an_expression_is_no_format() -> None:
    """A `%` begins nothing there."""
    with pytest.raises(NotChecked, match="status-code: missing fetch method at position 1"):
        Formats().expression("%[status]", "status-code")


@pytest.mark.parametrize("name", LOG_VARIABLES)
def test_every_log_variable_runs(name: str) -> None:
    """Alone, and in quotes."""
    formats = Formats()
    plain = formats.format(f"%{name}", "test")
    quoted = formats.format(f"%{{+Q}}{name}", "test")
    written = evaluate(plain, facts=[b"fact"])[1]
    assert evaluate(quoted, facts=[b"fact"])[1] == b'"' + written + b'"'


ARGUMENTS = {
    "bool": ("1",),
    "srv_is_up": ("/",),
    "bin": ("00",),
    "int": ("1",),
    "var": ("check.a",),
    "set-var": ("check.a",),
    "unset-var": ("check.a",),
    "strcmp": ("check.a",),
    "json": ("utf8",),
    "url_enc": ("query",),
    "be2dec": ("-", "2"),
    "be2hex": ("-", "2"),
    "uuid": ("4",),
    "date": ("1", "ms"),
    "iif": ("a", "b"),
    "field": ("1", "2"),
    "word": ("1", "2"),
    "regsub": ("1", "2"),
    "res.payload": ("1", "2"),
    "payload": ("1", "2"),
    "res.payload_lv": ("1", "2"),
    "payload_lv": ("1", "2"),
}


@pytest.mark.parametrize(
    ("text", "sample"),
    [*((name, FETCHES[name]) for name in FETCHES), *((f"str(12),{name}", CONVERTERS[name]) for name in CONVERTERS)],
)
def test_every_name_is_known_to_the_native_part(text: str, sample: Sample) -> None:
    """Each compiles to operations that it takes."""
    args = ARGUMENTS.get(text.rpartition(",")[2], ("1",))[: sample.most] if sample.most else ()
    ops = Formats({}).expression(text + (f"({','.join(args)})" if args else ""), "test")
    length, why = evaluate([*ops, Op(lib.RF_OP_EMIT)], facts=[b"1"])
    assert length >= 0, why
