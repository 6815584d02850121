"""`risefall vrrp --watch IFACE`: who is MASTER by what is heard, on a terminal, as lines, and as objects."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence

import click
import msgspec
import trio
from rich.console import Group
from rich.live import Live
from rich.text import Text

from risefall.cli.console import Screen, grid, plain
from risefall.cli.vrrp import clean
from risefall.config.keepalived.model import Config
from risefall.config.text import printable
from risefall.errors import RisefallError, StartError
from risefall.evaluator.expected import groups_of, own_instances
from risefall.evaluator.listening import Listener, now_us
from risefall.evaluator.watching import Links
from risefall.vrrp.election import master_down_us
from risefall.vrrp.settings import US_PER_S
from risefall.vrrp.watch import Watch
from risefall.vrrp.watch_events import Event
from risefall.vrrp.watch_views import RouterView, SenderView, views

REFRESH_S = 0.5
LINES_SHOWN = 12
ONCE_S = 4.0
"""Longer than a master of the usual second may be silent."""
ONCE_MORE_US = 400_000
EVENT_KEYS = ("interface", "vrid", "family", "instance", "source", "masters")
GOOD, BAD, DULL = "green", "bold red", "dim"
COLOURS = {"MASTER": GOOD, "silenced": BAD, "rival": "yellow", "lost": BAD}


class Settings(msgspec.Struct, frozen=True):
    """How it was asked. span_s: end after it; once: after as long as a master may be silent."""

    interfaces: tuple[str, ...]
    once: bool = False
    as_json: bool = False
    span_s: float | None = None


class Events:
    """Events as they come: kept for the live table, else lines or objects."""

    def __init__(self, settings: Settings, *, live: bool) -> None:
        self._settings = settings
        self._live = live
        self.kept: list[str] = []

    def tell(self, event: Event) -> None:
        at = time.time() - (now_us() - event.at_us) / US_PER_S
        if self._settings.as_json:
            told = {"kind": event.kind.value, "at": round(at, 3)}
            told |= {name: getattr(event, name) for name in EVENT_KEYS}
            click.echo(msgspec.json.encode(clean({**told, "text": event.text})))
            sys.stdout.flush()
            return
        clock = time.strftime("%H:%M:%S", time.localtime(at))
        line = f"{clock}.{int(at * 1000) % 1000:03d} {_place(event)}: {printable(event.text)}"
        if self._live:
            self.kept = [*self.kept[1 - LINES_SHOWN :], line]
        else:
            # With --once stdout is the table's.
            click.echo(line, err=self._settings.once)
            sys.stdout.flush()


def _place(event: Event) -> str:
    """`eth0 vrid 51 VI_1`."""
    words = [event.interface]
    if event.vrid:
        words.append(f"vrid {event.vrid}{' IPv6' if event.family == 6 else ''}")
    return printable(" ".join([*words, *([event.instance] if event.instance else [])]))


# --- tables -------------------------------------------------------------------------------------------------------------


def tables(routers: Sequence[RouterView]) -> Group:
    """Who sends what, and of each router what is to be said besides."""
    if not routers:
        return Group(Text("no advert was heard", style=BAD))
    heard = grid("on", "vrid", "who", "state", "prio", "adverts", "late ms", "silent")
    notes = grid("on", "vrid", "what")
    for router in routers:
        vrid = f"{router.vrid}{' v6' if router.family == 6 else ''}"
        if not router.senders:
            heard.add_row(plain(router.interface), vrid, "", Text("nobody", style=BAD), "", "", "", "")
        for number, sender in enumerate(router.senders):
            head = (plain(router.interface), vrid) if number == 0 else ("", "")
            heard.add_row(*head, *_cells(sender))
        for number, (text, style) in enumerate(_notes(router)):
            notes.add_row(*((plain(router.interface), vrid) if number == 0 else ("", "")), Text(text, style=style))
    return Group(heard, Text(""), notes)


def _cells(sender: SenderView) -> tuple[str | Text, ...]:
    pace = f"v{sender.version} {sender.interval_ms / 1000:g}s"
    auth = "" if sender.auth in ("", "NONE") else f" {sender.auth}"
    late = ""
    if sender.late_median_ms is not None and sender.late_worst_ms is not None:
        late = f"{sender.late_median_ms:.1f}/{sender.late_worst_ms:.0f}"
    return (
        plain(sender.source),
        Text(sender.standing, style=COLOURS.get(sender.standing, DULL)),
        str(sender.priority),
        pace + auth,
        late,
        f"{sender.silent_ms / 1000:.1f}s",
    )


def _notes(router: RouterView) -> list[tuple[str, str]]:
    """Lines about one router, with their colours."""
    found = []
    if len(router.masters) > 1:
        found.append((f"{len(router.masters)} masters: {', '.join(router.masters)}", BAD))
    if not router.masters:
        found.append(("no master", BAD))
    if router.instance:
        found.append((f"instance {printable(router.instance)}", ""))
    told = set()
    for sender in router.senders:
        if sender.source in router.masters and sender.addresses not in told:
            told.add(sender.addresses)
            found.append((f"{sender.source} has {', '.join(sender.addresses) or 'no addresses'}", ""))
    for sender in router.senders:
        here = " is this machine" if sender.this_machine else ""
        if here:
            found.append((f"{sender.source}{here}", DULL))
        found += [(f"{sender.source}: {printable(one)}", BAD) for one in sender.wrong if not sender.refused]
        if sender.refused:
            differs = f" [{'; '.join(sender.differs)}]" if sender.differs else ""
            times = f" ({sender.refused_count} times)" if sender.refused_count > 1 else ""
            found.append((f"{sender.source}: {printable(sender.refused)}{differs}{times}", BAD))
    if router.takeovers:
        found.append((f"taken over {router.takeovers} times", ""))
    if router.two_masters_ms:
        found.append((f"two masters for {router.two_masters_ms / 1000:.1f}s in all", "yellow"))
    return found


# --- running ------------------------------------------------------------------------------------------------------------


def _screen(watch: Watch, events: Events) -> Group:
    return Group(tables(views(watch, now_us())), Text("\n" + "\n".join(events.kept), style=DULL))


async def _follow(watch: Watch, events: Events, live: Live) -> None:
    while True:
        live.update(_screen(watch, events), refresh=True)
        await trio.sleep(REFRESH_S)


async def _listen(listener: Listener, events: Events, span_s: float | None, live: Live | None) -> None:
    """Until it is over, by time or by a signal."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def end_by_signal() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(end_by_signal)
            await nursery.start(listener.run)
            if live is not None:
                nursery.start_soon(_follow, listener.watch, events, live)
            if span_s is None:
                await trio.sleep_forever()
            await trio.sleep(span_s)
            nursery.cancel_scope.cancel()


def watch(config: Config | None, settings: Settings) -> int:
    """Listens and shows; the exit code: 0, or 1 when in the end a router has not one master that sends what it should."""
    console = Screen(highlight=False, markup=False)
    is_live = console.is_terminal and not settings.once and not settings.as_json
    events = Events(settings, live=is_live)
    own = own_instances(config, settings.interfaces, Links().address) if config is not None else []
    if config is not None and not own:
        click.echo(
            f"the configuration has no instance on {', '.join(settings.interfaces)}: nothing is compared", err=True
        )
    heard = Watch(own)
    span_s = settings.span_s
    if settings.once and span_s is None:
        waits = [master_down_us(one.settings, one.settings.priority, one.settings.adv_us) for one in own]
        span_s = max([ONCE_S, *((wait_us + ONCE_MORE_US) / US_PER_S for wait_us in waits)])
    try:
        listener = Listener(heard, settings.interfaces, events.tell, groups_of(config) if config is not None else ())
        if is_live:
            with Live(console=console, auto_refresh=False) as live:
                trio.run(_listen, listener, events, span_s, live)
                live.update(_screen(heard, events), refresh=True)
        else:
            trio.run(_listen, listener, events, span_s, None)
    except BaseExceptionGroup as group:
        ours, other = group.split(RisefallError)
        if ours is None or other is not None:
            raise
        error: BaseException = ours
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    except OSError as error:
        raise StartError(f"risefall: {error}") from error
    routers = views(heard, now_us())
    if settings.as_json:
        for one in routers:
            click.echo(msgspec.json.encode(clean({"kind": "router", **msgspec.to_builtins(one)})))
    elif not is_live:
        console.print(tables(routers))
    sys.stdout.flush()
    return 0 if heard.healthy else 1
