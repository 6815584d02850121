"""`risefall run -f FILE`: the daemon."""

from __future__ import annotations

import os
import sys
from functools import partial

import click
import trio

from risefall.cli.loading import load, load_text
from risefall.cli.options import config_options, duration_s, json_option
from risefall.cli.vrrp import load as load_keepalived
from risefall.daemon.companion import Asked, read_files
from risefall.daemon.keeping import usual_folder
from risefall.daemon.options import Options
from risefall.daemon.service import Service
from risefall.daemon.tracked import answering
from risefall.surfaces.client import parse_place, usual_socket_path


def sockets(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses what is no runtime socket."""
    for name in names:
        try:
            parse_place(name)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return names


@click.command("run")
@partial(config_options, required=False)
@json_option
@click.option(
    "--log",
    type=click.Choice(["config", "stderr", "none"]),
    default="config",
    show_default=True,
    help="where HAProxy's lines go: the config's log targets and the terminal, the terminal, or nowhere",
)
@click.option("--for", "span", metavar="TIME", default="", help="end after a while, such as 20s")
@click.option(
    "--stats", metavar="TIME", default="", help="tell checks a second, lateness and durations so often, such as 5s"
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="threads that check")
@click.option(
    "--slots",
    type=click.IntRange(1),
    default=None,
    help="checks under way at once; by default as many as descriptors allow",
)
@click.option(
    "--serve",
    type=click.Choice(["none", "config"]),
    default="none",
    show_default=True,
    help="config: open its stats sockets and its monitor-uri binds too; inherited ones (fd@) always are",
)
@click.option(
    "--state-dir",
    metavar="DIR|none",
    default="",
    help="what is kept over restarts; by default $RISEFALL_STATE_DIR, systemd's StateDirectory, /var/lib/risefall or ~/.local/state/risefall",
)
@click.option(
    "--socket",
    "socket_path",
    metavar="PATH|fd@N",
    default="",
    help="the runtime socket; by default systemd's LISTEN_FDS, $RISEFALL_SOCKET, else /run/risefall/run.sock",
)
@click.option(
    "--push",
    metavar="SOCKET",
    multiple=True,
    callback=sockets,
    help="set the servers of this HAProxy through its runtime socket (PATH or HOST:PORT, level admin); repeatable",
)
@click.option("--push-only", metavar="BACKEND", multiple=True, help="push the servers of this backend only; repeatable")
@click.option(
    "--scripts",
    metavar="FILE",
    default="",
    help="run the vrrp_scripts of this file (risefall vrrp --split writes it), once for all who ask",
)
@click.option(
    "--track-dir", metavar="DIR", default="", help="write a track file a script of --scripts here: 0 is good, 1 is not"
)
@click.option(
    "--notify-fifo",
    metavar="PATH",
    default="",
    help="read this notify FIFO, to which keepalived alone writes and from which risefall alone reads: for `ctl show vrrp`",
)
@click.option(
    "--keepalived",
    metavar="FILE",
    default="",
    help="compute the states of this keepalived.conf from what --scripts find: for `ctl show vrrp`",
)
def command(
    files: tuple[str, ...],
    dialect: str,
    strict: bool,
    as_json: bool,
    log: str,
    span: str,
    stats: str,
    workers: int,
    slots: int | None,
    socket_path: str,
    state_dir: str,
    serve: str,
    push: tuple[str, ...],
    push_only: tuple[str, ...],
    scripts: str,
    track_dir: str,
    notify_fifo: str,
    keepalived: str,
) -> None:
    """Checks every server for ever, as HAProxy would, and tells what changes.

    SIGTERM and Ctrl-C end it, SIGHUP reads the configuration again. The runtime socket takes HAProxy's commands: show stat, show servers state, set server ...

    \b
    Example:
      risefall run -f /etc/haproxy/haproxy.cfg --stats 5s
    """
    if not (files or scripts or notify_fifo):
        raise click.UsageError("-f FILE says what to check (or --scripts FILE what to run)")
    if track_dir and not scripts:
        raise click.UsageError("--track-dir is of --scripts: name its FILE too")
    if track_dir and not os.path.isdir(track_dir):
        raise click.UsageError(f"--track-dir {track_dir}: there is no such folder")
    beside = Asked(
        scripts=scripts,
        track_dir=track_dir,
        notify_fifo=notify_fifo,
        keepalived=keepalived,
        read_keepalived=partial(load_keepalived, keepalived, None, strict) if keepalived else None,
    )
    is_beside = bool(scripts or notify_fifo or keepalived)
    options = Options(
        log=log,
        span_s=duration_s(span) if span else None,
        stats_s=duration_s(stats) if stats else None,
        workers=workers,
        slots=slots or 0,
        as_json=as_json,
        socket_path=socket_path,
        serve_config=serve == "config",
        state_dir="" if state_dir == "none" else state_dir or usual_folder(os.environ),
        push=push,
        push_only=push_only,
        beside=beside if is_beside else None,
        beside_read=read_files(beside, lambda text: click.echo(text, err=True)) if is_beside else None,
    )
    with answering(socket_path or usual_socket_path(), options.state_dir) as answers:
        loaded = load(files, dialect, strict) if files else load_text(scripts or notify_fifo, "", os.environ, dialect)
        for name in sorted(set(push_only) - {proxy.name for proxy in loaded.config.proxies}):
            raise click.UsageError(f"--push-only {name}: there is no such backend")
        again = None if "-" in files or not files else partial(load, files, dialect, strict)
        service = Service(loaded, options, again, answers)
        del loaded
        trio.run(service.run)
    for line in service.last_words:
        click.echo(f"risefall: {line}", err=True)
    if log != "none" or stats:
        click.echo(service.summary(), err=True)
    sys.exit(service.exit_code)
