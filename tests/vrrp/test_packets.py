"""Adverts to bytes and back, with the bytes that were seen on the wire (spec/keepalived-track.md §4.10)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risefall.vrrp.packets import (
    GROUP_V4,
    GROUP_V6,
    Advert,
    AhHeader,
    PacketError,
    ah_digest,
    ones_complement,
    parse_advert,
    parse_ah,
    pseudo_header,
    render_advert,
    render_ah,
)
from risefall.vrrp.settings import Auth, AuthType

SECRET = Auth(kind=AuthType.PASS, key=b"secret")
N0 = "10.77.0.1"
LINK_LOCAL = "fe80::b801:a5ff:fe76:8f9d"
PLAIN = Advert(vrid=51, priority=100, vips=("10.77.0.100", "10.77.0.101"))
GOLDEN = [
    (PLAIN, N0, GROUP_V4, "2133640200016566 0a4d0064 0a4d0065 0000000000000000"),
    (
        Advert(vrid=51, priority=0, vips=PLAIN.vips),
        N0,
        GROUP_V4,
        "213300020001c966 0a4d0064 0a4d0065 0000000000000000",
    ),
    (
        Advert(vrid=52, priority=101, vips=("10.77.0.102",), auth=SECRET),
        N0,
        GROUP_V4,
        "21346501010131ca 0a4d0066 7365637265740000",
    ),
    (
        Advert(vrid=52, priority=0, vips=("10.77.0.102",), auth=SECRET),
        N0,
        GROUP_V4,
        "21340001010196ca 0a4d0066 7365637265740000",
    ),
    (
        Advert(vrid=55, priority=104, vips=("10.77.0.104",)),
        N0,
        "10.77.0.2",
        "2137680100016c11 0a4d0068 0000000000000000",
    ),
    (
        Advert(vrid=53, priority=102, version=3, adv_us=250_000, vips=("10.77.0.103",)),
        N0,
        GROUP_V4,
        "313566010019731f 0a4d0067",
    ),
    (
        Advert(vrid=53, priority=0, version=3, adv_us=250_000, vips=("10.77.0.103",)),
        N0,
        GROUP_V4,
        "313500010019d91f 0a4d0067",
    ),
    (
        Advert(vrid=56, priority=105, version=3, vips=("10.77.0.105",)),
        N0,
        "10.77.0.2",
        "3138690100644593 0a4d0069",
    ),
    (
        Advert(vrid=56, priority=0, version=3, vips=("10.77.0.105",)),
        N0,
        "10.77.0.2",
        "313800010064ae93 0a4d0069",
    ),
    (
        Advert(vrid=54, priority=103, version=3, adv_us=1_500_000, vips=("fe80::77:1", "2001:db8::1")),
        LINK_LOCAL,
        GROUP_V6,
        "313667020096503a fe800000000000000000000000770001 20010db8000000000000000000000001",
    ),
]


@pytest.mark.parametrize(("advert", "source", "destination", "text"), GOLDEN)
def test_the_bytes_of_the_wire(advert: Advert, source: str, destination: str, text: str) -> None:
    """Both ways, checksum included; IPv6 sums its pseudo-header as the kernel does."""
    payload = bytes.fromhex(text)
    assert render_advert(advert, source, destination).hex() == payload.hex()
    parsed = parse_advert(payload, source, destination)
    assert parsed.advert == advert
    assert (parsed.kind, parsed.checksum_ok) == (1, True)


def test_the_ah_header_of_the_wire() -> None:
    """VRID 57, key "secret", the first packet: keepalived signs the IP id and, with multicast, the TTL."""
    advert = Advert(vrid=57, priority=106, vips=("10.77.0.106",), auth=Auth(kind=AuthType.AH, key=b"secret"))
    payload = render_advert(advert, N0, GROUP_V4)
    source = IPv4Address(N0).packed
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 64, 1, 0, 255, 51, 0x1234, source, IPv4Address(GROUP_V4).packed)
    digest = ah_digest(b"secret", head, 1, payload)
    wire = bytes.fromhex("7004 0000 0a4d0001 00000001 a6820e68f3cc33f601c8ae57")
    assert render_ah(AhHeader(spi=source, sequence=1, digest=digest)) == wire
    assert parse_ah(wire) == AhHeader(spi=source, sequence=1, digest=digest)
    assert ah_digest(b"secret", head, 1, payload, unicast=True) != digest
    with pytest.raises(PacketError):
        parse_ah(wire[:23])


@pytest.mark.parametrize("length", [0, 7, 8, 23, 25])
def test_a_wrong_length_is_refused(length: int) -> None:
    """2.2.7 wants the exact length."""
    payload = bytes.fromhex(GOLDEN[0][3]).ljust(40, b"\0")
    with pytest.raises(PacketError):
        parse_advert(payload[:length], N0, GROUP_V4)


def test_a_long_password_fills_the_field() -> None:
    """Eight bytes and no terminator."""
    advert = Advert(vrid=1, priority=1, vips=(), auth=Auth(kind=AuthType.PASS, key=b"12345678"))
    assert render_advert(advert, N0, GROUP_V4)[-8:] == b"12345678"


def test_pseudo_headers() -> None:
    """12 bytes for IPv4, 40 for IPv6."""
    assert len(pseudo_header(N0, GROUP_V4, 12)) == 12
    assert len(pseudo_header(LINK_LOCAL, GROUP_V6, 40)) == 40
    assert ones_complement(b"") == 0xFFFF


adverts = st.builds(
    Advert,
    vrid=st.integers(1, 255),
    priority=st.integers(0, 255),
    version=st.just(3),
    adv_us=st.integers(0, 4095).map(lambda cs: cs * 10_000),
    vips=st.lists(st.ip_addresses(v=4).map(str), max_size=20).map(tuple),
)


@given(adverts, st.integers(0, 11), st.integers(1, 255))
def test_there_and_back_and_one_flipped_byte(advert: Advert, at: int, mask: int) -> None:
    """render undoes parse, and a changed byte is seen by the checksum, or by the length."""
    payload = render_advert(advert, N0, GROUP_V4)
    assert parse_advert(payload, N0, GROUP_V4).advert == advert
    if at < len(payload):
        broken = bytearray(payload)
        broken[at] ^= mask
        try:
            parsed = parse_advert(bytes(broken), N0, GROUP_V4)
        except PacketError:
            return
        assert not parsed.checksum_ok


@given(st.binary(max_size=64), st.sampled_from([N0, LINK_LOCAL]))
def test_any_bytes_parse_or_are_refused(payload: bytes, source: str) -> None:
    """Nothing but PacketError comes out of what the network sends."""
    try:
        parse_advert(payload, source, GROUP_V4 if source == N0 else GROUP_V6)
    except PacketError:
        return
