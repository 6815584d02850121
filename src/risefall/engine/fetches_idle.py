"""Fetches that look at traffic, clients and stick tables, of which a check has none: no value, or the 0 that HAProxy says.

Source: haproxy configuration manual 2.6, §7.3; what each gives in a check was run on 2.6.12.
"""

from __future__ import annotations

from collections.abc import Iterator

from risefall.engine._native import lib
from risefall.engine.fetches import UNDEFINED, undefined
from risefall.engine.layout import NotChecked, Op
from risefall.engine.samples import Args, Kind, Sample

COUNTERS = (
    "bytes_in_rate", "bytes_out_rate", "conn_cnt", "conn_cur", "conn_rate", "gpc0_rate", "gpc1_rate", "http_err_cnt",
    "http_err_rate", "http_fail_cnt", "http_fail_rate", "http_req_cnt", "http_req_rate", "kbytes_in", "kbytes_out",
    "sess_cnt", "sess_rate",
)  # fmt: skip
"""What a stick table counts; the converters `table_NAME` have the same names."""
CHANGES = ("clr_gpc0", "clr_gpc1", "get_gpc0", "get_gpc1", "get_gpt0", "inc_gpc0", "inc_gpc1")
INDEXED = ("clr_gpc", "get_gpc", "get_gpt", "gpc_rate", "inc_gpc")
"""Those that take the number of a counter."""
TRACKED = 3
"""sc0_ to sc2_: counters that a stream tracks."""


def counter(before: int, tables: int, ops: list[Op] = UNDEFINED, gives: Kind = Kind.INT) -> Sample:
    """A counter of a stick table. before: integers ahead of the table's name. tables: 1 where the table must be named."""

    def make(args: Args) -> list[Op]:
        for at in range(before):
            args.number(at, least=0)
        if args.has(before) and args.program.around is not None:
            args.program.around.table(args.string(before))
        return ops

    return Sample(make, Kind.ANY, gives, before + tables, before + 1)


def of_streams() -> Iterator[tuple[str, Sample]]:
    """`sc_`, `sc0_` ..: what a stream tracks; `src_`: what a client's address has."""
    no = [Op(lib.RF_FETCH_BOOL, 0)]
    for name in (*COUNTERS, *CHANGES):
        yield f"sc_{name}", counter(1, 0)
        yield f"src_{name}", counter(0, 1)
        for number in range(TRACKED):
            yield f"sc{number}_{name}", counter(0, 0)
    for name in INDEXED:
        yield f"sc_{name}", counter(2, 0)
        yield f"src_{name}", counter(1, 1)
    yield "sc1_clr_gpc", counter(1, 0)
    yield "src_updt_conn_cnt", counter(0, 1)
    yield "sc_trackers", counter(1, 0)
    yield "sc_tracked", counter(1, 0, no, Kind.BOOL)
    for number in range(TRACKED):
        yield f"sc{number}_trackers", counter(0, 0)
        yield f"sc{number}_tracked", counter(0, 0, no, Kind.BOOL)


def make_table_cnt(args: Args) -> list[Op]:
    if args.program.around is not None:
        args.program.around.table(args.string(0))
    return [Op(lib.RF_FETCH_INT, 0)]


def make_table_avl(args: Args) -> list[Op]:
    if args.program.around is None:
        return UNDEFINED
    return [Op(lib.RF_FETCH_INT, args.program.around.table(args.string(0)).size)]


def make_of_frontend(args: Args) -> list[Op]:
    if args.program.around is not None:
        args.program.around.frontend(args.string(0))
    return [Op(lib.RF_FETCH_INT, 0)]


def make_of_clock(args: Args) -> list[Op]:
    if args.has(0) and args.string(0) not in ("us", "ms"):
        raise NotChecked(f"'{args.name}': expects 'us' or 'ms', got '{args.string(0)}'")
    return UNDEFINED


def make_token(args: Args) -> list[Op]:
    if len(args.text(0)) != 4:
        raise NotChecked(f"'{args.name}': a token has exactly four characters")
    return UNDEFINED


def nothing(gives: Kind, most: int = 0) -> Sample:
    return Sample(lambda args: UNDEFINED, Kind.ANY, gives, 0, most)


IDLE = {
    **dict(of_streams()),
    **{name: Sample(make_of_frontend, Kind.ANY, Kind.INT, 1, 1) for name in ("fe_conn", "fe_req_rate", "fe_sess_rate")},
    "table_cnt": Sample(make_table_cnt, Kind.ANY, Kind.INT, 1, 1),
    "table_avl": Sample(make_table_avl, Kind.ANY, Kind.INT, 1, 1),
    "fc_src": undefined(Kind.ADDR),
    "fc_dst": undefined(Kind.ADDR),
    **dict.fromkeys(("fc_src_port", "fc_dst_port", "fc_err", "fc_http_major"), undefined(Kind.INT)),
    **dict.fromkeys(("fc_err_str", "fc_pp_authority", "fc_pp_unique_id"), undefined(Kind.TEXT)),
    **dict.fromkeys(
        ("fc_fackets", "fc_lost", "fc_reordering", "fc_retrans", "fc_sacked", "fc_unacked"), nothing(Kind.INT, 1)
    ),
    **dict.fromkeys(("fc_rtt", "fc_rttvar"), Sample(make_of_clock, Kind.ANY, Kind.INT, 0, 1)),
    **dict.fromkeys(
        ("fc_rcvd_proxy", "fc_src_is_local", "fc_dst_is_local", "src_is_local", "dst_is_local"), undefined(Kind.BOOL)
    ),
    **dict.fromkeys(("cpu_calls", "cpu_ns_avg", "cpu_ns_tot", "lat_ns_avg", "lat_ns_tot"), undefined(Kind.INT)),
    **dict.fromkeys(("cur_server_timeout", "cur_tunnel_timeout", "last_rule_line"), undefined(Kind.INT)),
    **dict.fromkeys(("prio_class", "prio_offset"), undefined(Kind.INT)),
    **dict.fromkeys(("res.ssl_hello_type", "rep_ssl_hello_type"), undefined(Kind.INT)),
    "last_rule_file": undefined(Kind.TEXT),
    "capture.res.hdr": Sample(lambda args: UNDEFINED, Kind.ANY, Kind.TEXT, 1, 1),
    "cookie": nothing(Kind.TEXT, 1),
    "hdr": nothing(Kind.TEXT, 2),
    "distcc_body": Sample(make_token, Kind.ANY, Kind.BIN, 1, 2),
    "distcc_param": Sample(make_token, Kind.ANY, Kind.INT, 1, 2),
    "res.cache_hit": Sample(lambda args: [Op(lib.RF_FETCH_BOOL, 0)], Kind.ANY, Kind.BOOL),
    "res.comp": Sample(lambda args: [Op(lib.RF_FETCH_BOOL, 0)], Kind.ANY, Kind.BOOL),
    "res.cache_name": undefined(Kind.TEXT),
    "res.comp_algo": undefined(Kind.TEXT),
    **dict.fromkeys(
        [f"internal.htx.{name}" for name in ("data", "free", "free_data", "nbblks", "size", "used")],
        undefined(Kind.INT),
    ),
    "internal.htx.has_eom": undefined(Kind.BOOL),
    "internal.strm.is_htx": undefined(Kind.BOOL),
}
