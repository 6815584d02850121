"""The stories of HAProxy's own regression tests of checks (spec §10), told to `risefall check --as 3`.

A story is a configuration, scripted servers, and what each server's check must say; where it matters, the bytes that its
server got.
"""

from __future__ import annotations

import pytest

from story_kit import OK, Story, http, names, statuses

GREETING = b"\x4a\0\0\0\x0a5.7.23-23\0" + b"x" * 63
SPOP_HELLO = (
    bytes.fromhex("65000000010000")
    + b"\x07version\x08\x032.0\x0emax-frame-size\x03\xfc\xf0\x06\x0ccapabilities\x08\x00"
)
SPOP_HELLO = len(SPOP_HELLO).to_bytes(4, "big") + SPOP_HELLO
LDAP_OK = bytes.fromhex("300c02010161070a010004000400")
PGSQL_OK = bytes.fromhex("520000000800000000")


def test_odd_servers_of_one_backend(story: Story) -> None:
    """1be_40srv_odd_health_checks: only the servers with `check` are checked."""
    for number in names(8):
        story.server(f"s{number}", 20, OK)
    servers = "".join(f"  server s{n} {{s{n}}}{' check' if n % 2 else ''}\n" for n in names(8))
    results = story.check(f"backend be\n  option httpchk\n{servers}")
    assert sorted(results) == ["be/s1", "be/s3", "be/s5", "be/s7"]
    assert {status for status, _, _ in results.values()} == {"L7OK"}
    assert not story.got("s2")


def test_layer_4_and_7_errors(story: Story, free_port: int) -> None:
    """4be_1srv_smtpchk_httpchk_layer47errors."""
    story.server("s1", b"220 s1.test-labs.org ESMTP\r\n", 16, b"250 here\r\n", 22, b"221 bye\r\n")
    story.server("s2", 18, http("503 Service Unavailable"))
    results = story.check(
        "backend be1\n  option smtpchk\n  server srv1 {s1} check\n"
        f"backend be2\n  option smtpchk\n  server srv2 127.0.0.1:{free_port} check\n"
        "backend be3\n  option httpchk OPTIONS * HTTP/1.1\n  http-check send hdr Host www\n  server srv3 {s2} check\n"
    )
    assert results["be1/srv1"] == ("L7OK", 221, "bye")
    assert results["be2/srv2"] == ("L4CON", 0, "ECONNREFUSED returned by OS (Connection refused)")
    assert results["be3/srv3"] == ("L7STS", 503, "Service Unavailable")
    assert story.got("s2").startswith(b"OPTIONS * HTTP/1.1\r\nhost: www\r\n")


SECTIONS = [
    ("tcp-check", "type tcp-check\n  tcp-check send ping\n  tcp-check expect string pong", (4, b"pong"), "L7OK"),
    ("httpchk", "type httpchk OPTIONS * HTTP/1.1 www.haproxy.org\n  http-check expect status 200", (40, OK), "L7OK"),
    ("ssl-hello-chk", "type ssl-hello-chk", (126, b"\x16\3\0\0\2"), "L6OK"),
    ("smtpchk", "type smtpchk EHLO a", (b"220 a\r\n", 8, b"250 b\r\n", 14, b"221 c\r\n"), "L7OK"),
    ("pgsql-check", "type pgsql-check user postgres", (23, PGSQL_OK), "L7OK"),
    ("redis-check", "type redis-check", (14, b"+PONG\r\n"), "L7OK"),
    ("mysql-check", "type mysql-check", (GREETING,), "L7OK"),
    ("ldap-check", "type ldap-check", (14, LDAP_OK), "L7OK"),
    ("spop-check", "type spop-check", (82, SPOP_HELLO), "L7OK"),
]


@pytest.mark.parametrize(("name", "lines", "steps", "status"), SECTIONS, ids=[row[0] for row in SECTIONS])
def test_healthcheck_sections(story: Story, name: str, lines: str, steps: tuple[int | bytes, ...], status: str) -> None:
    """healthcheck-section: the section wins over whatever the proxy says."""
    story.server("s1", *steps)
    results = story.check(
        f"healthcheck hc\n  {lines}\nbackend be\n  option httpchk GET /not-this\n  server srv {{s1}} check healthcheck hc\n"
    )
    assert results["be/srv"][0] == status
    assert b"/not-this" not in story.got("s1")


def test_expect_headers_by_every_method(story: Story) -> None:
    """http-check-expect."""
    reply = http(
        "202 Accepted", "x-test1: true, next value", "x-test2: true, begin-value", "x-test3: end", "x-begin-test: 1"
    )
    rules = [
        'hdr name "x-test1"', 'hdr name -m str "X-Test2"', 'hdr name -m beg "X-Begin-"', 'hdr name -m end "-test"',
        'hdr name -m sub "-Begin-"', 'hdr name -m reg "^[a-z]+-begin-[a-z]+"', '!hdr name "not-here"',
        'hdr name "x-test1" value "true"', 'hdr name "x-test2" value -m beg "begin-"', 'hdr name "x-test3" value -m end "nd"',
        'hdr name "x-test1" value -m sub "xt va"', 'hdr name "x-test3" value -m reg "^e.d"',
        'fhdr name "x-test1" value "true, next value"', 'fhdr name "x-test2" value -m end "begin-value"',
        'hdr name-lf "x-%[str(test1)]" value-lf "%[str(next)] value"', '!hdr name "x-test1" value "wrong"',
    ]  # fmt: skip
    story.server("s1", 18, reply)
    lines = "".join(f"  http-check expect {rule}\n" for rule in ("status 202", *rules))
    assert story.check(f"backend be\n  option httpchk\n{lines}  server srv {{s1}} check\n")["be/srv"][:2] == (
        "L7OK",
        202,
    )


REQUESTS = [
    ("option httpchk", b"OPTIONS / HTTP/1.0\r\n\r\n"),
    ("option httpchk /test", b"OPTIONS /test HTTP/1.0\r\n\r\n"),
    ("option httpchk GET /test", b"GET /test HTTP/1.0\r\n\r\n"),
    ("option httpchk GET /test HTTP/1.1", b"GET /test HTTP/1.1\r\nconnection: close\r\n\r\n"),
    ("option httpchk GET /test HTTP/1.1 my_host", b"GET /test HTTP/1.1\r\nhost: my_host\r\nconnection: close\r\n\r\n"),
    (
        "option httpchk GET / HTTP/1.1\n  http-check send hdr Host you hdr x-test true body OK",
        b"GET / HTTP/1.1\r\nhost: you\r\nx-test: true\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK",
    ),
    (
        "option httpchk\n  http-check send meth GET uri /status ver HTTP/1.1 hdr Host %[be_name]",
        b"GET /status HTTP/1.1\r\nhost: be\r\nconnection: close\r\n\r\n",
    ),
    (
        'option httpchk\n  http-check send meth POST uri-lf "/%[srv_name]" ver HTTP/1.1 body-lf "be=%[be_name] id=%[srv_id]"',
        b"POST /srv HTTP/1.1\r\ncontent-length: 10\r\nconnection: close\r\n\r\nbe=be id=1",
    ),
    (
        'option httpchk\n  http-check set-var(check.s) int(200)\n  http-check send meth GET uri-lf "/%[var(check.s)]"',
        b"GET /200 HTTP/1.0\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("lines", "request_bytes"), REQUESTS)
def test_requests(story: Story, lines: str, request_bytes: bytes) -> None:
    """http-check-send, http-check: what is sent."""
    story.server("s1", len(request_bytes), OK)
    assert story.check(f"backend be\n  {lines}\n  server srv {{s1}} check\n")["be/srv"][:2] == ("L7OK", 200)
    assert story.got("s1") == request_bytes


def test_rounds_on_several_connections(story: Story) -> None:
    """http-check: connect, send, expect, three times, each on its own connection and port."""
    for number in names(3):
        story.server(f"s{number}", 18, http(body=b"first %d" % number) if number < 3 else http("500 No"))
    results = story.check(
        "backend be\n  option httpchk GET /no\n"
        "  http-check connect port {s1_port}\n  http-check send uri /1\n  http-check expect string first\n"
        "  http-check connect port {s2_port}\n  http-check send uri /2 ver HTTP/1.1\n  http-check expect status 100-199,200\n"
        "  http-check connect port {s3_port}\n  http-check send uri /3\n  http-check expect ! status 200-299\n"
        "  server srv {s1} check\n"
    )
    assert results["be/srv"][:2] == ("L7OK", 500)
    assert story.got("s2").startswith(b"OPTIONS /2 HTTP/1.1\r\n")


def test_min_recv(story: Story) -> None:
    """tcp-check_min-recv: without it a negated match waits; with it what is there decides."""
    story.server("s1", b"val: 1", 0.05, b"Remote: No\r\n", then="stay")
    story.server("s2", b"val: 1", 0.05, b"OK", then="close")
    text = "".join(
        f"backend be{n}\n  option tcp-check\n  tcp-check connect\n  tcp-check expect {rule}\n  server srv {{{server}}} check\n"
        for n, server, rule in (
            (1, "s1", "min-recv 10 ! rstring Remote.*"),
            (2, "s1", "min-recv 3 ! rstring Remote.*"),
            (3, "s2", "! rstring Remote.*"),
        )
    )
    assert statuses(story.check(text)) == {"be1": "L7RSP", "be2": "L7OK", "be3": "L7OK"}


def test_two_ports(story: Story, free_port: int) -> None:
    """tcp-check_multiple_ports: the port that nobody listens on is told with its step."""
    story.server("s1", then="stay")
    story.server("s2", then="stay")
    results = story.check(
        "backend be1\n  option tcp-check\n  tcp-check connect port {s1_port}\n  tcp-check connect port {s2_port}\n"
        "  server srv {s1} check\n"
        "backend be2\n  option tcp-check\n  tcp-check connect port {s1_port}\n"
        f"  tcp-check connect port {free_port}\n  server srv {{s1}} check\n"
    )
    assert results["be1/srv"][0] == "L4OK"
    told = f"ECONNREFUSED returned by OS (Connection refused) at step 2 of tcp-check (connect port {free_port})"
    assert results["be2/srv"] == ("L4CON", 0, told)


def test_through_socks4(story: Story) -> None:
    """tcp-checks-socks4."""
    story.server("s1", 16, b"\0\x5a" + bytes(6), 20, b"pong")
    story.words["there"] = "10.11.12.13:80"
    rules = "  tcp-check send ping\n  tcp-check expect string pong\n"
    results = story.check(
        f"backend be1\n  option tcp-check\n{rules}  server srv {{there}} check check-via-socks4 socks4 {{s1}}\n"
        f"backend be2\n  option tcp-check\n  tcp-check connect via-socks4\n{rules}  server srv {{there}} check socks4 {{s1}}\n"
    )
    assert statuses(results) == {"be1": "L7OK", "be2": "L7OK"}
    assert story.got("s1") == bytes.fromhex("040100500a0b0c0d") + b"HAProxy\0ping"


PRESET_ROWS = [
    ("mysql-check", (GREETING,), ("L7OK", 0, "5.7.23-23")),
    ("mysql-check user user", (42, GREETING, b"\7\0\0\2\0\0\0\2\0\0\0"), ("L7OK", 0, "5.7.23-23")),
    ("mysql-check user user post-80", (64, GREETING, b"\7\0\0\2\0\0\0\2\0\0\0"), ("L7OK", 0, "5.7.23-23")),
    ("mysql-check user user pre-41", (15, GREETING, b"\7\0\0\2\0\0\0\2\0\0\0"), ("L7OK", 0, "5.7.23-23")),
    ("mysql-check", (b"\x0f\0\0\0\xff\x6a\x04Host blocked",), ("L7STS", 1130, "Host blocked")),
    ("pgsql-check user user", (19, PGSQL_OK), ("L7OK", 0, "PostgreSQL server is ok")),
    ("pgsql-check user user", (19, bytes.fromhex("520000000c0000000511223344")), ("L7OK", 0, "PostgreSQL server is ok")),
    ("pgsql-check user user", (19, bytes.fromhex("52000000170000000a534352414d2d5348412d3235360000")), ("L7OK", 0, "PostgreSQL server is ok")),
    ("pgsql-check user user", (19, b"Not a PostgreSQL response"), ("L7STS", 0, "PostgreSQL unknown error")),
    ("redis-check", (14, b"+PONG\r\n"), ("L7OK", 0, "Redis server is ok")),
    ("redis-check", (14, b"-ERR wrong\r\n"), ("L7STS", 0, "-ERR wrong")),
    ("ldap-check", (14, LDAP_OK), ("L7OK", 0, "Success")),
    ("ldap-check", (14, bytes.fromhex("300c02010161070a010104000400")), ("L7STS", 1, "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9")),
    ("ldap-check", (14, b"Not LDAP at all, really"), ("L7RSP", 0, "Not LDAPv3 protocol")),
    ("spop-check", (82, SPOP_HELLO), ("L7OK", 0, "SPOA server is ok")),
    ("spop-check", (82, bytes(4)), ("L7RSP", 0, "invalid frame received")),
    ("spop-check", (82, bytes.fromhex("0000000765000000000000")), ("L7RSP", 0, "invalid frame received")),
    ("spop-check", (82, bytes.fromhex("00000014650000000100000776657273696f6e0803312e30")), ("L7RSP", 0, "unsupported version")),
    ("spop-check", (82,), ("L7RSP", 0, "TCPCHK got an empty response at step 3")),
    ("ssl-hello-chk", (126, b"HTTP/1.0 400 Bad\r\n\r\n"), ("L6RSP", 0, "Layer6 invalid response")),
    ("smtpchk", (b"220 hi\r\n", 16, b"250-smtp\r\n250-SIZE\r\n250 OK\r\n", 22, b"221 ok\r\n"), ("L7OK", 221, "ok")),
    ("smtpchk", (b"I'm not a SMTP server\r\n",), ("L7RSP", 0, "I'm not a SMTP server")),
    ("smtpchk EHLO domain.tld", (b"220 hi\r\n", 17, b"512 DNS error\r\n"), ("L7STS", 512, "DNS error")),
    ("smtpchk", (b"2", b"2", b"0", b"\r\n", 16, b"2", b"4", b"8", b"\r\n", 22, b"221 bye\r\n"), ("L7OK", 221, "bye")),
    ("smtpchk EHLO here", (b"421 busy\r\n",), ("L7STS", 421, "busy")),
]  # fmt: skip


@pytest.mark.parametrize(("option", "steps", "expected"), PRESET_ROWS)
def test_presets(story: Story, option: str, steps: tuple[int | bytes, ...], expected: tuple[str, int, str]) -> None:
    """mysql-check, pgsql-check, redis-check, ldap-check, spop-check, ssl-hello-check, smtp-check."""
    story.server("s1", *steps)
    assert story.check(f"backend be\n  option {option}\n  server srv {{s1}} check\n")["be/srv"] == expected


def test_external_check(story: Story) -> None:
    """extcheck: the command of the defaults is inherited; a healthcheck section on the server wins over it."""
    story.server("s1", 18, OK)
    results = story.check(
        "global\n  external-check\n  insecure-fork-wanted\n"
        "defaults own\n  timeout connect 2s\n  timeout check 2s\n  option external-check\n  external-check command /bin/true\n"
        "healthcheck hc\n  type httpchk\n"
        "backend be1 from own\n  server srv {s1} check\n"
        "backend be2 from own\n  external-check command /bin/false\n  server srv {s1} check\n"
        "backend be3 from own\n  external-check command /bin/false\n  server srv {s1} check healthcheck hc\n"
    )
    assert results["be1/srv"][:2] == ("PROCOK", 0)
    assert results["be2/srv"][:2] == ("PROCERR", 1)
    assert results["be3/srv"][:2] == ("L7OK", 200)


def test_unique_id(story: Story) -> None:
    """unique_id: its format is the backend's, and each request has another one."""
    for number in names(3):
        story.server(f"s{number}", 40, OK)
    send = "  http-check send meth GET uri / ver HTTP/1.1 hdr host localhost hdr request-id {0}\n"
    results = story.check(
        "defaults\n  mode http\n  option httpchk\n  timeout connect 2s\n"
        "backend be\n  unique-id-format TEST-%[be_name]=%[srv_is_up(srv),iif(up,down)]\n  http-check connect\n"
        f"{send.format('%[unique-id]')}  http-check expect status 200\n  server srv {{s1}} check rise 1 fall 1\n"
        f"backend two\n  unique-id-format %[uuid()]\n{send.format('%ID')}  server a {{s2}} check\n  server b {{s3}} check\n"
    )
    assert {status for status, _, _ in results.values()} == {"L7OK"}
    assert b"\r\nrequest-id: TEST-be=up\r\n" in story.got("s1")
    ids = [story.got(name).partition(b"request-id: ")[2][:36] for name in ("s2", "s3")]
    assert len(set(ids)) == 2
    assert all(one.count(b"-") == 4 for one in ids)


def test_a_comment_with_captures(story: Story) -> None:
    """tcp-check_comment-with-capture: what a regular expression found, also where it searched hexadecimal digits."""
    for number in names(2):
        story.server(f"s{number}", 18, http("400 Bad Request"))
    comment = r'comment " Bad response: code=\\1 reason=\\2"'
    results = story.check(
        "backend be1\n  option tcp-check\n  tcp-check connect\n  tcp-check send \"GET / HTTP/1.1\\r\\n\\r\\n\"\n"
        rf'  tcp-check expect !rstring "HTTP/1\\.1\s+([45][0-9]{{{{2}}}})\s+([^\r\n]*)" {comment}' "\n"
        "  server srv1 {s1} check\n"
        "backend be2\n  option tcp-check\n  tcp-check connect\n  tcp-check send-binary 474554202f20485454502f312e31200d0a0d0a\n"
        rf'  tcp-check expect !rbinary "485454502F312E3120(34[0-9]{{{{4}}}}|35[0-9]{{{{4}}}})20(([^0].)*)" {comment}' "\n"
        "  server srv1 {s2} check\n"
    )  # fmt: skip
    for status, _, text in results.values():
        assert status == "L7RSP"
        assert text.endswith("comment:  Bad response: code=400 reason=Bad Request"), text


def test_the_host_header_is_the_authority(story: Story) -> None:
    """http-check-send-authority: of an absolute URI, with the body's length."""
    story.server("s1", 40, OK)
    story.check(
        "backend be\n  mode http\n  option httpchk\n"
        "  http-check send meth POST uri http://a/chk ver HTTP/1.1 hdr host a-much-longer-host-name.example.org body hello\n"
        "  server srv {s1} check\n"
    )
    assert story.got("s1") == (
        b"POST http://a-much-longer-host-name.example.org/chk HTTP/1.1\r\nhost: a-much-longer-host-name.example.org\r\n"
        b"content-length: 5\r\nconnection: close\r\n\r\nhello"
    )
