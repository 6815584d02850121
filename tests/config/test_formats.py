"""Log-formats and sample expressions as texts: what they are read into, and where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.config.haproxy.formats import (
    Call,
    Expression,
    Flags,
    FormatError,
    Text,
    Variable,
    parse_expression,
    parse_format,
)


def test_a_plain_text_is_one_piece() -> None:
    """Blanks count, `%%` is a percent sign, and one before punctuation goes."""
    assert parse_format(" a  b ") == (Text(" a  b "),)
    assert parse_format("50%% of %<x>") == (Text("50% of <x>"),)
    with pytest.raises(FormatError, match="truncated line after '%'"):
        parse_format("end%")
    assert parse_format("") == ()
    assert parse_format("a\0%[") == (Text("a"),)


def test_expressions_in_a_text() -> None:
    """Fetch, arguments, converters, and where each stands."""
    expression = Expression(Call("res.payload", ("0", "3"), 4), (Call("lower", None, 21), Call("x", (), 27)))
    assert parse_format("a%%%[res.payload(0,3),lower,x()]]") == (
        Text("a%"),
        Expression(
            Call("res.payload", ("0", "3"), 5), (Call("lower", None, 22), Call("x", (), 28)), flags=expression.flags
        ),
        Text("]"),
    )
    assert parse_expression("srv_name") == Expression(Call("srv_name", None, 0))
    assert parse_expression("str(a),,lower") == Expression(Call("str", ("a",), 0), (Call("lower", None, 8),))


def test_variables_and_flags() -> None:
    """Flags hold for one piece, those of `%o` for all that follow."""
    quote, escape = Flags.QUOTE.value, Flags.ESCAPE.value
    assert parse_format("%s") == (Variable("s", 0, 1),)
    assert parse_format("%{+Q}s %b") == (Variable("s", quote, 5), Text(" "), Variable("b", 0, 8))
    assert parse_format("%{+Q}o%s%{-Q,+E}b%s") == (
        Variable("s", quote, 7),
        Variable("b", escape, 16),
        Variable("s", quote, 18),
    )
    assert parse_format("%{foo,+Z}s") == (Variable("s", 0, 9),)


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("str(a b)", "a b"),
        ("str( a )", " a "),
        ("str(a]b)", "a]b"),
        ("str(()", "("),
        ('str("a,b")', "a,b"),
        ("str('a)b')", "a)b"),
        ("str('a'b\"c\")", "abc"),
        ("str(a'b,c'd)", "ab,cd"),
        (r"str(a\nb\tc\rd\\e\"f\'g\ h)", "a\nb\tc\rd\\e\"f'g h"),
        (r'str("a\nb\"c\,d")', 'a\nb"c\\,d'),
        (r"str(a\#b\x41\$c)", r"a\#b\x41\$c"),
        (r"str('a\nb\\c')", r"a\nb\\c"),
        ("str(\\)", "\\"),
        ('str("")', ""),
    ],
)
def test_quotes_and_escapes_in_arguments(text: str, argument: str) -> None:
    """As 2.6 reads them, behind what the line's own quotes did."""
    assert parse_expression(text).fetch.args == (argument,)


def test_arguments() -> None:
    """None at all, no parentheses, an empty one."""
    assert parse_expression("f").fetch.args is None
    assert parse_expression("f()").fetch.args == ()
    assert parse_expression("f(,)").fetch.args == ("", "")
    assert parse_expression("f(a,)").fetch.args == ("a", "")


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("%[]", "missing fetch method", 2),
        ("x%[ str(a)]", "missing fetch method", 3),
        ("%[str(a)", "expected ']' after 'str(a)', but the text ends", 8),
        ("%[str(a) ]", "expected ']' after 'str(a)', but found ' '", 8),
        ("%[date()x]", "expected ']' after 'date()', but found 'x'", 8),
        ("%[str(a]", "'str': expected ')'", 8),
        ('%[str("a)]', "'str': expected ')'", 10),
        ("%[str(a),]", "missing converter after ','", 9),
        ("%[str(a), lower]", "missing converter after ','", 9),
        ("a % b", "unexpected variable name near ' ': a single '%' is written '%%'", 3),
        ("5%5", "unexpected variable name near '5': a single '%' is written '%%'", 2),
        ("%{+Q}%", "flags '{+Q}' without a variable behind them", 1),
        ("%{+Q", "missing '}' after '%{'", 1),
    ],
)
def test_wrong_formats(text: str, message: str, at: int) -> None:
    """What is wrong, and where."""
    with pytest.raises(FormatError) as caught:
        parse_format(text)
    assert (caught.value.message, caught.value.at) == (message, at)


def test_more_behind_an_expression() -> None:
    """An expression alone is the whole word."""
    with pytest.raises(FormatError, match="unexpected ' ' after the expression at position 7"):
        parse_expression("str(a) lower")


@given(st.text(st.sampled_from("%[]{}(),+QosE'\"\\ ab1.")))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text does anything else; without a percent sign it is itself."""
    try:
        pieces = parse_format(text)
    except FormatError as error:
        place = error.at
    else:
        place = 0
        assert "%" in text or pieces == ((Text(text),) if text else ())
    assert 0 <= place <= len(text)
