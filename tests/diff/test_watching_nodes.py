"""`risefall vrrp --watch` beside real keepalived 2.2.7: who is MASTER, when, and why there are two.

Each scenario is a lab of two nodes and a third namespace that only listens (or listens on a node itself); they run at the same
time. What is told must be what keepalived's own FIFO says, no further from it than an advert and what a busy machine adds.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from elections import FLAG, IPV6, V2, WEIGHT, inst
from risefall.vrrp.packets import GROUP_V4, PROTOCOL_AH, PROTOCOL_VRRP, Advert, ones_complement, render_advert
from risefall.vrrp.settings import US_PER_S, Auth, AuthType, Peer
from vrrp_lab import Heard, Lab, NodePlan, missing
from watching import Watcher, forge

BUSY_S = 1.0
N0, N1, N2 = "10.77.0.1", "10.77.0.2", "10.77.0.3"
EAR = NodePlan((inst(2, 50),))
PASS, OTHER, AH = Auth(AuthType.PASS, b"one"), Auth(AuthType.PASS, b"two"), Auth(AuthType.AH, b"one")
SPOILT_SOURCE = "10.77.0.77"


class Seen(msgspec.Struct):
    """What one scenario has shown. states: when keepalived's FIFO told MASTER, since the epoch."""

    texts: list[str]
    kinds: list[str]
    events: list[dict[str, Any]]
    routers: list[dict[str, Any]]
    code: int
    states: list[tuple[float, str]]
    logs: dict[str, list[str]]


Play = Callable[[Lab, Watcher], None]


def pair(**changes: object) -> list[NodePlan]:
    return [NodePlan((inst(0, 100, **changes),)), NodePlan((inst(1, 90, **changes),)), EAR]


def up(lab: Lab, watcher: Watcher) -> None:
    lab.start("n0")
    lab.start("n1")
    watcher.wait(lambda: "master" in watcher.kinds)
    lab.wait(lambda: fifo_masters(lab))  # the advert leaves first


def fifo_masters(lab: Lab) -> list[Heard]:
    """When keepalived has told of a MASTER."""
    return [one for one in lab.heard if " MASTER " in one.line]


def stop_and_start(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.stop("n0")
    watcher.wait_for("master", "resigned", "takeover")
    lab.start("n0")
    watcher.wait_for("takeover", "takeover")


def host_dies(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.kill("n0")
    watcher.wait(lambda: watcher.kinds[-1] == "takeover")


def weight(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.write("n0", "weight", 1)
    watcher.wait_for("priority", "takeover")
    lab.write("n0", "weight", 0)
    watcher.wait_for("takeover", "takeover")


def fault(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.write("n0", "flag", 1)
    watcher.wait_for("resigned", "takeover")


def two_masters(lab: Lab, watcher: Watcher) -> None:
    lab.start("n0")
    lab.start("n1")
    watcher.wait(lambda: "two_masters" in watcher.kinds)


def parted(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.part("n0")
    lab.part("n1")
    watcher.wait(lambda: "two_masters" in watcher.kinds)
    lab.heal("n0")
    watcher.wait(lambda: watcher.kinds[-1] == "one_master")


def gone_and_back(lab: Lab, watcher: Watcher) -> None:
    """The listener's interface is deleted and made anew, with another index."""
    up(lab, watcher)
    lab.unplug("n2")
    watcher.wait(lambda: any("is gone" in one for one in watcher.texts))
    lab.plug("n2")
    watcher.wait(lambda: any("is heard again" in one for one in watcher.texts))
    lab.stop("n0")
    watcher.wait(lambda: watcher.kinds[-1] == "takeover")


def steady(lab: Lab, watcher: Watcher) -> None:
    up(lab, watcher)
    lab.wait_until(lab.now_us() + 600_000)  # three adverts


def ipv4(
    payload: bytes, source: str = SPOILT_SOURCE, *, ttl: int = 255, protocol: int = PROTOCOL_VRRP, place: str = GROUP_V4
) -> tuple[str, bytes]:
    """A whole packet."""
    ends = b"".join(bytes(map(int, one.split("."))) for one in (source, place))
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(payload), 1, 0, ttl, protocol, 0) + ends
    return place, head[:10] + ones_complement(head).to_bytes(2, "big") + head[12:] + payload


def spoilt() -> list[tuple[str, bytes]]:
    """Each wrong in one way, for a node of version 2 with the password `one`."""
    good = Advert(vrid=51, priority=50, vips=("10.77.0.100",), auth=PASS)

    def made(**changes: object) -> bytes:
        return render_advert(msgspec.structs.replace(good, **changes), SPOILT_SOURCE, GROUP_V4)

    plain = made()
    summed = bytearray(plain)
    summed[6] ^= 0xFF
    kind = bytearray(plain)
    kind[0] = 0x22
    kind[6:8] = b"\0\0"
    kind[6:8] = ones_complement(bytes(kind)).to_bytes(2, "big")
    odd = bytearray(made(auth=Auth()))
    odd[4] = 7
    odd[6:8] = b"\0\0"
    odd[6:8] = ones_complement(bytes(odd)).to_bytes(2, "big")
    return [
        ipv4(plain, ttl=64),
        ipv4(made(version=3)),
        ipv4(made(auth=Auth())),
        ipv4(made(auth=OTHER)),
        ipv4(made(adv_us=3 * US_PER_S)),
        ipv4(made(vips=("10.77.0.100", "10.77.0.101"))),
        ipv4(made(vips=("10.77.0.101",))),
        ipv4(bytes(summed)),
        ipv4(bytes(kind)),
        ipv4(bytes(odd)),
        ipv4(plain[:-1]),
        ipv4(plain + b"\0\0\0\0"),
        ipv4(plain[:5]),
        ipv4(plain, place=N0),
        ipv4(b"\x70\x04\0\0" + bytes([10, 77, 0, 77]) + b"\0\0\0\1" + bytes(12) + plain, protocol=PROTOCOL_AH),
    ]


def forged(lab: Lab, watcher: Watcher) -> None:
    """Only n0 runs; the listener is on it, so that a packet for it alone is heard too."""
    lab.start("n0")
    watcher.wait(lambda: "master" in watcher.kinds)
    packets = spoilt()
    forge(lab, "n1", packets)
    watcher.wait(lambda: len(refusals(watcher.events)) >= len(packets))


def refusals(events: list[dict[str, Any]]) -> list[str]:
    """keepalived's words in what was told of the forger."""
    told = [one for one in events if one["kind"] in ("refused", "malformed") and one["source"] == SPOILT_SOURCE]
    return [one["text"].partition(": ")[2].partition(" [")[0] for one in told]


UNICAST = [
    NodePlan((inst(0, 100, peers=(Peer(N1), Peer(N2))),)),
    NodePlan((inst(1, 90, peers=(Peer(N0), Peer(N2))),)),
    EAR,
]
PLAYS: dict[str, tuple[list[NodePlan], Play, str, str]] = {
    "stop-and-start": (pair(), stop_and_start, "n2", ""),
    "v2-host-dies": (pair(**V2, auth=PASS), host_dies, "n2", "n1"),
    "ipv6": (
        [*(NodePlan((one,)) for one in IPV6), NodePlan((msgspec.structs.replace(IPV6[1], source="fe80::3"),))],
        host_dies,
        "n2",
        "n1",
    ),
    "unicast": (UNICAST, stop_and_start, "n2", ""),
    "weight": ([NodePlan((inst(0, 100),), (WEIGHT,)), *pair()[1:]], weight, "n2", "n1"),
    "fault": ([NodePlan((inst(0, 100),), (FLAG,)), *pair()[1:]], fault, "n2", ""),
    "passwords": (
        [NodePlan((inst(0, 100, **V2, auth=PASS),)), NodePlan((inst(1, 90, **V2, auth=OTHER),)), EAR],
        two_masters,
        "n2",
        "n0",
    ),
    "versions": ([NodePlan((inst(0, 100, **V2),)), NodePlan((inst(1, 90),)), EAR], two_masters, "n2", ""),
    "parted": (pair(), parted, "n2", ""),
    "ah": (pair(**V2, auth=AH), host_dies, "n2", "n1"),
    "on-the-master": (pair(), steady, "n0", "n0"),
    "on-the-backup": (pair(), stop_and_start, "n1", "n1"),
    "gone-and-back": (pair(), gone_and_back, "n2", ""),
    "forged": ([NodePlan((inst(0, 100, **V2, auth=PASS),)), *pair(**V2)[1:]], forged, "n0", "n0"),
}
"""Nodes, what is done, where it listens, and whose configuration it compares with."""


def play(folder: Path, name: str) -> Seen:
    """One scenario."""
    plans, act, where, conf = PLAYS[name]
    folder.mkdir()
    with Lab(folder, plans) as lab:
        arguments = ["-f", str(lab.configured(conf))] if conf else []
        with Watcher(lab, where, *arguments) as watcher:
            act(lab, watcher)
            told = sum(kind in ("master", "takeover") for kind in watcher.kinds)
            lab.wait(lambda: len(fifo_masters(lab)) >= told)
            code = watcher.end()
            since = time.time() - lab.now_us() / US_PER_S
            states = [(since + one.at_us / US_PER_S, one.node) for one in fifo_masters(lab)]
            logs = {node: lab.log(node) for node in lab.processes}
            return Seen(watcher.texts, watcher.kinds, watcher.events, watcher.routers, code, states, logs)


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Seen]]]:
    """All of them, under way."""
    why = missing()
    if why:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("watching")
    with ThreadPoolExecutor(max_workers=len(PLAYS)) as pool:
        yield {name: pool.submit(play, folder / name, name) for name in PLAYS}


def masters(seen: Seen) -> list[str]:
    return [source for router in seen.routers for source in router["masters"]]


@pytest.mark.parametrize(
    ("name", "kinds", "last", "code"),
    [
        ("stop-and-start", ["master", "resigned", "takeover", "takeover"], [N0], 0),
        ("unicast", ["master", "resigned", "takeover", "takeover"], [N0], 0),
        ("v2-host-dies", ["master", "takeover"], [N1], 0),
        ("ah", ["master", "takeover"], [N1], 0),
        ("ipv6", ["master", "takeover"], ["fe80::2"], 0),
        ("weight", ["master", "priority", "takeover", "takeover"], [N0], 0),
        ("fault", ["master", "resigned", "takeover"], [N1], 0),
        ("on-the-master", ["master"], [N0], 0),
        ("on-the-backup", ["master", "resigned", "takeover", "takeover"], [N0], 0),
        ("gone-and-back", ["master", "resigned", "takeover"], [N1], 0),
        ("parted", ["master", "two_masters", "one_master"], [N0], 0),
    ],
)
def test_what_is_told_is_what_happened(
    plays: dict[str, Future[Seen]], name: str, kinds: list[str], last: list[str], code: int
) -> None:
    """The events, in order; who is MASTER in the end; and each takeover when keepalived told its FIFO of it."""
    seen = plays[name].result()
    # Nobody holds it until the nodes are up; whether a dead one is taken for lost before the next one speaks is a matter of
    # milliseconds, as is a rival's last word.
    assert [one for one in seen.kinds if one not in ("rival", "nobody", "lost")] == kinds, seen.texts
    assert masters(seen) == last
    assert seen.code == code
    told = [one["at"] for one in seen.events if one["kind"] in ("master", "takeover")]
    if name not in ("parted", "ipv6"):
        entered = [at for at, _ in seen.states]
        assert len(told) == len(entered)
        assert all(abs(one - other) < BUSY_S for one, other in zip(told, entered, strict=True)), (told, entered)


@pytest.mark.parametrize(
    ("name", "why"), [("passwords", "received an invalid passwd!"), ("versions", "wrong version. Received")]
)
def test_two_that_refuse_one_another(plays: dict[str, Future[Seen]], name: str, why: str) -> None:
    """Both are shown, and the reason is the one that keepalived logs."""
    seen = plays[name].result()
    (told,) = [one for one in seen.events if one["kind"] == "two_masters"]
    assert why in told["text"]
    assert any(why in line for lines in seen.logs.values() for line in lines)
    assert sorted(masters(seen)) == [N0, N1]
    assert seen.code == 1


def test_the_same_master_from_its_own_node(plays: dict[str, Future[Seen]]) -> None:
    """What this machine sends is heard too; its adverts are as its file says, and on time."""
    (router,) = plays["on-the-master"].result().routers
    (sender,) = router["senders"]
    assert (sender["this_machine"], sender["refused"], sender["wrong"]) == (True, "", [])
    assert (sender["version"], sender["interval_ms"], sender["priority"], sender["ttl"]) == (3, 200, 100, 255)
    assert sender["addresses"] == ["10.77.0.100"]
    assert router["instance"] == "VI_1"


def test_a_password_that_is_not_ours(plays: dict[str, Future[Seen]]) -> None:
    """The listener has n0's configuration: n1's adverts are refused in keepalived's words, n0's are taken."""
    seen = plays["passwords"].result()
    refused = {one["source"]: one["text"] for one in seen.events if one["kind"] == "refused"}
    assert refused == {N1: f"{N1}: (VI_1) received an invalid passwd!"}
    assert "(VI_1) received an invalid passwd!" in seen.logs["n0"]


def test_what_keepalived_logs_of_spoilt_packets(plays: dict[str, Future[Seen]]) -> None:
    """The same lines, in the same order; two packets never come to its sockets."""
    seen = plays["forged"].result()
    others = ("STATE", "timeout", "VIPs", "gratuitous", "sent 0 priority")
    lines = [
        one for one in seen.logs["n0"] if one.startswith(("(VI_1)", "IPv4 VRRP")) and not any(map(one.count, others))
    ]
    *logged, unicast, sealed = refusals(seen.events)
    assert logged == lines
    assert unicast == "(VI_1) does not get it: Expected multicast packet but received unicast packet"
    assert sealed == "(VI_1) does not get it: Received AH header but auth type not AH"
