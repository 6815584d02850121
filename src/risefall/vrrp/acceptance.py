"""Whether a node takes a received packet as an advert: the checks in keepalived's order, the first that fails wins.

What depends on the node's state (FAULT, start delay) is asked in `election`, before any of these.
Source: spec/keepalived-track.md §4.5; `vrrp_check_packet` of 2.2.7. Order of the checks: tests/vrrp/test_acceptance.py.
Differs: the AH sequence number, which guards against replay, is the caller's to keep; HEAD's HMAC trailer is not read.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_address

import msgspec

from risefall.vrrp.packets import (
    AH_BYTES,
    AUTH_TYPES,
    GROUP_V4,
    GROUP_V6,
    IPV4_BYTES,
    PROTOCOL_AH,
    PROTOCOL_VRRP,
    TTL,
    TYPE_ADVERT,
    Advert,
    LengthError,
    PacketError,
    Parsed,
    parse_advert,
    render_advert,
)
from risefall.vrrp.settings import AuthType, Imitated, InstanceSettings


class Refusal(Enum):
    """Why a packet is dropped, in the order of the checks; the value is keepalived's counter, or its nearest."""

    AH_HEADER = "authtype_mismatch"
    LENGTH = "packet_len_err"
    TTL = "ip_ttl_err"
    VERSION = "vers_err"
    AUTH_TYPE = "invalid_authtype"
    AUTH_MISMATCH = "authtype_mismatch_v2"
    PASSWORD = "auth_failure"
    INTERVAL = "advert_interval_err"
    KIND = "invalid_type_rcvd"
    COUNT = "addr_list_count_err"
    CHECKSUM = "chk_err"
    CAST = "cast_err"
    OWNER_IGNORES = "owner_ignores"
    ADDRESSES = "addr_list_err"
    NOT_A_PEER = "unicast_src_err"
    PEER_TTL = "unicast_ttl_err"


UNHEARD = frozenset({Refusal.AH_HEADER, Refusal.CAST})
"""2.2.7's sockets are bound to the protocol and to the group or its own address: such a packet never comes to the checks."""


class Frame(msgspec.Struct, frozen=True):
    """A datagram as a raw socket hands it over. payload: behind the IP and AH headers. ttl: None when it is not told.

    ah_ok: whether the AH digest fits the receiver's key; only looked at where authentication is AH.
    """

    source: str
    destination: str
    payload: bytes
    ttl: int | None = TTL
    protocol: int = PROTOCOL_VRRP
    ah_ok: bool = True


class Judged(msgspec.Struct, frozen=True):
    """refusal: None when the packet is taken; then advert is what it says. text: the line keepalived logs, if any."""

    refusal: Refusal | None
    advert: Advert | None = None
    text: str = ""


def judge(own: InstanceSettings, frame: Frame, *, check_vips: bool = True) -> Judged:
    """Runs all checks of §4.5 on one frame.

    Args:
        check_vips: False for adverts of the known master under skip_check_adv_addr; 2.2.7 then skips the check of
            the unicast source too.
    """
    by_ah = frame.protocol == PROTOCOL_AH
    if ":" not in own.source and by_ah != (own.auth.kind is AuthType.AH):
        return _no(
            Refusal.AH_HEADER,
            "Received AH header but auth type not AH" if by_ah else "No AH header but auth type is AH",
        )
    try:
        parsed = parse_advert(frame.payload, frame.source, frame.destination)
    except LengthError as error:
        headers = _header_bytes(frame)
        length = f"length {error.got + headers} and expect {error.expected + headers}"
        how = "short" if error.got < error.expected else "long"
        return _no(Refusal.LENGTH, f"vrrp packet too {how}, {length}")
    except PacketError as error:
        return _no(Refusal.LENGTH, str(error))
    advert = parsed.advert
    refused = _refused_header(own, frame, parsed) or _refused_count(own, advert, check_vips)
    refused = refused or _refused_wire(own, frame, parsed) or _refused_addresses(own, frame, advert, check_vips)
    return refused or Judged(refusal=None, advert=advert)


def _header_bytes(frame: Frame) -> int:
    """What keepalived counts besides the message: the headers of IPv4 and of AH, but not that of IPv6."""
    if ":" in frame.source:
        return 0
    return IPV4_BYTES + (AH_BYTES if frame.protocol == PROTOCOL_AH else 0)


def _refused_header(own: InstanceSettings, frame: Frame, parsed: Parsed) -> Judged | None:
    """TTL, version, and what only version 2 has."""
    advert = parsed.advert
    if not own.unicast and frame.ttl is not None and frame.ttl != TTL:
        return _no(Refusal.TTL, f"invalid TTL/HL. Received {frame.ttl} and expect {TTL}")
    if advert.version != own.version:
        return _no(Refusal.VERSION, f"wrong version. Received {advert.version} and expect {own.version}")
    if own.version == 2:
        if parsed.auth_type not in AUTH_TYPES:
            return _no(Refusal.AUTH_TYPE, f"Invalid auth type: {parsed.auth_type}")
        if advert.auth.kind is not own.auth.kind:
            return _no(Refusal.AUTH_MISMATCH, f"received a {advert.auth.kind:d} auth, expecting {own.auth.kind:d}!")
        if own.auth.kind is AuthType.PASS and advert.auth.key != own.auth.key:
            return _no(Refusal.PASSWORD, "received an invalid passwd!")
        if own.auth.kind is AuthType.AH and not frame.ah_ok:
            return _no(
                Refusal.PASSWORD, "IPSEC-AH : invalid IPSEC HMAC-MD5 value. Due to fields mutation or bad password !"
            )
        if advert.adv_us != own.adv_us:
            mine, theirs = own.adv_us // 1_000_000, advert.adv_us // 1_000_000
            return _no(Refusal.INTERVAL, f"advertisement interval mismatch mine={mine} sec rcv'd={theirs} sec")
    if parsed.kind != TYPE_ADVERT:
        return _no(Refusal.KIND, f"Invalid packet type. {parsed.kind} and expect {TYPE_ADVERT}")
    return None


def _refused_count(own: InstanceSettings, advert: Advert, check_vips: bool) -> Judged | None:
    """2.2.7 compares the number of addresses here, before the checksum, and drops."""
    if own.imitated is Imitated.V2_2_7 and check_vips and len(advert.vips) != len(own.vips):
        return _no(
            Refusal.COUNT, f"received an unexpected ip number count {len(advert.vips)}, expected {len(own.vips)}!"
        )
    return None


def _refused_wire(own: InstanceSettings, frame: Frame, parsed: Parsed) -> Judged | None:
    if not parsed.checksum_ok:
        return _no(Refusal.CHECKSUM, f"Invalid VRRPv{own.version} checksum")
    if ip_address(frame.destination).is_multicast == own.unicast:
        wanted, got = ("uni", "multi") if own.unicast else ("multi", "uni")
        return _no(Refusal.CAST, f"Expected {wanted}cast packet but received {got}cast packet")
    if own.owner_ignore_adverts and own.imitated is Imitated.HEAD:
        return _no(Refusal.OWNER_IGNORES, "")
    return None


def _refused_addresses(own: InstanceSettings, frame: Frame, advert: Advert, check_vips: bool) -> Judged | None:
    """The address list, which HEAD no longer minds, then the unicast source."""
    if not check_vips:
        return None
    if own.imitated is Imitated.V2_2_7:
        there = {ip_address(vip) for vip in advert.vips}
        for vip in own.vips:
            if ip_address(vip) not in there:
                return _no(
                    Refusal.ADDRESSES,
                    f"ip address associated with VRID {own.vrid} not present in MASTER advert: {vip}",
                )
    if own.unicast and own.check_unicast_src:
        return _refused_peer(own, frame)
    return None


def _refused_peer(own: InstanceSettings, frame: Frame) -> Judged | None:
    source = ip_address(frame.source)
    peer = next((one for one in own.peers if ip_address(one.address) == source), None)
    if peer is None:
        return _no(Refusal.NOT_A_PEER, f"unicast source address {frame.source} not a unicast peer")
    if frame.ttl is not None and not peer.ttl_min <= frame.ttl <= peer.ttl_max:
        return _no(Refusal.PEER_TTL, f"TTL/HL {frame.ttl} not in range {peer.ttl_min} - {peer.ttl_max}")
    return None


def _no(refusal: Refusal, text: str) -> Judged:
    return Judged(refusal=refusal, text=text)


def frames_of(own: InstanceSettings, priority: int) -> dict[str, Frame]:
    """What one advert of this priority looks like on the wire: by destination, one frame for a group, one a peer.

    The AH header is not in the payload; `ah_ok` is left True, the key is compared where two settings are known.
    """
    group = GROUP_V6 if ":" in own.source else GROUP_V4
    places = [peer.address for peer in own.peers] or [group]
    advert = Advert(
        vrid=own.vrid, priority=priority, version=own.version, adv_us=own.adv_us, vips=own.vips, auth=own.auth
    )
    by_ah = own.auth.kind is AuthType.AH
    return {
        place: Frame(
            source=own.source,
            destination=place,
            payload=render_advert(advert, own.source, place),
            ttl=own.unicast_ttl if own.unicast else TTL,
            protocol=PROTOCOL_AH if by_ah else PROTOCOL_VRRP,
        )
        for place in places
    }
