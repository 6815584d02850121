"""Small estates in virtual time; and the same run slowly, check by check through full probes."""

from __future__ import annotations

import heapq
from random import Random

import msgspec

from risefall.cli.loading import load_text
from risefall.config.haproxy.plan import Loaded
from risefall.engine._native import lib
from risefall.engine.native import Probe
from risefall.engine.simulated import End, Turn
from risefall.engine.targets import TargetBuilder
from risefall.sim.driving import MS, drive
from risefall.sim.runs import Check, Estate, build_estate, build_simulation, reboot, run_through
from risefall.sim.scenario import Latency, Network, Scenario, Shape
from risefall.sim.weather import Weather, make_weather

INSTANT = Latency(shape=Shape.CONSTANT, median=0.001)
QUIET = Scenario(balancers=1, network=Network(trip=INSTANT, loss=0.0), reply=INSTANT)
"""Nothing happens, and nothing takes time."""

MINUTE_MS = 60_000
CONFIG = """
global
  spread-checks 20
defaults
  timeout connect 700ms
  timeout check 800ms
backend app
  option httpchk
  server a 10.0.0.1:80 check inter 1s fastinter 300ms downinter 2s
  server b 10.0.0.1:80 check inter 2s fall 2 rise 1
  server c 10.0.0.1:80 check inter 700ms
"""


def estate(words: str = "inter 1s", servers: int = 1, more: str = "option httpchk", defaults: str = "") -> Estate:
    """Servers that are checked with these words."""
    lines = "\n".join(f"  server s{number} 10.0.0.1:80 check {words}" for number in range(servers))
    return build_estate(load_text("t.cfg", f"defaults\n{defaults}\nbackend app\n  {more}\n{lines}\n", {}, "2.6"))


def turns_of(
    made: Estate, scenario: Scenario, span_ms: int, seed: int = 1, weather: Weather | None = None
) -> tuple[list[Turn], list[tuple[Check, int]], int]:
    """What changed, whose each check is, and how many were made."""
    weather = weather or make_weather(scenario, len(made.servers), span_ms, seed)
    sim, owners = build_simulation(made, scenario, weather, seed)
    with sim:
        return run_through(sim, owners, weather, span_ms), owners, sim.checks


class Walker(msgspec.Struct):
    """One check of one balancer on its slow way."""

    probe: Probe
    check: Check
    start: int
    health: int
    made: int = 0
    since: tuple[int, bool] | None = None
    """When its streak began, and whether it rises."""


def slowly(loaded: Loaded, scenario: Scenario, weather: Weather, span_ms: int, seed: int) -> tuple[list[Turn], int]:
    """What changes, and how many checks are made, where each goes through a real probe and the long way of the network.

    Its own: the heap of timers, the streak, the moment of a check. Not its own: luck, the way, and the counter.
    """
    made = build_estate(loaded)
    targets = TargetBuilder(loaded.config, loaded.dialect, {}, node="n").build(loaded.planned, now_ns=0, seed=1)
    by_plan = {id(target.planned): target for target in targets}
    sim, owners = build_simulation(made, scenario, weather, seed)
    turns: list[Turn] = []
    reboots = [*weather.reboots, (span_ms, -1)]
    with sim:
        walkers, heap = [], []
        for index, (check, prober) in enumerate(owners):
            target = by_plan[id(made.servers[check.server])]
            pair = target.agent if check.judged.klass.agent else target.health
            assert pair is not None
            program, spec = pair
            probe = Probe(program, msgspec.structs.replace(spec, transport=None))
            start = 0 if scenario.together else int(Random(f"{seed} start {prober}").random() * (1000 + spec.inter_ms))
            walkers.append(Walker(probe, check, check.first_ms, check.health))
            heap.append((check.first_ms + start, index))
        heapq.heapify(heap)
        while True:
            while heap[0][0] >= reboots[0][0]:
                at_ms, prober = reboots.pop(0)
                if prober < 0:
                    return turns, sum(one.made for one in walkers)
                turns += reboot(sim, owners, prober, at_ms)
                for index, (check, of) in enumerate(owners):
                    if of == prober:
                        walkers[index].health, walkers[index].since = check.health, None
                heap = [
                    (at_ms + owners[index][0].first_ms if owners[index][1] == prober else due, index)
                    for due, index in heap
                ]
                heapq.heapify(heap)
            due_ms, index = heapq.heappop(heap)
            one = walkers[index]
            klass = one.check.judged.klass
            wire = sim.wired(index, one.made, due_ms * MS)
            judged = one.check.judged
            pieces = judged.good if wire.reply is End.GOOD else judged.wrong
            done_ns, result = drive(one.probe, due_ms * MS, wire, pieces)
            before, rise = one.health, klass.rise
            one.health = lib.rf_counter_after(before, rise, klass.fall, result.verdict, result.status, klass.agent)
            if one.health != before:
                rising = one.health > before
                if one.since is None or before in (0, rise + klass.fall - 1) or rising != one.since[1]:
                    one.since = (due_ms * MS, rising)
                if (before >= rise) != (one.health >= rise):
                    turns.append(Turn(done_ns, one.since[0], index, result.status, one.health >= rise))
            pace = lib.rf_counter_pace(
                one.health, rise, klass.fall, klass.inter_ms, klass.fastinter_ms, klass.downinter_ms
            )
            heapq.heappush(heap, (-(-done_ns // MS) + sim.pause(index, one.made, pace), index))
            one.made += 1


def told(turns: list[Turn]) -> list[tuple[int, int, bool, int, int]]:
    """Turns in an order that both ways have."""
    return sorted((one.done_ns, one.check, one.good, one.since_ns, one.status) for one in turns)
