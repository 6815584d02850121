"""What is said of a failure: one table of what was seen and a word that has to be in the sentence."""

from __future__ import annotations

import errno
import socket

import pytest

from risefall.engine import causes, neighbours
from risefall.engine.causes import CAUSES, Seen, likely_cause, tls_cause, who_speaks
from risefall.engine.drive import TlsError
from risefall.engine.native import Endpoint, ProbeResult
from risefall.state.exchange import AdminWord, WeightKind
from risefall.status import Status, Verdict

TO = Endpoint(4, socket.inet_aton("127.0.0.1"), 1)


def failed(status: Status, code: int = 0, error: int = 0) -> ProbeResult:
    return ProbeResult(
        status, Verdict.FAILED, code, 1, b"", False, error, AdminWord.NONE, WeightKind.NONE, 0, None,
    )  # fmt: skip


def cause(scheme: str, result: ProbeResult, got: bytes = b"", *, sent: bytes = b"x", host: bool = False) -> str:
    return likely_cause(result, Seen(scheme, TO, got, sent, None, host))


@pytest.mark.parametrize(
    ("scheme", "result", "got", "words"),
    [
        ("http", failed(Status.L7RSP), b"\x15\x03\x03\0\2\2\n", "try https://"),
        ("redis", failed(Status.L7TOUT), b"\x16\x03\x03\0\2", "that is TLS, not plain redis"),
        ("http", failed(Status.L7STS, 400), b"HTTP/1.1 400\r\n\r\n<center>The plain HTTP request was sent to HTTPS port", "wants TLS"),
        ("http", failed(Status.L7STS, 400), b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.", "wants TLS"),
        ("http", failed(Status.L7STS, 400), b"HTTP/1.1 400\r\n\r\n", "missing Host"),
        ("http", failed(Status.L7STS, 403), b"HTTP/1.1 403\r\n\r\n", "no login"),
        ("http", failed(Status.L7STS, 404), b"HTTP/1.1 404\r\n\r\n", "the path"),
        ("https", failed(Status.L7STS, 405), b"HTTP/1.1 405\r\n\r\n", "--method GET"),
        ("https", failed(Status.L7STS, 421), b"HTTP/1.1 421\r\n\r\n", "SNI"),
        ("http", failed(Status.L7STS, 503), b"HTTP/1.1 503\r\n\r\n", "behind it"),
        ("http", failed(Status.L7RSP), b"up 50%\n", "try agent://"),
        ("http", failed(Status.L7RSP), b"SSH-2.0-OpenSSH\r\n", "speaks SSH"),
        ("http", failed(Status.L7RSP), b"220 mail ESMTP\r\n", "try smtp://"),
        ("http", failed(Status.L7RSP), b"J\0\0\0\n8.0.1\0", "try mysql://"),
        ("http", failed(Status.L7RSP), b"\0\0\x12\4\0\0\0\0\0", "--proto h2"),
        ("http", failed(Status.L7RSP), b"what?", "not HTTP"),
        ("agent", failed(Status.L7RSP), b"HTTP/1.1 400 Bad Request", "speaks HTTP"),
        ("agent", failed(Status.L7TOUT), b"", "an agent speaks first"),
        ("redis", failed(Status.L7STS), b"-NOAUTH Authentication required.\r\n", "password"),
        ("redis", failed(Status.L7STS), b"-LOADING x\r\n", "loading"),
        ("mysql", failed(Status.L7STS, 1045), b"J\0\0\0\n8", "without a password"),
        ("mysql", failed(Status.L7STS, 1129), b"J\0\0\0\xff", "FLUSH HOSTS"),
        ("pgsql", failed(Status.L7RSP), b"E\0\0\0\x60SFATAL\0no pg_hba.conf entry for host", "pg_hba.conf"),
        ("pgsql", failed(Status.L7RSP), b"E\0\0\0\x60SFATAL\0sorry", "refuses"),
        ("smtp", failed(Status.L7STS, 550), b"220 mail\r\n550 no\r\n", "greeted with"),
        ("smtp", failed(Status.L7RSP), b"220-a\r\n220 b\r\n", "several lines"),
        ("ldap", failed(Status.L7STS, 48), b"0\x0c\2", "anonymous"),
        ("ssl-hello", failed(Status.L6RSP), b"", "tls://"),
        ("spop", failed(Status.L7RSP), b"", "without a byte"),
        ("spop", failed(Status.L7TOUT), b"\0\0", "not whole"),
        ("tcp", failed(Status.L4CON, error=errno.ECONNREFUSED), b"", "nobody listens"),
        ("tcp", failed(Status.L4TOUT), b"", "macvtap"),
        ("tls", failed(Status.L6TOUT), b"", "does not answer TLS"),
        ("http", failed(Status.L7TOUT), b"", "says nothing"),
    ],
)  # fmt: skip
def test_causes(scheme: str, result: ProbeResult, got: bytes, words: str) -> None:
    assert words in cause(scheme, result, got)


def test_who_is_greeted_with_a_refusal_has_not_heard_the_name() -> None:
    assert "before a word" in cause("smtp", failed(Status.L7STS, 554), b"554 no\r\n", sent=b"")
    assert "malformed" in cause("http", failed(Status.L7STS, 400), b"HTTP/1.1 400\r\n", host=True)


def test_a_failed_handshake_is_the_cause() -> None:
    seen = Seen("https", TO, tls=TlsError("x", "VERIFY", 10))
    assert "renew" in likely_cause(failed(Status.L6RSP), seen)
    assert tls_cause(TlsError("x", "SOMETHING_NEW")) == ""
    assert tls_cause(TlsError("x", "VERIFY", 99)) == ""


def test_nothing_is_said_of_what_passed() -> None:
    passed = ProbeResult(
        Status.L7OK, Verdict.PASSED, 200, 1, b"", False, 0, AdminWord.NONE, WeightKind.NONE, 0, None,
    )  # fmt: skip
    assert cause("http", passed) == ""
    assert cause("mysql", failed(Status.L7STS, 9999), b"J\0\0\0\n8") == ""


def test_a_silent_neighbour_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "silent_neighbour", lambda *_: "a guest behind macvtap")
    assert cause("tcp", failed(Status.L4TOUT)) == "a guest behind macvtap"
    assert cause("tcp", failed(Status.L4CON, error=errno.EHOSTUNREACH)) == "a guest behind macvtap"
    assert causes.unreachable(Endpoint(6, bytes(16), 1)).startswith("no answer to the SYN")


def test_every_sentence_is_one() -> None:
    tables = (CAUSES, causes.MYSQL, causes.VERIFY_CAUSES, causes.TLS_CAUSES)
    for table in tables:
        assert all(text and not text.endswith(".") for text in table.values())
    assert who_speaks(b"") == ("", "")
