"""`risefall ctl` for the agent of this machine: a name without a `/` is one of its services."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec

from risefall.agent.leases import length
from risefall.agent.wire import SAID_MAX_BYTES, Ask, Do, Said, usual_agent_socket
from risefall.cli.ctl_agent_servers import LOOK_S, servers_of, wait_back, wait_gone
from risefall.cli.ctl_peers import DONE, LOST, MISUSE, REFUSED, socket_option, tell
from risefall.cli.options import duration_s, json_option
from risefall.errors import PeerLost
from risefall.surfaces.client import TIMEOUT_S, Client

Function = Callable[..., Any]


class Wish(msgspec.Struct, frozen=True):
    """What goes with an order to an agent, as the command line has it."""

    lease: str = ""
    reason: str = ""
    wait: bool = False
    haproxy: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    within: str = ""

    def used(self) -> bool:
        """Whether anything was said that an order to HAProxy cannot carry."""
        return self != Wish()


def agent_options(function: Function) -> Function:
    """`--lease`, `--reason`, `--wait` and what it waits for; passed under these names."""
    for option in reversed(
        (
            click.option("--lease", metavar="TIME", default="", help="agent: how long it stands, such as 20m"),
            click.option("--reason", metavar="TEXT", default="", help="agent: why; HAProxy logs it"),
            click.option("--wait", is_flag=True, help="agent: until every balancer that polls was told"),
            click.option(
                "--haproxy",
                metavar="SOCKET",
                multiple=True,
                help="agent: --wait, and until its sessions are gone, or its servers are back",
            ),
            click.option(
                "--server", metavar="BACKEND/SERVER", multiple=True, help="agent: which of --haproxy's, if not by port"
            ),
            click.option("--within", metavar="TIME", default="", help="agent: how long to --wait  [default: 60s]"),
        )
    ):
        function = option(function)
    return function


def wish_of(options: dict[str, Any]) -> Wish:
    """Takes what `agent_options` passes."""
    return Wish(**{name: options[name] for name in Wish.__struct_fields__})


def for_agent(names: Sequence[str], wish: Wish) -> bool:
    """Whether names mean services of the agent. Raises: click.UsageError for a mixture, or options that do not fit."""
    agents = [name for name in names if "/" not in name]
    if agents and len(agents) < len(names):
        raise click.UsageError(
            f"'{agents[0]}' is a service of the agent, the others are BACKEND/SERVER: one command for each kind"
        )
    if not agents and wish.used():
        raise click.UsageError(
            "--lease, --reason, --wait, --haproxy, --server and --within go with a service of the agent: no / in its name"
        )
    return bool(agents)


# --- one question -----------------------------------------------------------------------------------------


def paths_of(ctx: click.Context, sockets: Sequence[str]) -> list[str]:
    """The agents' sockets. Raises: click.UsageError."""
    outer = ctx.parent.params if ctx.parent is not None else {}
    chosen = list(dict.fromkeys(sockets or outer.get("sockets") or (usual_agent_socket(),)))
    if chosen == [""]:
        raise click.UsageError("no socket: tell --socket, or set RISEFALL_AGENT_SOCKET to its path")
    return chosen


def limit_of(ctx: click.Context) -> float:
    """`--timeout` in front of the subcommand."""
    outer = ctx.parent.params if ctx.parent is not None else {}
    return float(outer.get("timeout_s") or TIMEOUT_S)


def ask_agent(path: str, ask: Ask, limit_s: float) -> Said:
    """One question, its answer. Raises: PeerLost."""
    deadline = time.monotonic() + limit_s
    data = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(limit_s)
            stream.connect(path)
            stream.sendall(msgspec.json.encode(ask) + b"\n")
            while len(data) < SAID_MAX_BYTES:
                stream.settimeout(max(0.001, deadline - time.monotonic()))
                if not (piece := stream.recv(65536)):
                    break
                data += piece
    except TimeoutError:
        raise PeerLost(f"{path}: no whole answer within {limit_s:g} s") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise PeerLost(
            f"{path}: {why}; is `risefall agent` running, and may you open its socket? "
            "A server of HAProxy or `risefall run` is BACKEND/SERVER"
        ) from error
    try:
        return msgspec.json.decode(data, type=Said)
    except msgspec.DecodeError:
        raise PeerLost(
            f"{path}: this is no socket of risefall agent; a server of HAProxy or `risefall run` is BACKEND/SERVER"
        ) from None


def who() -> str:
    """Whoever types, also behind sudo."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return ""


# --- orders -----------------------------------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True):
    """One order to one service, as `--json` prints it. told: balancers that have it; waiting: those that do not yet."""

    socket: str
    service: str
    order: str
    outcome: str
    told: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def give(
    ctx: click.Context,
    sockets: Sequence[str],
    services: Sequence[str],
    do: Do,
    wish: Wish,
    *,
    weight_pct: int | None = None,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Gives an order to each service of each agent, waits where that is wished, ends with the worst exit code."""
    limit_s = limit_of(ctx)
    lease_ms = int(duration_s(wish.lease) * 1000) if wish.lease else None
    deadline = time.monotonic() + duration_s(wish.within or "60s")
    shown = do.value if weight_pct is None else f"weight {weight_pct}%"
    gone = seek(ctx, sockets, services, wish, limit_s) if not dry_run else {}
    worst, given = DONE, []
    for path in paths_of(ctx, sockets):
        for name in dict.fromkeys(services):
            ask = Ask(
                do=Do.SHOW if dry_run else do, service=name, weight_pct=None if dry_run else weight_pct,
                lease_ms=lease_ms, reason=wish.reason, who=who(),
            )  # fmt: skip
            try:
                said = ask_agent(path, ask, limit_s)
            except PeerLost as error:
                tell(error)
                worst = max(worst, LOST)
                break
            if said.error:
                tell(f"{path}: {said.error}")
                worst = max(worst, MISUSE if said.unknown else REFUSED)
                continue
            if said.warning:
                tell(f"{path}: warning: {name}: done, but not kept over a restart of the agent: {said.warning}")
            given.append((path, said))
            if not (wish.wait or wish.haproxy) or dry_run:
                report(done_of(path, said, shown, "planned" if dry_run else "done"), said, as_json=as_json)
    if (wish.wait or wish.haproxy) and not dry_run:
        for path, said in given:
            worst = max(worst, wait_told(path, said, shown, deadline, limit_s, as_json=as_json))
            for client, servers in gone.get((path, said.services[0].standing.service), ()):
                if do in (Do.RELEASE, Do.READY):
                    worst = max(worst, wait_back(client, servers, deadline, as_json=as_json))
                else:
                    worst = max(worst, wait_gone(client, servers, deadline, as_json=as_json))
    sys.exit(worst)


def done_of(path: str, said: Said, order: str, outcome: str) -> Done:
    """What became of an order, by what the agent shows of the service."""
    one = said.services[0]
    return Done(
        path,
        one.standing.service,
        order,
        outcome,
        tuple(each.balancer for each in one.balancers if each.current),
        tuple(each.balancer for each in one.balancers if not each.current),
    )


def report(done: Done, said: Said, *, as_json: bool) -> None:
    """A line; for programs an object."""
    if as_json:
        click.echo(msgspec.json.encode(done))
        return
    lease = "".join(
        f", {length(order.ends_ns - said.now_ns)} left"
        for order in said.services[0].orders
        if order.ends_ns is not None and done.order.startswith(order.word.value)
    )
    polls = len(done.told) + len(done.waiting)
    told = f"heard by {len(done.told)} of {polls} balancers" if polls else "no balancer polls"
    if done.outcome == "late":
        told += f"; not yet by {', '.join(done.waiting)}"
    elif done.waiting and done.outcome == "done":
        told += " so far (--wait waits for the others)"
    click.echo(f"{done.service}: {done.order}: {done.outcome}{lease}; {told}", err=done.outcome == "late")


def wait_told(path: str, said: Said, order: str, deadline: float, limit_s: float, *, as_json: bool) -> int:
    """Until every balancer that has polled of late was given an answer that obeys. An agent that restarts is waited for."""
    name = said.services[0].standing.service
    while True:
        late = time.monotonic() > deadline
        try:
            said = ask_agent(path, Ask(do=Do.SHOW, service=name), limit_s)
        except PeerLost as error:
            if late:
                tell(error)
                return LOST
        else:
            done = all(each.current for each in said.services[0].balancers)
            if done or late:
                report(done_of(path, said, order, "done" if done else "late"), said, as_json=as_json)
                return DONE if done else REFUSED
        time.sleep(LOOK_S)


def seek(
    ctx: click.Context, sockets: Sequence[str], services: Sequence[str], wish: Wish, limit_s: float
) -> dict[tuple[str, str], list[tuple[Client, list[str]]]]:
    """Whose sessions are waited for, of each agent and service: known before anything is ordered.

    Raises: PeerLost, click.UsageError.
    """
    found: dict[tuple[str, str], list[tuple[Client, list[str]]]] = {}
    if not wish.haproxy:
        return found
    try:
        clients = [Client(name, timeout_s=limit_s) for name in wish.haproxy]
    except ValueError as error:
        raise click.UsageError(f"--haproxy: {error}") from error
    for path in paths_of(ctx, sockets):
        for name in services:
            said = ask_agent(path, Ask(do=Do.SHOW, service=name), limit_s)
            for shown in () if said.error else said.services:
                found[path, name] = [(client, servers_of(client, shown, wish.server)) for client in clients]
    return found


@click.command("release")
@click.argument("names", metavar="SERVICE...", nargs=-1, required=True)
@agent_options
@socket_option
@json_option
@click.pass_context
def release(
    ctx: click.Context, /, names: tuple[str, ...], sockets: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Ends the orders on a service of the agent: conditions and load decide again.

    \b
    Example:
      risefall ctl release app
    """
    wish = wish_of(options)
    if not for_agent(names, wish):
        raise click.UsageError("'release' is for the agent's services; a server of HAProxy gets 'ready'")
    if wish.lease or wish.reason:
        raise click.UsageError("what is released has no --lease and no --reason")
    give(ctx, sockets, names, Do.RELEASE, wish, as_json=as_json)
