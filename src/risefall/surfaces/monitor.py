"""`monitor-uri` as HAProxy answers it, byte for byte: bytes of a client in, bytes of the answer out. No socket, no clock.

A library's parser would refuse what HAProxy takes (HTTP/1.1 without a Host) and write other bytes. Requests for anything else get
the 503 that HAProxy gives when no server is available: risefall moves no traffic. Source: spec/haproxy-checks.md §8.1; http_ana.c
and mux_h1.c of 2.6; every answer was compared with 2.6.12.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import msgspec

from risefall.config.haproxy.acls import Condition, Network
from risefall.state.monitor import Asked

HEAD_MAX = 16_384
BODY_MAX = 1 << 20
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
BAD_REQUEST = (
    b"HTTP/1.1 400 Bad request\r\nContent-length: 90\r\nCache-Control: no-cache\r\nConnection: close\r\n"
    b"Content-Type: text/html\r\n\r\n<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n"
    b"</body></html>\n"
)
TIMED_OUT = (
    b"HTTP/1.1 408 Request Time-out\r\nContent-length: 110\r\nCache-Control: no-cache\r\nConnection: close\r\n"
    b"Content-Type: text/html\r\n\r\n<html><body><h1>408 Request Time-out</h1>\n"
    b"Your browser didn't send a complete request in time.\n</body></html>\n"
)


class Message(msgspec.Struct, frozen=True):
    """An answer before it is known who asks. head: with its line ends, without `connection`.

    lasting: its length is known and it does not ask for the end, so that the connection may be kept.
    """

    head: bytes
    body: bytes
    version: int
    lasting: bool


def page(status: str, title: str, text: str) -> Message:
    """One of HAProxy's own."""
    body = f"<html><body><h1>{status} {title}</h1>\n{text}\n</body></html>\n".encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\ncontent-length: {len(body)}\r\ncache-control: no-cache\r\n"
        "content-type: text/html\r\n"
    )
    return Message(head.encode(), body, 1, True)


READY = page("200", "OK", "Service ready.")
UNAVAILABLE = page("503", "Service Unavailable", "No server is available to handle this request.")


def read_errorfile(data: bytes) -> Message:
    """A whole HTTP message of a file. Raises: ValueError saying what is wrong with it."""
    found = re.search(rb"\r?\n\r?\n", data)
    if found is None:
        raise ValueError("has no end of its headers")
    first, *lines = re.split(rb"\r?\n", data[: found.start()])
    status = re.fullmatch(rb"HTTP/1\.([01]) (\d{3})(?: (.*))?", first)
    if status is None:
        raise ValueError("does not begin with a status line")
    body, kept, length, closes = data[found.end() :], [], None, False
    for line in lines:
        header = HEADER.fullmatch(line)
        if header is None:
            raise ValueError(f"has a bad header: {line!r}")
        name = header[1].lower()
        if name == b"connection":
            closes = header[2].lower() == b"close"
            continue
        if name == b"content-length":
            length = header[2]
        kept.append(name + b": " + header[2] + b"\r\n")
    if length is not None and length != b"%d" % len(body):
        raise ValueError(f"has a body of {len(body)} bytes, and says {length.decode('latin-1')}")
    return Message(first + b"\r\n" + b"".join(kept), body, int(status[1]), length is not None and not closes)


class Page(msgspec.Struct, frozen=True):
    """What one frontend answers."""

    name: str
    monitor_uri: str
    fails: tuple[Condition, ...]
    networks: tuple[Network, ...]
    ready: Message = READY
    unavailable: Message = UNAVAILABLE


Holds = Callable[[Condition, Asked], bool]


class MonitorSession:
    """One client. `feed` it what came, write what it returns; close once `closed`, at once or after what is left unread."""

    def __init__(
        self,
        page: Page,
        holds: Holds,
        source: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None,
        port: int = 0,
    ) -> None:
        self.closed = False
        self._page = page
        self._holds = holds
        self._source = source
        self._port = port
        self._pending = b""
        self._answered = False

    def feed(self, data: bytes) -> bytes:
        """Takes bytes, cut anywhere; the answers to the requests that they complete."""
        said = b""
        self._pending += data
        while not self.closed:
            whole = self._pending.lstrip(b"\r\n")
            end = re.search(rb"\r?\n\r?\n", whole)
            if end is None:
                first = whole.partition(b"\n")
                if len(self._pending) > HEAD_MAX or (first[1] and not REQUEST_LINE.fullmatch(first[0].rstrip(b"\r"))):
                    said += self._refuse()
                break
            self._pending = whole[end.end() :]
            said += self._request(whole[: end.start()])
        return said

    def time_out(self) -> bytes:
        """The client was silent for too long."""
        waited = self.closed or (self._answered and not self._pending)
        self.closed = True
        return b"" if waited else TIMED_OUT

    def _refuse(self) -> bytes:
        self.closed = True
        return BAD_REQUEST

    def _request(self, head: bytes) -> bytes:
        first, *lines = re.split(rb"\r?\n", head)
        line = REQUEST_LINE.fullmatch(first)
        headers: dict[bytes, bytes] = {}
        for each in lines:
            found = HEADER.fullmatch(each)
            if found is None:
                return self._refuse()
            headers[found[1].lower()] = found[2]
        if line is None:
            return self._refuse()
        modern = (line[3], line[4]) >= (b"1", b"1")
        tokens = {token.strip().lower() for token in headers.get(b"connection", b"").split(b",")}
        keeps = b"close" not in tokens if modern else b"keep-alive" in tokens
        whole = self._take_body(headers)
        self._answered = True
        return self._answer(line[1].decode("latin-1"), line[2].decode("latin-1"), modern, keeps and whole)

    def _take_body(self, headers: dict[bytes, bytes]) -> bool:
        """Drops the body that came with a request; whether that is all of it. Nobody waits for the rest."""
        if b"transfer-encoding" in headers:
            end = self._pending.find(b"0\r\n\r\n")
            self._pending = self._pending[end + 5 :] if end >= 0 else b""
            return end >= 0
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > BODY_MAX or int(length) > len(self._pending):
            return False
        self._pending = self._pending[int(length) :]
        return True

    def _answer(self, method: str, target: str, modern: bool, keeps: bool) -> bytes:
        message = self._choose(method, target)
        keeps = keeps and message.lasting
        connection = b""
        if message.version == 1 and not keeps:
            connection = b"connection: close\r\n"
        elif keeps and (message.version == 0 or not modern):
            connection = b"connection: keep-alive\r\n"
        self.closed = not keeps
        return message.head + connection + b"\r\n" + (b"" if method == "HEAD" else message.body)

    def _choose(self, method: str, target: str) -> Message:
        page = self._page
        path = target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]
        asked = Asked(self._source, self._port, method, path, page.name)
        monitored = (path if page.monitor_uri.startswith("/") else target) == page.monitor_uri and page.monitor_uri
        if self._source is not None and any(
            self._source.version == network.version and self._source in network for network in page.networks
        ):
            return page.ready
        if not monitored or any(self._holds(fail, asked) for fail in page.fails):
            return page.unavailable
        return page.ready
