"""`risefall ctl show agent`: how the agent's services stand, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from risefall.agent.leases import rows
from risefall.agent.wire import Ask, Do, Said
from risefall.cli.console import open_screen
from risefall.cli.ctl_agent import ask_agent, limit_of, paths_of
from risefall.cli.ctl_peers import DONE, LOST, MISUSE, REFUSED, tell
from risefall.cli.fitted import fitted
from risefall.errors import PeerLost


def show_agent(ctx: click.Context, sockets: Sequence[str], services: Sequence[str], *, as_json: bool) -> int:
    """`show agent [SERVICE]...`: how services stand; of those named also the tree. The worst exit code."""
    worst = DONE
    for path in paths_of(ctx, sockets):
        for name in services or ("",):
            try:
                said = ask_agent(path, Ask(do=Do.SHOW, service=name), limit_of(ctx))
            except PeerLost as error:
                tell(error)
                worst = max(worst, LOST)
                continue
            if said.error:
                tell(f"{path}: {said.error}")
                worst = max(worst, MISUSE if said.unknown else REFUSED)
            elif as_json:
                for one in said.services:
                    click.echo(msgspec.json.encode(one))
            else:
                show_said(said, whole=bool(name))
    return worst


def show_said(said: Said, *, whole: bool) -> None:
    """Tables for people."""
    screen = open_screen()
    screen.show(
        fitted(
            ("service", "says", "balancers"),
            [
                (
                    one.standing.service,
                    one.standing.line or "(silence)",
                    f"{sum(each.current for each in one.balancers)}/{len(one.balancers)} told",
                )
                for one in said.services
            ],
            drop=("balancers",),
            fold="says",
        )
    )
    orders = [order for one in said.services for order in one.orders]
    if orders:
        screen.print()
        heads = ("service", "order", "since", "left", "who", "why")
        screen.show(fitted(heads, rows(orders, said.now_ns), drop=("since", "who"), fold="why"))
    signals = [
        (
            one.standing.service,
            each.name,
            "-" if each.value is None else f"{each.value:g}",
            "-" if each.age_s is None else f"{each.age_s:.1f}s",
            each.failure or each.text,
        )
        for one in said.services
        for each in one.signals
    ]
    if signals:
        screen.print()
        screen.show(fitted(("service", "signal", "value", "age", "text"), signals, drop=("age", "text"), fold="text"))
    if whole:
        for one in said.services:
            balancers = [
                (each.balancer, f"{each.ago_s:.1f}s", "yes" if each.current else "not yet") for each in one.balancers
            ]
            if balancers:
                screen.print()
                screen.show(fitted(("balancer", "polled", "told"), balancers))
            screen.print()
            click.echo(one.explained)
