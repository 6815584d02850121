"""What keepalived makes of the bytes that a server answers; bytes in, a verdict out.

An HTTP reply is read through one buffer of 4095 bytes. It counts once its header has ended (`CR LF CR LF`) and the server has
closed; the length that it declares is compared, and bounds the digest, but ends nothing. A regex sees what the buffer holds: in
the piece that ends the header also the header, so that its offsets begin there, and a match that more bytes could change
(partial, hard) waits for them and, at the end, has not matched. How a reply is cut can change a verdict; so it is in keepalived.
Source: spec/keepalived-track.md §11.3; run on 2.2.7.
"""

from __future__ import annotations

import hashlib
import re

from risefall.checkers.plan import regex_of
from risefall.checkers.words import Attempt, Verdict
from risefall.config.keepalived.model import Checker, RealServer, Url, VirtualServer
from risefall.engine.pcre import ERROR_PARTIAL

BUFFER = 4096 - 1
"""One byte is kept for the end of the string."""
SMTP_BUFFER = 512 - 1
SIZES = 1 << 64
"""keepalived counts in size_t, also below zero."""
LENGTH = b"Content-Length:"
NUMBER = re.compile(rb"[ \t\r\n\v\f]*\+?([0-9]+)")
STATUS_LINE = re.compile(rb"[^ \r\n]* ([0-9]{3}) ")
"""Whatever stands before the first blank; without a blank behind it a status is none."""
SMTP_STATUS = re.compile(rb"[0-9]{3}(?= |\Z)")
"""A line that is only a number still ends in CR, and then is none."""


def request(pool: VirtualServer, server: RealServer, checker: Checker, url: Url, address: str, port: int) -> bytes:
    """What is sent. The host of a name has no port, whatever the port."""
    name = virtualhost(pool, server, checker, url)
    host = name or (f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    version = "1.1" if checker.http_protocol == "1.1" else "1.0"
    close = "" if checker.http_protocol == "1.0" else "Connection: close\r\n"
    text = f"GET {url.path} HTTP/{version}\r\nUser-Agent: KeepAliveClient\r\n{close}Host: {host}\r\n\r\n"
    return text.encode("utf-8", "surrogateescape")


def virtualhost(pool: VirtualServer, server: RealServer, checker: Checker, url: Url) -> str:
    """The nearest one, empty for none."""
    return url.virtualhost or checker.virtualhost or server.virtualhost or pool.virtualhost or ""


class Reply:
    """The reply of one request. `room` and `feed` while bytes come, `end` when the server has closed."""

    def __init__(self, url: Url) -> None:
        self.said: list[str] = []
        """What keepalived logs while it reads."""
        self._url = url
        self._buffer = b""
        self._has_header = False
        self._status = 0
        self._declared: int | None = None
        self._came = 0
        self._digest = hashlib.md5(usedforsecurity=False) if url.digest is not None else None
        self._regex = regex_of(url.regex, url.regex_options) if url.regex is not None else None
        self._matched = False
        self._subject = 0
        """How many bytes of what the regex sees lie before the buffer."""
        self._start = 0
        low, high = url.regex_min_offset, url.regex_max_offset
        self._low, self._beyond = (
            (0, None) if high is not None and low > high else (low, None if high is None else high + 1)
        )

    @property
    def room(self) -> int:
        """How many bytes may come at once; 0: the buffer is full, which keepalived takes for the end."""
        return BUFFER - len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Some bytes, at most `room`, at least one."""
        self._buffer += data
        if self._has_header:
            self._hash(data)
            self._came += len(self._buffer)
            self._look()
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        self._has_header = True
        line = STATUS_LINE.match(self._buffer)
        self._status = int(line.group(1)) if line is not None else 0
        at = self._buffer.find(LENGTH)
        number = NUMBER.match(self._buffer, at + len(LENGTH)) if at >= 0 else None
        if at >= 0:
            self._declared = int(number.group(1)[:18]) if number is not None else 0
        body = self._buffer[end + 4 :]
        self._hash(body)
        self._came = len(body)
        if body:
            self._look()
        else:
            self._buffer = b""

    def _hash(self, data: bytes) -> None:
        if self._digest is not None:
            rest = len(data) if self._declared is None else self._declared - self._came
            self._digest.update(data[: max(0, rest)])

    def _look(self) -> None:
        """The regex looks at the buffer, and keeps what it still needs of it."""
        if self._regex is None or self._matched:
            self._buffer = b""
            return
        regex, size = self._regex, len(self._buffer)
        start = 0
        if self._low:
            if self._subject + size < (self._low - regex.max_lookbehind) % SIZES:
                self._skip()
                return
            start = max(0, self._low - self._subject)
        if self._beyond is not None and self._subject + self._start >= self._beyond:
            self._skip()
            return
        start = max(start, self._start)
        self._start = 0
        result, begins = regex.match(self._buffer, start)
        if result == ERROR_PARTIAL:
            keep = max(0, begins - regex.max_lookbehind)
            if keep:
                self._start = regex.max_lookbehind
                self._buffer = self._buffer[keep:]
                self._subject += keep
            elif size == BUFFER:
                self.said.append("Regex partial match preserve too large - discarding")
                self._skip()
            return
        if result >= 0 and (self._beyond is None or self._subject + begins < self._beyond):
            self._matched = True
        self._skip()

    def _skip(self) -> None:
        self._subject += len(self._buffer)
        self._buffer = b""

    def end(self) -> Attempt:
        """The server has closed."""
        url = self._url
        if not self._has_header:
            return self._fails("Read, no data received from ")
        seen = str(self._status)
        if not any(low <= self._status <= high for low, high in url.status):
            return self._fails("HTTP status code error to", seen=seen)
        length = (self._came if self._declared is None else self._declared, self._came)
        passed = "HTTP status code"
        if self._digest is not None:
            if self._digest.hexdigest() != url.digest:
                return self._fails("MD5 digest error to", length, seen)
            passed = "MD5 digest"
        if self._regex is not None:
            if self._matched is url.regex_no_match:
                return self._fails("Regex match failed", length, seen)
            passed = "Regex match"
        return Attempt(Verdict.PASS, passed, tuple(self.said), length, seen)

    def _fails(self, why: str, length: tuple[int, int] | None = None, seen: str = "") -> Attempt:
        return Attempt(Verdict.FAIL, why, tuple(self.said), length, seen)


class SmtpLine:
    """One answer of a mail server: its first line, whatever comes behind it in the same bytes."""

    def __init__(self) -> None:
        self._buffer = b""
        self.overflows = 0
        """How often keepalived's buffer was full without a line, and was begun anew."""

    @property
    def room(self) -> int:
        return SMTP_BUFFER - len(self._buffer) or SMTP_BUFFER

    def feed(self, data: bytes) -> int | None:
        """Some bytes, or none at the end; the status of the line once it has ended, -1 for one that is none; else None."""
        if len(self._buffer) == SMTP_BUFFER:
            self._buffer = b""
            self.overflows += 1
        self._buffer += data
        line, newline, _ = self._buffer.partition(b"\n")
        if not newline:
            return None
        return int(line[:3]) if SMTP_STATUS.match(line.partition(b"\0")[0]) else -1
