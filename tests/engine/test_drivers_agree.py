"""The trio driver and the native driver: the same verdict, status, text and bytes for whatever program and reply."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogue_kit import Listener
from outcomes_kit import targets_of
from risefall.engine.drive import Driver, SocketWire
from risefall.engine.native import Probe
from risefall.engine.once import check_once
from risefall.engine.targets import Target
from risefall.state.exchange import CheckResult

AT_ONCE = 16
INTER = "inter 400ms"
MASK = re.compile(rb"(?<=\x16\x03\x00\x00\x79.{6}).{4}", re.DOTALL)
"""The time in an SSL hello."""


class Case(msgspec.Struct, frozen=True):
    """Lines of a backend, and how its server plays: how many bytes it waits for, what it says, whether its stream ends then.

    In one piece: where a reply is cut, the verdict of some rules depends on which part is seen first, in HAProxy too. The end is
    half a close, since a whole one resets the connection where something was not read yet, sooner or later.
    """

    lines: tuple[str, ...]
    wait: int
    reply: bytes
    stays: bool


class Seen(msgspec.Struct, frozen=True):
    """How a check ended, and what its server got."""

    status: str
    verdict: str
    code: int
    text: bytes
    got: bytes


# --- programs and replies ----------------------------------------------------------------------------------------

WORDS = st.sampled_from(["PING", "+PONG", "a", "ok", "220 x", "-ERR no", "200", "b\\r\\n"])
COMMENTS = st.sampled_from(["", " comment why"])
STATUSES = st.sampled_from(["", " error-status L7STS", " tout-status L6TOUT", " ok-status L7OKC"])
SENDS = st.one_of(
    WORDS.map(lambda word: f"tcp-check send {word}\\r\\n".replace("220 x", "220").replace("-ERR no", "-ERR")),
    st.sampled_from(
        ["tcp-check send-binary 00ff10", "tcp-check send-lf %[str(abc)]", "tcp-check send-binary-lf %[str(6162)]"]
    ),
)
PATTERNS = st.sampled_from(
    ["string +PONG", "string ok", "rstring ^[+-]", "rstring o.*k", "binary 2b50", "rbinary 2B.*0D", "string-lf %[str(ok)]",
     "! string ERR", "! rstring ^2", "min-recv 4 string o", "min-recv 9 rstring P"]
)  # fmt: skip
EXPECTS = st.builds(
    lambda pattern, comment, status: f"tcp-check expect{comment}{status} {pattern}", PATTERNS, COMMENTS, STATUSES
)
TCP_LINES = st.lists(st.one_of(SENDS, EXPECTS), min_size=1, max_size=5).map(lambda rules: ("option tcp-check", *rules))

REQUESTS = st.sampled_from(
    [
        "option httpchk",
        "option httpchk GET /x",
        "option httpchk GET /x HTTP/1.1\\r\\nHost:\\ www",
        "option httpchk HEAD / HTTP/1.1",
    ]
)
HTTP_EXPECTS = st.sampled_from(
    ["status 200", "status 200-399", "! status 500", "rstatus ^2", "string ok", "rstring o.?k", "! string ok",
     "hdr name server value -m beg x", "fhdr name-lf server value -m sub y", "! hdr name -m end er"]
)  # fmt: skip
HTTP_LINES = st.builds(
    lambda request, expects: (request, *(f"http-check expect {expect}" for expect in expects)),
    REQUESTS,
    st.lists(HTTP_EXPECTS, max_size=3),
)
PRESET_LINES = st.sampled_from(
    [("option redis-check",), ("option mysql-check",), ("option mysql-check user u post-41",), ("option smtpchk",),
     ("option ldap-check",), ("option pgsql-check user u",), ("option ssl-hello-chk",), ("option spop-check",), ()]
)  # fmt: skip
ANY_LINES = st.one_of(TCP_LINES, HTTP_LINES, PRESET_LINES)

REPLIES = st.one_of(
    st.sampled_from(
        [b"+PONG\r\n", b"-ERR no\r\n", b"ok", b"220 x\r\n250 y\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
         b"HTTP/1.0 503 no\r\n\r\n", b"HTTP/1.1 200 OK\r\nServer: xy\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
         b"\x0a\x00\x00\x00\x0a8.0\x00" + b"\x01" * 30, b"\x16\x03\x00\x00\x02hi", bytes.fromhex("300c02010161070a010004000400"),
         b"R\0\0\0\x08\0\0\0\0", b"E\0\0\0\x08FATA"]
    ),
    st.binary(max_size=40),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A program, and a reply that may be cut, and may come before a word was said."""
    reply = draw(REPLIES)
    cut = draw(st.one_of(st.just(len(reply)), st.integers(0, len(reply))))
    return Case(draw(ANY_LINES), draw(st.integers(0, 1)), reply[:cut], draw(st.booleans()))


# --- running them ------------------------------------------------------------------------------------------------


def config(some: Sequence[Case], ports: Sequence[int]) -> str:
    backends = [
        "\n ".join([f"backend c{number}", *case.lines, f"server s 127.0.0.1:{port} check {INTER}"])
        for number, (case, port) in enumerate(zip(some, ports, strict=True))
    ]
    return "\n".join(["defaults\n timeout connect 5s", *backends]) + "\n"


def plays(some: Sequence[Case]) -> list[Listener]:
    """A listener for each case."""
    return [Listener(partial(play, case)) for case in some]


def play(case: Case, sock: socket.socket) -> bytes:
    """One connection; all that came, whatever the other end did meanwhile."""
    got = sock.recv(65536) if case.wait else b""
    with suppress(OSError):
        sock.sendall(case.reply)
        if not case.stays:
            sock.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        while data := sock.recv(65536):
            got += data
    return got


async def over_trio(targets: Sequence[Target]) -> list[Seen]:
    """Every program by the trio driver."""
    found: dict[int, Seen] = {}

    async def one(number: int, target: Target) -> None:
        assert target.health is not None
        program, spec = target.health
        result = await Driver(Probe(program, spec), SocketWire(spec.to)).run()
        found[number] = Seen(result.status.name, result.verdict.name, result.code, result.text, b"")

    async with trio.open_nursery() as nursery:
        for number, target in enumerate(targets):
            nursery.start_soon(one, number, target)
    return [found[number] for number in range(len(targets))]


async def over_native(targets: Sequence[Target]) -> list[Seen]:
    """Every program by the engine."""
    said = [one.health for one in await check_once(targets)]
    assert all(isinstance(one, CheckResult) for one in said)
    return [Seen(one.status.name, one.verdict.name, one.code, one.text, b"") for one in said if one is not None]


def run(some: Sequence[Case], how: str) -> list[Seen]:
    listeners = plays(some)

    async def both() -> list[Seen]:
        targets = await targets_of(config(some, [listener.port for listener in listeners]))
        assert not [target.why_not for target in targets if target.why_not]
        said = await (over_trio if how == "trio" else over_native)(targets)
        talks = [listener for listener, case in zip(listeners, some, strict=True) if case.lines]
        with trio.fail_after(20):  # a plain connect is reset before its server sees it
            while any(listener.first is None for listener in talks):
                await trio.sleep(0.005)  # until each server has seen the end of its connection
        return said

    try:
        said = trio.run(both)
        return [
            msgspec.structs.replace(one, got=MASK.sub(b"TIME", listener.first or b""))
            for one, listener in zip(said, listeners, strict=True)
        ]
    finally:
        for listener in listeners:
            listener.close()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cases(), min_size=AT_ONCE, max_size=AT_ONCE))
def test_both_drivers_see_the_same(some: list[Case]) -> None:
    native, by_trio = run(some, "native"), run(some, "trio")
    for case, one, other in zip(some, native, by_trio, strict=True):
        assert (case, other) == (case, one)
