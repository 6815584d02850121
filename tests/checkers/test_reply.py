"""What is made of the bytes of an answer, as the real 2.2.7 was seen to do; and that cuts change nothing but for a regex."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from checkers_kit import check, reading, server
from hypothesis import given
from hypothesis import strategies as st

from risefall.checkers.plan import plan
from risefall.checkers.reply import BUFFER, Reply, SmtpLine, request
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Url

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
MD5 = hashlib.md5(b"hello world").hexdigest()
NO_DATA, STATUS = "Read, no data received from ", "HTTP status code error to"
DIGEST, REGEX = "MD5 digest error to", "Regex match failed"


def url_of(*lines: str) -> Url:
    text = "\n".join(("url {", "path /", *lines, "}"))
    return reading(server(1, check("HTTP_GET", text))).virtual_servers[0].real_servers[0].checkers[0].urls[0]


def read(url: Url, *pieces: bytes) -> Attempt:
    reply = Reply(url)
    for piece in pieces:
        while piece and reply.room:
            piece = reply.feed(piece[: (room := reply.room)]) or piece[room:]
    return reply.end()


ROWS: tuple[tuple[tuple[str, ...], tuple[bytes, ...], str], ...] = (
    # lines of the url, pieces of the reply, and the words of the failure; none for a pass
    ((), (HEAD,), ""),
    ((), (b"ICY 200 OK\r\n\r\n",), ""),
    ((), (b"HTTP/1.0 204 \r\n\r\n",), ""),
    ((), (b"HTTP/1.0 204\r\n\r\n",), STATUS),
    ((), (b"HTTP/1.0  204 OK\r\n\r\n",), STATUS),
    ((), (b"HTTP/1.0 0204 OK\r\n\r\n",), STATUS),
    ((), (b"HTTP/1.0\r\nA: 204 x\r\n\r\n",), STATUS),
    ((), (b"HTTP/1.0 500 No\r\n\r\n",), STATUS),
    (("status_code 500-599",), (b"HTTP/1.0 500 No\r\n\r\n",), ""),
    (("status_code 200 301",), (b"HTTP/1.0 301 Away\r\n\r\n",), ""),
    (("status_code 200 301",), (b"HTTP/1.0 300 Choose\r\n\r\n",), STATUS),
    ((), (b"HTTP/1.0 200 OK\n\nhello",), NO_DATA),
    ((), (), NO_DATA),
    ((), (b"HTTP/1.0 200 OK\r\nX: " + b"y" * BUFFER + b"\r\n\r\n",), NO_DATA),
    ((f"digest {MD5}",), (HEAD + b"hello world",), ""),
    ((f"digest {MD5}",), (HEAD + b"hello world!",), DIGEST),
    ((f"digest {MD5}",), (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world!",), ""),
    ((f"digest {MD5}",), (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello", b" world!", b"!"), ""),
    (('regex "wor.d"',), (HEAD + b"hello world",), ""),
    (('regex "wor.d"', "regex_no_match"), (HEAD + b"hello world",), REGEX),
    (('regex "WORLD"', "regex_options caseless"), (HEAD + b"hello world",), ""),
    (('regex "world.*"',), (HEAD + b"hello world",), REGEX),
    (('regex "d$"',), (HEAD + b"hello world",), REGEX),
    (('regex "hello"', "regex_min_offset 3"), (HEAD + b"hello world",), ""),
    (('regex "hello"', "regex_min_offset 3"), (HEAD, b"hello world"), REGEX),
    (('regex "world"', "regex_max_offset 6"), (HEAD + b"hello world",), REGEX),
    (('regex "world"', "regex_max_offset 6"), (HEAD, b"hello world"), ""),
    (('regex "world"', "regex_max_offset 5"), (HEAD, b"hello world"), REGEX),
    (('regex "world"',), (HEAD + b"hello wo", b"rld"), ""),
    (('regex "(?<=lo )world"',), (HEAD + b"hello wo", b"rld"), ""),
    (('regex "needle"',), (HEAD + b"x" * 9000 + b"needle in hay",), ""),
    (('regex "x+needle"',), (HEAD + b"x" * 9000 + b"needle in hay",), ""),
    (('regex "x{9000}needle"',), (HEAD + b"x" * 9000 + b"needle in hay",), REGEX),
)


@pytest.mark.parametrize(("lines", "pieces", "why"), ROWS)
def test_a_reply(lines: tuple[str, ...], pieces: tuple[bytes, ...], why: str) -> None:
    attempt = read(url_of(*lines), *pieces)
    assert (attempt.verdict, attempt.why if why else "") == (Verdict.FAIL if why else Verdict.PASS, why)


@given(st.binary(max_size=9000), st.integers(0, 9000), st.lists(st.integers(0, 9100), max_size=8))
def test_where_it_is_cut_changes_nothing_without_a_regex(body: bytes, declared: int, cuts: list[int]) -> None:
    """The digest is that of what was declared, the length what came."""
    url = url_of(f"digest {hashlib.md5(body[:declared]).hexdigest()}")
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % declared + body
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    attempt = read(url, *(data[a:b] for a, b in pairwise(places)))
    assert (attempt.verdict, attempt.why, attempt.length) == (Verdict.PASS, "MD5 digest", (declared, len(body)))


LINES = (
    ((b"220 mx here\r\n",), 220),
    ((b"2", b"20 mx\r", b"\n"), 220),
    ((b"220\r\n",), -1),
    ((b"220\n",), 220),
    ((b"220-mx\r\n220 mx\r\n",), -1),
    ((b"2200 x\r\n",), -1),
    ((b"22 x\r\n",), -1),
    ((b"hello\r\n",), -1),
    ((b"220 mx",), None),
    ((b"220 " + b"m" * 507, b"m\r\n"), -1),
)


@pytest.mark.parametrize(("pieces", "status"), LINES)
def test_a_line_of_a_mail_server(pieces: tuple[bytes, ...], status: int | None) -> None:
    line = SmtpLine()
    found: int | None = None
    for piece in pieces:
        assert found is None
        found = line.feed(piece)
    assert found == status


REQUESTS = (
    ((), "", "", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.1.1:80\r\n\r\n"),
    (("connect_port 81",), "", "", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.0.1.1:81\r\n\r\n"),
    (("http_protocol 1.1",), "", "", "GET /x HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.0.1.1:80\r\n\r\n"),
    (("http_protocol 1.0C",), "", "", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.0.1.1:80\r\n\r\n"),
    ((), "virtualhost r", "virtualhost v", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: r\r\n\r\n"),
    ((), "", "virtualhost v", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: v\r\n\r\n"),
    (("virtualhost c",), "virtualhost r", "virtualhost v", "GET /x HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: c\r\n\r\n"),
)  # fmt: skip


@pytest.mark.parametrize(("lines", "real", "virtual", "text"), REQUESTS)
def test_a_request(lines: tuple[str, ...], real: str, virtual: str, text: str) -> None:
    config = reading(server(1, check("HTTP_GET", *lines, "url {\npath /x\n}"), lines=real), virtual)
    pool = plan(config)[0].config
    one = pool.real_servers[0]
    checker = one.checkers[0]
    port = checker.connect_port or one.port
    assert request(pool, one, checker, checker.urls[0], one.address, port) == text.encode()
