"""One run in words: each step as it happens, the verdict, and where the time went."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import msgspec

from risefall.engine.drive import Step, StepKind
from risefall.engine.native import ProbeResult

SHOWN_BYTES = 300
SHOWN_HEX = 64
PRINTABLE = frozenset(range(0x20, 0x7F))


def show_bytes(data: bytes, *, binary: bool = False) -> str:
    """Bytes for a person, cut with the number of those left out: escapes for what cannot be seen; binary: hex, and text beside."""
    shown = SHOWN_HEX if binary else SHOWN_BYTES
    part, more = data[:shown], len(data) - shown
    plain = "".join(chr(byte) if byte in PRINTABLE else "." for byte in part)
    text = f"{part.hex(' ')} |{plain}|" if binary else repr(part)[1:]
    return text + (f" … {more} more bytes" if more > 0 else "")


def show_step(step: Step, *, binary: bool = False) -> str:
    """A line of the transcript, its time in milliseconds since the start."""
    at = f"{step.at_ns / 1e6:9.3f} ms  "
    match step.kind:
        case StepKind.CONNECTING:
            return at + "connecting" + (f" to port {step.detail}" if step.detail else "")
        case StepKind.CONNECTED:
            return at + "connected"
        case StepKind.TLS_DONE:
            return at + f"TLS handshake done: {step.detail}"
        case StepKind.SENT:
            return at + f"sent {len(step.data)} bytes: {show_bytes(step.data, binary=binary)}"
        case StepKind.RECEIVED:
            return at + f"got {len(step.data)} bytes: {show_bytes(step.data, binary=binary)}"
        case StepKind.ENDED:
            return at + "the server ended its stream"
        case StepKind.FAILED if step.detail:
            return at + f"failed: {step.detail}"
        case StepKind.FAILED:
            return at + f"failed: {os.strerror(step.error)} ({errno.errorcode.get(step.error, step.error)})"
        case StepKind.TIMED_OUT:
            return at + "its time is up"
        case StepKind.CLOSED:
            return at + f"closed with {step.detail}"


def verdict_line(result: ProbeResult) -> str:
    """`L7OK (Layer7 check passed), code 200, in 0.412 ms`, with the text where there is one."""
    line = f"{result.status.name} ({result.status.text})"
    if result.status.has_code:
        line += f", code {result.code}"
    line += f", in {result.duration_us / 1000:.3f} ms"
    return line + (f": {result.text.decode('latin-1')}" if result.text else "")


class Phases(msgspec.Struct, frozen=True):
    """Where the time of one run went, ms; None for what did not come. connect, tls and first_byte: of the last connection.

    first_byte: from when the connection stood, TLS included, to the first byte of the answer. total: from the first call to the verdict.
    """

    resolve: float
    connect: float | None
    tls: float | None
    first_byte: float | None
    total: float


def phases(resolve_ms: float, steps: Sequence[Step]) -> Phases:
    """Reads them off the steps of one run."""
    begun = ready = 0
    connect = tls = first = None
    for step in steps:
        match step.kind:
            case StepKind.CONNECTING:
                begun, connect, tls, first = step.at_ns, None, None, None
            case StepKind.CONNECTED:
                connect, ready = step.at_ns - begun, step.at_ns
            case StepKind.TLS_DONE:
                tls, ready = step.at_ns - ready, step.at_ns
            case StepKind.RECEIVED if first is None:
                first = step.at_ns - ready
            case _:
                pass
    total = steps[-1].at_ns if steps else 0
    return Phases(resolve_ms, in_ms(connect), in_ms(tls), in_ms(first), total / 1e6)


def in_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e6


def show_phases(times: Phases) -> str:
    """`times: resolve 0.210 ms, connect 0.081 ms, TLS -, first byte 0.404 ms, all 0.531 ms`."""
    words = (
        ("resolve", times.resolve), ("connect", times.connect), ("TLS", times.tls), ("first byte", times.first_byte),
        ("all", times.total),
    )  # fmt: skip
    return "times: " + ", ".join(f"{name} {'-' if value is None else f'{value:.3f} ms'}" for name, value in words)
