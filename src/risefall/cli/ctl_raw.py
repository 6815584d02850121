"""`risefall ctl raw`: any line of the runtime API, as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import click
import msgspec

from risefall.cli.ctl_peers import DONE, LOST, REFUSED, clients_of, label, socket_option, tell
from risefall.cli.options import json_option
from risefall.errors import PeerLost
from risefall.surfaces.client import PAYLOAD_MARK


class Said(msgspec.Struct, frozen=True):
    """One line and its reply, as `--json` prints it."""

    socket: str
    line: str
    refused: bool
    reply: str


def commands(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Each line with its payload: after a line that ends in `<<`, all up to an empty line. Comments and blanks are left out."""
    rest = iter(lines)
    for line in rest:
        line = line.rstrip("\r\n")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        payload: list[str] = []
        if line.endswith(PAYLOAD_MARK):
            for more in rest:
                if not more.strip("\r\n"):
                    break
                payload.append(more.rstrip("\r\n"))
        yield line, payload


def told(words: Sequence[str]) -> Iterable[str]:
    """The lines to send: each argument is one; `-` is standard input."""
    for word in words:
        if word == "-":
            yield from sys.stdin
        else:
            yield from word.splitlines()


@click.command("raw")
@click.argument("lines", metavar="LINE...", nargs=-1, required=True)
@socket_option
@json_option
@click.pass_context
def raw(ctx: click.Context, lines: tuple[str, ...], sockets: tuple[str, ...], as_json: bool) -> None:
    """Sends lines as they are, and prints the replies. Each LINE is one argument; - reads lines from standard input.

    A line is a connection of its own, so `user` and `operator` last for their line only, and `prompt` is of no use. A
    refused line ends nothing; the exit code tells of it.

    \b
    Example:
      risefall ctl raw 'show servers state' 'get weight app/ap01'
    """
    clients = clients_of(ctx, sockets)
    worst = DONE
    for line, payload in commands(told(lines)):
        for client in clients:
            try:
                reply = client.ask(line, payload)
            except PeerLost as error:
                tell(error)
                worst = LOST
                continue
            worst = max(worst, REFUSED if reply.refused else DONE)
            if as_json:
                click.echo(msgspec.json.encode(Said(client.name, line, reply.refused, reply.text)))
            elif text := reply.text.removesuffix("\n"):
                shown = f"{label(client, clients)}{text}".encode("utf-8", "surrogateescape")
                click.echo(shown, err=reply.refused)
    sys.exit(worst)
