"""What a scenario file may say: latencies, balancers, and the faults that befall servers and ways.

The default is a plain estate: it is an assumption, and is told with every answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, field

from risefall.agent.load import parse_struct, read_text
from risefall.agent.settings import DAY_MS
from risefall.engine.recorded import read_histogram

LONG = {"unit": "long ms"}
"""A time that may be longer than HAProxy's own."""
Share = Annotated[float, Meta(ge=0, le=1, description="write a share from 0 to 1, such as 0.01")]
Ms = Annotated[float, Meta(gt=0, le=4_000_000, description="milliseconds above 0, such as 0.5")]
Gap = Annotated[int, Meta(ge=1000, le=3650 * DAY_MS, extra=LONG, description="write 1s to 3650d, such as 7d")]
Length = Annotated[int, Meta(ge=1, le=365 * DAY_MS, extra=LONG, description="write 1ms to 365d, such as 40s")]

Moment = Annotated[int, Meta(ge=0, le=3660 * DAY_MS, extra=LONG, description="write times up to 3660d, such as 10s")]


class Shape(StrEnum):
    """How latencies are spread."""

    CONSTANT = "constant"
    NORMAL = "normal"
    LOGNORMAL = "lognormal"
    PARETO = "pareto"
    HISTOGRAM = "histogram"


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long something takes.

    median: the middle; of a Pareto its least value. sigma: of a normal in ms, of a log-normal of the logarithm.
    alpha: how fast a Pareto's tail falls. points: of a histogram: (milliseconds, count), rising.
    even: counts lie evenly between a point and the one before it, else at the point. file: what `risefall bench --record` has
    written, in place of points; beside the scenario.
    """

    shape: Shape = Shape.LOGNORMAL
    median: Ms = 20.0
    sigma: Annotated[float, Meta(ge=0, le=100_000, description="write 0 or more")] = 0.8
    alpha: Annotated[float, Meta(ge=0.1, le=100, description="write 0.1 to 100; below 2 the tail is heavy")] = 2.0
    points: tuple[tuple[float, float], ...] = ()
    even: bool = False
    file: str = ""


class Fault(StrEnum):
    """What befalls a server, or the way from a balancer."""

    CRASH = "crash"
    RESTART = "restart"
    HOST = "host"
    HANG = "hang"
    WRONG = "wrong"
    PAUSE = "pause"
    BROWNOUT = "brownout"
    BURST = "burst"
    PARTITION = "partition"
    REBOOT = "reboot"


DEAD = frozenset((Fault.CRASH, Fault.RESTART, Fault.HOST, Fault.HANG, Fault.WRONG))
"""While one of these lasts, a server is down in truth."""
OF_BALANCERS = frozenset((Fault.PARTITION, Fault.REBOOT))


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens again and again, or at set times.

    every: the mean time between two, exponential. at: set times instead. lasts: how long; steady: always exactly that,
    else exponential with that mean. slow: a reply's time, times this. on: whose it is.
    """

    kind: Fault
    every: Gap | None = None
    at: tuple[Moment, ...] = ()
    lasts: Length = 40_000
    steady: bool = False
    slow: Annotated[float, Meta(ge=0.01, le=10_000, description="write a factor, such as 10")] = 1.0
    loss: Share = 0.0
    wrong: Share = 0.0
    balancer: Annotated[int, Meta(ge=0, le=1000, description="0: each; else its number, from 1")] = 0


class Trouble(StrEnum):
    """What befalls a node of keepalived (`--cluster`)."""

    SCRIPT = "script"
    HAPROXY = "haproxy"
    LINK = "link"
    PACKETS = "packets"
    NODE = "node"


class ClusterEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trouble of one node. script: a vrrp_script fails; haproxy: HAProxy is gone, and the script that asks for it (or all)
    fails; link: an interface is down; packets: adverts that it sends are lost; node: the host is dead.

    name: of the script or the interface. lasts: for ever where it is left out.
    """

    kind: Trouble
    at: Moment
    lasts: Length | None = None
    node: Annotated[int, Meta(ge=1, le=255, description="its number, from 1")] = 1
    name: str = ""
    loss: Share = 1.0


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Round trips, and the share of packets that are lost: TCP sends them again, after 1 s or 200 ms."""

    trip: Latency = Latency(median=0.5, sigma=0.5)
    loss: Share = 0.00001


class Played(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the agents of all servers have measured (a trace, as `risefall agent --replay` reads it), and the rules by which they
    answer. settings, trace: beside the scenario. service: which of the settings; not needed where there is one.
    """

    settings: str
    trace: str
    service: str = ""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole file. together: all balancers start at the same moment, as after a power cut."""

    balancers: Annotated[int, Meta(ge=1, le=1000, description="write 1 to 1000")] = 2
    together: bool = False
    network: Network = Network()
    reply: Latency = Latency()
    wrong: Share = 0.0
    event: tuple[Event, ...] = field(default=())
    vrrp: tuple[ClusterEvent, ...] = ()
    agent: Played | None = None


HOUR_MS, MINUTE_MS = 3_600_000, 60_000
DEFAULT = Scenario(
    event=(
        Event(kind=Fault.CRASH, every=14 * DAY_MS, lasts=10 * MINUTE_MS),
        Event(kind=Fault.HOST, every=30 * DAY_MS, lasts=20 * MINUTE_MS),
        Event(kind=Fault.HANG, every=30 * DAY_MS, lasts=10 * MINUTE_MS),
        Event(kind=Fault.WRONG, every=30 * DAY_MS, lasts=5 * MINUTE_MS),
        Event(kind=Fault.RESTART, every=7 * DAY_MS, lasts=40_000, steady=True),
        Event(kind=Fault.PAUSE, every=HOUR_MS, lasts=500),
        Event(kind=Fault.BROWNOUT, every=DAY_MS, lasts=3 * MINUTE_MS, slow=20.0, wrong=0.02),
        Event(kind=Fault.BURST, every=6 * HOUR_MS, lasts=5000, loss=0.3),
        Event(kind=Fault.PARTITION, every=30 * DAY_MS, lasts=20_000),
    )
)


def findings(made: Scenario, folder: Path) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """What only several values together can get wrong, and files that are not there."""
    for name, latency in (("reply", made.reply), ("network", made.network.trip)):
        where = (name,) if name == "reply" else ("network", "trip")
        if latency.file:
            try:
                read_histogram(folder / latency.file)
            except ValueError as error:
                yield (*where, "file"), f"'{latency.file}': {error}", "write one by risefall bench --record"
            if latency.shape is not Shape.HISTOGRAM or latency.points:
                yield (*where, "file"), 'a file is for shape = "histogram", without points', "leave the other out"
            continue
        ms = [point[0] for point in latency.points]
        if latency.shape is Shape.HISTOGRAM and (len(ms) < 1 or ms != sorted(set(ms)) or ms[0] < 0):
            yield (*where, "points"), "a histogram wants points that rise", "write points = [[1, 10], [5, 90]]"
        if any(point[1] < 0 for point in latency.points) or (latency.points and not sum(p[1] for p in latency.points)):
            yield (*where, "points"), "counts cannot be negative, nor all 0", "write points = [[1, 10], [5, 90]]"
    for index, event in enumerate(made.event):
        if (event.every is None) == (not event.at):
            yield ("event", index), "an event wants either 'every' or 'at'", 'write every = "7d", or at = ["10s"]'
        if event.balancer > made.balancers:
            yield ("event", index, "balancer"), f"there are {made.balancers} balancers", "0 means each of them"
    if made.agent is not None:
        for key, path in (("settings", made.agent.settings), ("trace", made.agent.trace)):
            if not (folder / path).is_file():
                yield ("agent", key), f"'{path}': there is no such file", f"it is looked for in {folder}"


def found(latency: Latency, folder: Path) -> Latency:
    """With the points of its file."""
    if not latency.file:
        return latency
    recorded = read_histogram(folder / latency.file)
    points = zip((edge / 1000 for edge in recorded.edges), (0, *recorded.counts), strict=True)
    return msgspec.structs.replace(latency, points=tuple(points), even=True, file="")


def parse_scenario(text: str, name: str = "scenario.toml") -> Scenario:
    """Files that it names are looked for in the folder of `name`. Raises ConfigError with every error and its place."""
    folder = Path(name).parent
    made: Scenario = parse_struct(text, name, Scenario, partial(findings, folder=folder))
    agent = made.agent
    if agent is not None:
        agent = msgspec.structs.replace(agent, settings=str(folder / agent.settings), trace=str(folder / agent.trace))
    network = msgspec.structs.replace(made.network, trip=found(made.network.trip, folder))
    return msgspec.structs.replace(made, reply=found(made.reply, folder), network=network, agent=agent)


def load_scenario(path: str) -> Scenario:
    """The scenario of a file. Raises ConfigError."""
    return parse_scenario(read_text(path, "this is no scenario"), path)
