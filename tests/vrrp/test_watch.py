"""Who is MASTER, by what is heard: masters, takeovers, two at once, silence, and what a configuration would refuse."""

from __future__ import annotations

import pytest
from vrrp_kit import Lab, chk, near, spec
from watch_kit import ETH, Ear, packet

from risefall.vrrp.acceptance import frames_of
from risefall.vrrp.actions import State
from risefall.vrrp.datagrams import Datagram
from risefall.vrrp.network import Network
from risefall.vrrp.packets import PROTOCOL_AH, PROTOCOL_VRRP, AhHeader, ah_digest, render_ah
from risefall.vrrp.senders import LATE_KEPT, Lateness
from risefall.vrrp.settings import Auth, AuthType, InstanceSettings, Peer
from risefall.vrrp.watch import SENDERS_MAX
from risefall.vrrp.watch_events import EVENTS_AT_ONCE, Kind
from risefall.vrrp.watch_views import views

N0, N1 = spec(0, 100), spec(1, 90)
PASS = Auth(AuthType.PASS, b"secret")
SIX = InstanceSettings(name="VI", source="fe80::1", version=3, vips=("fe80::100",))


def part(network: Network) -> None:
    """n0 and n1 do not hear each other."""
    network.part("n0", "n1")


def heal(network: Network) -> None:
    network.heal()


def test_a_master_its_pace_and_its_lateness() -> None:
    """Steady adverts are one event; the third is 30 ms late."""
    ear = Ear().hear(0, packet(N0)).hear(1, packet(N0)).hear(2.03, packet(N0)).hear(3.03, packet(N0))
    assert ear.kinds() == [Kind.MASTER]
    assert ear.events[0].text == "10.77.0.1 is MASTER, priority 100"
    (router,) = views(ear.watch, 3_100_000)
    (sender,) = router.senders
    assert (router.masters, router.sound, router.vrid, router.family) == (("10.77.0.1",), True, 51, 4)
    assert (sender.late_median_ms, sender.late_worst_ms, sender.silent_ms) == (0.0, 30.0, 70)
    assert (sender.skew_ms, sender.down_ms, sender.interval_ms) == (609.375, 3609.375, 1000)
    assert ear.watch.healthy


def test_a_master_that_is_silent_is_lost_after_its_master_down_time() -> None:
    """And nobody follows."""
    ear = Ear().hear(0, packet(N0)).hear(1, packet(N0)).until(20)
    assert ear.kinds() == [Kind.MASTER, Kind.LOST, Kind.NOBODY]
    assert [one.at_us for one in ear.events[1:]] == [4_609_375, 4_609_375 + 3_609_375]
    assert not ear.watch.healthy
    assert views(ear.watch, 20_000_000)[0].masters == ()


def test_one_that_resigns_is_followed() -> None:
    """Priority 0 is sent twice; the span is told from the last of them."""
    ear = Ear().hear(0, packet(N0)).hear(0.4, packet(N0, 0)).hear(0.4, packet(N0, 0)).hear(1.05, packet(N1))
    assert ear.kinds() == [Kind.MASTER, Kind.RESIGNED, Kind.TAKEOVER]
    assert ear.events[2].text == "10.77.0.2 takes over from 10.77.0.1, priority 90 after 100, 0.650 s after it resigned"
    assert [one.masters for one in ear.events] == [("10.77.0.1",), (), ("10.77.0.2",)]
    assert ear.masters() == ["10.77.0.2"]


def test_a_better_one_takes_over_and_two_packets_may_cross() -> None:
    """The worse master's last advert is under way when the better one's first arrives."""
    ear = Ear().every(0, 3, 1, packet(N1)).hear(3.999, packet(N0)).hear(4.0, packet(N1)).every(5, 9, 1, packet(N0))
    assert ear.kinds() == [Kind.MASTER, Kind.TAKEOVER]
    assert ear.events[1].text.endswith("10.77.0.2, priority 100 after 90, 0.999 s after its last advert")


def test_a_worse_one_that_speaks_and_yields_is_a_rival() -> None:
    """As after a partition heals, heard on the better master's side."""
    ear = Ear().every(0, 3, 1, packet(N0)).hear(3.2, packet(N1)).hear(3.201, packet(N0)).every(4.2, 9, 1, packet(N0))
    assert ear.kinds() == [Kind.MASTER, Kind.RIVAL]
    assert ear.masters() == ["10.77.0.1"]


def test_two_that_go_on_are_two_masters_and_it_is_said_since_they_agree() -> None:
    """Until the worse one is silent."""
    ear = Ear().every(0, 3, 1, packet(N0), packet(N1))
    assert ear.masters() == ["10.77.0.1", "10.77.0.2"]
    assert not ear.watch.healthy
    (told,) = ear.told(Kind.TWO_MASTERS)
    assert "10.77.0.1 (priority 100) and 10.77.0.2 (priority 90)" in told.text
    assert "do not hear one another" in told.text
    assert told.masters == ("10.77.0.1", "10.77.0.2")
    ear.every(4, 9, 1, packet(N0))
    assert ear.kinds()[-1] is Kind.ONE_MASTER
    assert ear.masters() == ["10.77.0.1"]
    assert ear.watch.healthy


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (spec(1, 90, auth=PASS), "10.77.0.2 refuses the adverts of 10.77.0.1: received a 0 auth, expecting 1!"),
        (spec(1, 90, version=3), "10.77.0.2 refuses the adverts of 10.77.0.1: wrong version. Received 2 and expect 3"),
        (spec(1, 90, vips=("10.77.0.9",)), "not present in MASTER advert"),
        (spec(1, 90, adv_us=2_000_000), "advertisement interval mismatch mine=2 sec rcv'd=1 sec"),
    ],
)
def test_who_refuses_the_better_one_is_a_second_master_at_once(other: InstanceSettings, why: str) -> None:
    """Its first advert shows it: it will not yield."""
    ear = Ear().hear(0, packet(N0)).hear(0.5, packet(other))
    assert ear.kinds() == [Kind.MASTER, Kind.TWO_MASTERS]
    assert why in ear.events[1].text


def test_a_master_that_is_kept_silent_is_a_master_still() -> None:
    """Row J: each of n0's adverts, which n1 refuses, puts n1's next one off."""
    slow = spec(1, 90, adv_us=2_000_000)
    ear = Ear().hear(0, packet(N0)).hear(0.5, packet(slow)).every(1, 20, 1, packet(N0))
    assert ear.kinds() == [Kind.MASTER, Kind.TWO_MASTERS, Kind.LOST]
    assert "it may be MASTER still" in ear.events[-1].text
    assert ear.masters() == ["10.77.0.1", "10.77.0.2"]
    ear.hear(21, packet(slow, 0))
    assert ear.kinds()[-2:] == [Kind.RESIGNED, Kind.ONE_MASTER]


def test_a_silenced_one_whose_silencer_is_gone_is_waited_for_again() -> None:
    """It would speak within its interval."""
    slow = spec(1, 90, adv_us=2_000_000)
    ear = (
        Ear()
        .hear(0, packet(N0))
        .hear(0.5, packet(slow))
        .every(1, 10, 1, packet(N0))
        .hear(10.1, packet(N0, 0))
        .until(40)
    )
    assert ear.masters() == []
    assert ear.kinds()[-2:] == [Kind.LOST, Kind.NOBODY]


# --- the same as the election ------------------------------------------------------------------------------------------


def agrees(lab: Lab, ear: Ear, until: float) -> None:
    """Whoever is MASTER in the model in the end is shown as one, and nobody else."""
    lab.run(until)
    ear.play(lab, until)
    states = {
        node.ports["VI"].instance.settings.source
        for node in lab.network.nodes.values()
        if node.ports["VI"].instance.state is State.MASTER
    }
    assert ear.masters() == sorted(states)


def test_a_weight_moves_it_and_back() -> None:
    """Row A of the timelines."""
    lab = Lab().node(spec(0, 100), 0.27, [chk(-20)]).node(spec(1, 90), 0.3).passes("n0", 0.3)
    ear = Ear()
    agrees(lab.fails("n0", 6.28).passes("n0", 14.3), ear, 20)
    assert ear.kinds() == [Kind.MASTER, Kind.PRIORITY, Kind.TAKEOVER, Kind.TAKEOVER]
    assert [one.at_us / 1e6 for one in ear.told(Kind.TAKEOVER)] == [near(9.53), near(17.15)]


def test_a_fault_and_a_return() -> None:
    """Row D."""
    lab = Lab().node(spec(0, 100), 0.1, [chk()]).node(spec(1, 90), 0.1).passes("n0", 0.12)
    ear = Ear()
    agrees(lab.fails("n0", 6.09).passes("n0", 12.08), ear, 20)
    assert ear.kinds() == [Kind.MASTER, Kind.RESIGNED, Kind.TAKEOVER, Kind.TAKEOVER]


def test_a_partition_and_its_end() -> None:
    """Row N: equals; the higher address stays."""
    lab = Lab().node(spec(0, 100), 0.1).node(spec(1, 100), 0.15)
    lab.at(0.3, part).at(7.0, heal)
    ear = Ear()
    agrees(lab, ear, 20)
    assert ear.kinds()[0] is Kind.MASTER
    assert [ear.kinds().count(one) for one in (Kind.TWO_MASTERS, Kind.ONE_MASTER)] == [1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"auth": Auth(AuthType.PASS, b"other")},
        {"version": 3},
        {"vips": ("10.77.0.101",)},
        {"adv_us": 2_000_000},
    ],
)
def test_nodes_that_refuse_one_another_are_both_masters(changes: dict[str, object]) -> None:
    """Rows J, W, Y, Z: also where one of them is kept silent."""
    lab = Lab().node(spec(0, 100, auth=PASS), 0.1).node(spec(1, 90, **{"auth": PASS, **changes}), 0.13)
    ear = Ear()
    agrees(lab, ear, 30)
    assert len(ear.masters()) == 2


def test_a_dead_host_and_two_owners() -> None:
    """Rows L and R."""
    lab = Lab().node(spec(0, 255), 0.1).node(spec(1, 100), 0.1).at(6.0, lambda network: network.kill("n0"))
    ear = Ear()
    agrees(lab, ear, 20)
    assert ear.kinds() == [Kind.MASTER, Kind.LOST, Kind.TAKEOVER]
    assert "(owner)" in ear.events[0].text
    agrees(Lab().node(spec(0, 255), 0.1).node(spec(1, 255), 0.1), Ear(), 5)


# --- beside a configuration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "sender", "line"),
    [
        (spec(1, 90, auth=PASS), spec(0, 100, auth=Auth(AuthType.PASS, b"other")), "(VI) received an invalid passwd!"),
        (spec(1, 90, auth=PASS), N0, "(VI) received a 0 auth, expecting 1! [auth NONE, here PASS]"),
        (spec(1, 90, adv_us=2_000_000), N0, "mismatch mine=2 sec rcv'd=1 sec [interval 1s, here 2s]"),
        (spec(1, 90, version=3), N0, "(VI) wrong version. Received 2 and expect 3 [version 2, here 3]"),
        (spec(1, 90, vips=("10.77.0.7",)), N0, "10.77.0.7 [addresses +10.77.0.100 -10.77.0.7]"),
        (
            spec(1, 90, peers=(Peer("10.77.0.1"),)),
            N0,
            "(VI) does not get it: Expected unicast packet but received multicast packet",
        ),
    ],
)
def test_what_this_node_would_refuse(own: InstanceSettings, sender: InstanceSettings, line: str) -> None:
    """In keepalived's words; a password is never shown."""
    ear = Ear(own).every(0, 3, 1, packet(sender))
    (told,) = ear.told(Kind.REFUSED)
    assert told.text.endswith(line)
    assert told.instance == "VI"
    assert not ear.watch.healthy
    assert views(ear.watch, 0)[0].senders[0].refused_count == 4
    assert b"secret" not in repr(views(ear.watch, 0)).encode()


def test_what_is_mended_is_told() -> None:
    """The master is restarted with the right interval."""
    own = spec(1, 90)
    ear = Ear(own).hear(0, packet(spec(0, 100, adv_us=2_000_000))).hear(2, packet(N0)).hear(3, packet(N0))
    assert ear.kinds() == [Kind.MASTER, Kind.REFUSED, Kind.CHANGED, Kind.ACCEPTED]
    assert ear.watch.healthy


def test_ttl_and_checksum_need_no_configuration() -> None:
    """They are wrong for everybody."""
    good = packet(N0)
    spoilt = good.payload[:6] + b"\1\2" + good.payload[8:]
    ear = Ear().hear(0, Datagram(good.source, good.destination, 64, good.protocol, spoilt))
    assert [one.text for one in ear.told(Kind.WRONG)] == [
        "10.77.0.1: invalid TTL/HL. Received 64 and expect 255",
        "10.77.0.1: Invalid VRRPv2 checksum",
    ]
    assert not ear.watch.healthy


def test_an_instance_that_nobody_is_heard_of() -> None:
    """It is expected from the start, and told after its own master-down time."""
    ear = Ear(spec(0, 100)).until(3.5)
    assert ear.kinds() == []
    assert not ear.watch.healthy
    ear.until(4)
    assert [one.text for one in ear.events] == ["nobody is MASTER: no advert was heard"]
    assert ear.events[0].instance == "VI"


def test_two_clusters_with_one_id_are_told_apart_by_their_peers() -> None:
    """Unicast instances may share a router id."""
    one = spec(0, 100, name="A", source="10.77.0.9", peers=(Peer("10.77.0.1"),))
    two = spec(0, 100, name="B", source="10.77.0.9", peers=(Peer("10.77.0.2"),))
    first, second = spec(0, 100, peers=(Peer("10.77.0.9"),)), spec(1, 100, peers=(Peer("10.77.0.9"),))
    ear = Ear(one, two).every(0, 3, 1, packet(first), packet(second))
    assert [(one.instance, one.kind) for one in ear.events] == [("A", Kind.MASTER), ("B", Kind.MASTER)]
    assert ear.watch.healthy


def test_what_this_machine_sends_to_several_peers_is_one_advert() -> None:
    """The packet socket sees a copy for each."""
    own = spec(0, 100, peers=(Peer("10.77.0.2"), Peer("10.77.0.3")), check_unicast_src=True)
    ear = Ear(own)
    for at in (0.0, 1.0, 2.04):
        for place, frame in frames_of(own, 100).items():
            ear.hear(at, Datagram(frame.source, place, 255, frame.protocol, frame.payload, ours=True))
    assert [one.text for one in ear.events] == ["10.77.0.1 (this machine) is MASTER, priority 100"]
    (sender,) = views(ear.watch, 2_040_000)[0].senders
    assert (sender.adverts, sender.late_median_ms, sender.late_worst_ms) == (3, 20.0, 40.0)
    assert ear.watch.healthy


def test_what_loops_back_is_one_advert() -> None:
    """Programs that leave the loop on are heard twice, whichever comes first."""
    good = packet(N0)
    ours = Datagram(good.source, good.destination, good.ttl, good.protocol, good.payload, ours=True)
    for order in ((good, ours), (ours, good)):
        ear = Ear()
        for at in (0.0, 1.0, 2.0):
            ear.hear(at, order[0]).hear(at + 0.001, order[1])
        (sender,) = views(ear.watch, 2_040_000)[0].senders
        assert (sender.adverts, sender.this_machine, sender.late_worst_ms) == (3, True, 0.0)


def test_ah_is_compared_with_the_key() -> None:
    """The digest covers the IP header."""
    sender = spec(0, 100, auth=Auth(AuthType.AH, b"secret"))
    plain = packet(sender)
    header = bytes.fromhex("45c0003c00010000ff330000") + bytes([10, 77, 0, 1, 224, 0, 0, 18])
    digest = ah_digest(b"secret", header, 7, plain.payload)
    ah = render_ah(AhHeader(spi=header[12:16], sequence=7, digest=digest))
    sealed = Datagram(plain.source, plain.destination, 255, PROTOCOL_AH, ah + plain.payload, header)
    assert Ear(sender).hear(0, sealed).kinds() == [Kind.MASTER]
    assert Ear().hear(0, sealed).kinds() == [Kind.MASTER]
    other = Ear(spec(0, 100, auth=Auth(AuthType.AH, b"other"))).hear(0, sealed)
    assert "invalid IPSEC HMAC-MD5 value. Due to fields mutation or bad password !" in other.events[1].text
    foreign = Datagram(plain.source, plain.destination, 255, PROTOCOL_AH, b"\x06" + ah[1:] + plain.payload, header)
    assert Ear(sender).hear(0, foreign).kinds() == []


# --- interfaces and floods ---------------------------------------------------------------------------------------------


def test_families_and_interfaces_are_apart() -> None:
    """The same id on two interfaces, and of two families."""
    ear = Ear(interfaces=(ETH, "eth1")).hear(0, packet(N0)).hear(0, packet(N1), "eth1").hear(0, packet(SIX))
    assert [(one.interface, one.family, one.kind) for one in ear.events] == [
        ("eth0", 4, Kind.MASTER),
        ("eth1", 4, Kind.MASTER),
        ("eth0", 6, Kind.MASTER),
    ]
    assert ear.watch.healthy


def test_while_an_interface_is_gone_nobody_is_lost() -> None:
    """Its silence means nothing; when it is back, waits start over."""
    ear = Ear().hear(0, packet(N0))
    ear.events += ear.watch.link(1_000_000, ETH, up=False)
    ear.until(60)
    assert ear.kinds() == [Kind.MASTER, Kind.INTERFACE]
    assert not ear.watch.healthy
    ear.events += ear.watch.link(60_000_000, ETH, up=True)
    ear.hear(61, packet(N0)).until(63)
    assert ear.kinds() == [Kind.MASTER, Kind.INTERFACE, Kind.INTERFACE]
    assert ear.watch.healthy
    ear.until(80)
    assert Kind.LOST in ear.kinds()


def test_a_flood_of_forged_senders_is_bounded_and_keeps_the_master() -> None:
    """Neither memory nor output grows with them."""
    ear = Ear().hear(0, packet(N0))
    for number in range(2000):
        forged = InstanceSettings(
            name="x", source=f"10.{number % 200}.{number // 200}.9", vrid=51, priority=1, vips=N0.vips
        )
        ear.hear(0.5, packet(forged))
    (router,) = ear.watch.routers.values()
    assert len(router.senders) == SENDERS_MAX
    assert router.unkept == 0
    assert ear.masters() == ["10.77.0.1"]
    assert len(ear.events) <= EVENTS_AT_ONCE + 1
    ear.hear(1, packet(N0)).until(30)
    assert Kind.FLOOD in ear.kinds()


def test_forged_masters_fill_up_and_then_are_only_counted() -> None:
    """Each refuses the others, so each would be one."""
    ear = Ear()
    for number in range(40):
        key = Auth(AuthType.PASS, bytes([65 + number]))
        ear.hear(0.5, packet(spec(number, 100, auth=key)))
    (router,) = ear.watch.routers.values()
    assert (len(router.senders), router.unkept) == (SENDERS_MAX, 40 - SENDERS_MAX)


def test_lateness_keeps_the_last_ones() -> None:
    """The median is of them, the worst of all."""
    late = Lateness()
    assert (late.median_us, late.worst_us) == (None, None)
    for one in (900, *[5] * LATE_KEPT, -3):
        late.add(one)
    assert (late.median_us, late.worst_us) == (5, 900)


def test_what_is_no_advert() -> None:
    """Told once for the interface, in keepalived's words where the instance is known."""
    good = packet(N0)
    cut = Datagram(good.source, good.destination, 255, PROTOCOL_VRRP, good.payload[:-1])
    assert Ear().hear(0, cut).kinds() == [Kind.MALFORMED]
    own = Ear(N1).hear(0, cut)
    assert own.events[0].text == "10.77.0.1: (VI) vrrp packet too short, length 39 and expect 40"
    assert own.watch.links[ETH].malformed == 1
    stub = Datagram(good.source, good.destination, 255, PROTOCOL_VRRP, good.payload[:5])
    assert Ear(N1).hear(0, stub).events[0].text == "10.77.0.1: IPv4 VRRP packet too short - 25 bytes"
    odd = Datagram(
        good.source, good.destination, 255, PROTOCOL_VRRP, b"\x71" + packet(spec(0, 9, version=3)).payload[1:]
    )
    assert Ear(N1).hear(0, odd).events[0].text == "10.77.0.1: (VI) wrong version. Received 7 and expect 2"
