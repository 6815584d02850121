"""This node as keepalived would see it: a configuration as instances, groups and trackers of `vrrp`, and what they come to.

The election runs in the node's own time, on a network where nobody else is, or one other node of a given priority: so
states are those of a keepalived that hears nobody, or that neighbour alone. Readings go in, lines and calls come out.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping

import msgspec

from risefall.config.keepalived import model
from risefall.vrrp.actions import Action, Log, State
from risefall.vrrp.network import Network, Port
from risefall.vrrp.notify import Call, Notifier, NotifyGlobals, NotifySettings
from risefall.vrrp.priority import kept_trackers
from risefall.vrrp.settings import CONFIGURATION, Imitated, InstanceSettings
from risefall.vrrp.trackers import DOWN, UP, Effect, Kind, Reading, Tracked, effect

US, OTHER = "us", "other"
SETTLE_US = 2_000_000_000
"""Longer than any wait of an election: preempt_delay, start delay and the longest interval."""
NOWHERE = {4: ("192.0.2.2", "192.0.2.1"), 6: ("2001:db8::2", "2001:db8::1")}
"""Addresses of documentation, ours and the other node's: the other's is lower, so a tie is ours."""
LISTS = {
    Kind.INTERFACE: "track_interfaces",
    Kind.SCRIPT: "track_scripts",
    Kind.FILE: "track_files",
    Kind.PROCESS: "track_processes",
}


class TrackerView(msgspec.Struct, frozen=True):
    """One tracker of one instance. state: `up`, `down`, `unknown`, or the number in a file; of a lasting fault `wrong`.

    points: what it gives now; fault: whether it is a reason for FAULT. if_failed: what would follow if it told the opposite
    of well: `FAULT`, `100 -> 80`, `nothing`.
    """

    kind: str
    name: str
    state: str
    weight: int
    reverse: bool
    points: int
    fault: bool
    pending: bool
    if_failed: str


class InstanceView(msgspec.Struct, frozen=True):
    """One instance. waits_for: scripts without a weight that have not told yet; it is held back till then."""

    name: str
    state: str
    base: int
    total: int
    effective: int
    faults: tuple[str, ...]
    waits_for: tuple[str, ...]
    nopreempt: bool
    preempt_delay_ms: int
    group: str
    trackers: tuple[TrackerView, ...]


class GroupView(msgspec.Struct, frozen=True):
    """One sync group."""

    name: str
    state: str
    members: tuple[str, ...]


class Said(msgspec.Struct, frozen=True):
    """A line that keepalived logs. detail: only with -D."""

    text: str
    detail: bool = False


class Called(msgspec.Struct, frozen=True):
    """A notification that is due. whom: the instance or group it is about."""

    call: Call


class Node:
    """One keepalived. `start` once the readings of files, processes and interfaces are in; then `read` and `run`."""

    def __init__(
        self,
        config: model.Config,
        *,
        scripts: Iterable[str] | None = None,
        addresses: Mapping[str, str] | None = None,
        unbound: Collection[str] = (),
        peer: int | None = None,
        imitated: Imitated = Imitated.V2_2_7,
    ) -> None:
        """scripts: those that may run; the others are as if nothing tracked them. addresses: of interfaces, by name.
        unbound: the instances whose unicast source address is none of this machine's.

        peer: the effective priority of one other node, healthy throughout; None: nobody is heard.
        """
        self.config = config
        self.peer = peer
        self.network = Network()
        kept = {one.name for one in config.scripts} if scripts is None else set(scripts)
        own = addresses or {}
        settings = [
            settings_of(one, own.get(one.interface or ""), imitated, bound=one.name not in unbound)
            for one in config.instances
        ]
        links = {one.name: one.interface or "" for one in config.instances}
        members = {one.name: [*one.members] for one in config.groups}
        by_name = {one.name: one for one in config.groups}
        tracked = {one.name: trackers_of(one, by_name.get(one.group or ""), kept) for one in config.instances}
        self._us = self.network.add_node(US, settings, links=links, tracked=tracked, groups=members)
        if peer is not None:
            others = [
                msgspec.structs.replace(one, source=NOWHERE[6 if ":" in one.source else 4][1], priority=peer)
                for one in settings
            ]
            self.network.add_node(OTHER, others, links=links, groups=members)
        self.notifier = Notifier(
            {one.name: _notify(one.notify, one.smtp_alert, one) for one in config.instances},
            {one.name: _notify(one.notify, one.smtp_alert, None) for one in config.groups},
            NotifyGlobals(
                router_id=config.global_.router_id or socket.gethostname(),
                fifo=bool(config.global_.vrrp_notify_fifo or config.global_.notify_fifo),
                no_email_faults=config.global_.no_email_faults,
            ),
        )

    # What comes in.

    def start(self) -> None:
        """keepalived starts now, with what was read so far."""
        if self.peer is not None:
            self.network.start(OTHER)
        self.network.start(US, delay_us=self.config.global_.startup_delay_ms * 1000)

    def resume(self, old: Node) -> None:
        """Instead of `start`: keepalived was reloaded, and `old` is what ran till then. Its instances that are no more are told."""
        self.notifier.remember(old.notifier)
        if self.peer is not None:
            self.network.resume(OTHER, old.states(OTHER), {})
        before, groups = old.states(US), {one.name: one.state for one in old.network.nodes[US].groups}
        kept = {one.name for one in self.config.instances}
        gone = [one.name for one in old.config.instances if one.name not in kept]
        left = [action for name in gone for action in old.network.delete(US, name)]
        self.network.resume(US, before, groups, left, again=self.config.global_.fifo_write_states_on_reload)

    def states(self, whose: str) -> dict[str, State]:
        """The states of a node's instances; of those that nothing has been told of yet, INIT."""
        ports = self.network.nodes[whose].ports if whose in self.network.nodes else {}
        return {
            name: one.instance.state if one.instance.told or whose != US else State.INIT for name, one in ports.items()
        }

    def stop(self) -> None:
        """keepalived ends."""
        self.network.stop(US)

    def read(self, kind: Kind, name: str, reading: Reading) -> None:
        """A tracked thing tells, before the start or after it."""
        self.network.read(US, f"{kind.value} {name}", reading)

    def interface(self, name: str, *, up: bool) -> None:
        """An interface: of instances, or tracked."""
        if up:
            self.network.link_up(US, name)
        else:
            self.network.link_down(US, name)

    def run(self, until_us: int) -> None:
        """Lets time pass; microseconds since the node was made."""
        self.network.run(max(until_us, self.network.now_us))

    def settle(self) -> None:
        """Lets so much time pass that every election is over."""
        self.run(self.network.now_us + SETTLE_US)

    # What comes out.

    def drain(self) -> list[Said | Called]:
        """Lines and calls since the last time, in keepalived's order."""
        out: list[Said | Called] = []
        for happened in self.network.drain_happened():
            if happened.node == US:
                out += self._told(happened.action)
        return out

    def _told(self, action: Action) -> list[Said | Called]:
        if isinstance(action, Log):
            return [Said(action.text, action.detail)]
        return [Called(call) for call in self.notifier.calls([action])]

    def wanted(self, kind: Kind) -> dict[str, list[str]]:
        """Names of this kind that something tracks, each with its instances."""
        found: dict[str, list[str]] = {}
        for port in self._us.ports.values():
            for one in port.trackers.tracked.values():
                if one.kind is kind:
                    found.setdefault(one.name, []).append(port.instance.settings.name)
        return found

    @property
    def healthy(self) -> bool:
        """Whether no instance is at FAULT or held back."""
        return all(
            not port.instance.faults and port.instance.state is not State.FAULT for port in self._us.ports.values()
        )

    def instances(self) -> list[InstanceView]:
        return [self._instance(one) for one in self.config.instances]

    def groups(self) -> list[GroupView]:
        return [
            GroupView(one.name, one.state.name, tuple(m.settings.name for m in one.members)) for one in self._us.groups
        ]

    def _instance(self, config: model.Instance) -> InstanceView:
        port = self._us.ports[config.name]
        instance, standing = port.instance, port.trackers.standing()
        waits = tuple(sorted(instance.pending))
        return InstanceView(
            name=config.name,
            state="HELD" if waits and not instance.faults else instance.state.name,
            base=instance.base,
            total=standing.total,
            effective=instance.effective if instance.state is not State.INIT else standing.effective,
            faults=tuple(sorted(instance.faults)),
            waits_for=waits,
            nopreempt=config.nopreempt,
            preempt_delay_ms=config.preempt_delay_ms,
            group=config.group or "",
            trackers=(
                *(self._tracker(port, one) for one in self._all(port)),
                *map(_lasting, instance.settings.lasting),
            ),
        )

    def _all(self, port: Port) -> list[Tracked]:
        """With the instance's own interface, which counts without being named."""
        own = (
            [Tracked(Kind.INTERFACE, port.link)] if port.link and not port.instance.settings.dont_track_primary else []
        )
        return [*own, *port.trackers.tracked.values()]

    def _tracker(self, port: Port, tracked: Tracked) -> TrackerView:
        key = tracked.key
        if key in port.trackers.tracked:
            reading = port.trackers.readings[key]
            now = effect(tracked, reading)
        else:
            down = key in port.instance.faults
            reading, now = (DOWN, Effect(fault=True)) if down else (UP, Effect())
        state = (
            str(reading.value)
            if tracked.kind is Kind.FILE
            else {None: "unknown", True: "up", False: "down"}[reading.up]
        )
        return TrackerView(
            kind=tracked.kind.value,
            name=tracked.name,
            state=state,
            weight=tracked.weight,
            reverse=tracked.reverse,
            points=now.points,
            fault=now.fault,
            pending=now.pending,
            if_failed=self._if_failed(port, tracked, now),
        )

    def _if_failed(self, port: Port, tracked: Tracked, now: Effect) -> str:
        """What would follow if this alone failed."""
        group = port.instance.group
        fault = f"FAULT of all in {group.name}" if group is not None and len(group.members) > 1 else "FAULT"
        if tracked.key not in port.trackers.tracked:
            return "is FAULT" if now.fault else fault
        failing = _failing(tracked)
        supposed, standing = port.trackers.supposing(tracked.key, failing), port.trackers.standing()
        if effect(tracked, failing).fault:
            return "is FAULT" if now.fault else fault
        if supposed.effective == standing.effective:
            return "is so now" if port.trackers.readings[tracked.key] == failing else "nothing"
        text = f"{standing.effective} -> {supposed.effective}"
        if tracked.kind is Kind.FILE:
            text = f"{text} at {failing.value}"
        if self.peer is not None:
            before, after = standing.effective >= self.peer, supposed.effective >= self.peer
            text += (
                f": {self.peer} takes over" if before and not after else ": still above" if after else ": below anyhow"
            )
        return text


def _lasting(reason: str) -> TrackerView:
    """A fault that stays until the next start, as if it were tracked."""
    return TrackerView(
        kind="its",
        name=reason,
        state="wrong",
        weight=0,
        reverse=False,
        points=0,
        fault=True,
        pending=False,
        if_failed="is FAULT",
    )


def _failing(tracked: Tracked) -> Reading:
    """What a thing that has failed tells: down; a file: the value that a failure writes, 1, or 0 where it is reversed."""
    if tracked.kind is Kind.FILE:
        return Reading(up=True, value=0 if tracked.weight == 0 and tracked.reverse else 1)
    return DOWN


def settings_of(
    one: model.Instance, address: str | None, imitated: Imitated, *, bound: bool = True
) -> InstanceSettings:
    """What the election is told; adverts reach nobody real, so peers and passwords are left out."""
    lasting = [CONFIGURATION] * one.broken + ["source address"] * (not bound)
    return InstanceSettings(
        name=one.name,
        source=(one.source_ip or "").partition("/")[0] or address or NOWHERE[one.family][0],
        vrid=one.vrid,
        priority=one.priority,
        version=one.version,
        adv_us=one.advert_int_ms * 1000,
        vips=tuple(vip.address for vip in one.vips),
        nopreempt=one.nopreempt,
        preempt_delay_us=one.preempt_delay_ms * 1000,
        down_timer_adverts=one.down_timer_adverts,
        higher_prio_send_advert=one.higher_prio_send_advert,
        lower_prio_no_advert=one.lower_prio_no_advert,
        skip_check_adv_addr=True,
        dont_track_primary=not one.interface_tracked,
        lasting=tuple(lasting),
        imitated=imitated,
    )


def trackers_of(one: model.Instance, group: model.SyncGroup | None, scripts: set[str]) -> tuple[Tracked, ...]:
    """Own trackers and those of the group, in keepalived's order; where a device is needed, no weight of it counts."""
    needed = [Tracked(Kind.INTERFACE, name) for name in one.devices]
    keys = {tracked.key for tracked in needed}
    own = [tracked for tracked in _listed(one, scripts) if tracked.key not in keys or not tracked.weight]
    known = {tracked.key for tracked in own}
    own += [tracked for tracked in needed if tracked.key not in known]
    return kept_trackers(own, _listed(group, scripts) if group is not None else ()).trackers


def _listed(owner: model.Instance | model.SyncGroup, scripts: set[str]) -> list[Tracked]:
    found: list[Tracked] = []
    for kind, field in LISTS.items():
        for one in getattr(owner, field):
            if kind is not Kind.SCRIPT or one.name in scripts:
                found.append(Tracked(kind, one.name, one.weight, one.reverse))
    return found


def _notify(notify: model.Notify, smtp_alert: bool, instance: model.Instance | None) -> NotifySettings:
    def argv(command: model.Command | None) -> tuple[str, ...]:
        return () if command is None else command.argv

    return NotifySettings(
        master=argv(notify.master),
        backup=argv(notify.backup),
        fault=argv(notify.fault),
        stop=argv(notify.stop),
        deleted=argv(notify.deleted) if instance is not None and instance.notify_deleted else None,
        master_rx_lower_pri=argv(notify.master_rx_lower_pri),
        notify=argv(notify.any),
        smtp_alert=smtp_alert,
        priority_changes=instance is not None and instance.notify_priority_changes,
    )
