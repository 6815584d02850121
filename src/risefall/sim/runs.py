"""One configuration in one scenario over one span: the estate is built, run in C, and what changed is looked at.

The first checks are spread as HAProxy spreads them; each balancer starts somewhere within a second and an interval, or all at
once (`together`). The estate's weather is made apart, so that many settings meet the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

import msgspec

from risefall.config.haproxy.plan import Loaded, PlannedServer
from risefall.engine.around import Around
from risefall.engine.names import Found
from risefall.engine.native import CheckSpec, Endpoint, Program
from risefall.engine.simulated import Simulation, Turn
from risefall.engine.targets import TargetBuilder
from risefall.errors import ConfigError
from risefall.sim.answers import MONTH_S, NS_PER_S, Opinion, Row, Seen, look, spread
from risefall.sim.latency import prepared
from risefall.sim.scenario import Scenario
from risefall.sim.verdicts import Judged, judge
from risefall.sim.weather import Weather

TURNS_MAX = 5_000_000
MS = 1_000_000
MINUTE_BINS = 600


class TooMany(ConfigError):
    """More changes of state than are kept."""


class Check(msgspec.Struct, frozen=True):
    """One check of a server's: the class it belongs to, when it begins, with what counter. agent: what runs it, of an agent's."""

    server: int
    judged: Judged
    first_ms: int
    health: int
    agent: tuple[Program, CheckSpec] | None = None


class Estate(msgspec.Struct, frozen=True):
    """What of a configuration can be simulated: servers by their number, and their checks. left_out: the others, and why."""

    servers: list[PlannedServer]
    checks: list[Check]
    left_out: list[tuple[PlannedServer, str]]
    notes: dict[int, str]


class Balancer(msgspec.Struct, frozen=True):
    """Checks a second of one prober: the mean, and the most in one second."""

    checks_per_s: float
    checks_peak_per_s: int


class Outcome(msgspec.Struct, frozen=True):
    """Of one run. wall_s is the only figure that is not the same again."""

    rows: list[Row]
    seen: list[Seen]
    """Raw, of each row."""
    opinions: list[Opinion]
    """What each balancer held of each server: server * balancers + balancer."""
    balancers: list[Balancer]
    left_out: list[tuple[str, str]]
    simulated_checks: int
    transitions: int
    wall_s: float
    first_minute: list[int]
    """Checks that began in each 100 ms from the start on."""


def build_estate(loaded: Loaded) -> Estate:
    """Names are not asked for: nothing is connected to. Raises ConfigError when there is nothing to simulate."""
    found: Found = {(one.host, one.prefer): Endpoint(4, b"\x7f\0\0\1") for one in loaded.addresses()}
    builder = TargetBuilder(loaded.config, loaded.dialect, found, node="lb1", around=Around(loaded.config))
    servers: list[PlannedServer] = []
    checks: list[Check] = []
    left_out = []
    notes: dict[int, str] = {}
    known: dict[object, Judged] = {}

    def judged(program: Program, spec: CheckSpec, planned: PlannedServer, agent: bool) -> Judged:
        plain = msgspec.structs.replace(
            spec, tag=0, first_ns=0, site=b"", group=0, to=Endpoint(4, b""), health=0, process=None, transport=None
        )
        key = (program.mark, plain, spec.transport is None)
        if key not in known:
            known[key] = judge(program, spec, None if agent else planned.rules)
        return known[key]

    for target in builder.build(loaded.planned, now_ns=0, seed=1):
        planned = target.planned
        why = target.why_not or target.agent_why_not
        made = [each for each in (target.health, target.agent) if each is not None]
        if planned.disabled or planned.track is not None or not made:
            track = planned.track
            follows = f"follows {track.backend}/{track.server}, down and up with it" if track else "not checked"
            left_out.append((planned, "disabled" if planned.disabled else why or follows))
            continue
        for program, spec in made:
            is_agent = target.agent is not None and program is target.agent[0] and spec is target.agent[1]
            one = judged(program, spec, planned, agent=is_agent)
            agent = (program, spec) if is_agent else None
            checks.append(Check(len(servers), one, spec.first_ns // MS, spec.health, agent))
            if one.note:
                notes[len(servers)] = one.note
        servers.append(planned)
    if not servers:
        raise ConfigError("error: no server of this configuration is checked\n  help: add 'check' to a server line")
    return Estate(servers, checks, left_out, notes)


def build_simulation(
    estate: Estate, scenario: Scenario, weather: Weather, seed: int
) -> tuple[Simulation, list[tuple[Check, int]]]:
    """Ready to run; and whose each of its checks is: the check of the estate, and its balancer. Close it."""
    balancers = scenario.balancers
    classes: dict[int, int] = {}
    distinct = {id(check.judged): check.judged for check in estate.checks}
    sim = Simulation(
        checks=len(estate.checks) * balancers,
        servers=len(estate.servers),
        probers=balancers,
        classes=len(distinct),
        latencies=2,
        seed=seed,
    )
    trip, reply = sim.add_latency(prepared(scenario.network.trip)), sim.add_latency(prepared(scenario.reply))
    for key, one in distinct.items():
        classes[key] = sim.add_class(one.klass, trip, reply)
    for server, stretches in enumerate(weather.servers):
        sim.server(server, stretches)
    for prober, stretches in enumerate(weather.ways):
        sim.way(prober, stretches)
    owners = []
    for prober in range(balancers):
        for check in estate.checks:
            sim.add(
                server=check.server,
                prober=prober,
                klass=classes[id(check.judged)],
                first_ms=first_ms_of(check, scenario, prober, seed),
                health=check.health,
            )
            owners.append((check, prober))
    return sim, owners


def first_ms_of(check: Check, scenario: Scenario, prober: int, seed: int) -> int:
    """When a balancer checks for the first time."""
    offset = 0.0 if scenario.together else Random(f"{seed} start {prober}").random()
    return check.first_ms + int(offset * (1000 + check.judged.klass.inter_ms))


def opinions_of(
    estate: Estate, owners: Sequence[tuple[Check, int]], turns: Sequence[Turn], balancers: int
) -> list[Opinion]:
    """What each balancer held of each server (server * balancers + balancer): UP where all of its checks are good."""
    opinions = [Opinion([]) for _ in range(len(estate.servers) * balancers)]
    bad = [set[int]() for _ in opinions]
    for turn in sorted(turns, key=lambda one: (one.done_ns, one.check)):
        check, prober = owners[turn.check]
        place = check.server * balancers + prober
        before = not bad[place]
        (bad[place].discard if turn.good else bad[place].add)(turn.check)
        if before != (not bad[place]):
            opinions[place].turns.append((turn.done_ns, not before, turn.since_ns))
    return opinions


def simulate(
    estate: Estate, scenario: Scenario, weather: Weather, *, span_ms: int, seed: int, turns_max: int = TURNS_MAX
) -> Outcome:
    """Raises TooMany where there are more changes than can be kept."""
    started = time.perf_counter()
    sim, owners = build_simulation(estate, scenario, weather, seed)
    with sim:
        sim.watch(0, 100, MINUTE_BINS)
        turns = run_through(sim, owners, weather, span_ms, turns_max)
        span_s = span_ms / 1000
        tallies = [sim.tally(index) for index in range(len(owners))]
        checks = sim.checks
        minute = sim.bins(MINUTE_BINS)
    opinions = opinions_of(estate, owners, turns, scenario.balancers)
    rows, all_seen = [], []
    for server, planned in enumerate(estate.servers):
        own = opinions[server * scenario.balancers : (server + 1) * scenario.balancers]
        seen = look(own, weather.dead[server], span_ms * MS)
        all_seen.append(seen)
        mine = [tally for tally, (check, _) in zip(tallies, owners, strict=True) if check.server == server]
        months = span_s / MONTH_S
        each = months * scenario.balancers
        rows.append(
            Row(
                backend=planned.proxy.name,
                server=planned.config.name,
                outages=sum(begin < span_ms * MS for begin, _ in weather.dead[server]),
                missed=seen.missed,
                detection=spread(seen.detection),
                recovery=spread(seen.recovery),
                false_downs=seen.false_downs,
                false_per_month=seen.false_downs / each,
                dead_minutes=seen.dead_ns / NS_PER_S / 60 / each,
                spared_minutes=seen.spared_ns / NS_PER_S / 60 / each,
                checks_per_s=sum(tally.checks for tally in mine) / span_s,
                checks_peak_per_s=mine[0].server_peak,
                two_opinions_s=seen.split_ns / NS_PER_S / months,
                note=estate.notes.get(server, ""),
            )
        )
    balancers = []
    for prober in range(scenario.balancers):
        mine = [tally for tally, (_, of) in zip(tallies, owners, strict=True) if of == prober]
        balancers.append(Balancer(sum(tally.checks for tally in mine) / span_s, mine[0].prober_peak))
    return Outcome(
        rows=rows,
        seen=all_seen,
        opinions=opinions,
        balancers=balancers,
        left_out=[(f"{one.proxy.name}/{one.config.name}", why) for one, why in estate.left_out],
        simulated_checks=checks,
        transitions=sum(len(opinion.turns) for opinion in opinions),
        wall_s=time.perf_counter() - started,
        first_minute=minute,
    )


def run_through(
    sim: Simulation, owners: Sequence[tuple[Check, int]], weather: Weather, span_ms: int, turns_max: int = TURNS_MAX
) -> list[Turn]:
    """Runs it to the end, with what befalls balancers. Raises TooMany."""
    turns: list[Turn] = []
    for until_ms, prober in (*weather.reboots, (span_ms, None)):
        while sim.now_ms < until_ms:
            turns += sim.run(until_ms)
            if len(turns) > turns_max:
                raise TooMany(
                    f"error: more than {turns_max:,} changes of state\n  help: a shorter --span, or fewer faults"
                )
        if prober is not None:
            turns += reboot(sim, owners, prober, until_ms)
    return turns


def reboot(sim: Simulation, owners: Sequence[tuple[Check, int]], prober: int, at_ms: int) -> list[Turn]:
    """A balancer starts anew: every server is UP for it until it is checked, and its checks are spread again."""
    turns = []
    for index, (check, of) in enumerate(owners):
        if of != prober:
            continue
        sim.restart(index, at_ms + check.first_ms, check.health)
        turns.append(
            Turn(at_ms * MS, at_ms * MS, index, check.judged.klass.ends[-1][1], check.health >= check.judged.klass.rise)
        )
    return turns


def first_minute(estate: Estate, scenario: Scenario, weather: Weather, seed: int) -> list[int]:
    """Checks that begin in each 100 ms of the first minute."""
    sim, _ = build_simulation(estate, scenario, weather, seed)
    with sim:
        sim.watch(0, 100, MINUTE_BINS)
        while sim.now_ms < MINUTE_BINS * 100:
            sim.run(MINUTE_BINS * 100)
        return sim.bins(MINUTE_BINS)
