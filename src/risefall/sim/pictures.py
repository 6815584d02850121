"""A run or a sweep as pictures: one PNG for each question, in a folder. matplotlib is an extra.

Source of the `minconn` curve: haproxy 2.6 `srv_dynamic_maxconn()`, manual §5.2 minconn, §4.2 fullconn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from risefall.config.haproxy.plan import PlannedServer
from risefall.errors import StartError
from risefall.sim.agents import Follower, Following, Held
from risefall.sim.answers import NS_PER_S
from risefall.sim.cluster import Story
from risefall.sim.runs import Estate, Outcome
from risefall.sim.wants import DAY_S, Scored, front
from risefall.state.warming import WARM, warm_weight, warmth_at

DOTS_PER_INCH = 110
CURVES_MAX = 8
BLUE, RED, GREY, GREEN = "#1f5fa8", "#d9534f", "#b0b0b0", "#3c8d40"
LEGEND: dict[str, Any] = {"fontsize": "small", "framealpha": 0.9}


def new_figure(width: float = 9.0, height: float = 4.6) -> Any:
    """Raises StartError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StartError("a picture needs matplotlib: pip install 'risefall[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, folder: Path, name: str) -> Path:
    """Raises StartError where the folder cannot be written."""
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    return path


def draw_run(folder: Path, outcome: Outcome, herded: Sequence[int], estate: Estate) -> list[Path]:
    """What a run has to show. herded: the first minute once more, of balancers that start together."""
    made = [draw_detection(folder, outcome)] if any(one.detection or one.recovery for one in outcome.seen) else []
    made.append(draw_spread(folder, outcome.first_minute, herded))
    if limited := [one for one in estate.servers if is_limited(one)]:
        made.append(draw_maxconn(folder, limited))
    if slow := [one for one in estate.servers if one.config.settings.slowstart_ms]:
        made.append(draw_slowstart(folder, slow))
    return made


def draw_detection(folder: Path, outcome: Outcome) -> Path:
    """The share of outages that are known after a time, and of repairs."""
    figure = new_figure()
    axes = figure.subplots()
    for name, colour, values in (
        ("outage to DOWN", RED, sorted(value for one in outcome.seen for value in one.detection)),
        ("repair to UP", GREEN, sorted(value for one in outcome.seen for value in one.recovery)),
    ):
        if values:
            shares = [100 * (place + 1) / len(values) for place in range(len(values))]
            axes.step(values, shares, where="post", color=colour, linewidth=1.6, label=f"{name} ({len(values)})")
            p99 = values[min(len(values) - 1, int(0.99 * len(values)))]
            axes.axvline(p99, color=colour, linewidth=0.8, linestyle=":")
            axes.annotate(
                f"99 %: {p99:.1f} s", (p99, 2), color=colour, fontsize="small", rotation=90, ha="right", va="bottom"
            )
    axes.set(
        xlabel="seconds", ylabel="percent", ylim=(0, 101), title="How fast changes are known, all servers and balancers"
    )
    axes.set_xlim(left=0)
    axes.legend(loc="center right", **LEGEND)
    return save(figure, folder, "detection.png")


def draw_spread(folder: Path, even: Sequence[int], herded: Sequence[int]) -> Path:
    """Checks that begin in each 100 ms of the first minute."""
    figure = new_figure(height=5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, bins, colour, title in (
        (upper, even, BLUE, "as the scenario starts the balancers"),
        (lower, herded, RED, "all balancers together, as after a power cut"),
    ):
        axes.bar([place / 10 for place in range(len(bins))], bins, width=0.1, align="edge", color=colour)
        mean = sum(bins) / max(1, len(bins))
        axes.axhline(mean, color="#222222", linewidth=0.8, linestyle=":")
        axes.set_title(f"{title}: most {max(bins, default=0)}, mean {mean:.1f}", fontsize="medium")
        axes.set_ylabel("checks in 100 ms")
        axes.yaxis.get_major_locator().set_params(integer=True)
    lower.set_xlabel("seconds from the start")
    lower.set_xlim(0, len(even) / 10)
    return save(figure, folder, "spread.png")


def is_limited(planned: PlannedServer) -> bool:
    """Whether its limit of connections moves with the backend's load."""
    settings = planned.config.settings
    return 0 < settings.minconn != settings.maxconn > 0 and planned.proxy.fullconn > 0


def maxconn_at(connections: int, minconn: int, maxconn: int, fullconn: int) -> int:
    """How many connections a server may have while its backend has so many."""
    if connections >= fullconn or minconn == maxconn:
        return maxconn
    return max(minconn, connections * maxconn // fullconn)


def named(servers: Sequence[PlannedServer], key: Any) -> Iterator[tuple[str, PlannedServer]]:
    """One server of each kind, and what it is called."""
    kinds: dict[object, list[PlannedServer]] = {}
    for one in servers:
        kinds.setdefault(key(one), []).append(one)
    for group in list(kinds.values())[:CURVES_MAX]:
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        yield f"{group[0].proxy.name}/{group[0].config.name}{more}", group[0]


def draw_maxconn(folder: Path, servers: Sequence[PlannedServer]) -> Path:
    figure = new_figure()
    axes = figure.subplots()

    def key(one: PlannedServer) -> object:
        return (one.proxy.fullconn, one.config.settings.minconn, one.config.settings.maxconn)

    for name, one in named(servers, key):
        settings, full = one.config.settings, one.proxy.fullconn
        load = range(0, full * 5 // 4 + 2, max(1, full // 500))
        axes.step(
            list(load), [maxconn_at(at, settings.minconn, settings.maxconn, full) for at in load], where="post",
            label=f"{name}: minconn {settings.minconn}, maxconn {settings.maxconn}, fullconn {full}",
        )  # fmt: skip
    axes.set(
        xlabel="connections of the backend",
        ylabel="connections allowed at the server",
        title="minconn, maxconn, fullconn",
    )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", **LEGEND)
    return save(figure, folder, "maxconn.png")


def draw_slowstart(folder: Path, servers: Sequence[PlannedServer]) -> Path:
    figure = new_figure()
    axes = figure.subplots()
    longest_ms = max(one.config.settings.slowstart_ms for one in servers)
    seconds = range(-(-longest_ms // 1000) * 5 // 4 + 2)
    for name, one in named(servers, lambda each: (each.config.settings.slowstart_ms, each.weight)):
        slow_ms = one.config.settings.slowstart_ms
        warmth = [warmth_at(at, slow_ms) for at in seconds]
        weights = [warm_weight(one.weight, WARM if each is None else each) for each in warmth]
        label = f"{name}: weight {one.weight}, slowstart {slow_ms / 1000:g}s"
        axes.step(list(seconds), weights, where="post", label=label)
    axes.set(xlabel="seconds from UP", ylabel="weight that balancing uses", title="slowstart")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", **LEGEND)
    return save(figure, folder, "slowstart.png")


def draw_pareto(folder: Path, scored: Sequence[Scored], chosen: Scored | None) -> Path:
    """Every setting by detection and false alarms, its load as a colour; the front is joined by names."""
    figure = new_figure(10.0, 5.6)
    axes = figure.subplots()
    usable = [one for one in scored if one.detect is not None]
    per_month = 30 * DAY_S
    seen = [one.false * per_month for one in usable if 0 < one.false < float("inf")]
    floor = min(seen, default=1.0) / 3

    def y(one: Scored) -> float:
        return max(one.false * per_month, floor)

    dots = axes.scatter(
        [one.detect for one in usable], [y(one) for one in usable], c=[one.load for one in usable], cmap="viridis", s=22
    )
    figure.colorbar(dots, ax=axes, label="checks a second at a backend")
    best = front(scored)
    axes.scatter(
        [one.detect for one in best], [y(one) for one in best], s=70, facecolors="none", edgecolors=RED, label="front"
    )
    if chosen is not None and chosen.detect is not None:
        axes.scatter([chosen.detect], [y(chosen)], marker="*", s=180, color=RED, label=chosen.setting.words)
    axes.set_yscale("log")
    axes.set(
        xlabel="detection, 99 % (seconds)",
        ylabel="false DOWNs a month of one server",
        title="Detection, false alarms, load",
    )
    if any(one.false == 0 for one in usable):
        axes.axhline(floor, color=GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            "none seen",
            (0.995, floor * 0.97),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="top",
            fontsize="small",
            color="#666666",
        )
    axes.set_xlim(left=0)
    axes.legend(loc="upper right", **LEGEND)
    return save(figure, folder, "pareto.png")


FOLLOWERS_MAX = 6
WORDS = {"drain": "#e8b04a", "maint": "#9a7fc9", "down": RED}


def draw_agents(folder: Path, following: Following) -> Path:
    """The load, what the agent says of it, and what weight each balancer gives the server: of a few servers, the first of each kind."""
    figure = new_figure(10.0, 7.2)
    signals, said, given = figure.subplots(3, 1, sharex=True)
    told, end_s = following.moments, following.span_ns / NS_PER_S
    times = [one.at_ns / NS_PER_S for one in told]
    for signal in following.service.signal:
        signals.plot(times, [one.values.get(signal.name, float("nan")) for one in told], label=signal.name, linewidth=1)
    signals.set_ylabel("the agent's signals")
    said.plot(times, [one.asked_pct for one in told], color=GREY, linewidth=1, label="asked for by load")
    weights = [float("nan") if one.part is None else one.answer.weight_pct for one in told]
    said.step(times, weights, where="post", color=BLUE, linewidth=1.6, label="weight said")
    said.set_ylabel("agent's weight, %")
    said.set_ylim(-3, 105)
    kinds: dict[tuple[str, int, int], tuple[Follower, list[Held]]] = {}
    for one, steps in zip(following.followers, following.held, strict=True):
        kinds.setdefault((one.backend, one.weight_full, one.balancer), (one, steps))
    shown = set()
    for one, steps in list(kinds.values())[:FOLLOWERS_MAX]:
        at_s = [step.at_ns / NS_PER_S for step in steps] + [end_s]
        line = [step.weight for step in steps] + [steps[-1].weight]
        label = f"{one.backend}/{one.server} at balancer {one.balancer}"
        width = max(1.0, 3.0 - one.balancer)  # where two say the same, both are seen
        given.step(at_s, line, where="post", linewidth=width, label=label)
        for place, step in enumerate(steps):
            if step.word:
                name = None if step.word in shown else step.word
                shown.add(step.word)
                given.axvspan(at_s[place], at_s[place + 1], color=WORDS[step.word], alpha=0.15, linewidth=0, label=name)
    given.set_ylabel("weight given")
    given.set_ylim(bottom=0)
    given.set_xlabel("seconds")
    given.set_xlim(0, end_s)
    for axes in (signals, said, given):
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize="small", borderaxespad=0.0)
    return save(figure, folder, "agent.png")


STATES = {"MASTER": GREEN, "BACKUP": "#9db8d6", "FAULT": "#e8b04a", "DEAD": "#444444"}


def draw_cluster(folder: Path, story: Story) -> Path:
    """Who is what when, a lane for each instance of each node; in red when requests are lost, dotted when something begins."""
    lanes = list(dict.fromkeys((instance, node) for _, node, instance, _ in story.states))
    figure = new_figure(10.0, 1.6 + 0.55 * len(lanes))
    axes = figure.subplots()
    for lane, (instance, node) in enumerate(lanes):
        own = [(at_s, state) for at_s, of, which, state in story.states if (which, of) == (instance, node)]
        for place, (at_s, state) in enumerate(own):
            end_s = own[place + 1][0] if place + 1 < len(own) else story.span_s
            axes.barh(lane, end_s - at_s, left=at_s, height=0.6, color=STATES.get(state, GREY))
    for one in story.outages:
        axes.axvspan(one.from_s, story.span_s if one.to_s is None else one.to_s, color=RED, alpha=0.3, linewidth=0)
    for one_ in story.followed:
        axes.axvline(one_.at_s, color="#222222", linewidth=0.9, linestyle=":")
        axes.annotate(
            one_.what,
            (one_.at_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize="x-small",
            rotation=12,
        )
    axes.set_yticks(range(len(lanes)), [f"{node} {instance}" for instance, node in lanes])
    axes.invert_yaxis()
    axes.set_xlim(0, story.span_s)
    axes.set_xlabel("seconds; red: requests are lost")
    for state, colour in STATES.items():
        axes.barh(0, 0, color=colour, label=state)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), **LEGEND)
    return save(figure, folder, "cluster.png")
