"""TLS by Python's ssl under a probe: handshakes that go well, and those that do not."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from certs_kit import NAME, TlsServer, ca_path, leaf, server_context
from h2_kit import H2Server, answer
from native_kit import http_program, spec, tcp_program
from risefall.engine.causes import tls_cause
from risefall.engine.drive import Driver, Step, StepKind, Transcript, Wire
from risefall.engine.h2wire import H2Wire
from risefall.engine.native import Endpoint, Probe, ProbeResult, Program
from risefall.engine.tlswire import TlsOptions, TlsWire, ca_files, make_context
from risefall.errors import StartError
from risefall.status import Status

REPLY = b"HTTP/1.1 200 OK\r\n\r\n"


def whole(reply: bytes = REPLY) -> Callable[[bytes], bytes]:
    """Answers a whole request."""
    return lambda got: reply if b"\r\n\r\n" in got else b""


def check(
    server: Wire, options: TlsOptions, program: Program | None = None, *, h2: bool = False
) -> tuple[ProbeResult, list[Step], TlsWire]:
    """One run in virtual time."""
    steps: list[Step] = []

    async def run() -> tuple[ProbeResult, TlsWire]:
        transcript = Transcript(steps.append)
        probe = Probe(program or http_program(), spec())
        tls = TlsWire(server, options, transcript, begins=probe.tls_begins)
        wire: Wire = H2Wire(tls, wanted=lambda: tls.facts is not None and tls.facts.alpn == "h2") if h2 else tls
        return await Driver(probe, wire, transcript).run(), tls

    result, tls = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return result, steps, tls


def trusting(tmp_path: Path, **words: object) -> TlsOptions:
    return TlsOptions(**{"sni": NAME, "ca_file": ca_path(tmp_path), **words})  # type: ignore[arg-type]


@pytest.mark.parametrize("room", [1 << 20, 1000, 3])
def test_a_check_over_tls(tmp_path: Path, room: int) -> None:
    server = TlsServer(server_context(), whole(), room=room)
    result, steps, tls = check(server, trusting(tmp_path))
    assert result.status is Status.L7OK
    assert server.got == b"GET / HTTP/1.0\r\n\r\n"
    kinds = [step.kind for step in steps]
    assert kinds[:3] == [StepKind.CONNECTING, StepKind.CONNECTED, StepKind.TLS_DONE]
    assert kinds.count(StepKind.CONNECTED) == 1
    assert tls.facts is not None
    assert tls.facts.certificate is not None
    assert "certificate 'shop.example' by 'Test Authority' for shop.example, 127.0.0.1, 90 days left" in steps[2].detail
    assert steps[2].detail.startswith("TLSv1.3, TLS_")


def test_a_connect_alone_is_a_handshake(tmp_path: Path) -> None:
    server = TlsServer(server_context(), whole())
    result, _, _ = check(server, trusting(tmp_path), tcp_program())
    assert (result.status, result.text) == (Status.L6OK, b"")
    assert server.shaken


@pytest.mark.parametrize(("ends", "status"), [("notify", Status.L7RSP), ("raw", Status.L7RSP), ("", Status.L7TOUT)])
def test_a_close_notify_and_a_raw_end_are_ends(tmp_path: Path, ends: str, status: Status) -> None:
    server = TlsServer(server_context(), whole(b"HTTP/1.1 200"), ends=ends)
    assert check(server, trusting(tmp_path))[0].status is status


def test_alpn_chooses_between_http_1_and_2(tmp_path: Path) -> None:
    options = trusting(tmp_path, alpn=("h2", "http/1.1"))
    plain = TlsServer(server_context(alpn=("http/1.1",)), whole())
    assert check(plain, options, h2=True)[0].status is Status.L7OK
    assert plain.got.startswith(b"GET / HTTP/1.0")
    inner = H2Server(answer("503"))

    seen = 0

    def speak(got: bytes) -> bytes:
        nonlocal seen
        inner.take(got[seen:])
        seen = len(got)
        return bytes(inner.waiting) if inner.headers else b""

    result, steps, _ = check(TlsServer(server_context(alpn=("h2",)), speak), options, h2=True)
    assert (result.status, result.code) == (Status.L7STS, 503)
    assert any("ALPN h2" in step.detail for step in steps)


@pytest.mark.parametrize(
    ("days", "options", "told", "cause"),
    [
        ((-10, -1), {}, "certificate has expired", "has ended"),
        ((1, 90), {}, "not yet valid", "clock"),
        ((-10, 90), {"sni": "other.example"}, "ostname mismatch", "--sni"),
        ((-10, 90), {"ca_file": ""}, "unable to get local issuer", "--ca-file"),
    ],
)
def test_certificates_that_are_not_trusted(
    tmp_path: Path, days: tuple[int, int], options: dict[str, str], told: str, cause: str
) -> None:
    server = TlsServer(server_context(leaf(*days)), whole())
    result, steps, tls = check(server, trusting(tmp_path, **options))
    wrong_name = "Server presented an SSL certificate different from the expected one"
    words = wrong_name if "sni" in options else "SSL handshake failure"
    assert (result.status, result.text.decode()) == (Status.L6RSP, words)
    assert any(step.kind is StepKind.FAILED and told in step.detail for step in steps)
    assert tls.failure is not None
    assert cause in tls_cause(tls.failure)
    assert server.alert  # it was told why, too
    assert not server.got


def test_without_verify_the_certificate_is_still_shown() -> None:
    server = TlsServer(server_context(leaf(-10, -1)), whole())
    result, steps, _ = check(server, TlsOptions(sni="other.example", verify=False))
    assert result.status is Status.L7OK
    assert "expired 1 days ago" in steps[2].detail


def test_without_sni_the_name_is_not_checked(tmp_path: Path) -> None:
    server = TlsServer(server_context(leaf(name="odd.example")), whole())
    assert check(server, trusting(tmp_path, sni=""))[0].status is Status.L7OK


class Plain:
    """A wire to somebody who says one thing, whatever he hears."""

    def __init__(self, said: bytes, *, ends: bool = False) -> None:
        self.said, self.ends = said, ends

    async def connect(self, want: object) -> None:
        await trio.lowlevel.checkpoint()

    async def send(self, data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        return len(data)

    async def receive(self, room: int) -> bytes:
        await trio.lowlevel.checkpoint()
        said, self.said = self.said, b""
        if not said and not self.ends:
            await trio.sleep_forever()
        return said

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        raise AssertionError

    def end(self, how: int, last: bytes = b"") -> None:
        pass


@pytest.mark.parametrize(
    ("said", "told", "cause"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "handshake failed", "not TLS"),
        (b"220 mail.example ESMTP\r\n", "handshake failed", "not TLS"),
        (b"", "ended during the handshake", "closed"),
        (b"\x15\x03\x03\0\2\2\x28", "handshake failure", "no protocol version or cipher"),
        (b"\x15\x03\x03\0\2\2\x46", "protocol version", "protocol version"),
        (b"\x15\x03\x03\0\2\2\x70", "unrecognized name", "--sni"),
        (b"\x15\x03\x03\0\2\2\x78", "no application protocol", "--alpn"),
    ],
)
def test_who_does_not_shake_hands(said: bytes, told: str, cause: str) -> None:
    result, steps, tls = check(Plain(said, ends=True), TlsOptions(verify=False))
    assert (result.status, result.text) == (Status.L6RSP, b"SSL handshake failure")
    failed = [step for step in steps if step.kind is StepKind.FAILED]
    assert told in failed[0].detail
    assert tls.failure is not None
    assert cause in tls_cause(tls.failure)


def test_a_reset_during_the_handshake_is_its_failure() -> None:
    class Resetting(Plain):
        async def receive(self, room: int) -> bytes:
            await trio.lowlevel.checkpoint()
            raise ConnectionResetError(104, "Connection reset by peer")

    result, _, _ = check(Resetting(b""), TlsOptions(verify=False))
    assert (result.status, result.text) == (Status.L6RSP, b"SSL handshake failure")


def test_a_handshake_that_never_ends_is_bounded_by_the_probe() -> None:
    result, steps, tls = check(Plain(b""), TlsOptions(verify=False))
    assert result.status is Status.L6TOUT
    assert StepKind.TIMED_OUT in [step.kind for step in steps]
    assert tls.failure is None


def test_ca_files(tmp_path: Path) -> None:
    path = ca_path(tmp_path)
    assert ca_files(str(tmp_path)) == [path]
    assert isinstance(make_context(TlsOptions(ca_file=str(tmp_path))), ssl.SSLContext)
    (tmp_path / "none").mkdir()
    (tmp_path / "bad.pem").write_text("nothing\n")
    for wrong, words in (
        (tmp_path / "none", "no files"),
        (tmp_path / "absent.pem", "No such file"),
        (tmp_path / "bad.pem", "no certificates"),
    ):
        with pytest.raises(StartError, match=words):
            make_context(TlsOptions(ca_file=str(wrong)))
