"""HTTP/2 for HTTP checks: a wire around another wire. The probe inside goes on to speak and read HTTP/1 text.

What HAProxy does was seen by running 2.6.12 with `check-proto h2` (and its source says the same of later ones):
- `host` stays a header: there is no :authority, but for an absolute URI, whose authority `Host` replaces; the scheme is
  https even in clear text. Some servers want better: `authority=True` makes :authority of `host`, with a true scheme.
- connection, keep-alive, proxy-connection, upgrade and transfer-encoding are dropped, te too unless it says trailers.
- There is no reason phrase, so a wrong status has no text. An informational answer is final: 103 is L7STS.
- A reset stream, a GOAWAY, a block of headers beyond one buffer, HTTP/1 or anything else that is not HTTP/2: SOCKERR
  without a text; here that is a WireError, which tells the operator more and the probe the same.
Differs: 2.6.12 waits until the time is up (L7TOUT) when the server closes before it answered; here its end is told at once.
"""

from __future__ import annotations

from collections.abc import Callable

from risefall.engine.drive import Wire, WireError
from risefall.engine.h2stream import H2Stream, Pair, StreamFault
from risefall.engine.native import Endpoint, Want

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"transfer-encoding"))
READ_BYTES = 16384


def split_request(text: bytes) -> tuple[bytes, bytes, list[Pair], bytes] | None:
    """Method, URI, headers and body of a request of HTTP/1; None while it is not whole."""
    head, end, body = text.partition(b"\r\n\r\n")
    if not end:
        return None
    line, _, rest = head.partition(b"\r\n")
    method, _, target = line.partition(b" ")
    uri, version, _ = target.rpartition(b" HTTP/")
    headers = []
    for header in rest.split(b"\r\n") if rest else ():
        name, _, value = header.partition(b":")
        headers.append((name.lower(), value.strip()))
    length = dict(headers).get(b"content-length", b"0")
    if len(body) < int(length if length.isdigit() else 0):
        return None
    return method, uri if version else target, headers, body


def to_h2(method: bytes, uri: bytes, headers: list[Pair], *, scheme: bytes, authority: bool) -> list[Pair]:
    """The header block of a request: see above for what HAProxy does with `host`."""
    host = dict(headers).get(b"host", b"")
    named = b""
    if not uri.startswith((b"/", b"*")) and b"://" in uri:
        scheme, _, rest = uri.partition(b"://")
        named, slash, path = rest.partition(b"/")
        uri = slash + path or (b"*" if method == b"OPTIONS" else b"/")
        named = host or named
    elif authority:
        named = host
    pairs = [(b":method", method), (b":scheme", scheme)]
    if named:
        pairs.append((b":authority", named))
    pairs.append((b":path", uri or b"/"))
    for name, value in headers:
        if name in HOP_BY_HOP or (named and name == b"host"):
            continue
        if name == b"te":
            if b"trailers" not in value:
                continue
            value = b"trailers"
        pairs.append((name, value))
    return pairs


def to_h1(head: list[Pair]) -> bytes:
    """A header block of an answer as HTTP/1 text, without a reason phrase."""
    status = dict(head).get(b":status", b"")
    lines = [b"HTTP/2.0 " + status + b" "]
    lines += [name + b": " + value for name, value in head if not name.startswith(b":")]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class H2Wire:
    """A wire on which a probe's HTTP/1 travels as one HTTP/2 stream a connection. See the essay above.

    wanted: asked once connected, such as whether ALPN chose h2; when it says no, the bytes pass as they are.
    head_max: most bytes of a header block, one HAProxy buffer.
    """

    def __init__(
        self,
        inner: Wire,
        *,
        scheme: str = "https",
        authority: bool = False,
        head_max: int = READ_BYTES,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._inner = inner
        self._scheme = scheme.encode()
        self._authority = authority
        self._head_max = head_max
        self._wanted = wanted
        self._stream: H2Stream | None = None
        self._text = b""
        self._ready = bytearray()
        self._fault = ""

    async def connect(self, want: Want) -> None:
        """Opens the wire inside; the preface goes out with the request."""
        await self._inner.connect(want)
        self._stream = H2Stream(self._head_max) if self._wanted() else None
        self._text, self._fault = b"", ""
        self._ready.clear()

    async def send(self, data: bytes) -> int:
        """Takes text until the request is whole, then sends it as a stream."""
        if self._stream is None:
            return await self._inner.send(data)
        self._text += data
        request = split_request(self._text)
        if request is None and len(self._text) < self._head_max:
            return len(data)
        self._text = b""
        if request is None:
            raise WireError("the request is not whole, or longer than a buffer")
        method, uri, headers, body = request
        self._stream.request(to_h2(method, uri, headers, scheme=self._scheme, authority=self._authority), body)
        await self._flush(self._stream)
        return len(data)

    async def receive(self, room: int) -> bytes:
        """The answer as HTTP/1 text; the end of the stream is the end of the text. Raises WireError."""
        if self._stream is None:
            return await self._inner.receive(room)
        while not self._ready:
            if self._fault:
                raise WireError(self._fault)
            if self._stream.ended:
                return b""
            data = await self._inner.receive(READ_BYTES)
            if not data:
                return b""
            await self._feed(self._stream, data)
        out = bytes(self._ready[:room])
        del self._ready[:room]
        return out

    async def _feed(self, stream: H2Stream, data: bytes) -> None:
        """Turns what came into text. A fault waits until the text before it is taken."""
        try:
            stream.feed(data)
        except StreamFault as fault:
            self._fault = str(fault)
        for head in stream.heads:
            self._ready += to_h1(head)
        stream.heads.clear()
        self._ready += stream.body
        stream.body.clear()
        if not self._fault and not stream.ended:
            await self._flush(stream)

    async def _flush(self, stream: H2Stream) -> None:
        data = stream.out()
        while data:
            data = data[await self._inner.send(data) :]

    def addresses(self) -> tuple[Endpoint, Endpoint]:
        return self._inner.addresses()

    def end(self, how: int, last: bytes = b"") -> None:
        """Ends the wire inside; the peer learns from that, as it does from HAProxy."""
        self._stream = None
        self._inner.end(how)
