"""DNS_CHECK and UDP_CHECK: the bytes of each, and one attempt against servers on loopback that answer, err, or are silent."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio
from checkers_kit import check, reading, server

from risefall.checkers.attempts import Attempts
from risefall.checkers.udp import PAYLOAD, octets, question, rcode_of
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Checker

Answer = Callable[[bytes], list[bytes]]
FAST, PATIENT = "connect_timeout 0.2", "connect_timeout 20"


@pytest.mark.parametrize(
    ("text", "values", "masks"),
    [
        ("6162 0d0a", b"ab\r\n", b"\xff\xff\xff\xff"),
        ("ab c de", b"\xab\x0c\xde", b"\xff\xff\xff"),
        ("68xx6X", b"\x68\x00\x60", b"\xff\x00\xf0"),
        ("x", b"\x00", b"\xf0"),
    ],
)
def test_octets(text: str, values: bytes, masks: bytes) -> None:
    assert octets(text) == (values, masks)


@pytest.mark.parametrize(
    ("name", "labels"), [(".", b"\0"), ("example.com", b"\7example\3com\0"), ("example.com.", b"\7example\3com\0")]
)
def test_question(name: str, labels: bytes) -> None:
    asked = question(0x1234, Checker("DNS_CHECK", dns_name=name, dns_type="AAAA"))
    assert asked == b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\x1c\0\1"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"\0\1\x81\x80" + bytes(8), 0),
        (b"\0\1\x81\x83" + bytes(8), 3),
        (b"\0\2\x81\x80" + bytes(8), None),
        (b"\0\1\1\0" + bytes(8), None),
        (b"\0\1\x81\x80", None),
        (b"", None),
    ],
)
def test_what_is_an_answer(reply: bytes, code: int | None) -> None:
    assert rcode_of(reply, 1) == code


def against(answer: Answer | None, kind: str, *lines: str) -> Attempt:
    """One attempt, against a UDP server of this test; without one nobody listens."""

    async def test() -> Attempt:
        heard = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await heard.bind(("127.0.0.1", 0))
        port = heard.getsockname()[1]
        if answer is None:
            heard.close()
        text = server(1, check(kind, "connect_ip 127.0.0.1", f"connect_port {port}", *lines))
        pool = reading(text).virtual_servers[0]

        async def serve(say: Answer) -> None:
            while True:
                data, where = await heard.recvfrom(4096)
                for reply in say(data):
                    await heard.sendto(reply, where)

        async with trio.open_nursery() as nursery:
            if answer is not None:
                nursery.start_soon(serve, answer)
            found = await Attempts().make(pool, pool.real_servers[0], pool.real_servers[0].checkers[0])
            nursery.cancel_scope.cancel()
        heard.close()
        return found

    return trio.run(test)


@pytest.mark.parametrize(
    ("answer", "lines", "verdict", "why"),
    [
        (lambda data: [data[:2] + b"\x81\x80" + data[4:]], (PATIENT,), Verdict.PASS, ""),
        (lambda data: [b"x", data, data[:2] + b"\x81\x82" + data[4:]], (PATIENT,), Verdict.FAIL, "(rcode = 2)"),
        (lambda data: [], (FAST,), Verdict.FAIL, "read timeout from socket"),
        (None, (PATIENT,), Verdict.FAIL, "errno 111 (Connection refused)"),
    ],
)
def test_dns(answer: Answer | None, lines: tuple[str, ...], verdict: Verdict, why: str) -> None:
    attempt = against(answer, "DNS_CHECK", *lines)
    assert (attempt.verdict, why in attempt.why) == (verdict, True)


@pytest.mark.parametrize(
    ("answer", "lines", "verdict", "why"),
    [
        (lambda data: [], (FAST,), Verdict.PASS, ""),
        (lambda data: [data], (PATIENT, f"require_reply {PAYLOAD.hex()}"), Verdict.PASS, ""),
        (lambda data: [data], (PATIENT, "payload 6162", "require_reply 61 63"), Verdict.FAIL, "reply data mismatch"),
        (lambda data: [b"a"], (PATIENT, "require_reply", "min_reply_length 5"), Verdict.PASS, ""),
        (lambda data: [b"a"], (PATIENT, "require_reply 61", "min_reply_length 5"), Verdict.FAIL, "reply data mismatch"),
        (lambda data: [], (FAST, "require_reply"), Verdict.FAIL, "failed"),
        (None, (PATIENT,), Verdict.FAIL, "failed"),
    ],
)
def test_udp(answer: Answer | None, lines: tuple[str, ...], verdict: Verdict, why: str) -> None:
    attempt = against(answer, "UDP_CHECK", *lines)
    assert (attempt.verdict, attempt.why) == (verdict, why)
