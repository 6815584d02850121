"""The converters that checks can run, by name. Source: haproxy configuration manual 2.6, §7.3.1.

Each says what it takes (what comes is cast to it) and what it gives. One that is missing here is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from risefall.engine import native
from risefall.engine._native import lib
from risefall.engine.digests import DIGESTS
from risefall.engine.fetches import INT32_MAX, UNITS
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import INTEGER, Args, Kind, Sample, conditions_of

JSON = {
    "": lib.RF_JSON_ASCII,
    "ascii": lib.RF_JSON_ASCII,
    "utf8": lib.RF_JSON_UTF8,
    "utf8s": lib.RF_JSON_UTF8S,
    "utf8p": lib.RF_JSON_UTF8P,
    "utf8ps": lib.RF_JSON_UTF8PS,
}
PIECE_BYTES_MAX = 8
"""Of be2dec: what a 64-bit number holds."""
PATTERN_MAX = 16384
REPLACEMENT = re.compile(rb"(?:[^\\]|\\x[0-9A-Fa-f]{2}|\\[^x])*", re.DOTALL)


def plain(code: int, takes: Kind, gives: Kind) -> Sample:
    """A converter without arguments."""
    return Sample(lambda args: [Op(code)], takes, gives)


def calculation(code: int) -> Sample:
    """The other operand is a number or a variable; without one it is 0."""

    def make(args: Args) -> list[Op]:
        word = args.string(0)
        if word and not INTEGER.fullmatch(word):
            return [Op(code, args.variable(0), 1)]
        return [Op(code, args.number(0) if word else 0)]

    return Sample(make, Kind.INT, Kind.INT, 0, 1)


def trim(code: int) -> Sample:
    return Sample(lambda args: [Op(code, text=args.text(0))], Kind.TEXT, Kind.TEXT, 0, 1)


def cut(code: int) -> Sample:
    """`field` and `word`: index, delimiters, how many."""

    def make(args: Args) -> list[Op]:
        index = args.number(0)
        if index == 0:
            raise NotChecked(f"'{args.name}': unexpected value 0 for index")
        if not args.string(1):
            raise NotChecked(f"'{args.name}': empty list of separators")
        return [Op(code, index, args.number(2, 1), args.text(1))]

    return Sample(make, Kind.TEXT, Kind.TEXT, 2, 3)


def hashing(code: int) -> Sample:
    return Sample(lambda args: [Op(code, int(args.number(0) != 0))], Kind.BIN, Kind.INT, 0, 1)


def seeded(code: int) -> Sample:
    return Sample(lambda args: [Op(code, args.number(0))], Kind.BIN, Kind.INT, 0, 1)


def time_text(code: int) -> Sample:
    return Sample(lambda args: [Op(code, args.number(1), text=args.text(0))], Kind.INT, Kind.TEXT, 0, 2)


def make_set_var(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_SET_VAR, args.writable(0), conditions_of(args.strings(1), "set-var"))]


def make_unset_var(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_UNSET_VAR, args.writable(0))]


def make_bytes(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_BYTES, args.number(0), args.number(1, -1))]


def make_concat(args: Args) -> list[Op]:
    named = bool(args.string(1))
    return [Op(lib.RF_CONV_CONCAT, args.variable(1) if named else 0, int(named), args.text(0), args.text(2))]


def make_add_item(args: Args) -> list[Op]:
    named = bool(args.string(1))
    if not named and not args.string(2):
        raise NotChecked("'add_item': one of the two arguments behind the delimiter is needed")
    return [Op(lib.RF_CONV_ADD_ITEM, args.variable(1) if named else 0, int(named), args.text(0), args.text(2))]


def make_regsub(args: Args) -> list[Op]:
    if not native.has_regex():
        raise NotChecked("this build has no regular expressions: install libpcre2-dev and build risefall again")
    flags = 0
    for letter in args.string(2):
        if letter not in "gi":
            raise NotChecked(f"'regsub': invalid flag '{letter}', only 'i' and 'g' are supported")
        flags |= lib.RF_REGSUB_GLOBAL if letter == "g" else lib.RF_REGSUB_CASELESS
    pattern, replacement = args.text(0), args.text(1)
    if not pattern or len(pattern) > PATTERN_MAX:
        raise NotChecked("'regsub': missing regular expression" if not pattern else "'regsub': pattern too long")
    if not REPLACEMENT.fullmatch(replacement):
        raise NotChecked("'regsub': an escape of the replacement does not end")
    return [Op(lib.RF_CONV_REGSUB, flags, text=pattern, other=replacement)]


def make_url_dec(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_URL_DEC, int(args.number(0) != 0))]


def make_url_enc(args: Args) -> list[Op]:
    args.word(0, {"": 0, "query": 0}, 0)
    return [Op(lib.RF_CONV_URL_ENC)]


def make_json(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_JSON, args.word(0, JSON, lib.RF_JSON_ASCII))]


def make_json_query(args: Args) -> list[Op]:
    path, kind = args.text(0), args.string(1)
    if not path:
        raise NotChecked("'json_query': the path is empty")
    if kind not in ("", "int"):
        raise NotChecked(f"'json_query': the only type that can be asked for is 'int', got '{kind}'")
    return [Op(lib.RF_CONV_JSON_QUERY, int(kind == "int"), text=path)]


def make_strcmp(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_STRCMP, args.variable(0))]


def make_iif(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_IIF, text=args.text(0), other=args.text(1))]


def pieces(code: int, default: int, most: int) -> Callable[[Args], list[Op]]:
    """`be2dec` and `be2hex`: separator, bytes a piece, whether a shorter last piece is left out."""

    def make(args: Args) -> list[Op]:
        if not args.has(1) and (args.string(0) or not default):
            raise NotChecked(f"'{args.name}': the second argument, bytes a piece, is missing")
        size = args.number(1, default, least=1, most=most)
        return [Op(code, size, args.number(2, 0, least=0, most=1), args.text(0))]

    return make


def make_http_date(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_HTTP_DATE, args.number(0), args.word(1, UNITS, lib.RF_UNIT_S))]


CONVERTERS = {
    **DIGESTS,
    "add": calculation(lib.RF_CONV_ADD),
    "sub": calculation(lib.RF_CONV_SUB),
    "mul": calculation(lib.RF_CONV_MUL),
    "div": calculation(lib.RF_CONV_DIV),
    "mod": calculation(lib.RF_CONV_MOD),
    "and": calculation(lib.RF_CONV_AND),
    "or": calculation(lib.RF_CONV_OR),
    "xor": calculation(lib.RF_CONV_XOR),
    "neg": plain(lib.RF_CONV_NEG, Kind.INT, Kind.INT),
    "cpl": plain(lib.RF_CONV_CPL, Kind.INT, Kind.INT),
    "not": plain(lib.RF_CONV_NOT, Kind.INT, Kind.BOOL),
    "bool": plain(lib.RF_CONV_BOOL, Kind.INT, Kind.BOOL),
    "odd": plain(lib.RF_CONV_ODD, Kind.INT, Kind.BOOL),
    "even": plain(lib.RF_CONV_EVEN, Kind.INT, Kind.BOOL),
    "lower": plain(lib.RF_CONV_LOWER, Kind.TEXT, Kind.TEXT),
    "upper": plain(lib.RF_CONV_UPPER, Kind.TEXT, Kind.TEXT),
    "length": plain(lib.RF_CONV_LENGTH, Kind.TEXT, Kind.INT),
    "bytes": Sample(make_bytes, Kind.BIN, Kind.BIN, 1, 2),
    "ltrim": trim(lib.RF_CONV_LTRIM),
    "rtrim": trim(lib.RF_CONV_RTRIM),
    "cut_crlf": plain(lib.RF_CONV_CUT_CRLF, Kind.TEXT, Kind.TEXT),
    "concat": Sample(make_concat, Kind.TEXT, Kind.TEXT, 0, 3),
    "add_item": Sample(make_add_item, Kind.TEXT, Kind.TEXT, 2, 3),
    "debug": Sample(lambda args: [], Kind.ANY, Kind.ANY, 0, 2),
    "field": cut(lib.RF_CONV_FIELD),
    "word": cut(lib.RF_CONV_WORD),
    "regsub": Sample(make_regsub, Kind.TEXT, Kind.TEXT, 2, 3),
    "hex": plain(lib.RF_CONV_HEX, Kind.BIN, Kind.TEXT),
    "hex2i": plain(lib.RF_CONV_HEX2I, Kind.TEXT, Kind.INT),
    "base64": plain(lib.RF_CONV_BASE64, Kind.BIN, Kind.TEXT),
    "b64dec": plain(lib.RF_CONV_B64DEC, Kind.TEXT, Kind.BIN),
    "ub64enc": plain(lib.RF_CONV_UB64ENC, Kind.BIN, Kind.TEXT),
    "ub64dec": plain(lib.RF_CONV_UB64DEC, Kind.TEXT, Kind.BIN),
    "url_dec": Sample(make_url_dec, Kind.TEXT, Kind.TEXT, 0, 1),
    "url_enc": Sample(make_url_enc, Kind.TEXT, Kind.TEXT, 0, 1),
    "json": Sample(make_json, Kind.TEXT, Kind.TEXT, 0, 1),
    "json_query": Sample(make_json_query, Kind.TEXT, Kind.ANY, 1, 2),
    "strcmp": Sample(make_strcmp, Kind.TEXT, Kind.INT, 1, 1),
    "iif": Sample(make_iif, Kind.BOOL, Kind.TEXT, 2, 2),
    "htonl": plain(lib.RF_CONV_HTONL, Kind.INT, Kind.BIN),
    "be2dec": Sample(pieces(lib.RF_CONV_BE2DEC, 0, PIECE_BYTES_MAX), Kind.BIN, Kind.TEXT, 1, 3),
    "be2hex": Sample(pieces(lib.RF_CONV_BE2HEX, INT32_MAX, INT32_MAX), Kind.BIN, Kind.TEXT, 0, 3),
    "crc32": hashing(lib.RF_CONV_CRC32),
    "crc32c": hashing(lib.RF_CONV_CRC32C),
    "djb2": hashing(lib.RF_CONV_DJB2),
    "sdbm": hashing(lib.RF_CONV_SDBM),
    "wt6": hashing(lib.RF_CONV_WT6),
    "xxh32": seeded(lib.RF_CONV_XXH32),
    "xxh64": seeded(lib.RF_CONV_XXH64),
    "xxh3": seeded(lib.RF_CONV_XXH3),
    "ltime": time_text(lib.RF_CONV_LTIME),
    "utime": time_text(lib.RF_CONV_UTIME),
    "http_date": Sample(make_http_date, Kind.INT, Kind.TEXT, 0, 2),
    "set-var": Sample(make_set_var, Kind.ANY, Kind.ANY, 1, 5),
    "unset-var": Sample(make_unset_var, Kind.ANY, Kind.ANY, 1, 1),
    "host_only": plain(lib.RF_CONV_HOST_ONLY, Kind.TEXT, Kind.TEXT),
    "port_only": plain(lib.RF_CONV_PORT_ONLY, Kind.TEXT, Kind.INT),
}
