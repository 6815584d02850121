"""What `risefall simulate` shows to a person: the table of a run, the front of a sweep, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.measure import Measurement
from rich.table import Table

from risefall.cli.console import Screen
from risefall.sim.agents import Following
from risefall.sim.answers import NS_PER_S, Spread
from risefall.sim.runs import Outcome
from risefall.sim.scenario import Scenario
from risefall.sim.wants import DAY_S, Choice, Scored, Want, front

HEADS = (
    *("server", "outages", "detect", "detect,p50", "detect,p99", "detect,worst", "recover", "recover,p99"),
    *("false/month", "dead-min", "spared-min", "checks/s", "peak", "split-s"),
)
"""Of the table of a run; behind a comma what is written of a head."""
MEASURED = 10_000
"""Wider than any row."""
LEFT_OUT = ("peak", "spared-min", "detect,p50", "detect,worst", "recover,p99", "split-s", "outages")
"""The first to be left out where a terminal is too narrow."""
NAMES_MAX = 3
FOLLOWER_LEFT_OUT = ("polls", "full", "worst", "unheard")


def screen() -> Screen:
    return Screen(highlight=False, markup=False)


def seconds(value: float | None) -> str:
    """For a person."""
    if value is None:
        return "-"
    return f"{value:.1f}s" if value < 100 else f"{value / 60:.1f}m" if value < 6000 else f"{value / 3600:.1f}h"


def tell_table(
    console: Screen, heads: Sequence[str], rows: Sequence[Sequence[str]], left_out: Sequence[str] = ()
) -> None:
    """heads: of a head with a comma what follows it is written. Into a pipe as wide as it is; what a terminal has no room for is named."""
    gone: list[str] = []
    while True:
        table = Table(box=None, header_style="bold", pad_edge=False)
        shown = [head for head in heads if head not in gone]
        for head in shown:
            justify: Literal["left", "right"] = "left" if head == heads[0] else "right"
            table.add_column(head.partition(",")[2] or head, justify=justify, no_wrap=True)
        for cells in rows:
            table.add_row(*(cell for head, cell in zip(heads, cells, strict=True) if head in shown))
        wants = Measurement.get(console, console.options.update(max_width=MEASURED), table).maximum
        if not console.is_terminal:
            console.width = max(console.width, wants)
        if wants <= console.width or len(gone) == len(left_out):
            break
        gone.append(left_out[len(gone)])
    console.print(table)
    if gone:
        names = ", ".join(head.replace(",", " ") for head in heads if head in gone)
        console.print(f"not shown, for want of width: {names}")


def spans(one: Spread) -> tuple[str, str, str, str]:
    return seconds(one.mean), seconds(one.p50), seconds(one.p99), seconds(one.worst)


def gathered(told: Sequence[tuple[str, str]]) -> list[str]:
    """What is told of servers, once for all of whom it is told; nothing where there is nothing to tell."""
    by_text: dict[str, list[str]] = {}
    for name, text in told:
        if text:
            by_text.setdefault(text, []).append(name)
    return [
        ", ".join(names[:NAMES_MAX])
        + (f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else "")
        + f": {text}"
        for text, names in by_text.items()
    ]


def show(outcome: Outcome, scenario: Scenario, span_s: float, seed: int, plain: bool) -> None:
    """The table, and what it rests on."""
    console = screen()
    rows = []
    for row in outcome.rows:
        seen = f"{row.outages}" + (f" ({row.missed} unseen)" if row.missed else "")
        rows.append((
            f"{row.backend}/{row.server}", seen, *spans(row.detection), seconds(row.recovery.mean),
            seconds(row.recovery.p99), f"{row.false_per_month:.1f}", f"{row.dead_minutes:.2f}",
            f"{row.spared_minutes:.2f}", f"{row.checks_per_s:.2f}", str(row.checks_peak_per_s), f"{row.two_opinions_s:.0f}",
        ))  # fmt: skip
    tell_table(console, HEADS, rows, LEFT_OUT)
    for line in gathered([*outcome.left_out, *((f"{row.backend}/{row.server}", row.note) for row in outcome.rows)]):
        console.print(line)
    each = ", ".join(f"{one.checks_per_s:.1f} (peak {one.checks_peak_per_s})" for one in outcome.balancers[:8])
    console.print(f"checks a second of each balancer: {each}")
    rate = outcome.simulated_checks / outcome.wall_s / 1e6 if outcome.wall_s else 0.0
    console.print(
        f"{outcome.simulated_checks:,} checks, {outcome.transitions:,} changes of state in {span_s / 86400:g} days, "
        f"seed {seed}; {outcome.wall_s:.1f} s, {rate:.1f} million checks a second"
    )
    if plain:
        kinds = ", ".join(event.kind.value for event in scenario.event)
        console.print(
            f"assumed, since no --scenario was given: {scenario.balancers} balancers; {kinds} (docs/simulate.md)"
        )


FOLLOWER_HEADS = (
    "agent",
    "balancer",
    "polls",
    "full",
    "least",
    "mean",
    "most",
    "changes",
    "heard after",
    "worst",
    "unheard",
    "out",
)


def show_agents(following: Following) -> None:
    """What each balancer made of the agent's words."""
    console = screen()
    console.print(f"\nagents play {following.span_ns / NS_PER_S:g} s of the trace:")
    rows = [
        (
            f"{one.backend}/{one.server}", str(one.balancer), str(one.polls), str(one.weight_full), str(one.weight_least),
            f"{one.weight_mean:.1f}", str(one.weight_most), str(one.changes), seconds(one.heard_mean_s), seconds(one.heard_worst_s),
            str(one.unheard), seconds(one.out_s),
        )
        for one in following.followers
    ]  # fmt: skip
    tell_table(console, FOLLOWER_HEADS, rows, FOLLOWER_LEFT_OUT)


def rate(per_s: float) -> str:
    """Of false alarms: in the unit that gives a figure."""
    per_month = per_s * 30 * DAY_S
    if per_month >= 1000:
        return f"{per_s * 3600:.0f}/hour"
    return f"{per_month:.1f}/month" if per_month >= 1 else f"{per_month * 365 / 30:.1f}/year"


def measured(one: Scored, measure: str) -> str:
    """One measure with its unit."""
    value = one.of(measure)
    match measure:
        case "false":
            return rate(one.false)
        case "load":
            return f"{one.load:.2f}/s"
        case "dead" | "spared":
            return seconds((value or 0.0) * 60)
    return seconds(value)


FRONT = {
    "detect p99": "detect",
    "mean": "detect_mean",
    "false": "false",
    "load": "load",
    "dead a month": "dead",
    "recover p99": "recover",
}
"""Columns of the front, and the measure of each."""


def show_sweep(scored: Sequence[Scored], total: int, wants: Sequence[Want], choice: Choice | None) -> None:
    """The front as a table, and the setting that was asked for."""
    console = screen()
    best = front(scored)
    rows = [(one.setting.words, *(measured(one, each) for each in FRONT.values())) for one in best]
    tell_table(console, ("setting", *FRONT), rows)
    years = scored[0].watched_s / DAY_S / 365 if scored else 0.0
    console.print(
        f"{len(best)} of {len(scored)} settings that nothing beats in detection, false alarms and load together; each watched "
        f"{years:.1f} server-years"
    )
    given_up = [one for one in scored if one.note]
    if given_up:
        console.print(f"given up: {len(given_up)} settings, such as {given_up[0].setting.words}: {given_up[0].note}")
    if len(scored) < total:
        console.print(f"interrupted: {len(scored)} of {total} settings are done")
    if choice is not None:
        show_choice(console, choice, wants)


def show_choice(console: Screen, choice: Choice, wants: Sequence[Want]) -> None:
    """The lines for the configuration; or that none meets it, and what the nearest one misses."""
    asked = ", ".join(want.said for want in wants)
    has = ", ".join(f"{want.measure} {measured(choice.chosen, want.measure)}" for want in wants)
    if choice.missed:
        missed = ", ".join(want.said for want in choice.missed)
        console.print(f"none meets {asked}; nearest, but not {missed}:")
    else:
        console.print(f"least load that meets {asked}:")
    for line in choice.chosen.setting.lines:
        console.print(f"    {line}")
    load = "" if any(want.measure == "load" for want in wants) else f", load {measured(choice.chosen, 'load')}"
    console.print(f"  it has {has}{load}")
