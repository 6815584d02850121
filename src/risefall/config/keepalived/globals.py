"""`global_defs` and the settings that stand outside all blocks.

Source: spec/keepalived-track.md §6.4, §6.5, §7.2, §7.3; observed with `keepalived -t` of 2.2.7.
"""

from __future__ import annotations

from risefall.config.keepalived import files, numbers, system
from risefall.config.keepalived.addresses import plain_address
from risefall.config.keepalived.blocks import (
    Draft,
    Keyword,
    Table,
    Values,
    Walk,
    boolean,
    command_of,
    flag,
    number,
    passed,
    seconds,
    timer,
    word,
)
from risefall.config.keepalived.model import Global, Line

BITS = {
    f"I{kind}{who}": bit
    for who, base in (("USR", 6), ("GRP", 3), ("OTH", 0))
    for kind, bit in (("R", 4 << base), ("W", 2 << base), ("X", 1 << base))
}
PLAIN = [
    "process_names",
    "vrrp_no_swap",
    "checker_no_swap",
    "bfd_no_swap",
    "lvs_flush",
    "nftables_ifindex",
    "nftables_counters",
    "enable_traps",
    "enable_snmp_vrrp",
    "enable_snmp_keepalived",
    "enable_snmp_rfc",
    "enable_snmp_rfcv2",
    "enable_snmp_rfcv3",
    "enable_snmp_checker",
    "enable_dbus",
    "log_unknown_vrids",
    "reload_repeat",
    "disable_local_igmp",
    "reload_check_config",
    "reload_file",
]
"""Keywords whose words are only kept."""


def _optional(field: str, message: str) -> Keyword:
    """A keyword with a word, which keepalived only misses."""

    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, message, "write a value behind it", 1)
            return
        walk.set(line, field, line.words[1])
        walk.leftover(line, 2)

    return Keyword(read)


def _emails(walk: Walk, line: Line) -> None:
    found = tuple(one for inner in walk.value_lines(line) for one in inner.words)
    if not found:
        walk.warn(line, "Warning - empty notification_email block", "write one address a line", 0)
    walk.draft.values["emails"] = walk.draft.values.get("emails", ()) + found


def _smtp_server(walk: Walk, line: Line) -> None:
    given, values = word(line), walk.draft.values
    port = line.words[2] if len(line.words) > 2 else "25"
    message = f"Invalid smtp server {given} {port}"
    value = walk.judge(line, 2 if len(line.words) > 2 else 1, numbers.unsigned(port, 1, 65535), message)
    if value is not None:
        values["smtp_server"], values["smtp_port"] = given, value
    walk.leftover(line, 3)


def _dynamic(walk: Walk, line: Line) -> None:
    walk.set(line, "dynamic_interfaces", True)
    if len(line.words) > 1 and line.words[1] != "allow_if_changes":
        text = f"Unknown dynamic_interfaces option '{line.words[1]}'"
        walk.warn(line, text, "write allow_if_changes, or nothing", 1)


def _mcast(field: str, keyword: str, family: int) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        given = word(line)
        found = plain_address(given)
        if not found:
            walk.warn(line, f"Can't parse {keyword} [{given}]. Skipping", "write a multicast address", 1)
        elif found != family:
            walk.warn(line, f"{keyword} [{given}] is not IPv{family}. Skipping", "write the other keyword for it", 1)
        elif not (224 <= int(given.split(".")[0]) < 240 if family == 4 else given.lower().startswith("ff")):
            walk.warn(line, f"{keyword} [{given}] is not multicast. Skipping", "write a multicast address", 1)
        else:
            if family == 6 and given.lower()[3:4] != "2":
                walk.warn(line, f"{keyword} [{given}] should be link-local multicast.", "write one of ff02::", 1)
            walk.set(line, field, given)

    return Keyword(read)


def _min_garp(walk: Walk, line: Line) -> None:
    given = line.words[1] if len(line.words) > 1 else "true"
    if given not in numbers.BOOLEANS:
        walk.warn(line, "Invalid value for vrrp_min_garp specified", "write on or off", 1)
        return
    if numbers.BOOLEANS[given]:
        values = walk.draft.values
        for field, default, less in (
            ("vrrp_garp_master_repeat", 5, 1),
            ("vrrp_garp_master_refresh_repeat", 1, 0),
            ("vrrp_garp_master_delay_ms", 5000, 0),
        ):
            if values.get(field, default) == default:
                values[field] = less


def _repeat(field: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        given = word(line)
        value = walk.judge(
            line, 1, numbers.unsigned(given, 0, numbers.UINT_MAX), f"{field} '{given}' invalid - ignoring"
        )
        if value is None:
            return
        if value == 0:
            walk.warn(line, f"{field} must be greater than 0, setting to 1", "write at least 1", 1)
        walk.set(line, field, value or 1)
        walk.leftover(line, 2)

    return Keyword(read)


def _fifo(field: str, kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"No {kind}notify_fifo name specified", "write a path behind it", 1)
        elif walk.draft.values.get(field):
            text = f"{kind}notify_fifo already specified - ignoring {line.words[1]}"
            walk.warn(line, text, "the first one stays; take one out", 0)
        else:
            walk.set(line, field, line.words[1])

    return Keyword(read)


def _fifo_script(field: str, kind: str) -> Keyword:
    def read(walk: Walk, line: Line) -> None:
        if len(line.words) < 2:
            walk.warn(line, f"No {kind}notify_fifo_script specified", "write a command behind it", 1)
        elif walk.draft.values.get(field):
            text = f"{kind}notify_fifo_script already specified - ignoring {line.words[1]}"
            walk.warn(line, text, "the first one stays; take one out", 0)
        else:
            walk.set(line, field, command_of(walk, line, user=True))

    return Keyword(read)


def _script_user(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.warn(line, "No script username specified", "write a user behind it", 1)
        return
    walk.draft.values["script_user"] = line.words[1]
    walk.draft.values["script_group"] = line.words[2] if len(line.words) > 2 else None
    walk.leftover(line, 3)


def _umask(walk: Walk, line: Line) -> None:
    given = word(line)
    if given[:1].isdigit():
        try:
            value = int(given, 8) if given.startswith("0") and given[1:2] not in ("x", "X") else int(given, 0)
        except ValueError:
            value = -1
        if len(line.words) != 2:
            walk.warn(line, "Extra parameter(s) to umask option", "write one number", 2)
        elif not 0 <= value <= 0o777:
            walk.warn(line, f"invalid umask value {given}", "write three octal digits, such as 0077", 1)
        else:
            walk.set(line, "umask", value)
        return
    value = 0
    names = "".join(line.words[1:]).split("|")
    for name in names:
        if name not in BITS:
            walk.warn(line, f"Unknown umask bit {name}", f"known are {' '.join(BITS)}", 1)
            return
        value |= BITS[name]
    walk.set(line, "umask", value)


def _include_check(walk: Walk, line: Line) -> None:
    lines = walk.lines
    if len(line.words) < 2:
        lines.include_check = files.STRICT["a"]
        return
    for at, given in enumerate(line.words[1:], 1):
        sign = given[0] if given[0] in "+-" else ""
        if not sign and at > 1:
            text = f"Duplicate include_check '{given}' specified - ignoring"
            walk.warn(line, text, "write + or - before the further ones", at)
            continue
        lines.include_check = lines.include_check if sign else 0
        bit = files.WORDS.get(given[len(sign) :], 0)
        if not bit:
            text = f"Unknown include_check type '{given[len(sign) :]}' - ignoring"
            walk.warn(line, text, f"known are {', '.join(files.WORDS)}", at)
        elif sign == "-":
            lines.include_check &= ~bit
        else:
            lines.include_check |= bit | (0 if sign else files.READ)


def _ranged(low: int, high: int, message: str, absent: str = "") -> Keyword:
    """A number that is only kept, and not at all when it is wrong."""

    def read(walk: Walk, line: Line) -> None:
        if absent and len(line.words) < 2:
            walk.warn(line, absent, "write a number behind it", 1)
            return
        given = word(line)
        if walk.judge(line, 1, numbers.signed(given, low, high), message.format(value=given)) is not None:
            walk.draft.values.setdefault("others", {})[line.words[0]] = line.words[1:]

    return Keyword(read)


def _iptables(walk: Walk, line: Line) -> None:
    text = (
        "iptables not supported, using nftables instead. Please replace 'vrrp_iptables and 'vrrp_ipsets' with"
        " 'nftables' config option"
    )
    walk.warn(line, text, "write nftables", 0)


def _flush(walk: Walk, line: Line) -> None:
    if len(line.words) > 1 and line.words[1] != "VS":
        walk.warn(line, f"Unknown lvs_flush_on_stop type {line.words[1]}", "write VS, or nothing", 1)


def _garp_extra(walk: Walk, line: Line) -> None:
    if line.words[0] == "vrrp_vmac_garp_intvl":
        text = 'Keyword "vrrp_vmac_garp_intvl" is deprecated - please use "vrrp_garp_extra_if"'
        walk.warn(line, text, "write vrrp_garp_extra_if", 0)
    numbers_ = [one for one in line.words[1:] if one != "all"]
    for given in numbers_:
        message = f"{line.words[0]} '{given}' invalid - ignoring"
        if walk.judge(line, line.words.index(given), numbers.unsigned(given, 1, 86400), message) is None:
            return
    if not numbers_:
        walk.warn(line, f"{line.words[0]} specified without time - ignoring", "write seconds behind it", 1)


def _rx_policy(walk: Walk, line: Line) -> None:
    if len(line.words) < 2:
        walk.warn(line, "vrrp_rx_bufs_policy missing", "write MTU, ADVERT or a number", 1)
    for at, given in enumerate(line.words[1:], 1):
        if given.upper() not in ("MTU", "ADVERT"):
            read = numbers.unsigned(given, 0, numbers.UINT_MAX, lenient=False)
            walk.judge(line, at, read, f"Invalid vrrp_rx_bufs_policy {given}")


def _max_auto(walk: Walk, line: Line) -> None:
    if len(line.words) > 1:
        given = line.words[1]
        message = f"max_auto_priority '{given}' must be in [0, 99] (or -1 to disable) - ignoring"
        walk.judge(line, 1, numbers.signed(given, -1, 99), message)


def table() -> Table:
    """Everything that may stand in `global_defs`."""
    invalid = "Invalid value '{value}' for global %s specified"
    return {
        **{name: passed() for name in PLAIN},
        **system.table(),
        "config_save_dir": passed(1),
        "vrrp_rx_bufs_policy": Keyword(_rx_policy),
        "max_auto_priority": Keyword(_max_auto),
        "min_auto_priority_delay": _ranged(
            1,
            10_000_000,
            "min_auto_priority_delay '{value}' must be in [1, 10000000] - ignoring",
            "min_auto_priority_delay requires delay time",
        ),
        "startup_script_timeout": _ranged(
            1,
            1000,
            "startup_script_timeout '{value}' must be in [1, 1000] - ignoring",
            "startup_script_timeout requires value",
        ),
        "shutdown_script_timeout": _ranged(
            1,
            1000,
            "shutdown_script_timeout '{value}' must be in [1, 1000] - ignoring",
            "shutdown_script_timeout requires value",
        ),
        "vrrp_garp_extra_if": Keyword(_garp_extra),
        "vrrp_vmac_garp_intvl": Keyword(_garp_extra),
        "lvs_flush_on_stop": Keyword(_flush),
        "lvs_flush_onstop": Keyword(_flush),
        "vrrp_iptables": Keyword(_iptables),
        "router_id": _optional("router_id", "routerid name missing - ignoring"),
        "notification_email_from": _optional("email_from", "emailfrom missing - ignoring"),
        "notification_email": Keyword(_emails),
        "smtp_server": Keyword(_smtp_server),
        "smtp_helo_name": Keyword(
            lambda walk, line: walk.set(line, "smtp_helo_name", line.words[1] if len(line.words) > 1 else None)
        ),
        "smtp_connect_timeout": seconds(
            "smtp_connect_timeout_ms",
            f"smtp_connect_timeout '{{value}}' must be in [0, {numbers.SECONDS_MAX}] - ignoring",
            zero="smtp_conect_timeout must be greater than 0, setting to 1",
        ),
        "smtp_alert": boolean("smtp_alert", invalid % "smtp_alert"),
        "smtp_alert_vrrp": boolean("smtp_alert_vrrp", invalid % "smtp_alert_vrrp"),
        "smtp_alert_checker": boolean("smtp_alert_checker", invalid % "smtp_alert_checker"),
        "checker_log_all_failures": boolean(
            "checker_log_all_failures", "Invalid value for checker_log_all_failures specified"
        ),
        "no_email_faults": flag("no_email_faults"),
        "no_checker_emails": boolean("no_checker_emails", invalid % "no_checker_emails"),
        "rs_init_notifies": boolean("rs_init_notifies", invalid % "rs_init_notifies"),
        "dynamic_interfaces": Keyword(_dynamic),
        "default_interface": _optional("default_interface", "default_interface requires interface name"),
        "vrrp_mcast_group4": _mcast("mcast_group4", "vrrp_mcast_group4", 4),
        "vrrp_mcast_group6": _mcast("mcast_group6", "vrrp_mcast_group6", 6),
        "vrrp_garp_master_delay": seconds(
            "vrrp_garp_master_delay_ms", "vrrp_garp_master_delay '{value}' invalid - ignoring"
        ),
        "vrrp_garp_master_repeat": _repeat("vrrp_garp_master_repeat"),
        "vrrp_garp_master_refresh": seconds(
            "vrrp_garp_master_refresh_ms",
            "Invalid vrrp_garp_master_refresh '{value}' - ignoring",
            high=numbers.UINT_MAX,
        ),
        "vrrp_garp_master_refresh_repeat": _repeat("vrrp_garp_master_refresh_repeat"),
        "vrrp_garp_lower_prio_delay": seconds(
            "vrrp_garp_lower_prio_delay_ms", "vrrp_garp_lower_prio_delay '{value}' invalid - ignoring"
        ),
        "vrrp_garp_lower_prio_repeat": number(
            "vrrp_garp_lower_prio_repeat", 0, numbers.INT_MAX, "Invalid vrrp_garp_lower_prio_repeat '{value}'"
        ),
        "vrrp_down_timer_adverts": number(
            "vrrp_down_timer_adverts", 1, 100, "Invalid vrrp_down_timer_adverts [1:100] '{value}'"
        ),
        "vrrp_garp_interval": timer(
            "garp_interval", "vrrp_garp_interval '{value}' is invalid", low=1, high=numbers.UINT_MAX
        ),
        "vrrp_gna_interval": timer(
            "gna_interval", "vrrp_gna_interval '{value}' is invalid", low=1, high=numbers.UINT_MAX
        ),
        "vrrp_min_garp": Keyword(_min_garp),
        "vrrp_lower_prio_no_advert": boolean(
            "vrrp_lower_prio_no_advert", "Invalid value for vrrp_lower_prio_no_advert specified"
        ),
        "vrrp_higher_prio_send_advert": boolean(
            "vrrp_higher_prio_send_advert", "Invalid value for vrrp_higher_prio_send_advert specified"
        ),
        "vrrp_version": number("vrrp_version", 2, 3, "VRRP Error: Version must be either 2 or 3", plus=True),
        "vrrp_check_unicast_src": flag("check_unicast_src"),
        "vrrp_skip_check_adv_addr": Keyword(lambda walk, line: walk.set(line, "skip_check_adv_addr", True)),
        "vrrp_strict": flag("strict"),
        "notify_fifo": _fifo("notify_fifo", ""),
        "vrrp_notify_fifo": _fifo("vrrp_notify_fifo", "vrrp_"),
        "lvs_notify_fifo": _fifo("lvs_notify_fifo", "lvs_"),
        "notify_fifo_script": _fifo_script("notify_fifo_script", ""),
        "vrrp_notify_fifo_script": _fifo_script("vrrp_notify_fifo_script", "vrrp_"),
        "lvs_notify_fifo_script": _fifo_script("lvs_notify_fifo_script", "lvs_"),
        "vrrp_notify_priority_changes": boolean("notify_priority_changes", invalid % "vrrp_notify_priority_changes"),
        "fifo_write_vrrp_states_on_reload": flag("fifo_write_states_on_reload"),
        "vrrp_startup_delay": timer(
            "startup_delay_ms", "vrrp_startup_delay '{value}' is invalid", low=1000, high=numbers.UINT_MAX
        ),
        "script_user": Keyword(_script_user),
        "enable_script_security": flag("script_security"),
        "umask": Keyword(_umask),
        "include_check": Keyword(_include_check),
    }


def tables(draft: Draft) -> Table:
    """The entries of this module for the outermost table. draft: collects the values of all `global_defs`."""

    def begin(walk: Walk, line: Line) -> None:
        draft.line = line
        walk.open.append(draft)

    def once(field: str, keyword: str) -> Keyword:
        def read(walk: Walk, line: Line) -> None:
            if len(line.words) < 2:
                walk.warn(line, f"{keyword} name missing - ignoring", "write a name behind it", 1)
            elif draft.values.get(field):
                text = f"Duplicate {keyword} definition {line.words[1]} - ignoring"
                walk.warn(line, text, "the first one stays; take one out", 0)
            else:
                draft.values[field] = line.words[1]

        return Keyword(read)

    def wait(walk: Walk, line: Line) -> None:
        given = word(line)
        read = numbers.unsigned(given, 0, numbers.UINT_MAX, lenient=False)
        walk.judge(line, 1, read, f"Invalid child_wait_time {given}")

    return {
        "global_defs": Keyword(begin, table()),
        "net_namespace": once("net_namespace", "net_namespace"),
        "instance": once("instance", "instance"),
        "net_namespace_ipvs": Keyword(lambda walk, line: None),
        "namespace_with_ipsets": Keyword(lambda walk, line: None),
        "use_pid_dir": Keyword(lambda walk, line: None),
        "linkbeat_use_polling": Keyword(lambda walk, line: None),
        "child_wait_time": Keyword(wait),
    }


def finish(draft: Draft) -> Global:
    """The settings as a struct; what has no field of its own goes to `others`."""
    values: Values = {}
    others = dict(draft.values.get("others", {}))
    for field, value in draft.values.items():
        if field in Global.__struct_fields__ and field != "others":
            values[field] = value
    return Global(others=others, **values)
