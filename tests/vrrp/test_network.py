"""What holds of any network: one MASTER among nodes that agree and hear one another, and nothing that depends on luck.

The hold-down is the longest full wait of the nodes after the last disturbance: by then the best has timed out, its first
advert has silenced the rest, and what was in flight has arrived.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vrrp_kit import CHK, Lab, chk, near, spec, us

import risefall.vrrp
from risefall.vrrp.actions import State
from risefall.vrrp.election import master_down_us
from risefall.vrrp.network import Network
from risefall.vrrp.settings import Auth, AuthType, InstanceSettings, Peer
from risefall.vrrp.trackers import DOWN, UP

MASTER, BACKUP = State.MASTER, State.BACKUP
ADDRESSES = [f"10.77.0.{number + 1}" for number in range(4)]

node_traits = st.fixed_dictionaries(
    {
        "priority": st.integers(1, 254),
        "nopreempt": st.booleans(),
        "preempt_delay_us": st.sampled_from([0, 0, 1_500_000, 4_000_000]),
        "higher_prio_send_advert": st.booleans(),
        "lower_prio_no_advert": st.booleans(),
    }
)
shared_traits = st.one_of(
    st.fixed_dictionaries({"version": st.just(2), "adv_us": st.sampled_from([1_000_000, 2_000_000])}),
    st.fixed_dictionaries({"version": st.just(3), "adv_us": st.sampled_from([50_000, 200_000, 1_000_000])}),
)
ADDRESS_LISTS = (
    ("10.77.0.100",),
    ("10.77.0.100", "10.77.0.101"),
    tuple(f"10.77.1.{number}" for number in range(1, 21)),
)
agreed_traits = st.fixed_dictionaries(
    {
        "vips": st.sampled_from(ADDRESS_LISTS),
        "auth": st.sampled_from([Auth(), Auth(AuthType.PASS, b"secret"), Auth(AuthType.PASS, b"x")]),
    }
)
"""Version 3 knows no authentication: there it is left out."""
disturbances = st.lists(
    st.tuples(
        st.integers(0, 30_000_000),
        st.sampled_from(["stop", "start", "kill", "fail", "pass", "link_down", "link_up"]),
        st.integers(0, 3),
    ),
    max_size=12,
)


def disturb(network: Network, what: str, name: str) -> None:
    """One thing that happens to a node."""
    match what:
        case "start":
            if not network.nodes[name].running:
                network.start(name)
        case "stop":
            if network.nodes[name].running:
                network.stop(name)
        case "kill":
            network.kill(name)
        case "fail":
            network.read(name, CHK, DOWN)
        case "pass":
            network.read(name, CHK, UP)
        case _:
            getattr(network, what)(name)


def eligible(network: Network, name: str) -> bool:
    """Runs, is at no fault, and its link is up."""
    return network.nodes[name].running and network.state(name) in (MASTER, BACKUP)


@settings(max_examples=150, deadline=None)
@given(
    shared_traits,
    agreed_traits,
    st.lists(node_traits, min_size=2, max_size=4),
    st.booleans(),
    st.sampled_from([0, -20, 30]),
    disturbances,
)
def test_at_most_one_master_after_the_hold_down(
    shared: dict[str, object],
    agreed: dict[str, object],
    traits: list[dict[str, object]],
    unicast: bool,
    weight: int,
    events: list[tuple[int, str, int]],
) -> None:
    """Nodes agree on version, interval, authentication, addresses and peers; no partition, no dont_track_primary."""
    shared = {**shared, **agreed, **({"auth": Auth()} if shared["version"] == 3 else {})}
    network = Network()
    for number, own in enumerate(traits):
        peers = tuple(Peer(one) for one in ADDRESSES[: len(traits)] if one != ADDRESSES[number]) if unicast else ()
        network.add_node(f"n{number}", [spec(number, **own, **shared, peers=peers)], tracked={"VI": [chk(weight)]})
        network.read(f"n{number}", CHK, UP)
        network.at(100_000 + number, lambda name=f"n{number}": network.start(name))  # type: ignore[misc]
    for at_us, what, number in events:
        if number < len(traits):
            network.at(at_us, lambda what=what, number=number: disturb(network, what, f"n{number}"))  # type: ignore[misc]
    quiet_us = max([100_010, *(at_us for at_us, _, _ in events)])
    hold_down_us = 2 * master_down_us(spec(0, 1, **shared), 1, shared["adv_us"]) + 5_000_000
    network.run(quiet_us + hold_down_us)
    alive = [name for name in network.nodes if eligible(network, name)]
    assert len(network.masters()) == min(len(alive), 1)
    before = network.masters()
    network.run(quiet_us + hold_down_us + 30_000_000)
    assert network.masters() == before
    for node in network.nodes.values():
        for port in node.ports.values():
            assert 1 <= port.instance.effective <= 254
            assert port.instance.effective == min(max(port.instance.total, 1), 254)


def both(better: int, worse: int) -> set[str]:
    """Nobody hears, or takes, what the other says."""
    return {"n0", "n1"}


DISAGREEMENTS: dict[str, tuple[dict[str, object], dict[str, object], Callable[[int, int], set[str]]]] = {
    "row J, interval": ({}, {"adv_us": 2_000_000}, both),
    "row Y, addresses": ({}, {"vips": ("10.77.0.150",)}, both),
    "row Z, version": ({}, {"version": 3}, both),
    "row W, password": ({"auth": Auth(AuthType.PASS, b"a")}, {"auth": Auth(AuthType.PASS, b"b")}, both),
    "row W, on one only": ({"auth": Auth(AuthType.PASS, b"a")}, {}, both),
    "nobody's peer": ({"peers": (Peer("10.77.0.9"),)}, {"peers": (Peer("10.77.0.8"),)}, both),
    # n0 hears nobody; n1 hears n0, and waits for it if it is better (rows DA and DB).
    "one-way peers": (
        {"peers": (Peer("10.77.0.2"),)},
        {"peers": (Peer("10.77.0.9"),)},
        lambda first, second: {"n0"} if first > second else {"n0", "n1"},
    ),
}
"""What is asked of n0, what of n1, and who is MASTER for ever, by their priorities."""


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(DISAGREEMENTS)),
    st.lists(st.integers(1, 254), min_size=2, max_size=2, unique=True),
    st.integers(0, 900_000),
    st.booleans(),
)
def test_nodes_that_disagree_come_to_what_the_spec_says(
    what: str, priorities: list[int], later_us: int, first: bool
) -> None:
    """Whatever their priorities, and whoever starts first; and nothing changes any more."""
    first_traits, second_traits, outcome = DISAGREEMENTS[what]
    network = Network()
    for number, own in enumerate((first_traits, second_traits)):
        network.add_node(f"n{number}", [spec(number, priorities[number], **own)])
        at_us = 100_000 + (later_us if bool(number) is first else 0)
        network.at(at_us, lambda name=f"n{number}": network.start(name))  # type: ignore[misc]
    network.run(us(20))
    for second in range(20, 60):
        network.run(us(second))
        assert {*network.masters()} == outcome(*priorities), f"at {second} s"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 254), min_size=2, max_size=2),
    st.sampled_from(["parted", "deaf", "link of the master"]),
    st.integers(10_000_000, 20_000_000),
)
def test_partitions_split_and_heal_as_the_rows_say(priorities: list[int], what: str, until_us: int) -> None:
    """Rows N, DA and DB, V: two MASTERs while they do not hear one another, then the better, or of equals the higher address."""
    network = Network()
    for number, priority in enumerate(priorities):
        network.add_node(f"n{number}", [spec(number, priority, dont_track_primary=True)])
        network.start(f"n{number}")
    network.run(us(6))
    (master,) = network.masters()
    other = "n1" if master == "n0" else "n0"
    if what == "parted":
        network.part("n0", "n1")
    elif what == "deaf":
        network.block(other, master)  # row DA: a MASTER needs no packets
    else:
        network.link_down(master)
    network.run(until_us)
    assert {*network.masters()} == ({master} if what == "deaf" else {"n0", "n1"})
    network.heal()
    network.link_up(master)
    network.run(until_us + us(10))
    wanted = max((priority, f"n{number}") for number, priority in enumerate(priorities))[1]
    assert network.masters() == [master if what == "deaf" else wanted]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 254), min_size=2, max_size=4, unique=True))
def test_the_best_wins_where_all_preempt(priorities: list[int]) -> None:
    """Whatever the order of the starts."""
    network = Network()
    for number, priority in enumerate(priorities):
        network.add_node(f"n{number}", [spec(number, priority)])
        network.at(100_000 * (number + 1), lambda name=f"n{number}": network.start(name))  # type: ignore[misc]
    network.run(us(20))
    assert network.masters() == [f"n{priorities.index(max(priorities))}"]


@given(st.integers(0, 1 << 32))
@settings(max_examples=20, deadline=None)
def test_loss_is_survived(seed: int) -> None:
    """One packet in five is lost: two may be MASTER for a while, but it heals with the first that gets through."""
    luck = Random(seed)
    lossy = [True]
    network = Network(lost=lambda _sender, _receiver: lossy[0] and luck.random() < 0.2)
    for number in range(3):
        network.add_node(f"n{number}", [spec(number, 100 + number)])
        network.start(f"n{number}")
    network.run(us(60))
    lossy[0] = False
    network.run(us(75))
    assert network.masters() == ["n2"]


def test_a_run_is_the_same_again() -> None:
    """No clock, no luck."""

    def history() -> list[object]:
        lab = Lab().node(spec(0, 100), 0.1, [chk(-20)]).node(spec(1, 90), 0.1).node(spec(2, 90), 0.1)
        lab.passes("n0", 0.2).fails("n0", 6).passes("n0", 12).run(30)
        return [*lab.network.changes, *lab.network.happened]

    assert history() == history()


def test_a_dead_host_costs_a_full_wait() -> None:
    """§4.11: D(backup) after the last advert; and a clean stop only the skew."""
    lab = Lab().node(spec(0, 100), 0.1).node(spec(1, 90), 0.1)
    lab.at(6.0, lambda network: network.kill("n0")).run(12)
    last = max(at for at, _ in lab.sent("n0"))
    assert lab.when("n1", MASTER) == pytest.approx(last + 3.6489, abs=0.001)


def test_unicast_reaches_peers_only() -> None:
    """A node that nobody names hears nothing and is MASTER alone; a multicast node does not hear unicast ones."""

    def peers(*addresses: str) -> tuple[Peer, ...]:
        return tuple(Peer(one) for one in addresses)

    lab = Lab().node(spec(0, 100, peers=peers("10.77.0.2")), 0.1).node(spec(1, 90, peers=peers("10.77.0.1")), 0.1)
    lab.node(spec(2, 80), 0.1).run(20)
    assert lab.network.masters() == ["n0", "n2"]


def test_a_node_that_is_its_own_peer() -> None:
    """A MASTER logs a warning for each own advert, and stays."""
    both = (Peer("10.77.0.1"), Peer("10.77.0.2"))
    lab = Lab().node(spec(0, 100, peers=both), 0.1).node(spec(1, 90, peers=both), 0.1).run(20)
    assert (lab.states("n0"), lab.states("n1")) == ([BACKUP, MASTER], [BACKUP])
    warning = "(VI) WARNING - equal priority advert received from remote host with our IP address."
    assert warning in lab.lines("n0")


def test_ipv6_elects_too() -> None:
    """Version 3 over link-local addresses."""
    lab = Lab()
    for number, priority in enumerate((100, 90)):
        lab.node(
            InstanceSettings(
                name="VI", source=f"fe80::{number + 1}", priority=priority, version=3, vips=("2001:db8::1",)
            ),
            0.1,
        )
    lab.run(10)
    assert lab.network.masters() == ["n0"]


def test_two_routers_on_one_bridge() -> None:
    """Another router id is another election."""
    lab = Lab().node(spec(0, 100), 0.1).node(spec(1, 90, vrid=52), 0.1).run(10)
    assert lab.network.masters() == ["n0", "n1"]


def test_a_link_that_is_down_at_start() -> None:
    """FAULT from the beginning, BACKUP when it comes."""
    lab = Lab()
    lab.node(spec(0, 100), 0.2).at(0.1, lambda network: network.link_down("n0"))
    lab.at(5, lambda network: network.link_up("n0")).run(12)
    assert lab.states("n0") == [State.FAULT, BACKUP, MASTER]
    assert lab.when("n0", MASTER) == near(8.61)


def test_nothing_of_it_needs_a_clock_or_a_socket() -> None:
    """In a fresh interpreter all of it imports neither trio nor sockets nor the compiled module."""
    names = sorted(one.stem for one in Path(risefall.vrrp.__file__).parent.glob("[a-z]*.py"))
    imports = "; ".join(f"import risefall.vrrp.{name}" for name in names)
    check = "import sys; bad = {'trio', 'socket', 'risefall.engine', 'risefall.engine._native'} & set(sys.modules)"
    asked = f"import sys; before = set(sys.modules); {imports}; {check}; print(sorted(bad - before))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
