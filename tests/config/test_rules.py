"""How check rules merge with each other and with defaults: spec §3.2, §3.8, traps 10 and 11."""

from __future__ import annotations

import pytest

from risefall.config.haproxy import plan, read
from risefall.config.haproxy.model import (
    CheckKind,
    ConnectRule,
    Expect,
    ExpectRule,
    Header,
    HttpSendRule,
    RuleSet,
    TcpSendRule,
)
from risefall.config.text import Source

BOTH = pytest.mark.parametrize("dialect", ["2.6", "3"])


def rules(defaults: str, backend: str, dialect: str = "2.6", more: str = "") -> tuple[RuleSet, tuple[str, ...]]:
    """The rule set of one backend, and the warnings."""
    text = f"{more}defaults\n{defaults}\nbackend b\n{backend}\n    server s1 127.0.0.1:80 check\n"
    config = read([Source("t.cfg", text)], dialect=dialect)
    return plan(config)[0].rules, config.warnings


def shape(found: RuleSet) -> list[str]:
    """The rules as short words."""
    words = []
    for rule in found.rules:
        match rule:
            case HttpSendRule():
                words.append(f"{rule.step} {rule.method} {rule.uri} {rule.version}")
            case ExpectRule():
                words.append(f"{rule.step} expect {'!' if rule.negate else ''}{rule.kind.value} {rule.pattern}")
            case ConnectRule():
                words.append(f"{rule.step} connect")
            case TcpSendRule():
                words.append(f"{rule.step} send {rule.data.decode()}")
    return words


@BOTH
@pytest.mark.parametrize(
    ("defaults", "backend", "kind", "expected"),
    [
        ("", "", CheckKind.TCP, []),
        ("", "option httpchk", CheckKind.HTTP, ["1 OPTIONS / HTTP/1.0"]),
        ("", "option httpchk /x", CheckKind.HTTP, ["1 OPTIONS /x HTTP/1.0"]),
        ("", "option httpchk HEAD /x", CheckKind.HTTP, ["1 HEAD /x HTTP/1.0"]),
        ("", "option httpchk HEAD /x HTTP/1.1", CheckKind.HTTP, ["1 HEAD /x HTTP/1.1"]),
        ("", "http-check expect status 200\noption httpchk", CheckKind.HTTP, ["1 OPTIONS / HTTP/1.0", "2 expect status 200"]),
        ("option httpchk GET /d\nhttp-check expect status 200", "", CheckKind.HTTP, ["1 GET /d HTTP/1.0", "2 expect status 200"]),
        ("option httpchk GET /d", "http-check expect status 200", CheckKind.HTTP, ["1 expect status 200"]),
        ("option httpchk GET /d\nhttp-check expect status 204", "option httpchk", CheckKind.HTTP, ["1 OPTIONS / HTTP/1.0"]),
        ("option httpchk GET /d", "http-check send-state", CheckKind.HTTP, ["1 GET /d HTTP/1.0"]),
        ("option httpchk GET /d", "option tcp-check", CheckKind.TCP_CHECK, []),
        ("option tcp-check\ntcp-check send a", "tcp-check send b", CheckKind.TCP_CHECK, ["1 send b"]),
        ("option tcp-check\ntcp-check send a", "", CheckKind.TCP_CHECK, ["1 send a"]),
        ("option httpchk", "option redis-check", CheckKind.REDIS, []),
        ("", "option redis-check\noption httpchk", CheckKind.HTTP, ["1 OPTIONS / HTTP/1.0"]),
        ("", "option httpchk GET /o\nhttp-check send uri /s", CheckKind.HTTP, ["1 GET /s HTTP/1.0"]),
        ("", "http-check send uri /s\noption httpchk GET /o", CheckKind.HTTP, ["1 GET /o HTTP/1.0"]),
        ("", "option httpchk GET /o\nhttp-check connect", CheckKind.HTTP, ["1 connect", "2 GET /o HTTP/1.0"]),
        (
            "",
            "option httpchk GET /o\nhttp-check connect\nhttp-check send uri /1\nhttp-check expect status 200\n"
            "http-check connect\nhttp-check send uri /2 ver HTTP/1.1",
            CheckKind.HTTP,
            ["1 connect", "2 GET /1 HTTP/1.0", "3 expect status 200", "4 connect", "5 OPTIONS /2 HTTP/1.1"],
        ),
        (
            "",
            "option httpchk\nhttp-check comment one\nhttp-check expect ! string bad",
            CheckKind.HTTP,
            ["1 OPTIONS / HTTP/1.0", "3 expect !string bad"],
        ),
    ],
)  # fmt: skip
def test_lists(dialect: str, defaults: str, backend: str, kind: CheckKind, expected: list[str]) -> None:
    found, _ = rules(defaults, backend, dialect)
    assert (found.kind, shape(found)) == (kind, expected)


@BOTH
@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("http-check connect\nhttp-check expect status 200\noption httpchk GET /o",
         ["1 connect", "2 GET /o HTTP/1.0", "3 expect status 200"]),
        ("http-check expect status 200\nhttp-check send uri /s\noption httpchk GET /o",
         ["1 GET /o HTTP/1.0", "2 expect status 200", "3 OPTIONS /s HTTP/1.0"]),
        ("http-check send uri /1\nhttp-check send uri /2\noption httpchk GET /o",
         ["1 GET /o HTTP/1.0", "2 OPTIONS /2 HTTP/1.0"]),
        ("http-check connect\nhttp-check connect\noption httpchk GET /o", ["1 connect", "2 GET /o HTTP/1.0", "3 connect"]),
        ("http-check connect\noption httpchk GET /o\nhttp-check send uri /s", ["1 connect", "2 GET /s HTTP/1.0"]),
        ("http-check set-var(check.x) int(1)\nhttp-check connect\noption httpchk GET /o",
         ["2 connect", "3 GET /o HTTP/1.0"]),
        ("option httpchk PUT /a\nhttp-check send uri /s\noption httpchk /b", ["1 PUT /b HTTP/1.0"]),
        ("option httpchk PUT /a\noption httpchk /b", ["1 OPTIONS /b HTTP/1.0"]),
    ],
)  # fmt: skip
def test_rules_before_their_option_keep_any_order(dialect: str, backend: str, expected: list[str]) -> None:
    """HAProxy asks for an order only behind the option; the first request of each row was seen on the wire of 2.6."""
    assert shape(rules("", backend, dialect)[0]) == expected


def test_repeated_tcp_check_differs_between_versions() -> None:
    both = ("option tcp-check\ntcp-check send a", "option tcp-check")
    assert shape(rules(*both, "2.6")[0]) == ["1 send a"]
    assert shape(rules(*both, "3")[0]) == []


def test_404_belongs_to_the_proxy_in_26_and_to_the_rules_in_3() -> None:
    both = ("option httpchk\nhttp-check disable-on-404", "http-check expect status 200")
    assert rules(*both, "2.6")[0].disable_on_404
    assert not rules(*both, "3")[0].disable_on_404
    own = ("", "http-check disable-on-404\noption httpchk\nhttp-check expect status 200")
    assert rules(*own, "3")[0].disable_on_404


@BOTH
def test_rules_without_their_option_are_ignored_and_told(dialect: str) -> None:
    found, warnings = rules("", "http-check expect status 200", dialect)
    assert found.kind is CheckKind.TCP
    assert "uses http-check rules without 'option httpchk'" in warnings[0]


@BOTH
def test_headers_are_replaced_as_a_whole(dialect: str) -> None:
    found, _ = rules("", "http-check send hdr A 1 hdr B 2 body x\noption httpchk POST /o", dialect)
    (send,) = found.rules
    assert isinstance(send, HttpSendRule)
    assert (send.headers, send.body, send.method) == ((Header("A", "1"), Header("B", "2")), "x", "POST")


def test_headers_hidden_in_the_version() -> None:
    line = r"option httpchk GET /x HTTP/1.1\r\nHost:\ www\r\nX:\ 1"
    for dialect in ("2.6", "3"):
        found, warnings = rules("", line, dialect)
        (send,) = found.rules
        assert isinstance(send, HttpSendRule)
        headers = (Header("Host", "www", hidden=True), Header("X", "1", hidden=True))
        assert (send.version, send.headers) == ("HTTP/1.1", headers)
        assert "hidden in the version" in warnings[0]


def test_host_argument_of_newer_versions() -> None:
    (send,) = rules("", "option httpchk GET / HTTP/1.1 www", "3")[0].rules
    assert isinstance(send, HttpSendRule)
    assert send.headers == (Header("Host", "www"),)


@BOTH
def test_expect_options(dialect: str) -> None:
    line = "http-check expect min-recv 5 comment why ok-status l7okc error-status L4CON ! rstring x"
    (rule,) = [one for one in rules("", f"option httpchk\n{line}", dialect)[0].rules if isinstance(one, ExpectRule)]
    assert (rule.kind, rule.negate, rule.min_recv, rule.comment, rule.ok_status, rule.error_status) == (
        Expect.RSTRING, True, 5, "why", "L7OKC", "L4CON",
    )  # fmt: skip


def test_healthcheck_section() -> None:
    more = "healthcheck h\n    type httpchk GET /h\n    http-check expect status 204\n"
    text = f"{more}backend b\n    option redis-check\n    server s1 127.0.0.1:80 check healthcheck h\n"
    (server,) = plan(read([Source("t.cfg", text)], dialect="3"))
    assert (server.rules.kind, shape(server.rules)) == (CheckKind.HTTP, ["1 GET /h HTTP/1.0", "2 expect status 204"])


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("smtpchk", ("HELO", "localhost")), ("smtpchk EHLO mx", ("EHLO", "mx")), ("smtpchk FOO bar", ("HELO", "localhost")),
        ("mysql-check", ()), ("mysql-check user u", ("user", "u", "post-41")), ("mysql-check user u pre-41", ("user", "u", "pre-41")),
        ("pgsql-check user u", ("user", "u")), ("ldap-check", ()), ("ssl-hello-chk", ()), ("spop-check", ()),
    ],
)  # fmt: skip
def test_presets(line: str, options: tuple[str, ...]) -> None:
    assert rules("", f"option {line}")[0].options == options


@pytest.mark.parametrize(("text", "expected"), [("5x", 5), ("many", 0), ("-1", -1)])
def test_min_recv_is_read_leniently(text: str, expected: int) -> None:
    found, _ = rules("", f"option httpchk\nhttp-check expect min-recv {text} string x")
    assert [rule.min_recv for rule in found.rules if isinstance(rule, ExpectRule)] == [expected]


@BOTH
@pytest.mark.parametrize("pattern", ["(*UTF)a", r"\\Q(\\E", "[[:digit:]]+", "a++"])
def test_patterns_that_only_pcre_reads(dialect: str, pattern: str, recwarn: pytest.WarningsRecorder) -> None:
    """They are left to it, without a word of Python's own."""
    found, _ = rules("", f"option tcp-check\ntcp-check expect rstring {pattern}", dialect)
    assert [rule.kind for rule in found.rules if isinstance(rule, ExpectRule)] == [Expect.RSTRING]
    assert not recwarn.list


@BOTH
def test_what_stands_behind_a_comment_is_passed_over(dialect: str) -> None:
    assert shape(rules("", "option tcp-check\ntcp-check comment a b\ntcp-check send x", dialect)[0]) == ["2 send x"]
