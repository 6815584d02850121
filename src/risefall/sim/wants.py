"""What `--want` asks of a setting, and which setting gives it: the least load among those that meet it, else the nearest."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from risefall.config.haproxy.units import long_ms
from risefall.config.text import nearest
from risefall.sim.grid import Setting, parts_of, refusal

DAY_S = 86_400.0
PER_S = {"second": 1.0, "s": 1.0, "minute": 60.0, "hour": 3600.0, "day": DAY_S, "week": 7 * DAY_S, "month": 30 * DAY_S, "year": 365 * DAY_S}  # fmt: skip
TIMES = ("detect", "detect_mean", "detect_p50", "detect_worst", "recover", "recover_mean", "recover_worst")
RATES = ("false", "load")
MINUTES = ("dead", "spared")
MEASURES = (*TIMES, *RATES, *MINUTES)
WANT = re.compile(r"\s*([a-z0-9_.]*)\s*(<=|<|=|>=|>)?\s*(.*?)\s*", re.DOTALL)
RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*([a-z]+)")
HELP = "write such as detect<=5s,false<=1/year,load<=2/s; measures: " + ", ".join(MEASURES)


class Scored(msgspec.Struct, frozen=True):
    """What one setting came to, over all servers and balancers.

    Times in seconds, None where no outage was seen; detect, recover: their 99 %. false: DOWNs a second of one server that was
    not, for one balancer. load: checks a second at the backend with the most. dead, spared: minutes a month and server.
    """

    setting: Setting
    detect: float | None
    detect_mean: float | None
    detect_p50: float | None
    detect_worst: float | None
    recover: float | None
    recover_mean: float | None
    recover_worst: float | None
    false: float
    load: float
    dead: float
    spared: float
    outages: int
    unseen: int
    false_downs: int
    watched_s: float
    """How long servers were watched in all: server, balancer and second."""
    simulated_checks: int
    transitions: int
    wall_s: float
    note: str = ""

    def of(self, measure: str) -> float | None:
        """One measure by its name."""
        value: float | None = getattr(self, measure)
        return value


class Want(msgspec.Struct, frozen=True):
    """At most so much of a measure. limit: in its own unit; said: as it was written."""

    measure: str
    limit: float
    said: str

    def excess(self, one: Scored) -> float:
        """By how much a setting misses it, as a part of the limit; 0 where it does not."""
        value = one.of(self.measure)
        if value is None:
            return 1e9 if one.outages or one.note else 0.0
        if value <= self.limit:
            return 0.0
        return (value - self.limit) / self.limit if self.limit else 1.0 + value


def parse_wants(text: str) -> list[Want]:
    """Raises ConfigError with the place and what may stand there."""
    out: list[Want] = []
    for at, part in parts_of(text):
        found = WANT.fullmatch(part)
        assert found is not None
        measure = found[1].replace(".", "_")
        if measure not in MEASURES:
            close = nearest(measure, MEASURES)
            hint = f"did you mean '{close}'? " if close else ""
            raise refusal("--want", text, at, f"'{found[1] or part}' is no measure", f"{hint}{HELP}")
        if found[2] != "<=":
            raise refusal("--want", text, at + found.end(1), f"'{measure}' wants '<=' and its most", HELP)
        out.append(Want(measure, limit_of(measure, found[3], text, at + found.start(3)), part))
    return out


def limit_of(measure: str, said: str, text: str, at: int) -> float:
    if measure in TIMES:
        try:
            return long_ms(said) / 1000
        except ValueError:
            raise refusal("--want", text, at, f"'{said}' is no time", "write a time such as 5s or 800ms") from None
    if measure in MINUTES:
        try:
            return long_ms(said) / 60_000
        except ValueError:
            raise refusal("--want", text, at, f"'{said}' is no time", "write a time a month, such as 30s") from None
    rate = RATE.fullmatch(said)
    if rate is None or rate[2] not in PER_S:
        raise refusal("--want", text, at, f"'{said}' is no rate", f"write such as 2/s or 1/year, of {', '.join(PER_S)}")
    return float(rate[1]) / PER_S[rate[2]]


def front(scored: Sequence[Scored]) -> list[Scored]:
    """Those that no other one beats or equals in detection, false alarms and load, and beats in one; by load, rising."""

    def key(one: Scored) -> tuple[float, float, float]:
        return (one.load, one.false, one.detect if one.detect is not None else float("inf"))

    out: list[Scored] = []
    for one in sorted(scored, key=key):
        own = key(one)
        if one.detect is not None and not any(
            all(theirs <= mine for theirs, mine in zip(key(kept), own, strict=True)) for kept in out
        ):
            out.append(one)
    return out


class Choice(msgspec.Struct, frozen=True):
    """The setting that was asked for; or, where none meets it, what comes nearest and what it misses."""

    chosen: Scored
    missed: tuple[Want, ...]


def choose(scored: Sequence[Scored], wants: Sequence[Want]) -> Choice:
    """scored: one at least."""

    def key(one: Scored) -> tuple[float, float, float, float]:
        excess = sum(want.excess(one) for want in wants)
        return (excess, one.load, one.detect if one.detect is not None else float("inf"), one.false)

    best = min(scored, key=key)
    return Choice(best, tuple(want for want in wants if want.excess(best) > 0))
