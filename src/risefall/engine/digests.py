"""Converters that make message digests or compare in constant time. Source: haproxy configuration manual 2.6, §7.3.1."""

from __future__ import annotations

import base64
import binascii

from risefall.engine._native import lib
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Args, Kind, Sample

KINDS = {
    "md5": lib.RF_DIGEST_MD5,
    "sha1": lib.RF_DIGEST_SHA1,
    "sha224": lib.RF_DIGEST_SHA224,
    "sha256": lib.RF_DIGEST_SHA256,
    "sha384": lib.RF_DIGEST_SHA384,
    "sha512": lib.RF_DIGEST_SHA512,
}
ALIASES = {"sha-1": "sha1", **{f"sha2-{bits}": f"sha{bits}" for bits in (224, 256, 384, 512)}}
"""Other names that OpenSSL has for them."""
NO_VARIABLE = -1


def kind_of(args: Args) -> int:
    """The digest that the first argument names, in any case."""
    name = args.string(0).lower()
    kind = KINDS.get(ALIASES.get(name, name))
    if kind is None:
        raise NotChecked(
            f"'{args.name}': the digest '{args.string(0)}' is not supported, these are: {', '.join(KINDS)}"
        )
    return int(kind)


def make_digest(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_DIGEST, kind_of(args))]


def make_sha2(args: Args) -> list[Op]:
    bits = args.number(0, 256)
    if f"sha{bits}" not in KINDS or bits == 1:
        raise NotChecked(f"'sha2': 224, 256, 384 or 512 bits, got '{bits}'")
    return [Op(lib.RF_CONV_DIGEST, KINDS[f"sha{bits}"])]


def make_hmac(args: Args) -> list[Op]:
    """The key is base64, or a variable that holds it in base64."""
    kind, key = kind_of(args), args.string(1)
    if "." in key:
        return [Op(lib.RF_CONV_HMAC, kind, args.variable(1))]
    try:
        return [Op(lib.RF_CONV_HMAC, kind, NO_VARIABLE, base64.b64decode(key, validate=True))]
    except (binascii.Error, ValueError) as error:
        raise NotChecked(f"'hmac': the key is neither base64 nor a variable: '{key}'") from error


def make_same(args: Args) -> list[Op]:
    return [Op(lib.RF_CONV_SAME, args.variable(0))]


DIGESTS = {
    "sha1": Sample(lambda args: [Op(lib.RF_CONV_DIGEST, lib.RF_DIGEST_SHA1)], Kind.BIN, Kind.BIN),
    "sha2": Sample(make_sha2, Kind.BIN, Kind.BIN, 0, 1),
    "digest": Sample(make_digest, Kind.BIN, Kind.BIN, 1, 1),
    "hmac": Sample(make_hmac, Kind.BIN, Kind.BIN, 2, 2),
    "secure_memcmp": Sample(make_same, Kind.BIN, Kind.BOOL, 1, 1),
}
