"""Rules of a check program as Python sees them, and how they are laid out for C.

A program is immutable and shared by every check with the same rules. Source: native/risefall.h, rf_rule and rf_op.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from risefall.engine import native
from risefall.engine._native import ffi, lib
from risefall.errors import NativeError


class NotChecked(Exception):
    """This rule set cannot be run; the text says why."""


class Op(NamedTuple):
    """One operation of a format or an expression; see `rf_op`."""

    code: int
    number: int = 0
    number2: int = 0
    text: bytes = b""
    other: bytes = b""


class NativeRule(msgspec.Struct):
    """One rule before it is laid out; field by field `rf_rule`. address: an `rf_address` as bytes."""

    kind: int
    step: int
    flags: int = 0
    expect: int = 0
    port: int = 0
    name_match: int = 0
    value_match: int = 0
    ok_status: int = 0
    error_status: int = 0
    tout_status: int = 0
    layers: int = 0
    min_recv: int = -1
    variable: int = 0
    conditions: int = 0
    format: Sequence[Op] = ()
    name_format: Sequence[Op] = ()
    value_format: Sequence[Op] = ()
    on_success: Sequence[Op] = ()
    on_error: Sequence[Op] = ()
    status_code: Sequence[Op] = ()
    pattern: bytes = b""
    name: bytes = b""
    value: bytes = b""
    comment: bytes = b""
    address: bytes = b""
    sni: bytes = b""
    alpn: bytes = b""


NUMBERS = (
    "kind", "step", "flags", "expect", "port", "name_match", "value_match", "ok_status", "error_status", "tout_status",
    "layers", "min_recv", "variable", "conditions",
)  # fmt: skip
FORMATS = ("format", "name_format", "value_format", "on_success", "on_error", "status_code")
TEXTS = ("pattern", "name", "value", "comment", "address", "sni", "alpn")


def raw(text: str) -> bytes:
    """Configuration text as the bytes of the file."""
    return text.encode("utf-8", "surrogateescape")


def text_op(text: bytes) -> list[Op]:
    """A format that is a plain text; nothing of an empty one."""
    return [Op(lib.RF_OP_TEXT, text=text)] if text else []


def site_of(texts: Sequence[bytes]) -> bytes:
    """The facts of one server, as `rf_add` takes them: each behind its length."""
    return b"".join(struct.pack("<H", len(text)) + text for text in texts)


def alpn_wire(names: str) -> bytes:
    """`h2,http/1.1` as TLS has it: each name behind its length."""
    return b"".join(bytes((len(name),)) + name for name in raw(names).split(b",") if 0 < len(name) < 256)


def lay_out(rules: Sequence[NativeRule], flags: int, bufsize: int) -> native.Program:
    """Puts rules, operations and texts into the arrays that C copies. Raises NotChecked with C's reason."""
    blob = bytearray()
    ops: list[Op] = []

    def place(target: object, text: bytes) -> None:
        target.at, target.len = len(blob), len(text)  # type: ignore[attr-defined]
        blob.extend(text)

    out = ffi.new("rf_rule[]", len(rules))
    for target, rule in zip(out, rules, strict=True):
        for name in NUMBERS:
            setattr(target, name, getattr(rule, name))
        for name in TEXTS:
            place(getattr(target, name), getattr(rule, name))
        for name in FORMATS:
            where, made = getattr(target, name), getattr(rule, name)
            where.at, where.len = len(ops), len(made)
            ops.extend(made)
    laid = ffi.new("rf_op[]", len(ops))
    for target, op in zip(laid, ops, strict=True):
        target.code, target.number, target.number2 = op.code, op.number, op.number2
        place(target.text, op.text)
        place(target.other, op.other)
    try:
        return native.Program(out, laid, bytes(blob), flags, bufsize)
    except NativeError as error:
        raise NotChecked(str(error)) from error
