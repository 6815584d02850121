"""Fetches that look at the connection of a check: its ends, its TLS, and the two that look into HAProxy's own buffers.

Source: haproxy configuration manual 2.6, §7.3.3 bc_, §7.3.4 ssl_bc_; what each gives in a check was run on 2.6.12.
"""

from __future__ import annotations

import re

from risefall.engine._native import lib
from risefall.engine.fetches import UNDEFINED, undefined
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Args, Kind, Sample

BLOCK = re.compile(r"head|tail|first|[0-9]+", re.ASCII)


def end(number: int) -> Sample:
    """Declared as numbers, so that whatever takes one may follow."""
    return Sample(lambda args: [Op(lib.RF_FETCH_END, number)], Kind.ANY, Kind.INT)


def of_tls(number: int, gives: Kind) -> Sample:
    return Sample(lambda args: [Op(lib.RF_FETCH_TLS, number)], Kind.ANY, gives)


def block(gives: Kind) -> Sample:
    """A block of HAProxy's own form of a reply; in a check it finds none."""

    def make(args: Args) -> list[Op]:
        if not BLOCK.fullmatch(args.string(0)):
            raise NotChecked(f"'{args.name}': 'head', 'tail', 'first' or a number is expected, got '{args.string(0)}'")
        return UNDEFINED

    return Sample(make, Kind.ANY, gives, 1, 1)


CONNECTION = {
    "bc_src": end(lib.RF_END_SRC),
    "bc_dst": end(lib.RF_END_DST),
    "bc_src_port": end(lib.RF_END_SRC_PORT),
    "bc_dst_port": end(lib.RF_END_DST_PORT),
    "bc_err": Sample(lambda args: [Op(lib.RF_FETCH_INT, 0)], Kind.ANY, Kind.INT),
    "bc_err_str": Sample(lambda args: [Op(lib.RF_FETCH_TEXT, text=b"Success")], Kind.ANY, Kind.TEXT),
    "bc_http_major": Sample(lambda args: [Op(lib.RF_FETCH_HTTP_MAJOR)], Kind.ANY, Kind.INT),
    "ssl_bc": of_tls(lib.RF_TLS_THERE, Kind.BOOL),
    "ssl_bc_is_resumed": of_tls(lib.RF_TLS_RESUMED, Kind.BOOL),
    "ssl_bc_alg_keysize": of_tls(lib.RF_TLS_KEY_BITS, Kind.INT),
    "ssl_bc_use_keysize": of_tls(lib.RF_TLS_USED_BITS, Kind.INT),
    "ssl_bc_alpn": of_tls(lib.RF_TLS_ALPN, Kind.TEXT),
    "ssl_bc_cipher": of_tls(lib.RF_TLS_CIPHER, Kind.TEXT),
    "ssl_bc_protocol": of_tls(lib.RF_TLS_PROTOCOL, Kind.TEXT),
    "ssl_bc_client_random": of_tls(lib.RF_TLS_CLIENT_RANDOM, Kind.BIN),
    "ssl_bc_server_random": of_tls(lib.RF_TLS_SERVER_RANDOM, Kind.BIN),
    "ssl_bc_session_id": of_tls(lib.RF_TLS_SESSION_ID, Kind.BIN),
    "ssl_bc_session_key": of_tls(lib.RF_TLS_MASTER_KEY, Kind.BIN),
    "ssl_bc_unique_id": of_tls(lib.RF_TLS_UNIQUE_ID, Kind.BIN),
    "ssl_bc_err": of_tls(lib.RF_TLS_ERROR, Kind.INT),
    "ssl_bc_err_str": undefined(Kind.TEXT),
    "ssl_bc_npn": undefined(Kind.TEXT),
    "internal.htx_blk.data": block(Kind.BIN),
    "internal.htx_blk.hdrname": block(Kind.TEXT),
    "internal.htx_blk.hdrval": block(Kind.TEXT),
    "internal.htx_blk.size": block(Kind.INT),
    "internal.htx_blk.start_line": block(Kind.TEXT),
    "internal.htx_blk.type": block(Kind.TEXT),
}
