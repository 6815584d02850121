"""Instances and sync groups when the whole file is known: defaults, what excludes what, what keepalived refuses.

Source: spec/keepalived-track.md §3.1, §4.1, §4.8, §5.1, §5.4; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from collections.abc import Iterable

from risefall.config.keepalived import macvlan
from risefall.config.keepalived.blocks import Draft, Values, Walk
from risefall.config.keepalived.model import Instance, Line, Notify, SyncGroup, Tracked
from risefall.config.keepalived.vrrp import Drafts
from risefall.config.text import nearest

OWNER = 255
MTU = 1500
NOTIFIES = {
    "master": "on_master",
    "backup": "on_backup",
    "fault": "on_fault",
    "stop": "on_stop",
    "deleted": "on_deleted",
    "master_rx_lower_pri": "on_master_rx_lower_pri",
    "any": "on_any",
}
TRACKS = ("track_interfaces", "track_scripts", "track_files", "track_processes", "track_bfds")
NOUNS = {
    "track_interfaces": "interface",
    "track_scripts": "script",
    "track_files": "file",
    "track_processes": "process",
    "track_bfds": "bfd",
}


def notify_of(values: Values) -> Notify:
    """The commands of an instance or a group."""
    return Notify(**{field: values.get(source) for field, source in NOTIFIES.items()})


def trackers_of(values: Values) -> dict[str, tuple[Tracked, ...]]:
    return {field: tuple(values.get(field, ())) for field in TRACKS}


class Finish:
    """Completes the instances and the groups of one reading, in keepalived's order."""

    def __init__(self, walk: Walk, drafts: Drafts) -> None:
        self._walk = walk
        self._drafts = drafts
        self._globals = drafts.defaults
        self._group_of: dict[str, Draft] = {}
        self._members: dict[str, list[str]] = {}

    def run(self) -> tuple[tuple[Instance, ...], tuple[SyncGroup, ...]]:
        for draft in self._drafts.instances:
            self._least(draft)
        groups = [draft for draft in self._drafts.groups if self._gather(draft)]
        instances = tuple(self._instance(draft) for draft in self._drafts.instances)
        self._conflicts(instances)
        return instances, tuple(self._group(draft) for draft in groups)

    def _alert(self, values: Values) -> bool:
        for given in (
            values.get("smtp_alert"),
            self._globals.get("smtp_alert_vrrp"),
            self._globals.get("smtp_alert"),
        ):
            if given is not None:
                return bool(given)
        return False

    # --- groups -----------------------------------------------------------------------------------------------------

    def _gather(self, draft: Draft) -> bool:
        """Finds the members of a group; False when it is removed."""
        name = draft.name
        given = draft.values.get("members", ())
        if not given:
            text = f"Sync group {name} has no virtual router(s). removing"
            self._walk.warn(draft.line, text, "add 'group { … }' with names of instances", 1)
            return False
        instances = {one.name: one for one in self._drafts.instances}
        members: list[str] = []
        for member, line in given:
            at = line.words.index(member)
            if member not in instances:
                meant = nearest(member, instances)
                text = f"Virtual router {member} specified in sync group {name} doesn't exist - ignoring"
                self._walk.warn(line, text, f"did you mean '{meant}'?" if meant else "take it out", at)
            elif member in self._group_of:
                text = f"Virtual router {member} cannot exist in more than one sync group; ignoring {name}"
                self._walk.warn(line, text, f"it stays in {self._group_of[member].name}: take it out of one", at)
            else:
                self._group_of[member] = draft
                members.append(member)
        if not members:
            text = f"Sync group {name}, no matching virtual router found in group declaration - removing"
            self._walk.warn(draft.line, text, "name instances of this file", 1)
            return False
        if len(members) == 1:
            text = f"Sync group {name} has only 1 virtual router(s) - this probably isn't what you want"
            self._walk.warn(draft.line, text, "name the other instances too, or take the group out", 1)
        wishes = [
            (one.values.get("wants_master"), one.values.get("priority")) for one in map(instances.get, members) if one
        ]
        if any(wish is False and (True, OWNER) in wishes[:at] for at, (wish, _) in enumerate(wishes)):
            text = (
                f"Sync group {name} has some member(s) as address owner and some not as address owner. This won't work."
            )
            self._walk.warn(draft.line, text, "write priority 255 in all of them, or in none", 1)
        self._members[name] = members
        return True

    def _group(self, draft: Draft) -> SyncGroup:
        values = draft.values
        members = self._members[draft.name]
        by_name = {one.name: one for one in self._drafts.instances}
        if any(by_name[member].values["priority"] == OWNER for member in members):
            for field in TRACKS:
                for one in values.get(field, ()):
                    if one.weight:
                        what = f"Cannot have weighted track {NOUNS[field]} '{one.name}' with member having priority 255"
                        tail = (
                            "clearing weight" if field in ("track_scripts", "track_interfaces") else "setting weight 0"
                        )
                        self._walk.warn(draft.line, f"({draft.name}) {what} - {tail}", "write weight 0", 1)
                values[field] = [Tracked(one.name, 0, one.reverse, one.place) for one in values.get(field, ())]
        return SyncGroup(
            draft.name,
            tuple(members),
            values.get("tracking_weight", False),
            notify=notify_of(values),
            notify_priority_changes=values.get("notify_priority_changes"),
            smtp_alert=self._alert(values),
            place=draft.place,
            **trackers_of(values),
        )

    # --- instances --------------------------------------------------------------------------------------------------

    def _say(self, draft: Draft, keyword: str, text: str, help: str, *, error: bool = False) -> None:
        say = self._walk.error if error else self._walk.warn
        say(draft.at(keyword), f"({draft.name}) {text}", help)

    def _least(self, draft: Draft) -> None:
        """Without a router id and an interface keepalived does not start."""
        values = draft.values
        if not values.get("vrid"):
            text = "the virtual router id must be set"
            self._say(draft, "vrrp_instance", text, "add 'virtual_router_id N', 1 to 255", error=True)
        if not values.get("interface"):
            # Neither default_interface nor unicast peers help here: 2.2.7 looks at nothing else.
            self._say(draft, "interface", "Unknown interface!", "add 'interface NAME'", error=True)

    def _instance(self, draft: Draft) -> Instance:
        values = draft.values
        strict = values.setdefault("strict", self._globals.get("strict", False))
        self._version(draft)
        self._vips(draft)
        self._state(draft)
        self._authentication(draft)
        self._unicast(draft)
        self._preemption(draft)
        self._strictness(draft, strict)
        self._advert(draft)
        self._weights(draft)
        self._own_interface(draft)
        macvlan.judge(draft, lambda keyword, text, help: self._say(draft, keyword, text, help))
        group = self._group_of.get(draft.name)
        changes = values.get("notify_priority_changes")
        if changes is None and group is not None:
            changes = group.values.get("notify_priority_changes")
        if changes is None:
            changes = self._globals.get("notify_priority_changes", False)
        fields = {field: values[field] for field in Instance.__struct_fields__ if field in values}
        for field in ("peers", "vips", "excluded", "routes", "rules"):
            fields[field] = tuple(values.get(field, ()))
        fields["devices"] = self._devices(draft)
        fields.update(trackers_of(values))
        fields.update(
            name=draft.name,
            interface=values.get("interface"),
            vrid=values.get("vrid", 0),
            place=draft.place,
            notify=notify_of(values),
            smtp_alert=self._alert(values),
            notify_priority_changes=changes,
            group=group.name if group else None,
        )
        return Instance(**fields)

    def _version(self, draft: Draft) -> None:
        values = draft.values
        family = values["family"] = values["family"] or 4
        version = values.get("version", 0)
        if family == 6 and version == 2 and values["strict"]:
            text = "cannot use IPv6 with VRRP version 2; setting version 3"
            self._say(draft, "version", text, "write version 3")
            version = 3
        values["version"] = version or (3 if family == 6 else self._globals.get("vrrp_version", 2))
        if family == 4 and values.get("unicast_ttl") is None:
            values["unicast_ttl"] = 255

    def _vips(self, draft: Draft) -> None:
        values = draft.values
        vips = values.get("vips", [])
        if not vips:
            if values["version"] == 3 or values["strict"]:
                text = "No VIP specified; at least one is required"
                self._say(draft, "vips", text, "add 'virtual_ipaddress { … }'", error=True)
            else:
                text = "No VIP specified; at least one is sensible"
                self._say(draft, "vips", text, "add 'virtual_ipaddress { … }'")
            return
        first = vips[0].address.lower()
        if values["strict"] and values["family"] == 6 and not first.startswith(("fe8", "fe9", "fea", "feb")):
            text = "the first IPv6 VIP address must be link local"
            self._say(draft, "vips", text, "write an address of fe80::/10 first")
        head = 14 + (20 if values["family"] == 4 else 40) + 8 + (8 if values["version"] == 2 else 0)
        head += 24 if values.get("auth_type") == "AH" and values["version"] == 2 else 0
        most = min(255, (MTU - head) // (4 if values["family"] == 4 else 16))
        if len(vips) > most:
            text = (
                f"Number of VIPs ({len(vips)}) exceeds maximum/space available in packet (max {most} addresses)"
                " - excess moved to eVIPs"
            )
            self._say(draft, "vips", text, "write the further ones into virtual_ipaddress_excluded")
            values["vips"] = vips[:most]
            values["excluded"] = values.get("excluded", []) + vips[most:]

    def _state(self, draft: Draft) -> None:
        values = draft.values
        if not values.get("priority"):
            values["priority"] = OWNER if values.get("wants_master") else 100
        owner = values["priority"] == OWNER
        if "wants_master" not in values:
            values["wants_master"] = owner
        elif values["strict"] and values["wants_master"] != owner:
            text = "State MASTER must match being address owner"
            self._say(draft, "wants_master", text, "strict mode wants state MASTER with priority 255 only")
            values["wants_master"] = owner

    def _authentication(self, draft: Draft) -> None:
        values = draft.values
        kind = values.get("auth_type")
        if not kind:
            return
        wrong = ""
        if values["strict"]:
            wrong = "Strict mode does not support authentication. Ignoring."
        elif values["version"] == 3:
            wrong = "VRRP version 3 does not support authentication. Ignoring."
        elif not values.get("auth_pass"):
            wrong = "Authentication specified but no password given. Ignoring"
        elif values["family"] == 6 and kind == "AH":
            wrong = "Cannot use AH authentication with IPv6. ignoring"
        if wrong:
            help = "add auth_pass" if "password" in wrong else "take the authentication block out"
            self._say(draft, "auth_type", wrong, help)
            values["auth_type"] = None
        elif kind == "AH" and values["wants_master"] and values["priority"] != OWNER:
            text = "Initial state master is incompatible with AH authentication - clearing"
            self._say(draft, "wants_master", text, "write state BACKUP")
            values["wants_master"] = False

    def _unicast(self, draft: Draft) -> None:
        values = draft.values
        if values.get("unicast_said"):
            values["unicast"] = bool(values.get("peers"))
            if not values["unicast"]:
                if values.get("unicast_fault_no_peer"):
                    text = "Cannot use unicast without any peers - going to fault state"
                    values["broken"] = True
                else:
                    text = (
                        "A unicast keyword has been specified without any unicast peers. Defaulting to multicast."
                        " This usage is deprecated - please update your configuration."
                    )
                keyword = next((key for key in ("peers", "source_ip") if key in draft.lines), "check_unicast_src")
                self._say(draft, keyword, text, "add 'unicast_peer { … }', or take the unicast keywords out")
        if values.get("vrf") and (values.get("interface") or not values.get("unicast")):
            tail = "out interface" if values.get("interface") else " unicast"
            self._say(draft, "vrf", f"vrf can only be specified with{tail} - clearing", "take vrf out")
            values["vrf"] = None
        if values.get("unicast") and values.get("mcast_dst_ip"):
            text = "multicast destination specified with unicast - ignoring"
            self._say(draft, "mcast_dst_ip", text, "take mcast_dst_ip out")
            values["mcast_dst_ip"] = None
        if not values.get("source_ip"):
            values["track_source_ip"] = False
        values.setdefault("check_unicast_src", self._globals.get("check_unicast_src", False))

    def _preemption(self, draft: Draft) -> None:
        values = draft.values
        if values["priority"] == OWNER and values.get("nopreempt"):
            text = "nopreempt is incompatible with priority 255. resetting nopreempt"
            self._say(draft, "nopreempt", text, "take nopreempt out, or lower the priority")
            values["nopreempt"] = False
        if values["wants_master"]:
            if values.get("nopreempt"):
                text = "Warning - nopreempt will not work with initial state MASTER - clearing"
                self._say(draft, "nopreempt", text, "write state BACKUP on all nodes")
                values["nopreempt"] = False
            if values.get("preempt_delay_ms"):
                text = "Warning - preempt delay will not work with initial state MASTER - clearing"
                self._say(draft, "preempt_delay_ms", text, "write state BACKUP on all nodes")
                values["preempt_delay_ms"] = 0
        if values.get("preempt_delay_ms"):
            if values["strict"]:
                text = "preempt_delay is incompatible with strict mode - resetting"
                self._say(draft, "preempt_delay_ms", text, "take one of the two out")
                values["preempt_delay_ms"] = 0
            if values.get("nopreempt"):
                text = "preempt_delay is incompatible with nopreempt mode - resetting"
                self._say(draft, "preempt_delay_ms", text, "take one of the two out")
                values["preempt_delay_ms"] = 0

    def _strictness(self, draft: Draft, strict: bool) -> None:
        """What depends on strict mode: some settings have another default in it, and may not be set otherwise."""
        values, given = draft.values, self._globals
        if strict and values.get("down_timer_adverts", 3) != 3:
            text = "down_timer_adverts is incompatible with strict mode - resetting"
            self._say(draft, "down_timer_adverts", text, "take it out")
            values["down_timer_adverts"] = 3
        owner = values["priority"] == OWNER
        values.setdefault("accept", owner or not strict)
        if values["accept"] and not owner and strict and values["version"] == 2:
            text = "warning - accept mode for VRRP version 2 does not comply with RFC3768 - resetting"
            self._say(draft, "accept", text, "take accept out")
            values["accept"] = False
        for field, demand, text, default in (
            ("garp_lower_prio_repeat", 0, "Strict mode requires no repeat garps. resetting", self._lower("repeat")),
            (
                "garp_lower_prio_delay_ms",
                0,
                "Strict mode requires no repeat garp delay. resetting",
                self._lower("delay_ms"),
            ),
            (
                "lower_prio_no_advert",
                True,
                "Strict mode requires no lower priority advert. resetting",
                given.get("vrrp_lower_prio_no_advert", False),
            ),
            (
                "higher_prio_send_advert",
                False,
                "strict mode requires higher_prio_send_advert to be clear. resetting",
                given.get("vrrp_higher_prio_send_advert", False),
            ),
        ):
            if field not in values:
                values[field] = demand if strict else default
            elif strict and values[field] != demand:
                self._say(draft, field, text, "take it out, or leave strict mode")
                values[field] = demand

    def _lower(self, what: str) -> int:
        """The global default of the garps at a worse advert: its own, else that of a master."""
        default = 5 if what == "repeat" else 5000
        own = self._globals.get(f"vrrp_garp_lower_prio_{what}")
        return int(own if own is not None else self._globals.get(f"vrrp_garp_master_{what}", default))

    def _advert(self, draft: Draft) -> None:
        values = draft.values
        us = values.get("advert_us", 1_000_000)
        unit, word = (
            (1_000_000, "an integer. rounding") if values["version"] == 2 else (10_000, "in units of 10ms - rounding")
        )
        most = 255_000_000 if values["version"] == 2 else 40_950_000
        if us >= most + unit:
            ends = ("256s", "255s") if values["version"] == 2 else ("40.96s", "40.95s")
            text = (
                f"VRRPv{values['version']} advertisement interval {us / 1e6:.2f}s is out of range."
                f" Must be less than {ends[0]}. Setting to {ends[1]}"
            )
            self._say(draft, "advert_us", text, f"write {ends[1][:-1]} at the most")
            us = most
        elif us % unit:
            text = f"VRRPv{values['version']} advertisement interval {us / 1e6:f}s must be {word}"
            self._say(draft, "advert_us", text, "version 3 takes hundredths, version 2 whole seconds")
            us = (us + unit // 2) // unit * unit or unit
        values["advert_int_ms"] = us // 1000

    # --- weights ----------------------------------------------------------------------------------------------------

    def _weights(self, draft: Draft) -> None:
        """In a sync group, and for an address owner, weights of the instance's own trackers do not count (spec §5.4)."""
        values = draft.values
        group = self._group_of.get(draft.name)
        grouped = group is not None and not group.values.get("tracking_weight")
        if not grouped and values["priority"] != OWNER:
            return
        why = "SYNC group" if grouped else "address_owner"
        help = "track it in the vrrp_sync_group" if grouped else "an owner ignores weights: lower its priority"

        def say(one: Tracked, text: str) -> None:
            line = next((line for line in self._lines(draft) if line.line == one.place.line), draft.line)
            self._walk.warn(line, f"({draft.name}) {text}", help)

        interfaces: list[Tracked] = []
        for one in values.get("track_interfaces", ()):
            if not one.weight:
                interfaces.append(one)
                continue
            kept = "weight " if grouped else ""
            say(
                one,
                f"ignoring {one.name} tracked interface {kept}due to {'SYNC group' if grouped else 'address owner'}",
            )
            if grouped:
                interfaces.append(Tracked(one.name, 0, one.reverse, one.place))
        values["track_interfaces"] = interfaces
        for field, noun in (("track_scripts", "script"), ("track_bfds", "bfd")):
            for one in values.get(field, ()):
                if one.weight:
                    weights = "weights" if noun == "script" else f"weight {one.weight}"
                    say(one, f"ignoring tracked {noun} {one.name} with {weights} due to {why}")
            values[field] = [one for one in values.get(field, ()) if not one.weight]
        files: list[Tracked] = []
        for one in values.get("track_files", ()):
            if one.weight == 1:
                say(one, f"ignoring weight from tracked file {one.name} due to {why}. specify weight 0")
            elif one.weight:
                say(one, f"ignoring tracked file {one.name} with weight {one.weight} due to {why}")
                continue
            files.append(Tracked(one.name, 0, one.reverse, one.place))
        values["track_files"] = files

    def _devices(self, draft: Draft) -> tuple[str, ...]:
        """Interfaces of addresses, routes, rules, and of static ones whose track group has this instance."""
        values, static = draft.values, self._drafts
        own = values.get("interface")
        groups = {group.name for group in static.track_groups if draft.name in group.members}
        addresses = [*values.get("vips", ()), *values.get("excluded", ())]
        addresses += [one for one in static.addresses if one.track_group in groups]
        routing = [*values.get("routes", ()), *values.get("rules", ())]
        routing += [one for one in (*static.routes, *static.rules) if one.track_group in groups]
        found = [one.dev for one in addresses if one.dev and not one.no_track and one.dev != own]
        found += [
            dev for one in routing for dev in one.devices if dev != own or not values.get("interface_tracked", True)
        ]
        return tuple(dict.fromkeys(found))

    def _own_interface(self, draft: Draft) -> None:
        """The own interface is tracked anyhow, and with dont_track_primary not at all."""
        values = draft.values
        kept = [one for one in values.get("track_interfaces", ()) if one.name != values.get("interface")]
        if len(kept) < len(values.get("track_interfaces", ())):
            text = f"Ignoring track_interface {values['interface']} since own interface"
            self._say(draft, "interface", text, "take it out: only dont_track_primary decides whether it is tracked")
        values["track_interfaces"] = kept

    @staticmethod
    def _lines(draft: Draft) -> Iterable[Line]:
        return draft.lines.values()

    # --- conflicts --------------------------------------------------------------------------------------------------

    def _conflicts(self, instances: tuple[Instance, ...]) -> None:
        """Two instances may not have one router id on one interface."""
        seen: dict[tuple[object, ...], Instance] = {}
        for draft, one in zip(self._drafts.instances, instances, strict=True):
            if not one.vrid or one.unicast or not one.interface:
                continue
            key = (one.family, one.vrid, one.interface, one.mcast_dst_ip)
            first = seen.setdefault(key, one)
            if first is not one:
                text = f"{first.name} and {one.name} both use VRID {one.vrid} with IPv{one.family} on interface {one.interface}"
                self._walk.error(draft.at("vrid"), text, "write distinct virtual_router_ids", 1)
