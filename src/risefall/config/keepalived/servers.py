"""`virtual_server`, `real_server`, `virtual_server_group` and `SSL`, as their lines say; `pool` completes them.

Source: spec/keepalived-track.md §7.3, §11; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import ipaddress
import re

from risefall.config.keepalived import checkers, numbers
from risefall.config.keepalived.addresses import plain_address
from risefall.config.keepalived.blocks import (
    Draft,
    Keyword,
    Missing,
    Skip,
    Table,
    Walk,
    boolean,
    command,
    flag,
    number,
    text,
    timer,
    word,
)
from risefall.config.keepalived.model import GroupEntry, Line, ServerGroup
from risefall.config.keepalived.trackers import Known, is_address
from risefall.config.keepalived.tunnel import read_tunnel
from risefall.config.keepalived.words import strtol

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos")
METHODS = ("NAT", "DR", "TUN")
WEIGHT_MAX = 2**31 - 1
PERSISTENCE_S = 360
ENGINE_MAX = 15
MONTH_S = 86400 * 31
ZEROS = re.compile(r"0*")


class Servers:
    """Virtual servers and their groups as read so far."""

    def __init__(self) -> None:
        self.virtual: list[Draft] = []
        self.groups: list[ServerGroup] = []
        self.ssl: dict[str, str] = {}


def _port(walk: Walk, line: Line, at: int) -> int | None:
    """A port that may be missing or 0; None when it is none."""
    given = line.words[at] if len(line.words) > at else ""
    if ZEROS.fullmatch(given):
        return 0
    read = numbers.unsigned(given, 1, 65535)
    if read.value is not None and read.complaint:
        walk.warn(line, read.complaint, f"keepalived goes on with {read.value}; its -t refuses the file", at)
    return read.value


# --- virtual_server ---------------------------------------------------------------------------------------------------------


def _begin(walk: Walk, line: Line, servers: Servers) -> None:
    given = word(line)
    draft = Draft(given, line, family=0)
    if given in ("group", "fwmark"):
        _indirect(walk, line, draft)
    else:
        port = _port(walk, line, 2)
        family = is_address(given)
        if not family or port is None:
            shown = f"/port {given}/{line.words[2]}" if len(line.words) > 2 and port != 0 else f" {given}"
            text_ = f"Invalid virtual server IP address{shown} - skipping"
            walk.warn(line, text_, "write virtual_server ADDRESS PORT {: the whole block is ignored", 1)
            raise Skip
        draft.values.update(address=given.partition("-")[0].partition("/")[0], port=port, family=family)
    servers.virtual.append(draft)
    walk.open.append(draft)


def _indirect(walk: Walk, line: Line, draft: Draft) -> None:
    """`virtual_server fwmark N` and `virtual_server group NAME`."""
    if len(line.words) < 3:
        raise Missing(2)  # 2.2.7 dies of it
    value = line.words[2]
    draft.name = f"{line.words[1]} {value}"
    if line.words[1] == "group":
        draft.values["group"] = value
        return
    message = f"virtual server fwmark '{value}' must be in [0, {numbers.UINT_MAX}] - ignoring"
    mark = walk.judge(line, 2, numbers.unsigned(value, 0, numbers.UINT_MAX), message)
    if mark is None:
        raise Skip
    draft.values["fwmark"] = mark


def _end(walk: Walk) -> None:
    """What the sorry server has to do with the family, and what the family is when nothing else says it."""
    values = walk.draft.values
    sorry = values.get("sorry_server")
    if sorry is not None and sorry["method"] != "TUN":
        if not values["family"]:
            values["family"] = sorry["family"]
        elif values["family"] != sorry["family"]:
            text_ = (
                f"Address family of virtual server and sorry server {sorry['address']} don't match"
                " - skipping sorry server."
            )
            walk.warn(walk.draft.at("sorry_server"), text_, "use addresses of one family", 1)
            values["sorry_server"] = None
    if not values["family"] and "group" not in values:
        families = {server.values["family"] for server in values.get("servers", [])}
        values["family"] = families.pop() if len(families) == 1 else 4


def _family(walk: Walk, line: Line) -> None:
    given, values = word(line), walk.draft.values
    family = {"inet": 4, "inet6": 6}.get(given, 0)
    if not family:
        walk.warn(line, f"unknown address family {given}", "write inet or inet6", 1)
    elif values["family"] and values["family"] != family:
        text_ = f"Virtual server specified family {given} conflicts with server family"
        walk.warn(line, text_, "take it out", 1)
    else:
        values["family"] = family


def _scheduler(walk: Walk, line: Line) -> None:
    given = word(line)
    if given not in SCHEDULERS:
        text_ = f"Invalid lvs_scheduler '{given}' - ignoring"
        walk.warn(line, text_, f"known are {', '.join(SCHEDULERS)}", 1)
        return
    walk.set(line, "scheduler", given)
    walk.leftover(line, 2)


def _flags(walk: Walk, line: Line) -> None:
    given, scheduler = line.words[0], walk.draft.values.get("scheduler", "")
    if given == "ops":
        walk.set(line, "ops", True)
    elif not given.startswith("flag-") and scheduler not in ("sh", "mh"):
        text_ = f"{given} only applies to sh scheduler - ignoring"
        walk.warn(line, text_, "write lb_algo sh or mh above it, or take it out", 0)


def _method(field: str, kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        sorry = walk.draft.values.get("sorry_server")
        if kind == "sorry" and sorry is None:
            text_ = "sorry_server forwarding used without sorry_server"
            walk.warn(line, text_, "write sorry_server above it", 0)
            return
        given = word(line)
        if given not in METHODS:
            text_ = f"PARSER : unknown [{given}] routing method for {kind} server."
            walk.warn(line, text_, "write NAT, DR or TUN", 1)
            return
        if kind == "sorry":
            assert sorry is not None
            sorry["method"] = given
        else:
            walk.set(line, field, given)
        read_tunnel(walk, line, kind)

    return Keyword(read)


def _persistence(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.set(line, "persistence_timeout_s", PERSISTENCE_S)
        return
    read = numbers.unsigned(line.words[1], 1, MONTH_S, lenient=False)
    value = walk.judge(line, 1, read, "persistence_timeout invalid")
    if value is not None:
        walk.set(line, "persistence_timeout_s", value)
    walk.leftover(line, 2)


def _mask(given: str) -> bool:
    """Whether C's inet_aton takes it: one to four C numbers, of which the last fills what is left."""
    *first, last = parts = given.split(".")
    values = [strtol(part) for part in parts]
    whole = all(part and end == len(part) for part, (_, end) in zip(parts, values, strict=True))
    most = 256 ** (5 - len(parts)) - 1 if len(parts) <= 4 else -1
    return (
        whole
        and 0 <= values[-1][0] <= most
        and all(0 <= value <= 255 for value, _ in values[: len(first)])
        and last != ""
    )


def _granularity(walk: Walk, line: Line) -> None:
    given, values = word(line), walk.draft.values
    family = values["family"] or (4 if "." in given else 6)
    if family == 6:
        text_ = f"Invalid IPv6 persistence_granularity specified - {given}"
        if walk.judge(line, 1, numbers.unsigned(given, 1, 128, lenient=False), text_) is None:
            return
    elif not _mask(given):
        text_ = f"Invalid IPv4 persistence_granularity specified - {given}"
        walk.warn(line, text_, "write a netmask, such as 255.255.255.0", 1)
        return
    values["family"] = family
    values.setdefault("persistence_timeout_s", PERSISTENCE_S)


def _engine(walk: Walk, line: Line) -> None:
    given = word(line)
    if len(given) > ENGINE_MAX:
        walk.warn(line, f"persistence_name too long, truncating - {given}", f"the most are {ENGINE_MAX} characters", 1)
    walk.set(line, "persistence_engine", given[:ENGINE_MAX])


def _protocol(walk: Walk, line: Line) -> None:
    given = word(line)
    if given.upper() not in ("TCP", "UDP", "SCTP"):
        walk.warn(line, f"Unknown protocol {given} - ignoring", "write TCP, UDP or SCTP", 1)
        return
    walk.set(line, "protocol", given.upper())
    walk.leftover(line, 2)


def _sorry(walk: Walk, line: Line) -> None:
    given = word(line)
    port, family = _port(walk, line, 2), is_address(given)
    if not family or port is None:
        walk.warn(line, f"Invalid sorry server IP address {given} - skipping", "write sorry_server ADDRESS PORT", 1)
        return
    method = walk.draft.values.get("method")
    sorry = {"address": given, "port": port, "family": family, "method": method, "inhibit": False}
    walk.set(line, "sorry_server", sorry)
    walk.leftover(line, 3)


def _sorry_inhibit(walk: Walk, line: Line) -> None:
    if walk.draft.values.get("sorry_server") is None:
        text_ = "Ignoring sorry_server inhibit used before or without sorry_server"
        walk.warn(line, text_, "write sorry_server above it", 0)
        return
    walk.draft.values["sorry_server"]["inhibit"] = True


def _snmp(kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) != 2:
            walk.warn(line, f"{kind} server snmp_name missing or extra parameters", "write one name", 1)
            return
        walk.set(line, "snmp_name", line.words[1])

    return Keyword(read)


def _quorum(walk: Walk, line: Line) -> None:
    given = word(line)
    message = f"Quorum {given} must be in [1, {numbers.UINT_MAX}]. Setting to 1."
    value = walk.judge(line, 1, numbers.unsigned(given, 1, numbers.UINT_MAX), message)
    walk.set(line, "quorum", value or 1)
    walk.leftover(line, 2)


# --- real_server --------------------------------------------------------------------------------------------------------------


def _real_begin(walk: Walk, line: Line) -> None:
    given = word(line)
    port, family = _port(walk, line, 2), is_address(given)
    if not family or port is None:
        shown = line.words[2] if len(line.words) > 2 else "(null)"
        text_ = f"Invalid real server ip address/port {given}/{shown} - skipping"
        walk.warn(line, text_, "write real_server ADDRESS PORT {: the whole block is ignored", 1)
        raise Skip
    method = walk.draft.values.get("method")
    protocol = (walk.draft.values.get("protocol") or "none").lower()
    address = given.partition("-")[0].partition("/")[0]
    walk.open.append(
        Draft(f"[{address}]:{protocol}:{port}", line, address=address, port=port, family=family, method=method)
    )


def _real_end(walk: Walk) -> None:
    draft, owner = walk.draft, walk.open[-2].values
    if draft.values["method"] != "TUN":
        if not owner["family"]:
            owner["family"] = draft.values["family"]
        elif owner["family"] != draft.values["family"]:
            text_ = (
                f"Address family of virtual server and real server {draft.values['address']} don't match"
                " - skipping real server."
            )
            walk.warn(draft.line, text_, "use addresses of one family", 1)
            return
    owner.setdefault("servers", []).append(draft)


def _pace(kind: str) -> Table:
    """The keywords of a pace, which virtual and real servers say in slightly different words."""
    name, loop = f"{kind} server", "delay loop" if kind == "virtual" else "delay_loop"
    before = "delay before retry" if kind == "virtual" else "delay_before_retry"
    return {
        "retry": number("retry", 1, numbers.UINT_MAX, "retry value invalid - {value}", lenient=False),
        "delay_before_retry": timer("delay_before_retry_ms", f"{name} {before} '{{value}}' invalid - ignoring"),
        "warmup": timer("warmup_ms", f"{name} warmup '{{value}}' invalid - ignoring"),
        "connect_timeout": timer(
            "connect_timeout_ms", f"{name} connect_timeout {{value}} invalid - ignoring", low=1, high=numbers.UINT_MAX
        ),
        "delay_loop": timer("delay_loop_ms", f"{name} {loop} '{{value}}' invalid - ignoring", low=1),
    }


def real_table(known: Known) -> Table:
    """Everything that may stand in a `real_server`."""
    return {
        **_pace("real"),
        **checkers.table(known),
        "weight": number("weight", 0, WEIGHT_MAX, f"Real server weight {{value}} is outside range 0-{WEIGHT_MAX}"),
        "lvs_method": _method("method", "real"),
        "uthreshold": number("uthreshold", 0, numbers.UINT_MAX, "Invalid real_server uthreshold '{value}' - ignoring"),
        "lthreshold": number("lthreshold", 0, numbers.UINT_MAX, "Invalid real_server lthreshold '{value}' - ignoring"),
        "inhibit_on_failure": boolean("inhibit_on_failure", "Invalid inhibit_on_failure parameter {value}"),
        "notify_up": command("notify_up", "((null)) notify_up script already specified - ignoring {value}"),
        "notify_down": command("notify_down", "((null)) notify_down script already specified - ignoring {value}"),
        "alpha": boolean("alpha", "Invalid alpha parameter {value}"),
        "smtp_alert": boolean("smtp_alert", "Invalid real_server smtp_alert parameter {value}"),
        "virtualhost": text("virtualhost", absent="real server virtualhost missing"),
        "snmp_name": _snmp("real"),
    }


def virtual_table(known: Known) -> Table:
    """Everything that may stand in a `virtual_server`."""
    flags = ("hashed", "ops", "flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback")
    return {
        **_pace("virtual"),
        **{name: Keyword(_flags) for name in flags},
        "ip_family": Keyword(_family),
        "inhibit_on_failure": flag("inhibit_on_failure"),
        "lb_algo": Keyword(_scheduler),
        "lvs_sched": Keyword(_scheduler),
        "lb_kind": _method("method", "virtual"),
        "lvs_method": _method("method", "virtual"),
        "persistence_engine": Keyword(_engine),
        "persistence_timeout": Keyword(_persistence),
        "persistence_granularity": Keyword(_granularity),
        "protocol": Keyword(_protocol),
        "ha_suspend": flag("ha_suspend"),
        "smtp_alert": boolean("smtp_alert", "Invalid virtual_server smtp_alert parameter {value}"),
        "virtualhost": text("virtualhost", absent="virtual server virtualhost missing"),
        "snmp_name": _snmp("virtual"),
        "alpha": flag("alpha"),
        "omega": flag("omega"),
        "quorum_up": command("quorum_up", "((null)) quorum_up script already specified - ignoring {value}"),
        "quorum_down": command("quorum_down", "((null)) quorum_down script already specified - ignoring {value}"),
        "quorum": Keyword(_quorum),
        "hysteresis": number(
            "hysteresis",
            0,
            numbers.UINT_MAX,
            f"Hysteresis {{value}} must be in [0, {numbers.UINT_MAX}] - ignoring",
        ),
        "weight": number("weight", 1, WEIGHT_MAX, f"Virtual server weight {{value}} is outside range 1-{WEIGHT_MAX}"),
        "sorry_server": Keyword(_sorry),
        "sorry_server_inhibit": Keyword(_sorry_inhibit),
        "sorry_server_lvs_method": _method("method", "sorry"),
        "real_server": Keyword(_real_begin, real_table(known), _real_end),
    }


# --- virtual_server_group, SSL --------------------------------------------------------------------------------------------------


def _group(walk: Walk, line: Line, servers: Servers) -> None:
    name = word(line)
    found = [
        one for inner in walk.value_lines(line, named=True) if (one := _group_entry(walk, inner, name)) is not None
    ]
    if not found:
        text_ = f"virtual server group {name} has no entries - removing"
        walk.warn(line, text_, "write addresses with ports, or firewall marks, into it", 1)
        return
    families = {one.family for one in found}
    if families >= {0, 4, 6}:
        text_ = f"virtual server group {name} cannot have IPv4, IPv6 and fwmark without family - removing"
        walk.warn(line, text_, "write inet or inet6 behind the fwmark", 1)
        return
    if any(group.name == name for group in servers.groups):
        walk.warn(line, f"virtual_server_group {name} stands here for the second time", "use distinct names", 1)
    servers.groups.append(ServerGroup(name, tuple(found), Draft(name, line).place))


def _group_entry(walk: Walk, line: Line, name: str) -> GroupEntry | None:
    given = line.words[0]
    if given == "fwmark":
        value = word(line)
        message = f"({name}): fwmark '{value}' must be in [0, {numbers.UINT_MAX}] - ignoring"
        mark = walk.judge(line, 1, numbers.unsigned(value, 0, numbers.UINT_MAX), message)
        family = {"inet": 4, "inet6": 6}.get(line.words[2], -1) if len(line.words) > 2 else 0
        if family < 0:
            text_ = f"({name}): fwmark '{mark}' family {line.words[2]} unknown - ignoring"
            walk.warn(line, text_, "write inet or inet6", 2)
        return None if mark is None or family < 0 else GroupEntry(fwmark=mark, family=family)
    port, family = _port(walk, line, 1), is_address(given)
    if not family or port is None:
        tail = f"/port/{line.words[1]}" if len(line.words) > 1 and port != 0 else ""
        text_ = f"Invalid virtual server group IP address {given} {tail} - skipping"
        walk.warn(line, text_, "write ADDRESS PORT, ADDRESS-LAST PORT or ADDRESS/LENGTH PORT", 0)
        return None
    walk.leftover(line, 2)
    try:
        first, last = _range(given, family)
    except ValueError as error:
        walk.warn(line, str(error), "the line is skipped", 0)
        return None
    return GroupEntry(first=first, last=last, port=port, family=family)


def _range(given: str, family: int) -> tuple[str, str]:
    """First and last address of an entry. Raises ValueError with what keepalived says."""
    if "/" in given:
        length = given.partition("/")[2]
        longest = 32 if family == 4 else 128
        if not length.isdigit() or not 0 < int(length[:4]) <= longest:
            raise ValueError(f"Invalid netmask - {given} - skipping")
        try:
            network = ipaddress.ip_network(given)
        except ValueError:
            raise ValueError(f"Address mask bits not empty - {given} - skipping") from None
        return str(network[0]), str(network[-1])
    first, dash, end = given.partition("-")
    if not dash:
        return first, first
    if ("." if family == 4 else ":") in end:
        if plain_address(end) != family:
            raise ValueError(f"Invalid range end {given} - skipping")
        if int(ipaddress.ip_address(end)) < int(ipaddress.ip_address(first)):
            raise ValueError(f"Address range end is less than address range start - {given} - skipping")
        return first, end
    low = ipaddress.ip_address(first)
    bits = 0xFF if family == 4 else 0xFFFF
    digits = re.match(r"[0-9]*" if family == 4 else r"[0-9a-fA-F]*", end)
    assert digits is not None
    if digits.end() < len(end) or not end:
        raise ValueError(f"Virtual server group range '{given}' has extra characters at end '{end[digits.end() :]}'")
    value = int(end[:20], 10 if family == 4 else 16)
    if not 0 <= value <= bits:
        raise ValueError(f"Virtual server group range '{given}' end '{end}' too large")
    if int(low) & bits >= value:
        raise ValueError(f"Address range end is not greater than address range start - {given} - skipping")
    return first, str(type(low)((int(low) & ~bits) | value))


def _ssl(key: str, what: str, servers: Servers) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"SSL {what} missing", "write a value behind it", 1)
            return
        if key in servers.ssl:
            walk.warn(line, f"SSL {what} already specified - replacing", "take one out", 0)
        servers.ssl[key] = line.words[1]

    return Keyword(read)


def tables(known: Known, servers: Servers) -> Table:
    """The entries of this module for the outermost table."""

    def ssl_begin(walk: Walk, line: Line) -> None:
        if servers.ssl:
            walk.warn(line, "SSL context already specified - replacing", "write one SSL block", 0)
            servers.ssl.clear()
        walk.open.append(Draft("SSL", line))

    ssl = {
        "password": _ssl("password", "password", servers),
        "ca": _ssl("ca", "cafile", servers),
        "certificate": _ssl("certificate", "certfile", servers),
        "key": _ssl("key", "keyfile", servers),
    }
    return {
        "SSL": Keyword(ssl_begin, ssl),
        "virtual_server_group": Keyword(lambda walk, line: _group(walk, line, servers)),
        "virtual_server": Keyword(lambda walk, line: _begin(walk, line, servers), virtual_table(known), _end),
    }
