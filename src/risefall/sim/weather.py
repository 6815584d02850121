"""What befalls servers and ways in one span: events of a scenario to stretches, the same for every setting of a sweep."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import msgspec

from risefall.engine.simulated import Kind, Stretch, Stretches
from risefall.errors import ConfigError
from risefall.sim.scenario import DEAD, OF_BALANCERS, Event, Fault, Scenario

MS = 1_000_000
EVENTS_MAX = 4_000_000
KIND = {
    Fault.CRASH: Kind.REFUSED,
    Fault.RESTART: Kind.REFUSED,
    Fault.HOST: Kind.SILENT,
    Fault.HANG: Kind.HUNG,
    Fault.WRONG: Kind.WRONG,
    Fault.PAUSE: Kind.HUNG,
    Fault.BROWNOUT: Kind.PLAIN,
    Fault.BURST: Kind.PLAIN,
    Fault.PARTITION: Kind.SILENT,
}
WORST = (Kind.PLAIN, Kind.WRONG, Kind.HUNG, Kind.REFUSED, Kind.SILENT)
"""Of two at once the later one is what a check meets."""

Interval = tuple[int, int]


class Weather(msgspec.Struct):
    """servers, ways: by their number. dead: when each server is down in truth, ns. reboots: (ms, balancer), rising."""

    servers: list[Stretches]
    ways: list[Stretches]
    dead: list[list[Interval]]
    reboots: list[tuple[int, int]]


def times(event: Event, span_ms: int, luck: Random) -> Iterable[tuple[int, int]]:
    """When it begins and ends, ns; one comes after the one before has ended."""
    at_ns, span_ns = 0.0, span_ms * MS
    if event.at:
        for at in sorted(event.at):
            if at < span_ms:
                yield at * MS, (at + max(1, round(length(event, luck)))) * MS
        return
    assert event.every is not None
    while True:
        at_ns += luck.expovariate(1 / (event.every * MS))
        if at_ns >= span_ns:
            return
        end_ns = at_ns + max(1.0, length(event, luck)) * MS
        yield int(at_ns), int(end_ns)
        at_ns = end_ns


def length(event: Event, luck: Random) -> float:
    """Milliseconds that one lasts."""
    return float(event.lasts) if event.steady else luck.expovariate(1 / event.lasts)


def flatten(happened: list[tuple[int, int, Event]], loss: float, wrong: float) -> list[Stretch]:
    """One stretch after another from events that may overlap."""
    edges = sorted(
        [(begin, 1, index) for index, (begin, _, _) in enumerate(happened)]
        + [(end, 0, index) for index, (_, end, _) in enumerate(happened)]
    )
    plain = Stretch(0, loss=loss, wrong=wrong)
    out, now = [plain], set[int]()
    for at_ns, begins, index in edges:
        (now.add if begins else now.discard)(index)
        events = [happened[each][2] for each in sorted(now)]
        kind = max((KIND[event.kind] for event in events), key=WORST.index, default=Kind.PLAIN)
        slow = 1.0
        for event in events:
            slow *= event.slow
        stretch = Stretch(
            at_ns,
            kind,
            min(1_000_000, max(1, round(slow * 100))),
            min(1.0, loss + sum(event.loss for event in events)),
            min(1.0, wrong + sum(event.wrong for event in events)),
        )
        if out[-1].begin_ns == at_ns:
            out[-1] = stretch
        else:
            out.append(stretch)
    return out


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Without overlaps, rising."""
    out: list[Interval] = []
    for begin, end in sorted(intervals):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return out


def make_weather(scenario: Scenario, servers: int, span_ms: int, seed: int) -> Weather:
    """Raises ConfigError where so much happens in the span that it cannot be kept."""
    many = sum(span_ms / (event.every or span_ms) for event in scenario.event) * (servers + scenario.balancers)
    if many > EVENTS_MAX:
        raise ConfigError(
            f"error: about {many:,.0f} events in this span, at most {EVENTS_MAX:,} are kept\n"
            "  help: a shorter --span, or a larger 'every' in the scenario"
        )
    lists, ways, dead, reboots = [], [], [], []
    for server in range(servers):
        happened = [
            (begin, end, event)
            for number, event in enumerate(scenario.event)
            if event.kind not in OF_BALANCERS and not event.balancer
            for begin, end in times(event, span_ms, Random(f"{seed} server {server} {number}"))
        ]
        lists.append(Stretches(flatten(happened, scenario.network.loss, scenario.wrong)))
        dead.append(joined((begin, end) for begin, end, event in happened if event.kind in DEAD))
    for prober in range(scenario.balancers):
        on_way = []
        for number, event in enumerate(scenario.event):
            if event.balancer not in (0, prober + 1) or (event.kind not in OF_BALANCERS and not event.balancer):
                continue
            found = list(times(event, span_ms, Random(f"{seed} balancer {prober} {number}")))
            if event.kind is Fault.REBOOT:
                reboots += [(begin // MS + 1, prober) for begin, _ in found]
            else:
                on_way += [(begin, end, event) for begin, end in found]
        ways.append(Stretches(flatten(on_way, 0.0, 0.0)))
    return Weather(lists, ways, dead, sorted(reboots))
