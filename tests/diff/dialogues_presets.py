"""Presets, row by row of spec §3.10: right, wrong, cut and empty answers, on a connection that closes and on one that stays."""

from __future__ import annotations

from dialogue_kit import Case, script


def mysql_packet(sequence: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((sequence,)) + body


def spop_frame(kind: int, *items: bytes, flags: int = 1, ids: bytes = b"\0\0") -> bytes:
    frame = bytes((kind,)) + flags.to_bytes(4, "big") + ids + b"".join(items)
    return len(frame).to_bytes(4, "big") + frame


GREETING = mysql_packet(0, b"\x0a8.0.36\0" + b"x" * 40)
OK_PACKET = mysql_packet(2, b"\0\0\0\2\0\0\0")
DENIED = mysql_packet(2, b"\xff\x15\x04#28000Access denied")
BLOCKED = mysql_packet(0, b"\xff\x6a\x04Host blocked")
NOT_IT = b"HTTP/1.1 400 Bad Request\r\n\r\n"
VERSION, SIZE = b"\x07version\x08\x032.0", b"\x0emax-frame-size\x03\xfc\xf0\x06"
CAPABILITIES = b"\x0ccapabilities\x08\x00"
LDAP_OK = bytes.fromhex("300c02010161070a010004000400")


Steps = tuple[int | bytes | float, ...]
ROWS: list[tuple[str, str, Steps]] = [
    ("redis ok", "redis-check", (14, b"+PONG\r\n")),
    ("redis wrong", "redis-check", (14, b"-NOAUTH Authentication required.\r\nxx")),
    ("redis cut", "redis-check", (14, b"+PO", 0.05, b"NG\r\n")),
    ("redis empty", "redis-check", (14,)),
    ("mysql greeting", "mysql-check", (GREETING,)),
    ("mysql greeting in pieces", "mysql-check", (GREETING[:3], 0.05, GREETING[3:9], 0.05, GREETING[9:])),
    ("mysql blocked", "mysql-check", (BLOCKED,)),
    ("mysql cut", "mysql-check", (GREETING[:20],)),
    ("mysql user", "mysql-check user haproxy", (45, GREETING + OK_PACKET)),
    ("mysql user denied", "mysql-check user haproxy", (45, GREETING, DENIED)),
    ("mysql user auth switch", "mysql-check user haproxy", (45, GREETING, mysql_packet(2, b"\xfemysql_native\0"))),
    ("mysql user post-41", "mysql-check user a post-41", (39, GREETING, OK_PACKET)),
    ("mysql user pre-41", "mysql-check user haproxy pre-41", (18, GREETING, OK_PACKET)),
    ("mysql user greeting only", "mysql-check user haproxy", (45, GREETING)),
    ("mysql garbage", "mysql-check", (NOT_IT,)),
    ("mysql empty packet", "mysql-check", (b"\0\0\0\0",)),
    ("mysql oversized length", "mysql-check", (b"\xff\xff\xff\0\x0a8.0",)),
    ("mysql empty", "mysql-check", ()),
    ("pgsql ok", "pgsql-check user postgres", (23, bytes.fromhex("520000000800000000"))),
    ("pgsql password", "pgsql-check user postgres", (23, bytes.fromhex("520000000c0000000511223344"))),
    ("pgsql error", "pgsql-check user postgres", (23, b"E\0\0\0\x20SFATAL\0C3D000\0Mno such\0\0")),
    ("pgsql other", "pgsql-check user postgres", (23, b"HTTP/1.1 400 Bad")),
    ("pgsql short", "pgsql-check user postgres", (23, b"R\0\0\0")),
    ("pgsql empty", "pgsql-check user postgres", (23,)),
    ("smtp ok", "smtpchk EHLO foo", (b"220 hi there\r\n", 10, b"250-a\r\n250 b\r\n", 16, b"221 bye\r\n")),
    ("smtp greeting of two lines", "smtpchk EHLO foo", (b"220-hi\r\n220 there\r\n",)),
    ("smtp hello refused", "smtpchk", (b"220 hi\r\n", 16, b"500 what\r\n")),
    ("smtp busy", "smtpchk", (b"554 go away\r\n",)),
    ("smtp other", "smtpchk", (b"SSH-2.0-x\r\n",)),
    ("smtp empty", "smtpchk", ()),
    ("smtp short", "smtpchk", (b"22",)),
    ("smtp odd word", "smtpchk FOO bar", (b"220 hi\r\n", 16, b"250 ok\r\n", 22, b"221 bye\r\n")),
    ("ldap ok", "ldap-check", (14, LDAP_OK)),
    ("ldap long form", "ldap-check", (14, bytes.fromhex("3084000000100201016184000000070a010004000400"[:-1] + "0"))),
    ("ldap error", "ldap-check", (14, bytes.fromhex("300c02010161070a013104000400"))),
    ("ldap other", "ldap-check", (14, NOT_IT)),
    ("ldap short", "ldap-check", (14, LDAP_OK[:6])),
    ("ldap length of three bytes", "ldap-check", (14, bytes.fromhex("30830000100201016107") + bytes(10))),
    ("ldap oversized length", "ldap-check", (14, bytes.fromhex("307f02010161070a010004000400"))),
    ("ldap other id", "ldap-check", (14, bytes.fromhex("300c02010261070a010004000400"))),
    ("ldap empty", "ldap-check", (14,)),
    ("spop ok", "spop-check", (82, spop_frame(101, VERSION, SIZE, CAPABILITIES))),
    ("spop no version", "spop-check", (82, spop_frame(101, SIZE, CAPABILITIES))),
    ("spop other version", "spop-check", (82, spop_frame(101, b"\x07version\x08\x032.7", SIZE, CAPABILITIES))),
    ("spop version in blanks", "spop-check", (82, spop_frame(101, b"\x07version\x08\x05 2.0 ", SIZE, CAPABILITIES))),
    ("spop no size", "spop-check", (82, spop_frame(101, VERSION, CAPABILITIES))),
    ("spop small size", "spop-check", (82, spop_frame(101, VERSION, b"\x0emax-frame-size\x03\x10", CAPABILITIES))),
    (
        "spop big size",
        "spop-check",
        (82, spop_frame(101, VERSION, b"\x0emax-frame-size\x03\xfd\xf0\x06", CAPABILITIES)),
    ),
    ("spop disconnect", "spop-check", (82, spop_frame(102, b"\x0bstatus-code\x03\x04\x07message\x08\x05no-no"))),
    ("spop disconnect without code", "spop-check", (82, spop_frame(102, b"\x02\x03\x04\x05"[:4]))),
    ("spop short frame", "spop-check", (82, b"\0\0\0\x05ab")),
    ("spop other", "spop-check", (82, NOT_IT)),
    ("spop cut item", "spop-check", (82, spop_frame(101, VERSION, b"\x0emax-frame"))),
    ("spop wrong type", "spop-check", (82, spop_frame(101, b"\x07version\x03\x02", SIZE, CAPABILITIES))),
    ("spop unknown item", "spop-check", (82, spop_frame(101, VERSION, b"\x03foo\x11", SIZE, CAPABILITIES))),
    ("spop unknown type", "spop-check", (82, spop_frame(101, VERSION, b"\x03foo\x0f", SIZE, CAPABILITIES))),
    ("spop no flag", "spop-check", (82, spop_frame(101, VERSION, SIZE, CAPABILITIES, flags=0))),
    ("spop no flag, no item", "spop-check", (82, spop_frame(101, flags=0))),
    ("spop other flag", "spop-check", (82, spop_frame(101, VERSION, SIZE, CAPABILITIES, flags=2))),
    ("spop more flags", "spop-check", (82, spop_frame(101, VERSION, SIZE, CAPABILITIES, flags=0x80000003))),
    ("spop id", "spop-check", (82, spop_frame(101, VERSION, SIZE, CAPABILITIES, ids=b"\0\1"))),
    ("spop disconnect without flag", "spop-check", (82, spop_frame(102, b"\x0bstatus-code\x03\x00", flags=0))),
    ("spop disconnect for fragments", "spop-check", (82, spop_frame(102, b"\x0bstatus-code\x03\x0a"))),
    ("spop disconnect unknown", "spop-check", (82, spop_frame(102, b"\x0bstatus-code\x03\xef"))),
    ("spop disconnect long message", "spop-check", (82, spop_frame(102, b"\x07message\x08\xf0\x01" + b"x" * 256))),
    ("spop longer name", "spop-check", (82, spop_frame(101, b"\x08versions\x08\x032.0", SIZE, CAPABILITIES))),
    ("spop no name", "spop-check", (82, spop_frame(101, b"\0\x08\0", VERSION, SIZE, CAPABILITIES))),
    ("spop number for capabilities", "spop-check", (82, spop_frame(101, VERSION, SIZE, b"\x0ccapabilities\x03\x01"))),
    ("spop empty", "spop-check", (82,)),
    ("hello alert", "ssl-hello-chk", (126, b"\x15\3\0\0\2\2\x28")),
    ("hello handshake", "ssl-hello-chk", (126, b"\x16\3\0\0\2")),
    ("hello short", "ssl-hello-chk", (126, b"\x16\3\0\0")),
    ("hello http", "ssl-hello-chk", (126, b"HTTP/1.1 400")),
    ("hello empty", "ssl-hello-chk", (126,)),
]
PRESETS = [
    Case(f"{name}, {then}", (f"option {option}",), script(*steps, then=then))
    for name, option, steps in ROWS
    for then in ("close", "stay")
    if not (name == "smtp hello refused" and then == "stay")  # its two writes may or may not be seen as one
]
