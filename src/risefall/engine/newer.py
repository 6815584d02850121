"""Converters that HAProxy got after 2.6, known with `--as 3`. Source: haproxy configuration manual 3.0, §7.3.1; RFC 7239."""

from __future__ import annotations

from risefall.engine._native import lib
from risefall.engine.layout import NotChecked, Op, raw
from risefall.engine.samples import Args, Kind, Sample

FIELDS = {
    "proto": lib.RF_FORWARDED_PROTO,
    "host": lib.RF_FORWARDED_HOST,
    "by": lib.RF_FORWARDED_BY,
    "for": lib.RF_FORWARDED_FOR,
}


def make_param(args: Args) -> list[Op]:
    delimiter = args.string(1, "&")
    if not delimiter or not args.string(0):
        raise NotChecked(f"'{args.name}': the name and the delimiter cannot be empty")
    return [Op(lib.RF_CONV_PARAM, text=args.text(0), other=raw(delimiter))]


def make_field(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_FORWARDED, args.word(0, FIELDS, 0))]


def of_header(number: int, gives: Kind) -> Sample:
    return Sample(lambda args: [Op(lib.RF_CONV_FORWARDED, number)], Kind.TEXT, gives)


NEWER = {
    "param": Sample(make_param, Kind.TEXT, Kind.TEXT, 1, 2),
    "rfc7239_is_valid": of_header(lib.RF_FORWARDED_VALID, Kind.BOOL),
    "rfc7239_field": Sample(make_field, Kind.TEXT, Kind.TEXT, 1, 1),
    "rfc7239_n2nn": of_header(lib.RF_FORWARDED_NODE_NAME, Kind.ANY),
    "rfc7239_n2np": of_header(lib.RF_FORWARDED_NODE_PORT, Kind.ANY),
}
