"""Nodes of keepalived in virtual time: who has the addresses when, and when requests to them are lost.

Elections, scripts and priorities are `vrrp/`'s own. A request arrives at the node that announced itself last: when it became
MASTER, or as MASTER heard a lower priority (keepalived 2.2.7 sends gratuitous ARP then). It is served while that node lives,
is MASTER still, has its link, and its HAProxy runs. Neighbours are taken to believe an announcement at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from risefall.config.keepalived.model import Config
from risefall.errors import ConfigError
from risefall.evaluator.node import settings_of, trackers_of
from risefall.sim.scenario import ClusterEvent, Trouble
from risefall.vrrp.actions import Enter, HeardLower, State
from risefall.vrrp.network import Network
from risefall.vrrp.scripts import Outcome, Script, ScriptSettings, Start, Turned
from risefall.vrrp.settings import Imitated
from risefall.vrrp.trackers import DOWN, UP, Kind

US_PER_MS = 1000
DEAD = "DEAD"
"""Of a node whose host is gone, beside the states of an instance."""
SCRIPT_TAKES_US = 5 * US_PER_MS
BETWEEN_STARTS_US = 10 * US_PER_MS


class Moment(msgspec.Struct, frozen=True):
    """One line of the time line."""

    at_s: float
    node: str
    what: str


class Outage(msgspec.Struct, frozen=True):
    """Requests to the addresses of one instance are lost from .. to; to_s None: until the end."""

    instance: str
    from_s: float
    to_s: float | None


class Followed(msgspec.Struct, frozen=True):
    """What one trouble led to, until the next one begins. last_lost_s: from its beginning; None where nothing was lost."""

    at_s: float
    what: str
    last_lost_s: float | None
    lost_s: float


class Story(msgspec.Struct, frozen=True):
    """A whole run."""

    span_s: float
    nodes: list[str]
    moments: list[Moment]
    states: list[tuple[float, str, str, str]]
    """When, node, instance, state."""
    outages: list[Outage]
    followed: list[Followed]


class Cluster:
    """The nodes, and what befalls them."""

    def __init__(self, configs: Sequence[tuple[str, Config]], seed: int) -> None:
        """configs: names and what they say. Raises ConfigError where no instance is shared."""
        luck = Random(f"{seed} packets")
        self.loss: dict[str, float] = {}
        self.network = Network(lost=lambda sender, receiver: luck.random() < self.loss.get(sender, 0.0))
        self.names = [name for name, _ in configs]
        self.configs = dict(configs)
        self.moments: list[Moment] = []
        self.states: list[tuple[float, str, str, str]] = []
        self.dead_haproxy: set[str] = set()
        self.dead_nodes: set[str] = set()
        self.failing: dict[str, set[str]] = {name: set() for name in self.names}
        interfaces: dict[int, str] = {}
        self.links: dict[str, dict[str, str]] = {}
        for number, (name, config) in enumerate(configs):
            if not config.instances:
                raise ConfigError(f"error: '{name}' has no vrrp_instance\n  help: give a keepalived.conf that has one")
            groups = {one.name: one for one in config.groups}
            scripts = {one.name for one in config.scripts}
            settings, links = [], {}
            for one in config.instances:
                family = "fe80::" if one.family == 6 else "192.0.2."
                settings.append(settings_of(one, f"{family}{number + 1}", Imitated.V2_2_7))
                links[one.name] = interfaces.setdefault(one.vrid, one.interface or "eth0")
            self.links[name] = {one.interface or "eth0": links[one.name] for one in config.instances}
            tracked = {one.name: trackers_of(one, groups.get(one.group or ""), scripts) for one in config.instances}
            members = {one.name: [*one.members] for one in config.groups}
            self.network.add_node(name, settings, links=links, tracked=tracked, groups=members)
            for key, each in {each.key: each for listed in tracked.values() for each in listed}.items():
                if each.kind in (Kind.PROCESS, Kind.BFD):
                    self.network.read(name, key, UP)  # what nothing befalls is well

    # --- running ------------------------------------------------------------------------------------------

    def run(self, events: Sequence[ClusterEvent], span_ms: int) -> Story:
        """All of it. Raises ConfigError where an event names what is not there."""
        span_us = span_ms * US_PER_MS
        for number, name in enumerate(self.names):
            self.network.at(number * BETWEEN_STARTS_US, lambda name=name: self.network.start(name))  # type: ignore[misc]
            for one in self.configs[name].scripts:
                settings = ScriptSettings(
                    one.name, one.interval_ms * US_PER_MS, (one.timeout_ms or 0) * US_PER_MS, one.rise, one.fall
                )
                self._tick(name, Script(settings), number * BETWEEN_STARTS_US, span_us)
        for event in events:
            self._plan(event, span_us)
        edges: list[tuple[int, dict[str, bool]]] = []
        owners: dict[str, str] = {}
        seen = 0
        while True:
            for happened in self.network.happened[seen:]:
                seen += 1
                action = happened.action
                if isinstance(action, HeardLower) or (isinstance(action, Enter) and action.state is State.MASTER):
                    owners[action.instance] = happened.node
                if isinstance(action, Enter):
                    what = f"{action.instance} is {action.state.name}, priority {action.priority}"
                    self.states.append((happened.at_us / 1e6, happened.node, action.instance, action.state.name))
                    self._say(happened.node, what, happened.at_us)
            now = {name: self._served(name, owner) for name, owner in owners.items()}
            if not edges or edges[-1][1] != now:
                edges.append((self.network.now_us, now))
            if self.network.next_us() > span_us:
                break
            self.network.run(self.network.next_us())
        outages = outages_of(edges)
        moments = sorted(self.moments, key=lambda one: one.at_s)
        begun = sorted({(event.at / 1000, self._words(event)) for event in events if event.at < span_ms})
        ends = [*(at_s for at_s, _ in begun[1:]), span_ms / 1000]
        followed = [follow(at_s, what, end_s, outages) for (at_s, what), end_s in zip(begun, ends, strict=True)]
        return Story(span_ms / 1000, self.names, moments, self.states, outages, followed)

    def _served(self, instance: str, owner: str) -> bool:
        node = self.network.nodes[owner]
        port = node.ports[instance]
        up = owner not in self.dead_nodes | self.dead_haproxy and port.link not in node.links_down
        return up and port.instance.state is State.MASTER

    def _say(self, node: str, what: str, at_us: int | None = None) -> None:
        self.moments.append(Moment((self.network.now_us if at_us is None else at_us) / 1e6, node, what))

    def _tick(self, node: str, script: Script, at_us: int, span_us: int) -> None:
        """One run of a script, and all that follow: its result is what is true when it starts."""

        def begin() -> None:
            if node not in self.dead_nodes:
                failed = script.settings.name in self.failing[node]
                for action in script.time(at_us):
                    if isinstance(action, Start):
                        self.network.at(at_us + SCRIPT_TAKES_US, lambda run=action.run: end(run, failed))  # type: ignore[misc]
            if script.tick_us <= span_us:
                self._tick(node, script, max(script.tick_us, at_us + script.settings.interval_us), span_us)

        def end(run: int, failed: bool) -> None:
            for action in script.reaped(run, Outcome(status=int(failed))):
                if isinstance(action, Turned):
                    self._say(node, f"script {script.settings.name} is {'up' if action.up else 'down'}")
                    self.network.read(node, f"script {script.settings.name}", UP if action.up else DOWN)

        self.network.at(at_us, begin)

    # --- troubles -------------------------------------------------------------------------------------------

    def _node(self, event: ClusterEvent) -> str:
        if not 1 <= event.node <= len(self.names):
            raise ConfigError(
                f"error: there is no node {event.node}\n  help: nodes are numbered from 1 to {len(self.names)}"
            )
        return self.names[event.node - 1]

    def _words(self, event: ClusterEvent) -> str:
        name = f" {event.name}" if event.name else ""
        for_ = f" for {event.lasts / 1000:g} s" if event.lasts else ""
        return f"{event.kind.value}{name} of {self._node(event)}{for_}"

    def _plan(self, event: ClusterEvent, span_us: int) -> None:
        node = self._node(event)
        scripts = {one.name for one in self.configs[node].scripts}
        if event.kind is Trouble.SCRIPT and event.name not in scripts:
            known = ", ".join(sorted(scripts)) or "none"
            raise ConfigError(f"error: {node} has no vrrp_script '{event.name}'\n  help: its scripts: {known}")
        links = self.links[node]
        if event.kind is Trouble.LINK and event.name and event.name not in links:
            raise ConfigError(
                f"error: {node} has no instance on '{event.name}'\n  help: interfaces: {', '.join(links)}"
            )
        link = links.get(event.name) or next(iter(links.values()))
        hit = {event.name} if event.name else scripts

        def begin() -> None:
            self._say(node, f"{self._words(event)} begins")
            match event.kind:
                case Trouble.SCRIPT:
                    self.failing[node] |= hit
                case Trouble.HAPROXY:
                    self.failing[node] |= hit
                    self.dead_haproxy.add(node)
                case Trouble.LINK:
                    self.network.link_down(node, link)
                case Trouble.PACKETS:
                    self.loss[node] = event.loss
                case Trouble.NODE:
                    self.dead_nodes.add(node)
                    self.network.kill(node)
                    now_s = self.network.now_us / 1e6
                    self.states += [(now_s, node, one, DEAD) for one in self.network.nodes[node].ports]

        def over() -> None:
            self._say(node, f"{self._words(event)} is over")
            self.failing[node] -= hit if event.kind in (Trouble.SCRIPT, Trouble.HAPROXY) else set()
            match event.kind:
                case Trouble.HAPROXY:
                    self.dead_haproxy.discard(node)
                case Trouble.LINK:
                    self.network.link_up(node, link)
                case Trouble.PACKETS:
                    self.loss.pop(node, None)
                case Trouble.NODE:
                    self.dead_nodes.discard(node)
                    self.network.start(node)

        self.network.at(event.at * US_PER_MS, begin)
        if event.lasts and (event.at + event.lasts) * US_PER_MS <= span_us:
            self.network.at((event.at + event.lasts) * US_PER_MS, over)


def outages_of(edges: Sequence[tuple[int, dict[str, bool]]]) -> list[Outage]:
    """When the addresses of each instance were served by nobody, once they had been served."""
    out: list[Outage] = []
    since: dict[str, int | None] = {}
    for at_us, served in edges:
        for name, is_served in served.items():
            begun = since.get(name)
            if is_served and begun is not None:
                out.append(Outage(name, begun / 1e6, at_us / 1e6))
                since[name] = None
            elif not is_served and begun is None:
                since[name] = at_us
    out += [Outage(name, begun / 1e6, None) for name, begun in since.items() if begun is not None]
    return sorted(out, key=lambda one: (one.from_s, one.instance))


def follow(at_s: float, what: str, end_s: float, outages: Sequence[Outage]) -> Followed:
    """The outages between a trouble and the next one."""
    own = [(max(at_s, one.from_s), min(end_s, end_s if one.to_s is None else one.to_s)) for one in outages]
    own = [(begin, end) for begin, end in own if begin < end]
    if not own:
        return Followed(at_s, what, None, 0.0)
    return Followed(at_s, what, max(end for _, end in own) - at_s, sum(end - begin for begin, end in own))
