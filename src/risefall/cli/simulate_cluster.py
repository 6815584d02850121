"""`risefall simulate --cluster`: the time line of VRRP nodes, and beside it that of the checks they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from risefall.cli.console import Screen
from risefall.cli.vrrp import load as load_keepalived
from risefall.config.haproxy.plan import Loaded
from risefall.errors import ConfigError
from risefall.sim.answers import NS_PER_S
from risefall.sim.cluster import Cluster, Story
from risefall.sim.runs import build_estate, simulate
from risefall.sim.scenario import ClusterEvent, Scenario, Trouble, load_scenario
from risefall.sim.weather import make_weather

USUAL = Scenario(
    vrrp=(
        ClusterEvent(kind=Trouble.HAPROXY, at=10_000, lasts=20_000),
        ClusterEvent(kind=Trouble.LINK, at=50_000, lasts=4000),
        ClusterEvent(kind=Trouble.PACKETS, at=70_000, lasts=10_000),
        ClusterEvent(kind=Trouble.NODE, at=100_000),
    )
)
"""Without --scenario: HAProxy of the first node is gone, its link, its adverts, and at last the host."""


class ServerLost(msgspec.Struct, frozen=True):
    """A backend server fails: until each node holds it for DOWN. lost_s: until the one that serves then does."""

    server: str
    at_s: float
    down_s: dict[str, float | None]
    master: str
    lost_s: float | None


def names_of(paths: Sequence[str]) -> list[str]:
    """What nodes are called: their files' stems, told apart."""
    stems = [Path(path).stem for path in paths]
    return [stem if stems.count(stem) == 1 else f"{stem}{place + 1}" for place, stem in enumerate(stems)]


def master_at(story: Story, at_s: float) -> str:
    """The node that became MASTER last before then."""
    return next((node for when, node, _, state in reversed(story.states) if state == "MASTER" and when <= at_s), "")


def servers_lost(loaded: Loaded, scenario: Scenario, story: Story, span_ms: int, seed: int) -> list[ServerLost]:
    """What the checks of each node make of the scenario's events."""
    scenario = msgspec.structs.replace(scenario, balancers=len(story.nodes))
    estate = build_estate(loaded)
    weather = make_weather(scenario, len(estate.servers), span_ms, seed)
    outcome = simulate(estate, scenario, weather, span_ms=span_ms, seed=seed)
    out = []
    for server, (row, dead) in enumerate(zip(outcome.rows, weather.dead, strict=True)):
        for begin_ns, end_ns in dead:
            if begin_ns >= span_ms * 1_000_000:
                continue
            down: dict[str, float | None] = {}
            for prober, node in enumerate(story.nodes):
                turn = outcome.opinions[server * len(story.nodes) + prober].after(begin_ns, up=False)
                down[node] = (turn[0] - begin_ns) / NS_PER_S if turn is not None and turn[1] < end_ns else None
            master = master_at(story, begin_ns / NS_PER_S)
            out.append(ServerLost(f"{row.backend}/{row.server}", begin_ns / NS_PER_S, down, master, down.get(master)))
    return sorted(out, key=lambda one: (one.at_s, one.server))


def run_cluster(
    paths: Sequence[str],
    loaded: Loaded | None,
    scenario_file: str | None,
    span_ms: int,
    seed: int,
    as_json: bool,
    strict: bool,
    plot_folder: str,
) -> None:
    """Runs it, told."""
    scenario = load_scenario(scenario_file) if scenario_file else USUAL
    if not scenario.vrrp:
        raise ConfigError(f"{scenario_file}: error: nothing befalls a node\n  help: add [[vrrp]] with kind and at")
    configs = [(name, load_keepalived(path, name, strict)) for name, path in zip(names_of(paths), paths, strict=True)]
    story = Cluster(configs, seed).run(scenario.vrrp, span_ms)
    lost = servers_lost(loaded, scenario, story, span_ms, seed) if loaded is not None else []
    if plot_folder:
        from risefall.sim.pictures import draw_cluster

        click.echo(str(draw_cluster(Path(plot_folder), story)), err=True)
    if as_json:
        for kind, listed in (
            ("moment", story.moments),
            ("outage", story.outages),
            ("server", lost),
            ("trouble", story.followed),
        ):
            for one in listed:
                click.echo(msgspec.json.encode({"kind": kind, **msgspec.to_builtins(one)}))
        return
    console = Screen(highlight=False, markup=False, soft_wrap=True)
    lines = [(one.at_s, f"{one.node}: {one.what}") for one in story.moments]
    lines += [(one.from_s, f"requests to {one.instance} are lost") for one in story.outages]
    lines += [
        (one.to_s, f"requests to {one.instance} are served again") for one in story.outages if one.to_s is not None
    ]
    for each in lost:
        lines.append((each.at_s, f"{each.server} fails"))
        lines += [
            (each.at_s + after, f"{node}: {each.server} is DOWN" + (" (MASTER)" if node == each.master else ""))
            for node, after in each.down_s.items()
            if after is not None
        ]
    for at_s, text in sorted(lines, key=lambda line: line[0]):
        console.print(f"{at_s:10.3f} s  {text}")
    console.print()
    for one in story.followed:
        until = (
            f"last lost request {one.last_lost_s:.3f} s later, {one.lost_s:.3f} s lost in all"
            if one.last_lost_s is not None
            else "no request lost"
        )
        console.print(f"{one.at_s:10.3f} s  {one.what}: {until}")
    for each in lost:
        after = (
            f"{each.lost_s:.3f} s until {each.master} sends it no more"
            if each.lost_s is not None
            else f"{each.master or 'nobody'} never saw it"
        )
        console.print(f"{each.at_s:10.3f} s  {each.server} fails: {after}")
