"""`risefall check -f FILE`: every server once, as a table."""

from __future__ import annotations

import socket
import sys
from functools import partial

import click
import msgspec
import trio
from rich.table import Table

from risefall.cli.console import Screen
from risefall.cli.loading import load
from risefall.cli.options import config_options, json_option
from risefall.config.haproxy.plan import Loaded
from risefall.config.text import encodable
from risefall.daemon.assemble import Seed
from risefall.engine.around import Around
from risefall.engine.names import resolve
from risefall.engine.native import now_ns
from risefall.engine.once import Once, check_once
from risefall.engine.targets import Target, TargetBuilder
from risefall.state.exchange import CheckResult
from risefall.state.monitor import number_of
from risefall.status import Verdict


class Row(msgspec.Struct, frozen=True):
    """One check of one server, as `--json` prints it. outcome: passed, failed, neutral, disabled, not checked, unchecked."""

    backend: str
    server: str
    kind: str
    outcome: str
    status: str | None
    code: int | None
    duration_ms: int | None
    reason: str


def row_of(target: Target, kind: str, result: CheckResult | None, why_not: str) -> Row:
    """What one check of a target came to."""
    planned = target.planned
    names = (encodable(planned.proxy.name), planned.config.name, kind)
    if planned.proxy.disabled or (planned.disabled and kind == "health"):
        return Row(*names, "disabled", None, None, None, "the configuration says so")
    if why_not:
        return Row(*names, "not checked", None, None, None, why_not)
    if result is None:
        return Row(
            *names, "not checked", None, None, None,
            "it did not end in time: too many checks for the slots there are, or this machine lacks the address of 'source', a port or a descriptor",
        )  # fmt: skip
    text = result.text.decode("utf-8", "replace")
    outcome = {Verdict.PASSED: "passed", Verdict.CONDPASS: "passed", Verdict.FAILED: "failed"}.get(
        result.verdict, "neutral"
    )
    code = result.code if result.status.has_code else None
    return Row(*names, outcome, result.status.name, code, result.duration_ms, text or result.status.text)


def rows_of(outcome: Once) -> list[Row]:
    """A row for the health check and one for the agent; one that says so where there is neither."""
    target = outcome.target
    rows = []
    if target.planned.check:
        rows.append(row_of(target, "health", outcome.health, target.why_not))
    if target.planned.agent:
        rows.append(row_of(target, "agent", outcome.agent, target.agent_why_not))
    if not rows:
        names = (encodable(target.planned.proxy.name), target.planned.config.name)
        rows.append(Row(*names, "none", "unchecked", None, None, None, "no check is configured"))
    return rows


STYLES = {"passed": "green", "failed": "red", "not checked": "yellow"}


def show(rows: list[Row]) -> None:
    """The table, and one line that sums it up."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("server", "check", "outcome", "status", "code", "ms", "reason"):
        table.add_column(column, justify="right" if column in ("code", "ms") else "left", overflow="fold")
    for row in rows:
        style = STYLES.get(row.outcome, "")
        numbers = ("" if number is None else str(number) for number in (row.code, row.duration_ms))
        outcome = f"[{style}]{row.outcome}[/]" if style else row.outcome
        table.add_row(f"{row.backend}/{row.server}", row.kind, outcome, row.status or "", *numbers, row.reason)
    console = Screen(highlight=False)
    console.print(table)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.outcome] = counts.get(row.outcome, 0) + 1
    console.print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no server to check")


def exit_code(rows: list[Row]) -> int:
    """1 if something failed, 3 if nothing failed but something could not be checked, else 0. Disabled servers do not count."""
    outcomes = {row.outcome for row in rows if row.kind == "health" or row.outcome == "failed"}
    if "failed" in outcomes:
        return 1
    return 3 if "not checked" in outcomes else 0


async def check_all(loaded: Loaded, slots: int) -> list[Once]:
    """Checks every server of a configuration once. slots: 0 for as many as descriptors allow."""
    found = await resolve(loaded.addresses())
    around = Around(loaded.config)
    builder = TargetBuilder(loaded.config, loaded.dialect, found, node=socket.gethostname(), around=around)
    targets = builder.build(loaded.planned, now_ns=now_ns())
    tell_start(loaded, targets)
    return await check_once(
        targets, slots=slots, bufsize=loaded.config.global_.bufsize, groups=len(loaded.config.proxies) or 1
    )


def tell_start(loaded: Loaded, targets: list[Target]) -> None:
    """Gives the checks that read facts of servers those of the start."""
    if not any(target.reads for target in targets):
        return
    fleet = Seed(loaded.config, targets, loaded.dialect, 0).grow()
    for target in targets:
        if target.health is not None and target.reads and target.retell is not None and target.address is not None:
            program, spec = target.health
            site, _process = target.retell(target.address, target.planned.config.name, partial(number_of, fleet))
            target.health = program, msgspec.structs.replace(spec, site=site)


@click.command("check")
@config_options
@json_option
@click.option(
    "--slots",
    type=click.IntRange(1),
    default=None,
    help="checks under way at once; by default as many as descriptors allow",
)
def command(files: tuple[str, ...], dialect: str, strict: bool, as_json: bool, slots: int | None) -> None:
    """Checks every server of a configuration once and prints what each said.

    \b
    Example:
      risefall check -f /etc/haproxy/haproxy.cfg
    """
    outcomes = trio.run(check_all, load(files, dialect, strict), slots or 0)
    rows = [row for outcome in outcomes for row in rows_of(outcome)]
    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        show(rows)
    sys.exit(exit_code(rows))
