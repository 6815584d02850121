"""Recorded signals through the rules in virtual time, so that a curve is tuned before it is used.

A trace is CSV: its first line names the columns, `t` (seconds, rising) and signals. An empty field is a signal that was
not read at that time; any other word is a reading that failed, with this word as the reason.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

import msgspec

from risefall.agent.reading import Reading, latest
from risefall.agent.rules import Answer, Memory, decide
from risefall.agent.settings import Service
from risefall.agent.words import READY, SERVING, Part, render_line, resolve
from risefall.config.text import nearest
from risefall.errors import ConfigError

SECOND_NS = 1_000_000_000


class Row(msgspec.Struct, frozen=True):
    """One moment: what came in, what the load asks for and what is said of it, and the line (empty: silence)."""

    t_s: float
    values: dict[str, float]
    asked_pct: float
    said_pct: float
    weight_pct: int
    maxconn: int | None
    line: str


class Sample(msgspec.Struct, frozen=True):
    """One line of a trace."""

    at_ns: int
    readings: dict[str, Reading]


def parse_trace(lines: Iterable[str], service: Service, name: str) -> Iterator[Sample]:
    """The samples of a trace, as they come. Raises ConfigError at the first line that is none."""
    rows = csv.reader(lines)
    names = [word.strip() for word in next(rows, [])]
    if "t" not in names:
        raise wrong(name, 1, "a trace begins with a line of names, and 't' (seconds) is one", "write t,cpu")
    known = [signal.name for signal in service.signal]
    for column in names:
        if column != "t" and column not in known:
            close = nearest(column, known)
            listed = ", ".join(known)
            raise wrong(
                name, 1, f"there is no signal '{column}'", f"did you mean '{close}'?" if close else f"signals: {listed}"
            )
    before = None
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise wrong(
                name, rows.line_num, f"{len(row)} fields for {len(names)} names", "an unknown number is an empty field"
            )
        fields = dict(zip(names, (field.strip() for field in row), strict=True))
        seconds = number(fields.pop("t"))
        if seconds is None or (before is not None and seconds < before):
            raise wrong(name, rows.line_num, "'t' must be a number that never falls", "sort the lines by time")
        before, at_ns = seconds, round(seconds * SECOND_NS)
        yield Sample(at_ns, {key: reading(at_ns, field) for key, field in fields.items() if field})


def wrong(name: str, line: int, message: str, help: str) -> ConfigError:
    return ConfigError(f"{name}:{line}: error: {message}\n  help: {help}")


def number(field: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(field)
    except ValueError:
        return None
    return value if abs(value) != float("inf") and value == value else None


def reading(at_ns: int, field: str) -> Reading:
    value = number(field)
    return Reading(at_ns, value) if value is not None else Reading(at_ns, None, field[:100])


class Moment(msgspec.Struct, frozen=True):
    """What the rules make of one sample. part: what is said then to whoever asks, None for silence."""

    at_ns: int
    values: dict[str, float]
    asked_pct: float
    said_pct: float
    answer: Answer
    part: Part | None


def moments(service: Service, samples: Iterable[Sample], *, balancers: int = 1) -> Iterator[Moment]:
    """What would be said from each sample on."""
    memory = Memory()
    readings: dict[str, Reading] = {}
    started: int | None = None
    for sample in samples:
        started = sample.at_ns if started is None else started
        for key, new in sample.readings.items():
            readings[key] = latest(readings.get(key), new)
        answer, memory = decide(
            service, readings, sample.at_ns, memory, started_ns=started, boot_ns=started, balancers=balancers
        )
        part = resolve(service, answer, (), sample.at_ns)
        values = {key: each.value for key, each in readings.items() if each.value is not None}
        yield Moment(sample.at_ns, values, memory.asked or 0.0, memory.said or 0.0, answer, part)


def line_to(part: Part | None, before: str) -> tuple[str, str]:
    """The line for a balancer that has heard `before` of the administrative state, and what it has heard then.

    An empty line is silence.
    """
    if part is None:
        return "", before
    admin = part.admin or SERVING
    word = READY if before != SERVING and admin == SERVING else admin
    return render_line(part, word).decode("ascii").rstrip("\n"), admin


def replay(service: Service, samples: Iterable[Sample], *, balancers: int = 1) -> Iterator[Row]:
    """What would have been said at each sample, to one balancer that polls then."""
    before = SERVING
    for one in moments(service, samples, balancers=balancers):
        line, before = line_to(one.part, before)
        yield Row(
            one.at_ns / SECOND_NS,
            one.values,
            one.asked_pct,
            one.said_pct,
            one.answer.weight_pct,
            one.answer.maxconn,
            line,
        )


def write_rows(rows: Iterable[Row], service: Service) -> Iterator[str]:
    """Rows as lines of CSV: t, the signals, asked, weight, maxconn, answer."""
    names = [signal.name for signal in service.signal]
    yield ",".join(["t", *names, "asked", "weight", "maxconn", "answer"])
    for row in rows:
        values = [f"{row.values[name]:g}" if name in row.values else "" for name in names]
        maxconn = "" if row.maxconn is None else str(row.maxconn)
        answer = '"' + row.line.replace('"', '""') + '"'
        yield ",".join([f"{row.t_s:g}", *values, f"{row.asked_pct:.1f}", str(row.weight_pct), maxconn, answer])
