"""The evaluation of `risefall vrrp` on a terminal, as lines, and as objects."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import click
import msgspec
import trio
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from risefall.checkers.beside import Pools
from risefall.cli.console import Screen, grid, plain
from risefall.cli.vrrp import clean, weight
from risefall.cli.vrrp_pools import pool_tables
from risefall.config.keepalived.model import Config
from risefall.config.text import printable
from risefall.errors import RisefallError, StartError
from risefall.evaluator.beside import Beside, beside
from risefall.evaluator.calling import shown
from risefall.evaluator.hearing import Hearing
from risefall.evaluator.node import InstanceView, TrackerView
from risefall.evaluator.service import Evaluator
from risefall.vrrp.fifo import Told
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
    """How `risefall vrrp` was asked. span_s: end after it. detail: also what keepalived logs with -D only.

    notify_fifo: the FIFO to which a keepalived beside us writes, "" for none.
    """

    once: bool = False
    as_json: bool = False
    notify: bool = False
    span_s: float | None = None
    peer: int | None = None
    detail: bool = False
    notify_fifo: str = ""


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

    def heard(self, told: Told) -> None:
        """A line of the keepalived beside us."""
        text = f"{told.kind} {told.name} {told.state}" + ("" if told.priority is None else f" {told.priority}")
        self._tell("real", text, f"keepalived: {text}")

    def _tell(self, kind: str, text: str, for_people: str = "") -> None:
        if self._live:
            self.kept = [*self.kept[1 - LINES_SHOWN :], f"{time.strftime('%H:%M:%S')} {for_people or text}"]
        elif self._settings.as_json:
            click.echo(msgspec.json.encode(clean({"kind": kind, "at": round(time.time(), 3), "text": text})))
        else:
            # With --once stdout is the table's.
            click.echo(printable(for_people or text), err=self._settings.once)


def objects(evaluator: Evaluator, hearing: Hearing | None, pools: Pools | None) -> Iterator[dict[str, Any]]:
    """Scripts, instances, groups and virtual servers as they stand, one object each; those of keepalived too, where it is heard."""
    real = {(one.kind, one.name): one for one in _beside(evaluator, hearing)} if hearing is not None else {}
    for kind, views in (
        ("script", evaluator.scripts()),
        ("instance", evaluator.instances()),
        ("group", evaluator.groups()),
    ):
        for view in views:
            one = {"kind": kind, **msgspec.to_builtins(view)}
            told = real.pop((kind, view.name), None)
            yield clean(one if told is None else one | real_fields(told))
    for told in real.values():
        yield clean({"kind": told.kind, "name": told.name, **real_fields(told)})
    for pool in pools.views() if pools is not None else ():
        yield {"kind": "virtual_server", **clean(msgspec.to_builtins(pool))}


def _beside(evaluator: Evaluator, hearing: Hearing) -> list[Beside]:
    return beside(evaluator.config, evaluator.instances(), evaluator.groups(), hearing.heard())


def real_fields(one: Beside) -> dict[str, Any]:
    """What an object says of keepalived's own state; null where it was not heard."""
    return {
        "real": one.real or None,
        "real_priority": one.real_priority,
        "real_since": None if one.since_s is None else round(one.since_s, 3),
        "real_sure": one.sure if one.real else None,
        "differs": one.differs or None,
    }


def real_words(one: Beside) -> Text:
    """keepalived's state for people: `MASTER 100`, with what differs."""
    text = one.real or "not heard"
    if one.real_priority is not None:
        text += f" {one.real_priority}"
    if one.real and not one.sure:
        text += ", was"
    style = COLOURS.get(one.real, "") if one.sure and one.real else DULL
    return Text.assemble((text, style), (f": {one.differs}", BAD) if one.differs else "")


def tables(evaluator: Evaluator, hearing: Hearing | None, pools: Pools | None) -> Group:
    """The same for people."""
    real = {(one.kind, one.name): one for one in _beside(evaluator, hearing)} if hearing is not None else {}
    keepalived = ("keepalived",) if hearing is not None else ()
    parts: list[Table] = []
    scripts = evaluator.scripts()
    if scripts:
        table = grid("script", "state", "result", "runs", "last run", "took", "command")
        for one in scripts:
            count = f"{one.result} of {one.rise + one.fall - 1}, good from {one.rise}"
            took = f"{one.took_ms:.0f} ms" if one.runs else ""
            table.add_row(plain(one.name), _state(one.state), count, str(one.runs), one.last, took, plain(one.command))
        parts.append(table)
    instances = evaluator.instances()
    if instances:
        table = grid("instance", *keepalived, "state", "priority", "tracks", "now", "gives", "if it failed")
        for view in instances:
            told = (real_words(real.pop(("instance", view.name))),) if keepalived else ()
            heads = (plain(view.name), *told, _state(view.state), _priority(view))
            for number, row in enumerate(view.trackers or (None,)):
                head = heads if number == 0 else ("",) * len(heads)
                table.add_row(*head, *(_tracker(row) if row is not None else ("", "", "", "")))
        parts.append(table)
    groups = evaluator.groups()
    if groups:
        table = grid("group", *keepalived, "state", "members")
        for group in groups:
            told = (real_words(real.pop(("group", group.name))),) if keepalived else ()
            table.add_row(plain(group.name), *told, _state(group.state), plain(", ".join(group.members)))
        parts.append(table)
    if real:
        table = grid("only keepalived knows", "says")
        for only in real.values():
            table.add_row(plain(f"{only.kind} {only.name}"), real_words(only))
        parts.append(table)
    if pools is not None:
        parts += pool_tables(pools.views())
    return Group(*parts)


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
    return plain(what), state, gives, one.if_failed


class Evaluation:
    """One evaluation as `risefall vrrp` runs it, with whoever is told of it."""

    def __init__(self, config: Config, settings: Settings, reread: Callable[[], Config] | None, *, live: bool) -> None:
        """reread: reads the configuration again; None where that cannot be."""
        self.lines = Lines(settings, live=live)
        self.pools = (
            Pools(config, self.lines, notify=settings.notify, once=settings.once) if config.virtual_servers else None
        )
        self.evaluator = Evaluator(config, self.lines, notify=settings.notify, peer=settings.peer, beside=self.pools)
        self.hearing = (
            Hearing(settings.notify_fifo, self.lines.line, hear=self.lines.heard) if settings.notify_fifo else None
        )
        self._settings = settings
        self._reread = reread

    def tables(self) -> Group:
        return tables(self.evaluator, self.hearing, self.pools)

    async def run(self, live: Live | None) -> None:
        """Until it is over, by time or by a signal; SIGHUP reads the configuration again."""
        wanted = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if self._reread is not None else ()))
        with trio.open_signal_receiver(*wanted) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear_signals, signals)
                if live is not None:
                    nursery.start_soon(self._follow, live)
                if self.hearing is not None:
                    nursery.start_soon(self.hearing.run)
                await self.evaluator.run(once=self._settings.once, span_s=self._settings.span_s)
                nursery.cancel_scope.cancel()

    async def _hear_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                await self._reload()
            else:
                self.evaluator.end()

    async def _reload(self) -> None:
        """A configuration that cannot be used changes nothing. keepalived would end."""
        assert self._reread is not None
        try:
            config = await trio.to_thread.run_sync(self._reread)
            was = self.evaluator.config
            self.evaluator.reload(config)
            if config.virtual_servers != was.virtual_servers:
                self.lines.line(
                    "virtual servers are checked as they were at the start: start again to take the new ones"
                )
        except (RisefallError, OSError) as error:
            self.lines.line(f"not reloaded, everything goes on as it was: {error}")

    async def _follow(self, live: Live) -> None:
        while True:
            await trio.sleep(REFRESH_S)
            below = Text("\n" + "\n".join(map(printable, self.lines.kept)), style=DULL)
            live.update(Group(self.tables(), below), refresh=True)


def could_not(error: BaseException) -> RisefallError:
    """A fault of the machine as one of ours, which ends with 3."""
    return error if isinstance(error, RisefallError) else StartError(f"risefall: {error}")


def first_of(group: BaseException) -> BaseException:
    """The error inside the groups that nurseries have made of it."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def evaluate(config: Config, settings: Settings, reread: Callable[[], Config] | None = None) -> int:
    """Runs it and shows it; the exit code: 0, or 1 when a script or a real server is down, or an instance at FAULT."""
    console = Screen(highlight=False, markup=False)
    is_live = console.is_terminal and not settings.once and not settings.as_json
    try:
        evaluation = Evaluation(config, settings, None if settings.once else reread, live=is_live)
        if is_live:
            with Live(console=console, auto_refresh=False) as live:
                trio.run(evaluation.run, live)
        else:
            trio.run(evaluation.run, None)
    except BaseExceptionGroup as group:
        ours, other = group.split((RisefallError, OSError))
        if ours is None or other is not None:
            raise
        raise could_not(first_of(ours)) from None
    except OSError as error:
        raise could_not(error) from error
    evaluator = evaluation.evaluator
    if settings.as_json:
        for one in objects(evaluator, evaluation.hearing, evaluation.pools):
            click.echo(msgspec.json.encode(one))
    elif settings.once or not is_live:
        if evaluator.scripts() or evaluator.instances() or evaluation.pools is not None:
            console.print(evaluation.tables())
        else:
            console.print("nothing to evaluate: no instance, no script, no virtual server")
    sys.stdout.flush()
    return 0 if evaluator.healthy else 1
