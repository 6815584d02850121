"""Virtual servers beside the real keepalived 2.2.7: every checker kind in all that can become of it, quorum, weights and calls.

Compared are all lines of each virtual server in their order, from the start to the end, the lines on the FIFO, and the calls.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from checkers_lab import GLOBAL, OR, Answer, Outcome, Play, Speak, build_shim, mail, one_of, play, says, tls
from stalls import ATTEMPTS, LATE_US, Stalls, tell
from vrrp_lab import missing

OK, BAD = says(b"HTTP/1.0 200 OK\r\n\r\nhello world"), says(b"HTTP/1.0 500 No\r\n\r\nhello world")
MD5 = hashlib.md5(b"hello world").hexdigest()
PACE = ("delay_loop 0.5", "delay_before_retry 0.2", "warmup 0.01", "lb_algo rr", "lb_kind NAT", "protocol TCP")


def pool(number: int, *servers: str, extra: tuple[str, ...] = (), pace: tuple[str, ...] = PACE) -> str:
    """Virtual server 10.0.0.`number`, whose programs write down their names."""
    calls = [f'{what} "{{own}}/called.sh {what} pool{number}"' for what in ("quorum_up", "quorum_down")]
    body = "\n".join((*pace, *extra, *calls, *servers))
    return f"virtual_server 10.0.0.{number} 80 {{\n{body}\n}}\n"


def server(port: int, *checks: str, extra: tuple[str, ...] = ()) -> str:
    calls = [f'{what} "{{own}}/called.sh {what} server{port}"' for what in ("notify_up", "notify_down")]
    return "\n".join((f"real_server 127.0.0.1 {port} {{", *extra, *calls, *checks, "}"))


def check(kind: str, *lines: str) -> str:
    return "\n".join((f"{kind} {{", *lines, "}"))


def url(path: str, *lines: str) -> str:
    return "\n".join(("url {", f"path {path}", *lines, "}"))


def http(*urls: str, kind: str = "HTTP_GET", more: tuple[str, ...] = ()) -> str:
    return check(kind, "connect_timeout 2", *more, *urls)


def config(*pools: str, more: str = "") -> str:
    return GLOBAL.replace("{{", "{").replace("}}", "}").replace("{more}", more) + "".join(pools)


CALLED = ("called.sh", 'echo "$@" >> {own}/calls')


def turned(port: int, numbers: Iterable[int]) -> tuple[str, ...]:
    """What is said at the end of a first result, of servers from a port on, each in the pool of its number."""
    return tuple(
        f"[127.0.0.1]:tcp:{port + number} succeed{OR}> 0 for VS [10.0.0.{number + 1}]:tcp:80" for number in numbers
    )


def paces() -> Play:
    """Each kind goes down and comes back, with its own way of counting retries; refusing servers are down from the start."""
    down_up = one_of(OK, OK, BAD, BAD, BAD, BAD, BAD, OK)
    two_urls = one_of(OK, OK, OK, OK, OK, BAD, BAD, BAD, OK)
    servers: list[tuple[int, Speak]] = [
        (2001, down_up),
        (2002, one_of(BAD, BAD, OK)),
        (2003, two_urls),
        (2004, one_of(OK, OK, OK, BAD, BAD, BAD, BAD, OK)),
        (2005, one_of(BAD, OK)),
        (2006, one_of(OK, OK, BAD, BAD, BAD, BAD, OK, BAD, BAD, OK)),
        (2010, one_of(*[MAIL_OK] * 2, *[MAIL_BAD] * 6, MAIL_OK)),
        (2011, one_of(MAIL_BAD, MAIL_OK)),
        (2012, one_of(*[MAIL_BAD] * 4, MAIL_OK)),
    ]
    text = config(
        pool(1, server(2001, http(url("/"))), extra=("retry 2", "smtp_alert")),
        pool(2, server(2002, http(url("/"))), extra=("retry 2",)),
        pool(3, server(2003, http(url("/a"), url("/b"))), extra=("retry 1",)),
        pool(4, server(2004, http(url("/a"), url("/b"), more=("fast_recovery",))), extra=("retry 1",)),
        pool(5, server(2005, http(url("/"))), extra=("retry 1", "alpha")),
        pool(6, server(2006, http(url("/"), more=("retry 0",)))),
        pool(7, server(2007, check("TCP_CHECK", "retry 2"))),
        pool(8, server(2008, check("TCP_CHECK", "retry 0")), extra=("alpha",)),
        pool(9, server(2009, check("TCP_CHECK", "connect_port 2001"))),
        pool(10, server(2010, check("SMTP_CHECK", "retry 2"))),
        pool(11, server(2011, check("SMTP_CHECK", "retry 1"))),
        pool(12, server(2012, check("SMTP_CHECK", "retry 1"))),
        pool(13, server(2013, check("MISC_CHECK", 'misc_path "{own}/m.sh"', "misc_timeout 30")), extra=("smtp_alert",)),
        more="checker_log_all_failures\nsmtp_server 127.0.0.1 2500\nnotification_email {\na@example.com\nb@example.com\n}",
    )
    until = (
        "Gained quorum 1+0=1 <= 1 for VS [10.0.0.1]",
        "Adding service [127.0.0.1]:tcp:2001",
        "Adding service [127.0.0.1]:tcp:2002",
        "Adding service [127.0.0.1]:tcp:2003",
        "Adding service [127.0.0.1]:tcp:2004",
        "Adding service [127.0.0.1]:tcp:2005",
        "Adding service [127.0.0.1]:tcp:2006",
        "TCP connection to [127.0.0.1]:tcp:2009 success",
        "Removing service [127.0.0.1]:tcp:2007",
        "Adding service [127.0.0.1]:tcp:2010",
        "Remote SMTP server [127.0.0.1]:tcp:2011 succeed",
        "Adding service [127.0.0.1]:tcp:2012",
        "Adding service [127.0.0.1]:tcp:2013",
    )
    return Play(text, until, tuple(servers), (CALLED, counted("m", "0", "0", "1", "0")), mail_port=2500)


MAIL_OK = mail(b"220 mx here\r\n", b"250 well met\r\n", b"221 bye\r\n")
MAIL_BAD = mail(b"554 go away\r\n", b"", b"")


def pieces(*data: bytes, rest_s: float = 0.15, after_s: float = 0) -> Speak:
    """A reply in pieces."""

    def speak(connection: socket.socket, number: int) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        for one in data:
            connection.sendall(one)
            time.sleep(rest_s)
        time.sleep(after_s)

    return speak


def reset(data: bytes) -> Speak:
    def speak(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(data)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return speak


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LONG = HEAD + b"x" * 9000
REPLIES: tuple[tuple[str, Speak, tuple[str, ...]], ...] = (
    ("no header end", says(b"HTTP/1.0 200 OK\r\nX: y\r\n"), ()),
    ("nothing", says(b""), ()),
    ("header too long", says(b"HTTP/1.0 200 OK\r\nX: " + b"y" * 5000 + b"\r\n\r\nhello"), ()),
    ("no blank line of CR LF", says(b"HTTP/1.0 200 OK\n\nhello world"), ()),
    ("no HTTP at all", says(b"ICY 200 OK\r\n\r\nhello"), ()),
    ("no reason", says(b"HTTP/1.0 204\r\n\r\n"), ()),
    ("no reason but its blank", says(b"HTTP/1.0 204 \r\n\r\n"), ()),
    ("four digits", says(b"HTTP/1.0 0204 OK\r\n\r\n"), ()),
    ("two blanks", says(b"HTTP/1.0  204 OK\r\n\r\n"), ()),
    ("a blank in the second line", says(b"HTTP/1.0\r\nA: 204 x\r\n\r\n"), ()),
    ("a word for a status", says(b"HTTP/1.0 OK 200\r\n\r\n"), ()),
    ("longer than declared", says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world"), ()),
    ("shorter than declared", says(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello world"), ()),
    ("reset", reset(HEAD + b"hello"), ()),
    ("in pieces", pieces(b"HTTP/1.1 2", b"00 OK\r\n\r", b"\nhel", b"lo"), ()),
    ("digest", OK, (f"digest {MD5}",)),
    ("other digest", OK, ("digest " + "0" * 32,)),
    (
        "digest of what is declared",
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world"),
        (f"digest {hashlib.md5(b'hello').hexdigest()}",),
    ),
    ("digest in pieces", pieces(HEAD, b"hello ", b"world"), (f"digest {MD5}",)),
    ("status of its own", BAD, ("status_code 500-599",)),
    ("several status", says(b"HTTP/1.1 301 Moved\r\n\r\n"), ("status_code 200 301",)),
    ("regex", OK, ('regex "wor.d"',)),
    ("no match", OK, ('regex "xx"',)),
    ("regex_no_match", OK, ('regex "xx"', "regex_no_match")),
    ("regex_no_match that matches", OK, ('regex "wor"', "regex_no_match")),
    ("caseless", OK, ('regex "WORLD"', "regex_options caseless")),
    ("a match that more could change", OK, ('regex "world.*"',)),
    ("an end", OK, ('regex "d$"',)),
    ("min offset counts the header", OK, ('regex "hello"', "regex_min_offset 3")),
    ("max offset counts the header", OK, ('regex "world"', "regex_max_offset 6")),
    ("max offset, header apart", pieces(HEAD, b"hello world"), ('regex "world"', "regex_max_offset 6")),
    ("below max offset", pieces(HEAD, b"hello world"), ('regex "world"', "regex_max_offset 5")),
    ("beyond min offset", pieces(HEAD, b"hello world"), ('regex "hello"', "regex_min_offset 3")),
    ("over two pieces", pieces(HEAD + b"hello wo", b"rld"), ('regex "world"',)),
    ("with a look behind", pieces(HEAD + b"hello wo", b"rld"), ('regex "(?<=lo )world"',)),
    ("far into it", says(LONG + b"needle in hay"), ('regex "needle"',)),
    ("too much to keep", says(LONG + b"needle in hay"), ('regex "x+needle"',)),
    ("far more than it keeps", says(LONG + b"needle in hay"), ('regex "x{9000}needle"',)),
    ("silent", pieces(after_s=3), ()),
    ("hangs after all of it", pieces(HEAD + b"hello", after_s=3), ()),
)


def replies() -> Play:
    """What is made of a reply. Once each."""
    pools, servers = [], []
    for number, (_, speak, lines) in enumerate(REPLIES):
        port = 3000 + number
        checks = check("HTTP_GET", "connect_timeout 1", "delay_loop 60", "delay_before_retry 60", url("/x", *lines))
        pools.append(pool(number + 1, server(port, checks)))
        servers.append((port, speak))
    until = turned(3000, range(len(REPLIES)))
    return Play(config(*pools, more="checker_log_all_failures"), until, tuple(servers), (CALLED,))


def requests(folder: Path) -> Play:
    """What is asked: versions, hosts, and TLS. Servers whose answer depends on the request."""
    certificate, key = folder / "c.pem", folder / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-days", "2", "-subj", "/CN=x"], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: dict[int, str | None] = {}

    def noted(tls_socket: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        names[id(tls_socket)] = name

    context.sni_callback = noted  # type: ignore[assignment]

    def echo(connection: socket.socket, number: int) -> None:
        """Says a status that tells the request and the SNI: their checksum within 400 .. 499."""
        request = b""
        while b"\r\n\r\n" not in request:
            part = connection.recv(4096)
            if not part:
                return
            request += part
        seen = request + repr(names.pop(id(connection), "")).encode()
        body = hashlib.md5(seen).hexdigest().encode()
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % int(body[:6], 16) + body)

    secure = tls(context, echo)
    made: list[tuple[str, Speak]] = [
        (http(url("/x")), echo),
        (http(url("/x"), more=("http_protocol 1.1",)), echo),
        (http(url("/x"), more=("http_protocol 1.0C",)), echo),
        (http(url("/x", "virtualhost u.example"), more=("virtualhost c.example",)), echo),
        (http(url("/x?a=b&c"), more=("virtualhost c.example",)), echo),
        (http(url("/x"), kind="SSL_GET"), secure),
        (http(url("/x", "virtualhost u.example"), kind="SSL_GET", more=("enable_sni",)), secure),
        (http(url("/x"), kind="SSL_GET", more=("enable_sni", "virtualhost c.example")), secure),
        (http(url("/x"), kind="SSL_GET"), says(b"HTTP/1.0 400 Bad\r\n\r\n")),
        (http(url("/x"), kind="SSL_GET"), tls(context, says(b""))),
        (http(url("/x"), kind="SSL_GET"), tls(context, says(HEAD + b"hi", rest_s=4))),
        (http(url("/x"), kind="SSL_GET"), tls(context, pieces(after_s=4))),
    ]  # fmt: skip
    pools = [
        pool(
            number + 1,
            server(4000 + number, one.replace("connect_timeout 2", "connect_timeout 1\ndelay_loop 60\ndelay_before_retry 60")),
            extra=("virtualhost v.example",) if number == 4 else (),
        )
        for number, (one, _) in enumerate(made)
    ]  # fmt: skip
    servers = tuple((4000 + number, speak) for number, (_, speak) in enumerate(made))
    until = turned(4000, range(len(made)))
    return Play(config(*pools, more="checker_log_all_failures"), until, servers, (CALLED,))


def connections() -> Play:
    """What becomes of connections: refused, unreachable, and not made at all; and the dialogue of mail."""
    where = ("connect_timeout 1", "delay_loop 60", "delay_before_retry 0.3")
    away = ("connect_ip 203.0.113.5",)
    alien = ("bindto 203.0.113.5",)
    checks: list[tuple[str, Speak | None]] = []
    for more in (("connect_port 1",), away, alien, ("bind_if nothere0",), ("bindto 127.0.0.7", "bind_port 17171")):
        checks.append((check("TCP_CHECK", *where, *more), None))
        if more[0] != "bindto 127.0.0.7":
            checks.append((check("HTTP_GET", *where, *more, url("/")), None))
            checks.append((check("SMTP_CHECK", *where, *more), None))
    for dialogue in (
        MAIL_OK,
        mail(b"220 mx\r\n", b"550 no\r\n", b""),
        mail(b"220\r\n", b"250 x\r\n", b"221 x\r\n"),
        mail(b"220-mx\r\n220 mx\r\n", b"250 x\r\n", b"221 x\r\n"),
        mail(b"220 mx\r\n", b"250-a\r\n250 b\r\n", b"221 x\r\n"),
        mail(b"220 mx\r\n", b"250 x\r\n"),
        mail(b"220 mx\r\n", b"250 x\r\n", b"500 what\r\n"),
        mail(b"220 " + b"m" * 600 + b"\r\n", b"250 x\r\n", b"221 x\r\n"),
        mail(),
        lambda connection, number: time.sleep(3),
    ):
        checks.append((check("SMTP_CHECK", *where, "helo_name me.example"), dialogue))
    pools = [pool(number + 1, server(5000 + number, one)) for number, (one, _) in enumerate(checks)]
    servers = tuple((5000 + number, speak) for number, (_, speak) in enumerate(checks) if speak is not None)
    made_here = [
        number for number, (one, _) in enumerate(checks) if not any(word in one for word in ("bind_if", alien[0]))
    ]
    until = (*turned(5000, made_here), "Checker can't bind to device", "SMTP_CHECK socket bind failed")
    return Play(config(*pools, more="checker_log_all_failures"), until, servers, (CALLED,))


COUNTED = "n=$(cat {own}/NAME.n 2>/dev/null || echo 0); n=$((n+1)); echo $n > {own}/NAME.n; set -- SEQ; shift $((n <= $# ? n-1 : $#-1)); "


def counted(name: str, *results: str) -> tuple[str, str]:
    """A program that ends as the next of some words says: a status, or `k` for a signal, `s` for too long, `t` for one that traps."""
    act = 'case $1 in k) kill -9 $$;; s) exec sleep 20;; t) trap "exit 0" TERM; sleep 20 & wait; exit 0;; *) exit $1;; esac'
    return f"{name}.sh", COUNTED.replace("NAME", name).replace("SEQ", " ".join(results)) + act


def programs() -> Play:
    """MISC_CHECK: statuses, signals, time-outs, weights, and programs that may not run."""
    misc = "MISC_CHECK {\nmisc_path \"{own}/%s.sh one 'two three'\"\n%s\n}"
    made = (
        counted("a", "0", "0", "1", "1", "1", "1", "0"),
        counted("b", "1", "1", "0"),
        counted("c", "7", "7", "12", "1", "1", "12", "0", "2"),
        counted("d", "0", "k", "k", "0"),
        counted("e", "s", "0"),
        counted("f", "t"),
        counted("g", "0", "3", "0"),
        counted("h", "7", "k", "k", "9", "20", "0"),
        counted("j", "1", "1", "0"),
        counted("i", "9", "s", "s", "9", "7", "0"),
    )
    patient = "misc_timeout 30\n"
    pools = [
        pool(1, server(6001, misc % ("a", patient + "retry 2"))),
        pool(2, server(6002, misc % ("b", patient + "retry 1"))),
        pool(3, server(6003, misc % ("c", patient + "misc_dynamic\nretry 1"), extra=("weight 3",))),
        pool(4, server(6004, misc % ("d", patient + "retry 1"))),
        pool(5, server(6005, misc % ("e", "misc_timeout 1"))),
        pool(6, server(6006, misc % ("f", "misc_timeout 1"))),
        pool(7, server(6007, misc % ("g", patient + ""))),
        pool(8, server(6008, misc % ("h", patient + "misc_dynamic\nretry 1"), extra=("weight 4",))),
        pool(9, server(6009, misc % ("missing", "")), server(6010, misc % ("plain", ""))),
        pool(10, server(6011, misc % ("j", patient + "alpha"))),
        pool(11, server(6012, misc % ("i", "misc_timeout 1\nmisc_dynamic\nretry 1"), extra=("weight 10",))),
    ]
    until = (
        "[127.0.0.1]:tcp:6001 from",
        "Adding service [127.0.0.1]:tcp:6001",
        "Adding service [127.0.0.1]:tcp:6002",
        "Changing weight from 3 to 0 for active service [127.0.0.1]:tcp:6003",
        "Adding service [127.0.0.1]:tcp:6004",
        "Adding service [127.0.0.1]:tcp:6005",
        "Adding service [127.0.0.1]:tcp:6011",
        "6006 VS [10.0.0.6]:tcp:80] by [OWN/f.sh] succeeded",
        "Adding service [127.0.0.1]:tcp:6007",
        "Changing weight from 19 to 5",
        "Changing weight from 2 to 7 for active service [127.0.0.1]:tcp:6012",
    )
    return Play(
        config(*pools, more="checker_log_all_failures"), until, programs=(CALLED, *made, ("plain.sh", "exit 0"))
    )


def quorums() -> Play:
    """Three servers in four pools, steered one after the other: quorum, hysteresis, sorry servers, inhibit, alpha, omega.

    The first runs end half a second after one another, so that their order is that of the servers.
    """
    names = ("q1", "q2", "q3")
    wait = "[ -e {own}/$1.seen ] || sleep %s; : > {own}/$1.seen; exit $(cat {own}/%s 2>/dev/null || echo 0)"
    held = [(f"{name}.sh", wait % (0.5 * at, name)) for at, name in enumerate(names)]

    def misc(name: str, base: int) -> str:
        return check("MISC_CHECK", f'misc_path "{{own}}/{name}.sh {name}.{base}"', "misc_timeout 30")

    def servers(base: int, *extra: str) -> list[str]:
        return [server(base + at, misc(name, base), extra=("weight 2", *extra)) for at, name in enumerate(names)]

    sorry = "sorry_server 127.0.0.9 9999"
    pools = (
        pool(1, *servers(7000)),
        pool(2, *servers(7010), extra=("quorum 3", "hysteresis 1", sorry, "omega")),
        pool(3, *servers(7020, "inhibit_on_failure"), extra=("quorum 5", sorry, "sorry_server_inhibit", "alpha")),
        pool(4, *servers(7030), extra=("quorum 6", "hysteresis 5", "alpha", "omega")),
        pool(5, *servers(7040, "weight 0"), extra=("quorum 1",)),
        pool(6, server(7050), server(7051, misc("q1", 7051), misc("q2", 7051))),
    )
    bases = (7000, 7010, 7020, 7030, 7040)

    def told(name: str, how: str) -> tuple[str, ...]:
        ports = [base + names.index(name) for base in bases] + [7051] * (name != "q3")
        return tuple(
            f"{port} VS [10.0.0.{number + 1}]:tcp:80] by [OWN/{name}.sh] {how}" for number, port in enumerate(ports)
        )

    before = sum((told(name, "succeeded") for name in names), ())
    steps = []
    for name, value in (("q1", "1"), ("q2", "1"), ("q3", "1")):
        steps.append((before, value, name))
        before = told(name, "failed")
    for name in ("q2", "q1", "q3"):
        steps.append((before, "0", name))
        back = {"q2": "Adding", "q1": "Adding", "q3": "Adding"}[name]
        before = (
            f"{back} service [127.0.0.1]:tcp:{7000 + names.index(name)}",
            f"Enabling service [127.0.0.1]:tcp:{7020 + names.index(name)}",
        )
        before += tuple(f"{back} service [127.0.0.1]:tcp:{base + names.index(name)}" for base in (7010, 7030, 7040))
    return Play(config(*pools, more="rs_init_notifies"), before, programs=(CALLED, *held), steps=tuple(steps))


def alerts() -> Play:
    """Mails of a server with two checkers, which tell of themselves only where that turns the server."""
    first = "[ -e {own}/q2.seen ] || { : > {own}/q2.seen; sleep 0.7; }; "
    held = [
        (f"{name}.sh", f"{wait}exit $(cat {{own}}/{name} 2>/dev/null || echo 0)")
        for name, wait in (("q1", ""), ("q2", first))
    ]
    both = [check("MISC_CHECK", f'misc_path "{{own}}/{name}.sh"', "misc_timeout 30") for name in ("q1", "q2")]
    text = config(
        pool(1, server(9001, *both), extra=("smtp_alert",)),
        more="smtp_server 127.0.0.1 2500\nnotification_email {\na@example.com\n}\nno_checker_emails",
    )
    steps = (
        (("by [OWN/q1.sh] succeeded", "by [OWN/q2.sh] succeeded"), "1", "q1"),
        (("by [OWN/q1.sh] failed",), "1", "q2"),
    )
    return Play(text, ("by [OWN/q2.sh] failed",), programs=(CALLED, *held), steps=steps, mail_port=2500)


def suspended() -> Play:
    """ha_suspend: checked only while the address is on this machine; that of a group never is."""
    group = "virtual_server_group G {\n10.0.0.3 80\n}\n"
    alone = ("ha_suspend",)
    text = config(
        pool(1, server(8001, http(url("/"))), extra=alone),
        pool(2, server(8002, check("TCP_CHECK")), extra=alone),
        group + pool(3, server(8003, check("TCP_CHECK")), extra=alone).replace("10.0.0.3 80 {", "group G {"),
    )
    steps = (
        (("tcp:8003 for VS [G]",), "addr add 10.0.0.1/32 dev lo", "ip"),
        (("Lost quorum 1-0=1 > 0 for VS [10.0.0.1]",), "addr del 10.0.0.1/32 dev lo", "ip"),
    )
    return Play(text, ("Suspending",), ((8001, one_of(OK, BAD)),), (CALLED,), steps)


def answered(*codes: int) -> Answer:
    """A name server with these result codes in turn, the last one for ever; -1 says nothing, -2 what is no answer to the question."""

    def answer(data: bytes, number: int) -> list[bytes]:
        code = codes[min(number, len(codes)) - 1]
        other = bytes([data[0] ^ 1]) + data[1:]
        if code == -2:
            return [b"xx", data, other[:2] + b"\x80\0" + data[4:]]
        good = data[:2] + bytes([data[2] | 0x80, max(code, 0)]) + data[4:]
        return [] if code == -1 else [b"xx", other, good]

    return answer


def said(*replies: bytes | None) -> Answer:
    """A UDP server with these replies in turn, the last one for ever; None says nothing."""

    def answer(data: bytes, number: int) -> list[bytes]:
        reply = replies[min(number, len(replies)) - 1]
        return [] if reply is None else [reply]

    return answer


def datagrams() -> Play:
    """DNS_CHECK and UDP_CHECK in all that can become of them, at servers that answer, are silent, err, or are not there."""
    dns, udp = "DNS_CHECK", "UDP_CHECK"
    fast, patient = ("connect_timeout 0.3", "retry 1"), ("connect_timeout 3", "retry 1")
    servers: list[tuple[int, Answer]] = [
        (3001, answered(0)),
        (3002, answered(3, 3, 0)),
        (3003, answered(-1)),
        (3004, answered(-2)),
        (3005, answered(0, 2, 2, 0)),
        (3101, said(None)),
        (3102, said(b"hello")),
        (3103, said(b"hello", b"", b"hello", b"bye", b"bye", b"hello")),
        (3104, said(b"hello", None, None, b"hello")),
        (3105, said(b"hello")),
        (3106, said(b"hello")),
        (3107, said(b"he", b"hellooo")),
    ]
    checks = {
        3001: check(dns, *patient, "name example.com", "type AAAA"),
        3002: check(dns, *patient),
        3003: check(dns, *fast),
        # What is no answer must come well before the deadline: 2.2.7 waits for ever for another one behind it.
        3004: check(dns, "connect_timeout 2", "retry 1"),
        3005: check(dns, *patient, "name example.org."),
        3006: check(dns, *fast),
        3101: check(udp, *fast),
        3102: check(udp, *patient, "payload ab c de"),
        3103: check(udp, *patient, "require_reply 68xx6C 6c6f"),
        3104: check(udp, "connect_timeout 1", "retry 1", "require_reply"),
        3105: check(udp, *patient, "require_reply 68", "min_reply_length 9"),
        3106: check(udp, *patient, "require_reply", "max_reply_length 2"),
        3107: check(udp, *patient, "require_reply 68656c6c6f", "max_reply_length 5"),
        3108: check(udp, *fast),
        3109: check(udp, *fast, "require_reply"),
    }
    alphas = (3002, 3105)
    pools = [
        pool(number, server(port, one), extra=("alpha",) if port in alphas else ()).replace(
            "protocol TCP", "protocol UDP"
        )
        for number, (port, one) in enumerate(checks.items(), 1)
    ]
    until = (
        "Adding service [127.0.0.1]:udp:3002",
        "Removing service [127.0.0.1]:udp:3003",
        "Removing service [127.0.0.1]:udp:3004",
        "Adding service [127.0.0.1]:udp:3005",
        "Removing service [127.0.0.1]:udp:3006",
        "UDP connection to [127.0.0.1]:udp:3101 success",
        "UDP connection to [127.0.0.1]:udp:3102 success",
        "Adding service [127.0.0.1]:udp:3103",
        "Adding service [127.0.0.1]:udp:3104",
        "Removing service [127.0.0.1]:udp:3107",
        "Removing service [127.0.0.1]:udp:3108",
        "Removing service [127.0.0.1]:udp:3109",
    )
    mails = "smtp_server 127.0.0.1 2500\nnotification_email {\na@example.com\n}"
    more = f"checker_log_all_failures\n{mails}"
    return Play(config(*pools, more=more), until, (), (CALLED,), mail_port=2500, datagrams=tuple(servers))


def six() -> Play:
    """Virtual and real servers of IPv6: each kind passes, fails and comes back; the names, the Host header and the mails of both."""

    def told(number: int, port: int, *checks: str, extra: tuple[str, ...] = ()) -> str:
        one = pool(number, server(port, *checks), extra=extra)
        return one.replace(f"10.0.0.{number}", f"2001:db8::{number}").replace("127.0.0.1", "::1")

    down_up = one_of(OK, OK, BAD, BAD, BAD, OK)
    checked = "[ -e {own}/m.seen ] && exit 0; : > {own}/m.seen; exit 1"
    dns = told(6, 5006, check("DNS_CHECK", "connect_timeout 3", "retry 1")).replace("protocol TCP", "protocol UDP")
    pools = (
        told(1, 5001, http(url("/")), extra=("retry 1", "smtp_alert", "sorry_server ::1 5999")),
        told(2, 5002, http(url("/x"), more=("bindto ::1",))),
        told(3, 5003, check("TCP_CHECK", "retry 1")),
        told(4, 5004, check("TCP_CHECK", "connect_ip ::1", "connect_port 5002")),
        told(5, 5005, check("SMTP_CHECK", "retry 1")),
        dns,
        told(7, 5007, check("MISC_CHECK", 'misc_path "{own}/m.sh"', "misc_timeout 30")),
    )
    until = (
        "Adding service [::1]:tcp:5001",
        "Remote Web server [::1]:tcp:5002 succeed",
        "Removing service [::1]:tcp:5003",
        "TCP connection to [::1]:tcp:5004 success",
        "Removing service [::1]:tcp:5005",
        "Adding service [::1]:udp:5006",
        "Adding service [::1]:tcp:5007",
    )
    more = "checker_log_all_failures\nsmtp_server 127.0.0.1 2500\nnotification_email {\na@example.com\n}"
    servers = ((5001, down_up), (5002, OK), (5005, MAIL_BAD))
    programs_ = (CALLED, ("m.sh", checked))
    asked = ((5006, answered(0, 3, 3, 0)),)
    return Play(config(*pools, more=more), until, servers, programs_, mail_port=2500, datagrams=asked, six=True)


def pings() -> Play:
    """PING_CHECK at an address that is there, at one that comes and goes, and over IPv6."""
    lines = ("connect_timeout 0.4", "retry 1")
    away = pool(2, server(8502, check("PING_CHECK", *lines))).replace("127.0.0.1", "10.255.0.77")
    over_six = pool(3, server(8503, check("PING_CHECK", *lines)), extra=("alpha",))
    text = config(
        pool(1, server(8501, check("PING_CHECK", *lines))),
        away,
        over_six.replace("10.0.0.3", "2001:db8::3").replace("127.0.0.1", "::1"),
        more="checker_log_all_failures",
    )
    back = "Adding service [10.255.0.77]:tcp:8502"
    steps = (
        ((), "route add 10.255.0.0/24 dev lo", "ip"),
        (("Removing service [10.255.0.77]:tcp:8502",), "addr add 10.255.0.77/32 dev lo", "ip"),
        ((back, "ICMP connection to [::1]"), "addr del 10.255.0.77/32 dev lo", "ip"),
    )
    return Play(text, ("failed after 1 retries",), (), (CALLED,), steps)


PLAYS: dict[str, Callable[[Path], Play]] = {
    "paces": lambda _: paces(),
    "replies": lambda _: replies(),
    "requests": requests,
    "connections": lambda _: connections(),
    "programs": lambda _: programs(),
    "quorums": lambda _: quorums(),
    "alerts": lambda _: alerts(),
    "suspended": lambda _: suspended(),
    "datagrams": lambda _: datagrams(),
    "six": lambda _: six(),
    "pings": lambda _: pings(),
}


def played(name: str, folder: Path, shim: Path, stalls: Stalls) -> tuple[Outcome, list[tuple[int, str]]]:
    """A play, and why it was played again: only where timers were late and something did not fit."""
    again: list[tuple[int, str]] = []
    for number in range(ATTEMPTS):
        began_ns = time.monotonic_ns()
        own = folder / f"{name}{number}"
        own.mkdir()
        outcome = play(f"{name[:4]}{number}", PLAYS[name](own), own, shim)
        differences = outcome.differences()
        late_us = stalls.worst_us(began_ns)
        if not differences or late_us < LATE_US:
            break
        again.append((late_us, str(differences)))
    return outcome, again


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[tuple[Outcome, list[tuple[int, str]]]]]]:
    """The plays that are asked for, side by side."""
    why = missing() or ("" if shutil.which("gcc") else "there is no gcc")
    if why:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("checkers")
    shim = build_shim(folder)
    names = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    with Stalls() as stalls, ThreadPoolExecutor(len(PLAYS)) as threads:
        yield {name: threads.submit(played, name, folder, shim, stalls) for name in PLAYS if name in names}


@pytest.mark.parametrize("name", PLAYS)
def test_as_keepalived(outcomes: dict[str, Future[tuple[Outcome, list[tuple[int, str]]]]], name: str) -> None:
    """Lines, FIFO, calls and mails of each virtual server."""
    told, again = outcomes[name].result()
    for late_us, what in again:
        tell(name, late_us, what)
    assert told.differences() == {}
    assert sum(map(len, told.lines["keepalived"].values())) > 9
    assert told.calls["keepalived"]
    assert told.fifo["keepalived"]
