"""The evaluation of `risefall vrrp` on a terminal, as lines, and as objects."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from risefall.checkers.beside import Pools
from risefall.cli.console import Screen
from risefall.cli.vrrp import clean, weight
from risefall.cli.vrrp_pools import pool_tables
from risefall.config.keepalived.model import Config
from risefall.config.text import printable
from risefall.errors import RisefallError, StartError
from risefall.evaluator.calling import shown
from risefall.evaluator.node import InstanceView, TrackerView
from risefall.evaluator.service import Evaluator
from risefall.vrrp.notify import Call

REFRESH_S = 0.5
LINES_SHOWN = 12
GOOD, BAD, DULL = "green", "bold red", "dim"
COLOURS = {
    "GOOD": GOOD,
    "MASTER": GOOD,
    "BACKUP": "cyan",
    "BAD": BAD,
    "FAULT": BAD,
    "INIT": DULL,
    "HELD": "yellow",
    "DROPPED": BAD,
}


class Settings(msgspec.Struct, frozen=True):
    """How `risefall vrrp` was asked. span_s: end after it. detail: also what keepalived logs with -D only."""

    once: bool = False
    as_json: bool = False
    notify: bool = False
    span_s: float | None = None
    peer: int | None = None
    detail: bool = False


class Lines:
    """Lines and notifications as they come: to a list for the live table, else to stdout or as objects."""

    def __init__(self, settings: Settings, *, live: bool) -> None:
        self._settings = settings
        self._live = live
        self.kept: list[str] = []

    def line(self, text: str, *, detail: bool = False) -> None:
        if not detail or self._settings.detail:
            self._tell("log", text)

    def called(self, call: Call) -> None:
        did = "notify" if self._settings.notify else "would notify"
        self._tell("notify", shown(call), f"{did}: {shown(call)}")

    def _tell(self, kind: str, text: str, for_people: str = "") -> None:
        if self._live:
            self.kept = [*self.kept[1 - LINES_SHOWN :], f"{time.strftime('%H:%M:%S')} {for_people or text}"]
        elif self._settings.as_json:
            click.echo(msgspec.json.encode(clean({"kind": kind, "at": round(time.time(), 3), "text": text})))
        else:
            # With --once stdout is the table's.
            click.echo(printable(for_people or text), err=self._settings.once)


def objects(evaluator: Evaluator, pools: Pools | None = None) -> Iterator[dict[str, Any]]:
    """Scripts, instances, groups and virtual servers as they stand, one object each."""
    for kind, views in (
        ("script", evaluator.scripts()),
        ("instance", evaluator.instances()),
        ("group", evaluator.groups()),
    ):
        for view in views:
            yield {"kind": kind, **clean(msgspec.to_builtins(view))}
    for pool in pools.views() if pools is not None else ():
        yield {"kind": "virtual_server", **clean(msgspec.to_builtins(pool))}


def tables(evaluator: Evaluator, pools: Pools | None = None) -> Group:
    """The same for people."""
    parts: list[Table] = []
    scripts = evaluator.scripts()
    if scripts:
        table = _table("script", "state", "result", "runs", "last run", "took", "command")
        for one in scripts:
            count = f"{one.result} of {one.rise + one.fall - 1}, good from {one.rise}"
            took = f"{one.took_ms:.0f} ms" if one.runs else ""
            table.add_row(
                _plain(one.name), _state(one.state), count, str(one.runs), one.last, took, _plain(one.command)
            )
        parts.append(table)
    instances = evaluator.instances()
    if instances:
        table = _table("instance", "state", "priority", "tracks", "now", "gives", "if it failed")
        for view in instances:
            for number, row in enumerate(view.trackers or (None,)):
                head = (_plain(view.name), _state(view.state), _priority(view)) if number == 0 else ("", "", "")
                table.add_row(*head, *(_tracker(row) if row is not None else ("", "", "", "")))
        parts.append(table)
    groups = evaluator.groups()
    if groups:
        table = _table("group", "state", "members")
        for group in groups:
            table.add_row(_plain(group.name), _state(group.state), _plain(", ".join(group.members)))
        parts.append(table)
    if pools is not None:
        parts += pool_tables(pools.views())
    return Group(*parts)


def _table(*heads: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _plain(text: str) -> Text:
    return Text(printable(text))


def _state(state: str) -> Text:
    return Text(state, style=COLOURS.get(state, ""))


def _priority(view: InstanceView) -> Text:
    """`80 = 100 - 20`, and what else decides."""
    text = str(view.effective)
    if view.total != view.base:
        text += f" = {view.base} {'+' if view.total > view.base else '-'} {abs(view.total - view.base)}"
    if view.total != view.effective:
        text += f" (total {view.total})"
    notes = [f"in {view.group}"] if view.group else []
    notes += ["nopreempt"] if view.nopreempt else []
    notes += [f"preempt_delay {view.preempt_delay_ms / 1000:g}s"] if view.preempt_delay_ms else []
    notes += [f"waits for {', '.join(view.waits_for)}"] if view.waits_for else []
    return Text(printable(", ".join([text, *notes])))


def _tracker(one: TrackerView) -> tuple[Text, Text, str, str]:
    state = Text(one.state, style=BAD if one.fault or one.state == "down" else GOOD if one.state == "up" else "")
    gives = "FAULT" if one.fault else "waits" if one.pending else f"{one.points:+d}" if one.points else "0"
    what = f"{one.kind} {one.name}" + (f" {weight(one.weight, one.reverse)}" if one.weight or one.reverse else "")
    return _plain(what), state, gives, one.if_failed


async def _follow(evaluator: Evaluator, pools: Pools | None, lines: Lines, live: Live) -> None:
    while True:
        await trio.sleep(REFRESH_S)
        live.update(
            Group(tables(evaluator, pools), Text("\n" + "\n".join(map(printable, lines.kept)), style=DULL)),
            refresh=True,
        )


async def _evaluate(
    evaluator: Evaluator, pools: Pools | None, settings: Settings, lines: Lines, live: Live | None
) -> None:
    """Until it is over, by time or by a signal."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def end_by_signal() -> None:
                async for _ in signals:
                    evaluator.end()

            nursery.start_soon(end_by_signal)
            if live is not None:
                nursery.start_soon(_follow, evaluator, pools, lines, live)
            await evaluator.run(once=settings.once, span_s=settings.span_s)
            nursery.cancel_scope.cancel()


def could_not(error: BaseException) -> RisefallError:
    """A fault of the machine as one of ours, which ends with 3."""
    return error if isinstance(error, RisefallError) else StartError(f"risefall: {error}")


def first_of(group: BaseException) -> BaseException:
    """The error inside the groups that nurseries have made of it."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def evaluate(config: Config, settings: Settings) -> int:
    """Runs it and shows it; the exit code: 0, or 1 when a script or a real server is down, or an instance at FAULT."""
    console = Screen(highlight=False, markup=False)
    is_live = console.is_terminal and not settings.once and not settings.as_json
    lines = Lines(settings, live=is_live)
    try:
        pools = Pools(config, lines, notify=settings.notify, once=settings.once) if config.virtual_servers else None
        evaluator = Evaluator(config, lines, notify=settings.notify, peer=settings.peer, beside=pools)
        if is_live:
            with Live(console=console, auto_refresh=False) as live:
                trio.run(_evaluate, evaluator, pools, settings, lines, live)
        else:
            trio.run(_evaluate, evaluator, pools, settings, lines, None)
    except BaseExceptionGroup as group:
        ours, other = group.split((RisefallError, OSError))
        if ours is None or other is not None:
            raise
        raise could_not(first_of(ours)) from None
    except OSError as error:
        raise could_not(error) from error
    if settings.as_json:
        for one in objects(evaluator, pools):
            click.echo(msgspec.json.encode(one))
    elif settings.once or not is_live:
        _print(console, evaluator, pools)
    sys.stdout.flush()
    return 0 if evaluator.healthy else 1


def _print(console: Console, evaluator: Evaluator, pools: Pools | None) -> None:
    if not evaluator.scripts() and not evaluator.instances() and pools is None:
        console.print("nothing to evaluate: no instance, no script, no virtual server")
        return
    console.print(tables(evaluator, pools))
