"""How to read many records in one go: a table of 15,000 servers is no place for an object a record.

The records stay bytes, and one `struct` format, made from the layout as it was compiled, takes out what is shown.
"""

from __future__ import annotations

import struct

from risefall.engine._native import ffi

FIELDS = (
    "check", "epoch", "health", "fails", "in_progress", "result.status", "result.verdict", "result.code",
    "result.duration_ms", "result.text_len", "result.text",
)  # fmt: skip
"""What of an `rf_record` is read, in the order of memory. `check` is 0 in one that is gone."""

LETTERS = {"uint64_t": "Q", "uint32_t": "I", "int32_t": "i", "uint16_t": "H", "uint8_t": "B"}


def _place(path: str) -> tuple[int, str]:
    """Where a field of `rf_record` stands, and its letter."""
    kind, at = ffi.typeof("rf_record"), 0
    for name in path.split("."):
        field = dict(kind.fields)[name]
        at, kind = at + field.offset, field.type
    return at, f"{kind.length}s" if kind.kind == "array" else LETTERS[kind.cname]


def _format() -> str:
    parts, end = ["="], 0
    for path in FIELDS:
        at, letter = _place(path)
        if at < end:
            raise ImportError(f"risefall: {path} is not where the figures of a record expect it")
        parts.append(f"{at - end}x{letter}")
        end = at + struct.calcsize(f"={letter}")
    return "".join((*parts, f"{ffi.sizeof('rf_record') - end}x"))


FIGURES = struct.Struct(_format())
