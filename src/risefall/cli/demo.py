"""`risefall demo`: plays a few backends on loopback and checks them. Needs no file and no network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import resources

import click
import trio
from rich.live import Live
from rich.table import Table

from risefall.cli.console import Screen
from risefall.cli.loading import load_text
from risefall.cli.options import duration_s
from risefall.config.haproxy.plan import Loaded
from risefall.daemon.options import Options
from risefall.daemon.service import Service
from risefall.engine.play import OK, Act, Door, Player, When, http_reply

REFRESH_S = 0.25
FIRST_S = 0.1
HEALTHY, FAILING = 6, 6
SICK = Act(http_reply(503, "Service Unavailable"))
SLOW = Act(http_reply(200, "OK"), delay_ms=600)


def agent_says(line: str) -> Act:
    """An agent that answers each connection with one line."""
    return Act(line.encode() + b"\n", when=When.ACCEPT)


@contextlib.contextmanager
def backends() -> Iterator[dict[str, str]]:
    """Plays the demo's backends; yields the variables by which the configuration finds them."""
    with Player(listeners=8, connections=256) as player:
        _, sound = player.listen("127.0.0.1", 0, OK)
        _, slow = player.listen("127.0.0.1", 0, SLOW)
        _, ailing = player.listen("127.0.0.1", 0, *[OK] * HEALTHY, *[SICK] * FAILING, repeat_from=0)
        words = ["up 100%"] * 4 + ["drain # deploy 41"] * 4 + ["ready up 50%"] * 3
        _, agent = player.listen("127.0.0.1", 0, *map(agent_says, words), repeat_from=0)
        shut, closed = player.listen("127.0.0.1", 0, OK)
        player.door(shut, Door.REFUSE)
        ports = {"SOUND": sound, "SLOW": slow, "AILING": ailing, "DRAINED": sound, "AGENT": agent, "CLOSED": closed}
        yield {f"DEMO_{name}": str(port) for name, port in ports.items()}


def table_of(service: Service) -> Table:
    """Every server as it stands now."""
    table = Table(title="risefall demo: backends played on loopback, Ctrl-C ends it", box=None, header_style="bold")
    for column in ("server", "status", "last check", "code", "ms", "weight", "says"):
        table.add_column(column, justify="right" if column in ("code", "ms", "weight") else "left")
    for row in service.rows():
        colour = (
            "green"
            if row.status.startswith(("UP", "no check"))
            else "red"
            if row.status.startswith("DOWN")
            else "yellow"
        )
        table.add_row(
            row.name, f"[{colour}]{row.status}[/]", row.check_status, row.code, row.duration, str(row.weight), row.text
        )
    return table


async def show_live(service: Service, console: Screen) -> None:
    """Redraws the table until cancelled."""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            live.update(table_of(service), refresh=True)
            await trio.sleep(REFRESH_S)


async def play(loaded: Loaded, span_s: float | None) -> None:
    """Runs the engine on the demo's configuration for a while."""
    console = Screen()
    live = console.is_terminal
    service = Service(loaded, Options(log="none" if live else "config", span_s=span_s, runtime_socket=False))
    async with trio.open_nursery() as nursery:
        if live:
            await nursery.start(service.run)
            nursery.start_soon(show_live, service, console)
            await service.wait_ended()
            nursery.cancel_scope.cancel()
        else:
            await service.run()
    click.echo(service.summary())


def demo_config() -> str:
    """The text of examples/demo/haproxy.cfg, as installed with the package."""
    return resources.files("risefall.cli").joinpath("demo.cfg").read_text()


@click.command("demo")
@click.option("--for", "span", default="", metavar="TIME", help="end after a while, such as 20s; otherwise at Ctrl-C")
def command(span: str) -> None:
    """Plays backends on loopback (one sound, one slow, one that fails and recovers, one whose agent drains it) and checks them.

    \b
    Example:
      risefall demo --for 20s
    """
    with backends() as environment:
        loaded = load_text("demo.cfg", demo_config(), environment)
        trio.run(play, loaded, duration_s(span) if span else None)
    sys.exit(0)
