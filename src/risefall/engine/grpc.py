"""gRPC health checks: grpc.health.v1.Health/Check, one call on a connection of its own, over any wire.

No protobuf library is needed for two messages of one field each:
    HealthCheckRequest  { string service = 1; }
    HealthCheckResponse { enum ServingStatus status = 1; }  UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3
A reader of protobuf skips fields that it does not know, and the last of several counts; so does this one.

The deadline is one for the whole call, connect and handshake included; what is left of it goes out as `grpc-timeout`,
so that the server gives up when we do.
Source: grpc/doc/health-checking.md, grpc/doc/PROTOCOL-HTTP2.md, grpc/doc/http-grpc-status-mapping.md; protobuf encoding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from urllib.parse import unquote_to_bytes

import msgspec
import trio

from risefall.engine import native
from risefall.engine.drive import CallError, Step, StepKind, TlsError, Transcript, Wire, clock_ns
from risefall.engine.h2stream import H2Stream, Pair, StreamFault
from risefall.engine.native import Want

METHOD_PATH = b"/grpc.health.v1.Health/Check"
MESSAGE_MAX = 4096
"""A health answer takes two bytes; whoever sends more than this speaks of something else."""
READ_BYTES = 16384
PREFIX = 5
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Serving(IntEnum):
    """`HealthCheckResponse.ServingStatus`."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Code(IntEnum):
    """`grpc-status`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_CODES = {
    400: Code.INTERNAL, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE, 502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE, 504: Code.UNAVAILABLE,
}  # fmt: skip
"""What an HTTP status stands for when there is no `grpc-status`."""


class Fault(IntEnum):
    """Where a call ended that gave no answer."""

    NONE = 0
    CONNECT = 1
    STREAM = 2
    TIMED_OUT = 3


class Health(msgspec.Struct, frozen=True):
    """How one call ended.

    serving: the answer, None without one. code: grpc-status, None when none came. http_status: 0 when none came.
    message: grpc-message, or what failed. error: the errno behind `fault`, 0 for none.
    """

    serving: Serving | None
    code: Code | None = None
    http_status: int = 0
    message: str = ""
    fault: Fault = Fault.NONE
    error: int = 0
    duration_ms: float = 0.0

    @property
    def passed(self) -> bool:
        """Only SERVING is healthy."""
        return self.serving is Serving.SERVING


# --- coding ----------------------------------------------------------------------------------------------


def render_varint(number: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def parse_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends. Raises ValueError when it is cut or longer than ten bytes."""
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number & (1 << 64) - 1, at + place + 1
    raise ValueError("a cut number")


def render_request(service: str) -> bytes:
    """A HealthCheckRequest with its gRPC prefix. An empty name, the server as a whole, is left out as proto3 has it."""
    name = service.encode("utf-8", "surrogateescape")
    message = b"\x0a" + render_varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def parse_response(message: bytes) -> int:
    """The status number of a HealthCheckResponse. Raises ValueError when it is not one."""
    at, status = 0, 0
    while at < len(message):
        key, at = parse_varint(message, at)
        field, kind = key >> 3, key & 7
        if field == 0:
            raise ValueError("a field without a number")
        if kind == VARINT:
            number, at = parse_varint(message, at)
            status = number & 0xFFFFFFFF if field == 1 else status
            continue
        if kind == BYTES:
            length, at = parse_varint(message, at)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}")
        at += length
        if at > len(message):
            raise ValueError("a cut field")
    return status


def parse_frame(data: bytes) -> bytes:
    """The one message of a unary answer. Raises ValueError."""
    if len(data) < PREFIX:
        raise ValueError("no message")
    if data[0]:
        raise ValueError("a compressed message, which was not asked for")
    length = int.from_bytes(data[1:PREFIX], "big")
    if len(data) != PREFIX + length:
        raise ValueError(f"{len(data) - PREFIX} bytes of a message of {length}")
    return data[PREFIX:]


def render_timeout(left_s: float) -> bytes:
    """`grpc-timeout`: at most eight digits and a unit."""
    milliseconds = max(1, int(left_s * 1000))
    return b"%dm" % milliseconds if milliseconds < 10**8 else b"%dS" % min(milliseconds // 1000, 10**8 - 1)


def call_headers(authority: str, scheme: str, left_s: float) -> list[Pair]:
    """The header block of the call, in the order that the protocol wants."""
    return [
        (b":method", b"POST"),
        (b":scheme", scheme.encode()),
        (b":path", METHOD_PATH),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"grpc-timeout", render_timeout(left_s)),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-risefall"),
    ]


# --- the answer ------------------------------------------------------------------------------------------


def grpc_code(pairs: dict[bytes, bytes]) -> Code | None:
    """`grpc-status`, UNKNOWN for a number that nobody defined."""
    text = pairs.get(b"grpc-status")
    if text is None:
        return None
    return Code(int(text)) if text.isdigit() and int(text) <= max(Code) else Code.UNKNOWN


def judge(stream: H2Stream) -> Health:
    """What an ended stream says. The status stands in the trailers, or in the only header block."""
    final = [dict(head) for head in stream.heads if not dict(head).get(b":status", b"").startswith(b"1")]
    head = final[-1] if final else {}
    status = head.get(b":status", b"")
    http_status = int(status) if status.isdigit() else 0
    last = dict(stream.trailers) if stream.trailers else head
    code = grpc_code(last)
    message = unquote_to_bytes(last.get(b"grpc-message", b"")).decode("utf-8", "replace")
    if code is None and http_status != 200:
        guess = HTTP_CODES.get(http_status, Code.UNKNOWN)
        return Health(None, None, http_status, f"HTTP status {http_status} and no grpc-status: as {guess.name}")
    if not head.get(b"content-type", b"").startswith(b"application/grpc"):
        return Health(None, code, http_status, "the answer is not gRPC: " + show_type(head))
    if code is None:
        return Health(None, None, http_status, "the answer ended without a grpc-status")
    if code is Code.NOT_FOUND:
        return Health(Serving.SERVICE_UNKNOWN, code, http_status, message)
    if code is not Code.OK:
        return Health(None, code, http_status, message)
    try:
        number = parse_response(parse_frame(bytes(stream.body)))
    except ValueError as why:
        return Health(None, code, http_status, f"the answer is not a HealthCheckResponse: {why}")
    # An enum that grew: a number that this version does not know is not SERVING.
    return Health(Serving(number) if number <= max(Serving) else Serving.UNKNOWN, code, http_status, message)


def show_type(head: dict[bytes, bytes]) -> str:
    """The content type for a person."""
    kind = head.get(b"content-type", b"")[:60].decode("latin-1")
    return f"content-type {kind}" if kind else "no content-type"


# --- the call --------------------------------------------------------------------------------------------


class HealthCall:
    """Runs one call over one wire and tells each step, as drive.Driver does for a probe."""

    def __init__(self, wire: Wire, tell: Callable[[Step], None] | Transcript | None = None) -> None:
        """`tell` gets every step; a Transcript where the wires tell steps of their own."""
        self._wire = wire
        self._transcript = tell if isinstance(tell, Transcript) else Transcript(tell)
        self._say = self._transcript.say

    async def run(self, service: str, *, port: int, authority: str, scheme: str, deadline: float) -> Health:
        """`port` is where to connect, 0 for a UNIX socket; `deadline` is on trio's clock. Whatever the peer does is in the result; an outer cancel is none."""
        started_ns = self._transcript.start()
        where = Fault.CONNECT
        health = Health(None, message="no answer in time", fault=Fault.TIMED_OUT)
        try:
            with trio.move_on_at(deadline) as scope:
                await self._connect(port, int(deadline * 1e9))
                where = Fault.STREAM
                health = await self._call(service, authority, scheme, deadline)
            if scope.cancelled_caught:
                self._say(StepKind.TIMED_OUT)
        except (StreamFault, TlsError) as fault:
            health = self._failed(0, str(fault), where)
        except CallError as failed:
            health = self._failed(failed.error, "", where)
        except OSError as failed:
            health = self._failed(failed.errno or 0, str(failed), where)
        finally:
            self._wire.end(native.CLOSE_RST)
        self._say(StepKind.CLOSED, detail="RST")
        return msgspec.structs.replace(health, duration_ms=(clock_ns() - started_ns) / 1e6)

    def _failed(self, error: int, text: str, where: Fault) -> Health:
        text = os.strerror(error) if error else text
        self._say(StepKind.FAILED, error=error, detail="" if error else text)
        return Health(None, message=text, fault=where, error=error)

    async def _connect(self, port: int, deadline_ns: int) -> None:
        self._transcript.connecting(port)
        await self._wire.connect(Want(native.CONNECT, native.CLOSE_NONE, 0, 1, port, deadline_ns))
        self._transcript.connected()

    async def _call(self, service: str, authority: str, scheme: str, deadline: float) -> Health:
        stream = H2Stream()
        stream.request(call_headers(authority, scheme, deadline - trio.current_time()), render_request(service))
        while not stream.ended:
            await self._send(stream.out())
            data = await self._wire.receive(READ_BYTES)
            self._say(StepKind.RECEIVED if data else StepKind.ENDED, data)
            if not data:
                raise StreamFault("the connection ended before the answer was whole")
            stream.feed(data)
            if len(stream.body) > PREFIX + MESSAGE_MAX:
                raise StreamFault(f"an answer of more than {MESSAGE_MAX} bytes is no health answer")
        return judge(stream)

    async def _send(self, data: bytes) -> None:
        while data:
            count = await self._wire.send(data)
            self._say(StepKind.SENT, data[:count])
            data = data[count:]
