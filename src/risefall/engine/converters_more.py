"""Converters beyond texts and numbers: addresses, languages, stick tables (empty in a check), captures, Protocol Buffers.

Source: haproxy configuration manual 2.6, §7.3.1.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterator

from risefall.engine._native import lib
from risefall.engine.fetches import UINT32_MAX
from risefall.engine.fetches_idle import COUNTERS
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Args, Kind, Sample

KEY_CASTS = {
    "ip": lib.RF_CONV_IPV4,
    "ipv6": lib.RF_CONV_IPV6,
    "integer": lib.RF_CONV_INT,
    "string": lib.RF_CONV_TEXT,
    "binary": lib.RF_CONV_BIN,
}
"""What a stick table's keys are."""
NOTHING = Op(lib.RF_CONV_INSTEAD, 0, lib.RF_INSTEAD_NOTHING)
IPV4_BITS, IPV6_BITS = 32, 128
PATH = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
PROTOBUF = {
    "": lib.RF_PB_RAW,
    **dict.fromkeys(("bool", "enum", "uint32", "uint64", "int64"), lib.RF_PB_INT),
    "int32": lib.RF_PB_INT32,
    "sint32": lib.RF_PB_ZIGZAG,
    "sint64": lib.RF_PB_ZIGZAG,
    "fixed32": lib.RF_PB_FIXED32,
    "sfixed32": lib.RF_PB_SFIXED32,
    "float": lib.RF_PB_FLOAT,
    "fixed64": lib.RF_PB_FIXED64,
    "sfixed64": lib.RF_PB_FIXED64,
    "double": lib.RF_PB_DOUBLE,
}


def mask4(args: Args, at: int) -> int:
    """A mask as bits or as an address. Raises NotChecked."""
    word = args.string(at)
    try:
        if word.isdecimal() and int(word) <= IPV4_BITS:
            return (UINT32_MAX << (IPV4_BITS - int(word))) & UINT32_MAX
        return int(ipaddress.IPv4Address(word))
    except ValueError:
        raise NotChecked(f"'{args.name}': '{word}' is no mask of IPv4") from None


def mask6(args: Args, at: int) -> bytes:
    """The same of IPv6; nothing where there is none."""
    if not args.has(at):
        return b""
    word = args.string(at)
    try:
        if word.isdecimal() and int(word) <= IPV6_BITS:
            ones = (1 << IPV6_BITS) - 1
            return ((ones << (IPV6_BITS - int(word))) & ones).to_bytes(16, "big")
        return ipaddress.IPv6Address(word).packed
    except ValueError:
        raise NotChecked(f"'{args.name}': '{word}' is no mask of IPv6") from None


def make_ipmask(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_IPMASK, mask4(args, 0), text=mask6(args, 1))]


def make_language(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_LANGUAGE, text=args.text(0) + b";", other=args.text(1))]


def protobuf(code: int) -> Callable[[Args], list[Op]]:
    """A field by its path. code: 1 behind gRPC's framing."""

    def make(args: Args) -> list[Op]:
        if not PATH.fullmatch(args.string(0)):
            raise NotChecked(f"'{args.name}': a path of field numbers such as 1.2 is expected, got '{args.string(0)}'")
        numbers = [int(part) for part in args.string(0).split(".")]
        if max(numbers) > UINT32_MAX:
            raise NotChecked(f"'{args.name}': a field has no such number: '{args.string(0)}'")
        path = b"".join(struct.pack("<I", number) for number in numbers)
        return [Op(lib.RF_CONV_PROTOBUF, args.word(1, PROTOBUF, lib.RF_PB_RAW), code, path)]

    return make


def in_table(before: int, gives: Kind = Kind.INT, *, otherwise: bool = False) -> Sample:
    """What an empty stick table says of a key. before: integers ahead of its name. otherwise: a value for keys that are not in it."""

    def make(args: Args) -> list[Op]:
        for at in range(before):
            args.number(at, least=0)
        if args.program.around is None:
            raise NotChecked(f"the converter '{args.name}' is not supported without a configuration")
        key = args.program.around.table(args.string(before)).key
        if key not in KEY_CASTS:
            raise NotChecked(f"'{args.name}': a stick table of type '{key}' is not known")
        cast = Op(KEY_CASTS[key])
        if otherwise:
            has = args.has(before + 1)
            return [cast, Op(lib.RF_CONV_INSTEAD, args.number(before + 1)) if has else NOTHING]
        kind = lib.RF_INSTEAD_BOOL if gives is Kind.BOOL else lib.RF_INSTEAD_INT
        return [cast, Op(lib.RF_CONV_INSTEAD, 0, kind)]

    return Sample(make, Kind.ANY, gives, before + 1, before + 1 + otherwise)


def of_tables() -> Iterator[tuple[str, Sample]]:
    for name in (*COUNTERS, "gpc0", "gpc1", "gpt0", "server_id", "trackers"):
        yield f"table_{name}", in_table(0)
    for name in ("gpc", "gpc_rate", "gpt"):
        yield f"table_{name}", in_table(1)
    for name in ("expire", "idle"):
        yield f"table_{name}", in_table(0, otherwise=True)
    yield "in_table", in_table(0, Kind.BOOL)


def make_capture(args: Args) -> list[Op]:
    args.number(0, least=0)
    return [NOTHING]


MORE = {
    **dict(of_tables()),
    "ipmask": Sample(make_ipmask, Kind.ADDR, Kind.ADDR, 1, 2),
    "language": Sample(make_language, Kind.TEXT, Kind.TEXT, 1, 2),
    "protobuf": Sample(protobuf(0), Kind.BIN, Kind.BIN, 1, 2),
    "ungrpc": Sample(protobuf(1), Kind.BIN, Kind.BIN, 1, 2),
    "capture-req": Sample(make_capture, Kind.TEXT, Kind.TEXT, 1, 1),
    "capture-res": Sample(make_capture, Kind.TEXT, Kind.TEXT, 1, 1),
}
