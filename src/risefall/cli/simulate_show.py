"""What `risefall simulate` shows to a person: the table of a run, the front of a sweep, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from risefall.cli.console import Screen
from risefall.sim.answers import Spread
from risefall.sim.runs import Outcome
from risefall.sim.scenario import Scenario
from risefall.sim.wants import DAY_S, Choice, Scored, Want, front

PIPE_WIDTH = 120
"""Into a pipe a row stays a line."""
HEADS = (
    *("server", "outages", "detect", "detect,p50", "detect,p99", "detect,worst", "recover", "recover,p99"),
    *("false/month", "dead-min", "spared-min", "checks/s", "peak", "split-s"),
)
"""Of the table of a run; behind a comma what is written of a head."""
LEFT_OUT_WHERE_NARROW = {"detect,p50", "detect,worst", "recover,p99", "spared-min", "peak"}


def screen() -> Screen:
    """Into a pipe as wide as a row wants to be."""
    console = Screen(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console


def seconds(value: float | None) -> str:
    """For a person."""
    return "-" if value is None else f"{value:.1f}s" if value < 100 else f"{value / 60:.0f}m"


def spans(one: Spread) -> tuple[str, str, str, str]:
    return seconds(one.mean), seconds(one.p50), seconds(one.p99), seconds(one.worst)


def show(outcome: Outcome, scenario: Scenario, span_s: float, seed: int, plain: bool) -> None:
    """The table, and what it rests on."""
    console = screen()
    table = Table(box=None, header_style="bold", pad_edge=False)
    narrow = console.width < PIPE_WIDTH
    heads = [head for head in HEADS if not narrow or head not in LEFT_OUT_WHERE_NARROW]
    for head in heads:
        table.add_column(head.partition(",")[2] or head, justify="left" if head == "server" else "right", no_wrap=True)
    for row in outcome.rows:
        seen = f"{row.outages}" + (f" ({row.missed} unseen)" if row.missed else "")
        cells = (
            f"{row.backend}/{row.server}", seen, *spans(row.detection), seconds(row.recovery.mean),
            seconds(row.recovery.p99), f"{row.false_per_month:.1f}", f"{row.dead_minutes:.2f}",
            f"{row.spared_minutes:.2f}", f"{row.checks_per_s:.2f}", str(row.checks_peak_per_s), f"{row.two_opinions_s:.0f}",
        )  # fmt: skip
        table.add_row(*(cell for head, cell in zip(HEADS, cells, strict=True) if head in heads))
    console.print(table)
    for name, why in outcome.left_out:
        console.print(f"{name}: {why}")
    for row in outcome.rows:
        if row.note:
            console.print(f"{row.backend}/{row.server}: {row.note}")
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


def show_sweep(scored: Sequence[Scored], total: int, wants: Sequence[Want], choice: Choice | None) -> None:
    """The front as a table, and the setting that was asked for."""
    console = screen()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in ("setting", "detect p99", "mean", "false", "load", "dead a month", "recover p99"):
        table.add_column(head, justify="left" if head == "setting" else "right", no_wrap=True)
    for one in (best := front(scored)):
        cells = [measured(one, each) for each in ("detect", "detect_mean", "false", "load", "dead", "recover")]
        table.add_row(one.setting.words, *cells)
    console.print(table)
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
