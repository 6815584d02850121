"""`risefall probe` for every scheme: what goes out, what is said, and what the URL may say."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from certs_kit import ca_path, leaf, server_context
from cli_kit import risefall
from risefall.cli.probe_targets import HttpWords, Way, fits, http_rules, option_line, parse_target, rule_set
from risefall.config.haproxy.dialect import DIALECTS
from risefall.engine.play import Act, Player, When
from serve_kit import answering, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def player() -> Iterator[Player]:
    with Player(listeners=4, connections=64) as one:
        yield one


# --- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "path"),
    [
        ("mysql://check@10.0.0.7", "10.0.0.7", 3306, "check", ""),
        ("mysql://a%40b@db:3307/pre-41", "db", 3307, "a@b", "/pre-41"),
        ("pgsql://check@[::1]", "::1", 5432, "check", ""),
        ("smtp://mail/me.example", "mail", 25, "", "/me.example"),
        ("redis:///run/redis.sock", "/run/redis.sock", 0, "", ""),
        ("https://shop/x?y", "shop", 443, "", "/x"),
        ("grpc://h:50051/shop.Cart", "h", 50051, "", "/shop.Cart"),
        ("ssl-hello://h", "h", 443, "", ""),
    ],
)
def test_urls(url: str, host: str, port: int, user: str, path: str) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.user, target.path) == (host, port, user, path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://h", "the scheme is one of tcp://, tls://"),
        ("spop://h", "no port; write spop://h:PORT"),
        ("redis://", "no host"),
        ("redis://u@h", "only mysql:// and pgsql:// take a user"),
        ("mysql://u:p@h", "know no password"),
        ("pgsql://h", "write pgsql://USER@HOST"),
        ("mysql://u@h/md5", "only supports"),
        ("ldap://h/x", "unexpected argument 'x'"),
        ("http://h:x/", "Port could not be cast"),
        ("http://[::1/", "Invalid IPv6 URL"),
    ],
)
def test_urls_that_cannot_be(url: str, words: str) -> None:
    with pytest.raises(click.UsageError) as told:
        rule_set(parse_target(url), HttpWords(), DIALECTS["3"])
    assert words in told.value.message


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("smtp://h", ["smtpchk"]),
        ("smtp://h/me", ["smtpchk", "EHLO", "me"]),
        ("mysql://h", ["mysql-check"]),
        ("mysql://u@h/post-41", ["mysql-check", "user", "u", "post-41"]),
        ("pgsql://u@h", ["pgsql-check", "user", "u"]),
        ("ssl-hello://h", ["ssl-hello-chk"]),
        ("spop://h:1", ["spop-check"]),
    ],
)
def test_a_preset_is_its_option_line(url: str, line: list[str]) -> None:
    assert option_line(parse_target(url)) == line


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("tcp://h:1", Way(sni="x")),
        ("http://h", Way(verify=False)),
        ("redis://h", Way(h2=True)),
        ("agent://h:1", Way(proxy="v1")),
        ("grpc://h:1", Way(socks4="a:1")),
        ("https://h", Way(proxy="v1", alpn=("h2",))),
    ],
)
def test_options_that_do_not_fit(url: str, way: Way) -> None:
    with pytest.raises(click.UsageError):
        fits(parse_target(url), way)


def test_a_name_is_its_own_sni() -> None:
    names = [
        Way().server_name(parse_target(url))
        for url in ("tls://shop:1", "tls://10.0.0.7:1", "tls://[::1]:1", "tls:///s")
    ]
    assert names == ["shop", "", "", ""]
    assert Way(sni="").server_name(parse_target("tls://shop:1")) == ""


def test_an_http_uri_keeps_its_query() -> None:
    rules = http_rules(parse_target("http://h/a?b"), HttpWords()).rules
    assert [getattr(rule, "uri", "") for rule in rules] == ["/a?b"]


# --- presets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "act", "code", "words"),
    [
        ("redis", Act(b"+PONG\r\n", when=When.BYTES, bytes_wanted=14), 0, "passed: L7OK"),
        ("redis", Act(b"-NOAUTH Authentication required.\r\n", when=When.BYTES, bytes_wanted=14), 1, "wants a password"),
        ("mysql", Act(b"\x0a\0\0\0\x0a8.0.1\0\0\0\0", when=When.ACCEPT), 0, "got 14 bytes: 0a 00 00 00 0a 38 2e 30"),
        ("mysql", Act(b"\x10\0\0\0\xff\x6a\x04Host not here", when=When.ACCEPT), 1, "create the user for it"),
        ("ldap", Act(bytes.fromhex("300c02010161070a010004000400"), when=When.BYTES, bytes_wanted=14), 0, "30 0c 02 01 01 60"),
        ("ssl-hello", Act(b"\x15\3\0\0\2\2\x28", when=When.BYTES, bytes_wanted=126), 0, "sent 126 bytes: 16 03 00 00 79"),
    ],
)  # fmt: skip
def test_presets(player: Player, scheme: str, act: Act, code: int, words: str) -> None:
    _, port = player.listen("127.0.0.1", 0, act)
    found, out, err = risefall("probe", f"{scheme}://127.0.0.1:{port}", "--inter", "1000" if code else "5000")
    assert (found, words in out) == (code, True), out + err


def test_pgsql_smtp_and_their_words(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(b"R\0\0\0\x08\0\0\0\0", when=When.BYTES, bytes_wanted=18))
    code, out, _ = risefall("probe", f"pgsql://check@127.0.0.1:{port}")
    assert (code, "PostgreSQL server is ok" in out) == (0, True)
    _, port = player.listen("127.0.0.1", 0, Act(b"554 go away\r\n", when=When.ACCEPT))
    code, out, _ = risefall("probe", f"smtp://127.0.0.1:{port}/me.example")
    assert (code, "before a word was said" in out) == (1, True)


def test_the_times_come_last(player: Player) -> None:
    _, port = player.listen("127.0.0.1", 0, Act(OK))
    _, out, _ = risefall("probe", f"http://127.0.0.1:{port}/")
    last = out.splitlines()[-1]
    for words in ("times: resolve ", "connect ", "TLS -", "first byte ", "all "):
        assert words in last


# --- what comes before -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "begins"), [("v1", b"PROXY TCP4 127.0.0.1 "), ("v2", b"\r\n\r\n\0\r\nQUIT\n")])
def test_a_proxy_header_goes_first(version: str, begins: bytes) -> None:
    heard: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        got = b""
        while b"OPTIONS / HTTP/1.0\r\n\r\n" not in got:
            got += connection.recv(4096)
        heard.append(got)
        connection.sendall(OK)

    with serving(handle) as port:
        code, out, _ = risefall("probe", f"http://127.0.0.1:{port}/", "--proxy-protocol", version)
    assert (code, heard[0].startswith(begins)) == (0, True), out


def test_socks4_asks_for_the_target() -> None:
    heard: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"\0\x5a\0\0\0\0\0\0")
        answering(OK)(connection)

    with serving(handle) as port:
        code, out, _ = risefall("probe", "http://10.9.8.7:81/", "--socks4", f"127.0.0.1:{port}")
    assert (code, heard[0][:8]) == (0, b"\4\1\0\x51\x0a\x09\x08\x07"), out


# --- TLS ---------------------------------------------------------------------------------------------------


def test_https_tells_the_handshake_and_the_plain_bytes(tmp_path: Path) -> None:
    with serving(answering(OK), server_context()) as port:
        url = f"https://127.0.0.1:{port}/"
        code, out, _ = risefall("probe", url, "--ca-file", ca_path(tmp_path), "--sni", "shop.example")
        assert code == 0, out
        for words in (
            "TLS handshake done: TLSv1.3",
            "certificate 'shop.example'",
            "90 days left",
            r"got 38 bytes: 'HTTP/1.1 200",
        ):
            assert words in out
        code, out, _ = risefall("probe", url, "--insecure", "--json")
        found = json.loads(out)
        assert (code, found["certificate_days"], found["tls"]) == (0, 90, "TLSv1.3")
        assert found["tls_ms"] > 0
        assert found["certificate_names"] == ["shop.example", "127.0.0.1"]


def test_a_handshake_alone_is_l6ok() -> None:
    with serving(answering(b""), server_context()) as port:
        code, out, _ = risefall("probe", f"tls://127.0.0.1:{port}", "--insecure")
    assert (code, "passed: L6OK" in out) == (0, True), out


@pytest.mark.parametrize(
    ("days", "options", "words"),
    [
        ((-10, -1), ["--sni", "shop.example"], ["L6RSP", "certificate has expired", "expired 1 days ago", "renew it"]),
        (
            (-10, 90),
            ["--sni", "other.example"],
            ["different from the expected one", "for shop.example, 127.0.0.1", "--sni NAME"],
        ),
    ],
)
def test_a_certificate_that_is_not_trusted_is_shown(
    tmp_path: Path, days: tuple[int, int], options: list[str], words: list[str]
) -> None:
    with serving(answering(OK), server_context(leaf(*days))) as port:
        code, out, _ = risefall("probe", f"https://127.0.0.1:{port}/", "--ca-file", ca_path(tmp_path), *options)
    assert code == 1
    for word in words:
        assert word in out


def test_an_unknown_authority_is_named() -> None:
    with serving(answering(OK), server_context()) as port:
        code, out, _ = risefall("probe", f"tls://127.0.0.1:{port}")
    assert (code, "likely: the issuer is unknown here" in out) == (1, True), out


def test_tls_and_plain_at_each_others_port() -> None:
    with serving(
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", until=b"\x01"),
    ) as port:
        code, out, _ = risefall("probe", f"https://127.0.0.1:{port}/", "--insecure")
        assert (code, "is not TLS: is it the plain port?" in out) == (1, True), out
    with serving(answering(OK), server_context()) as port:
        code, out, _ = risefall("probe", f"http://127.0.0.1:{port}/")
    assert code == 1


def test_a_ca_file_that_is_none_is_exit_code_3(tmp_path: Path) -> None:
    code, _, err = risefall("probe", "tls://127.0.0.1:1", "--ca-file", str(tmp_path / "none.pem"))
    assert (code, "none.pem: No such file" in err, "Traceback" in err) == (3, True, False)


def test_tls_behind_a_proxy_header_is_native(tmp_path: Path) -> None:
    context = server_context()

    def handle(connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n"):
            head += connection.recv(1)
        with context.wrap_socket(connection, server_side=True) as secure:
            answering(OK)(secure)

    with serving(handle) as port:
        code, out, err = risefall(
            "probe", f"https://127.0.0.1:{port}/", "--proxy-protocol", "v1", "--ca-file", ca_path(tmp_path)
        )
    assert (code, "passed: L7OK" in out) == (0, True), out + err


# --- HTTP/2 and gRPC ---------------------------------------------------------------------------------------


def speak_h2(connection: socket.socket) -> None:
    """One answer of 503 over HTTP/2."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, validate_inbound_headers=False))
    server.initiate_connection()
    connection.sendall(server.data_to_send())
    while data := connection.recv(4096):
        for event in server.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                server.send_headers(event.stream_id, [(":status", "503")], end_stream=True)
        connection.sendall(server.data_to_send())


def test_http2_in_clear_text_and_by_alpn() -> None:
    with serving(speak_h2) as port:
        code, out, _ = risefall("probe", f"http://127.0.0.1:{port}/", "--proto", "h2")
        assert (code, "L7STS" in out, r"'HTTP/2.0 503 \r\n" in out) == (1, True, True), out
    with serving(speak_h2, server_context(alpn=("h2",))) as port:
        code, out, _ = risefall("probe", f"https://127.0.0.1:{port}/", "--insecure", "--alpn", "h2,http/1.1")
        assert (code, "ALPN h2" in out, "code 503" in out) == (1, True, True), out


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[int, int]]:
    """Ports of a grpcio server, in clear text and over TLS: 'shop' serves, 'down' does not."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("down", health_pb2.HealthCheckResponse.NOT_SERVING)
    plain = server.add_insecure_port("127.0.0.1:0")
    cert = leaf()
    pair = (cert.private_key_pem.bytes(), b"".join(pem.bytes() for pem in cert.cert_chain_pems))
    secure = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield plain, secure
    server.stop(0).wait()


def test_grpc(services: tuple[int, int]) -> None:
    plain, secure = services
    code, out, _ = risefall("probe", f"grpc://127.0.0.1:{plain}/shop")
    assert (code, "passed: SERVING, grpc-status 0 (OK)" in out) == (0, True), out
    code, out, _ = risefall("probe", f"grpc://127.0.0.1:{plain}/down", "--json")
    assert (code, json.loads(out)["status"]) == (1, "NOT_SERVING")
    code, out, _ = risefall("probe", f"grpc://127.0.0.1:{plain}/nobody")
    assert (code, "does not know 'nobody'" in out) == (1, True), out
    code, out, _ = risefall("probe", f"grpc://127.0.0.1:{secure}/shop", "--inter", "3000")
    assert (code, "grpcs:// for TLS" in out) == (1, True), out


def test_grpcs(services: tuple[int, int], tmp_path: Path) -> None:
    _, secure = services
    url = f"grpcs://127.0.0.1:{secure}/shop"
    code, out, _ = risefall("probe", url, "--ca-file", ca_path(tmp_path), "--sni", "shop.example")
    assert (code, "ALPN h2" in out, "passed: SERVING" in out) == (0, True, True), out
    code, out, _ = risefall("probe", url)
    assert (code, "--ca-file" in out) == (1, True), out
