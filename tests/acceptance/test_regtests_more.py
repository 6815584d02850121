"""More stories of HAProxy's own regression tests of checks (spec §10): over TLS and HTTP/2, and with the runtime API."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from certs_kit import authority, ca_path, leaf, server_context
from serve_kit import answering, serving
from story_kit import OK, Story, http, names, statuses

GROUPS, VERSIONS, KEY_SHARES = 10, 43, 51
X25519, P256, P384 = 0x001D, 0x0017, 0x0018
TLS12, TLS13 = 0x0303, 0x0304
ECDHE_ECDSA_AES256 = 0xC02C
NO_RENEGOTIATION = 0x00FF
RECORD_HEAD = 5


def words16(data: bytes) -> list[int]:
    return [word for (word,) in struct.iter_unpack(">H", data)]


class Hello:
    """What a ClientHello offers."""

    def __init__(self, record: bytes) -> None:
        at = RECORD_HEAD + 4 + 2 + 32
        at += 1 + record[at]
        size = int.from_bytes(record[at : at + 2])
        self.ciphers = words16(record[at + 2 : at + 2 + size])
        at += 2 + size
        at += 1 + record[at] + 2
        self._extensions: dict[int, bytes] = {}
        while at < len(record):
            kind, size = struct.unpack_from(">HH", record, at)
            self._extensions[kind] = record[at + 4 : at + 4 + size]
            at += 4 + size

    @property
    def groups(self) -> list[int]:
        return words16(self._extensions[GROUPS][2:])

    @property
    def versions(self) -> list[int]:
        return words16(self._extensions[VERSIONS][1:]) if VERSIONS in self._extensions else [TLS12]

    @property
    def shares(self) -> list[int]:
        found, rest = [], self._extensions.get(KEY_SHARES, b"")[2:]
        while rest:
            group, size = struct.unpack_from(">HH", rest)
            found.append(group)
            rest = rest[4 + size :]
        return found


def greeter(heard: list[Hello], context: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
    """Looks at the ClientHello without taking it, then shakes hands."""
    context = context or server_context()

    def play(sock: socket.socket) -> bytes:
        record = b""
        while len(record) < RECORD_HEAD or len(record) < RECORD_HEAD + int.from_bytes(record[3:5]):
            record = sock.recv(16384, socket.MSG_PEEK)
        heard.append(Hello(record))
        with suppress(OSError), context.wrap_socket(sock, server_side=True) as secure:
            while secure.recv(4096):
                pass
        return record

    return play


@pytest.mark.parametrize(
    ("words", "groups", "versions", "ciphers"),
    [
        ("curves X25519 ssl-min-ver TLSv1.2", [X25519], [TLS13, TLS12], None),
        ("curves P-256:P-384 ssl-min-ver TLSv1.2", [P256, P384], [TLS13, TLS12], None),
        ("ciphers ECDHE-ECDSA-AES256-GCM-SHA384 ssl-max-ver TLSv1.2", None, [TLS12], {ECDHE_ECDSA_AES256}),
        ("ssl-min-ver TLSv1.3", None, [TLS13], None),
        ("ssl-min-ver TLSv1.3 ciphersuites TLS_AES_256_GCM_SHA384", None, [TLS13], {0x1302}),
    ],
)
def test_what_a_client_hello_offers(
    story: Story, words: str, groups: list[int] | None, versions: list[int], ciphers: set[int] | None
) -> None:
    """tcp-check-client-hello: curves, ciphers and versions of the server line are those of its check."""
    heard: list[Hello] = []
    story.server("s1", play=greeter(heard))
    results = story.check(f"backend be\n  option tcp-check\n  server srv {{s1}} check check-ssl verify none {words}\n")
    assert results["be/srv"][0] == "L6OK"
    assert heard[0].versions == versions
    if groups:
        assert heard[0].groups == groups
        assert heard[0].shares[0] == groups[0]
    if ciphers:
        assert set(heard[0].ciphers) - {NO_RENEGOTIATION} == ciphers


def test_tls_health_checks(story: Story, tmp_path: Path) -> None:
    """tls_health_checks: a request over TLS, a connection alone, and who is trusted."""
    gone = http("504 Gateway Time-out")
    story.words["ca"] = ca_path(tmp_path)
    with (
        serving(answering(OK), server_context()) as good,
        serving(answering(gone), server_context()) as bad,
        serving(lambda sock: sock.recv(1), server_context(leaf(-90, -1))) as old,
        serving(lambda sock: sock.sendall(OK)) as clear,
    ):
        for name, port in {"good": good, "bad": bad, "old": old, "clear": clear}.items():
            story.listening(name, port)
        httpchk = "  option httpchk OPTIONS * HTTP/1.1\n  http-check send hdr Host www\n"
        results = story.check(
            f"backend be1\n{httpchk}  server srv {{good}} ssl verify none check\n"
            f"backend be2\n{httpchk}  server srv {{bad}} ssl verify none check\n"
            "backend be3\n  server srv {good} verify none check-ssl check\n"
            "backend be4\n  server srv {good} ssl verify required ca-file {ca} check\n"
            "backend be5\n  server srv {good} ssl verify required ca-file @system-ca check\n"
            "backend be6\n  server srv {old} ssl verify required ca-file {ca} check\n"
            "backend be7\n  server srv {good} ssl verify required ca-file {ca} verifyhost else.example check\n"
            "backend be8\n  server srv {clear} verify none check-ssl check\n"
            "backend be9\n  server srv {clear} ssl no-check-ssl verify none check\n"
        )
    assert results["be1/srv"] == ("L7OK", 200, "Layer7 check passed")
    assert results["be2/srv"] == ("L7STS", 504, "Gateway Time-out")
    assert {name: status for name, status in statuses(results).items() if name > "be2"} == {
        "be3": "L6OK", "be4": "L6OK", "be5": "L6RSP", "be6": "L6RSP", "be7": "L6RSP", "be8": "L6RSP", "be9": "L4OK",
    }  # fmt: skip


def test_a_client_certificate(story: Story, tmp_path: Path) -> None:
    """tls_health_checks: `crt` of the server line is what its check shows."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a refusal is told within the handshake
    own = tmp_path / "own.pem"
    leaf(name="check.example").private_key_and_cert_chain_pem.write_to_path(own)
    story.words["crt"] = str(own)
    with serving(lambda sock: sock.recv(1), context) as port:
        story.listening("s1", port)
        results = story.check(
            "backend be1\n  server srv {s1} ssl crt {crt} verify none check\n"
            "backend be2\n  server srv {s1} ssl verify none check\n"
        )
    assert statuses(results) == {"be1": "L6OK", "be2": "L6RSP"}


def h2_server(requests: list[dict[str, str]]):  # type: ignore[no-untyped-def]
    """A play that answers every HTTP/2 request with 200."""

    def play(sock: socket.socket) -> bytes:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=False)
        server = h2.connection.H2Connection(config)
        server.initiate_connection()
        sock.sendall(server.data_to_send())
        while data := sock.recv(65536):
            for event in server.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    requests.append({str(name): str(value) for name, value in event.headers})
                if isinstance(event, h2.events.StreamEnded):
                    server.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
            sock.sendall(server.data_to_send())
        return b""

    return play


def test_http2_in_clear_text(story: Story) -> None:
    """http-check: `proto h2` of the server, or `check-proto h2` of the check alone."""
    requests: list[dict[str, str]] = []
    story.server("s1", play=h2_server(requests))
    results = story.check(
        "defaults\n  mode http\n  timeout connect 2s\n  timeout check 2s\n"
        "backend be5\n  option httpchk\n  server srv {s1} proto h2 check\n"
        "backend be6\n  option httpchk GET /status HTTP/1.1\n  server srv {s1} check check-proto h2\n"
    )
    assert {name: (status, code) for name, (status, code, _) in results.items()} == {
        "be5/srv": ("L7OK", 200), "be6/srv": ("L7OK", 200),
    }  # fmt: skip
    assert sorted((request[":method"], request[":path"]) for request in requests) == [
        ("GET", "/status"), ("OPTIONS", "/"),
    ]  # fmt: skip


COMPLEX = """healthcheck complex
  http-check send-state
  http-check connect addr {s1}
  http-check set-var(check.server) "str(srv)"
  http-check set-var(check.path) "str(/req1)"
  http-check send meth GET uri-lf "%[var(check.path)]" ver HTTP/1.1 hdr x-test "server=%[var(check.server)]"
  http-check expect status 200
  http-check connect addr 127.0.0.1 port {s1_port}
  http-check unset-var(check.server)
  http-check set-var(check.path) "str(/req2)"
  http-check send meth GET uri-lf "%[var(check.path)]" ver HTTP/1.1 hdr x-test "server=%[var(check.server)]" body "health-check body"
  http-check expect rstatus "^2[0-9]{{2}}"
  http-check connect addr 127.0.0.1 port {s1_port}
  http-check set-var(check.path) "str(/req3)"
  http-check send meth GET uri-lf "%[var(check.path)]"
  http-check expect rstatus "^2[0-9]{{2}}"
  http-check connect addr 127.0.0.1 port {s1_port}
  http-check unset-var(check.path)
  http-check send meth GET uri-lf "%[var(check.path)]" body-lf "health-check on %[be_name]-%[srv_name]"
  type httpchk
"""


def test_four_requests_of_one_check(story: Story) -> None:
    """healthcheck-section, http-check: rules ahead of their type, each on a connection of its own; nothing of one that has no value."""
    requests: list[bytes] = []

    def play(sock: socket.socket) -> bytes:
        got = b""
        while not got.endswith((b"\r\n\r\n", b"health-check body", b"health-check on be1-srv4")):
            got += sock.recv(4096)
        requests.append(got)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return b""

    story.server("s1", play=play)
    results = story.check(f"{COMPLEX}backend be1\n  option httpchk\n  server srv4 {{s1}} check healthcheck complex\n")
    assert results["be1/srv4"][:2] == ("L7OK", 200)
    first, second, third, fourth = sorted(requests, key=lambda got: (got.startswith(b"GET / "), got))
    assert first.startswith(b"GET /req1 HTTP/1.1\r\nx-test: server=srv\r\nx-haproxy-server-state: UP")
    assert second.startswith(b"GET /req2 HTTP/1.1\r\nx-test: server=\r\nx-haproxy-server-state: UP")
    assert b"content-length: 17\r\n" in second
    assert third.startswith(b"GET /req3 HTTP/1.0\r\nx-haproxy-server-state: UP")
    assert b"x-test" not in third
    assert fourth.startswith(b"GET / HTTP/1.0\r\n")
    assert b"content-length: 24\r\n" in fourth


def test_a_section_of_tcp_checks_on_two_connections(story: Story) -> None:
    """healthcheck-section: the second one over TLS, to another address, without verification."""
    context = server_context()

    def play(sock: socket.socket) -> bytes:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            got = b""
            while not got.endswith(b"\r\n\r\n"):
                got += wrapped.recv(4096)
            wrapped.sendall(OK)
        return b""

    story.server("s1", 41, OK)
    story.server("s2", play=play)
    sends = "".join(
        f"  tcp-check send {line}\n" for line in ("GET\\ /\\ HTTP/1.0\\r\\n", "Host:\\ www.haproxy.org\\r\\n", "\\r\\n")
    )
    expects = "  tcp-check expect rstring (2..|3..)\n"
    results = story.check(
        f"healthcheck tcpchk\n  type tcp-check\n  tcp-check connect\n{sends}{expects}"
        f"  tcp-check connect addr 127.0.0.1 port {{s2_port}} ssl\n{sends}{expects}"
        "backend be2\n  server srv6 {s1} check healthcheck tcpchk verify none\n"
    )
    assert results["be2/srv6"][:2] == ("L7OK", 0)


def test_a_request_that_asks_for_an_upgrade(story: Story) -> None:
    """http-check-send: the request says so itself, and 101 is an answer."""
    story.server("s1", 18, b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: raw-proto\r\n\r\n")
    results = story.check(
        "backend be6_ws\n  mode http\n  option httpchk\n"
        "  http-check send meth GET uri / ver HTTP/1.1 hdr host ws-host hdr connection upgrade hdr upgrade raw-proto\n"
        "  http-check expect status 101\n  server srv {s1} check\n"
    )
    assert results["be6_ws/srv"][:2] == ("L7OK", 101)
    assert story.got("s1") == b"GET / HTTP/1.1\r\nhost: ws-host\r\nconnection: upgrade\r\nupgrade: raw-proto\r\n\r\n"


DEFAULTS = """defaults
  mode http
  timeout connect 2s
  timeout check 2s
  option httpchk GET /status HTTP/1.1
  http-check send hdr Host "my-www-host" hdr X-test true body "test"
"""
INHERITED = [
    ("option httpchk", b"OPTIONS / HTTP/1.0\r\n\r\n"),
    (
        "",
        b"GET /status HTTP/1.1\r\nhost: my-www-host\r\nx-test: true\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntest",
    ),
    (
        'http-check send hdr Host "other-www-host" hdr X-New-Test true body "other test"',
        b"OPTIONS / HTTP/1.0\r\nhost: other-www-host\r\nx-new-test: true\r\ncontent-length: 10\r\n\r\nother test",
    ),
]


@pytest.mark.parametrize(("line", "request_bytes"), INHERITED)
def test_what_is_inherited_of_a_request(story: Story, line: str, request_bytes: bytes) -> None:
    """http-check-send: all of it, or nothing."""
    story.server("s1", len(request_bytes), OK)
    results = story.check(f"{DEFAULTS}backend be\n  {line}\n  server srv {{s1}} check\n")
    assert results["be/srv"][:2] == ("L7OK", 200)
    assert story.got("s1") == request_bytes


def test_http2_through_socks4(story: Story) -> None:
    """tcp-checks-socks4, with HTTP/2 behind it; a proxy that says no is a socket error."""
    requests: list[dict[str, str]] = []
    asked: list[bytes] = []

    def play(sock: socket.socket) -> bytes:
        asked.append(sock.recv(16, socket.MSG_WAITALL))
        sock.sendall(b"\0\x5a" + bytes(6))
        return h2_server(requests)(sock)

    story.server("s1", play=play)
    story.server("s2", 16, b"\0\x5b" + bytes(6), then="stay")
    story.server("s3", 16, b"\0")
    story.words["there"] = "10.11.12.13:80"
    servers = "".join(
        f"  server srv{number} {{there}} check check-proto h2 check-via-socks4 socks4 {{s{number}}}\n"
        for number in names(3)
    )
    results = story.check(f"backend be\n  mode http\n  option httpchk GET /x HTTP/1.1\n{servers}")
    assert results["be/srv1"][:2] == ("L7OK", 200)
    assert results["be/srv2"][::2] == ("SOCKERR", "SOCKS4 Proxy deny the request")
    assert results["be/srv3"][::2] == ("SOCKERR", "SOCKS4 Proxy read error during handshake")
    assert asked == [bytes.fromhex("040100500a0b0c0d") + b"HAProxy\0"]
    assert [request[":path"] for request in requests] == ["/x"]


def test_odd_servers_of_many_backends(story: Story) -> None:
    """40be_2srv_odd_health_checks: each checked server gets its own check, the others none."""
    for number in names(16):
        story.server(f"s{number}", 20, OK)
    backends = "".join(
        f"backend be{number}\n  option httpchk\n  server srv1 {{s{2 * number - 1}}} check\n  server srv2 {{s{2 * number}}}\n"
        for number in names(8)
    )
    results = story.check(backends)
    assert sorted(results) == sorted(f"be{number}/srv1" for number in names(8))
    assert {status for status, _, _ in results.values()} == {"L7OK"}
    assert all(story.got(f"s{number}").startswith(b"OPTIONS / HTTP/1.0") == bool(number % 2) for number in names(16))


def test_an_agent_that_says_much(story: Story) -> None:
    """agent-check: one line changes weight, maxconn, the administrative and the operational state."""
    story.server("s1", 5, b"75%,maxconn:30,maint,down\n")
    server = "server srv {s1} weight 100 agent-check agent-addr {s1_host} agent-port {s1_port} agent-send pouet agent-inter 100ms"
    story.words["s1_host"] = "127.0.0.1"
    with story.run(f"backend be1\n  mode tcp\n  {server}\n") as running:
        running.becomes("be1/srv", srv_op_state="0", srv_admin_state="1", srv_uweight="75", srv_iweight="100")
        row = next(line for line in running.ask("show stat").splitlines() if line.startswith("be1,srv,"))
        assert row.startswith("be1,srv,0,0,0,0,30,")
    assert story.got("s1") == b"pouet"


def test_maintenance_by_hand(story: Story) -> None:
    """4be_1srv_health_checks: checks pass, servers go into maintenance by command and come back."""
    for number in names(4):
        story.server(f"s{number}", then="stay")
    proxies = "".join(
        f"backend be{number}\n  option log-health-checks\n"
        f"  default-server inter 200ms downinter 100s rise 1 fall 1\n  server srv{number} {{s{number}}} check\n"
        for number in names(4)
    )
    with story.run(proxies) as running:
        for number in names(4):
            name = f"be{number}/srv{number}"
            running.said(rf"Health check for server {name} succeeded, reason: Layer4 check passed, .*status: 1/1 UP")
            running.becomes(name, srv_op_state="2", srv_admin_state="0", srv_check_status="6", srv_check_result="3")
        for number in names(4):
            name = f"be{number}/srv{number}"
            assert running.ask(f"disable server {name}").strip() == ""
            running.said(rf"Server {name} is going DOWN for maintenance. 0 active and 0 backup servers left.")
            running.said(rf"backend 'be{number}' has no server available!")
            running.becomes(name, srv_op_state="0", srv_admin_state="1")
            assert int(running.server(name)["srv_check_state"]) & 8, "its check is paused"
        for number in names(4):
            name = f"be{number}/srv{number}"
            running.ask(f"enable server {name}")
            running.said(rf"Server {name} is UP/READY \(leaving forced maintenance\).")
            running.becomes(name, srv_op_state="2", srv_admin_state="0", srv_check_health="1")


def ids(heard: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The two ids of each request."""
    for request in heard:
        found = re.search(rb"request-id: ([^\r]*)\r\n.*again: ([^\r]*)\r\n", request, re.DOTALL)
        assert found, request
        yield found[1], found[2]


def test_a_unique_id_for_each_check(story: Story) -> None:
    """unique_id: another one for each check, the same within one; 2.6 has none in checks."""
    heard: list[bytes] = []
    fill = answering(OK)

    def play(sock: socket.socket) -> bytes:
        heard.append(sock.recv(65536, socket.MSG_PEEK))
        fill(sock)
        return b""

    story.server("s1", play=play)
    text = (
        "defaults\n  mode http\n  timeout connect 2s\n  timeout check 2s\n"
        "  unique-id-format %{{+X}}o\\ %[hostname,field(1,.),upper]-%Ts%rt-%[uuid]\n"
        "backend be\n  option httpchk\n  http-check set-var(check.id) unique-id,field(3,-)\n"
        "  http-check send meth GET uri / ver HTTP/1.1 hdr request-id %[unique-id] hdr part %[var(check.id)] hdr again %ID\n"
        "  server srv {s1} check inter 50ms\n"
    )
    with story.run(text) as running:
        running.becomes("be/srv", srv_check_status="15")
        story.wait(lambda: len(heard) > 2, "three checks")
    found = list(ids(heard))
    assert all(first == second for first, second in found)
    assert len({first for first, _ in found}) == len(found)
    assert re.fullmatch(rb"[^ ]+-[0-9A-F]{8}[0-9A-F]{4}-[0-9a-f]{8}-[0-9a-f-]{27}", found[0][0].removeprefix(b" ")), (
        found
    )
    heard.clear()
    story.check(text, dialect="2.6")
    assert b"request-id" not in heard[0]
