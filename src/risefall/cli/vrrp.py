"""`risefall vrrp -f FILE`: what a keepalived.conf says, once everything is inherited, dropped and set right, and what it does."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress
from typing import Any

import click
import msgspec
from rich.table import Table

from risefall.cli import vrrp_pools
from risefall.cli.console import Screen
from risefall.cli.options import duration_s, json_option
from risefall.cli.plan import span
from risefall.config.keepalived import read
from risefall.config.keepalived.files import unfit
from risefall.config.keepalived.model import Config, Instance, Tracked
from risefall.config.text import encodable, sources
from risefall.errors import ConfigError

KINDS = (
    ("script", "scripts"),
    ("file", "files"),
    ("process", "processes"),
    ("bfd", "bfds"),
    ("instance", "instances"),
    ("group", "groups"),
)
"""The lists that `--json` prints, each object under its kind."""


def usual_config_id() -> str:
    """keepalived's own choice: the host name without its domain."""
    return socket.gethostname().partition(".")[0]


def load(file: str, config_id: str | None, strict: bool) -> Config:
    """Reads one file; warnings go to stderr. Raises ConfigError."""
    problem = unfit(file) if file != "-" else None
    if problem and "is not a regular" not in problem[0]:
        raise ConfigError(f"{file}: error: {problem[0]}\n  help: {problem[1]}")
    source = sources([file], sys.stdin)[0]
    if problem:
        raise ConfigError(f"{file}: error: {problem[0]}: keepalived does not start\n  help: {problem[1]}")
    return read(
        source,
        config_id=config_id or usual_config_id(),
        strict=strict,
        hear=lambda warning: click.echo(warning, err=True),
    )


def objects(config: Config) -> Iterator[dict[str, Any]]:
    """One object a thing, its kind first."""
    for kind, field in KINDS:
        for one in getattr(config, field):
            yield {"kind": kind, **msgspec.to_builtins(one)}
    yield from vrrp_pools.plan_objects(config)


def clean(value: Any) -> Any:
    """Text of a file as JSON can hold it."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {clean(key): clean(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(one) for one in value]
    return value


# --- tables -------------------------------------------------------------------------------------------------------------


def weight(value: int, reverse: bool) -> str:
    return f"{value}{' reverse' if reverse else ''}"


def tracked(one: Tracked) -> str:
    """`chk`, or `chk -20`."""
    return f"{one.name} {weight(one.weight, one.reverse)}" if one.weight or one.reverse else one.name


def trackers(owner: Any) -> str:
    lists = (owner.track_interfaces, owner.track_scripts, owner.track_files, owner.track_processes, owner.track_bfds)
    return "\n".join(tracked(one) for several in lists for one in several)


def instance_notes(one: Instance) -> str:
    notes = [f"in {one.group}"] if one.group else []
    notes += ["nopreempt"] if one.nopreempt else []
    notes += [f"preempt_delay {span(one.preempt_delay_ms)}"] if one.preempt_delay_ms else []
    notes += ["unicast"] if one.unicast else []
    notes += ["strict"] if one.strict else []
    return ", ".join(notes)


def tables(config: Config) -> Iterator[tuple[tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Heads and rows of the tables that have rows."""
    scripts = [
        (
            one.name,
            " ".join(one.command.argv),
            span(one.interval_ms),
            span(one.interval_ms if one.timeout_ms is None else one.timeout_ms),
            str(one.rise),
            str(one.fall),
            weight(one.weight, one.reverse),
        )
        for one in config.scripts
    ]
    yield ("script", "command", "interval", "timeout", "rise", "fall", "weight"), scripts
    others = [(one.name, "file", one.path, weight(one.weight, one.reverse)) for one in config.files]
    others += [
        (one.name, "process", " ".join((one.path, *one.arguments)), weight(one.weight, one.reverse))
        for one in config.processes
    ]
    others += [(one.name, "bfd", one.neighbor_ip, weight(one.weight, one.reverse)) for one in config.bfds]
    yield ("tracker", "kind", "what", "weight"), others
    instances = [
        (
            one.name,
            one.interface or "",
            str(one.vrid),
            str(one.priority),
            f"v{one.version} {span(one.advert_int_ms)}",
            "\n".join(f"{vip.address}/{vip.prefix}" for vip in one.vips),
            trackers(one),
            instance_notes(one),
        )
        for one in config.instances
    ]
    yield ("instance", "interface", "vrid", "priority", "adverts", "addresses", "tracks", "notes"), instances
    groups = [(one.name, ", ".join(one.members), trackers(one)) for one in config.groups]
    yield ("group", "members", "tracks"), groups
    yield from vrrp_pools.plan_tables(config)


def show(config: Config) -> None:
    """The tables for a person."""
    console = Screen(highlight=False, markup=False)
    shown = False
    for heads, rows in tables(config):
        if not rows:
            continue
        # A column without a word in it only takes the others' room.
        used = [any(row[at] for row in rows) for at in range(len(heads))]
        heads = tuple(compress(heads, used))
        rows = [tuple(compress(row, used)) for row in rows]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(encodable(cell) for cell in row))
        if shown:
            console.print()
        console.print(table)
        shown = True
    if not shown:
        console.print("nothing is configured")


@click.command("vrrp")
@click.option(
    "-f",
    "file",
    metavar="FILE",
    default="/etc/keepalived/keepalived.conf",
    show_default=True,
    help="keepalived.conf, or -",
)
@click.option("-i", "--config-id", metavar="ID", default=None, help="of @ID lines; by default the host name")
@click.option("--check-config", is_flag=True, help="only say what is wrong")
@click.option("--plan", "plan_", is_flag=True, help="only show what it comes to")
@click.option(
    "--once",
    is_flag=True,
    help="run every script and checker once (--watch: listen as long as a master may be silent), show what follows, and end",
)
@click.option("--for", "span", metavar="TIME", default="", help="end after a while, such as 20s")
@click.option("--notify", is_flag=True, help="make the notifications too: programs, FIFOs, mails; else they are shown")
@click.option(
    "--peer",
    type=click.IntRange(1, 255),
    metavar="PRIORITY",
    default=None,
    help="suppose one other healthy node of this effective priority; else nobody is heard",
)
@click.option(
    "--notify-fifo",
    metavar="PATH",
    default="",
    help="read this notify FIFO of a keepalived beside us, and show its states beside those computed",
)
@click.option("--detail", is_flag=True, help="also the lines that keepalived logs with -D only")
@click.option(
    "--split", metavar="FILE", default="", help="write its scripts and a keepalived.conf that asks risefall-track"
)
@click.option("--into", metavar="DIR", default="risefall-split", show_default=True, help="where --split writes")
@click.option(
    "--track",
    metavar="PATH",
    default="/opt/risefall/bin/risefall-track",
    show_default=True,
    help="the risefall-track that --split names",
)
@click.option(
    "--watch",
    "interfaces",
    metavar="IFACE",
    multiple=True,
    help="listen there and show who really is MASTER; may repeat; -f names a file to compare with",
)
@click.option("--strict", is_flag=True, help="warnings of the configuration are errors")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    config_id: str | None,
    check_config: bool,
    plan_: bool,
    once: bool,
    span: str,
    notify: bool,
    peer: int | None,
    notify_fifo: str,
    detail: bool,
    split: str,
    into: str,
    track: str,
    interfaces: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Evaluates a keepalived.conf as keepalived 2.2.7 does: runs its scripts, watches what else it tracks, and shows of every
    instance and group the state, the priority, what each tracker gives, and what would follow if it failed. Real servers of
    virtual_server blocks are checked too; IPVS is never touched.

    It sends no adverts and hears none: without --peer, states are those of a node that hears nobody. SIGHUP reads the file again. --watch does nothing but hear
    them. What keepalived would not start with is an error, what it ignores or drops a warning. Exit code: 0, 1 when a script or a
    real server is down or an instance at FAULT; with --watch 1 when there is not one master, or it sends what it should not.

    \b
    Example:
      risefall vrrp -f /etc/keepalived/keepalived.conf --once
      risefall vrrp --watch eth0 --for 10s
    """
    if interfaces:
        from risefall.cli import vrrp_watch

        if check_config or plan_ or notify or peer or detail or split:
            raise click.UsageError(
                "--watch only listens: of the other options it takes -f, -i, --strict, --once, --for, --json"
            )
        given = ctx.get_parameter_source("file") is not click.core.ParameterSource.DEFAULT
        config = load(file, config_id, strict) if given else None
        watched = vrrp_watch.Settings(
            interfaces=interfaces, once=once, as_json=as_json, span_s=duration_s(span) if span else None
        )
        sys.exit(vrrp_watch.watch(config, watched))
    if check_config and (plan_ or as_json or once):
        raise click.UsageError("--check-config prints no plan: leave --plan, --once and --json out")
    if plan_ and once:
        raise click.UsageError("--plan runs nothing: leave --once out")
    if once and (notify or span):
        raise click.UsageError(
            "--once ends by itself and only shows what would be notified: leave --notify and --for out"
        )
    if split:
        from risefall.evaluator.split import split as split_

        written = split_(load(split, config_id, strict), split, into, track, config_id or usual_config_id())
        for path in written:
            click.echo(path)
        return
    config = load(file, config_id, strict)
    if notify_fifo and notify and notify_fifo in (config.global_.notify_fifo, config.global_.vrrp_notify_fifo):
        raise click.UsageError("--notify would write to the FIFO that --notify-fifo reads: name another")
    if check_config:
        click.echo(f"{file}: {len(config.warnings)} warnings, no errors" if config.warnings else f"{file}: valid")
    elif plan_ and as_json:
        for one in objects(config):
            click.echo(msgspec.json.encode(clean(one)))
    elif plan_:
        show(config)
    else:
        from risefall.cli import vrrp_live

        span_s = duration_s(span) if span else None
        settings = vrrp_live.Settings(
            once=once,
            as_json=as_json,
            notify=notify,
            span_s=span_s,
            peer=peer,
            detail=detail,
            notify_fifo=notify_fifo,
        )
        reread = None if file == "-" else partial(load, file, config_id, strict)
        sys.exit(vrrp_live.evaluate(config, settings, reread))
