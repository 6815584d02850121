"""`risefall ctl`: commands to a running risefall or a real HAProxy, over the runtime API that both speak."""

from __future__ import annotations

import click

from risefall.cli import ctl_agent, ctl_change, ctl_preflight, ctl_raw, ctl_reload, ctl_show, ctl_wait
from risefall.cli.ctl_peers import socket_option
from risefall.cli.options import duration_s


def _seconds(ctx: click.Context, parameter: click.Parameter, value: str) -> float:
    return duration_s(value)


@click.group("ctl")
@socket_option
@click.option(
    "--timeout", "timeout_s", metavar="TIME", default="5s", show_default=True, callback=_seconds, help="for each answer"
)
def command(sockets: tuple[str, ...], timeout_s: float) -> None:
    """Commands to a running risefall, its agent, or HAProxy, over its socket.

    Names are BACKEND/SERVER; each half may be a pattern ('app/*', quoted for the shell) or #ID. A name without a / is a
    service of the agent on this machine, over its control socket. With several --socket a command goes to each. Exit codes: 0 done, 1 refused by the peer, 2 misuse or no such server, 3 no connection.

    \b
    Example:
      risefall ctl --socket /run/haproxy/admin.sock drain app/ap01
    """


SUBCOMMANDS = (
    *ctl_change.COMMANDS,
    ctl_agent.release,
    ctl_show.show,
    ctl_wait.wait,
    ctl_preflight.preflight,
    ctl_reload.reload,
    ctl_raw.raw,
)
for each in SUBCOMMANDS:
    command.add_command(each)
