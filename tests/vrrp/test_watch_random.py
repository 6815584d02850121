"""Whatever is heard: nothing is raised, nothing grows, and what is shown adds up."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from vrrp_kit import spec, us
from watch_kit import ETH, packet

from risefall.vrrp.datagrams import Datagram, parse_ipv4, parse_ipv6
from risefall.vrrp.packets import GROUP_V4, GROUP_V6, PROTOCOL_AH, PROTOCOL_VRRP, PacketError
from risefall.vrrp.senders import HOLDS, Own
from risefall.vrrp.settings import Auth, AuthType, Peer
from risefall.vrrp.watch import SENDERS_ALL_MAX, SENDERS_MAX, Watch
from risefall.vrrp.watch_views import views

OWN = [
    Own(spec(1, 90)),
    Own(spec(1, 90, vrid=52, auth=Auth(AuthType.AH, b"k"))),
    Own(spec(1, 90, vrid=53, auth=Auth(AuthType.PASS, b"k"), peers=(Peer("10.77.0.1"),), check_unicast_src=True)),
    Own(spec(1, 90, vrid=51, source="fe80::9", version=3, vips=("fe80::100",))),
]
SOURCES = st.sampled_from(["10.77.0.1", "10.77.0.2", "10.77.0.3", "fe80::1", "fe80::2"])
HEADS = st.builds(
    lambda first, vrid, rest: bytes([first, vrid]) + rest,
    st.sampled_from([0x21, 0x31, 0x22, 0x41, 0x11]),
    st.sampled_from([0, 51, 52, 53, 255]),
    st.binary(max_size=60),
)
AHS = st.builds(lambda head, body: b"\x70" + head + body, st.binary(max_size=23), HEADS)
NODES = st.builds(
    lambda node, priority, changes: packet(spec(node, 100, **changes), priority),
    st.integers(0, 3),
    st.integers(0, 255),
    st.sampled_from([{}, {"version": 3}, {"adv_us": 2_000_000}, {"vips": ()}, {"auth": Auth(AuthType.PASS, b"k")}]),
)


def raw(source: str, protocol: int, payload: bytes, ttl: int | None, there: bool) -> Datagram:
    """Any bytes from anybody."""
    unicast, group = ("fe80::9", GROUP_V6) if ":" in source else ("10.77.0.9", GROUP_V4)
    return Datagram(source, unicast if there else group, ttl, protocol, payload, bytes(20))


DATAGRAMS = st.one_of(
    st.builds(
        raw,
        SOURCES,
        st.sampled_from([PROTOCOL_VRRP, PROTOCOL_AH, 6]),
        st.one_of(st.binary(max_size=80), HEADS, AHS),
        st.sampled_from([None, 64, 255]),
        st.booleans(),
    ),
    NODES,
)
STEPS = st.lists(
    st.tuples(st.integers(-100_000, 3_000_000), DATAGRAMS, st.sampled_from(["", "down", "up"])), max_size=40
)


@given(STEPS, st.booleans())
def test_nothing_is_raised_and_what_is_shown_adds_up(steps: list[tuple[int, Datagram, str]], configured: bool) -> None:
    """In any order of packets, also where the clock goes back and the interface away."""
    watch = Watch(OWN if configured else ())
    watch.link(0, ETH, up=True)
    now_us, last_us = us(1), 0
    for wait_us, datagram, link in steps:
        now_us += wait_us
        events = watch.hear(now_us, ETH, datagram)
        events += watch.link(now_us, ETH, up=link == "up") if link else []
        events += watch.time(now_us)
        assert [one.at_us for one in events] == sorted(one.at_us for one in events)
        assert all(one.at_us >= last_us for one in events)
        last_us = max([last_us, *(one.at_us for one in events)])
        for router in watch.routers.values():
            holders = [one for one in router.senders.values() if one.standing in HOLDS]
            assert router.was_held == len(holders)
            assert (router.vacant_us is None) == bool(holders)
            assert (router.two_us is None) == (len(holders) < 2)
            assert len(router.senders) <= SENDERS_MAX
    shown = views(watch, now_us)
    assert msgspec.json.decode(msgspec.json.encode(shown), type=list) is not None
    assert watch.healthy == (bool(shown) and all(one.sound for one in shown) and watch.links[ETH].up)
    assert sum(len(one.senders) for one in shown) <= SENDERS_ALL_MAX


@given(STEPS)
def test_time_comes_to_rest(steps: list[tuple[int, Datagram, str]]) -> None:
    """Without packets every wait ends, and nobody but the silenced holds anything."""
    watch = Watch(OWN)
    watch.link(0, ETH, up=True)
    for wait_us, datagram, _ in steps:
        watch.hear(max(wait_us, 0), ETH, datagram)
    for _ in range(400):
        due_us = watch.next_us()
        if due_us is None:
            break
        watch.time(due_us)
    assert watch.next_us() is None
    assert not any(router.holders for router in watch.routers.values())


@given(st.binary(max_size=120))
def test_ip_headers_of_any_bytes(data: bytes) -> None:
    """A datagram, or PacketError."""
    for parse in (parse_ipv4, parse_ipv6):
        try:
            found = parse(data)
        except PacketError:
            continue
        assert len(found.payload) <= len(data)


@given(st.binary(max_size=60), st.integers(0, 255), st.integers(5, 15))
def test_ipv4_is_read_as_it_was_written(payload: bytes, ttl: int, words: int) -> None:
    """With options, and with what Ethernet pads."""
    total = words * 4 + len(payload)
    head = bytes([0x40 | words, 0xC0]) + total.to_bytes(2, "big") + bytes(4) + bytes([ttl, 112, 0, 0])
    data = head + bytes([10, 77, 0, 1, 224, 0, 0, 18]) + bytes(words * 4 - 20) + payload
    found = parse_ipv4(data + bytes(6))
    assert (found.source, found.destination, found.ttl, found.protocol) == ("10.77.0.1", "224.0.0.18", ttl, 112)
    assert found.payload == payload
