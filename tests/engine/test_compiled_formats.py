"""Formats compiled for one program: operations, facts, variables, and what is refused by name."""

from __future__ import annotations

import pytest

from risefall.config.haproxy.model import ProcessVariable
from risefall.engine._native import lib
from risefall.engine.converters import CONVERTERS
from risefall.engine.fetches import FETCHES
from risefall.engine.formats import LOG_VARIABLES, QUOTED, Formats
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
        ("%[str(a),wt7]", "the converter 'wt7' is not supported"),
        (
            "%[str(a),digest(sm3)]",
            "'digest': the digest 'sm3' is not supported, these are: md5, sha1, sha224, sha256, sha384, sha512",
        ),
        ("%bi", "the log variable '%bi' is not supported"),
        ("%[str(a),set-var(check.a,ifmaybe)]", "set-var: unknown condition 'ifmaybe'"),
        (
            "%[int(1),set-var(proc.a)]",
            "variable 'proc.a': a check reads what 'global' sets, but cannot set what all servers share",
        ),
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
    """Alone, and in quotes where it is a text."""
    formats = Formats()
    plain = formats.format(f"%{name}", "test")
    quoted = formats.format(f"%{{+Q}}{name}", "test")
    written = evaluate(plain, facts=[b"fact"])[1]
    assert evaluate(quoted, facts=[b"fact"])[1] == (b'"' + written + b'"' if name in QUOTED else written)


ARGUMENTS = {
    "ipv4": ("10.0.0.1",),
    "ipv6": ("::1",),
    "bool": ("1",),
    "srv_is_up": ("/",),
    "bin": ("00",),
    "int": ("1",),
    "var": ("check.a",),
    "set-var": ("check.a", "ifset", "ifempty", "ifgt", "iflt"),
    "unset-var": ("check.a",),
    "secure_memcmp": ("check.a",),
    "add_item": ("-", "check.a", "z"),
    "digest": ("md5",),
    "hmac": ("sha256", "check.a"),
    "sha2": ("512",),
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


def test_hexadecimal_numbers() -> None:
    """`%{+X}`: at least four digits of a time, at least two of milliseconds; a text stays as it is."""
    ops = Formats().format("%{+X}o %Ts %ms %rt %lc %ID%b", "test")
    now_ns = 1_700_000_000_015_000_000
    assert evaluate(ops, facts=[b"be"], now_ns=now_ns)[1] == b" 6553F100 0F 0000 0000 be"
    assert evaluate(Formats().format("%rt %rt %{+X}rt", "test"))[1] == b"0 1 0002"


def test_variables_of_the_process() -> None:
    """What `global` sets is set again before the first rule; what is not constant, or nowhere set, is told apart."""
    said = (
        ProcessVariable("proc.a", "str(x)", False),
        ProcessVariable("proc.b", "%[var(proc.a)]-%[int(7)]", True),
        ProcessVariable("proc.c", "int(1)", False),
        ProcessVariable("proc.c", "var(proc.c),add(1)", False),
        ProcessVariable("proc.now", "date", False),
    )
    formats = Formats(process=said)
    assert formats.expression("var(proc.b)", "test") == [Op(lib.RF_FETCH_VAR, 0)]
    assert [(known.variable, known.text) for known in formats.known] == [(1, False), (0, True)]
    formats.expression("var(proc.c)", "test")
    assert [known.variable for known in formats.known] == [1, 0, 2, 2]
    assert formats.expression("var(proc.none)", "test") == [Op(lib.RF_FETCH_VAR, lib.RF_VARIABLE_NONE)]
    with pytest.raises(NotChecked, match="only what is constant can be set in 'global'"):
        formats.expression("var(proc.now)", "test")


def test_unique_id_is_one_for_each_check() -> None:
    """Wherever it stands; without a format it has no value, and one that names itself ends."""
    formats = Formats(unique_id="a%[rand(10)]%ID")
    first = formats.format("%[unique-id,length] %{+Q}ID", "test")
    assert first[0] == Op(lib.RF_FETCH_VAR, 0)
    assert len(formats.known) == 1
    assert formats.known[0].text
    assert evaluate(Formats().format("<%[unique-id]><%ID><%{+Q}ID>", "test"))[1] == b'<><><"">'
