"""`risefall ctl reload`: a running risefall reads its configuration again; the exit code says whether it took it."""

from __future__ import annotations

import sys

import click

from risefall.cli.ctl_peers import DONE, LOST, REFUSED, clients_of, label, socket_option, tell
from risefall.cli.options import duration_s
from risefall.errors import PeerLost

SUCCESS, FAILURE = "Success=1", "Success=0"
"""First lines of an answer, as on HAProxy's master socket."""


@click.command("reload")
@socket_option
@click.option("--timeout", metavar="TIME", default="5m", show_default=True, help="until it is done")
@click.pass_context
def reload(ctx: click.Context, sockets: tuple[str, ...], timeout: str) -> None:
    """Lets a running risefall read its configuration again. A bad one changes nothing, and is told.

    \b
    Example:
      risefall ctl preflight -f /etc/haproxy/haproxy.cfg && risefall ctl reload
    """
    clients = clients_of(ctx, sockets, timeout_s=duration_s(timeout))
    worst = DONE
    for client in clients:
        try:
            reply = client.ask("reload")
        except PeerLost as error:
            tell(error)
            worst = LOST
            continue
        first, _, rest = reply.text.partition("\n")
        text = rest.removeprefix("--\n").rstrip("\n")
        done = first == SUCCESS
        shown = text if first in (SUCCESS, FAILURE) else reply.text.rstrip("\n")
        if first.startswith("Unknown command"):
            shown = f"{client.name} knows no reload. HAProxy's own is that of its master socket, or of its service"
        click.echo(f"{label(client, clients)}{'reloaded' if done else 'not reloaded'}: {shown}", err=not done)
        worst = max(worst, DONE if done else REFUSED)
    sys.exit(worst)
