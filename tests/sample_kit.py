"""Formats and expressions evaluated by the native part alone, and what haproxy 2.6.12 made of the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import msgspec

from risefall.cli.loading import load_text
from risefall.config.haproxy.model import Config
from risefall.daemon.assemble import Seed
from risefall.engine._native import ffi, lib
from risefall.engine.around import Around
from risefall.engine.formats import Formats
from risefall.engine.layout import Op
from risefall.engine.live import live_of, text_of
from risefall.engine.targets import TargetBuilder
from risefall.state.fleet import Fleet
from risefall.state.monitor import number_of

ROOT = Path(__file__).parents[1]
"""Rows name files from here."""
RECORDED = ROOT / "tests" / "data" / "samples.jsonl"
OUT_MAX = 65536
TCP_REPLY = b"220 \x03 ab cd\r\n~"
HTTP_REPLY = (
    b'HTTP/1.1 404 Not  Found\r\nContent-Type: text/html\r\nX: a, b ,"c,d", e\r\nx:  f\r\nY: \r\nZ: q,,r\r\n'
    b"Date: Mon, 01 Jan 2024\r\nN: 17abc, 5\r\n\r\nhello\r\nbody\x00z"
)
MORE_REPLY = (
    b'HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nset-cookie: b = "x;y" ; Secure\r\nSet-Cookie: a=27z, c=3\r\n'
    b"Set-Cookie: $v=1\r\nSet-Cookie: d\r\nIp: 10.0.0.1, 10.0.0.2:80\r\nIp: ::1\r\nBad: 10.0.0, x, 1.2.3.4x\r\n"
    b"Long: " + b"v" * 300 + b"\r\n\r\nbody"
)
HELLO_REPLY = b"\x16\x03\x03\x00\x0e\x02\x00\x00\x0a\x03\x03abcdefgh~"
NUMBERS_REPLY = b"HTTP/1.1 200 OK\r\n" + b"".join(
    b"Set-Cookie: q%d=%s\r\nv%d: %s\r\n" % (number, text, number, text)
    for number, text in enumerate(
        (b'"17"', b'"', b'17"', b'"a', b"x", b"'5'", b"-3", b"+3", b" 4", b'"5', b"007", b"9" * 20, b"-", b"2147483648", b"\xc37")
    )
) + b"\r\nbody"  # fmt: skip
"""Cookies and headers that are hardly numbers."""
HEARD = {
    "format": b"",
    "tcp": TCP_REPLY,
    "http": HTTP_REPLY,
    "more": MORE_REPLY,
    "hello": HELLO_REPLY,
    "numbers": NUMBERS_REPLY,
}
HTTP_KINDS = ("http", "more", "numbers")
FACTS = {
    "srv_name": b"srv1",
    "srv_id": b"1",
    "be_name": b"be1",
    "be_id": b"3",
    "be_server_timeout": b"3000",
    "be_tunnel_timeout": b"0",
}
AROUND = """
frontend fe1
  bind unix@{folder}/s
  mode tcp
backend st1
  stick-table type ip size 1k expire 1m store gpc0,gpc1,gpt0,conn_cnt,conn_cur,conn_rate(1s),sess_cnt,http_req_cnt,bytes_in_cnt,server_id
backend st2
  stick-table type string len 32 size 200 expire 1m store gpc0
backend other
  timeout server 7s
  timeout tunnel 9s
  server s1 127.0.0.1:9 weight 20 maxconn 50 maxqueue 8
  server s2 127.0.0.1:9 weight 10 maxconn 30 maxqueue 2
  server s3 127.0.0.1:9 disabled
"""
"""What stands around the backend that is checked."""
VARIABLES = {
    "check.b": "bin(3132)",
    "check.n": "bin(00)",
    "check.t": "bool(1)",
    "check.i": "int(7)",
    "check.s": "str(x1)",
    "check.e": "str()",
    "check.f": "str(5a)",
}
"""What is set before each row of kind `format`."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """kind: `format` (nothing was heard), `tcp` or `http` (an expression on what was heard). written: None: refused."""

    kind: str
    text: str
    written: str | None


@cache
def around() -> tuple[Config, Fleet]:
    """The configuration that rows are read in, and its fleet at the start."""
    text = (
        "defaults\n  timeout server 3s\n"
        + AROUND.format(folder="/x")
        + "backend be1\n  server srv1 127.0.0.1:1 check\n"
    )
    loaded = load_text("samples.cfg", text, {}, "2.6")
    targets = TargetBuilder(loaded.config, loaded.dialect, {}, node="n").build(loaded.planned, now_ns=0)
    return loaded.config, Seed(loaded.config, targets, loaded.dialect, 0).grow()


def formats_of_rows() -> Formats:
    """What compiles a row."""
    return Formats(around=Around(around()[0]))


def texts_of(formats: Formats) -> list[bytes]:
    """The facts that compiled expressions ask for."""
    config, fleet = around()
    own = config.proxies[-1]
    found = []
    for name in formats.facts:
        live = live_of(name)
        value_of = partial(number_of, fleet)
        found.append(FACTS[name] if live is None else text_of(live, own, formats.around, value_of))
    return found


def rows() -> list[Row]:
    """The recorded table."""
    decode = msgspec.json.Decoder(Row).decode
    return [decode(line) for line in RECORDED.read_bytes().splitlines()]


def setting(formats: Formats) -> list[Op]:
    """Operations that set VARIABLES."""
    ops: list[Op] = []
    for name, expression in VARIABLES.items():
        ops += formats.expression(f"{expression},set-var({name})", "set-var")
    return ops


def compiled(row: Row, formats: Formats) -> list[Op]:
    """A row as a format that is written."""
    if row.kind == "format":
        return [*setting(formats), *formats.format(row.text, "row")]
    return [*formats.expression(row.text, "row"), Op(lib.RF_OP_EMIT)]


def evaluate(
    ops: Sequence[Op],
    heard: bytes = b"",
    *,
    http: bool = False,
    as_number: bool = False,
    facts: Sequence[bytes] = (),
    now_ns: int = 0,
    out_max: int = OUT_MAX,
) -> tuple[int, bytes]:
    """How long it would have been, and what was written; a negative length: refused, with the reason."""
    blob = bytearray()
    laid = ffi.new("rf_op[]", max(len(ops), 1))
    for target, op in zip(laid, ops, strict=False):
        target.code, target.number, target.number2 = op.code, op.number, op.number2
        for place, text in ((target.text, op.text), (target.other, op.other)):
            place.at, place.len = len(blob), len(text)
            blob += text
    site = b"".join(len(text).to_bytes(2, "little") + text for text in facts)
    kept = [ffi.new("uint8_t[]", bytes(part) or b"\0") for part in (blob, heard, site)]
    case = ffi.new("rf_sample_case *")
    case.ops, case.ops_len = laid, len(ops)
    case.blob, case.blob_len = kept[0], len(blob)
    setattr(case, "in", kept[1])
    case.in_len, case.http, case.as_number = len(heard), http, as_number
    case.site, case.site_len = kept[2], len(site)
    case.now_ns = now_ns
    out = ffi.new("uint8_t[]", max(out_max, 1))
    length = lib.rf_sample_test(case, out, out_max)
    if length < 0:
        return length, ffi.string(lib.rf_last_error())
    return length, bytes(ffi.buffer(out, min(length, out_max)))


def written(text: str, heard: bytes = b"", *, http: bool = False, facts: Mapping[str, bytes] = FACTS) -> bytes:
    """What a format writes."""
    formats = Formats()
    ops = formats.format(text, "test")
    return evaluate(ops, heard, http=http, facts=[facts[name] for name in formats.facts])[1]
