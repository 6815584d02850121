"""gRPC health checks: the coding, answers of every shape, and the real grpcio server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import trio
import trio.testing
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from h2_kit import H2Server, Play
from risefall.engine.causes import grpc_cause
from risefall.engine.drive import SocketWire, Step, StepKind, WireError
from risefall.engine.grpc import (
    Code,
    Fault,
    Health,
    HealthCall,
    Serving,
    parse_frame,
    parse_response,
    render_request,
    render_timeout,
)
from risefall.engine.native import Endpoint

LIMIT_S = 10.0
SERVING = b"\0\0\0\0\2\x08\1"


# --- coding ------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_requests_are_what_protobuf_writes(service: str) -> None:
    try:
        service.encode()
    except UnicodeEncodeError:
        return
    assert parse_frame(render_request(service)) == health_pb2.HealthCheckRequest(service=service).SerializeToString()


@given(st.binary(max_size=40))
def test_answers_are_read_as_protobuf_reads_them(message: bytes) -> None:
    """Where protobuf takes bytes for an answer, so do we, with the same status; groups are the one kind left out."""
    try:
        wanted = health_pb2.HealthCheckResponse.FromString(message).status
    except DecodeError:
        return
    found: int | str
    try:
        found = parse_response(message) & 0xFFFFFFFF
    except ValueError as why:
        found = str(why)
    assert found in (wanted & 0xFFFFFFFF, "a field of kind 3")


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_every_status(status: int) -> None:
    assert parse_response(health_pb2.HealthCheckResponse(status=status).SerializeToString()) == status


def test_timeouts_fit_into_eight_digits() -> None:
    assert [render_timeout(left) for left in (-1, 0.0001, 2, 1e6)] == [b"1m", b"1m", b"2000m", b"1000000S"]


# --- answers in memory -----------------------------------------------------------------------------------


def call(server: H2Server, service: str = "shop", limit_s: float = 2.0) -> tuple[Health, list[Step]]:
    """One call in virtual time."""
    steps: list[Step] = []

    async def run() -> Health:
        return await HealthCall(server, steps.append).run(
            service, port=1, authority="a:1", scheme="http", deadline=trio.current_time() + limit_s
        )

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0)), steps


def reply(
    data: bytes = SERVING, *, http: str = "200", kind: str = "application/grpc", trailers: dict[str, str] | None = None
) -> Play:
    """An answer of a message and trailers."""
    last = {"grpc-status": "0"} if trailers is None else trailers

    def play(server: H2Server, stream: int) -> None:
        head = [(":status", http)] + ([("content-type", kind)] if kind else [])
        server.h2.send_headers(stream, head)
        if data:
            server.h2.send_data(stream, data, end_stream=not last)
        if last:
            server.h2.send_headers(stream, list(last.items()), end_stream=True)
        elif not data:
            server.h2.end_stream(stream)

    return play


def only_trailers(http: str = "200", **words: str) -> Play:
    """An answer that is one header block."""
    pairs = [(":status", http), ("content-type", "application/grpc")]
    pairs += [(name.replace("_", "-"), value) for name, value in words.items()]
    return lambda server, stream: server.h2.send_headers(stream, pairs, end_stream=True)


def test_the_call_is_what_the_protocol_asks_for() -> None:
    server = H2Server(reply())
    result, steps = call(server)
    assert result.passed
    assert server.headers == [
        (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"), (":authority", "a:1"),
        ("te", "trailers"), ("grpc-timeout", "2000m"), ("content-type", "application/grpc"),
        ("user-agent", "grpc-risefall"),
    ]  # fmt: skip
    assert server.body == b"\0\0\0\0\6\x0a\4shop"
    assert [steps[0].kind, steps[-1].kind] == [StepKind.CONNECTING, StepKind.CLOSED]
    assert server.endings


@pytest.mark.parametrize(
    ("play", "serving", "code", "message"),
    [
        (reply(b"\0\0\0\0\2\x08\2"), Serving.NOT_SERVING, Code.OK, ""),
        (reply(b"\0\0\0\0\0"), Serving.UNKNOWN, Code.OK, ""),
        (reply(b"\0\0\0\0\2\x08\3"), Serving.SERVICE_UNKNOWN, Code.OK, ""),
        (reply(b"\0\0\0\0\2\x08\x63"), Serving.UNKNOWN, Code.OK, ""),
        (only_trailers(grpc_status="5", grpc_message="unknown service"), Serving.SERVICE_UNKNOWN, Code.NOT_FOUND, "unknown service"),
        (only_trailers(grpc_status="12", grpc_message="no%20such%21"), None, Code.UNIMPLEMENTED, "no such!"),
        (only_trailers(grpc_status="99"), None, Code.UNKNOWN, ""),
        (only_trailers(grpc_status="x"), None, Code.UNKNOWN, ""),
        (only_trailers("503"), None, None, "HTTP status 503 and no grpc-status: as UNAVAILABLE"),
        (reply(b"<html>", http="404", kind="text/html", trailers={}), None, None, "HTTP status 404 and no grpc-status: as UNIMPLEMENTED"),
        (reply(b"ok", kind="text/plain", trailers={}), None, None, "the answer is not gRPC: content-type text/plain"),
        (reply(kind="", trailers={}), None, None, "the answer is not gRPC: no content-type"),
        (reply(trailers={}), None, None, "the answer ended without a grpc-status"),
        (reply(b""), None, Code.OK, "the answer is not a HealthCheckResponse: no message"),
        (reply(b"\1\0\0\0\2\x08\1"), None, Code.OK, "the answer is not a HealthCheckResponse: a compressed message, which was not asked for"),
        (reply(b"\0\0\0\0\3\x08\1"), None, Code.OK, "the answer is not a HealthCheckResponse: 2 bytes of a message of 3"),
        (reply(b"\0\0\0\0\1\x08"), None, Code.OK, "the answer is not a HealthCheckResponse: a cut number"),
    ],
)  # fmt: skip
def test_answers(play: Play, serving: Serving | None, code: Code | None, message: str) -> None:
    result, _ = call(H2Server(play))
    assert (result.serving, result.code, result.message, result.fault) == (serving, code, message, Fault.NONE)
    assert result.passed is False


def test_only_serving_passes() -> None:
    assert [status for status in (None, *Serving) if Health(status).passed] == [Serving.SERVING]


def test_silence_ends_at_the_deadline_for_all_of_it() -> None:
    result, steps = call(H2Server(lambda *_: None), limit_s=1.5)
    assert (result.fault, result.duration_ms) == (Fault.TIMED_OUT, pytest.approx(1500, abs=1))
    assert StepKind.TIMED_OUT in [step.kind for step in steps]


def test_dripping_pings_do_not_move_the_deadline() -> None:
    class Pinging(H2Server):
        async def receive(self, room: int) -> bytes:
            await trio.sleep(0.1)
            return b"\0\0\x08\6\0\0\0\0\0pingpong" if not self.waiting else await super().receive(room)

    assert call(Pinging(lambda *_: None))[0].fault is Fault.TIMED_OUT


def test_too_long_an_answer_is_none() -> None:
    result, _ = call(H2Server(reply(b"\0\0\0\x40\0" + bytes(16000))))
    assert (result.fault, "4096" in result.message) == (Fault.STREAM, True)


@pytest.mark.parametrize("failure", [ConnectionResetError(104, "reset"), WireError("no TLS")])
def test_failures_are_told(failure: OSError) -> None:
    class Broken(H2Server):
        async def receive(self, room: int) -> bytes:
            await trio.lowlevel.checkpoint()
            raise failure

    result, steps = call(Broken(lambda *_: None))
    assert result.fault is Fault.STREAM
    assert steps[-2].kind is StepKind.FAILED
    assert grpc_cause(result, "")


# --- the real server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grpcio() -> Iterator[int]:
    """Port of a grpcio server: '' and 'shop' serve, 'down' does not, 'new' is not known yet."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    word = health_pb2.HealthCheckResponse
    for name, status in (("", word.SERVING), ("shop", word.SERVING), ("down", word.NOT_SERVING), ("new", word.UNKNOWN)):
        servicer.set(name, status)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


def real(port: int, service: str) -> Health:
    """One call over a real socket."""
    wire = SocketWire(Endpoint(4, socket.inet_aton("127.0.0.1"), port))

    async def run() -> Health:
        return await HealthCall(wire).run(
            service, port=port, authority=f"127.0.0.1:{port}", scheme="http", deadline=trio.current_time() + LIMIT_S
        )

    return trio.run(run)


@pytest.mark.parametrize(
    ("service", "serving", "code"),
    [
        ("", Serving.SERVING, Code.OK),
        ("shop", Serving.SERVING, Code.OK),
        ("down", Serving.NOT_SERVING, Code.OK),
        ("new", Serving.UNKNOWN, Code.OK),
        ("nobody", Serving.SERVICE_UNKNOWN, Code.NOT_FOUND),
    ],
)
def test_grpcio(grpcio: int, service: str, serving: Serving, code: Code) -> None:
    result = real(grpcio, service)
    assert (result.serving, result.code, result.http_status, result.fault) == (serving, code, 200, Fault.NONE)


def test_a_grpcio_server_without_the_health_service() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        result = real(port, "")
    finally:
        server.stop(0).wait()
    assert (result.serving, result.code) == (None, Code.UNIMPLEMENTED)
    assert "registered" in grpc_cause(result, "")


def test_refused_says_so(free_port: int) -> None:
    result = real(free_port, "")
    assert (result.fault, result.error) == (Fault.CONNECT, 111)
    assert "nobody listens" in grpc_cause(result, "")


def test_causes() -> None:
    cases: list[tuple[Health, str]] = [
        (Health(None, fault=Fault.TIMED_OUT), "in time"),
        (Health(None, fault=Fault.STREAM, message="it speaks HTTP/1, not HTTP/2"), "HTTP/1"),
        (Health(Serving.SERVICE_UNKNOWN), "does not know 'shop'"),
        (Health(None, code=Code.PERMISSION_DENIED), "credentials"),
        (Health(Serving.NOT_SERVING), "of itself"),
    ]
    check: Callable[[Health], str] = lambda result: grpc_cause(result, "shop")  # noqa: E731
    for result, words in cases:
        assert words in check(result)
    assert check(Health(Serving.SERVING)) == ""
