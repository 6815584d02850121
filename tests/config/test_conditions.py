"""Conditional blocks: spec §9.3."""

from __future__ import annotations

import re

import pytest

from risefall.config.haproxy import read
from risefall.config.haproxy.conditions import Condition
from risefall.config.haproxy.dialect import DIALECTS
from risefall.config.text import Source, Wrong
from risefall.errors import ConfigError

ENV = {"SET": "1", "EMPTY": ""}


def value(text: str, dialect: str = "2.6") -> bool:
    return Condition(text, ".if", ENV, DIALECTS[dialect]).value()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False), ("0", False), ("1", True), ("-1", True), ("!0", True), ("!!1", True), ("1 && 0", False), ("0 || 1", True),
        ("1 || 0 && 0", True), ("(1 || 0) && 0", False), ("defined(SET)", True), ("defined(EMPTY)", True),
        ("defined(NONE)", False), ("streq(a,a)", True), ("streq(a, a)", False), ("strneq(a,b)", True),
        ("feature(OPENSSL)", True), ("feature(QUIC)", False), ("!feature(QUIC) && defined(SET)", True),
        ("version_atleast(2.6)", True), ("version_atleast(2.6.12)", True), ("version_atleast(2.7-dev1)", False),
        ("version_before(2.7-dev1)", True), ("version_before(2.6.12)", False),
    ],
)  # fmt: skip
def test_value(text: str, expected: bool) -> None:
    assert value(text) is expected


def test_newer_haproxy_answers_as_itself() -> None:
    assert value("version_atleast(3.0)", "3")
    assert value("strstr(abc,b)", "3")
    assert value("enabled(EPOLL)", "3")
    with pytest.raises(Wrong):
        value("strstr(abc,b)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("defined()", False), ("defined", False), ('streq("",)', True), ("streq(,)", True), ("version_atleast()", True),
        ("version_atleast(x)", True), ("version_atleast(2.6.12-1)", False), ("version_before(2.6.12.1)", True),
        ("version_atleast(2.6.12x)", True), ("feature", True), ("0x1", True), ("0x0", False),
    ],
)  # fmt: skip
def test_odd_ones_that_haproxy_reads(text: str, expected: bool) -> None:
    assert value(text.replace('"', "")) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true", "unparsable conditional expression"),
        ("1a", "unexpected character 'a' at the end"),
        ("defined(A", r"expected '\)'"),
        ("(1", r"expected '\)'"),
        ("streq(a)", "wants 2"),
        ("streq(a,a,a)", "wants 2 argument"),
        ("defined(A,)", "wants 1 argument"),
        ("(" * 200 + "1", "too many parentheses"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(Wrong, match=message):
        value(text)


def servers(text: str) -> tuple[list[str], tuple[str, ...]]:
    config = read([Source("t.cfg", f"backend b\n{text}")], env=ENV)
    return [server.name for server in config.proxies[0].servers], config.warnings


def test_blocks() -> None:
    text = """
.if defined(NONE)
    server s1 127.0.0.1:1
  .if 1
    server s2 127.0.0.1:1
  .endif
.elif streq("$SET",1)
    server s3 127.0.0.1:1
.elif 1
    server s4 127.0.0.1:1
.else
    server s5 127.0.0.1:1
.endif
    server s6 127.0.0.1:1
"""
    assert servers(text) == (["s3", "s6"], ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".else\n", "lone '.else'"),
        (".endif\n", "lone '.endif'"),
        (".if 1\n.else\n.else\n.endif\n", "'.else' after '.else'"),
        (".if 1\n.else\n.elif 1\n.endif\n", "'.elif' after '.else'"),
        (".if 1\n.endif x\n", "Unexpected argument 'x'"),
        (".if 1\n", "non-terminated"),
        (".iff 1\n", "unknown directive '.iff'"),
        (".if true\n    server s1 127.0.0.1:1\n.endif\n", "unparsable"),
        (".notice a b\n", "Unexpected argument 'b'"),
        ('.if streq("a,b)\n', "unmatched quote"),
    ],
)
def test_wrong_blocks_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        servers(text + "    server last 127.0.0.1:1\n")


def test_a_file_may_say_what_it_likes() -> None:
    assert "watch out" in servers('.warning "watch out"\n')[1][0]
