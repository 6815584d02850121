"""`vrrp_instance`, `vrrp_sync_group` and the blocks beside them, as their lines say; `finish` completes them.

Source: spec/keepalived-track.md §4.1, §5.1, §6.1, §7.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from typing import Any

from risefall.config.keepalived import macvlan, numbers
from risefall.config.keepalived.addresses import read_peer, read_vip
from risefall.config.keepalived.blocks import (
    Draft,
    Keyword,
    Skip,
    Table,
    Walk,
    boolean,
    command,
    command_of,
    flag,
    number,
    seconds,
    timer,
    word,
)
from risefall.config.keepalived.entries import entries
from risefall.config.keepalived.iprules import Preferences, read_rule
from risefall.config.keepalived.model import Line, Routing, TrackGroup
from risefall.config.keepalived.routes import read_route
from risefall.config.keepalived.trackers import Known, is_address, members_read

NAME_MAX = 15
PASSWORD_MAX = 8


class Drafts:
    """Instances, groups and static lines as read so far."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self.instances: list[Draft] = []
        self.groups: list[Draft] = []
        self.addresses: list[Any] = []
        self.routes: list[Routing] = []
        self.rules: list[Routing] = []
        self.preferences = Preferences()
        self.track_groups: list[TrackGroup] = []
        self.delays: dict[str, tuple[int, int]] = {}
        self.defaults = defaults
        """The values of `global_defs` so far: some are taken at the beginning of an instance."""


# --- vrrp_instance --------------------------------------------------------------------------------------------------------

TAKEN = {
    "garp_master_repeat": "vrrp_garp_master_repeat",
    "garp_master_refresh_ms": "vrrp_garp_master_refresh_ms",
    "garp_master_refresh_repeat": "vrrp_garp_master_refresh_repeat",
    "garp_master_delay_ms": "vrrp_garp_master_delay_ms",
    "down_timer_adverts": "vrrp_down_timer_adverts",
    "skip_check_adv_addr": "skip_check_adv_addr",
}
"""What an instance takes from the `global_defs` above it."""


def _begin(walk: Walk, line: Line, drafts: Drafts) -> None:
    if len(line.words) != 2:
        walk.warn(line, "vrrp_instance must have a name", "write vrrp_instance NAME {: the whole block is ignored", 1)
        raise Skip
    name = line.words[1]
    if any(one.name == name for one in drafts.instances):
        walk.warn(line, f"vrrp instance {name} already defined", "use distinct names: this whole block is ignored", 1)
        raise Skip
    taken = {field: drafts.defaults[source] for field, source in TAKEN.items() if source in drafts.defaults}
    draft = Draft(name, line, family=0, **taken)
    drafts.instances.append(draft)
    walk.open.append(draft)


def _end(walk: Walk) -> None:
    draft = walk.draft
    if not draft.values.get("peers") and draft.values.get("unicast_ttl") is not None:
        text = f"({draft.name}): Cannot use unicast_ttl without unicast peers - resetting"
        walk.warn(draft.at("unicast_ttl"), text, "add unicast_peer { … }, or take it out")
        draft.values["unicast_ttl"] = None
    macvlan.unicast_needs_base(walk, draft)


def _family(draft: Draft, family: int) -> bool:
    """Whether an address of a family fits; the first one decides."""
    if not draft.values["family"]:
        draft.values["family"] = family
    return bool(draft.values["family"] == family)


def _state(walk: Walk, line: Line) -> None:
    given, draft = word(line), walk.draft
    if given == "BACKUP" and draft.values.get("wants_master"):
        text = f"({draft.name}) state previously set as MASTER - ignoring BACKUP"
        walk.warn(line, text, "take one of the two out", 1)
        return
    if given not in ("MASTER", "BACKUP"):
        walk.warn(line, f"({draft.name}) unknown state '{given}', defaulting to BACKUP", "write MASTER or BACKUP", 1)
    walk.set(line, "wants_master", given == "MASTER")
    walk.leftover(line, 2)


def _interface(walk: Walk, line: Line) -> None:
    given = word(line)
    if len(given) > NAME_MAX:
        text = f"Interface name '{given}' too long - ignoring"
        walk.warn(line, text, f"the most are {NAME_MAX} characters", 1)
        return
    walk.set(line, "interface", given if given != "lo" else None)
    if given == "lo":
        text = f"({walk.draft.name}) cannot use a loopback interface (lo) for vrrp - ignoring"
        walk.warn(line, text, "name another interface", 1)
    walk.leftover(line, 2)


def _vrf(walk: Walk, line: Line) -> None:
    given, draft = word(line), walk.draft
    if len(given) > NAME_MAX:
        text = f"({draft.name}) VRF interface name '{given}' too long - ignoring"
        walk.warn(line, text, f"the most are {NAME_MAX} characters", 1)
    elif draft.values.get("interface"):
        walk.warn(line, f"({draft.name}) Cannot specify VRF interface and interface - ignoring", "take one out", 1)
    elif draft.values.get("vrf"):
        text = f"({draft.name}) VRF interface already specified as '{draft.values['vrf']}' - ignoring"
        walk.warn(line, text, "take one out", 1)
    else:
        walk.set(line, "vrf", given)


def _vrid(walk: Walk, line: Line) -> None:
    given = word(line)
    message = f"({walk.draft.name}): VRID '{given}' not valid - must be between 1 & 255"
    value = walk.judge(line, 1, numbers.unsigned(given, 1, 255, lenient=False), message)
    if value is not None:
        walk.set(line, "vrid", value)
    walk.leftover(line, 2)


def _advert(walk: Walk, line: Line) -> None:
    given = word(line)
    message = f"({walk.draft.name}) Advert interval ({given}) not valid! Must be > 0 - ignoring"
    value = walk.judge(line, 1, numbers.decimal(given, 10_000, 255_000_000), message)
    if value is not None:
        walk.set(line, "advert_us", value)
    walk.leftover(line, 2)


def _version(walk: Walk, line: Line) -> None:
    given, draft = word(line), walk.draft
    value = walk.judge(line, 1, numbers.signed(given, 2, 3), f"({draft.name}): Version must be either 2 or 3")
    if value is None:
        return
    before = draft.values.get("version", 0)
    if (before and before != value) or (value == 2 and draft.values["family"] == 6):
        text = f"({draft.name}) vrrp_version {value} conflicts with configured or deduced version {before}; ignoring."
        walk.warn(line, text, "take one out; IPv6 needs version 3", 1)
        return
    walk.set(line, "version", value)
    walk.leftover(line, 2)


def _native_ipv6(walk: Walk, line: Line) -> None:
    draft = walk.draft
    if draft.values["family"] == 4:
        text = f"({draft.name}) Cannot specify native_ipv6 with IPv4 addresses"
        walk.warn(line, text, "take it out", 0)
        return
    draft.values.update(family=6, version=3)


def _source_ip(walk: Walk, line: Line, *, unicast: bool) -> None:
    given, draft = word(line), walk.draft
    if unicast:
        draft.values["unicast_said"] = True
    family = is_address(given)
    if not family:
        text = f"Configuration error: VRRP instance[{draft.name}] malformed src address[{given}]. Skipping..."
        walk.warn(line, text, "write a numeric address", 1)
    elif not _family(draft, family):
        text = (
            f"Configuration error: VRRP instance[{draft.name}] and src address[{given}] MUST be of the same family !!!"
            " Skipping..."
        )
        walk.warn(line, text, "use addresses of one family", 1)
        draft.values["source_ip"] = None
    else:
        walk.set(line, "source_ip", given)
    walk.leftover(line, 2)


def _mcast(walk: Walk, line: Line) -> None:
    given, draft = word(line), walk.draft
    family = is_address(given)
    if not family:
        text = f"({draft.name}) malformed mcast dest address {given}. Skipping..."
        walk.warn(line, text, "write a multicast address, such as 224.0.0.18", 1)
        return
    if not _family(draft, family):
        text = f"({draft.name}) mcast dest address {given} MUST match VRRP instance family. Skipping..."
        walk.warn(line, text, "use addresses of one family", 1)
        return
    lower = given.lower()
    multicast = 224 <= int(given.split(".")[0]) < 240 if family == 4 else lower.startswith("ff") and lower[3:4] == "2"
    if not multicast:
        link = " link-local" if family == 6 else ""
        text = f"({draft.name}) mcast_dst_ip {given} not{link} multicast. Skipping..."
        walk.warn(line, text, "write a multicast address, such as 224.0.0.18 or ff02::12", 1)
        return
    walk.set(line, "mcast_dst_ip", given)


def _peers(walk: Walk, line: Line) -> None:
    draft = walk.draft
    draft.values["unicast_said"] = True
    draft.lines.setdefault("peers", line)
    found = draft.values.setdefault("peers", [])
    for inner in walk.value_lines(line):
        one = read_peer(walk, inner, draft.values["family"])
        if one is not None:
            _family(draft, one.family)
            found.append(one)


def _unicast_flag(field: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        walk.draft.values["unicast_said"] = True
        walk.set(line, field, True)

    return Keyword(read)


def _vips(walk: Walk, line: Line) -> None:
    draft = walk.draft
    draft.lines.setdefault("vips", line)
    found = draft.values.setdefault("vips", [])
    for inner in walk.value_lines(line):
        one = read_vip(walk, inner)
        if one is None:
            continue
        if not _family(draft, one.family):
            text = f"({draft.name}): address family must match VRRP instance [{inner.words[0]}] - ignoring"
            walk.warn(inner, text, "write it into virtual_ipaddress_excluded", 0)
        else:
            found.append(one)


def _excluded(walk: Walk, line: Line) -> None:
    found = walk.draft.values.setdefault("excluded", [])
    found.extend(one for inner in walk.value_lines(line) if (one := read_vip(walk, inner)) is not None)


def _routes(walk: Walk, line: Line) -> None:
    found = walk.draft.values.setdefault("routes", [])
    found.extend(one for inner in walk.value_lines(line) if (one := read_route(walk, inner)) is not None)


def _rules(walk: Walk, line: Line, drafts: Drafts) -> None:
    found, free = walk.draft.values.setdefault("rules", []), drafts.preferences
    found.extend(one for inner in walk.value_lines(line) if (one := read_rule(walk, inner, free)) is not None)


def _repeat(field: str, keyword: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        name, given = walk.draft.name, word(line)
        message = f"({name}): {keyword} '{given}' invalid - ignoring"
        value = walk.judge(line, 1, numbers.unsigned(given, 0, numbers.UINT_MAX), message)
        if value is None:
            return
        if value == 0:
            walk.warn(line, f"({name}): {keyword} must be greater than 0, setting to 1", "write at least 1", 1)
        walk.set(line, field, value or 1)
        walk.leftover(line, 2)

    return Keyword(read)


def _auth_type(walk: Walk, line: Line) -> None:
    given = word(line)
    if given not in ("PASS", "AH"):
        walk.warn(line, f"({walk.draft.name}) unknown authentication type '{given}'", "write PASS or AH", 1)
        return
    walk.set(line, "auth_type", given)
    walk.leftover(line, 2)


def _auth_pass(walk: Walk, line: Line) -> None:
    given = word(line)
    if len(given.encode("utf-8", "surrogateescape")) > PASSWORD_MAX:
        walk.warn(line, f"Truncating auth_pass to {PASSWORD_MAX} characters", "write a password of 8 at the most", 1)
        given = given.encode("utf-8", "surrogateescape")[:PASSWORD_MAX].decode("utf-8", "surrogateescape")
    walk.set(line, "auth_pass", given)
    walk.leftover(line, 2)


def _notify_deleted(walk: Walk, line: Line) -> None:
    draft = walk.draft
    if draft.values.get("notify_deleted"):
        given = line.words[1] if len(line.words) > 1 else ""
        walk.warn(line, f"({draft.name}) notify_deleted already specified - ignoring {given}", "take one out", 0)
        return
    draft.values["notify_deleted"] = True
    if len(line.words) > 1:
        walk.set(line, "on_deleted", command_of(walk, line, user=True))


def _sync_daemon(walk: Walk, line: Line) -> None:
    name = walk.draft.name
    text = f"({name}) Specifying lvs_sync_daemon_interface against a vrrp is deprecated."
    walk.warn(line, text, "use lvs_sync_daemon in global_defs", 0)
    walk.warn(line, "       Please use global lvs_sync_daemon", "it takes the same words", 0)
    given, values = word(line), walk.draft.values
    if values.get("sync_daemon"):
        text = f"({name}) lvs_sync_daemon_interface has already been specified as {values['sync_daemon']} - ignoring"
        walk.warn(line, text, "take one out", 0)
        return
    values["sync_daemon"] = given


def _garp_extra(walk: Walk, line: Line) -> None:
    if line.words[0] == "vmac_garp_intvl":
        text = 'Keyword "vmac_garp_intvl" is deprecated - please use "garp_extra_if"'
        walk.warn(line, text, "write garp_extra_if", 0)
    timed = False
    for at, given in enumerate(line.words[1:], 1):
        if given == "all":
            continue
        message = f"({walk.draft.name}): {line.words[0]} '{given}' invalid - ignoring"
        if walk.judge(line, at, numbers.unsigned(given, 0, 86400), message) is None:
            return
        timed = True
    if not timed:
        text = f"({walk.draft.name}): {line.words[0]} specified without time - ignoring"
        walk.warn(line, text, "write seconds behind it", 1)


def _linkbeat(walk: Walk, line: Line) -> None:
    text = f"({walk.draft.name}) 'linkbeat_use_polling' in vrrp instance deprecated - use linkbeat_interfaces block"
    walk.warn(line, text, "name the interface in linkbeat_interfaces", 0)


def _rx_buf(walk: Walk, line: Line) -> None:
    good = (
        len(line.words) == 2 and numbers.unsigned(line.words[1], 0, numbers.UINT_MAX, lenient=False).value is not None
    )
    if not good:
        walk.warn(line, f"({walk.draft.name}) invalid kernel_rx_buf_size specified", "write a number of bytes", 1)


def _old_checksum(walk: Walk, line: Line) -> None:
    walk.draft.values["unicast_said"] = True
    if len(line.words) > 1 and line.words[1] != "never":
        text = f"({walk.draft.name}) Unknown old_unicast_chksum mode {line.words[1]} - ignoring"
        walk.warn(line, text, "write never, or nothing", 1)


def _skip_check(walk: Walk, line: Line) -> None:
    # 2.2.7 sets it whatever the word is, as long as it is one of the six.
    name = walk.draft.name
    if len(line.words) > 1 and line.words[1] not in numbers.BOOLEANS:
        text = f"({name}) invalid skip_check_adv_addr {line.words[1]} specified"
        walk.warn(line, text, "write on, off, true, false, yes or no", 1)
        return
    if len(line.words) > 1 and not numbers.BOOLEANS[line.words[1]]:
        text = f"keepalived 2.2.7 takes 'skip_check_adv_addr {line.words[1]}' for true"
        walk.warn(line, text, "take the line out", 1)
    walk.set(line, "skip_check_adv_addr", True)


def _notifies(taken: str) -> dict[str, Keyword]:
    """The notify keywords that instances and groups share. taken: what is said of a second one, with {key}."""
    keys = {
        "notify_master": "on_master",
        "notify_backup": "on_backup",
        "notify_fault": "on_fault",
        "notify_stop": "on_stop",
        "notify": "on_any",
    }
    return {key: command(field, taken.replace("{key}", key)) for key, field in keys.items()}


def _tracks(known: Known) -> dict[str, Keyword]:
    fields = {
        "track_interface": "track_interfaces",
        "track_script": "track_scripts",
        "track_file": "track_files",
        "track_process": "track_processes",
        "track_bfd": "track_bfds",
    }
    return {keyword: entries(keyword, field, known) for keyword, field in fields.items()}


def instance_table(known: Known, drafts: Drafts) -> Table:
    """Everything that may stand in a `vrrp_instance`."""
    uint, say = numbers.UINT_MAX, "({name}): "
    return {
        **_tracks(known),
        **_notifies("({name}) {key} script already specified - ignoring {value}"),
        "notify_master_rx_lower_pri": command(
            "on_master_rx_lower_pri", "({name}) notify_master_rx_lower_pri script already specified - ignoring {value}"
        ),
        "notify_deleted": Keyword(_notify_deleted),
        "use_vmac": Keyword(macvlan.read_vmac),
        "use_vmac_addr": flag("use_vmac_addr"),
        "vmac_xmit_base": flag("vmac_xmit_base"),
        "use_ipvlan": Keyword(macvlan.read_ipvlan),
        "unicast_peer": Keyword(_peers),
        "unicast_fault_no_peer": _unicast_flag("unicast_fault_no_peer"),
        "check_unicast_src": _unicast_flag("check_unicast_src"),
        "old_unicast_checksum": Keyword(_old_checksum),
        "native_ipv6": Keyword(_native_ipv6),
        "state": Keyword(_state),
        "interface": Keyword(_interface),
        "vrf": Keyword(_vrf),
        "dont_track_primary": flag("interface_tracked", False),
        "mcast_src_ip": Keyword(lambda walk, line: _source_ip(walk, line, unicast=False)),
        "unicast_src_ip": Keyword(lambda walk, line: _source_ip(walk, line, unicast=True)),
        "mcast_dst_ip": Keyword(_mcast),
        "track_src_ip": flag("track_source_ip"),
        "virtual_router_id": Keyword(_vrid),
        "unicast_ttl": number(
            "unicast_ttl", 0, 255, say + "TTL '{value}' not valid - must be between 0 & 255", lenient=False
        ),
        "version": Keyword(_version),
        "priority": number(
            "priority",
            1,
            255,
            "({name}) Priority not valid! must be between 1 & 255. Using default 100",
            lenient=False,
            instead=100,
        ),
        "advert_int": Keyword(_advert),
        "virtual_ipaddress": Keyword(_vips),
        "virtual_ipaddress_excluded": Keyword(_excluded),
        "promote_secondaries": flag("promote_secondaries"),
        "linkbeat_use_polling": Keyword(_linkbeat),
        "virtual_routes": Keyword(_routes),
        "virtual_rules": Keyword(lambda walk, line: _rules(walk, line, drafts)),
        "accept": flag("accept"),
        "no_accept": flag("accept", False),
        "skip_check_adv_addr": Keyword(_skip_check),
        "strict_mode": boolean("strict", "({name}) invalid strict_mode {value} specified"),
        "preempt": flag("nopreempt", False),
        "nopreempt": flag("nopreempt"),
        "preempt_delay": timer(
            "preempt_delay_ms",
            "({name}) Preempt_delay not valid! must be between 0-1000",
            high=1_000_000_000,
            instead=0,
        ),
        "debug": number("debug", 0, 4, "({name}) Debug value '{value}' not valid; must be between 0-4"),
        "smtp_alert": boolean("smtp_alert", "Invalid vrrp_instance smtp_alert parameter {value}"),
        "notify_priority_changes": boolean(
            "notify_priority_changes", "({name}) Invalid value '{value}' for notify_priority_changes specified"
        ),
        "lvs_sync_daemon_interface": Keyword(_sync_daemon),
        "garp_master_delay": seconds("garp_master_delay_ms", say + "garp_master_delay '{value}' invalid - ignoring"),
        "garp_master_refresh": seconds(
            "garp_master_refresh_ms", say + "Invalid garp_master_refresh '{value}' - ignoring", high=uint
        ),
        "garp_master_repeat": _repeat("garp_master_repeat", "garp_master_repeat"),
        "garp_master_refresh_repeat": _repeat("garp_master_refresh_repeat", "garp_master_refresh_repeat"),
        "garp_lower_prio_delay": seconds(
            "garp_lower_prio_delay_ms", say + "garp_lower_prio_delay '{value}' invalid - ignoring"
        ),
        "garp_lower_prio_repeat": number(
            "garp_lower_prio_repeat", 0, numbers.INT_MAX, say + "Invalid garp_lower_prio_repeat '{value}'"
        ),
        "down_timer_adverts": number(
            "down_timer_adverts", 1, 100, say + "Invalid down_timer_adverts [1:100] '{value}'"
        ),
        "garp_extra_if": Keyword(_garp_extra),
        "vmac_garp_intvl": Keyword(_garp_extra),
        "lower_prio_no_advert": boolean(
            "lower_prio_no_advert", "({name}) invalid lower_prio_no_advert {value} specified"
        ),
        "higher_prio_send_advert": boolean(
            "higher_prio_send_advert", "({name}) invalid higher_prio_send_advert {value} specified"
        ),
        "kernel_rx_buf_size": Keyword(_rx_buf),
        "authentication": Keyword(None, {"auth_type": Keyword(_auth_type), "auth_pass": Keyword(_auth_pass)}),
    }


# --- vrrp_sync_group --------------------------------------------------------------------------------------------------------


def _group_begin(walk: Walk, line: Line, drafts: Drafts) -> None:
    if len(line.words) != 2:
        walk.warn(line, "vrrp_sync_group must have a name - skipping", "write vrrp_sync_group NAME {", 1)
        raise Skip
    if any(one.name == line.words[1] for one in drafts.groups):
        text = f"vrrp sync group {line.words[1]} already defined"
        walk.warn(line, text, "use distinct names: this whole block is ignored", 1)
        raise Skip
    draft = Draft(line.words[1], line)
    drafts.groups.append(draft)
    walk.open.append(draft)


def _global_tracking(walk: Walk, line: Line) -> None:
    text = f"({walk.draft.name}) global_tracking is deprecated. Use track_interface/script/file on the sync group"
    walk.warn(line, text, "it counts as sync_group_tracking_weight", 0)
    walk.set(line, "tracking_weight", True)


def group_table(known: Known) -> Table:
    """Everything that may stand in a `vrrp_sync_group`."""
    return {
        **_tracks(known),
        **_notifies("vrrp group {name}: {key} script already specified - ignoring {value}"),
        "group": Keyword(lambda walk, line: members_read(walk, line, "sync group")),
        "smtp_alert": boolean("smtp_alert", "Invalid vrrp_group smtp_alert parameter {value}"),
        "global_tracking": Keyword(_global_tracking),
        "sync_group_tracking_weight": flag("tracking_weight"),
        "notify_priority_changes": boolean(
            "notify_priority_changes",
            "({name}) Invalid value '{value}' for sync group notify_priority_changes specified",
        ),
    }


def tables(known: Known, drafts: Drafts) -> Table:
    """The entries of this module for the outermost table."""
    return {
        "vrrp_instance": Keyword(lambda walk, line: _begin(walk, line, drafts), instance_table(known, drafts), _end),
        "vrrp_sync_group": Keyword(lambda walk, line: _group_begin(walk, line, drafts), group_table(known)),
    }
