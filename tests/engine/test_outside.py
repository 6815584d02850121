"""Checks that are made outside the engine: one event a run, one report, nothing counted twice; HTTP/2 and TLS through it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
import trio

from certs_kit import ca_path, server_context
from cli_kit import risefall
from native_kit import http_program, spec
from outcomes_kit import outcomes, targets_of
from risefall.engine import native, tls
from risefall.engine.native import Change, Engine, Event, Handle, Probe
from serve_kit import answering, serving

MS = 1_000_000
LATER_NS = 70_000 * MS
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(checks_max=8, slots=2, groups=1, gather_us=0, seed=1, ring_len=2) as made:
        yield made


def add(engine: Engine, at_ns: int) -> Handle:
    handle = engine.add(http_program(), spec(first_ns=at_ns, outside=True))
    assert handle is not None
    return handle


def turn(engine: Engine, now_ns: int) -> list[Event]:
    engine.step(now_ns)
    engine.clear()
    return engine.drain()


def ended(status: int = 200) -> Probe:
    """A probe that has run, in its own time."""
    probe = Probe(http_program(), spec())
    probe.start(0)
    probe.connected(0)
    probe.sent(len(probe.want().out), 0)
    probe.received(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status, 5 * MS)
    assert probe.want().kind == native.DONE
    return probe


def test_an_event_asks_and_a_report_answers(engine: Engine) -> None:
    check = add(engine, 10 * MS)
    assert turn(engine, 9 * MS) == []
    (asked,) = turn(engine, 11 * MS)
    assert (asked.check, asked.run) == (check, 1)
    (record,) = engine.snapshot([check])
    assert record is not None
    assert record.in_progress
    engine.step(20 * MS)
    assert engine.report(check, asked.run, ended())
    (news,) = turn(engine, 21 * MS)
    assert (news.run, news.result.status.name, news.result.code) == (0, "L7OK", 200)
    (record,) = engine.snapshot([check])
    assert record is not None
    assert (record.in_progress, record.runs, record.done_ns) == (False, 1, 20 * MS)
    assert turn(engine, 1019 * MS) == []
    (asked,) = turn(engine, 1021 * MS)  # inter 1s behind the end of the last one
    assert asked.run == 2


def test_a_report_of_a_run_that_was_given_up_is_ignored(engine: Engine) -> None:
    check = add(engine, 0)
    (first,) = turn(engine, 1 * MS)
    engine.command(check, Change(now=True))
    (second,) = turn(engine, 2 * MS)
    assert second.run > first.run
    assert engine.report(check, first.run, ended(500))
    assert turn(engine, 5 * MS) == []
    assert engine.report(check, second.run, ended())
    (news,) = turn(engine, 6 * MS)
    assert news.result.status.name == "L7OK"
    assert engine.report(check, second.run, ended(500))  # once is enough
    assert turn(engine, 7 * MS) == []


def test_a_run_that_nobody_reports_is_asked_for_again(engine: Engine) -> None:
    add(engine, 0)
    (first,) = turn(engine, 1 * MS)
    assert turn(engine, 50_000 * MS) == []
    (second,) = turn(engine, LATER_NS)
    assert second.run > first.run


def test_what_finds_the_ring_full_is_asked_for_later(engine: Engine) -> None:
    checks = {add(engine, 0) for _ in range(3)}
    engine.step(1 * MS)
    asked = {event.check for event in engine.drain()}
    assert len(asked) == 2
    asked |= {event.check for event in turn(engine, 30 * MS)}
    assert asked == checks


def test_a_check_that_is_removed_or_paused_is_not_asked_for(engine: Engine) -> None:
    check = add(engine, 0)
    (asked,) = turn(engine, 1 * MS)
    engine.command(check, Change(paused=True))
    assert engine.report(check, asked.run, ended())
    assert [event.run for event in turn(engine, 2 * MS)] == [0]
    assert turn(engine, 2000 * MS) == []
    engine.command(check, Change(paused=False, now=True))
    (again,) = turn(engine, 2001 * MS)
    engine.remove(check)
    turn(engine, 2004 * MS)
    assert engine.report(check, again.run, ended())
    assert turn(engine, 2005 * MS) == []
    assert engine.snapshot([check]) == [None]


# --- real servers ----------------------------------------------------------------------------------------------


def speak_h2(connection: socket.socket) -> None:
    """200 to every request, with the names of its headers as the body."""
    h2_side = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="latin-1", validate_inbound_headers=False)
    )
    h2_side.initiate_connection()
    with suppress(ConnectionError, h2.exceptions.ProtocolError):  # who says HTTP/1 gets nothing more
        connection.sendall(h2_side.data_to_send())
        while data := connection.recv(65536):
            for event in h2_side.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    h2_side.send_headers(event.stream_id, [(":status", "200")])
                    h2_side.send_data(event.stream_id, b"over h2", end_stream=True)
            connection.sendall(h2_side.data_to_send())


def config(*lines: str) -> str:
    return "defaults\n mode http\nbackend b\n option httpchk GET /\n" + "".join(f" {line}\n" for line in lines)


OVER_H2 = "http-check expect string over"
REQUEST = "http-check send meth GET uri /"


def test_h2_without_tls() -> None:
    with serving(speak_h2) as port:
        said = outcomes(config(OVER_H2, f"server s 127.0.0.1:{port} check check-proto h2"))
        inherited = outcomes(config(OVER_H2, f"server s 127.0.0.1:{port} check proto h2"))
    assert [(one.status.name, one.code) for one in (*said, *inherited)] == [("L7OK", 200)] * 2


@pytest.mark.parametrize("dialect", ["2.6", "3"])
@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("ssl verify none check-alpn h2,http/1.1", ""),
        ("check-ssl verify none alpn http/1.1 check-alpn h2", "http-check connect default"),
        ("verify none", "http-check connect ssl alpn h2,http/1.1"),
    ],
)
def test_h2_that_the_alpn_of_the_check_chose_is_spoken(words: str, rule: str, dialect: str) -> None:
    """As haproxy 2.6.12 does it with nginx; see tests/peers/own.txt."""
    with serving(speak_h2, server_context(alpn=["h2"])) as port:
        lines = [line for line in (rule, REQUEST if rule else "", OVER_H2) if line]
        (said,) = outcomes(config(*lines, f"server s 127.0.0.1:{port} check inter 1s {words}"), dialect)
    assert (said.status.name, said.code) == ("L7OK", 200)


def test_h2_that_the_alpn_of_the_server_chose_is_spoken_in_3_only() -> None:
    with serving(speak_h2, server_context(alpn=["h2"])) as port:
        text = config(OVER_H2, f"server s 127.0.0.1:{port} check inter 1s ssl verify none alpn h2,http/1.1")
        (modern,), (old,) = outcomes(text, "3"), outcomes(text, "2.6")
    assert (modern.status.name, modern.code) == ("L7OK", 200)
    assert old.status.name in ("L7RSP", "SOCKERR", "L7TOUT")  # it says HTTP/1 to a server that wants HTTP/2


@pytest.mark.parametrize(
    ("words", "header"),
    [
        ("check-send-proxy", rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 (\d+) {port}\r\n"),
        ("send-proxy", rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 (\d+) {port}\r\n"),
        ("send-proxy-v2", re.escape(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")),
    ],
)
@pytest.mark.parametrize("secure", [False, True])
def test_h2_behind_a_proxy_header(words: str, header: bytes, secure: bool) -> None:
    """The header is said in clear text, ahead of the handshake."""
    heard: list[bytes] = []
    ends = b"\0" if "v2" in words else b"\n"

    def speak(connection: socket.socket) -> None:
        got = b""
        while len(got) < 16 or (not got.endswith(ends) and len(got) < 108):
            got += connection.recv(1)
        heard.append(got)
        if not secure:
            speak_h2(connection)
            return
        with server_context(alpn=["h2"]).wrap_socket(connection, server_side=True) as inner:
            speak_h2(inner)

    tls_words = "check-ssl verify none check-alpn h2" if secure else "check-proto h2"
    with serving(speak) as port:
        (said,) = outcomes(config(OVER_H2, f"server s 127.0.0.1:{port} check inter 2s {words} {tls_words}"))
        assert re.fullmatch(header.replace(b"{port}", b"%d" % port), heard[0])
    assert (said.status.name, said.code) == ("L7OK", 200)


def test_h2_behind_the_proxy_header_of_a_rule() -> None:
    heard: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        got = b""
        while not got.endswith(b"\n"):
            got += connection.recv(1)
        heard.append(got)
        speak_h2(connection)

    with serving(speak) as port:
        rules = (
            "http-check connect proto h2 send-proxy",
            "http-check send meth GET uri /",
            "http-check expect status 200",
        )
        (said,) = outcomes(config(*rules, f"server s 127.0.0.1:{port} check inter 2s"))
        assert re.fullmatch(rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 (\d+) %d\r\n" % port, heard[0])
    assert (said.status.name, said.code) == ("L7OK", 200)


def test_each_connection_its_own_way() -> None:
    rules = (
        "http-check connect ssl alpn h2 proto h2",
        "http-check send meth GET uri /",
        "http-check expect string over",
        "http-check connect port {plain}",
        "http-check send meth GET uri /",
        "http-check expect status 200",
    )
    with serving(speak_h2, server_context(alpn=["h2"])) as port, serving(answering(OK)) as plain:
        lines = [rule.format(plain=plain) for rule in rules]
        (said,) = outcomes(config(*lines, f"server s 127.0.0.1:{port} check verify none"))
    assert (said.status.name, said.code) == ("L7OK", 200)


def test_no_http2_there() -> None:
    with serving(answering(OK)) as port:
        (said,) = outcomes(config(f"server s 127.0.0.1:{port} check inter 1s check-proto h2"))
    assert said.status.name == "SOCKERR"


@contextmanager
def without_libssl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(tls, "lib", None)
        yield


TLS_CASES: list[tuple[str, str, Callable[[Path], str]]] = [
    ("L7OK", "", lambda folder: "verify none"),
    ("L7OK", "", lambda folder: f"verify required ca-file {ca_path(folder)} check-sni shop.example"),
    ("L7OK", "", lambda folder: f"verify required ca-file {ca_path(folder)} verifyhost shop.example"),
    (
        "L6RSP",
        "Server presented an SSL certificate different from the configured one",
        lambda folder: f"verify required ca-file {ca_path(folder)} verifyhost other.example",
    ),
    ("L6RSP", "SSL handshake failure", lambda folder: "verify none ssl-max-ver TLSv1.1"),
]


@pytest.mark.parametrize(("status", "text", "words"), TLS_CASES)
def test_tls_without_libssl_says_the_same(
    status: str, text: str, words: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(answering(OK), server_context()) as port:
        config_text = config(f"server s 127.0.0.1:{port} check inter 1s check-ssl {words(tmp_path)}")
        (native_said,) = outcomes(config_text)
        with without_libssl(monkeypatch):
            (said,) = outcomes(config_text)
    assert (said.status.name, said.text.decode()) == (status, text)
    assert (native_said.status, native_said.code, native_said.text.partition(b" (")[0]) == (
        said.status,
        said.code,
        said.text,
    )


def test_what_cannot_be_combined_is_told() -> None:
    def why(words: str) -> str:
        (target,) = trio.run(targets_of, config(f"server s 127.0.0.1:80 check {words}"))
        return target.why_not

    assert why("check-proto h2 check-ssl") == tls.NO_CA_FILE
    assert "ciphersuites" in why("check-proto h2 check-ssl verify none ciphersuites TLS_AES_128_GCM_SHA256")
    assert "No such file" in why("check-proto h2 check-ssl verify required ca-file /no/such/file")


def test_a_daemon_runs_them(tmp_path: Path) -> None:
    """Counted, logged and shown as all others."""
    with serving(speak_h2) as port:
        path = tmp_path / "h.cfg"
        path.write_text(
            config(
                f"server s 127.0.0.1:{port} check inter 50ms check-proto h2",
                "server d 127.0.0.1:1 check inter 50ms check-proto h2",
            )
        )
        code, out, err = risefall("run", "-f", str(path), "--for", "2s", "--log", "stderr")
    assert code == 1, out + err
    assert "Server b/d is DOWN, reason: Layer4 connection problem" in out + err
    assert threading.active_count() < 20
