"""`risefall simulate -f FILE`: a month in seconds: how fast a configuration detects, how often it cries wolf, what it costs."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import click
import msgspec

from risefall.cli.loading import load
from risefall.cli.main import EXIT_INTERRUPTED
from risefall.cli.options import config_options, json_option
from risefall.config.haproxy.plan import Loaded
from risefall.config.haproxy.units import long_ms
from risefall.sim.agents import follow_agents
from risefall.sim.grid import USUAL, Setting, parse_sweep
from risefall.sim.runs import build_estate, first_minute, simulate
from risefall.sim.scenario import DEFAULT, Scenario, load_scenario
from risefall.sim.sweep import Ground, sweep
from risefall.sim.wants import Choice, Scored, Want, choose, front, parse_wants
from risefall.sim.weather import make_weather


class Summary(msgspec.Struct, frozen=True):
    """The last line of `--json`."""

    simulated_checks: int
    transitions: int
    wall_s: float
    span_s: float
    seed: int
    balancers: int
    left_out: list[tuple[str, str]]


NOT_MET = 1
SPAN_MAX_MS = 10 * 366 * 86_400_000


def span_of(text: str) -> int:
    """Milliseconds; HAProxy's own times end at 24 days, a span does not. Raises click.BadParameter."""
    try:
        ms = long_ms(text) if not text.isdigit() else 0
    except ValueError:
        ms = 0
    if not 1000 <= ms <= SPAN_MAX_MS:
        raise click.BadParameter(f"'{text}' is no span; write 1s to 3660d, such as 30d", param_hint="--span")
    return ms


class Chosen(msgspec.Struct, frozen=True):
    """What `--want` came to. met: false where no setting gives it, and this one comes nearest."""

    met: bool
    lines: tuple[str, ...]
    missed: tuple[str, ...]


class SweepSummary(msgspec.Struct, frozen=True):
    """The last line of `--sweep --json`. front: settings that nothing beats, by load, rising."""

    settings: int
    done: int
    simulated_checks: int
    transitions: int
    wall_s: float
    span_s: float
    seed: int
    balancers: int
    front: list[str]
    want: Chosen | None


class Detections(msgspec.Struct, frozen=True):
    """Each outage that was seen, of one server: seconds until a balancer held it for DOWN."""

    backend: str
    server: str
    detection_s: list[float]


@click.command("simulate")
@partial(config_options, required=False)
@click.option(
    "--scenario", "scenario_file", metavar="FILE", default=None, help="what befalls servers and network (TOML)"
)
@click.option("--span", default="", show_default="30d; 2m with --cluster", help="virtual time, such as 30d")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="the same seed, the same run"
)
@click.option(
    "--sweep",
    "sweep_text",
    metavar="WORD=LOW..HIGH,...",
    default="",
    help="every setting of a grid, on all cores: the best in detection, false alarms and load",
)
@click.option(
    "--want",
    "want_text",
    metavar="MEASURE<=MOST,...",
    default="",
    help=f"the setting with the least load that gives this, such as detect<=5s,false<=1/year; without --sweep of {USUAL}",
)
@click.option(
    "--plot",
    "plot_folder",
    metavar="FOLDER",
    default="",
    help="write pictures there: detection, spread of checks, maxconn and slowstart; of a sweep its front",
)
@click.option(
    "--cluster",
    "cluster",
    metavar="FILE [FILE ...]",
    multiple=True,
    help="keepalived.conf of each node: who is MASTER when, and when requests are lost",
)
@click.argument("nodes", nargs=-1, metavar="")
@click.option("--detections", is_flag=True, help="with --json: a line a server with every detection time")
@click.option(
    "--jobs", type=click.IntRange(1, 1024), default=None, help="processes of a sweep; by default one for each core"
)
@json_option
def command(
    files: tuple[str, ...],
    dialect: str,
    strict: bool,
    scenario_file: str | None,
    span: str,
    seed: int,
    sweep_text: str,
    want_text: str,
    detections: bool,
    jobs: int | None,
    plot_folder: str,
    cluster: tuple[str, ...],
    nodes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Runs the checks of a configuration in virtual time: detection, false alarms, load.

    \b
    Example:
      risefall simulate -f /etc/haproxy/haproxy.cfg --span 30d
      risefall simulate -f haproxy.cfg --sweep inter=1s..10s,fall=2..5 --want "detect<=5s,false<=1/month"
      risefall simulate --cluster node1.conf node2.conf --scenario failover.toml -f haproxy.cfg
    """
    if nodes and not cluster:
        raise click.UsageError(f"'{nodes[0]}' stands for itself: configurations are named by -f, or nodes by --cluster")
    if not files and not cluster:
        raise click.UsageError("name a haproxy.cfg by -f, or each node's keepalived.conf by --cluster")
    span_ms = span_of(span or ("2m" if cluster else "30d"))
    if cluster:
        if sweep_text or want_text:
            raise click.UsageError("--cluster is one run: leave --sweep and --want out")
        from risefall.cli.simulate_cluster import run_cluster

        loaded_ = load(files, dialect, strict) if files else None
        run_cluster((*cluster, *nodes), loaded_, scenario_file, span_ms, seed, as_json, strict, plot_folder)
        return
    wants = parse_wants(want_text) if want_text else []
    settings = parse_sweep(sweep_text or USUAL) if sweep_text or wants else []
    scenario = load_scenario(scenario_file) if scenario_file else DEFAULT
    loaded = load(files, dialect, strict)
    if settings:
        sweep_all(loaded, scenario, span_ms, seed, settings, wants, jobs, as_json, plot_folder)
    else:
        plain = scenario_file is None
        run_one(loaded, scenario, span_ms, seed, as_json, plain=plain, detections=detections, plot_folder=plot_folder)


def run_one(
    loaded: Loaded,
    scenario: Scenario,
    span_ms: int,
    seed: int,
    as_json: bool,
    *,
    plain: bool,
    detections: bool,
    plot_folder: str,
) -> None:
    """One run, told."""
    estate = build_estate(loaded)
    weather = make_weather(scenario, len(estate.servers), span_ms, seed)
    outcome = simulate(estate, scenario, weather, span_ms=span_ms, seed=seed)
    following = follow_agents(loaded, estate, scenario, weather, span_ms, seed) if scenario.agent else None
    if plot_folder:
        from risefall.sim.pictures import draw_agents, draw_run

        if following is not None:
            click.echo(str(draw_agents(Path(plot_folder), following)), err=True)
        herded = first_minute(estate, msgspec.structs.replace(scenario, together=True), weather, seed)
        for path in draw_run(Path(plot_folder), outcome, herded, estate):
            click.echo(str(path), err=True)
    if not as_json:
        from risefall.cli.simulate_show import show, show_agents

        show(outcome, scenario, span_ms / 1000, seed, plain)
        if following is not None:
            show_agents(following)
        return
    sys.stdout.write(msgspec.json.Encoder().encode_lines(outcome.rows).decode())
    if detections:
        for row, seen in zip(outcome.rows, outcome.seen, strict=True):
            click.echo(msgspec.json.encode(Detections(row.backend, row.server, seen.detection)))
    if following is not None:
        for one in following.followers:
            click.echo(msgspec.json.encode({"kind": "agent", **msgspec.to_builtins(one)}))
    summary = Summary(
        simulated_checks=outcome.simulated_checks,
        transitions=outcome.transitions,
        wall_s=outcome.wall_s,
        span_s=span_ms / 1000,
        seed=seed,
        balancers=scenario.balancers,
        left_out=outcome.left_out,
    )
    click.echo(msgspec.json.encode(summary))


def sweep_all(
    loaded: Loaded,
    scenario: Scenario,
    span_ms: int,
    seed: int,
    settings: list[Setting],
    wants: list[Want],
    jobs: int | None,
    as_json: bool,
    plot_folder: str,
) -> None:
    """A sweep, told. Exits with 130 when it was interrupted, with 1 when no setting gives what was wanted."""
    from rich.console import Console
    from rich.progress import track

    started = time.perf_counter()
    weather = make_weather(scenario, len(build_estate(loaded).servers), span_ms, seed)
    ground = Ground(loaded, scenario, weather, span_ms, seed)
    scored: list[Scored] = []
    interrupted = False
    errors = Console(stderr=True)
    try:
        with closing(sweep(ground, settings, jobs)) as running:
            for one in track(running, "settings", len(settings), console=errors, disable=not errors.is_terminal):
                scored.append(one)
    except KeyboardInterrupt:
        interrupted = True
    order = {setting: place for place, setting in enumerate(settings)}
    scored.sort(key=lambda one: order[one.setting])
    choice = choose(scored, wants) if wants and scored else None
    if plot_folder and scored:
        from risefall.sim.pictures import draw_pareto

        click.echo(str(draw_pareto(Path(plot_folder), scored, choice.chosen if choice else None)), err=True)
    if as_json:
        tell_sweep(scored, len(settings), choice, ground, time.perf_counter() - started)
    else:
        from risefall.cli.simulate_show import show_sweep

        show_sweep(scored, len(settings), wants, choice)
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if choice is not None and choice.missed:
        sys.exit(NOT_MET)


def tell_sweep(scored: list[Scored], total: int, choice: Choice | None, ground: Ground, wall_s: float) -> None:
    """An object a setting, and the summary."""
    for one in scored:
        click.echo(msgspec.json.encode({"words": one.setting.words, **msgspec.to_builtins(one)}))
    chosen = None
    if choice is not None:
        missed = tuple(want.said for want in choice.missed)
        chosen = Chosen(not missed, choice.chosen.setting.lines, missed)
    summary = SweepSummary(
        settings=total,
        done=len(scored),
        simulated_checks=sum(one.simulated_checks for one in scored),
        transitions=sum(one.transitions for one in scored),
        wall_s=wall_s,
        span_s=ground.span_ms / 1000,
        seed=ground.seed,
        balancers=ground.scenario.balancers,
        front=[one.setting.words for one in front(scored)],
        want=chosen,
    )
    click.echo(msgspec.json.encode(summary))
