"""The elections that are played for real and in the model: who tracks what, what breaks when, and who is MASTER in the end."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from risefall.vrrp.scripts import ScriptSettings
from risefall.vrrp.settings import US_PER_S, Auth, AuthType, InstanceSettings, Peer
from risefall.vrrp.trackers import Kind, Tracked
from vrrp_lab import NodePlan

PROCESS, QUORUM = f"rf{os.getpid()}", 2
"""Processes whose names begin so; keepalived knows 15 characters of them."""
FLAG = Tracked(Kind.FILE, "flag")
WEIGHT = Tracked(Kind.FILE, "weight", -20)


class Step(msgspec.Struct, frozen=True):
    """at_s: after all nodes were up. what: stop, start, kill, write (a file and its value), link (up or down)."""

    at_s: float
    what: str
    node: str = "n0"
    words: tuple[str | int, ...] = ()


class Play(msgspec.Struct, frozen=True):
    """One scenario. foretold: the nodes that are MASTER in the end, so that a scenario shows what it is for."""

    plans: tuple[NodePlan, ...]
    steps: tuple[Step, ...]
    until_s: float
    foretold: tuple[str, ...]
    moment: bool = False
    """The lines hang on the phases of the nodes' adverts: what keepalived does must be what the model says of one of them."""
    refuse: bool = False
    """Two masters refuse one another, and each refused advert puts the other's next one off: who still speaks is a matter of
    half a millisecond, and only which lines are logged first is compared."""
    later_us: int = 0
    """How much later than it happens a step may be seen, besides an advert: where a script looks once a second."""


def inst(number: int, priority: int, link: int = 0, **changes: object) -> InstanceSettings:
    """An instance of node `number`, version 3 with five adverts a second unless told otherwise."""
    plain = InstanceSettings(
        name=f"VI_{link + 1}",
        source=f"10.{77 + link}.0.{number + 1}",
        vrid=51 + link,
        priority=priority,
        version=3,
        adv_us=200_000,
        vips=(f"10.{77 + link}.0.100",),
    )
    return msgspec.structs.replace(plain, **changes)


def pair(*tracked: Tracked, **changes: object) -> tuple[NodePlan, ...]:
    """100 with trackers, and 90."""
    return NodePlan((inst(0, 100, **changes),), tracked), NodePlan((inst(1, 90, **changes),))


def unicast() -> tuple[NodePlan, ...]:
    """The pair, each the other's peer."""
    first, second = (Peer("10.77.0.2"),), (Peer("10.77.0.1"),)
    return NodePlan((inst(0, 100, peers=first),), (FLAG,)), NodePlan((inst(1, 90, peers=second),))


V2 = {"version": 2, "adv_us": US_PER_S}
FAILS, PASSES = Step(2, "write", words=("flag", 1)), Step(4, "write", words=("flag", 0))
SCRIPT = Tracked(Kind.SCRIPT, "chk")
SLOW = ScriptSettings(name="chk", rise=2, fall=3)
OWNER = inst(0, 255)


def scripted(weight: int, settings: ScriptSettings, at_first: int = 0) -> tuple[NodePlan, ...]:
    """100 with the script `chk`, and 90."""
    tracked = (msgspec.structs.replace(SCRIPT, weight=weight),)
    first = NodePlan((inst(0, 100),), tracked, scripts=(settings,), at_first=(("chk", at_first),))
    return first, NodePlan((inst(1, 90),))


SYNCED = tuple(
    NodePlan((inst(number, priority), inst(number, priority, 1)), (FLAG,), group=True)
    for number, priority in enumerate((100, 90))
)


def put(*told: tuple[float, str, int], node: str = "n0") -> tuple[Step, ...]:
    """Writes files, or sets how many processes run."""
    return tuple(Step(at_s, "write", node, (file, value)) for at_s, file, value in told)


def blink(interface: str, *at_s: float) -> tuple[Step, ...]:
    """Down, up, down ... at these times."""
    return tuple(Step(one, "link", words=(("down", "up")[nth % 2], interface)) for nth, one in enumerate(at_s))


def file(name: str, weight: int = 0, *, reverse: bool = False) -> Tracked:
    """A tracked file."""
    return Tracked(Kind.FILE, name, weight, reverse)


def synced(
    own: tuple[Tracked, ...] = (), of_group: tuple[Tracked, ...] = (), *, keeps: bool = False
) -> tuple[NodePlan, ...]:
    """Two nodes with a group of two instances; the first tracks."""
    first, second = ((inst(number, base), inst(number, base, 1)) for number, base in enumerate((100, 90)))
    return NodePlan(first, own, True, of_group=of_group, tracking_weight=keeps), NodePlan(second, group=True)


def two(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[NodePlan, ...]:
    """100 and 90 with these differences."""
    return NodePlan((inst(0, 100, **first),)), NodePlan((inst(1, 90, **second),))


def three(*tracked: Tracked, **changes: object) -> tuple[NodePlan, ...]:
    """120, 110, 100; the best one tracks."""
    plans = [NodePlan((inst(number, base, **changes),)) for number, base in enumerate((120, 110, 100))]
    return msgspec.structs.replace(plans[0], tracked=tracked), plans[1], plans[2]


def process(name: str, weight: int, at_first: int = QUORUM) -> tuple[NodePlan, ...]:
    """100 that wants two processes of this name, and 90."""
    tracked = Tracked(Kind.PROCESS, f"{PROCESS}{name}", weight)
    return NodePlan((inst(0, 100),), (tracked,), at_first=((tracked.name, at_first),)), NodePlan((inst(1, 90),))


def running(name: str, *told: tuple[float, int]) -> tuple[Step, ...]:
    """So many of them from then on."""
    return put(*((at_s, f"{PROCESS}{name}", count) for at_s, count in told))


IPV6 = [inst(number, base, source=f"fe80::{number + 1}", vips=("fe80::100",)) for number, base in enumerate((100, 90))]
SELF = (Peer("10.77.0.1"), Peer("10.77.0.2"))
SPLIT, HEAL = (Step(2, "part"), Step(2, "part", "n1")), Step(5, "heal")
MORE = {
    "interface-fault": Play(pair(Tracked(Kind.INTERFACE, "up0")), blink("up0", 2, 4), 7, ("n0",)),
    "interface-weight": Play(pair(Tracked(Kind.INTERFACE, "up0", -20)), blink("up0", 2, 4.5), 7.5, ("n0",)),
    "interface-adds": Play(pair(Tracked(Kind.INTERFACE, "up0", 40)), blink("up0", 2), 5, ("n0",)),
    "two-interfaces": Play(
        pair(Tracked(Kind.INTERFACE, "up0"), Tracked(Kind.INTERFACE, "up1")),
        (*blink("up0", 2, 4), *blink("up1", 2.5, 5.5)),
        8,
        ("n0",),
    ),
    "file-reverse": Play(
        (
            NodePlan((inst(0, 100),), (file("flag", reverse=True),), at_first=(("flag", 1),)),
            NodePlan((inst(1, 90),)),
        ),
        put((2, "flag", 0), (4, "flag", 7)),
        7,
        ("n0",),
    ),
    "file-times-weight": Play(pair(file("flag", -3)), put((2, "flag", 2), (3, "flag", 7)), 6, ("n1",)),
    "file-weight-reverse": Play(pair(file("flag", 5, reverse=True)), put((2, "flag", 4)), 5, ("n1",)),
    "file-below-is-fault": Play(pair(file("flag", -3)), put((2, "flag", 100), (4, "flag", 1)), 7, ("n0",)),
    "file-fault-by-weight-ends-at-0": Play(
        pair(file("flag", -3)), put((2, "flag", 100), (3, "flag", 90), (4, "flag", 0)), 6, ("n0",)
    ),
    "file-weight-then-fault": Play(
        pair(file("flag", -3)), put((2, "flag", 2), (3, "flag", 100), (4.5, "flag", 1), (5, "flag", 0)), 7.5, ("n0",)
    ),
    "process-fails-at-first": Play(process("x", -20, 0), running("x", (3, 2)), 6, ("n0",)),
    "process-fault-at-first": Play(process("y", 0, 1), running("y", (3, 2)), 6, ("n0",)),
    "files-fault-and-weight": Play(
        pair(file("flag"), file("more", -20)), put((2, "more", 1), (4.5, "flag", 1), (6, "flag", 0)), 9, ("n1",)
    ),
    "saturated": Play(
        pair(file("a", -60), file("b", -60)), put((2, "a", 1), (2.5, "b", 1), (4.5, "a", 0), (5, "b", 0)), 8, ("n0",)
    ),
    "file-weight-at-first": Play(
        (
            NodePlan((inst(0, 100),), (file("a", -20), file("b", 5)), at_first=(("a", 1), ("b", 2))),
            NodePlan((inst(1, 95),)),
        ),
        put((3, "a", 0)),
        6,
        ("n0",),
    ),
    "owner-and-interface": Play(
        (NodePlan((OWNER,), (Tracked(Kind.INTERFACE, "up0", -200),)), NodePlan((inst(1, 100),))),
        blink("up0", 2, 4),
        7,
        ("n0",),
    ),
    "owner-ignores-weights": Play(
        (NodePlan((OWNER,), (file("flag", -200),)), NodePlan((inst(1, 100),))), put((2, "flag", 1)), 4, ("n0",)
    ),
    "process-fault": Play(process("f", 0), running("f", (2, 1), (4, 2)), 7, ("n0",)),
    "process-weight": Play(process("w", -20), running("w", (2, 0), (4.5, 3)), 7.5, ("n0",)),
    "process-adds": Play(process("a", 20), running("a", (3, 1)), 5, ("n0",)),
    "nopreempt-with-weight": Play(
        (NodePlan((inst(0, 100, nopreempt=True),), (WEIGHT,)), NodePlan((inst(1, 90, nopreempt=True),))),
        put((2, "weight", 1)),
        5,
        ("n0",),
    ),
    "nopreempt-of-the-better": Play(
        (NodePlan((inst(0, 100, nopreempt=True),), (FLAG,), at_first=(("flag", 1),)), NodePlan((inst(1, 90),))),
        put((3, "flag", 0)),
        5,
        ("n1",),
    ),
    "three-die-in-turn": Play(three(), (Step(2, "kill"), Step(4.5, "kill", "n1")), 7, ("n2",)),
    "three-nodes-v2-host-dies": Play(three(**V2), (Step(5, "kill"),), 10, ("n1",)),
    "three-nodes-weight": Play(three(file("weight", -15)), put((2, "weight", 1), (4.5, "weight", 2)), 7, ("n1",)),
    "three-nodes-return": Play(three(), (Step(2, "stop"), Step(3.5, "stop", "n1"), Step(5, "start")), 8, ("n0",)),
    "three-nodes-nopreempt": Play(three(FLAG, nopreempt=True), (FAILS, PASSES, Step(5, "kill", "n1")), 8, ("n0",)),
    "three-nodes-link-loss": Play(three(), blink("eth0", 2, 4), 7, ("n0",)),
    "equal-priorities": Play((NodePlan((inst(0, 100),)), NodePlan((inst(1, 100),))), (*SPLIT, HEAL), 8, ("n1",)),
    "deaf-backup": Play(pair(), (Step(2, "deafen", "n1"), Step(5, "hearing", "n1")), 7, ("n0",)),
    "deaf-master": Play(pair(), (Step(2, "deafen"), Step(5, "hearing")), 7, ("n0",)),
    "lower-prio-no-advert": Play(two({"lower_prio_no_advert": True}, {}), (*SPLIT, HEAL), 7, ("n0",)),
    "higher-prio-send-advert": Play(two({}, {"higher_prio_send_advert": True}), (*SPLIT, HEAL), 7, ("n0",)),
    "down-timer-adverts": Play(two({}, {"down_timer_adverts": 1}), (Step(3, "kill"),), 5, ("n1",)),
    "password": Play(
        two({**V2, "auth": Auth(AuthType.PASS, b"one")}, {**V2, "auth": Auth(AuthType.PASS, b"one")}),
        (Step(5, "kill"),),
        10,
        ("n1",),
    ),
    "other-password": Play(
        two({**V2, "auth": Auth(AuthType.PASS, b"one")}, {**V2, "auth": Auth(AuthType.PASS, b"two")}),
        (),
        6,
        ("n0", "n1"),
        refuse=True,
    ),
    "password-of-one": Play(two(V2, {**V2, "auth": Auth(AuthType.PASS, b"one")}), (), 6, ("n0", "n1"), refuse=True),
    "other-version": Play(two(V2, {"adv_us": US_PER_S}), (), 6, ("n0", "n1"), refuse=True),
    "other-interval-v2": Play(two(V2, {**V2, "adv_us": 2 * US_PER_S}), (), 11, ("n0", "n1"), refuse=True),
    "own-address-as-peer": Play(two({"peers": SELF}, {"peers": SELF}), (Step(2, "kill"),), 5, ("n1",)),
    "not-a-peer": Play(two({"peers": (Peer("10.77.0.9"),)}, {"peers": SELF[:1]}), (), 3, ("n0", "n1"), refuse=True),
    "ipv6": Play(tuple(NodePlan((one,)) for one in IPV6), (Step(5, "kill"),), 8, ("n1",)),
    "sync-group-file": Play(synced(of_group=(file("flag"),)), (FAILS, PASSES), 7, ("n0",)),
    "sync-group-weight": Play(synced(of_group=(file("weight", -20),)), put((2, "weight", 1)), 6, ("n1",)),
    "sync-member-weight-is-dropped": Play(synced((WEIGHT,)), put((2, "weight", 1)), 5, ("n0",)),
    "sync-member-weight-is-kept": Play(synced((WEIGHT,), keeps=True), put((2, "weight", 1)), 6, ("n0",)),
    "sync-member-interface": Play(synced((Tracked(Kind.INTERFACE, "up0", -20),)), blink("up0", 2, 4), 7, ("n0",)),
    "script-adds": Play(scripted(20, SLOW), (Step(2.5, "write", words=("chk", 1)),), 7, ("n0",)),
    "script-weight-fails-at-first": Play(scripted(-20, SLOW, 1), (Step(1.5, "write", words=("chk", 0)),), 7, ("n0",)),
}
MOMENT = [
    "fault-and-return-v2",
    "weight-v2-and-back",
    "three-nodes-v2-stop",
    "partition",
    "dont-track-primary",
    "postponed-take-over",
    "saturated",
    "three-nodes-v2-host-dies",
    "equal-priorities",
    "file-weight-at-first",
    "lower-prio-no-advert",
    "down-timer-adverts",
    "password",
    "other-password",
    "password-of-one",
    "other-version",
]
"""Which of two nodes speaks first decides what is logged there, never who wins; the model says which ones these are."""
ALL = {
    "fault-and-return": Play(pair(FLAG), (FAILS, PASSES), 6, ("n0",)),
    "fault-and-return-v2": Play(
        pair(FLAG, **V2), (Step(5, "write", words=("flag", 1)), Step(8, "write", words=("flag", 0))), 13, ("n0",)
    ),
    "weight": Play(pair(WEIGHT), (Step(2, "write", words=("weight", 1)),), 5, ("n1",)),
    "weight-v2-and-back": Play(
        pair(WEIGHT, **V2), (Step(5, "write", words=("weight", 1)), Step(10, "write", words=("weight", 0))), 15, ("n0",)
    ),
    "weights-beyond-254": Play(
        (
            NodePlan((inst(0, 100),), (Tracked(Kind.FILE, "a", 100), Tracked(Kind.FILE, "b", 100))),
            NodePlan((inst(1, 90),)),
        ),
        (
            Step(2, "write", words=("a", 1)),
            Step(2.5, "write", words=("b", 1)),
            Step(3, "write", words=("b", 0)),
            Step(3.5, "write", words=("a", -2)),
        ),
        5,
        ("n1",),
    ),
    "nopreempt": Play(pair(FLAG, nopreempt=True), (FAILS, PASSES), 6, ("n1",)),
    "preempt-delay": Play(pair(FLAG, preempt_delay_us=2 * US_PER_S), (FAILS, PASSES), 9, ("n0",)),
    "stop-and-start": Play(pair(), (Step(2, "stop"), Step(4, "start")), 6, ("n0",)),
    "host-dies": Play(pair(), (Step(2, "kill"),), 5, ("n1",)),
    "link-loss": Play(pair(), (Step(2, "link", words=("down",)), Step(4, "link", words=("up",))), 7, ("n0",)),
    "unicast": Play(unicast(), (FAILS, PASSES), 6, ("n0",)),
    "three-nodes": Play(
        (NodePlan((inst(0, 120),), (FLAG,)), NodePlan((inst(1, 110),), (WEIGHT,)), NodePlan((inst(2, 100),))),
        (FAILS, Step(4, "write", "n1", ("weight", 1))),
        7,
        ("n2",),
    ),
    "three-nodes-v2-stop": Play(
        (NodePlan((inst(0, 120, **V2),)), NodePlan((inst(1, 110, **V2),)), NodePlan((inst(2, 100, **V2),))),
        (Step(5, "stop"),),
        9,
        ("n1",),
    ),
    "other-addresses": Play(
        (NodePlan((inst(0, 100),)), NodePlan((inst(1, 90, vips=("10.77.0.101",)),))), (), 3, ("n0", "n1")
    ),
    "learned-interval": Play(
        (NodePlan((inst(0, 100, adv_us=500_000),)), NodePlan((inst(1, 90, adv_us=US_PER_S),))),
        (Step(5, "kill"),),
        9,
        ("n1",),
    ),
    "script-fault": Play(
        scripted(0, SLOW), (Step(2.5, "write", words=("chk", 1)), Step(6.5, "write", words=("chk", 0))), 10, ("n0",)
    ),
    "script-weight": Play(scripted(-20, SLOW), (Step(2.5, "write", words=("chk", 1)),), 7, ("n1",)),
    "script-fails-at-first": Play(scripted(0, SLOW, 1), (Step(1.5, "write", words=("chk", 0)),), 5, ("n0",)),
    "file-fails-at-first": Play(
        (NodePlan((inst(0, 100),), (FLAG,), at_first=(("flag", 1),)), NodePlan((inst(1, 90),))),
        (Step(2, "write", words=("flag", 0)),),
        4,
        ("n0",),
    ),
    "partition": Play(pair(), (Step(2, "part"), Step(2, "part", "n1"), Step(5, "heal")), 7, ("n0",)),
    "dont-track-primary": Play(
        pair(dont_track_primary=True), (Step(2, "link", words=("down",)), Step(5, "link", words=("up",))), 7, ("n0",)
    ),
    "owner-returns": Play(
        (NodePlan((OWNER,), (FLAG,)), NodePlan((inst(1, 100),))),
        (FAILS, PASSES),
        6,
        ("n0",),
    ),
    "two-owners": Play((NodePlan((OWNER,)), NodePlan((inst(1, 255),))), (), 3, ("n1",)),
    "postponed-take-over": Play(
        (NodePlan((inst(0, 100, **V2),), (WEIGHT,)), NodePlan((inst(1, 90, **V2),), (Tracked(Kind.FILE, "more", 5),))),
        (Step(6, "write", words=("weight", 1)), Step(8.5, "write", "n1", ("more", 1))),
        14,
        ("n1",),
    ),
    "startup-delay": Play(
        (NodePlan((inst(0, 100, **V2),), delay_s=5.5), NodePlan((inst(1, 90, **V2),))), (), 15, ("n0",)
    ),
    "sync-group": Play(SYNCED, (FAILS, PASSES), 7, ("n0",)),
    "sync-group-link-loss": Play(SYNCED, (Step(2, "link", words=("down", "eth1")),), 5, ("n1",)),
    **MORE,
}
PLAYS = {name: msgspec.structs.replace(play, moment=name in MOMENT) for name, play in ALL.items()}
