"""`risefall ctl drain|maint|ready|weight|health|agent`: orders to servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import msgspec

from risefall.agent.wire import Do
from risefall.cli.ctl_agent import agent_options, for_agent, give, wish_of
from risefall.cli.ctl_peers import (
    DONE,
    LOST,
    REFUSED,
    Target,
    clients_of,
    dry_run_option,
    label,
    names_argument,
    names_or_services_argument,
    socket_option,
    targets_of,
    tell,
)
from risefall.cli.options import json_option
from risefall.errors import PeerLost
from risefall.surfaces.client import Client
from risefall.surfaces.peer import Row, State, is_glob

DENIED = "Permission denied"
DENIED_STEP = "  help: this socket's level is too low: `stats socket ... level admin` in the peer's configuration"
SERVING = (State.UP, State.UNCHECKED, State.GOING)


class Done(msgspec.Struct, frozen=True):
    """One order to one server, as `--json` prints it. outcome: done, refused or planned; reply: the peer's own words."""

    socket: str
    backend: str
    server: str
    order: str
    outcome: str
    reply: str = ""


class Order(msgspec.Struct, frozen=True):
    """A subcommand with its argument. shown: what people read; ends_service: whether it takes a server out of use."""

    shown: str
    words: Callable[[str], tuple[str, ...]]
    """The command's words for the server of this name."""
    ends_service: bool = False


def in_service(row: Row) -> bool:
    """Whether new clients may still come to a server."""
    return row.state in SERVING and row.number("weight") != 0 and not row.status.startswith("NOLB")


def left_alone(target: Target) -> list[str]:
    """Backends that now have a server in service and will have none."""
    mine = {row.name for row in target.rows}
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for row in target.servers:
        if in_service(row):
            backend = row.text("pxname")
            before[backend] = before.get(backend, 0) + 1
            after[backend] = after.get(backend, 0) + (row.name not in mine)
    return [backend for backend, count in after.items() if not count]


def announce(targets: Sequence[Target], clients: Sequence[Client], order: Order, names: Sequence[str]) -> None:
    """Tells what a pattern comes to, and which backends will be left without a server."""
    for target in targets:
        where = label(target.client, clients)
        if any(is_glob(name) for name in names):
            count = len(target.rows)
            listed = ", ".join(row.name for row in target.rows)
            tell(f"{where}{order.shown} {count} server{'s' * (count != 1)}: {listed}")
        if order.ends_service:
            for backend in left_alone(target):
                tell(f"{where}warning: no server of {backend} is left in service")


def carry_out(target: Target, order: Order, *, dry_run: bool) -> Iterator[Done]:
    """Orders it of each server in turn. Raises: PeerLost; what came before it is done."""
    for row in target.rows:
        names = (target.client.name, row.text("pxname"), row.text("svname"), order.shown)
        if dry_run:
            yield Done(*names, "planned")
            continue
        reply = target.client.order(*order.words(row.name))
        yield Done(*names, "refused" if reply.refused else "done", reply.text)


def show(one: Done, where: str, *, as_json: bool) -> None:
    """A line; a refusal goes to stderr in the peer's words."""
    if as_json:
        click.echo(msgspec.json.encode(one))
        return
    line = f"{where}{one.backend}/{one.server}: {one.order}: {one.outcome}"
    click.echo(line if not one.reply else f"{line}: {one.reply}", err=one.outcome == "refused")


def change(
    ctx: click.Context, sockets: Sequence[str], names: Sequence[str], order: Order, *, dry_run: bool, as_json: bool
) -> None:
    """Does it everywhere, and ends the process with the worst of the exit codes."""
    clients = clients_of(ctx, sockets)
    targets, lost = targets_of(clients, names)
    announce(targets, clients, order, names)
    worst = LOST if lost else DONE
    for target in targets:
        denied = False
        try:
            for one in carry_out(target, order, dry_run=dry_run):
                show(one, label(target.client, clients), as_json=as_json)
                worst = max(worst, REFUSED if one.outcome == "refused" else DONE)
                denied = denied or one.reply == DENIED
        except PeerLost as error:
            tell(error)
            worst = LOST
        if denied:
            tell(DENIED_STEP)
    sys.exit(worst)


# --- the subcommands --------------------------------------------------------------------------------------


SERVICE_TEXT = (
    "A NAME without a / is a service of the agent on this machine, which tells it to every balancer that asks."
)


def _state_command(name: str, word: str, text: str, example: str, *, ends_service: bool) -> click.Command:
    """`drain`, `maint` and `ready` differ in a word."""

    @click.command(name, help=f"{text}\n\n{SERVICE_TEXT}\n\n\b\nExample:\n  risefall ctl {name} app/ap01\n  {example}")
    @names_or_services_argument
    @agent_options
    @socket_option
    @dry_run_option
    @json_option
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        names: tuple[str, ...],
        sockets: tuple[str, ...],
        dry_run: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        wish = wish_of(options)
        if for_agent(names, wish):
            give(ctx, sockets, names, Do(name), wish, dry_run=dry_run, as_json=as_json)
        order = Order(name, lambda server: ("set", "server", server, "state", word), ends_service)
        change(ctx, sockets, names, order, dry_run=dry_run, as_json=as_json)

    return command


drain = _state_command(
    "drain",
    "drain",
    "No new clients, but those of a session that sticks; checks go on.",
    'risefall ctl drain app --lease 20m --reason "deploy 41" --wait',
    ends_service=True,
)
maint = _state_command(
    "maint",
    "maint",
    "Maintenance: no clients and no health checks.",
    "risefall ctl maint app --lease 2h",
    ends_service=True,
)
ready = _state_command(
    "ready",
    "ready",
    "Ends maintenance and drain: back into service; a service of the agent also against its conditions.",
    "risefall ctl ready app --lease 5m",
    ends_service=False,
)


def _word_command(name: str, words: Sequence[str], text: str, example: str) -> click.Command:
    """`health` and `agent`, whose last argument is one of a few words."""

    @click.command(name, help=f"{text}\n\n\b\nExample:\n  risefall ctl {name} {example}")
    @names_argument
    @click.argument("word", metavar="|".join(words), type=click.Choice(list(words)))
    @socket_option
    @dry_run_option
    @json_option
    @click.pass_context
    def command(
        ctx: click.Context, names: tuple[str, ...], word: str, sockets: tuple[str, ...], dry_run: bool, as_json: bool
    ) -> None:
        order = Order(f"{name} {word}", lambda server: ("set", "server", server, name, word), word != "up")
        change(ctx, sockets, names, order, dry_run=dry_run, as_json=as_json)

    return command


health = _word_command(
    "health",
    ("up", "stopping", "down"),
    "Forces what the health check says, until its next results say otherwise.",
    "app/ap01 down",
)
agent = _word_command(
    "agent", ("up", "down"), "Forces what the agent-check says, until its next answer.", "app/ap01 down"
)


def _weight(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """A weight as the peers take it: 0 to 256, or a percentage of the configured one."""
    number = value.removesuffix("%")
    if not re.fullmatch(r"[0-9]{1,5}", number) or (number == value and int(number) > 256):
        raise click.BadParameter(f"'{value}' is no weight; write 0 to 256, or 50% of the configured one")
    return value


@click.command("weight")
@names_or_services_argument
@click.argument("weight", metavar="N|N%", callback=_weight)
@agent_options
@socket_option
@dry_run_option
@json_option
@click.pass_context
def weight(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    weight: str,
    sockets: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Sets weights: 0 to 256, or a percentage of the configured one. 0 sends no new clients.

    A NAME without a / is a service of the agent on this machine; its weight is a percentage.

    \b
    Example:
      risefall ctl weight 'app/*' 50%
      risefall ctl weight app 50% --lease 1h
    """
    wish = wish_of(options)
    if for_agent(names, wish):
        if not weight.endswith("%"):
            raise click.UsageError(f"a service of the agent takes a percentage: {weight}%")
        percent = int(weight.removesuffix("%"))
        give(ctx, sockets, names, Do.WEIGHT, wish, weight_pct=percent, dry_run=dry_run, as_json=as_json)
    gone = int(weight.removesuffix("%")) == 0
    order = Order(f"weight {weight}", lambda server: ("set", "weight", server, weight), gone)
    change(ctx, sockets, names, order, dry_run=dry_run, as_json=as_json)


COMMANDS = (drain, maint, ready, weight, health, agent)
