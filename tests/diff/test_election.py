"""Elections of real keepalived 2.2.7 beside those of the model: the same lines on the notify FIFO of each node, in the
same order, and each no further from its foretold time than one advert interval (and what a busy machine adds); and the same
lines in the log, as far as they are the election's.

Each scenario takes five to fifteen seconds of real time; they run eight at a time. The model is told when each keepalived
was up and when each cause was set, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from risefall.vrrp.actions import Log
from risefall.vrrp.network import Network
from risefall.vrrp.notify import FifoLine, Notifier, NotifyGlobals, NotifySettings
from risefall.vrrp.scripts import Outcome as Ended
from risefall.vrrp.scripts import Script, ScriptSettings, Start, Turned
from risefall.vrrp.settings import US_PER_S, InstanceSettings, Peer
from risefall.vrrp.trackers import DOWN, UP, Kind, Reading, Tracked
from vrrp_lab import Heard, Lab, NodePlan, missing

BUSY_US = 300_000
"""What a loaded machine may add to an advert interval."""
ATTEMPTS = 2
"""A scenario is played again when the times, or an order that hangs on them, do not fit: the machine may have stalled."""
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
PLAYS = {
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
    "sync-group-link-loss": Play(SYNCED, (Step(2, "link", words=("down", 1)),), 5, ("n1",)),
}


def act(lab: Lab, step: Step) -> int:
    """Does a step for real; when it was done."""
    if step.what == "start":
        lab.start(step.node)
        return next(one.at_us for one in reversed(lab.heard) if one.node == step.node)
    return int(getattr(lab, step.what)(step.node, *step.words))


def foretell(network: Network, step: Step) -> Callable[[], None]:
    """The same step in the model."""
    match step.what, step.words:
        case "part", _:
            return lambda: network.part("n0", "n1")
        case "heal", _:
            return network.heal
        case "write", (file, value):
            reading = Reading(up=True, value=int(value))
            return lambda: network.read(step.node, f"file {file}", reading)
        case "link", (state, *number):
            method = network.link_up if state == "up" else network.link_down
            return lambda: method(step.node, f"eth{number[0] if number else 0}")
        case _:
            method = getattr(network, step.what)
            return lambda: method(step.node)


def put_script(
    network: Network, name: str, settings: ScriptSettings, up_us: int, until_us: int, writes: list[tuple[int, int]]
) -> None:
    """Runs the script's own model beside the election: a run at the start and one each interval, over at once."""
    script = Script(settings)
    script.tick_us = up_us
    while script.tick_us <= until_us:
        now_us = script.tick_us
        value = [value for at_us, value in writes if at_us <= now_us][-1]
        run = next(one.run for one in script.time(now_us) if isinstance(one, Start))
        for told in script.reaped(run, Ended(status=1 if value else 0)):
            if isinstance(told, Turned):
                reading = UP if told.up else DOWN
                network.at(now_us, lambda reading=reading: network.read(name, "script chk", reading))  # type: ignore[misc]


def model_of(play: Play, ups: dict[str, int], done: list[int], until_us: int) -> tuple[list[Heard], Network]:
    """The lines that the model foretells, and the network at the end."""
    network = Network()
    for number, plan in enumerate(play.plans):
        names = [one.name for one in plan.instances]
        network.add_node(
            f"n{number}",
            plan.instances,
            links={name: f"eth{link}" for link, name in enumerate(names)},
            tracked={names[0]: plan.tracked},
            groups={"G": names} if plan.group else {},
        )
    for name, at_us in ups.items():
        plan = play.plans[int(name[1:])]
        for file, value in plan.at_first:
            if not plan.scripts:
                network.read(name, f"file {file}", Reading(up=True, value=value))
        delay_us = round(plan.delay_s * US_PER_S)
        network.at(at_us, lambda name=name, delay_us=delay_us: network.start(name, delay_us=delay_us))  # type: ignore[misc]
    writes = []
    for step, at_us in zip(play.steps, done, strict=True):
        if step.words[:1] == ("chk",):
            writes.append((at_us, int(step.words[1])))
        else:
            network.at(at_us, foretell(network, step))
    for name, at_us in ups.items():
        plan = play.plans[int(name[1:])]
        for settings in plan.scripts:
            put_script(network, name, settings, at_us, until_us, [(0, plan.at_first[0][1]), *writes])
    network.run(until_us)
    asked = NotifySettings(priority_changes=True)
    notifier = Notifier({"VI_1": asked, "VI_2": asked}, {"G": asked}, NotifyGlobals(fifo=True))
    lines = [
        Heard(one.at_us, one.node, call.text.rstrip("\n"))
        for one in network.happened
        for call in notifier.calls([one.action])
        if isinstance(call, FifoLine)
    ]
    return lines, network


NOT_OURS = re.compile(
    r"setting VIPs|removing VIPs|Sending/queueing|tracked file|interface eth\d down|send advert error|not present in"
)
"""What the log says of addresses, of ARP, of sockets, and of trackers by name. And of two masters that refuse one another: each
refused advert puts the other's next one off, so that who still speaks is a matter of half a millisecond."""


def condensed(lines: Iterable[str]) -> dict[str, list[str]]:
    """Lines by instance or group, each run of equal ones as one: how many adverts fit into a silence is a matter of luck."""
    parts: dict[str, list[str]] = {}
    for line in lines:
        found = re.match(r"(?:VRRP_Group)?\(\w+\)", line)
        if found and not NOT_OURS.search(line):
            part = parts.setdefault(found[0], [])
            if part[-1:] != [line]:
                part.append(line)
    return parts


class Outcome(msgspec.Struct):
    """What was heard and what was foretold; logs: by node, those of keepalived and those of the model."""

    real: list[Heard]
    model: list[Heard]
    masters: list[str]
    real_log: dict[str, dict[str, list[str]]]
    model_log: dict[str, dict[str, list[str]]]

    def difference(self, within_us: int) -> str:
        """The first line of a node that differs, or comes at another time; empty when all fit."""
        for node in sorted({one.node for one in self.real + self.model}):
            real = [one for one in self.real if one.node == node]
            model = [one for one in self.model if one.node == node]
            if [one.line for one in real] != [one.line for one in model]:
                return f"{node}: heard {real}, foretold {model}"
            for heard, told in zip(real, model, strict=True):
                if abs(heard.at_us - told.at_us) > within_us:
                    return f"{node}: heard {heard}, foretold {told}"
            if self.real_log[node] != self.model_log[node]:
                return f"{node}: logged {self.real_log[node]}, foretold {self.model_log[node]}"
        return ""


def play_once(play: Play, folder: Path) -> Outcome:
    """For real, then in the model."""
    folder.mkdir(parents=True)
    with Lab(folder, list(play.plans)) as lab:
        ups = {}
        for number in range(len(play.plans)):
            lab.start(f"n{number}")
            ups[f"n{number}"] = next(one.at_us for one in reversed(lab.heard) if one.node == f"n{number}")
        zero_us = lab.now_us()
        done = []
        for step in play.steps:
            lab.wait_until(zero_us + round(step.at_s * US_PER_S))
            done.append(act(lab, step))
        lab.wait_until(zero_us + round(play.until_s * US_PER_S))
        until_us = lab.now_us()
        real = list(lab.heard)
        real_log = {name: condensed(lab.log(name)) for name in ups}
    model, network = model_of(play, ups, done, until_us)
    said: dict[str, list[str]] = {name: [] for name in ups}
    for one in network.happened:
        if isinstance(one.action, Log):
            said[one.node].append(one.action.text)
    model_log = {name: condensed(lines) for name, lines in said.items()}
    return Outcome(real, model, network.masters(), real_log, model_log)


def advert_us(play: Play) -> int:
    """The longest interval of the scenario."""
    return max(one.adv_us for plan in play.plans for one in plan.instances)


def played(name: str, folder: Path) -> Outcome:
    """Once, or again when the first attempt did not fit."""
    play = PLAYS[name]
    for attempt in range(ATTEMPTS):
        outcome = play_once(play, folder / name / str(attempt))
        if not outcome.difference(advert_us(play) + BUSY_US):
            break
    return outcome


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """The scenarios of the tests that were selected, under way."""
    if why := missing():
        pytest.skip(why)
    here = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("vrrp")
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield {name: pool.submit(played, name, folder) for name in PLAYS if name in names}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", PLAYS)
def test_keepalived_does_what_the_model_foretold(name: str, outcomes: dict[str, Future[Outcome]]) -> None:
    """Lines, order, winner, and the time of each within one advert."""
    outcome = outcomes[name].result()
    assert outcome.difference(advert_us(PLAYS[name]) + BUSY_US) == ""
    assert tuple(outcome.masters) == PLAYS[name].foretold
