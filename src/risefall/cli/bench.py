"""`risefall bench -f FILE`: a check configuration tried against backends that are played and broken on purpose."""

from __future__ import annotations

import math
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from risefall.cli.check import check_all
from risefall.cli.console import Screen
from risefall.cli.loading import load, load_text
from risefall.cli.options import config_options, duration_s, json_option
from risefall.config.haproxy.plan import Loaded
from risefall.engine.play import Player
from risefall.errors import ConfigError, StartError
from risefall.status import Verdict
from risefall.trial.checkers import version_of
from risefall.trial.latency import FORMS, parse_latency
from risefall.trial.measures import Result, failure_of, histogram, summary_of
from risefall.trial.rewriting import Stage, must_stay, stage_of
from risefall.trial.running import Plan, Trial, failure_s
from risefall.trial.showing import table_of
from risefall.trial.sound import USUAL, Fault

CONNECTIONS = 16384
SERVERS_MAX = 5000
INTERRUPTED = 130


def read_faults(context: click.Context, option: click.Parameter, text: str) -> tuple[Fault, ...]:
    """Fault words by comma."""
    if not text:
        return USUAL
    found = []
    for word in text.split(","):
        try:
            found.append(Fault(word.strip()))
        except ValueError:
            known = ", ".join(fault.value for fault in Fault)
            raise click.BadParameter(f"'{word.strip()}' is no fault; known are {known}") from None
    return tuple(dict.fromkeys(found))


def read_latency(context: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return parse_latency(text) if text else ()
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_span(context: click.Context, option: click.Parameter, text: str) -> float:
    return duration_s(text)


def writable(context: click.Context, option: click.Parameter, path: str) -> str:
    """Refuses a file that cannot be written before anything is measured."""
    if path:
        try:
            with Path(path).open("a"):
                pass
        except OSError as error:
            raise click.BadParameter(f"{path}: {error.strerror}") from error
    return path


async def prove(loaded: Loaded, stage: Stage, dialect: str, player: Player, folder: Path) -> Stage:
    """Asks the real probe whether the sound replies satisfy the rules; who is not content is left out, with its reason."""
    trial = Trial("risefall", loaded, stage, Plan(1.0, ()), player, folder)
    rewritten = load_text("bench.cfg", trial.config_text(), {}, dialect)
    must_stay(rewritten, [port for pair in trial.ports() for port in pair if port])
    bad: dict[str, str] = {}
    for outcome in await check_all(rewritten, 0):
        planned, target = outcome.target.planned, outcome.target
        name = f"{planned.proxy.name}/{planned.config.name}"
        if target.why_not:
            bad[name] = f"not played: {target.why_not}"
        elif planned.check and (outcome.health is None or outcome.health.verdict is not Verdict.PASSED):
            said = outcome.health.text.decode("utf-8", "replace") if outcome.health else "no answer"
            word = outcome.health.status.name if outcome.health else ""
            bad[name] = f"not played: no reply is known that its rules accept ({word} {said})".replace(" )", ")")
    return stage.without(bad)


class Bench:
    """The runs of one command, one program after another. `results`: of those that began."""

    def __init__(self, loaded: Loaded, stage: Stage, plan: Plan, programs: Sequence[str]) -> None:
        self._loaded, self._stage, self._plan, self._programs = loaded, stage, plan, programs
        self.results: list[Result] = []
        self.interrupted = False

    async def run(self, folder: Path) -> None:
        """Until all is measured, or Ctrl-C."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch, nursery.cancel_scope)
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[failures]} failures"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                disable=not sys.stderr.isatty(),
            ) as progress:
                bars = [progress.add_task(name, total=self._plan.span_s, failures=0) for name in self._programs]
                for program, bar in zip(self._programs, bars, strict=True):

                    def advance(done_s: float, failures: int, bar: object = bar) -> None:
                        progress.update(bar, completed=done_s, failures=failures)  # type: ignore[arg-type]

                    with Player(listeners=2 * len(self._stage.played), connections=CONNECTIONS) as player:
                        trial = Trial(program, self._loaded, self._stage, self._plan, player, folder)
                        try:
                            await trial.run(advance)
                        finally:
                            if trial.end_ns:
                                self.results.append(trial.result())
            nursery.cancel_scope.cancel()

    async def _watch(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for _ in received:
                self.interrupted = True
                scope.cancel()
                return


def chosen(loaded: Loaded, dialect: str, servers: int | None, files: Sequence[str]) -> Stage:
    """What is played; says what is not. Raises: StartError where nothing is."""
    stage = stage_of(loaded)
    if stage.played:
        with (
            Player(listeners=2 * len(stage.played), connections=CONNECTIONS) as player,
            tempfile.TemporaryDirectory(prefix="risefall-bench-") as name,
        ):
            stage = trio.run(prove, loaded, stage, dialect, player, Path(name))
    for one in stage.left_out:
        click.echo(f"risefall: {one.server}: {one.why}", err=True)
    if not stage.played:
        raise ConfigError(f"{', '.join(files)}: there is no server whose check can be played")
    if servers is not None:
        stage = stage.with_servers(servers)
    if len(stage.played) > SERVERS_MAX:
        raise ConfigError(
            f"{len(stage.played)} servers are too many to play; --servers {SERVERS_MAX // 10} takes fewer"
        )
    return stage


@click.command("bench")
@config_options
@json_option
@click.option(
    "--for",
    "span",
    metavar="TIME",
    default="30s",
    show_default=True,
    callback=read_span,
    help="how long each program runs",
)
@click.option(
    "--servers",
    type=click.IntRange(1),
    default=None,
    help="so many of each backend, copies of its own; by default its own",
)
@click.option(
    "--balancers",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    help="so many load balancers with this configuration at once",
)
@click.option(
    "--against",
    type=click.Choice(["haproxy"]),
    default=None,
    help="the installed HAProxy has the same configuration and failures, in a second column",
)
@click.option(
    "--faults",
    metavar="WORD,...",
    default="",
    callback=read_faults,
    help=f"of {', '.join(fault.value for fault in Fault)}; all but overload by default",
)
@click.option("--latency", metavar="FORM", default="", callback=read_latency, help=f"of sound backends: {FORMS}")
@click.option("--seed", type=int, default=1, show_default=True, help="the same seed injects the same failures")
@click.option("--record", metavar="FILE", default="", callback=writable, help="keep the latencies as a histogram")
@click.option("--report", metavar="FILE.html", default="", callback=writable, help="write a page with pictures")
def command(
    files: tuple[str, ...],
    dialect: str,
    strict: bool,
    as_json: bool,
    span: float,
    servers: int | None,
    balancers: int,
    against: str | None,
    faults: tuple[Fault, ...],
    latency: tuple[int, ...],
    seed: int,
    record: str,
    report: str,
) -> None:
    """Runs a check configuration for real against backends it plays itself on loopback, breaks them, and measures.

    Nothing of the configuration's own is contacted. It says how fast failures are found and how fast repairs, how late checks start, and what they cost prober and backends. Ctrl-C ends it with what was measured so far.

    \b
    Example:
      risefall bench -f /etc/haproxy/haproxy.cfg --against haproxy --report bench.html
    """
    loaded = load(files, dialect, strict)
    programs = ["risefall", *([against] if against else [])]
    for program in programs:
        version_of(program)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the played side of every connection is ours
    plan = Plan(span, faults, balancers, seed, latency, dialect)
    stage = chosen(loaded, dialect, servers, files)
    bench = Bench(loaded, stage, plan, programs)
    with tempfile.TemporaryDirectory(prefix="risefall-bench-") as folder:
        try:
            trio.run(bench.run, Path(folder))
        except BaseExceptionGroup as group:
            ours, other = group.split(StartError)
            if ours is None or other is not None:
                raise
            raise first(ours) from None
    tell(bench.results, as_json)
    needed_s = math.ceil(failure_s(stage))
    if span < needed_s and any(not one.findings for one in bench.results):
        click.echo(
            f"risefall: no failure was over in {span:g} s; one may take {needed_s} s here: --for {needed_s}s", err=True
        )
    if record and bench.results:
        Path(record).write_bytes(msgspec.json.encode(histogram(bench.results[0].took_s)) + b"\n")
    if report and bench.results:
        from risefall.trial.page import page

        Path(report).write_text(page(bench.results, plan, stage, files))
    if bench.interrupted:
        sys.exit(INTERRUPTED)


def tell(results: Sequence[Result], as_json: bool) -> None:
    """The table; or an object a failure, and a summary a program."""
    if not as_json:
        if results:
            Screen(highlight=False).print(table_of(results))
        return
    for result in results:
        for one in result.findings:
            click.echo(msgspec.json.encode(failure_of(result.program, one)))
        click.echo(msgspec.json.encode(summary_of(result)))


def first(group: BaseExceptionGroup[StartError]) -> StartError:
    """The error inside of nested groups."""
    found: StartError | BaseExceptionGroup[StartError] = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
