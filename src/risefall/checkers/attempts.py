"""One attempt of a checker over real sockets: how it connects, what it says and reads, and what keepalived would say of its end.

`connect_timeout` bounds the connection, its TLS handshake included, and then each read anew: a server that drips has all the
time it wants. An attempt that cannot be made here (no such device, an address that is not ours) counts for nothing.
Source: spec/keepalived-track.md §11.1, §11.3; run on 2.2.7.
"""

from __future__ import annotations

import ssl
from typing import assert_never

import trio

from risefall.checkers.ping import ping
from risefall.checkers.plan import target
from risefall.checkers.reply import Reply, SmtpLine, request, virtualhost
from risefall.checkers.udp import ask, knock
from risefall.checkers.wire import CONNECT, BoundWire, NotConnected, Trouble, Unmade
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Checker, RealServer, Url, VirtualServer
from risefall.engine.drive import TlsError
from risefall.engine.tlswire import TlsOptions, TlsWire
from risefall.errors import StartError


def tls_context(settings: dict[str, str]) -> ssl.SSLContext:
    """Of all SSL_GET checkers: no certificate is verified. settings: the `SSL` block.

    Raises StartError for files that cannot be used, where keepalived does not start either.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    certificate, key, ca = settings.get("certificate"), settings.get("key"), settings.get("ca")
    try:
        if certificate and key:
            context.load_cert_chain(certificate, key, settings.get("password") or "")
        if ca:
            context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise StartError(f"SSL: {certificate or ca}: cannot be used: {error.strerror or error}") from error
    return context


class Attempts:
    """Makes attempts of any checker but MISC_CHECK. Nothing of one outlives it."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """context: of SSL_GET, None where there is none."""
        self._context = context

    async def make(self, pool: VirtualServer, server: RealServer, checker: Checker, url: int = 0) -> Attempt:
        """One attempt. url: which one of HTTP_GET and SSL_GET."""
        if checker.kind == "DNS_CHECK":
            return await ask(pool, server, checker)
        if checker.kind == "UDP_CHECK":
            return await knock(server, checker)
        if checker.kind == "PING_CHECK":
            return await ping(server, checker)
        wire = BoundWire(server, checker)
        try:
            if checker.kind == "TCP_CHECK":
                return await _tcp(wire, checker)
            if checker.kind == "SMTP_CHECK":
                return await _smtp(wire, server, checker)
            return await self._http(wire, pool, server, checker, checker.urls[url])
        except Unmade as unmade:
            return _unmade(checker.kind, unmade)
        finally:
            wire.end(0)

    async def _http(
        self, wire: BoundWire, pool: VirtualServer, server: RealServer, checker: Checker, url: Url
    ) -> Attempt:
        stream: BoundWire | TlsWire = wire
        if checker.kind == "SSL_GET":
            sni = virtualhost(pool, server, checker, url) if checker.enable_sni else ""
            stream = TlsWire(wire, TlsOptions(sni=sni, verify=False), context=self._context)
        try:
            await _connect(stream, checker)
        except NotConnected as failure:
            return Attempt(Verdict.FAIL, _http_trouble(failure.trouble))
        try:
            await stream.send(request(pool, server, checker, url, *target(server, checker)))
        except OSError:
            return Attempt(Verdict.FAIL, "Cannot send get request to")
        return await _read(stream, Reply(url), checker)


async def _connect(wire: BoundWire | TlsWire, checker: Checker) -> None:
    """Raises: NotConnected, Unmade."""
    with trio.move_on_after(checker.connect_timeout_ms / 1000):
        try:
            await wire.connect(CONNECT)
        except TlsError as failure:
            reset = isinstance(failure.__cause__, ConnectionError)
            raise NotConnected(Trouble.REFUSED if reset else Trouble.HANDSHAKE) from failure
        return
    raise NotConnected(Trouble.TIMEOUT)


async def _read(wire: BoundWire | TlsWire, reply: Reply, checker: Checker) -> Attempt:
    """Until the server closes, or says nothing for too long."""
    secure = isinstance(wire, TlsWire)
    said_nothing = True
    while room := reply.room:
        data = None
        with trio.move_on_after(checker.connect_timeout_ms / 1000):
            try:
                data = await wire.receive(room)
            except OSError:
                if secure:
                    break  # whatever ends a TLS stream ends the reply
                return Attempt(Verdict.FAIL, "Read error with", tuple(reply.said))
        if data is None:
            # The tickets of TLS 1.3 are bytes too: keepalived has begun to read by then.
            tickets = isinstance(wire, TlsWire) and wire.facts is not None and wire.facts.protocol == "TLSv1.3"
            what = "WEB" if said_nothing and not tickets else "SSL" if secure else "HTTP"
            return Attempt(Verdict.FAIL, f"Timeout {what} read", tuple(reply.said))
        if not data:
            break
        said_nothing = False
        reply.feed(data)
    return reply.end()


def _http_trouble(trouble: Trouble) -> str:
    match trouble:
        case Trouble.UNREACHABLE:
            return "HTTP_CHECK - network unreachable"
        case Trouble.REFUSED:
            return "Connection failed"
        case Trouble.TIMEOUT:
            return "Timeout connecting"
        case Trouble.HANDSHAKE:
            return "SSL handshake/communication error connecting to"
    assert_never(trouble)


async def _tcp(wire: BoundWire, checker: Checker) -> Attempt:
    try:
        await _connect(wire, checker)
    except NotConnected as failure:
        return Attempt(
            Verdict.FAIL, {Trouble.TIMEOUT: "timeout", Trouble.UNREACHABLE: ""}.get(failure.trouble, "failed")
        )
    return Attempt(Verdict.PASS)


SMTP_STEPS = ((220, "HELO {}\r\n", "Bad greeting banner"), (250, "QUIT\r\n", "Bad HELO response"), (None, "", ""))


async def _smtp(wire: BoundWire, server: RealServer, checker: Checker) -> Attempt:
    address, port = target(server, checker)
    to = f"[{address}]:{port}"

    said: list[str] = []

    def failed(what: str) -> Attempt:
        return Attempt(Verdict.FAIL, f"{what} server {to}", said=tuple(said))

    try:
        await _connect(wire, checker)
    except NotConnected as failure:
        if failure.trouble is Trouble.UNREACHABLE:
            real = f"[{server.address}]:{server.port}"
            return Attempt(Verdict.FAIL, f"Network unreachable for server {address} - real server {real}")
        return failed("Connection timeout to" if failure.trouble is Trouble.TIMEOUT else "Could not connect to")
    for wanted, words, wrong in SMTP_STEPS:
        line, status, data = SmtpLine(), None, b""
        while status is None:
            with trio.move_on_after(checker.connect_timeout_ms / 1000) as scope:
                try:
                    data = await wire.receive(line.room)
                except OSError:
                    data = b""
            if scope.cancelled_caught:
                return failed("Read timeout from")
            before = line.overflows
            status = line.feed(data)
            if line.overflows > before:
                said.append(
                    f"SMTP_CHECK Buffer overflow reading from server {to}. Increase SMTP_BUFF_MAX in check_smtp.h"
                )
            if not data:
                return failed("Read failure from")
        if wanted is not None and status != wanted:
            return failed(f"{wrong} from")
        if words:
            try:
                await wire.send(words.format(checker.helo_name).encode("utf-8", "surrogateescape"))
            except OSError:
                return failed("Write failure to")
    return Attempt(Verdict.PASS, "SMTP", said=tuple(said))


def _unmade(kind: str, unmade: Unmade) -> Attempt:
    """With the line that tells of another try."""
    if unmade.socket:
        again = {
            "TCP_CHECK": "TCP socket bind failed. Rescheduling.",
            "SMTP_CHECK": "SMTP_CHECK socket bind failed. Rescheduling.",
        }.get(kind, "WEB socket bind failed. Rescheduling")
    else:
        again = {
            "TCP_CHECK": "TCP connect fail to create socket. Rescheduling.",
            "SMTP_CHECK": "SMTP_CHECK connection failed to create socket. Rescheduling.",
        }.get(kind, "WEB connection fail to create socket. Rescheduling.")
    return Attempt(Verdict.UNMADE, said=(unmade.said, again) if unmade.said else (again,))
