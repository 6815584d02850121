"""Adverts to bytes and back: VRRP versions 2 and 3, IPv4 and IPv6, and the IPsec AH header of version 2.

A payload starts behind the IP header. What a receiver then makes of it is `acceptance`.
Source: spec/keepalived-track.md §4.10; RFC 3768, RFC 5798, RFC 2402; the bytes of the spec are in tests/vrrp/test_packets.py.
"""

from __future__ import annotations

import hmac
import struct
from hashlib import md5
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from risefall.vrrp.settings import US_PER_CS, US_PER_S, Auth, AuthType

PROTOCOL_VRRP = 112
PROTOCOL_AH = 51
TTL = 255
GROUP_V4 = "224.0.0.18"
GROUP_V6 = "ff02::12"
TYPE_ADVERT = 1
HEADER_BYTES = 8
AUTH_BYTES = 8
AH_BYTES = 24
IPV4_BYTES = 20
"""Of the header that keepalived sends, and counts with."""
AUTH_TYPES = frozenset(int(one) for one in AuthType)
_HEADER = struct.Struct("!BBBBBBH")


class PacketError(ValueError):
    """These bytes are no VRRP packet of the length they claim."""


class LengthError(PacketError):
    """got, expected: bytes of the VRRP message."""

    def __init__(self, got: int, expected: int) -> None:
        super().__init__(f"length {got} and expect {expected}")
        self.got = got
        self.expected = expected


class Advert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One advertisement as it is on the wire.

    priority: 0 when the sender resigns. adv_us: whole seconds in version 2, centiseconds in version 3.
    auth: version 2 only; a PASS key without the zeros that pad it.
    """

    vrid: int
    priority: int
    version: int = 2
    adv_us: int = US_PER_S
    vips: tuple[str, ...] = ()
    auth: Auth = Auth()


class Parsed(msgspec.Struct, frozen=True):
    """What bytes say, without judging: kind is the packet type, checksum_ok covers the message."""

    advert: Advert
    kind: int
    auth_type: int
    checksum_ok: bool


def ones_complement(data: bytes) -> int:
    """The 16-bit one's complement sum over these bytes, complemented; 0 over a message whose checksum is right."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: str, destination: str, length: int) -> bytes:
    """What version 3 sums beside the message. Both addresses are of one family."""
    here, there = ip_address(source), ip_address(destination)
    if here.version == 4:
        return here.packed + there.packed + struct.pack("!BBH", 0, PROTOCOL_VRRP, length)
    return here.packed + there.packed + struct.pack("!IxxxB", length, PROTOCOL_VRRP)


def render_advert(advert: Advert, source: str, destination: str) -> bytes:
    """The payload behind the IP header (and behind the AH header, if there is one), with its checksum."""
    addresses = b"".join(ip_address(vip).packed for vip in advert.vips)
    head = bytes([advert.version << 4 | TYPE_ADVERT, advert.vrid, advert.priority, len(advert.vips)])
    if advert.version == 2:
        pace = bytes([advert.auth.kind, advert.adv_us // US_PER_S])
        password = advert.auth.key if advert.auth.kind is AuthType.PASS else b""
        body = addresses + password[:AUTH_BYTES].ljust(AUTH_BYTES, b"\0")
        covered = b""
    else:
        pace = struct.pack("!H", advert.adv_us // US_PER_CS & 0xFFF)
        body = addresses
        covered = pseudo_header(source, destination, HEADER_BYTES + len(body))
    checksum = ones_complement(covered + head + pace + b"\0\0" + body)
    return head + pace + checksum.to_bytes(2, "big") + body


def parse_advert(payload: bytes, source: str, destination: str) -> Parsed:
    """Undoes `render_advert`.

    Raises: LengthError when the length is not exactly what the header claims; 2.2.7 asks for that, and for the eight bytes of
    authentication with IPv4 only. PacketError when there is no whole header.
    """
    if len(payload) < HEADER_BYTES:
        raise PacketError(f"{len(payload)} bytes are less than a VRRP header")
    first, vrid, priority, count, _, _, _ = _HEADER.unpack_from(payload)
    version, kind = first >> 4, first & 0x0F
    wide = 16 if ":" in source else 4
    end = HEADER_BYTES + count * wide
    authenticated = version == 2 and wide == 4
    expected = end + (AUTH_BYTES if authenticated else 0)
    if len(payload) != expected:
        raise LengthError(len(payload), expected)
    vips = tuple(_address(payload[at : at + wide]) for at in range(HEADER_BYTES, end, wide))
    if authenticated:
        return _parsed_v2(payload, kind, Advert(vrid=vrid, priority=priority, vips=vips))
    adv_us = (struct.unpack_from("!H", payload, 4)[0] & 0xFFF) * US_PER_CS
    advert = Advert(vrid=vrid, priority=priority, version=version, adv_us=adv_us, vips=vips)
    covered = pseudo_header(source, destination, len(payload))
    return Parsed(advert=advert, kind=kind, auth_type=0, checksum_ok=ones_complement(covered + payload) == 0)


def _parsed_v2(payload: bytes, kind: int, bare: Advert) -> Parsed:
    auth_type, seconds = payload[4], payload[5]
    key = payload[-AUTH_BYTES:].rstrip(b"\0") if auth_type == AuthType.PASS else b""
    known = AuthType(auth_type) if auth_type in AUTH_TYPES else AuthType.NONE
    advert = msgspec.structs.replace(bare, adv_us=seconds * US_PER_S, auth=Auth(kind=known, key=key))
    return Parsed(advert=advert, kind=kind, auth_type=auth_type, checksum_ok=ones_complement(payload) == 0)


def _address(packed: bytes) -> str:
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


class AhHeader(msgspec.Struct, frozen=True):
    """The header of §4.10. spi is the source address; digest holds 96 bits."""

    spi: bytes
    sequence: int
    digest: bytes
    next_protocol: int = PROTOCOL_VRRP


def render_ah(header: AhHeader) -> bytes:
    """24 bytes; the length field counts 32-bit words less two."""
    return struct.pack("!BBH4sI12s", header.next_protocol, 4, 0, header.spi, header.sequence, header.digest)


def parse_ah(payload: bytes) -> AhHeader:
    """Raises: PacketError when there are fewer than 24 bytes."""
    if len(payload) < AH_BYTES:
        raise PacketError(f"{len(payload)} bytes are less than an AH header")
    following, _, _, spi, sequence, digest = struct.unpack_from("!BBH4sI12s", payload)
    return AhHeader(spi=spi, sequence=sequence, digest=digest, next_protocol=following)


def ah_digest(key: bytes, ip_header: bytes, sequence: int, payload: bytes, *, unicast: bool = False) -> bytes:
    """The 96 bits that keepalived puts into the AH header.

    Unlike RFC 2402 it leaves the id in place, and the TTL too with multicast: only a TTL of 255 is accepted then.
    ip_header: 20 bytes. payload: the VRRP message behind the AH header.
    """
    fixed = bytearray(ip_header)
    fixed[1] = 0
    fixed[6:8] = bytes(2)
    fixed[10:12] = bytes(2)
    if unicast:
        fixed[8] = 0
    blank = render_ah(AhHeader(spi=bytes(fixed[12:16]), sequence=sequence, digest=bytes(12)))
    return hmac.new(key, bytes(fixed) + blank + payload, md5).digest()[:12]
