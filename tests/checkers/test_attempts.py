"""One attempt of each kind against real servers on loopback, in every way that it may end."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from checkers_kit import check, reading, server

from risefall.checkers.attempts import Attempts, tls_context
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import RealServer, VirtualServer
from risefall.errors import StartError

Speak = Callable[[trio.SocketStream], Awaitable[None]]
PASS, FAIL, UNMADE = Verdict.PASS, Verdict.FAIL, Verdict.UNMADE
FAST = "connect_timeout 0.2"
PATIENT = "connect_timeout 20"
URL = "url {\npath /\n}"


def aimed(kind: str, port: int, *lines: str, ip: str = "127.0.0.1") -> tuple[VirtualServer, RealServer]:
    text = server(1, check(kind, f"connect_ip {ip}", f"connect_port {port}", *lines))
    pool = reading(text).virtual_servers[0]
    return pool, pool.real_servers[0]


async def attempt(kind: str, port: int, *lines: str, ip: str = "127.0.0.1") -> Attempt:
    pool, real = aimed(kind, port, *lines, ip=ip)
    return await Attempts(tls_context({})).make(pool, real, real.checkers[0])


def against(speak: Speak, kind: str, *lines: str) -> Attempt:
    """The attempt, against a server of this test."""

    async def test() -> Attempt:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, quiet(speak), [listener])
            found = await attempt(kind, listener.socket.getsockname()[1], *lines)
            nursery.cancel_scope.cancel()
        return found

    return trio.run(test)


def quiet(speak: Speak) -> Speak:
    async def one(stream: trio.SocketStream) -> None:
        try:
            await speak(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    return one


def http(reply: bytes, *, then: str = "close") -> Speak:
    """Reads the request, answers, and closes, resets or hangs."""

    async def speak(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        if reply:
            await stream.send_all(reply)
        if then == "hang":
            await trio.sleep_forever()
        if then == "reset":
            await trio.sleep(0.05)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return speak


def mail(*answers: bytes, hang: bool = False) -> Speak:
    async def speak(stream: trio.SocketStream) -> None:
        for answer in answers:
            await stream.send_all(answer)
            if not await stream.receive_some():
                return
        if hang:
            await trio.sleep_forever()

    return speak


OK = b"HTTP/1.0 200 OK\r\n\r\nhello"
HTTP: tuple[tuple[Speak, str, Verdict, str], ...] = (
    (http(OK), PATIENT, PASS, "HTTP status code"),
    (http(b"HTTP/1.0 503 No\r\n\r\n"), PATIENT, FAIL, "HTTP status code error to"),
    (http(b""), PATIENT, FAIL, "Read, no data received from "),
    (http(OK, then="reset"), PATIENT, FAIL, "Read error with"),
    (http(b"", then="hang"), FAST, FAIL, "Timeout WEB read"),
    (http(OK, then="hang"), FAST, FAIL, "Timeout HTTP read"),
)


@pytest.mark.parametrize(("speak", "timeout", "verdict", "why"), HTTP)
def test_http(speak: Speak, timeout: str, verdict: Verdict, why: str) -> None:
    found = against(speak, "HTTP_GET", timeout, URL)
    assert (found.verdict, found.why) == (verdict, why)


MAIL: tuple[tuple[Speak, str, str], ...] = (
    (mail(b"220 mx\r\n", b"250 x\r\n", b"221 bye\r\n"), PATIENT, ""),
    (mail(b"220 mx\r\n", b"250 x\r\n", b"500 what\r\n"), PATIENT, ""),
    (mail(b"554 no\r\n"), PATIENT, "Bad greeting banner from"),
    (mail(b"220 mx\r\n", b"250-x\r\n250 y\r\n"), PATIENT, "Bad HELO response from"),
    (mail(b"220 mx\r\n", b"250 x\r\n"), PATIENT, "Read failure from"),
    (mail(b"220 mx\r\n", hang=True), FAST, "Read timeout from"),
)


@pytest.mark.parametrize(("speak", "timeout", "why"), MAIL)
def test_smtp(speak: Speak, timeout: str, why: str) -> None:
    found = against(speak, "SMTP_CHECK", timeout)
    assert found.verdict is (FAIL if why else PASS)
    assert found.why.startswith(f"{why} server [127.0.0.1]:") if why else found.why == "SMTP"


def test_a_real_mail_server(free_port: int) -> None:
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    controller = Controller(Sink(), hostname="127.0.0.1", port=free_port)
    controller.start()
    try:
        assert trio.run(attempt, "SMTP_CHECK", free_port, PATIENT).verdict is PASS
    finally:
        controller.stop()


REFUSED = {"TCP_CHECK": "failed", "HTTP_GET": "Connection failed", "SSL_GET": "Connection failed"}
LATE = {"TCP_CHECK": "timeout", "HTTP_GET": "Timeout connecting", "SSL_GET": "Timeout connecting"}
KINDS = ("TCP_CHECK", "HTTP_GET", "SSL_GET", "SMTP_CHECK")


def lines_of(kind: str, *lines: str) -> tuple[str, ...]:
    return (*lines, URL) if kind.endswith("GET") else lines


@pytest.mark.parametrize("kind", KINDS)
def test_refused(kind: str, free_port: int) -> None:
    found = trio.run(attempt, kind, free_port, *lines_of(kind, PATIENT))
    assert (found.verdict, found.why) == (
        FAIL, REFUSED.get(kind, f"Could not connect to server [127.0.0.1]:{free_port}"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_answers(kind: str) -> None:
    """A listener whose queue is full: the kernel drops what else comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        others = [socket.socket() for _ in range(3)]
        for one in others:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        try:
            found = trio.run(attempt, kind, port, *lines_of(kind, FAST))
        finally:
            for one in others:
                one.close()
    assert (found.verdict, found.why) == (FAIL, LATE.get(kind, f"Connection timeout to server [127.0.0.1]:{port}"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_made_here_is_no_failure(kind: str, free_port: int) -> None:
    found = trio.run(attempt, kind, free_port, *lines_of(kind, "bindto 203.0.113.77"))
    again = {
        "TCP_CHECK": "TCP socket bind failed. Rescheduling.",
        "SMTP_CHECK": "SMTP_CHECK socket bind failed. Rescheduling.",
    }
    assert found.verdict is UNMADE
    assert found.said == (
        "Checker bind failed: Cannot assign requested address", again.get(kind, "WEB socket bind failed. Rescheduling"),
    )  # fmt: skip


def test_from_where_it_goes(free_port: int) -> None:
    seen: list[tuple[str, int]] = []

    async def speak(stream: trio.SocketStream) -> None:
        seen.append(stream.socket.getpeername())
        await http(OK)(stream)

    assert against(speak, "HTTP_GET", "bindto 127.0.0.9", f"bind_port {free_port}", URL).verdict is PASS
    assert against(speak, "HTTP_GET", URL).verdict is PASS
    assert seen[0] == ("127.0.0.9", free_port)
    assert seen[1][0] == "127.0.0.1"


def test_a_server_that_drips_has_its_time() -> None:
    """Each read has connect_timeout of its own: in all this takes longer than one."""

    async def speak(stream: trio.SocketStream) -> None:
        await http(b"HTTP/1.0 200 OK\r\n")(stream)
        for _ in range(6):
            await trio.sleep(0.15)
            await stream.send_all(b"X: y\r\n")
        await stream.send_all(b"\r\n")

    assert against(speak, "HTTP_GET", "connect_timeout 0.8", URL).verdict is PASS


@pytest.mark.parametrize("kind", ["TCP_CHECK", "HTTP_GET"])
def test_over_ipv6(kind: str) -> None:
    async def test() -> Attempt:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="::1")
            nursery.start_soon(trio.serve_listeners, quiet(http(OK)), [listener])
            port = listener.socket.getsockname()[1]
            found = await attempt(kind, port, *lines_of(kind, PATIENT), ip="::1")
            nursery.cancel_scope.cancel()
        return found

    assert trio.run(test).verdict is PASS


# --- TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import trustme

    path = tmp_path_factory.mktemp("tls") / "both.pem"
    trustme.CA().issue_cert("x.example").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def secure(path: Path, speak: Callable[[trio.SSLStream], Awaitable[None]], names: list[str | None]) -> Speak:  # type: ignore[type-arg]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    context.sni_callback = lambda _socket, name, _context: names.append(name)  # type: ignore[assignment, misc]

    async def one(stream: trio.SocketStream) -> None:
        await speak(trio.SSLStream(stream, context, server_side=True))

    return one


@pytest.mark.parametrize(
    ("reply", "hang", "timeout", "verdict", "why"),
    [
        (OK, False, PATIENT, PASS, "HTTP status code"),
        (b"", False, PATIENT, FAIL, "Read, no data received from "),
        (OK, True, FAST, FAIL, "Timeout SSL read"),
    ],
)
def test_over_tls(certificate: Path, reply: bytes, hang: bool, timeout: str, verdict: Verdict, why: str) -> None:
    names: list[str | None] = []
    speak = secure(certificate, http(reply, then="hang" if hang else "close"), names)  # type: ignore[arg-type]
    found = against(speak, "SSL_GET", timeout, URL)
    assert (found.verdict, found.why, names) == (verdict, why, [None])


def test_the_sni_is_the_virtualhost(certificate: Path) -> None:
    names: list[str | None] = []
    speak = secure(certificate, http(OK), names)  # type: ignore[arg-type]
    found = against(speak, "SSL_GET", PATIENT, "enable_sni", "virtualhost shop.example", URL)
    assert (found.verdict, names) == (PASS, ["shop.example"])


def test_no_tls_at_all() -> None:
    async def speak(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    found = against(speak, "SSL_GET", PATIENT, URL)
    assert (found.verdict, found.why) == (FAIL, "SSL handshake/communication error connecting to")


def test_an_ssl_block_that_cannot_be_used() -> None:
    with pytest.raises(StartError, match="SSL: /nowhere"):
        tls_context({"certificate": "/nowhere/a", "key": "/nowhere/b"})
