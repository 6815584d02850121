"""What a server's certificate says, for people: whose it is, for which names, until when. No verdict comes from here.

Python's ssl module decodes only certificates that it has verified, and those that it has not are the ones to look at.
So the few fields are read from DER here, iteratively; whatever does not fit raises ValueError.
Source: RFC 5280 §4.1, §4.2.1.6; ITU-T X.690.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

SEQUENCE, SET, OID, OCTETS = 0x30, 0x31, 0x06, 0x04
UTC_TIME, GENERAL_TIME = 0x17, 0x18
VERSION, EXTENSIONS, DNS_NAME, IP_NAME = 0xA0, 0xA3, 0x82, 0x87
BMP_STRING = 0x1E
COMMON_NAME, ORGANISATION, ALT_NAMES = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x1d\x11"
DAY_S = 86400


class Certificate(msgspec.Struct, frozen=True):
    """subject, issuer: common name, else organisation. names: of subjectAltName. Times are UNIX seconds."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before_s: int
    not_after_s: int

    def names_host(self, host: str) -> bool:
        """Whether it is for this name: of its names, else its subject; `*` stands for one first label (RFC 6125 §6.4.3)."""
        wanted = host.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        names = {name.lower().rstrip(".") for name in self.names or (self.subject,)}
        return wanted in names or (bool(parent) and f"*.{parent}" in names)

    def days_left(self, now_s: float) -> int:
        """Whole days until it ends, rounded down; negative once it has ended."""
        return int((self.not_after_s - now_s) // DAY_S)


def element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag, content and end of the element at `at`. Raises ValueError."""
    if at + 2 > len(der):
        raise ValueError("a cut element")
    tag, length, at = der[at], der[at + 1], at + 2
    if length > 0x80:
        size = length & 0x7F
        if size > 4 or at + size > len(der):
            raise ValueError("a length that cannot be")
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    elif length == 0x80:
        raise ValueError("an open length")
    if at + length > len(der):
        raise ValueError("a cut element")
    return tag, der[at : at + length], at + length


def elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements side by side in a content. Raises ValueError."""
    at = 0
    while at < len(der):
        tag, content, at = element(der, at)
        yield tag, content


def inside(der: bytes, tag: int) -> bytes:
    """The content of the first element, which has to be of that tag. Raises ValueError."""
    found, content, _ = element(der, 0)
    if found != tag:
        raise ValueError(f"tag {found:#x} instead of {tag:#x}")
    return content


def text(tag: int, content: bytes) -> str:
    """A string of a name, whatever its kind, without what a terminal would obey."""
    plain = content.decode("utf-16-be" if tag == BMP_STRING else "utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in plain)[:200]


def parse_name(der: bytes) -> str:
    """The common name of a Name, else its organisation, else nothing. Raises ValueError."""
    found: dict[bytes, str] = {}
    for _, part in elements(der):
        for tag, pair in elements(part):
            if tag != SEQUENCE:
                raise ValueError("no attribute")
            (_, kind), *rest = elements(pair)
            if rest:
                found[kind] = text(*rest[0])
    return found.get(COMMON_NAME) or found.get(ORGANISATION, "")


def parse_time(tag: int, content: bytes) -> int:
    """UTCTime or GeneralizedTime as UNIX seconds. Raises ValueError."""
    stamp = content.decode("ascii")
    if tag == UTC_TIME:
        stamp = ("19" if stamp[:2] >= "50" else "20") + stamp
    elif tag != GENERAL_TIME:
        raise ValueError("no time")
    return int(datetime.strptime(stamp, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


def parse_alt_names(der: bytes) -> tuple[str, ...]:
    """DNS names and addresses of the extensions' subjectAltName. Raises ValueError."""
    names: list[str] = []
    for _, extension in elements(inside(der, SEQUENCE)):
        parts = list(elements(extension))
        if not parts or parts[0][1] != ALT_NAMES or parts[-1][0] != OCTETS:
            continue
        for tag, content in elements(inside(parts[-1][1], SEQUENCE)):
            if tag == DNS_NAME:
                names.append(text(tag, content))
            elif tag == IP_NAME:
                names.append(str(ipaddress.ip_address(content)))
    return tuple(names)


def parse_certificate(der: bytes) -> Certificate:
    """Raises ValueError for what is no certificate."""
    fields = list(elements(inside(inside(der, SEQUENCE), SEQUENCE)))
    if fields and fields[0][0] == VERSION:
        fields = fields[1:]
    if len(fields) < 6:
        raise ValueError("no certificate")
    times = list(elements(fields[3][1]))
    if len(times) != 2:
        raise ValueError("no validity")
    extensions = [content for tag, content in fields[6:] if tag == EXTENSIONS]
    return Certificate(
        subject=parse_name(fields[4][1]),
        issuer=parse_name(fields[2][1]),
        names=parse_alt_names(extensions[0]) if extensions else (),
        not_before_s=parse_time(*times[0]),
        not_after_s=parse_time(*times[1]),
    )
