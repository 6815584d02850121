"""Probes without any engine or socket: verdicts, texts, deadlines, ways to close."""

from __future__ import annotations

import errno
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_kit import GET, HERE, MS, agent_program, http_program, run_probe, spec, tcp_program
from risefall.config.haproxy.model import Expect, ExpectRule, Header, HeaderMatch, HttpSendRule, Match
from risefall.engine import native
from risefall.engine.native import Probe
from risefall.state.exchange import AdminWord, WeightKind
from risefall.status import Status, Verdict

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-State: up, 2, "a,b"\r\nx-state: down\r\n\r\nhello'


def expect(kind: Expect, **words: object) -> ExpectRule:
    return ExpectRule(HERE, 2, kind, **words)  # type: ignore[arg-type]


def request_bytes(rule: HttpSendRule, **more: object) -> bytes:
    probe = Probe(http_program(request=rule, **more), spec())  # type: ignore[arg-type]
    probe.start(0)
    probe.connected(0)
    return probe.want().out


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (HttpSendRule(HERE, 1), b"OPTIONS / HTTP/1.0\r\n\r\n"),
        (HttpSendRule(HERE, 1, "HEAD", "/x", version="HTTP/1.1"), b"HEAD /x HTTP/1.1\r\nconnection: close\r\n\r\n"),
        (
            HttpSendRule(
                HERE, 1, "GET", "/", version="HTTP/1.1", headers=(Header("Host", "foo"), Header("User-Agent", "my agent"))
            ),
            b"GET / HTTP/1.1\r\nhost: foo\r\nuser-agent: my agent\r\nconnection: close\r\n\r\n",
        ),
        (
            HttpSendRule(HERE, 1, "POST", "/x", version="HTTP/1.1"),
            b"POST /x HTTP/1.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (
            HttpSendRule(
                HERE, 1, "PUT", "/a", version="HTTP/1.1", body="he llo",
                headers=(Header("Host", "foo"), Header("X", "1"), Header("X", "2")),
            ),
            b"PUT /a HTTP/1.1\r\nhost: foo\r\nx: 1\r\nx: 2\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhe llo",
        ),
        (HttpSendRule(HERE, 1, "FOO", "x", version="BAR"), b"FOO x BAR\r\ncontent-length: 0\r\n\r\n"),
        (HttpSendRule(HERE, 1, "HEAD", "/x", version="HTTP/0.9"), b"HEAD /x HTTP/0.9\r\n\r\n"),
        (HttpSendRule(HERE, 1, "GET", "/x", version="HTTP/2.0"), b"GET /x HTTP/1.1\r\nconnection: close\r\n\r\n"),
        (
            HttpSendRule(HERE, 1, "GET", "/", version="HTTP/1.1", headers=(Header("Connection", "keep-alive"),)),
            b"GET / HTTP/1.1\r\n\r\n",
        ),
        (
            HttpSendRule(HERE, 1, "GET", "/", headers=(Header("Connection", "keep-alive"),)),
            b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        ),
        (HttpSendRule(HERE, 1, "GET", "/", headers=(Header("X", ""), Header("Content-Length", "9"))), b"GET / HTTP/1.0\r\n\r\n"),
    ],
)  # fmt: skip
def test_the_request_is_haproxys_to_the_byte(rule: HttpSendRule, expected: bytes) -> None:
    """The table of spec §3.8."""
    assert request_bytes(rule) == expected


@pytest.mark.parametrize(
    ("rules", "reply", "status", "code", "text"),
    [
        ((), OK, Status.L7OK, 200, b""),
        ((), b"HTTP/1.1 302 Found\r\n\r\n", Status.L7OK, 302, b""),
        ((), b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Status.L7STS, 503, b"Service Unavailable"),
        ((), b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Status.L7STS, 100, b"Continue"),
        ((), b"HTTP/1.1 500\r\n\r\n", Status.L7STS, 500, b""),
        ((), b"garbage\n", Status.L7RSP, 0, b""),
        ((), b"", Status.L7RSP, 0, b""),
        ((), b"HTTP/1.1 200 OK\r\nX: 1\r\n", Status.L7RSP, 0, b""),
        ((), b"HTTP/1.0 200 OK\n\n", Status.L7OK, 200, b""),
        ((expect(Expect.STATUS, statuses=((201, 201), (203, 210))),), OK, Status.L7STS, 200, b"OK"),
        ((expect(Expect.STATUS, statuses=((200, 200),), negate=True),), OK, Status.L7STS, 200, b"OK"),
        ((expect(Expect.RSTATUS, pattern="^2[0-9]0$"),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.STRING, pattern="ell"),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.STRING, pattern="bye"),), OK, Status.L7RSP, 200, b"HTTP content check did not match"),
        (
            (expect(Expect.STRING, pattern="hello", negate=True),),
            OK,
            Status.L7RSP,
            200,
            b"HTTP check matched unwanted content",
        ),
        ((expect(Expect.RSTRING, pattern="^h.*o$"),), OK, Status.L7OK, 200, b""),
        (
            (expect(Expect.STRING, pattern="x", negate=True),),
            b"HTTP/1.1 204 No\r\n\r\n",
            Status.L7RSP,
            204,
            b"HTTP content check could not find a response body",
        ),
        (
            (expect(Expect.STATUS, statuses=((201, 201),), comment="my comment"),),
            OK,
            Status.L7STS,
            200,
            b"OK comment: my comment",
        ),
        ((expect(Expect.STATUS, statuses=((201, 201),), error_status="L4CON"),), OK, Status.L4CON, 200, b"OK"),
        ((expect(Expect.STATUS, statuses=((200, 200),), ok_status="L6OK"),), OK, Status.L6OK, 200, b""),
        ((expect(Expect.HDR, name=HeaderMatch("X-STATE")),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.HDR, name=HeaderMatch("x-state"), value=HeaderMatch("2")),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.FHDR, name=HeaderMatch("x-state"), value=HeaderMatch("2")),), OK, Status.L7STS, 200, b"OK"),
        ((expect(Expect.FHDR, name=HeaderMatch("x-state"), value=HeaderMatch("down")),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.HDR, name=HeaderMatch("x-state"), value=HeaderMatch('"a,b"')),), OK, Status.L7OK, 200, b""),
        ((expect(Expect.HDR, name=HeaderMatch("x-state"), value=HeaderMatch("UP")),), OK, Status.L7STS, 200, b"OK"),
        (
            (expect(Expect.HDR, name=HeaderMatch("^X-S", Match.REG), value=HeaderMatch("ow", Match.SUB)),),
            OK,
            Status.L7OK,
            200,
            b"",
        ),
        (
            (expect(Expect.STRING, pattern="ab"),),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=1\r\nb\r\n0\r\n\r\n",
            Status.L7OK,
            200,
            b"",
        ),
    ],
)
def test_verdicts_of_httpchk(
    rules: tuple[ExpectRule, ...], reply: bytes, status: Status, code: int, text: bytes
) -> None:
    """Spec §3.9 row by row, as 2.6 says it."""
    result = run_probe(http_program(*rules), [reply])
    assert (result.status, result.code, result.text) == (status, code, text)


def test_a_reply_without_reason_tells_its_rule_in_3() -> None:
    result = run_probe(http_program(dialect="3"), [b"HTTP/1.1 500\r\n\r\n"])
    assert result.text == b"TCPCHK did not match content(status codes) at step 2"


@pytest.mark.parametrize(("stopped", "status"), [(False, Status.L7OKC), (True, Status.L7STS)])
def test_disable_on_404(stopped: bool, status: Status) -> None:
    """A 404 passes conditionally only while the server is not stopped, and beats every expect rule."""
    program = http_program(expect(Expect.STATUS, statuses=((200, 200),)), disable_on_404=True)
    probe = Probe(program, spec())
    probe.facts(stopped=stopped)
    result = run_probe(program, [b"HTTP/1.1 404 Not Found\r\n\r\n"], probe=probe)
    assert (result.status, result.code) == (status, 404)


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        (b"up\n", Status.L7OK, b"via agent : up"),
        (b"UP\r\n", Status.L7OK, b"via agent : UP"),
        (b"down # why\n", Status.L7STS, b"via agent : down (why)"),
        (b"foo down\n", Status.L7STS, b"via agent : down (foo)"),
        (b"foo down # why\n", Status.L7STS, b"via agent : down (why)"),
        (b"foo up # fine\n", Status.L7OK, b"via agent : up (foo)"),
        (b"failed\n", Status.CHECKED, b"agent reports an error : failed"),
        (b"down#x\n", Status.CHECKED, b"agent reports an error : down#x"),
        (b"75\n", Status.CHECKED, b"agent reports an error : 75"),
        (b"75%x\n", Status.CHECKED, b"agent warns : Trailing garbage in weight string"),
        (b"maxconn:x\n", Status.CHECKED, b"agent warns : maxconn string empty or preceded by garbage"),
        (b"\n", Status.CHECKED, b""),
        (b"# only a text\n", Status.CHECKED, b""),
        (b"down up\nignored", Status.L7OK, b"via agent : up"),
        (b"weight:50%\n", Status.CHECKED, b"agent reports an error : weight:50%"),
    ],
)
def test_agent_lines(line: bytes, status: Status, text: bytes) -> None:
    """Spec §4.2, §4.3."""
    result = run_probe(agent_program(), [line])
    assert (result.status, result.text, result.code) == (status, text, 0)


def test_agent_words_of_every_category() -> None:
    result = run_probe(agent_program(), [b"drain maint ready,5% 60%\tmaxconn:30 up\n"])
    assert result.admin is AdminWord.READY
    assert (result.weight_kind, result.weight) == (WeightKind.RELATIVE, 60)
    assert result.maxconn == 30
    assert result.verdict is Verdict.PASSED
    assert run_probe(agent_program(dialect="3"), [b"weight:7\n"]).weight_kind is WeightKind.ABSOLUTE


def test_an_incomplete_line_repeats_the_verdict_before() -> None:
    """Trap 25; a NUL makes a line incomplete as well."""
    for pieces in ([b"up"], [b"up\0\n"]):
        program = agent_program()
        probe = Probe(program, spec())
        probe.facts(last_status=Status.L7STS)
        result = run_probe(program, pieces, probe=probe)
        assert (result.status, result.text) == (Status.L7STS, b"Ignoring incomplete line from agent")


def test_a_silent_agent_is_told_with_its_step() -> None:
    result = run_probe(agent_program("hello\\n"), [])
    assert (result.status, result.text) == (Status.L7RSP, b"TCPCHK got an empty response at step 2")


@pytest.mark.parametrize(
    ("words", "connect_ms", "total_ms"),
    [
        ({}, 1000, 1000),
        ({"connect_ms": 200}, 1000, 1000),  # trap 5
        ({"check_ms": 700}, 1000, 700),
        ({"check_ms": 700, "connect_ms": 200}, 200, 700),
        ({"check_ms": 5000, "connect_ms": 2000}, 1000, 5000),  # trap 6
        ({"check_ms": 300, "late_check_timeout": 1}, 1000, 1000 - 50),  # trap 7: not before the connect deadline
    ],
)
def test_deadlines(words: dict[str, int], connect_ms: int, total_ms: int) -> None:
    """Spec §2.3; the connection stands after 50 ms. total_ms counts from there where `timeout check` is set."""
    probe = Probe(http_program(), spec(**words))
    probe.start(0)
    assert probe.want().deadline_ns == connect_ms * MS
    probe.connected(50 * MS)
    expected = total_ms * MS + (50 * MS if "check_ms" in words else 0)
    assert probe.want().deadline_ns == expected
    probe.time(expected - 1)
    assert probe.want().kind == native.SEND
    probe.time(expected)
    assert probe.result().status is Status.L7TOUT


def test_failures_by_phase() -> None:
    """Spec §3.4, §3.5: where an errno arose decides the status; our own wants blame nobody."""
    cases = [
        (native.AT_STREAM, errno.ECONNREFUSED, Status.L4CON, b"Connection refused", False),
        (native.AT_CONNECT, errno.ENETUNREACH, Status.L4CON, b"General socket error (Network is unreachable)", False),
        (
            native.AT_SOCKET,
            errno.EMFILE,
            Status.SOCKERR,
            b"Too many sockets on the process (Too many open files)",
            True,
        ),
        (native.AT_CONNECT, errno.EADDRNOTAVAIL, Status.SOCKERR, None, True),
    ]
    for where, error, status, text, self_blame in cases:
        probe = Probe(tcp_program(), spec())
        probe.start(0)
        probe.failed(where, error, MS)
        result = probe.result()
        assert (result.status, result.self_blame, result.error) == (status, self_blame, error)
        assert text is None or result.text == text
    assert run_probe(http_program(), [], ending="rst").status is Status.SOCKERR
    assert (
        run_probe(http_program(dialect="3"), [], ending="rst").text
        == b"ECONNRESET returned by OS (Connection reset by peer)"
    )
    assert run_probe(http_program(expect(Expect.STRING, pattern="x")), [OK[:-2]], ending="rst").status is Status.L7RSP


def test_a_plain_connect_is_reset_unseen() -> None:
    """Trap 8: the handshake's last ACK is withheld, and an RST takes its place."""
    probe = Probe(tcp_program(), spec())
    probe.start(0)
    assert probe.want().how & 1
    probe.connected(MS)
    assert probe.want().close == native.CLOSE_RST
    assert (probe.result().status, probe.result().text) == (Status.L4OK, b"")


def test_a_regex_that_explodes_is_a_failed_check() -> None:
    """The match limit ends the search; the probe says so instead of hanging."""
    bomb = expect(Expect.RSTRING, pattern="^(a+)+$")
    body = b"a" * 5000 + b"b"
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    assert run_probe(http_program(bomb), [reply]).status is Status.L7RSP


PROGRAMS = [
    http_program(),
    http_program(expect(Expect.STRING, pattern="hello")),
    http_program(expect(Expect.STRING, pattern="hello", negate=True)),
    http_program(expect(Expect.STATUS, statuses=((200, 200),)), expect(Expect.RSTRING, pattern="l+o"), dialect="3"),
    http_program(expect(Expect.HDR, name=HeaderMatch("x-state"), value=HeaderMatch("down")), disable_on_404=True),
    http_program(request=None),
    agent_program(),
]
REPLIES = st.one_of(
    st.binary(max_size=300),
    st.sampled_from(
        [
            OK,
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nzz",
            b"down, 50% # why\r\n",
        ]
    ),
)


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(range(len(PROGRAMS))),
    REPLIES,
    st.lists(st.integers(0, 300)),
    st.sampled_from(["eof", "rst", "quiet"]),
)
def test_where_the_reply_is_cut_changes_nothing(which: int, reply: bytes, cuts: list[int], ending: str) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut <= len(reply)), len(reply)]
    pieces = [reply[a:b] for a, b in itertools.pairwise(edges)]
    whole = run_probe(PROGRAMS[which], [reply], ending=ending)
    cut = run_probe(PROGRAMS[which], pieces, ending=ending)
    assert (whole.status, whole.code, whole.text) == (cut.status, cut.code, cut.text)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000,
        b"HTTP/1.1 " + b"2" * 20000,
        b"HTTP/1.1 200 " + b"O" * 20000,
        b"\0" * 20000,
        b"HTTP/1.1 200 OK\r\nX\0: ab\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(101)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
    ],
)
def test_a_hostile_reply_ends_at_the_buffer(reply: bytes) -> None:
    """Endless headers, a huge status line, NULs: L7RSP once it is certain, with no more than one buffer read."""
    result = run_probe(http_program(), [reply[i : i + 100] for i in range(0, len(reply), 100)], ending="quiet")
    assert (result.status, result.text) == (Status.L7RSP, b"")


def test_get_is_the_request_of_these_tests() -> None:
    assert request_bytes(GET) == b"GET / HTTP/1.0\r\n\r\n"
