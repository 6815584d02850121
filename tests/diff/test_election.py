"""Elections of real keepalived 2.2.7 beside those of the model: the same lines on the notify FIFO of each node, in the
same order, and each no further from its foretold time than one advert interval (and what a busy machine adds); and the same
lines in the log, as far as they are the election's.

Each scenario (`elections.py`) takes five to fifteen seconds of real time; many run at a time. The model is told when each
keepalived was up and when each cause was set, and nothing else. Where the outcome hangs on the moment, as which of two
masters is heard first, the model runs for many phases of the nodes' adverts, and what keepalived does must be one of what it
foretells; which scenarios those are is itself tested, without keepalived.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from elections import PLAYS, PROCESS, QUORUM, Play, Step
from risefall.vrrp.actions import Log
from risefall.vrrp.network import Network
from risefall.vrrp.notify import FifoLine, Notifier, NotifyGlobals, NotifySettings
from risefall.vrrp.priority import kept_trackers
from risefall.vrrp.scripts import Outcome as Ended
from risefall.vrrp.scripts import Script, ScriptSettings, Start, Turned
from risefall.vrrp.settings import US_PER_S
from risefall.vrrp.trackers import DOWN, UP, Reading, Tracked, has_quorum
from stalls import ATTEMPTS, Stalls, tell
from vrrp_lab import Heard, Lab, NodePlan, missing

BUSY_US = 300_000
"""What a loaded machine may add to an advert interval."""
AT_ONCE = 12
"""Scenarios under way."""
PHASES = 6
"""Of each node's adverts, where the outcome hangs on them."""


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
            kind, reading = "file", Reading(up=True, value=int(value))
            if str(file).startswith(PROCESS):
                kind, reading = "process", UP if has_quorum(int(value), QUORUM) else DOWN
            return lambda: network.read(step.node, f"{kind} {file}", reading)
        case "deafen", _:
            return lambda: network.blocked.update((other, step.node) for other in network.nodes if other != step.node)
        case "hearing", _:
            return network.heal
        case "link", (state, *named):
            method = network.link_up if state == "up" else network.link_down
            return lambda: method(step.node, str(named[0]) if named else "eth0")
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


class Told(msgspec.Struct):
    """What the model foretells: lines of the FIFO, of the log by node, and who is MASTER in the end."""

    heard: list[Heard]
    log: dict[str, dict[str, list[str]]]
    masters: tuple[str, ...]


def model_of(play: Play, ups: dict[str, int], done: list[int], until_us: int) -> Told:
    """One run of the model."""
    network = Network()
    for number, plan in enumerate(play.plans):
        names = [one.name for one in plan.instances]
        owner = any(one.owner for one in plan.instances)

        def kept(own: tuple[Tracked, ...], plan: NodePlan = plan, owner: bool = owner) -> tuple[Tracked, ...]:
            """What keepalived's rules for owners and groups leave of the trackers."""
            grouped, keeps = plan.group, plan.tracking_weight
            return kept_trackers(
                own,
                plan.of_group,
                owner=owner,
                owner_in_group=owner,
                in_group=grouped,
                sync_group_tracking_weight=keeps,
            ).trackers

        network.add_node(
            f"n{number}",
            plan.instances,
            links={name: f"eth{link}" for link, name in enumerate(names)},
            tracked={name: kept(plan.tracked if name == names[0] else ()) for name in names},
            groups={"G": names} if plan.group else {},
        )
    for name, at_us in ups.items():
        plan = play.plans[int(name[1:])]
        for file, value in plan.at_first:
            if not plan.scripts:
                foretell(network, Step(0, "write", name, (file, value)))()
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
    said: dict[str, list[str]] = {name: [] for name in ups}
    for one in network.happened:
        if isinstance(one.action, Log):
            said[one.node].append(one.action.text)
    return Told(lines, {name: condensed(words) for name, words in said.items()}, tuple(network.masters()))


def foretold(play: Play, ups: dict[str, int], done: list[int], until_us: int) -> Iterator[Told]:
    """What the model says of these times, and, where it hangs on the moment, of the other phases of each node's adverts."""
    yield model_of(play, ups, done, until_us)
    if play.moment:
        yield from over_phases(play, ups, done, until_us)


def over_phases(play: Play, ups: dict[str, int], done: list[int], until_us: int) -> Iterator[Told]:
    """Each node earlier or later by up to half an interval, in all combinations."""
    step_us = advert_us(play) // PHASES
    shifts = [step_us * nth - advert_us(play) // 2 for nth in range(PHASES)]
    for several in itertools.product(shifts, repeat=len(ups)):
        moved = {name: at_us + shift for (name, at_us), shift in zip(ups.items(), several, strict=True)}
        yield model_of(play, moved, done, until_us)


NOT_OURS = re.compile(
    r"setting VIPs|removing VIPs|Sending/queueing|tracked file|interface eth\d down|send advert error|not present in|quorum not achieved|ignoring"
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


def firsts(parts: dict[str, list[str]], only: bool) -> dict[str, list[str]]:
    """Each line once, where only the first ones count."""
    return {name: list(dict.fromkeys(lines)) for name, lines in parts.items()} if only else parts


def told_once(lines: list[Heard], node: str) -> list[Heard]:
    """Of this node; a row of adverts that a MASTER finds worse as the first of them, since how many fit into it is luck."""
    own = [one for one in lines if one.node == node]
    return [
        one for nth, one in enumerate(own) if "RX_LOWER" not in one.line or nth == 0 or own[nth - 1].line != one.line
    ]


class Outcome(msgspec.Struct):
    """What was heard and logged. late_us: how late timers were meanwhile."""

    play: Play
    real: list[Heard]
    log: dict[str, dict[str, list[str]]]
    ups: dict[str, int]
    done: list[int]
    until_us: int
    late_us: int

    def difference(self) -> str:
        """Empty when it is what the model foretells for one of the phases, and the winner the one that is foretold for all."""
        found = ""
        for told in foretold(self.play, self.ups, self.done, self.until_us):
            if told.masters != self.play.foretold:
                return f"the model's winners are {told.masters}"
            differs = differences(self.real, self.log, told, self.play)
            if not differs:
                return ""
            found = found or differs
        return found


def differences(real: list[Heard], log: dict[str, dict[str, list[str]]], told: Told, play: Play) -> str:
    """The first line of a node that differs, or comes at another time; empty when all fit."""
    within_us = advert_us(play) + BUSY_US + play.later_us
    for node in sorted({one.node for one in real + told.heard}):
        ours, model = told_once(real, node), told_once(told.heard, node)
        if [one.line for one in ours] != [one.line for one in model]:
            return f"{node}: heard {ours}, foretold {model}"
        for heard, foreseen in zip(ours, model, strict=True):
            if abs(heard.at_us - foreseen.at_us) > within_us:
                return f"{node}: heard {heard}, foretold {foreseen}"
        if firsts(log[node], play.refuse) != firsts(told.log[node], play.refuse):
            return f"{node}: logged {log[node]}, foretold {told.log[node]}"
    return ""


def play_once(play: Play, folder: Path, stalls: Stalls) -> Outcome:
    """For real."""
    folder.mkdir(parents=True)
    began_ns = time.monotonic_ns()
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
        log = {name: condensed(lab.log(name)) for name in ups}
        return Outcome(play, real, log, ups, done, until_us, stalls.worst_us(began_ns))


def advert_us(play: Play) -> int:
    """The longest interval of the scenario."""
    return max(one.adv_us for plan in play.plans for one in plan.instances)


def played(once: Callable[[int], Outcome]) -> tuple[str, list[tuple[int, str]]]:
    """What does not fit, and of each play that was played again how late timers were and what did not fit then.

    once: plays it, by the number of the attempt.
    """
    again: list[tuple[int, str]] = []
    while True:
        outcome = once(len(again))
        differs = outcome.difference()
        if not differs or not outcome.late_us or len(again) + 1 == ATTEMPTS:
            return differs, again
        again.append((outcome.late_us, differs))


def of_election(name: str, folder: Path, stalls: Stalls) -> tuple[str, list[tuple[int, str]]]:
    return played(lambda attempt: play_once(PLAYS[name], folder / name / str(attempt), stalls))


Played = Future[tuple[str, list[tuple[int, str]]]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """The scenarios of the tests that were selected, under way; the longest first."""
    if why := missing():
        pytest.skip(why)
    here = [item for item in request.session.items if item.path == request.path]
    names = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("vrrp")
    longest = sorted(names & PLAYS.keys(), key=lambda name: -PLAYS[name].until_s)
    with Stalls() as stalls, ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield {name: pool.submit(of_election, name, folder, stalls) for name in longest}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", PLAYS)
def test_keepalived_does_what_the_model_foretold(name: str, outcomes: dict[str, Played]) -> None:
    """Lines, order, winner, and the time of each within one advert."""
    differs, again = outcomes[name].result()
    for late_us, what in again:
        tell(name, late_us, what)
    assert differs == ""


def lines_of(told: Told, play: Play) -> str:
    """What is compared of an outcome besides times."""
    nodes = sorted(told.log)
    heard = {node: [one.line for one in told_once(told.heard, node)] for node in nodes}
    return repr((heard, {node: firsts(told.log[node], play.refuse) for node in nodes}))


@pytest.mark.parametrize("name", PLAYS)
def test_which_outcomes_hang_on_the_moment_is_known(name: str) -> None:
    """Without keepalived: where all phases come to one outcome, only that one passes; nowhere does the winner hang on it."""
    play = PLAYS[name]
    ups = {f"n{number}": US_PER_S + 437_000 * number for number in range(len(play.plans))}
    zero_us = max(ups.values())
    done = [zero_us + round(step.at_s * US_PER_S) for step in play.steps]
    told = [*over_phases(play, ups, done, zero_us + round(play.until_s * US_PER_S))]
    assert {one.masters for one in told} == {play.foretold}
    assert (len({lines_of(one, play) for one in told}) > 1) == play.moment
