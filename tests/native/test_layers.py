"""What lies between rules and socket, without a socket: SOCKS4, the PROXY header, TLS. Source: spec §2.6 to §2.8."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_kit import GET, MS, http_program, spec, tcp_program
from risefall.engine import native, tls
from risefall.engine._native import lib
from risefall.engine.native import Endpoint, Probe, ProbeResult, Program, Transport
from risefall.status import Status

LOCAL, REMOTE = Endpoint(4, bytes((127, 0, 0, 1)), 40000), Endpoint(4, bytes((127, 0, 0, 9)), 80)
SOCKS = Endpoint(4, bytes((127, 0, 0, 5)), 1080)
GRANTED = b"\0\x5a" + bytes(6)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def probe_of(program: Program, transport: Transport | None, **words: int) -> Probe:
    """A probe through a transport."""
    return Probe(program, msgspec.structs.replace(spec(**words), transport=transport))


def connect(probe: Probe) -> native.Want:
    """Starts a run and connects it; the want of the connect."""
    probe.start(0)
    want = probe.want()
    assert want.kind == native.CONNECT
    if want.how & native.HOW_TELL_ADDRESSES:
        probe.addresses(LOCAL, REMOTE)
    probe.connected(1 * MS)
    return want


def say(probe: Probe) -> bytes:
    """Sends what it wants to send, a byte at first and then the rest."""
    want = probe.want()
    assert want.kind == native.SEND
    probe.sent(1, 2 * MS)
    rest = probe.want()
    assert rest.out == want.out[1:]
    probe.sent(len(rest.out), 2 * MS)
    return want.out


# --- headers -----------------------------------------------------------------------------------------------


def test_a_proxy_line_tells_both_ends() -> None:
    probe = probe_of(http_program(), Transport(lib.RF_LAYER_PROXY_V1))
    connect(probe)
    assert say(probe) == b"PROXY TCP4 127.0.0.1 127.0.0.9 40000 80\r\n"
    assert say(probe) == REQUEST
    probe.received(OK, 3 * MS)
    assert probe.result().status is Status.L7OK


def test_a_proxy_header_of_version_2_speaks_for_nobody() -> None:
    probe = probe_of(http_program(), Transport(lib.RF_LAYER_PROXY_V1, proxy_v2=True))
    assert not connect(probe).how & native.HOW_TELL_ADDRESSES
    assert say(probe) == bytes.fromhex("0d0a0d0a000d0a515549540a20000000")


def test_a_connect_with_a_proxy_header_passes_once_it_is_said() -> None:
    probe = probe_of(tcp_program(), Transport(lib.RF_LAYER_PROXY_V1))
    connect(probe)
    say(probe)
    assert probe.result().status is Status.L4OK


def test_socks4_calls_its_proxy_and_names_the_server() -> None:
    probe = probe_of(http_program(), Transport(lib.RF_LAYER_SOCKS4, socks4=SOCKS), port=8080)
    want = connect(probe)
    assert want.to == SOCKS
    assert want.port == 1080
    assert say(probe) == b"\4\1\x1f\x90\x7f\0\0\1HAProxy\0"
    probe.received(GRANTED[:3], 3 * MS)
    probe.received(GRANTED[3:], 3 * MS)
    assert say(probe) == REQUEST


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (b"\0\x5b" + bytes(6), Status.SOCKERR, b"SOCKS4 Proxy deny the request"),
        (b"", Status.SOCKERR, b"SOCKS4 Proxy read error during handshake"),
        (None, Status.L7TOUT, b""),
    ],
)
def test_socks4_that_fails(answer: bytes | None, status: Status, text: bytes) -> None:
    probe = probe_of(http_program(), Transport(lib.RF_LAYER_SOCKS4, socks4=SOCKS))
    connect(probe)
    say(probe)
    if answer is None:
        probe.time(probe.want().deadline_ns)
    else:
        probe.received(answer, 3 * MS)
    result = probe.result()
    assert (result.status, result.text) == (status, text)


def test_the_layers_have_the_deadline_of_the_connect() -> None:
    probe = probe_of(http_program(), Transport(lib.RF_LAYER_SOCKS4, socks4=SOCKS), connect_ms=200, check_ms=700)
    connect(probe)
    say(probe)
    assert probe.want().deadline_ns == 200 * MS
    probe.received(GRANTED, 150 * MS)
    assert probe.want().deadline_ns == 850 * MS


# --- TLS ---------------------------------------------------------------------------------------------------

needs_tls = pytest.mark.skipif(
    not tls.available() or shutil.which("openssl") is None, reason="built without TLS, or no openssl"
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own CA for localhost, with its key."""
    folder = tmp_path_factory.mktemp("pki")
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 30 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, timeout=60)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


class Peer:
    """A TLS server over memory."""

    def __init__(self, context: ssl.SSLContext, reply: bytes) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._reply = reply
        self._up = False
        self.got = b""

    @property
    def resumed(self) -> bool:
        return bool(self._tls.session_reused)

    def hear(self, raw: bytes) -> bytes:
        """Takes bytes of the wire; what it says to them."""
        self._in.write(raw)
        try:
            if not self._up:
                self._tls.do_handshake()
                self._up = True
            while data := self._tls.read(4096):
                self.got += data
                if self.got.endswith(b"\r\n\r\n"):
                    self._tls.write(self._reply)
        except ssl.SSLError:
            pass  # it wants more, or it has refused: an alert is on its way then
        return self._out.read()


def context_of(certificate: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def transport_of(settings_: tls.TlsSettings, sni: str = "") -> Transport:
    return Transport(lib.RF_LAYER_TLS, tls=tls.new_context(settings_), sni=sni)


def talk(probe: Probe, peer: Peer, piece: int = 1 << 20, *, spoil: Callable[[bytes], bytes] = bytes) -> ProbeResult:
    """One run against a peer; what it says comes in pieces, spoilt on the way."""
    probe.start(0)
    heard = b""
    for _ in range(20_000):
        want = probe.want()
        if want.kind == native.DONE:
            peer.hear(want.out)
            return probe.result()
        if want.kind == native.CONNECT:
            probe.connected(1 * MS)
        elif want.kind == native.SEND:
            heard += spoil(peer.hear(want.out))
            probe.sent(len(want.out), 2 * MS)
        else:
            take = min(piece, want.room)
            probe.received(heard[:take], 3 * MS)
            heard = heard[take:]
    raise AssertionError("the probe did not end")


@needs_tls
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_request_over_tls(certificate: Path, version: ssl.TLSVersion, piece: int) -> None:
    """However the records are cut."""
    peer = Peer(context_of(certificate, version), OK)
    trust = tls.TlsSettings(ca_file=str(certificate), verify_host="localhost")
    result = talk(probe_of(http_program(), transport_of(trust)), peer, piece)
    assert (result.status, result.code) == (Status.L7OK, 200)
    assert peer.got == REQUEST


@needs_tls
@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_run_resumes_the_session(certificate: Path, version: ssl.TLSVersion, verify: bool) -> None:
    """Also where the certificate counts: it is not kept with the session."""
    context = context_of(certificate, version)
    trust = tls.TlsSettings(verify=verify, ca_file=str(certificate) if verify else "", verify_host="localhost")
    probe = probe_of(http_program(), transport_of(trust))
    resumed = []
    for _ in range(3):
        peer = Peer(context, OK)
        assert talk(probe, peer).status is Status.L7OK
        resumed.append(peer.resumed)
    assert resumed == [False, True, True]


@needs_tls
def test_no_ssl_reuse_resumes_nothing(certificate: Path) -> None:
    context = context_of(certificate)
    probe = probe_of(http_program(), transport_of(tls.TlsSettings(verify=False, reuse=False)))
    for _ in range(2):
        peer = Peer(context, OK)
        assert talk(probe, peer).status is Status.L7OK
        assert not peer.resumed


@needs_tls
@pytest.mark.parametrize(
    ("words", "sni", "text"),
    [
        ({"verify_host": "other"}, "", b"Server presented an SSL certificate different from the configured one"),
        ({}, "other", b"Server presented an SSL certificate different from the expected one"),
        ({"ca_file": "@system-ca"}, "", b"SSL handshake failure"),
    ],
)
def test_a_certificate_that_is_not_believed(certificate: Path, words: dict[str, str], sni: str, text: bytes) -> None:
    settings_ = tls.TlsSettings(**({"ca_file": str(certificate)} | words))  # type: ignore[arg-type]
    result = talk(probe_of(http_program(), transport_of(settings_, sni)), Peer(context_of(certificate), OK))
    assert (result.status, result.text) == (Status.L6RSP, text)


@needs_tls
def test_a_connect_over_tls_is_layer_6(certificate: Path) -> None:
    probe = probe_of(tcp_program(), transport_of(tls.TlsSettings(verify=False)))
    assert talk(probe, Peer(context_of(certificate), OK)).status is Status.L6OK


@needs_tls
@pytest.mark.parametrize("noise", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(600), b"\x15\3\1\0\2\2\x28"])
def test_what_is_no_tls(certificate: Path, noise: bytes) -> None:
    """Another protocol, an alert, or the end of the stream instead of a handshake."""
    probe = probe_of(http_program(), transport_of(tls.TlsSettings(verify=False)))
    result = talk(probe, Peer(context_of(certificate), OK), spoil=lambda raw: noise)
    assert (result.status, result.text) == (Status.L6RSP, b"SSL handshake failure")


@needs_tls
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2000), bit=st.integers(0, 7), piece=st.integers(1, 500))
def test_a_flipped_bit_never_passes_for_a_reply(certificate: Path, at: int, bit: int, piece: int) -> None:
    """Bytes that are spoilt on the way end the check; nothing hangs, and nothing spoilt is believed."""
    seen = 0

    def spoil(raw: bytes) -> bytes:
        nonlocal seen
        start, seen = seen, seen + len(raw)
        if not start <= at < seen:
            return raw
        return raw[: at - start] + bytes((raw[at - start] ^ 1 << bit,)) + raw[at - start + 1 :]

    probe = probe_of(http_program(), transport_of(tls.TlsSettings(ca_file=str(certificate))))
    result = talk(probe, Peer(context_of(certificate), OK), piece, spoil=spoil)
    assert result.status in (Status.L6RSP, Status.SOCKERR, Status.L7RSP, Status.L7OK)
    if result.status is Status.L7OK:
        assert result.code == 200


def test_a_transport_that_cannot_be_is_refused() -> None:
    with pytest.raises(Exception, match="SOCKS4 without an address"):
        Transport(lib.RF_LAYER_SOCKS4)
    assert GET.uri == "/"
