"""The checks of a received packet, in order (spec/keepalived-track.md §4.5)."""

from __future__ import annotations

import msgspec
import pytest

from risefall.vrrp.acceptance import Frame, Refusal, frames_of, judge
from risefall.vrrp.packets import GROUP_V4, PROTOCOL_AH
from risefall.vrrp.settings import Auth, AuthType, Imitated, InstanceSettings, Peer

SENT = InstanceSettings(name="VI", source="10.77.0.1", vips=("10.77.0.100", "10.77.0.101"))
PASS = Auth(kind=AuthType.PASS, key=b"secret")
AH = Auth(kind=AuthType.AH, key=b"secret")


def with_(settings: InstanceSettings = SENT, **changes: object) -> InstanceSettings:
    """The same settings but for these."""
    return msgspec.structs.replace(settings, **changes)


def heard(own: InstanceSettings, sender: InstanceSettings = SENT, **frame: object) -> Refusal | None:
    """What `own` makes of an advert of `sender`, its frame changed in these fields."""
    first = next(iter(frames_of(sender, sender.priority).values()))
    return judge(own, msgspec.structs.replace(first, **frame)).refusal


@pytest.mark.parametrize(
    ("own", "sender", "refusal"),
    [
        (SENT, SENT, None),
        (with_(auth=AH), SENT, Refusal.AH_HEADER),
        (SENT, with_(auth=AH), Refusal.AH_HEADER),
        (with_(auth=AH), with_(auth=AH), None),
        (with_(version=3), SENT, Refusal.VERSION),
        (SENT, with_(version=3), Refusal.VERSION),
        (with_(auth=PASS), SENT, Refusal.AUTH_MISMATCH),
        (with_(auth=PASS), with_(auth=Auth(kind=AuthType.PASS, key=b"other")), Refusal.PASSWORD),
        (with_(auth=PASS), with_(auth=PASS), None),
        (with_(adv_us=2_000_000), SENT, Refusal.INTERVAL),
        (with_(version=3, adv_us=200_000), with_(version=3, adv_us=500_000), None),
        (with_(vips=SENT.vips[:1]), SENT, Refusal.COUNT),
        (with_(vips=("10.77.0.101", "10.77.0.100")), SENT, None),
        (with_(vips=("10.77.0.100", "10.77.0.102")), SENT, Refusal.ADDRESSES),
        (with_(vips=SENT.vips[:1], imitated=Imitated.HEAD), SENT, None),
        (with_(peers=(Peer("10.77.0.1"),)), SENT, Refusal.CAST),
        (SENT, with_(peers=(Peer("10.77.0.2"),)), Refusal.CAST),
        (with_(peers=(Peer("10.77.0.1"),)), with_(peers=(Peer("10.77.0.2"),)), None),
        (with_(peers=(Peer("10.77.0.9"),)), with_(peers=(Peer("10.77.0.2"),)), None),
        (
            with_(peers=(Peer("10.77.0.9"),), check_unicast_src=True),
            with_(peers=(Peer("10.77.0.2"),)),
            Refusal.NOT_A_PEER,
        ),
        (
            with_(peers=(Peer("10.77.0.1", ttl_min=255),), check_unicast_src=True),
            with_(peers=(Peer("10.77.0.2"),), unicast_ttl=64),
            Refusal.PEER_TTL,
        ),
        (with_(priority=255, owner_ignore_adverts=True, imitated=Imitated.HEAD), SENT, Refusal.OWNER_IGNORES),
        (with_(priority=255, owner_ignore_adverts=True), SENT, None),
    ],
)
def test_what_two_nodes_disagree_about(
    own: InstanceSettings, sender: InstanceSettings, refusal: Refusal | None
) -> None:
    """Each row of the table that settings alone decide."""
    assert heard(own, sender) is refusal


def test_what_the_wire_spoils() -> None:
    """TTL, type, auth type, checksum, length, digest; unicast does not mind the TTL, nor does a socket that tells none."""
    payload = bytearray(next(iter(frames_of(SENT, 100).values())).payload)
    assert heard(SENT, ttl=64) is Refusal.TTL
    assert heard(SENT, ttl=None) is None
    assert heard(SENT, payload=bytes(payload[:-1])) is Refusal.LENGTH
    assert heard(SENT, payload=b"\x22" + bytes(payload[1:])) is Refusal.KIND
    assert heard(SENT, payload=bytes(payload[:4] + b"\x07" + payload[5:])) is Refusal.AUTH_TYPE
    assert heard(SENT, payload=bytes(payload[:2] + b"\x65" + payload[3:])) is Refusal.CHECKSUM
    assert heard(with_(auth=AH), with_(auth=AH), ah_ok=False) is Refusal.PASSWORD
    assert heard(SENT, protocol=PROTOCOL_AH) is Refusal.AH_HEADER
    peers = (Peer("10.77.0.1"),)
    assert heard(with_(peers=peers), with_(peers=(Peer("10.77.0.2"),)), ttl=3) is None


def test_the_first_check_that_fails_wins() -> None:
    """A packet that is wrong in every way is named by the first row, and mended row by row by the next."""
    own = with_(auth=PASS, adv_us=3_000_000, vips=SENT.vips[:1])
    frame = next(iter(frames_of(with_(version=3), 100).values()))
    spoilt = msgspec.structs.replace(frame, ttl=1, payload=frame.payload[:6] + b"\0\0" + frame.payload[8:])
    assert judge(own, msgspec.structs.replace(spoilt, protocol=PROTOCOL_AH)).refusal is Refusal.AH_HEADER
    assert judge(own, spoilt).refusal is Refusal.TTL
    assert judge(own, msgspec.structs.replace(spoilt, ttl=255)).refusal is Refusal.VERSION
    bad = with_(auth=Auth(kind=AuthType.PASS, key=b"x"), adv_us=2_000_000)
    mended = next(iter(frames_of(bad, 100).values()))
    broken = msgspec.structs.replace(mended, payload=b"\x22" + mended.payload[1:])
    assert judge(own, broken).refusal is Refusal.PASSWORD
    assert judge(with_(own, auth=bad.auth), broken).refusal is Refusal.INTERVAL
    same_pace = with_(own, auth=bad.auth, adv_us=2_000_000)
    assert judge(same_pace, broken).refusal is Refusal.KIND
    counted = msgspec.structs.replace(broken, payload=b"\x21" + broken.payload[1:6] + b"\0\0" + broken.payload[8:])
    assert judge(same_pace, counted).refusal is Refusal.COUNT
    assert judge(with_(same_pace, vips=SENT.vips), counted).refusal is Refusal.CHECKSUM


def test_the_known_master_may_send_any_addresses() -> None:
    """skip_check_adv_addr leaves out the list, and in 2.2.7 the unicast source with it."""
    frame = next(iter(frames_of(SENT, 100).values()))
    assert judge(with_(vips=()), frame, check_vips=False).refusal is None


def test_the_lines_that_keepalived_logs() -> None:
    """Word for word those of 2.2.7 (§8), without the instance's name."""
    frame = next(iter(frames_of(SENT, 100).values()))
    assert judge(with_(adv_us=2_000_000), frame).text == "advertisement interval mismatch mine=2 sec rcv'd=1 sec"
    assert judge(with_(version=3), frame).text == "wrong version. Received 2 and expect 3"
    cut = msgspec.structs.replace(frame, payload=frame.payload[:-1])
    assert judge(SENT, cut).text == "vrrp packet too short, length 43 and expect 44"
    long = msgspec.structs.replace(frame, payload=frame.payload + b"1234", protocol=PROTOCOL_AH)
    assert judge(with_(auth=AH), long).text == "vrrp packet too long, length 72 and expect 68"
    six = with_(source="fe80::1", version=3, vips=("fe80::100",))
    sent = next(iter(frames_of(six, 100).values()))
    cut = msgspec.structs.replace(sent, payload=sent.payload[:-1])
    assert judge(six, cut).text == "vrrp packet too short, length 23 and expect 24"
    second = msgspec.structs.replace(sent, payload=b"\x21" + sent.payload[1:])
    assert judge(six, second).text == "wrong version. Received 2 and expect 3"
    late = Frame(source="10.77.0.1", destination=GROUP_V4, payload=frame.payload, ttl=64)
    assert judge(SENT, late).text == "invalid TTL/HL. Received 64 and expect 255"
