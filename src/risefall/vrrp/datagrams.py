"""IP packets to what the rest asks of them: addresses, TTL, protocol, payload; AH taken off, and its digest compared.

Source: RFC 791, RFC 8200, RFC 4302; spec/keepalived-track.md §4.10.
"""

from __future__ import annotations

import hmac
import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

from risefall.vrrp.acceptance import Frame
from risefall.vrrp.packets import (
    AH_BYTES,
    HEADER_BYTES,
    IPV4_BYTES,
    PROTOCOL_AH,
    PROTOCOL_VRRP,
    PacketError,
    ah_digest,
    parse_ah,
)
from risefall.vrrp.settings import Auth, AuthType

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_NONE = Auth()


class Datagram(msgspec.Struct, frozen=True):
    """One packet as it passed an interface.

    payload: behind the IP header, with the AH header if there is one. ttl: None where it is not told. header: the 20 bytes of
    IPv4 that an AH digest covers. ours: this machine has sent it.
    """

    source: str
    destination: str
    ttl: int | None
    protocol: int
    payload: bytes
    header: bytes = b""
    ours: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.source else 4


def parse_ipv4(data: bytes, *, ours: bool = False) -> Datagram:
    """A packet from its IP header on. Raises: PacketError when it is shorter than it claims."""
    if len(data) < _IPV4.size:
        raise PacketError(f"{len(data)} bytes are less than an IPv4 header")
    first, _, total, _, _, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
    start = (first & 0x0F) * 4
    if first >> 4 != 4 or start < _IPV4.size or not start <= total <= len(data):
        raise PacketError(f"an IPv4 header that claims {total} bytes, of {len(data)}")
    here, there = str(IPv4Address(source)), str(IPv4Address(destination))
    return Datagram(here, there, ttl, protocol, data[start:total], data[: _IPV4.size], ours)


def parse_ipv6(data: bytes, *, ours: bool = False) -> Datagram:
    """The same for IPv6; extension headers are not looked behind, since no VRRP program sends any."""
    if len(data) < _IPV6.size:
        raise PacketError(f"{len(data)} bytes are less than an IPv6 header")
    first, length, following, hops, source, destination = _IPV6.unpack_from(data)
    if first >> 28 != 6 or _IPV6.size + length > len(data):
        raise PacketError(f"an IPv6 header that claims {length} bytes, of {len(data) - _IPV6.size}")
    payload = data[_IPV6.size : _IPV6.size + length]
    return Datagram(str(IPv6Address(source)), str(IPv6Address(destination)), hops, following, payload, b"", ours)


def is_vrrp(datagram: Datagram) -> bool:
    """Whether VRRP is in it: plainly, or behind an AH header, which other programs use as well."""
    if datagram.protocol == PROTOCOL_AH:
        return datagram.payload[:1] == bytes([PROTOCOL_VRRP])
    return datagram.protocol == PROTOCOL_VRRP


def frame_of(datagram: Datagram, auth: Auth = _NONE, *, unicast: bool = False) -> Frame:
    """What `acceptance.judge` is asked about.

    Args:
        auth: the receiver's; where it is AH, the digest is compared with its key.
        unicast: whether the receiver is configured so; the digest leaves the TTL out then.
    Raises: PacketError, in keepalived's words, when no whole VRRP header is there.
    """
    payload, ah_ok = datagram.payload, True
    is_ah = datagram.protocol == PROTOCOL_AH
    if len(payload) < HEADER_BYTES + is_ah * AH_BYTES:
        length = len(payload) + (IPV4_BYTES if datagram.family == 4 else 0)
        raise PacketError(f"IPv{datagram.family} VRRP packet{' with AH' * is_ah} too short - {length} bytes")
    if is_ah:
        header, payload = parse_ah(payload), payload[AH_BYTES:]
        if auth.kind is AuthType.AH and datagram.header:
            wanted = ah_digest(auth.key, datagram.header, header.sequence, payload, unicast=unicast)
            ah_ok = header.spi == datagram.header[12:16] and hmac.compare_digest(wanted, header.digest)
    return Frame(
        source=datagram.source,
        destination=datagram.destination,
        payload=payload,
        ttl=datagram.ttl,
        protocol=datagram.protocol,
        ah_ok=ah_ok,
    )
