"""The packets of PING_CHECK."""

from __future__ import annotations

import pytest

from risefall.checkers.ping import DATA, answers, checksum, request


def test_checksum_makes_the_whole_come_to_nothing() -> None:
    assert checksum(request(4, 0x1234, 7)) == 0
    assert checksum(b"\0\1\xf2\3\xf4\xf5\xf6\xf7") == 0x220D  # RFC 1071, section 3
    assert checksum(b"\1") == 0xFEFF


@pytest.mark.parametrize(("family", "head"), [(4, b"\x08\0"), (6, b"\x80\0")])
def test_request(family: int, head: bytes) -> None:
    packet = request(family, 0x1234, 7)
    assert packet[:2] == head
    assert packet[4:] == b"\x12\x34\0\7" + DATA


@pytest.mark.parametrize(
    ("packet", "family", "good"),
    [
        (b"\0\0\0\0\x12\x34\0\7", 4, True),
        (b"\x81\0\0\0\x12\x34\0\7", 6, True),
        (b"\x08\0\0\0\x12\x34\0\7", 4, False),
        (b"\0\0\0\0\x12\x35\0\7", 4, False),
        (b"\0\0\0\0\x12\x34\0\x08", 4, False),
        (b"\0\0\0\0\x12\x34\0", 4, False),
    ],
)
def test_what_is_the_reply(packet: bytes, family: int, good: bool) -> None:
    assert answers(packet, family, 7, 0x1234) is good


def test_a_ping_socket_has_an_identifier_of_its_own() -> None:
    assert answers(b"\0\0\0\0\x99\x99\0\7", 4, 7, None)
