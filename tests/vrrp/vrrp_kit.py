"""Two or three nodes on one bridge, told as the spec tells its timelines: seconds, n0 = 10.77.0.1, n1 = .2, n2 = .3."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest

from risefall.vrrp.actions import Log, Send, State
from risefall.vrrp.network import Network
from risefall.vrrp.settings import US_PER_S, InstanceSettings
from risefall.vrrp.trackers import DOWN, UP, Kind, Tracked

CHK = "script chk"
VECTORS = [
    (1, 1, "sfsf", "UP@1 DOWN@2 UP@3 DOWN@4", 0),
    (3, 3, "s", "UP@1", 5),
    (3, 3, "f", "DOWN@1", 0),
    (2, 3, "sffsfffss", "UP@1 DOWN@7 UP@9", 4),
    (3, 2, "ffsssff", "DOWN@1 UP@5 DOWN@7", 0),
    (2, 2, "sfsfsff", "UP@1 DOWN@7", 0),
    (3, 2, "fssfsss", "DOWN@1 UP@7", 4),
    (1, 3, "sfffs", "UP@1 DOWN@4 UP@5", 3),
    (2, 1, "fsfss", "DOWN@1 UP@5", 2),
]
"""Spec §1.10: rise, fall, results, events, the last counter."""
Step = Callable[[Network], None]


def us(seconds: float) -> int:
    """Microseconds."""
    return round(seconds * US_PER_S)


def spec(number: int, priority: int, **changes: object) -> InstanceSettings:
    """The instance VI of node `number`."""
    plain = InstanceSettings(name="VI", source=f"10.77.0.{number + 1}", priority=priority, vips=("10.77.0.100",))
    return msgspec.structs.replace(plain, **changes)


def chk(weight: int = 0, *, reverse: bool = False) -> Tracked:
    """The script `chk`."""
    return Tracked(Kind.SCRIPT, "chk", weight, reverse)


class Lab:
    """A network of nodes with one instance each, and what happened in it in seconds."""

    def __init__(self) -> None:
        self.network = Network()

    def node(
        self, settings: InstanceSettings, start: float, tracked: Iterable[Tracked] = (), *, delay: float = 0
    ) -> Lab:
        """Adds a node that starts then."""
        name = f"n{len(self.network.nodes)}"
        self.network.add_node(name, [settings], tracked={settings.name: [*tracked]})
        self.at(start, lambda network: network.start(name, delay_us=us(delay)))
        return self

    def at(self, seconds: float, step: Step) -> Lab:
        """Does this then."""
        self.network.at(us(seconds), lambda: step(self.network))
        return self

    def fails(self, name: str, seconds: float) -> Lab:
        """The script of this node turns down."""
        return self.at(seconds, lambda network: network.read(name, CHK, DOWN))

    def passes(self, name: str, seconds: float) -> Lab:
        """And up."""
        return self.at(seconds, lambda network: network.read(name, CHK, UP))

    def run(self, seconds: float) -> Lab:
        """Lets time pass up to then."""
        self.network.run(us(seconds))
        return self

    def when(self, name: str, state: State, after: float = 0) -> float:
        """When this node first entered the state after that time; raises StopIteration when it never did."""
        return next(
            one.at_us / US_PER_S
            for one in self.network.changes
            if (one.node, one.state) == (name, state) and one.at_us >= us(after)
        )

    def states(self, name: str) -> list[State]:
        """All that it entered, in order."""
        return [one.state for one in self.network.changes if one.node == name]

    def sent(self, name: str) -> list[tuple[float, int]]:
        """When it sent which priorities."""
        return [
            (one.at_us / US_PER_S, one.action.priority)
            for one in self.network.happened
            if one.node == name and isinstance(one.action, Send)
        ]

    def lines(self, name: str) -> list[str]:
        """What it logged, without -D."""
        return [
            one.action.text
            for one in self.network.happened
            if one.node == name and isinstance(one.action, Log) and not one.action.detail
        ]


def near(seconds: float) -> object:
    """The tolerance of the spec's timelines."""
    return pytest.approx(seconds, abs=0.1)
