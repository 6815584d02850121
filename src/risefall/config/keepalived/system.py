"""Keywords of `global_defs` about processes, sockets and the kernel: risefall has no use for them, but says what keepalived says.

Source: man page keepalived.conf(5); observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

import ipaddress

from risefall.config.keepalived import numbers
from risefall.config.keepalived.addresses import plain_address
from risefall.config.keepalived.blocks import Keyword, Table, Walk, command_of, word
from risefall.config.keepalived.model import Line

REAL_TIME = (1, 99)
NAME_MAX = 15
TABLE_MAX = 255
MONTH_S = 31 * 86400
BUFFERS = ("vrrp_netlink_cmd", "vrrp_netlink_monitor", "process_monitor", "lvs_netlink_cmd", "lvs_netlink_monitor")
PACKET_MAX = 65535 - 20 - 8
SYNC_NUMBERS = {"id": (0, 255, "syncid"), "maxlen": (1, PACKET_MAX, ""), "port": (1, 65535, ""), "ttl": (1, 255, "")}
"""Options of lvs_sync_daemon with a number."""


def _keep(walk: Walk, line: Line) -> None:
    walk.draft.values.setdefault("others", {})[line.words[0]] = line.words[1:]


def _number(low: int, high: int, message: str, absent: str = "", *, signed: bool = False) -> Keyword:
    """A number that is only kept, and not at all when it is wrong. absent: what is said without one; empty: keepalived ends."""

    def read(walk: Walk, line: Line) -> None:
        if absent and len(line.words) < 2:
            walk.warn(line, absent, "write a number behind it", 1)
            return
        given = word(line)
        kind = numbers.signed if signed else numbers.unsigned
        if walk.judge(line, 1, kind(given, low, high), message.format(value=given)) is not None:
            _keep(walk, line)

    return Keyword(read)


def _boolean(message: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) > 1 and line.words[1] not in numbers.BOOLEANS:
            walk.warn(line, message.format(value=line.words[1]), "write on, off, true, false, yes or no", 1)
        else:
            _keep(walk, line)

    return Keyword(read)


def _once(missing: str, taken: str, most: int = 0, long: str = "") -> Keyword:
    """A word that may be said once. missing: what is said without one; empty: it may stand alone. taken: may hold {value}."""

    def read(walk: Walk, line: Line) -> None:
        if missing and len(line.words) < 2:
            walk.warn(line, missing, "write a value behind it", 1)
        elif taken and line.words[0] in walk.draft.values.get("others", {}):
            given = line.words[1] if len(line.words) > 1 else ""
            walk.warn(line, taken.format(value=given), "the first one stays; take one out", 0)
        elif most and len(line.words) > 1 and len(line.words[1]) > most:
            walk.warn(line, long, f"the most are {most} characters", 1)
        else:
            _keep(walk, line)

    return Keyword(read)


def _real_time(process: str) -> Keyword:
    what = f"{process} process real-time priority"

    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"No {what} specified", "write a number behind it", 1)
            return
        given = line.words[1]
        read_ = numbers.signed(given, -numbers.INT_MAX - 1, numbers.INT_MAX)
        value = walk.judge(line, 1, read_, f"{what} '{given}' invalid")
        if value is None:
            return
        low, high = REAL_TIME
        if value < low:
            walk.warn(line, f"{what} {value} less than minimum {low} - setting to minimum", f"write {low}", 1)
        elif value > high:
            walk.warn(line, f"{what} {value} greater than maximum {high} - setting to maximum", f"write {high}", 1)
        _keep(walk, line)

    return Keyword(read)


def _affinity(process: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"No {process} cpu_id set specified", "write numbers of processors behind it", 1)
        _keep(walk, line)

    return Keyword(read)


def _process_name(walk: Walk, line: Line) -> None:
    given = word(line)
    if len(given) > NAME_MAX:
        text = f"Process name {given} more than {NAME_MAX} characters, truncating"
        walk.warn(line, text, f"write a name of {NAME_MAX} at the most", 1)
    walk.draft.values.setdefault("others", {})[line.words[0]] = (given[:NAME_MAX],)


def _script(kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"{kind} script missing", "write a command behind it", 1)
        elif line.words[0] in walk.draft.values.get("others", {}):
            walk.warn(line, f"{kind} script already specified", "the first one stays; take one out", 0)
        elif not line.words[1].strip():
            walk.warn(line, f"Invalid {kind} script", "write a command, or take it out", 1)
        else:
            command_of(walk, line, user=True)
            _keep(walk, line)

    return Keyword(read)


def _snmp_socket(walk: Walk, line: Line) -> None:
    before = walk.draft.values.get("others", {}).get("snmp_socket")
    if len(line.words) < 2:
        walk.warn(line, "SNMP error : snmp socket name missing", "write a path behind it", 1)
    elif len(line.words) > 2:
        text = "Too many parameters specified for snmp_socket - ignoring"
        walk.warn(line, text, "write one path", 2)
    elif before:
        walk.warn(line, f"SNMP socket already set to {before[0]} - ignoring", "the first one stays; take one out", 0)
    else:
        _keep(walk, line)


def _timeouts(walk: Walk, line: Line) -> None:
    words = line.words
    if len(words) < 3:
        walk.warn(line, "lvs_timeouts requires at least one option", "write tcp, tcpfin or udp with seconds", 1)
        return
    at = 1
    while at < len(words):
        option = words[at]
        if option not in ("tcp", "tcpfin", "udp"):
            walk.warn(line, f"Unknown option {option} specified for lvs_timeouts", "write tcp, tcpfin or udp", at)
            at += 1
        elif at + 1 >= len(words):
            text = f"No value specified for lvs_timeout {option} - ignoring"
            walk.warn(line, text, "write seconds behind it", at + 1)
            at += 1
        else:
            text = f"Invalid lvs_timeout {option} ({words[at + 1]}) - ignoring"
            walk.judge(line, at + 1, numbers.unsigned(words[at + 1], 0, MONTH_S), text)
            at += 2
    _keep(walk, line)


def _sync_daemon(walk: Walk, line: Line) -> None:
    """`lvs_sync_daemon IF [[inst] INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`."""
    words, before = line.words, walk.draft.values.get("others", {}).get("lvs_sync_daemon")
    if len(words) < 2:
        walk.warn(line, "lvs_sync_daemon requires interface", "write an interface behind it", 1)
        return
    if before:
        shown = f"{before[0]} {before[1] if len(before) > 1 else ''}"
        text = f"lvs_sync_daemon has already been specified as {shown} - ignoring"
        walk.warn(line, text, "the first one stays; take one out", 0)
        return
    if len(words[1]) > NAME_MAX:
        text = f"lvs_sync_daemon interface name '{words[1]}' too long - ignoring"
        walk.warn(line, text, f"the most are {NAME_MAX} characters", 1)
        return
    at = 2
    while at < len(words):
        option = words[at]
        value = words[at + 1] if at + 1 < len(words) else None
        if option in (*SYNC_NUMBERS, "group"):
            _sync_option(walk, line, at, option, value)
            at += 1
        elif option == "inst":
            at += 1
        elif at == 3 and option.isdigit():
            walk.warn(line, 'Please use keyword "id" before lvs_sync_daemon SYNCID', "write id before the number", at)
        elif at == 3:
            walk.warn(line, f"Invalid syncid ({option}) - defaulting to vrid", "write id NUMBER", at)
        elif at > 3:
            text = f"Unknown option {option} specified for lvs_sync_daemon"
            walk.warn(line, text, f"known are inst, {', '.join(SYNC_NUMBERS)} and group", at)
        at += 1
    _keep(walk, line)


def _sync_option(walk: Walk, line: Line, at: int, option: str, value: str | None) -> None:
    tail = "defaulting to vrid" if option == "id" else "ignoring"
    if value is None:
        joint = ", " if option == "id" else " - "
        text = f"No value specified for lvs_sync_daemon {option}{joint}{tail}"
        walk.warn(line, text, "write a value behind it", at + 1)
    elif option == "group":
        family = plain_address(value)
        if not family:
            walk.warn(line, f"Invalid lvs_sync_daemon group ({value}) - ignoring", "write a multicast address", at + 1)
        elif not ipaddress.ip_address(value).is_multicast:
            text = f"lvs_sync_daemon group address {value} is not multicast - ignoring"
            walk.warn(line, text, "write a multicast address", at + 1)
    else:
        low, high, name = SYNC_NUMBERS[option]
        text = f"Invalid {name or f'lvs_sync_daemon {option}'} ({value}) - {tail}"
        walk.judge(line, at + 1, numbers.unsigned(value, low, high), text)


def _multiplier(walk: Walk, line: Line) -> None:
    if len(line.words) != 2:
        walk.warn(line, "Invalid vrrp_rx_bufs_multiplier", "write one number", 1)
        return
    given = line.words[1]
    read = numbers.unsigned(given, 1, numbers.UINT_MAX)
    walk.judge(line, 1, read, f"Invalid vrrp_rx_bufs_multiplier {given}")


def _reload_time(walk: Walk, line: Line) -> None:
    if len(line.words) != 2:
        walk.warn(line, "reload_time_file invalid", "write one path", 1)
        return
    _keep(walk, line)


def _per_process(process: str) -> dict[str, Keyword]:
    """The keywords that each of the three processes has."""
    limit = _number(1, numbers.UINT_MAX, f"Invalid {process} real-time limit - {{value}}")
    return {
        f"{process}_priority": _number(
            -20,
            19,
            f"Invalid {process} process priority specified",
            f"No {process} process priority specified",
            signed=True,
        ),
        f"{process}_rt_priority": _real_time(process),
        f"{process}_rlimit_rttime": limit,
        f"{process}_rlimit_rtime": limit,
        f"{process}_cpu_affinity": _affinity(process),
        f"{process}_process_name": Keyword(_process_name),
    }


def table() -> Table:
    """What of these may stand in `global_defs`."""
    forced = "Invalid value '{value}' for global %s specified"
    buffers: dict[str, Keyword] = {}
    for name in BUFFERS:
        size = f"{name}_rcv_bufs size"
        buffers[f"{name}_rcv_bufs"] = _number(0, numbers.UINT_MAX, f"{size} ({{value}}) invalid", f"{size} missing")
        buffers[f"{name}_rcv_bufs_force"] = _boolean(forced % f"{name}_rcv_bufs_force")
    least = -numbers.INT_MAX - 1
    return {
        **buffers,
        **_per_process("vrrp"),
        **_per_process("checker"),
        **_per_process("bfd"),
        "process_name": Keyword(_process_name),
        "lvs_process_name": Keyword(_process_name),
        "data_use_instance": _boolean(forced % "date_use_instance"),
        "random_seed": _number(0, numbers.UINT_MAX, "random_seed {value} invalid"),
        "nftables": _once(
            "", "nftables already specified - ignoring", TABLE_MAX, "nftables table name too long - ignoring"
        ),
        "nftables_ipvs": _once(
            "", "ipvs nftables already specified - ignoring", TABLE_MAX, "ipvs nftables table name too long - ignoring"
        ),
        "nftables_priority": _number(least, numbers.INT_MAX, "invalid nftables chain priority '{value}'", signed=True),
        "nftables_ipvs_priority": _number(
            least, numbers.INT_MAX, "invalid ipvs nftables chain priority '{value}'", signed=True
        ),
        "nftables_ipvs_start_fwmark": _number(
            1, numbers.UINT_MAX, "invalid ipvs nftables start_fwmark priority '{value}'"
        ),
        "dbus_service_name": _once("dbus_service_name missing - ignoring", ""),
        "tmp_config_directory": _once(
            "tmp_config_directory missing directory name", "tmp_config_directory already specified - ignoring"
        ),
        "vmac_prefix": Keyword(_prefix),
        "vmac_addr_prefix": Keyword(_prefix),
        "startup_script": _script("startup"),
        "shutdown_script": _script("shutdown"),
        "snmp_socket": Keyword(_snmp_socket),
        "lvs_timeouts": Keyword(_timeouts),
        "lvs_sync_daemon": Keyword(_sync_daemon),
        "vrrp_rx_bufs_multiplier": Keyword(_multiplier),
        "reload_time_file": Keyword(_reload_time),
    }


def _prefix(walk: Walk, line: Line) -> None:
    given, what = word(line), line.words[0].removesuffix("_prefix")
    if line.words[0] in walk.draft.values.get("others", {}):
        text = f"{what} prefix has already been specified - ignoring {given}"
        walk.warn(line, text, "the first one stays; take one out", 0)
        return
    _keep(walk, line)
