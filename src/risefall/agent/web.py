"""The same answer over HTTP: `/` for probes, `/metrics` for Prometheus.

h11 reads and writes HTTP, without I/O; the sockets are kept here, since what matters is what a hostile client may take:
one request a connection, one deadline for all of it, a bounded number of places, and the oldest goes when they are taken.
(hypercorn with starlette has no such bound, and is a lot for three pages.)
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

import h11
import msgspec
import trio

from risefall.agent.standing import Standing
from risefall.engine.answerer import Network
from risefall.surfaces.serve import accept

CLIENTS_MAX = 64
CLIENT_S = 5.0
HEAD_MAX_BYTES = 8192
JSON, TEXT = b"application/json", b"text/plain; version=0.0.4; charset=utf-8"


class Page(msgspec.Struct, frozen=True):
    """What a request gets."""

    status: int
    body: bytes
    kind: bytes = JSON


class Site:
    """The pages. standings: of all services, in the file's order; default: which of them answers for `/`, "" for all."""

    def __init__(self, standings: Callable[[], Sequence[Standing]], metrics: Callable[[], bytes], default: str) -> None:
        self._standings = standings
        self._metrics = metrics
        self._default = default

    def page(self, path: str) -> Page:
        """The page of a path without its query."""
        if path == "/metrics":
            return Page(200, self._metrics(), TEXT)
        standings = self._standings()
        name = path.removeprefix("/") or self._default
        if name:
            standings = [each for each in standings if each.service == name]
        if not standings:
            return Page(404, msgspec.json.encode({"error": f"no service '{name}'"}) + b"\n")
        body = msgspec.json.encode(standings[0] if name else standings)
        return Page(200 if all(each.good for each in standings) else 503, body + b"\n")

    def answer(self, request: h11.Request) -> Page:
        """The page of a request."""
        if request.method not in (b"GET", b"HEAD"):
            return Page(405, msgspec.json.encode({"error": "GET or HEAD"}) + b"\n")
        path = request.target.decode("ascii", "replace").partition("?")[0]
        return self.page(path)


async def serve_web(opened: socket.socket, site: Site, allow: Sequence[Network]) -> None:
    """Answers until it is cancelled."""
    places: dict[trio.CancelScope, None] = {}
    with trio.socket.from_stdlib_socket(opened) as listener:
        async with trio.open_nursery() as nursery:
            while True:
                client = await accept(listener)
                if not welcome(client, allow):
                    client.close()
                    continue
                if len(places) >= CLIENTS_MAX:
                    oldest = next(iter(places))
                    del places[oldest]
                    oldest.cancel()
                scope = trio.CancelScope(deadline=trio.current_time() + CLIENT_S)
                places[scope] = None
                nursery.start_soon(serve_client, client, site, scope, places)


def welcome(client: trio.socket.SocketType, allow: Sequence[Network]) -> bool:
    """Whether a peer is in one of the networks; everybody is where there are none."""
    if not allow:
        return True
    try:
        address = ipaddress.ip_address(client.getpeername()[0].partition("%")[0])
    except OSError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in allow)


async def serve_client(
    client: trio.socket.SocketType, site: Site, scope: trio.CancelScope, places: dict[trio.CancelScope, None]
) -> None:
    """One request and its page."""
    try:
        with client, scope, suppress(OSError):
            talk = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
            try:
                while (event := talk.next_event()) is h11.NEED_DATA:
                    talk.receive_data(await client.recv(4096))
                if not isinstance(event, h11.Request):
                    return
                page, head = site.answer(event), event.method == b"HEAD"
            except h11.RemoteProtocolError as error:
                page, head = Page(error.error_status_hint, b'{"error": "no HTTP request"}\n'), False
            await client_send(client, render(talk, page, head=head))
            client.shutdown(socket.SHUT_WR)
            # A close with a body unread would reset the page on its way.
            while await client.recv(4096):
                pass
    finally:
        places.pop(scope, None)


def render(talk: h11.Connection, page: Page, *, head: bool) -> bytes:
    """The bytes of a response; a HEAD gets no body."""
    headers = [
        (b"content-type", page.kind),
        (b"content-length", b"%d" % len(page.body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    reason = HTTPStatus(page.status).phrase.encode("ascii")
    data = talk.send(h11.Response(status_code=page.status, headers=headers, reason=reason)) or b""
    if not head:
        data += talk.send(h11.Data(data=page.body)) or b""
    return data + (talk.send(h11.EndOfMessage()) or b"")


async def client_send(client: trio.socket.SocketType, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[await client.send(rest) :]
