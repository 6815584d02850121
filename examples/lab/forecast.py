"""What the lab's configurations foretell: who becomes MASTER when, and when a check turns a server.

The election is risefall's model of keepalived in virtual time, from the keepalived.conf that the nodes run. When in an advert
interval a thing breaks, and when in a script's interval, is not known beforehand: so the model runs for many such moments,
and the forecast of a change is the earliest and the latest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from risefall.config.keepalived import read
from risefall.config.keepalived.model import Config
from risefall.config.text import Source
from risefall.vrrp.actions import State
from risefall.vrrp.network import Network
from risefall.vrrp.settings import US_PER_S, InstanceSettings
from risefall.vrrp.trackers import UP, Kind, Tracked

PHASES = 10
SETTLED_US = 20 * US_PER_S
"""By then the election of the start is over."""
AHEAD_US = 12 * US_PER_S
Step = Callable[[Network], None]


class Window(msgspec.Struct, frozen=True):
    """Seconds after the cause."""

    low_s: float
    high_s: float

    def __str__(self) -> str:
        return f"{self.low_s:.1f}-{self.high_s:.1f} s"


AT_ONCE = Window(0, 0)


class Turn(msgspec.Struct, frozen=True):
    """One change of a node's state."""

    node: str
    state: str
    window: Window


class Pace(msgspec.Struct, frozen=True):
    """How a check is made: of `risefall plan --json`, in ms."""

    rise: int
    fall: int
    inter_ms: int
    agent_inter_ms: int
    timeout_check_ms: int

    def down(self, *, silent: bool = False) -> Window:
        """silent: no refusal comes back, so that each check takes its whole time-out."""
        waits_ms = self.fall * self.timeout_check_ms if silent else 0
        return Window((self.fall - 1) * self.inter_ms / 1000, (self.fall * self.inter_ms + waits_ms) / 1000)

    def up(self) -> Window:
        """From the moment that the server answers again; a check that still waits for the dead one ends first."""
        return Window(
            (self.rise - 1) * self.inter_ms / 1000, (self.rise * self.inter_ms + self.timeout_check_ms) / 1000
        )

    def agent(self, every_ms: int) -> Window:
        """every_ms: how often the agent looks at its own signals."""
        return Window(0, (self.agent_inter_ms + every_ms) / 1000)


class Cluster:
    """The nodes as their keepalived.conf describes them."""

    def __init__(self, text: str, nodes: dict[str, str]) -> None:
        """nodes: address by name; the name is the config's id."""
        self.configs: dict[str, Config] = {
            name: read(Source("keepalived.conf", text), config_id=name, hear=lambda _: None) for name in nodes
        }
        self.addresses = nodes
        script = self.configs[next(iter(nodes))].scripts[0]
        self.script = f"script {script.name}"
        second_s = script.interval_ms / 1000
        self.script_down = Window((script.fall - 1) * second_s, script.fall * second_s)
        self.script_up = Window((script.rise - 1) * second_s, script.rise * second_s)

    def _settings(self, name: str) -> InstanceSettings:
        own = self.configs[name].instances[0]
        return InstanceSettings(
            name=own.name,
            source=self.addresses[name],
            vrid=own.vrid,
            priority=own.priority,
            version=own.version,
            adv_us=own.advert_int_ms * 1000,
            vips=tuple(vip.address for vip in own.vips),
            nopreempt=own.nopreempt,
            preempt_delay_us=own.preempt_delay_ms * 1000,
            down_timer_adverts=own.down_timer_adverts,
        )

    @property
    def advert_s(self) -> float:
        """The longest interval between adverts."""
        return max(one.instances[0].advert_int_ms for one in self.configs.values()) / 1000

    def _network(self, before: Step | None) -> Network:
        network = Network(record=False)
        for name, config in self.configs.items():
            tracks = [
                Tracked(Kind.SCRIPT, one.name, one.weight, one.reverse) for one in config.instances[0].track_scripts
            ]
            network.add_node(name, [self._settings(name)], tracked={config.instances[0].name: tracks})
            network.read(name, self.script, UP)
            network.start(name)
        if before is not None:
            network.at(SETTLED_US // 2, lambda: before(network))
        return network

    def _runs(self, step: Step, lag: Window, before: Step | None) -> Iterator[tuple[int, Network]]:
        advert_us = round(self.advert_s * US_PER_S)
        for phase in range(PHASES):
            for part in (0.0, 0.5, 1.0):
                network = self._network(before)
                caused_us = SETTLED_US + phase * advert_us // PHASES
                late_us = round((lag.low_s + part * (lag.high_s - lag.low_s)) * US_PER_S)
                network.at(caused_us + late_us, lambda network=network: step(network))  # type: ignore[misc]
                network.run(caused_us + AHEAD_US)
                yield caused_us, network

    def foretell(self, step: Step, *, lag: Window = AT_ONCE, before: Step | None = None) -> list[Turn]:
        """The changes that follow.

        Args:
            step: what breaks or heals, done to the model.
            lag: how long after the cause it is noticed, as by a script.
            before: what is broken already.
        """
        found: dict[tuple[str, int], list[tuple[str, float]]] = {}
        runs = 0
        for caused_us, network in self._runs(step, lag, before):
            runs += 1
            seen: dict[str, int] = {}
            for change in network.changes:
                if change.at_us >= caused_us:
                    nth = seen[change.node] = seen.get(change.node, 0) + 1
                    after_s = (change.at_us - caused_us) / US_PER_S
                    found.setdefault((change.node, nth), []).append((change.state.name, after_s))
        turns = []
        for (node, _), ends in found.items():
            states, times = {state for state, _ in ends}, [after_s for _, after_s in ends]
            if len(states) != 1 or len(ends) != runs:
                raise ValueError(f"what {node} does hangs on the moment: {sorted(states)}")
            turns.append(Turn(node, states.pop(), Window(min(times), max(times))))
        return turns

    def masters(self, *steps: Step) -> set[str]:
        """Who is MASTER once all this has happened and some time has passed."""
        network = self._network(None)
        for step in steps:
            network.at(SETTLED_US, lambda step=step: step(network))  # type: ignore[misc]
        network.run(SETTLED_US + AHEAD_US)
        return {name for name in network.nodes if network.state(name) is State.MASTER}
