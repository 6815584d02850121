"""Formats and expressions evaluated by the native part alone, and what haproxy 2.6.12 made of the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from risefall.engine._native import ffi, lib
from risefall.engine.formats import Formats
from risefall.engine.layout import Op

RECORDED = Path(__file__).parent / "data" / "samples.jsonl"
OUT_MAX = 65536
TCP_REPLY = b"220 \x03 ab cd\r\n~"
HTTP_REPLY = (
    b'HTTP/1.1 404 Not  Found\r\nContent-Type: text/html\r\nX: a, b ,"c,d", e\r\nx:  f\r\nY: \r\nZ: q,,r\r\n'
    b"Date: Mon, 01 Jan 2024\r\nN: 17abc, 5\r\n\r\nhello\r\nbody\x00z"
)
HEARD = {"format": b"", "tcp": TCP_REPLY, "http": HTTP_REPLY}
FACTS = {"srv_name": b"srv1", "srv_id": b"1", "be_name": b"be1", "be_id": b"3"}
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
