"""`risefall agent`: answers HAProxy's agent-check on a backend."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import click
import msgspec
import trio

from risefall.agent.desk import Desk
from risefall.agent.explain import render_tree
from risefall.agent.leases import Book
from risefall.agent.load import load_settings
from risefall.agent.machine import this_machine
from risefall.agent.picture import draw
from risefall.agent.replay import parse_trace, replay, write_rows
from risefall.agent.sensing import look_once, make_sensors
from risefall.agent.service import Service
from risefall.agent.settings import Settings, plain_settings
from risefall.agent.standing import UNKNOWN, Standing
from risefall.agent.wire import usual_agent_socket
from risefall.daemon.notify import Notifier, take_environment
from risefall.daemon.tracked import Board, Kind, open_board, track_path
from risefall.errors import ConfigError, StartError


def tell(line: str) -> None:
    """A message for whoever watches."""
    click.echo(line, err=True)


def settings_of(path: str | None, listen: tuple[str, ...]) -> Settings:
    """The settings of a file, or those without one; `--listen` instead of the file's addresses."""
    if path is None:
        settings = plain_settings(listen)
    else:
        settings = load_settings(path)
        if not settings.service:
            settings = msgspec.structs.replace(settings, service=plain_settings().service)
        if listen:
            settings = msgspec.structs.replace(settings, agent=msgspec.structs.replace(settings.agent, listen=listen))
    folder = settings.agent.state_dir or os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or None
    return msgspec.structs.replace(settings, agent=msgspec.structs.replace(settings.agent, state_dir=folder))


def pick(settings: Settings, name: str | None) -> str:
    """The service that is meant. Raises click.UsageError."""
    if name is None and len(settings.service) == 1:
        return next(iter(settings.service))
    if name not in settings.service:
        raise click.UsageError(f"--service is one of: {', '.join(settings.service)}")
    return name


async def explain(settings: Settings) -> str:
    """Reads every signal once and prints what each service would say, and why."""
    from risefall.cli.agent_checks import make_engine

    desk = Desk(settings, Book(), started_ns=time.monotonic_ns())
    await look_once(desk, make_sensors(desk, this_machine(), make_engine(settings)))
    return "\n".join(render_tree(desk.explain(name, time.monotonic_ns(), time.time_ns())) for name in desk.services())


def run_replay(settings: Settings, name: str, path: str, plot: str | None) -> None:
    """Prints the rows of a replay, and draws them."""
    service = settings.service[name]
    try:
        with click.open_file(path, encoding="utf-8", errors="replace") as lines:
            rows = list(replay(service, parse_trace(lines, service, path)))
    except OSError as error:
        raise ConfigError(f"{path}: error: cannot be read: {error.strerror}\n  help: check the path") from error
    for line in write_rows(rows, service):
        click.echo(line)
    if plot is not None:
        draw(rows, service, plot)
        tell(f"drawn: {plot}")


async def serve(settings: Settings, read: Callable[[], Settings]) -> None:
    """Serves until SIGTERM or SIGINT, and then for as long as the last word is to be said; `read` anew at each SIGHUP."""
    from risefall.cli.agent_checks import make_engine

    notifier = Notifier(take_environment(os.environ, os.getpid()).notify)
    service = Service(settings, this_machine(), make_engine(settings), tell, usual_socket=usual_agent_socket())
    if settings.agent.state_dir is None:
        tell("note: no state folder: what was ordered and told is forgotten at the end; set agent.state_dir")

    async def wait_signal(scope: trio.CancelScope) -> None:
        """The first signal to end begins the end, a second one is the end."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    nursery.start_soon(reload)
                    continue
                if service.stopped:
                    scope.cancel()
                service.stop()
                last_s = service.settings.agent.shutdown_ms / 1000
                notifier.tell("STOPPING=1", f"STATUS=says its last word for {last_s:g} s")

    reloading = trio.Lock()

    async def reload() -> None:
        """One after the other; a file that cannot be used changes nothing."""
        if reloading.statistics().tasks_waiting:
            return  # that one has yet to read the file
        async with reloading:
            if not service.stopped:
                await take_file()

    async def take_file() -> None:
        notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            # In a thread: a disk that hangs keeps nobody from being answered, nor the end from coming.
            new = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
            await service.reload(new, make_engine(new))
        except (ConfigError, StartError) as error:
            if service.stopped:
                return
            tell(f"not reloaded, all goes on as before: {error}")
        else:
            if service.stopped:
                return  # the end has overtaken it
            tell(f"reloaded, answering on {', '.join(map(spelled, service.addresses))}")
        notifier.tell("READY=1", f"STATUS=answering on {', '.join(map(spelled, service.addresses))}")

    with ExitStack() as opened:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_signal, nursery.cancel_scope)
            async with trio.open_nursery() as inner:
                addresses = await inner.start(service.run)
                nursery.start_soon(opened.enter_context(board_of(settings, service)).run)
                where = ", ".join(spelled(address) for address in addresses)
                if service.http_address is not None:
                    tell(f"pages on http://{spelled(service.http_address)}/")
                tell(f"answering on {where}")
                notifier.tell("READY=1", f"STATUS=answering on {where}")
            nursery.cancel_scope.cancel()
    notifier.close()


@contextmanager
def board_of(settings: Settings, service: Service) -> Iterator[Board]:
    """Where `risefall-track agent SERVICE` asks: beside the control socket. One that cannot be had is told."""
    control = usual_agent_socket() if settings.agent.socket is None else settings.agent.socket
    with ExitStack() as opened:
        try:
            board = opened.enter_context(open_board(track_path(control)))
        except StartError as error:
            tell(f"note: risefall-track cannot ask here: {error}")
            board = opened.enter_context(open_board(""))

        def show(standing: Standing) -> None:
            good = None if standing.state == UNKNOWN else standing.good
            board.publish(Kind.AGENT, standing.service, good, standing.weight_pct, standing.reason or standing.line)

        service.follow_standings(show)
        board.complete(Kind.AGENT)
        yield board


def spelled(address: Sequence[str | int]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that an operator can act on, out of what tasks raised."""
    for error in group.exceptions:
        inner = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(inner, StartError):
            return inner
    return group


@click.command("agent")
@click.option("-f", "path", metavar="FILE", help="agent.toml; without it the weight follows CPU headroom")
@click.option(
    "--listen", multiple=True, metavar="HOST:PORT", help="where to answer; may repeat  [default: 127.0.0.1:9777]"
)
@click.option(
    "--explain", "explaining", is_flag=True, help="read every signal once, print what would be said and why, end"
)
@click.option(
    "--replay", "trace", metavar="CSV", help="run recorded signals through the rules and print what would be said"
)
@click.option("--plot", metavar="PNG", help="with --replay: draw signals and weight (needs matplotlib)")
@click.option("--service", "name", metavar="NAME", help="with --replay: which service of the file")
def command(
    path: str | None, listen: tuple[str, ...], explaining: bool, trace: str | None, plot: str | None, name: str | None
) -> None:
    """Answers HAProxy's agent-check on a backend: weight, maxconn and state from this machine's signals.

    SIGHUP reads FILE anew, and a bad one changes nothing; SIGTERM says the last word, and a second one ends it at once.

    A trace for --replay is CSV whose first line names its columns: t (seconds) and signals. HAProxy cuts a weight in per
    cent of the configured one to a whole number, so give its servers `weight 100`.

    \b
    Example:
      risefall agent --listen 0.0.0.0:9777
      risefall agent -f agent.toml --replay monday.csv --plot monday.png
    """
    if (plot or name) and not trace:
        raise click.UsageError("--plot and --service are for --replay")
    settings = settings_of(path, listen)
    if trace:
        run_replay(settings, pick(settings, name), trace, plot)
        return
    if explaining:
        click.echo(trio.run(explain, settings))
        return
    try:
        trio.run(serve, settings, lambda: settings_of(path, listen))
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
