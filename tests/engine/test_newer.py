"""Converters that HAProxy got after 2.6: known with `--as 3`, refused with `--as 2.6`. Their cases are those of its manual and of RFC 7239."""

from __future__ import annotations

import pytest

from risefall.engine.formats import Formats
from risefall.engine.layout import NotChecked
from sample_kit import evaluate

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.x"
ROWS = [
    ("str('a=b&test=1&c'),param(test)", b"1"),
    ("str('a=b&test&c=d'),param(test)", b""),
    ("str('testing=123&test=4'),param(test)", b"4"),
    ("str('testing=123'),param(test)", b""),
    ("str('test='),param(test)", b""),
    ("str('a=1;test=x&y'),param(test,;)", b"x&y"),
    ("str('a=1'),param(a,;),add(1)", b"2"),
    ("str('for=192.0.2.43;proto=http'),rfc7239_is_valid", b"1"),
    ("str('For=\"[2001:db8:cafe::17]:4711\"'),rfc7239_is_valid", b"1"),
    ("str('for=_gazonk;by=unknown'),rfc7239_is_valid", b"1"),
    ('str(\'for="192.0.2.43:47011";host="a.b:80"\'),rfc7239_is_valid', b"1"),
    ("str('for=192.0.2.43;for=192.0.2.43'),rfc7239_is_valid", b"0"),
    ("str('for=::1'),rfc7239_is_valid", b"0"),
    ("str('for=192.0.2.300'),rfc7239_is_valid", b"0"),
    ("str('proto=ftp'),rfc7239_is_valid", b"0"),
    ("str('nothing'),rfc7239_is_valid", b"0"),
    ("str('for=192.0.2.43;proto=http'),rfc7239_field(for)", b"192.0.2.43"),
    ("str('for=192.0.2.43;proto=http'),rfc7239_field(proto)", b"http"),
    ("str('for=192.0.2.43; proto=http'),rfc7239_field(by)", b""),
    ("str('host=\"a.b:80\"'),rfc7239_field(host)", b"a.b:80"),
    ("str('192.0.2.43:47011'),rfc7239_n2nn", b"192.0.2.43"),
    ("str('192.0.2.43:47011'),rfc7239_n2np", b"47011"),
    ("str('192.0.2.43'),rfc7239_n2np", b""),
    ("str('192.0.2.43:70000'),rfc7239_n2np", b""),
    ("str('[2001:db8:cafe::17]:4711'),rfc7239_n2nn", b"2001:db8:cafe::17"),
    ("str('[2001:db8:cafe::17]:_port'),rfc7239_n2np", b"_port"),
    ("str('_gazonk'),rfc7239_n2nn", b"_gazonk"),
    ("str('unknown:99'),rfc7239_n2nn", b"unknown"),
    ("str('somebody'),rfc7239_n2nn", b""),
    (f"str({TOKEN}),jwt_header_query", b'{"alg":"HS256"}'),
    (f"str({TOKEN}),jwt_payload_query", b'{"a":1}'),
]


@pytest.mark.parametrize(("text", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_what_they_give(text: str, expected: bytes) -> None:
    """A value that is undefined is written as nothing."""
    ops = Formats(newer=True).format(f"%[{text}]", "test")
    assert evaluate(ops)[1] == expected


@pytest.mark.parametrize("name", ["param(a)", "rfc7239_is_valid", "rfc7239_field(for)", "rfc7239_n2nn", "rfc7239_n2np"])
def test_2_6_has_none_of_them(name: str) -> None:
    """They are refused by name."""
    with pytest.raises(NotChecked, match=f"the converter '{name.partition('(')[0]}' is not supported"):
        Formats().format(f"%[str(a),{name}]", "test")


@pytest.mark.parametrize("text", ["param()", "param(a,)", "rfc7239_field(port)", "rfc7239_field"])
def test_arguments_that_cannot_be(text: str) -> None:
    with pytest.raises(NotChecked):
        Formats(newer=True).format(f"%[str(a),{text}]", "test")
