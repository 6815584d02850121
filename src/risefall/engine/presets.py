"""The presets as lists of rules: the bytes that are sent, the replies that are expected, the words for them.

Each is what HAProxy itself makes of the option; steps count as there, because "empty response" tells them.
Source: spec/haproxy-checks.md §3.10; PostgreSQL, MySQL client protocol, RFC 4511, SPOE §3.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import CheckKind
from risefall.engine._native import lib
from risefall.engine.layout import NativeRule, Op, raw, text_op
from risefall.engine.tcp_rules import implicit_connect, need_regex

Preset = Callable[[tuple[str, ...], Dialect, int], list[NativeRule]]
EMIT = Op(lib.RF_OP_EMIT)


def payload(offset: int, length: int = 0) -> Op:
    """`res.payload(offset,length)`: 0 is all the rest."""
    return Op(lib.RF_FETCH_PAYLOAD, offset, length)


FIRST_LINE = [payload(0), Op(lib.RF_CONV_CUT_CRLF), EMIT]
REST_OF_LINE = [payload(4), Op(lib.RF_CONV_LTRIM, text=b" "), Op(lib.RF_CONV_CUT_CRLF), EMIT]
TIME_OF_DAY = [Op(lib.RF_FETCH_DATE), Op(lib.RF_CONV_HTONL), Op(lib.RF_CONV_HEX), EMIT]


def connect_step() -> NativeRule:
    """`connect default linger` as step 1: these checks end with FIN."""
    return NativeRule(lib.RF_RULE_CONNECT, 1, lib.RF_RULE_DEFAULT | lib.RF_RULE_LINGER)


def send(step: int, data: bytes) -> NativeRule:
    return NativeRule(lib.RF_RULE_SEND, step, format=text_op(data))


def expect(step: int, kind: int, pattern: bytes = b"", *, error: int, min_recv: int = -1) -> NativeRule:
    """An expect whose mismatch is `error`."""
    return NativeRule(lib.RF_RULE_EXPECT, step, expect=kind, pattern=pattern, error_status=error, min_recv=min_recv)


# --- TLS hello, SMTP, PostgreSQL, Redis ----------------------------------------------------------------


SUITES = b"".join(struct.pack(">H", suite) for suite in (*range(0x0001, 0x001C), *range(0x002F, 0x003B)))
HELLO_RANDOM = b"HAPROXYSSLCHK\n" * 2


def ssl_hello(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """An SSLv3 ClientHello with the time of day in it; an alert or a handshake record answers it."""
    need_regex()
    before = bytes.fromhex("16030000790100007503" + "00")
    after = HELLO_RANDOM + b"\0" + struct.pack(">H", len(SUITES)) + SUITES + bytes.fromhex("0100")
    hello = [*text_op(before.hex().encode()), *TIME_OF_DAY, *text_op(after.hex().encode())]
    answer = expect(2, lib.RF_EXP_BINARY_REGEX, b"^1[56]", error=lib.RF_L6RSP, min_recv=5)
    answer.ok_status, answer.tout_status = lib.RF_L6OK, lib.RF_L6TOUT
    return [
        implicit_connect(),
        NativeRule(lib.RF_RULE_SEND, 1, lib.RF_RULE_HEX, format=hello),
        answer,
    ]


def smtp(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """Greeting, HELO or EHLO, QUIT; the code and the text of the last reply are told."""
    need_regex()
    greeting, host = options

    def reply(step: int, pattern: bytes, words: list[Op]) -> NativeRule:
        rule = expect(step, lib.RF_EXP_REGEX, pattern, error=lib.RF_L7STS, min_recv=4)
        rule.on_error = words
        rule.status_code = [payload(0, 3)]
        return rule

    banner = reply(2, rb"^[0-9]{3}[ \r]", FIRST_LINE)
    banner.error_status, banner.status_code = lib.RF_L7RSP, ()
    hello = reply(5, rb"^(2[0-9]{2}-[^\r]*\r\n)*2[0-9]{2}[ \r]", REST_OF_LINE)
    hello.min_recv = -1
    quit_ = reply(7, rb"^2[0-9]{2}[- \r]", REST_OF_LINE)
    quit_.on_success = REST_OF_LINE
    return [
        connect_step(),
        banner,
        reply(3, rb"^2[0-9]{2}[ \r]", REST_OF_LINE),
        send(4, raw(f"{greeting} {host}\r\n")),
        hello,
        send(6, b"QUIT\r\n"),
        quit_,
    ]


def pgsql(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """A startup message; any authentication request answers it."""
    need_regex()
    parameters = b"user\0" + raw(options[1]) + b"\0\0"
    startup = struct.pack(">II", 8 + len(parameters), 0x00030000) + parameters
    refused = expect(3, lib.RF_EXP_REGEX, b"^E", error=lib.RF_L7RSP, min_recv=5)
    refused.flags = lib.RF_RULE_NEGATE
    refused.on_error = [payload(6), EMIT]
    pattern = rb"^52000000[A-Z0-9]{2}000000(00|02|03|04|05|06|07|09|0A)"
    answer = expect(4, lib.RF_EXP_BINARY_REGEX, pattern, error=lib.RF_L7STS, min_recv=9)
    answer.on_success = text_op(b"PostgreSQL server is ok")
    answer.on_error = text_op(b"PostgreSQL unknown error")
    return [connect_step(), send(2, startup), refused, answer]


def redis(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    answer = expect(2, lib.RF_EXP_STRING, b"+PONG\r\n", error=lib.RF_L7STS)
    answer.on_success = text_op(b"Redis server is ok")
    answer.on_error = FIRST_LINE
    return [implicit_connect(), send(1, b"*1\r\n$4\r\nPING\r\n"), answer]


# --- MySQL, LDAP, SPOP -----------------------------------------------------------------------------------


def mysql_login(user: bytes, version: str) -> bytes:
    """The client's authentication packet, and COM_QUIT behind it."""
    if version == "pre-41":
        body = bytes.fromhex("0080" + "000001") + user + b"\0\0"
    else:
        capabilities = "00820800" if version == "post-80" else "00820000"
        body = bytes.fromhex(capabilities + "00800001" + "21") + bytes(23) + user + b"\0\0"
        if version == "post-80":
            body += b"mysql_native_password\0"
    return struct.pack("<I", len(body))[:3] + b"\1" + body + bytes.fromhex("0100000001")


def mysql(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """The greeting alone; or, with a user, a login that is sent before the greeting is read, and the packet behind it."""
    sends = [send(2, mysql_login(raw(options[1]), options[2]))] if options else []
    first = 2 + len(sends)
    rules = [connect_step(), *sends, expect(first, lib.RF_EXP_MYSQL, error=lib.RF_L7RSP)]
    if options:
        rules.append(expect(first + 1, lib.RF_EXP_MYSQL_OK, error=lib.RF_L7RSP))
    return rules


def ldap(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """An anonymous bind."""
    need_regex()
    bind = bytes.fromhex("300c020101600702010304008000")
    shape = expect(2, lib.RF_EXP_BINARY_REGEX, b"^30", error=lib.RF_L7RSP, min_recv=14)
    shape.on_error = text_op(b"Not LDAPv3 protocol")
    answer = expect(3, lib.RF_EXP_LDAP, error=lib.RF_L7RSP)
    return [implicit_connect(), send(1, bind), shape, answer]


def varint(value: int) -> bytes:
    """A SPOP integer: a byte below 240, else its low four bits and then seven bits a byte."""
    if value < 240:
        return bytes((value,))
    out = [value & 0xFF | 240]
    value = (value - 240) >> 4
    while value >= 128:
        out.append(value & 0x7F | 128)
        value = (value - 128) >> 7
    return bytes((*out, value))


def spop(options: tuple[str, ...], dialect: Dialect, bufsize: int) -> list[NativeRule]:
    """HAPROXY-HELLO with `healthcheck`; an AGENT-HELLO answers it."""

    def text(value: bytes) -> bytes:
        return varint(len(value)) + value

    frame = bytes.fromhex("01" + "00000001" + "0000")
    frame += text(b"supported-versions") + b"\x08" + text(b"2.0")
    frame += text(b"max-frame-size") + b"\x03" + varint(bufsize - 4)
    frame += text(b"capabilities") + b"\x08" + text(b"")
    frame += text(b"healthcheck") + b"\x11"
    hello = struct.pack(">I", len(frame)) + frame
    if dialect.spop_capabilities:  # 3 connects by a rule of its own, so its steps count from there
        connect = NativeRule(lib.RF_RULE_CONNECT, 1, lib.RF_RULE_DEFAULT)
        return [connect, send(2, hello), expect(3, lib.RF_EXP_SPOP, error=lib.RF_L7RSP, min_recv=4)]
    return [implicit_connect(), send(1, hello), expect(2, lib.RF_EXP_SPOP, error=lib.RF_L7RSP, min_recv=4)]


PRESETS: dict[CheckKind, Preset] = {
    CheckKind.SSL_HELLO: ssl_hello,
    CheckKind.SMTP: smtp,
    CheckKind.PGSQL: pgsql,
    CheckKind.REDIS: redis,
    CheckKind.MYSQL: mysql,
    CheckKind.LDAP: ldap,
    CheckKind.SPOP: spop,
}
