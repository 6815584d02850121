"""The sample fetches that checks can run, by name. Source: haproxy configuration manual 2.6, §7.3.2, §7.3.4 to §7.3.6.

A fetch that is missing here is refused by name. What has no value in a check of HAProxy (the client's address, say) is a
variable that nobody sets.
"""

from __future__ import annotations

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
        return [*ops, Op(lib.RF_CONV_INT)] if cast else ops

    return Sample(make, Kind.ANY, Kind.INT if cast else Kind.TEXT, 0, 2)


def header_count(code: int) -> Sample:
    return Sample(lambda args: [Op(code, text=args.text(0))], Kind.ANY, Kind.INT, 0, 1)


def make_names(args: Args) -> list[Op]:
    return [Op(lib.RF_FETCH_HDR_NAMES, text=args.text(0) if args.has(0) else b",")]


def make_srv_is_up(args: Args) -> list[Op]:
    """Of the server that is checked; what others are, its check does not know."""
    backend, slash, server = args.string(0).rpartition("/")
    own_backend, own_server = args.program.own
    args.program.names_own = True
    if (backend if slash else own_backend, server) != (own_backend, own_server):
        raise NotChecked(f"'srv_is_up({args.string(0)})': only of the server that is checked")
    return [Op(lib.RF_FETCH_UP)]


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
    "srv_is_up": Sample(make_srv_is_up, Kind.ANY, Kind.BOOL, 1, 1),
    "src": undefined(Kind.TEXT),
    "dst": undefined(Kind.TEXT),
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
    "res.ver": plain(lib.RF_FETCH_VER, Kind.TEXT),
    "res.body": plain(lib.RF_FETCH_BODY, Kind.BIN),
    "res.body_len": plain(lib.RF_FETCH_BODY_LEN, Kind.INT),
    "res.body_size": plain(lib.RF_FETCH_BODY_LEN, Kind.INT),
}
