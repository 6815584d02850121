"""The sample fetches that checks can run, by name. Source: haproxy configuration manual 2.6, §7.3.2, §7.3.4 to §7.3.6.

A fetch that is missing here is refused by name. What has no value in a check of HAProxy (the client's address, say) is a
variable that nobody sets.
"""

from __future__ import annotations

import ipaddress
import os
import re

from risefall.engine._native import lib
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Args, Kind, Sample

OCCURRENCE_LEAST = -10
"""How far back HAProxy counts values of a header."""
INT32_MAX = 2**31 - 1
UINT32_MAX = 2**32 - 1
UNITS = {"s": lib.RF_UNIT_S, "ms": lib.RF_UNIT_MS, "us": lib.RF_UNIT_US}
BOOLS = {"true": 1, "false": 0, "1": 1, "0": 0}
OFFSET = re.compile(r"([+-]?)([0-9]+)", re.ASCII)
LOOSE = 1
"""How HAProxy reads a number in a header or a cookie."""
NEVER_SET = lib.RF_VARIABLE_NONE
"""Number of a variable that nobody can set."""

UNDEFINED = [Op(lib.RF_FETCH_VAR, NEVER_SET)]


def constant_int(number: int) -> Sample:
    """A fetch that always gives the same."""
    return Sample(lambda args: [Op(lib.RF_FETCH_INT, number)], Kind.ANY, Kind.INT)


def constant_bool(number: int) -> Sample:
    return Sample(lambda args: [Op(lib.RF_FETCH_BOOL, number)], Kind.ANY, Kind.BOOL)


def fact(name: str, kind: Kind = Kind.TEXT) -> Sample:
    """A text of the server, for an INT read as a number."""

    def make(args: Args) -> list[Op]:
        ops = [Op(lib.RF_FETCH_FACT, args.program.fact(name))]
        return [*ops, Op(lib.RF_CONV_INT)] if kind is Kind.INT else ops

    return Sample(make, Kind.ANY, kind)


def plain(code: int, gives: Kind) -> Sample:
    """A fetch without arguments."""
    return Sample(lambda args: [Op(code)], Kind.ANY, gives)


def make_str(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_TEXT, text=args.text(0))]


def make_bin(args: Args) -> list[Op]:
    digits = args.string(0)
    if len(digits) % 2 or not re.fullmatch(r"[0-9a-fA-F]+", digits, re.ASCII):
        raise NotChecked(f"'bin': an even number of hexadecimal digits is expected, got '{digits}'")
    return [Op(lib.RF_FETCH_BIN, text=bytes.fromhex(digits))]


def make_bool(args: Args) -> list[Op]:
    word = args.string(0).lower()
    if word not in BOOLS:
        raise NotChecked(f"'bool': expects 'true', 'false', '0' or '1', got '{args.string(0)}'")
    return [Op(lib.RF_FETCH_BOOL, BOOLS[word])]


def make_int(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_INT, args.number(0))]


def make_date(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_DATE, args.number(0), args.word(1, UNITS, lib.RF_UNIT_S))]


def make_rand(args: Args) -> list[Op]:
    below = args.number(0, least=0, most=UINT32_MAX)
    return [Op(lib.RF_FETCH_INT, 0)] if args.has(0) and below == 0 else [Op(lib.RF_FETCH_RAND, below)]


def make_uuid(args: Args) -> list[Op]:
    args.number(0, 4, least=4, most=4)
    return [Op(lib.RF_FETCH_UUID)]


def make_var(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_VAR, args.variable(0), int(args.has(1)), args.text(1))]


def make_unique_id(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_VAR, args.program.unique_id())]


def make_env(args: Args) -> list[Op]:
    value = args.program.environment(args.string(0))
    return UNDEFINED if value is None else [Op(lib.RF_FETCH_TEXT, text=value)]


def make_hostname(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_TEXT, text=os.fsencode(os.uname().nodename))]


def make_payload(args: Args) -> list[Op]:
    at, length = args.number(0), args.number(1)
    if not (0 <= at <= INT32_MAX and 0 <= length <= INT32_MAX):
        return UNDEFINED
    return [Op(lib.RF_FETCH_PAYLOAD, at, length)]


def make_payload_lv(args: Args) -> list[Op]:
    """Third argument: with a sign it counts from behind the length. Without one 2.6 takes its lowest bit for that sign."""
    at = args.number(0, least=0, most=INT32_MAX)
    size = args.number(1, least=1, most=INT32_MAX)
    found = OFFSET.fullmatch(args.string(2) or "+0")
    if not found:
        raise NotChecked(f"'{args.name}': argument 3 has to be an integer, got '{args.string(2)}'")
    sign, offset = found.group(1), int(found.group(2))
    origin = {"+": lib.RF_LV_FORWARD, "-": lib.RF_LV_BACK, "": lib.RF_LV_START}[sign]
    if not sign:
        origin, offset = (lib.RF_LV_FORWARD if offset & 1 else lib.RF_LV_START), offset >> 1
    if offset > (at + size if sign == "-" else INT32_MAX):
        raise NotChecked(f"'{args.name}': argument 3 points to no place: '{args.string(2)}'")
    return [Op(lib.RF_FETCH_PAYLOAD_LV, at | origin << 32, size | offset << 32)]


def header(code: int, *, cast: bool = False) -> Sample:
    """A value of a header: without parentheses HAProxy finds none."""

    def make(args: Args) -> list[Op]:
        if args.bare:
            return UNDEFINED
        ops = [Op(code, args.number(1, 0, least=OCCURRENCE_LEAST, most=INT32_MAX), text=args.text(0))]
        return [*ops, Op(lib.RF_CONV_INT, LOOSE)] if cast else ops

    return Sample(make, Kind.ANY, Kind.INT if cast else Kind.TEXT, 0, 2)


def header_count(code: int) -> Sample:
    return Sample(lambda args: [Op(code, text=args.text(0))], Kind.ANY, Kind.INT, 0, 1)


def make_names(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_HDR_NAMES, text=args.text(0) if args.has(0) else b",")]


def make_ipv4(args: Args) -> list[Op]:
    try:
        return [Op(lib.RF_FETCH_IPV4, int(ipaddress.IPv4Address(args.string(0))))]
    except ValueError:
        raise NotChecked(f"'ipv4': '{args.string(0)}' is no IPv4 address") from None


def make_ipv6(args: Args) -> list[Op]:
    try:
        return [Op(lib.RF_FETCH_IPV6, text=ipaddress.IPv6Address(args.string(0)).packed)]
    except ValueError:
        raise NotChecked(f"'ipv6': '{args.string(0)}' is no IPv6 address") from None


def make_header_ip(args: Args) -> list[Op]:
    if args.bare:
        return UNDEFINED
    occurrence = args.number(1, 0, least=OCCURRENCE_LEAST, most=INT32_MAX)
    return [Op(lib.RF_FETCH_HDR_IP, occurrence, text=args.text(0))]


def cookie(code: int, *, cast: bool = False) -> Sample:
    """A cookie that the reply sets; without a name none is found."""

    def make(args: Args) -> list[Op]:
        ops = [Op(code, text=args.text(0))]
        return [*ops, Op(lib.RF_CONV_INT, LOOSE)] if cast else ops

    gives = Kind.INT if cast or code == lib.RF_FETCH_COOKIE_CNT else Kind.TEXT
    return Sample(make, Kind.ANY, gives, 0, 1)


def undefined(kind: Kind) -> Sample:
    return Sample(lambda args: UNDEFINED, Kind.ANY, kind)


PAYLOAD = Sample(make_payload, Kind.ANY, Kind.BIN, 2, 2)
PAYLOAD_LV = Sample(make_payload_lv, Kind.ANY, Kind.BIN, 2, 3)

FETCHES = {
    "str": Sample(make_str, Kind.ANY, Kind.TEXT, 0, 1),
    "bin": Sample(make_bin, Kind.ANY, Kind.BIN, 1, 1),
    "bool": Sample(make_bool, Kind.ANY, Kind.BOOL, 1, 1),
    "int": Sample(make_int, Kind.ANY, Kind.INT, 1, 1),
    "always_true": constant_bool(1),
    "always_false": constant_bool(0),
    "wait_end": constant_bool(1),
    "stopping": constant_bool(0),
    "nbproc": constant_int(1),
    "proc": constant_int(1),
    "date": Sample(make_date, Kind.ANY, Kind.INT, 0, 2),
    "date_us": plain(lib.RF_FETCH_DATE_US, Kind.INT),
    "rand": Sample(make_rand, Kind.ANY, Kind.INT, 0, 1),
    "uuid": Sample(make_uuid, Kind.ANY, Kind.TEXT, 0, 1),
    "var": Sample(make_var, Kind.ANY, Kind.ANY, 1, 2),
    "env": Sample(make_env, Kind.ANY, Kind.TEXT, 1, 1),
    "unique-id": Sample(make_unique_id, Kind.ANY, Kind.TEXT),
    "hostname": Sample(make_hostname, Kind.ANY, Kind.TEXT),
    "srv_name": fact("srv_name"),
    "srv_id": fact("srv_id", Kind.INT),
    "be_name": fact("be_name"),
    "be_id": fact("be_id", Kind.INT),
    "be_server_timeout": fact("be_server_timeout", Kind.INT),
    "be_tunnel_timeout": fact("be_tunnel_timeout", Kind.INT),
    "thread": constant_int(1),
    "ipv4": Sample(make_ipv4, Kind.ANY, Kind.IPV4, 1, 1),
    "ipv6": Sample(make_ipv6, Kind.ANY, Kind.IPV6, 1, 1),
    "meth": Sample(make_str, Kind.ANY, Kind.METH, 0, 1),
    "src": undefined(Kind.ADDR),
    "dst": undefined(Kind.ADDR),
    "src_port": undefined(Kind.INT),
    "dst_port": undefined(Kind.INT),
    "res.payload": PAYLOAD,
    "payload": PAYLOAD,
    "res.payload_lv": PAYLOAD_LV,
    "payload_lv": PAYLOAD_LV,
    "res.len": plain(lib.RF_FETCH_LEN, Kind.INT),
    "status": plain(lib.RF_FETCH_STATUS, Kind.INT),
    "res.hdr": header(lib.RF_FETCH_HDR),
    "shdr": header(lib.RF_FETCH_HDR),
    "res.fhdr": header(lib.RF_FETCH_FHDR),
    "res.hdr_val": header(lib.RF_FETCH_HDR, cast=True),
    "shdr_val": header(lib.RF_FETCH_HDR, cast=True),
    "res.hdr_cnt": header_count(lib.RF_FETCH_HDR_CNT),
    "shdr_cnt": header_count(lib.RF_FETCH_HDR_CNT),
    "res.fhdr_cnt": header_count(lib.RF_FETCH_FHDR_CNT),
    "res.hdr_names": Sample(make_names, Kind.ANY, Kind.TEXT, 0, 1),
    "res.hdrs": plain(lib.RF_FETCH_HDRS, Kind.BIN),
    "res.hdrs_bin": plain(lib.RF_FETCH_HDRS_BIN, Kind.BIN),
    "res.hdr_ip": Sample(make_header_ip, Kind.ANY, Kind.ADDR, 0, 2),
    "shdr_ip": Sample(make_header_ip, Kind.ANY, Kind.ADDR, 0, 2),
    "res.cook": cookie(lib.RF_FETCH_COOKIE),
    "scook": cookie(lib.RF_FETCH_COOKIE),
    "res.cook_val": cookie(lib.RF_FETCH_COOKIE, cast=True),
    "scook_val": cookie(lib.RF_FETCH_COOKIE, cast=True),
    "res.cook_cnt": cookie(lib.RF_FETCH_COOKIE_CNT),
    "scook_cnt": cookie(lib.RF_FETCH_COOKIE_CNT),
    "resp_ver": plain(lib.RF_FETCH_VER, Kind.TEXT),
    "res.ver": plain(lib.RF_FETCH_VER, Kind.TEXT),
    "res.body": plain(lib.RF_FETCH_BODY, Kind.BIN),
    "res.body_len": plain(lib.RF_FETCH_BODY_LEN, Kind.INT),
    "res.body_size": plain(lib.RF_FETCH_BODY_LEN, Kind.INT),
}
