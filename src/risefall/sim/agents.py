"""Agents in virtual time: a load trace through the agent's rules, asked by each balancer's agent-checks, and what weights follow.

The rules are `agent/`'s, the way is the simulated network's, the check is a real probe, and what its words make of a server is
`state/`'s: so a weight that HAProxy cuts to 0, or a static algorithm that takes none, shows here as there. The load is what
the trace says, whatever weight the balancers give.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from risefall.agent.load import load_settings
from risefall.agent.replay import Moment, line_to, moments, parse_trace
from risefall.agent.settings import Service
from risefall.agent.words import SERVING
from risefall.config.haproxy.plan import Loaded
from risefall.engine.native import Probe, ProbeResult
from risefall.engine.simulated import NEVER, End, Simulation, counter_after, counter_pace
from risefall.engine.targets import is_static
from risefall.errors import ConfigError
from risefall.sim.answers import NS_PER_S
from risefall.sim.driving import MS, drive
from risefall.sim.runs import Check, Estate, build_simulation, first_ms_of
from risefall.sim.scenario import Played, Scenario
from risefall.sim.weather import Weather
from risefall.state.exchange import CheckResult
from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, DRAIN, MAINT, Admin, CheckState, Op, ProxyState, ServerState

POLLS_MAX = 3_000_000


class Held(msgspec.Struct, frozen=True):
    """What a balancer makes of a server from then on. weight: that balancing uses; word: "", down, drain or maint."""

    at_ns: int
    weight: int
    word: str


class Follower(msgspec.Struct, frozen=True):
    """One server at one balancer. heard_mean_s, heard_worst_s: from when the agent says another line until it is heard; None
    where there was none. unheard: lines that were another one before anybody asked. weights: least, mean over time, most.
    """

    backend: str
    server: str
    balancer: int
    polls: int
    unanswered: int
    weight_full: int
    weight_least: int
    weight_mean: float
    weight_most: int
    changes: int
    heard_mean_s: float | None
    heard_worst_s: float | None
    unheard: int
    out_s: float
    """How long it was not to have new traffic: weight 0, down, drain or maint."""


class Following(msgspec.Struct, frozen=True):
    """A whole trace. held: of each follower, what changed."""

    service: Service
    moments: list[Moment]
    span_ns: int
    followers: list[Follower]
    held: list[list[Held]]


def load_moments(played: Played, balancers: int) -> tuple[Service, list[Moment]]:
    """What the agent says from when on, time from the trace's first line. Raises ConfigError."""
    made = load_settings(played.settings)
    names = ", ".join(made.service)
    if not played.service and len(made.service) != 1:
        raise ConfigError(
            f"{played.settings}: error: it has {len(made.service)} services\n  help: write agent.service, one of: {names}"
        )
    name = played.service or next(iter(made.service))
    if name not in made.service:
        raise ConfigError(f"{played.settings}: error: there is no service '{name}'\n  help: services: {names}")
    service = made.service[name]
    try:
        with open(played.trace, encoding="utf-8", errors="replace") as lines:
            told = list(moments(service, parse_trace(lines, service, played.trace), balancers=balancers))
    except OSError as error:
        raise ConfigError(f"{played.trace}: error: cannot be read: {error.strerror}\n  help: check the path") from error
    if len(told) < 2:
        raise ConfigError(f"{played.trace}: error: a trace of one line has no length\n  help: write two times or more")
    first_ns = told[0].at_ns
    return service, [msgspec.structs.replace(one, at_ns=one.at_ns - first_ns) for one in told]


def follow_agents(
    loaded: Loaded, estate: Estate, scenario: Scenario, weather: Weather, span_ms: int, seed: int
) -> Following:
    """Every agent-check of the estate over the trace, or the span where that is shorter. Raises ConfigError."""
    assert scenario.agent is not None
    service, told = load_moments(scenario.agent, scenario.balancers)
    span_ns = min(span_ms * MS, told[-1].at_ns)
    sim, owners = build_simulation(estate, scenario, weather, seed)
    asked = [(index, check, prober) for index, (check, prober) in enumerate(owners) if check.agent is not None]
    if not asked:
        raise ConfigError(
            "error: the scenario plays agents, and no server has an agent-check\n  help: leave [agent] out"
        )
    polls = sum(span_ns / MS / check.judged.klass.inter_ms for _, check, _ in asked)
    if polls > POLLS_MAX:
        raise ConfigError(
            f"error: about {polls:,.0f} answers of agents, at most {POLLS_MAX:,}\n  help: a shorter trace or --span"
        )
    followers, held = [], []
    with sim:
        for index, check, prober in asked:
            first_ns = first_ms_of(check, scenario, prober, seed) * MS
            one, steps = Poller(loaded, estate, check, prober).run(sim, index, first_ns, told, span_ns)
            followers.append(one)
            held.append(steps)
    return Following(service, told, span_ns, followers, held)


class Poller:
    """One agent-check of one balancer, poll by poll."""

    def __init__(self, loaded: Loaded, estate: Estate, check: Check, prober: int) -> None:
        planned = estate.servers[check.server]
        assert check.agent is not None
        self._program, self._spec = check.agent
        self._check, self._planned, self._prober = check, planned, prober
        proxy = ProxyState(
            planned.proxy.name, planned.proxy.kind, 1, planned.proxy.mode, planned.proxy.balance, 0, 1,
            log_health_checks=False, disabled=False, static=is_static(planned.proxy),
        )  # fmt: skip
        server = ServerState(
            planned.config.name, 0, 1, "", 0, "", Op.RUNNING, Admin(0), planned.weight, planned.weight, False, None,
            CheckState(1, 1, 1), 0, slowstart_ms=planned.config.settings.slowstart_ms,
        )  # fmt: skip
        self._fleet = Fleet([proxy], [server], loaded.dialect, 0)

    def run(
        self, sim: Simulation, index: int, first_ns: int, told: Sequence[Moment], span_ns: int
    ) -> tuple[Follower, list[Held]]:
        """Until the end of the span. An agent's answer is that of the moment at which it is asked."""
        klass = self._check.judged.klass
        probe = Probe(self._program, self._spec)
        due_ns, count, health = first_ns, 0, 1
        place, heard, admin_heard = 0, -1, SERVING
        lines = lines_of(told)
        delays: list[float] = []
        unheard = unanswered = 0
        steps = [self._now(0)]
        while due_ns < span_ns:
            wire = sim.wired(index, count, due_ns)
            while place + 1 < len(told) and told[place + 1].at_ns <= wire.connect_ns < NEVER:
                place += 1
            pieces: tuple[bytes, ...] = ()
            admin_next = admin_heard
            if wire.reply is End.GOOD:
                line, admin_next = line_to(told[place].part, admin_heard)
                pieces = (line.encode() + b"\n",) if line else ()
            elif wire.reply is End.WRONG:
                pieces = self._check.judged.wrong
            done_ns, result = drive(probe, due_ns, wire, pieces)
            if wire.reply is End.GOOD and pieces and done_ns >= wire.reply_ns:
                admin_heard = admin_next
                number, since_ns = lines[place]
                if number != heard:
                    unheard += max(0, number - heard - 1)
                    if heard >= 0:
                        delays.append((done_ns - since_ns) / NS_PER_S)
                    heard = number
            else:
                unanswered += 1
            health = counter_after(health, klass.rise, klass.fall, result.verdict, result.status, agent=True)
            self._take(result_of(result, health), done_ns)
            now = self._now(done_ns)
            if done_ns < span_ns and (now.weight, now.word) != (steps[-1].weight, steps[-1].word):
                steps.append(now)
            pace_ms = counter_pace(
                health, klass.rise, klass.fall, klass.inter_ms, klass.fastinter_ms, klass.downinter_ms
            )
            due_ns = (-(-done_ns // MS) + sim.pause(index, count, pace_ms)) * MS
            count += 1
        steps_ns = [one.at_ns for one in steps] + [span_ns]
        weights = [one.weight for one in steps]
        lasts = [after - at for at, after in pairwise(steps_ns)]
        return Follower(
            backend=self._planned.proxy.name,
            server=self._planned.config.name,
            balancer=self._prober + 1,
            polls=count,
            unanswered=unanswered,
            weight_full=self._planned.weight,
            weight_least=min(weights),
            weight_mean=sum(weight * ns for weight, ns in zip(weights, lasts, strict=True)) / max(1, span_ns),
            weight_most=max(weights),
            changes=len(steps) - 1,
            heard_mean_s=sum(delays) / len(delays) if delays else None,
            heard_worst_s=max(delays, default=None),
            unheard=unheard,
            out_s=sum(ns for weight, ns in zip(weights, lasts, strict=True) if weight == 0) / NS_PER_S,
        ), steps

    def _take(self, result: CheckResult, at_ns: int) -> None:
        if self._fleet.starting:
            self._fleet.warm(0, at_ns // MS)
        self._fleet.result(0, AGENT, result, at_ns // MS)

    def _now(self, at_ns: int) -> Held:
        fleet, server = self._fleet, self._fleet.servers[0]
        word = "down" if server.op is Op.STOPPED else ""
        if server.admin & (MAINT | DRAIN):
            word = "maint" if server.admin & MAINT else "drain"
        return Held(at_ns, fleet.effective_weight(0) if fleet.usable(0) else 0, word)


def result_of(result: ProbeResult, health: int) -> CheckResult:
    """A probe's result as the engine would tell it; its text is of no matter here."""
    return CheckResult(
        epoch=0,
        status=result.status,
        verdict=result.verdict,
        code=result.code,
        health=health,
        duration_ms=result.duration_us // 1000,
        admin=result.admin,
        weight_kind=result.weight_kind,
        weight=result.weight,
        maxconn=result.maxconn,
    )


def lines_of(told: Sequence[Moment]) -> list[tuple[int, int]]:
    """Of each moment: the how-manieth line it is, and since when the agent says it. Reasons do not count."""
    out: list[tuple[int, int]] = []
    before: object = None
    for one in told:
        part = one.part
        line = None if part is None else (part.health, part.admin, part.weight_pct, part.maxconn)
        if not out or line != before:
            out.append((out[-1][0] + 1 if out else 0, one.at_ns))
        else:
            out.append(out[-1])
        before = line
    return out
