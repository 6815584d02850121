"""What stands beside instances and groups: static addresses, routes and rules, `garp_group`, delays and link beats of interfaces.

Source: spec/keepalived-track.md §2.2, §7.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from risefall.config.keepalived import numbers
from risefall.config.keepalived.addresses import read_vip
from risefall.config.keepalived.blocks import Draft, Keyword, Table, Walk, passed, timer
from risefall.config.keepalived.iprules import read_rule
from risefall.config.keepalived.model import Line
from risefall.config.keepalived.routes import read_route
from risefall.config.keepalived.trackers import Known
from risefall.config.keepalived.vrrp import Drafts


def _garp_group(walk: Walk, line: Line) -> None:
    walk.open.append(Draft("", line))


def _garp_end(walk: Walk) -> None:
    values = walk.draft.values
    if "garp_interval" not in values and "gna_interval" not in values:
        number_ = 1 if "interfaces" in values else 0
        text = f"garp group {number_} does not have any delay set - removing"
        walk.warn(walk.draft.line, text, "add garp_interval or gna_interval")


def _garp_interfaces(walk: Walk, line: Line) -> None:
    found = [word for inner in walk.value_lines(line) for word in inner.words]
    walk.set(line, "interfaces", found)
    if not found:
        walk.warn(line, "Warning - empty garp_group interfaces block", "write names of interfaces into it")


GARP: Table = {
    "garp_interval": timer("garp_interval", "garp_group garp_interval '{value}' invalid", high=numbers.INT_MAX),
    "gna_interval": timer("gna_interval", "garp_group gna_interval '{value}' invalid", high=numbers.INT_MAX),
    "interface": passed(1),
    "interfaces": Keyword(_garp_interfaces),
}


def _linkbeat_interfaces(walk: Walk, line: Line) -> None:
    for inner in walk.value_lines(line):
        if inner.words[1:] and inner.words[1:] not in (("MII",), ("ETHTOOL",), ("IOCTL",)):
            text = f"extra characters {inner.words[1]} in linkbeat interface"
            walk.warn(inner, text, "write MII, ETHTOOL or IOCTL, or nothing", 1)


def _delays(walk: Walk, line: Line, drafts: Drafts) -> None:
    for inner in walk.value_lines(line):
        values = []
        if len(inner.words) < 2:
            walk.warn(inner, f"No timeouts specified for {inner.words[0]} up/down delays", "write seconds behind it", 1)
            continue
        for at, what in ((1, "down"), (2, "up")):
            if at >= len(inner.words):
                values.append(0)  # the man page says: as the down delay
                continue
            given = inner.words[at]
            message = f"Invalid {what} delay {given} for {inner.words[0]}"
            value = walk.judge(inner, at, numbers.decimal(given, 0, 255_000_000), message)
            if value is None:
                break
            values.append(numbers.ms(value))
        if len(inner.words) > 3:
            walk.warn(inner, f"Too many parameters for {inner.words[0]} up/down delays", "write down and up delay", 3)
        if len(values) == 2:
            drafts.delays[inner.words[0]] = (values[0], values[1])


def _static(walk: Walk, line: Line, drafts: Drafts, known: Known) -> None:
    groups = tuple(group.name for group in known.groups)
    for inner in walk.value_lines(line):
        one = read_vip(walk, inner, static=True, groups=groups)
        if one is not None:
            drafts.addresses.append(one)


def _static_routing(walk: Walk, line: Line, drafts: Drafts, known: Known) -> None:
    groups = tuple(group.name for group in known.groups)
    for inner in walk.value_lines(line):
        if line.words[0] == "static_routes":
            found, one = drafts.routes, read_route(walk, inner, groups)
        else:
            found, one = drafts.rules, read_rule(walk, inner, drafts.preferences, groups)
        if one is not None:
            found.append(one)


def tables(known: Known, drafts: Drafts) -> Table:
    """The entries of this module for the outermost table."""
    return {
        "garp_group": Keyword(_garp_group, GARP, _garp_end),
        "static_ipaddress": Keyword(lambda walk, line: _static(walk, line, drafts, known)),
        "static_routes": Keyword(lambda walk, line: _static_routing(walk, line, drafts, known)),
        "static_rules": Keyword(lambda walk, line: _static_routing(walk, line, drafts, known)),
        "linkbeat_interfaces": Keyword(_linkbeat_interfaces),
        "interface_up_down_delays": Keyword(lambda walk, line: _delays(walk, line, drafts)),
    }
