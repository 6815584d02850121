"""Certificates made for a test run, and a TLS server in memory, as a wire."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trio
import trustme

from risefall.engine.native import Endpoint, Want

NAME = "shop.example"


@cache
def authority() -> trustme.CA:
    """The one that issues."""
    return trustme.CA(organization_name="Test Authority")


@cache
def leaf(days_from: int = -10, days_to: int = 90, name: str = NAME) -> trustme.LeafCert:
    """A certificate for a name and for 127.0.0.1."""
    now = datetime.now(UTC)
    return authority().issue_cert(
        name, "127.0.0.1", common_name=name,
        not_before=now + timedelta(days=days_from), not_after=now + timedelta(days=days_to, hours=1),
    )  # fmt: skip


def ca_path(folder: Path) -> str:
    """A file with the authority's certificate."""
    path = folder / "ca.pem"
    authority().cert_pem.write_to_path(path)
    return str(path)


def server_context(cert: trustme.LeafCert | None = None, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (cert or leaf()).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class TlsServer:
    """A wire whose far end speaks TLS and answers what `reply` makes of all that was read so far.

    An empty answer means that nothing is said yet. ends: what follows the answer: nothing, "notify" (a close_notify and the
    end of the stream) or "raw" (the end alone).
    """

    def __init__(
        self, context: ssl.SSLContext, reply: Callable[[bytes], bytes], *, room: int = 1 << 20, ends: str = ""
    ) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.reply = reply
        self.room = room
        self.ends = ends
        self.shaken = False
        self.answered = False
        self.over = False
        self.got = b""
        self.alert = ""
        self.sni: list[str] = []
        self.endings: list[int] = []

    async def connect(self, want: Want) -> None:
        await trio.lowlevel.checkpoint()

    async def send(self, data: bytes) -> int:
        await trio.lowlevel.checkpoint()
        self.incoming.write(data[:500])
        try:
            self._turn()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.alert = error.reason or ""
            self.over = True
        return len(data[:500])

    def _turn(self) -> None:
        if not self.shaken:
            self.tls.do_handshake()
            self.shaken = True
        while not self.answered:
            self.got += self.tls.read(16384)
            answer = self.reply(self.got)
            if answer:
                self.tls.write(answer)
                self.answered = True
                self.over = bool(self.ends)
        if self.ends == "notify":
            self.tls.unwrap()

    async def receive(self, room: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.outgoing.pending and not self.over:
            await trio.sleep_forever()
        return self.outgoing.read(min(room, self.room))

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        raise AssertionError

    def end(self, how: int, last: bytes = b"") -> None:
        self.endings.append(how)
