"""HTTP checks over HTTP/2: what goes out, and that the rules decide the same. Facts from HAProxy 2.6.12 with `check-proto h2`."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.settings
import pytest
import trio
import trio.testing

from h2_kit import H2Server, Play, answer
from native_kit import HERE, http_program, spec
from risefall.config.haproxy.model import Expect, ExpectRule, Header, HeaderMatch, HttpSendRule
from risefall.engine import native
from risefall.engine.drive import Driver, Step, StepKind
from risefall.engine.h2stream import H2Stream
from risefall.engine.h2wire import H2Wire, split_request, to_h2
from risefall.engine.native import Probe, ProbeResult
from risefall.status import Status

POST = HttpSendRule(
    HERE, 1, method="POST", uri="/x?y", version="HTTP/1.1", body="abc",
    headers=(Header("Host", "www"), Header("X-Y", "a"), Header("TE", "trailers")),
)  # fmt: skip
ELLO = ExpectRule(HERE, 2, Expect.STRING, pattern="ello")


def check(
    server: H2Server, *rules: ExpectRule, request: HttpSendRule = POST, dialect: str = "2.6", authority: bool = False
) -> tuple[ProbeResult, list[Step]]:
    """One run in virtual time."""
    steps: list[Step] = []

    async def run() -> ProbeResult:
        program = http_program(*rules, request=request, dialect=dialect)
        wire = H2Wire(server, scheme="http" if authority else "https", authority=authority)
        return await Driver(Probe(program, spec()), wire, steps.append).run()

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0)), steps


def test_the_request_is_what_haproxy_sends() -> None:
    server = H2Server(answer("200"))
    assert check(server)[0].status is Status.L7OK
    assert server.headers == [
        (":method", "POST"), (":scheme", "https"), (":path", "/x?y"), ("host", "www"), ("x-y", "a"), ("te", "trailers"),
        ("content-length", "3"),
    ]  # fmt: skip
    assert server.body == b"abc"
    assert server.endings[-1] == native.CLOSE_RST


def test_authority_on_demand() -> None:
    server = H2Server(answer("200"))
    check(server, authority=True)
    assert server.headers[:4] == [(":method", "POST"), (":scheme", "http"), (":authority", "www"), (":path", "/x?y")]
    assert "host" not in dict(server.headers)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"GET / HTTP/1.1\r\nconnection: close\r\nte: gzip\r\n\r\n", [(b":scheme", b"https"), (b":path", b"/")]),
        (
            b"GET http://abc/def HTTP/1.1\r\nhost: www\r\n\r\n",
            [(b":scheme", b"http"), (b":authority", b"www"), (b":path", b"/def")],
        ),
        (b"GET http://abc HTTP/1.1\r\n\r\n", [(b":scheme", b"http"), (b":authority", b"abc"), (b":path", b"/")]),
        (b"GET /a b\r\n\r\n", [(b":scheme", b"https"), (b":path", b"/a b")]),
    ],
)
def test_requests_of_all_kinds(text: bytes, wanted: list[tuple[bytes, bytes]]) -> None:
    request = split_request(text)
    assert request is not None
    method, uri, headers, _ = request
    assert to_h2(method, uri, headers, scheme=b"https", authority=False) == [(b":method", b"GET"), *wanted]


def test_a_request_is_whole_with_its_body() -> None:
    assert split_request(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab") is None
    assert split_request(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n") is None


def test_there_is_no_reason_phrase() -> None:
    """2.6: `Layer7 wrong status, code: 503` and no info; 3 says which rule."""
    result, _ = check(H2Server(answer("503")))
    assert (result.status, result.code, result.text) == (Status.L7STS, 503, b"")
    result, _ = check(H2Server(answer("503")), dialect="3")
    assert result.text.startswith(b"TCPCHK did not match content")


def test_an_informational_answer_is_final() -> None:
    def play(server: H2Server, stream: int) -> None:
        server.h2.send_headers(stream, [(":status", "103")])
        server.h2.send_headers(stream, [(":status", "200")], end_stream=True)

    assert check(H2Server(play))[0].code == 103


@pytest.mark.parametrize(
    ("play", "status", "text"),
    [
        (answer("200", body=b"hello"), Status.L7OK, b""),
        (answer("200", ("content-length", "5"), body=b"hello"), Status.L7OK, b""),
        (answer("200", body=b"nothing"), Status.L7RSP, b"HTTP content check did not match"),
        (answer("200"), Status.L7RSP, b"HTTP content check could not find a response body"),
        (answer("200", end=False), Status.L7TOUT, b""),
        (answer("200", body=b"nothing", end=False), Status.L7TOUT, b""),
        (answer("200", body=b"hello", end=False), Status.L7OK, b""),
    ],
)
def test_body_rules(play: Play, status: Status, text: bytes) -> None:
    for room in (1, 7, 1 << 20):
        result, _ = check(H2Server(play, room=room), ELLO)
        assert (result.status, result.text) == (status, text)


def test_header_rules_see_the_headers() -> None:
    rule = ExpectRule(HERE, 2, Expect.HDR, name=HeaderMatch("x-a"), value=HeaderMatch("2"))
    assert check(H2Server(answer("200", ("x-a", "1, 2"))), rule)[0].status is Status.L7OK
    assert check(H2Server(answer("200", ("x-a", "1"))), rule)[0].status is Status.L7STS


def raw(data: bytes) -> Play:
    return lambda server, stream: server.say(data)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def reset(server: H2Server, stream: int) -> None:
    server.h2.reset_stream(stream, 7)


def goaway(code: int, last: int) -> Play:
    return raw(frame(7, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + b"why"))


@pytest.mark.parametrize(
    ("play", "told"),
    [
        (reset, "reset the stream (REFUSED_STREAM)"),
        (goaway(11, 1), "goes away (ENHANCE_YOUR_CALM): why"),
        (goaway(0, 0), "goes away (NO_ERROR)"),
        (goaway(77, 1), "goes away (code 77)"),
        (answer("200", ("x-a", "q" * 20000)), "HTTP/2"),
        (raw(frame(0, 0, 1, b"data before headers")), "HTTP/2"),
        (raw(frame(1, 4, 1, b"\xff\xff\xff\xff")), "HTTP/2"),
        (raw(frame(9, 0, 1, b"")), "HTTP/2"),
        (raw(b"\xff\xff\xff\x00\x00\x00\x00\x00\x00"), "a frame of 16777215 bytes"),
        # a literal header `x` with a line end in its value, behind :status 200
        (raw(frame(1, 5, 1, b"\x88\x00\x01x\x04a\r\nb")), "HTTP/2"),
    ],
)
def test_what_the_peer_breaks_is_a_socket_error(play: Play, told: str) -> None:
    """As HAProxy has it: SOCKERR, no text; the transcript says what it was."""
    result, steps = check(H2Server(play))
    assert (result.status, result.text, result.self_blame) == (Status.SOCKERR, b"", False)
    assert any(step.kind is StepKind.FAILED and told in step.detail for step in steps)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it speaks HTTP/1"),
        (b"\x15\x03\x01\x00\x02\x02\x50\x00\x00", "it does not speak HTTP/2"),
        (bytes(1000), "it does not speak HTTP/2"),
        (b"220 mail.example ESMTP\r\n", "it does not speak HTTP/2"),
    ],
)
def test_who_speaks_something_else_is_a_socket_error(said: bytes, told: str) -> None:
    server = H2Server(lambda *_: None)
    server.waiting = bytearray(said)
    result, steps = check(server)
    assert result.status is Status.SOCKERR
    assert any(told in step.detail for step in steps)


def test_an_end_without_an_answer_is_an_end_of_stream() -> None:
    server = H2Server(lambda *_: None)
    server.over = True
    result, steps = check(server)
    assert result.status is Status.L7RSP
    assert StepKind.ENDED in [step.kind for step in steps]


def test_silence_ends_at_the_probes_own_deadline() -> None:
    assert check(H2Server(lambda *_: None))[0].status is Status.L7TOUT


def test_a_goaway_that_covers_the_stream_does_not_end_it() -> None:
    def play(server: H2Server, stream: int) -> None:
        goaway(0, 1)(server, stream)
        answer("204")(server, stream)

    assert check(H2Server(play))[0].code == 204


def test_a_fault_behind_the_head_leaves_the_verdict_to_the_rules() -> None:
    def play(server: H2Server, stream: int) -> None:
        server.h2.send_headers(stream, [(":status", "200")])
        server.h2.send_data(stream, b"hello")
        server.h2.reset_stream(stream, 2)

    assert check(H2Server(play), ELLO)[0].status is Status.L7OK


def test_pings_and_settings_are_answered_and_unknown_frames_passed_over() -> None:
    def play(server: H2Server, stream: int) -> None:
        server.h2.ping(b"12345678")
        server.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
        server.say(frame(0xBE, 0, 0, b"grease"))
        answer("200")(server, stream)

    assert check(H2Server(play, room=9))[0].status is Status.L7OK


def test_a_body_waits_for_the_peers_window() -> None:
    ours, theirs = H2Stream(), H2Server(answer("200"))
    pairs = to_h2(b"PUT", b"/", [], scheme=b"https", authority=False)
    ours.request(pairs, b"b" * 200_000)

    async def turns() -> list[int]:
        pieces = []
        while not ours.ended:
            out = ours.out()
            pieces.append(len(out))
            while out:
                out = out[await theirs.send(out) :]
            ours.feed(await theirs.receive(1 << 20))
        return pieces

    pieces = trio.run(turns)
    assert theirs.body == b"b" * 200_000
    assert max(pieces) < 66_000


def test_an_endless_answer_is_bounded() -> None:
    """The window opens only for what was taken, and the probe takes one buffer."""

    def play(server: H2Server, stream: int) -> None:
        server.h2.send_headers(stream, [(":status", "200")])
        for _ in range(40):
            if server.h2.local_flow_control_window(stream) >= 1000:
                server.h2.send_data(stream, b"x" * 1000)

    server = H2Server(play)
    result, _ = check(server, ELLO)
    assert result.status is Status.L7RSP
    assert sum(server.reads) < 4 * 16384


def test_without_h2_the_bytes_pass_as_they_are() -> None:
    server = H2Server(lambda *_: None)
    server.waiting = bytearray(b"HTTP/1.1 200 OK\r\n\r\n")
    sent = bytearray()

    async def send(data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        sent.extend(data)
        return len(data)

    server.send = send  # type: ignore[method-assign]

    async def run() -> ProbeResult:
        wire = H2Wire(server, wanted=lambda: False)
        return await Driver(Probe(http_program(request=POST), spec()), wire).run()

    assert trio.run(run).status is Status.L7OK
    assert sent.startswith(b"POST /x?y HTTP/1.1\r\n")
