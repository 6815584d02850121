"""What a keepalived.conf says, as frozen structs: the hand-over from `config` to everybody else.

Values are those that keepalived 2.2.7 would work with: defaults are filled in, and what it drops is not here. Times are
whole milliseconds, rounded up where the file is finer. Source: spec/keepalived-track.md §1.1, §2, §4.1, §5.1, §6, §7, §11.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Line(msgspec.Struct, frozen=True, gc=False):
    """One logical line. raw: the line of the file; text: after comments, definitions and braces; words: split at blanks."""

    file: str
    line: int
    raw: str
    text: str
    words: tuple[str, ...]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where something was defined; `line` counts from 1."""

    file: str = ""
    line: int = 0


class Command(msgspec.Struct, frozen=True, gc=False):
    """A program to run, without a shell. user: None for the default of `script_user`; group: None for the user's own."""

    argv: tuple[str, ...]
    user: str | None = None
    group: str | None = None


# --- what is tracked --------------------------------------------------------------------------------------------------


class Script(msgspec.Struct, frozen=True):
    """`vrrp_script`. timeout_ms: None means that the interval counts. weight can lie outside -253 .. 253."""

    name: str
    command: Command
    interval_ms: int = 1000
    timeout_ms: int | None = None
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    place: Place = Place()


class TrackFile(msgspec.Struct, frozen=True):
    """`track_file`. init: the value that is written at the start; None when nothing is."""

    name: str
    path: str
    weight: int = 1
    reverse: bool = False
    init: int | None = None
    overwrite: bool = False
    place: Place = Place()


class Match(Enum):
    """`param_match` of a process: what its arguments are compared as; NONE when only its name counts."""

    NONE = "none"
    EXACT = "exact"
    PARTIAL = "partial"
    INITIAL = "initial"


class Process(msgspec.Struct, frozen=True):
    """`vrrp_track_process`. quorum_max: None for no limit."""

    name: str
    path: str
    arguments: tuple[str, ...] = ()
    match: Match = Match.NONE
    full_command: bool = False
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    quorum_max: int | None = None
    fork_delay_ms: int = 0
    terminate_delay_ms: int = 0
    place: Place = Place()


class Bfd(msgspec.Struct, frozen=True):
    """`bfd_instance`. max_hops: -1 for no limit; ttl: 0 for the default of the address family."""

    name: str
    neighbor_ip: str
    source_ip: str | None = None
    min_rx_ms: int = 10
    min_tx_ms: int = 10
    idle_tx_ms: int = 1000
    multiplier: int = 5
    passive: bool = False
    ttl: int = 0
    max_hops: int = 0
    weight: int = 0
    reverse: bool = False
    vrrp: bool = True
    checker: bool = True
    place: Place = Place()


class Tracked(msgspec.Struct, frozen=True, gc=False):
    """One entry of a `track_*` block: what, how heavy, and whether reversed."""

    name: str
    weight: int = 0
    reverse: bool = False
    place: Place = Place()


class TrackGroup(msgspec.Struct, frozen=True):
    """`track_group`: instances that fault when a static item of the group cannot be put back."""

    name: str
    members: tuple[str, ...] = ()
    place: Place = Place()


# --- VRRP -------------------------------------------------------------------------------------------------------------


class Vip(msgspec.Struct, frozen=True, gc=False):
    """One address of a list. options: the flags of the line, in their order."""

    address: str
    prefix: int
    family: int
    dev: str | None = None
    scope: str | None = None
    label: str | None = None
    broadcast: str | None = None
    peer: str | None = None
    preferred_lft: str | None = None
    track_group: str | None = None
    no_track: bool = False
    use_vmac: bool = False
    options: tuple[str, ...] = ()
    place: Place = Place()


class Routing(msgspec.Struct, frozen=True):
    """One line of routes or of rules. devices: the interfaces that it needs, unless it has no_track."""

    text: str
    devices: tuple[str, ...] = ()
    track_group: str | None = None
    place: Place = Place()


class Peer(msgspec.Struct, frozen=True, gc=False):
    """One line of `unicast_peer`."""

    address: str
    family: int
    min_ttl: int = 0
    max_ttl: int = 255
    place: Place = Place()


class Notify(msgspec.Struct, frozen=True):
    """Commands of an instance or a group, by what calls them."""

    master: Command | None = None
    backup: Command | None = None
    fault: Command | None = None
    stop: Command | None = None
    deleted: Command | None = None
    master_rx_lower_pri: Command | None = None
    any: Command | None = None


class Instance(msgspec.Struct, frozen=True):
    """`vrrp_instance`, with what its sync group and `global_defs` make of it.

    family: 4 or 6. wants_master: state MASTER is wished, which below priority 255 decides nothing. interface: None for a
    unicast instance that has only its source address. interface_tracked: whether its own interface counts. devices: the
    interfaces that its addresses, routes, rules and track groups need: it is at FAULT without one of them. broken: a setting
    keeps it at FAULT for as long as it stands.
    """

    name: str
    interface: str | None
    vrid: int
    family: int = 4
    version: int = 2
    priority: int = 100
    wants_master: bool = False
    advert_int_ms: int = 1000
    nopreempt: bool = False
    preempt_delay_ms: int = 0
    down_timer_adverts: int = 3
    strict: bool = False
    accept: bool = True
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    skip_check_adv_addr: bool = False
    check_unicast_src: bool = False
    unicast: bool = False
    unicast_fault_no_peer: bool = False
    broken: bool = False
    peers: tuple[Peer, ...] = ()
    source_ip: str | None = None
    track_source_ip: bool = False
    unicast_ttl: int | None = None
    mcast_dst_ip: str | None = None
    auth_type: str | None = None
    auth_pass: str | None = None
    vips: tuple[Vip, ...] = ()
    excluded: tuple[Vip, ...] = ()
    routes: tuple[Routing, ...] = ()
    rules: tuple[Routing, ...] = ()
    devices: tuple[str, ...] = ()
    interface_tracked: bool = True
    track_interfaces: tuple[Tracked, ...] = ()
    track_scripts: tuple[Tracked, ...] = ()
    track_files: tuple[Tracked, ...] = ()
    track_processes: tuple[Tracked, ...] = ()
    track_bfds: tuple[Tracked, ...] = ()
    notify: Notify = Notify()
    notify_deleted: bool = False
    notify_priority_changes: bool = False
    smtp_alert: bool = False
    use_vmac: bool = False
    use_ipvlan: bool = False
    vrf: str | None = None
    garp_master_delay_ms: int = 5000
    garp_master_repeat: int = 5
    garp_master_refresh_ms: int = 0
    garp_master_refresh_repeat: int = 1
    garp_lower_prio_delay_ms: int = 5000
    garp_lower_prio_repeat: int = 5
    debug: int = 0
    group: str | None = None
    place: Place = Place()


class SyncGroup(msgspec.Struct, frozen=True):
    """`vrrp_sync_group`. members: those that exist and are in no earlier group."""

    name: str
    members: tuple[str, ...] = ()
    tracking_weight: bool = False
    track_interfaces: tuple[Tracked, ...] = ()
    track_scripts: tuple[Tracked, ...] = ()
    track_files: tuple[Tracked, ...] = ()
    track_processes: tuple[Tracked, ...] = ()
    track_bfds: tuple[Tracked, ...] = ()
    notify: Notify = Notify()
    notify_priority_changes: bool | None = None
    smtp_alert: bool = False
    place: Place = Place()


# --- virtual servers --------------------------------------------------------------------------------------------------


class Url(msgspec.Struct, frozen=True):
    """`url` of HTTP_GET and SSL_GET. status: ranges of codes, both ends included."""

    path: str
    digest: str | None = None
    status: tuple[tuple[int, int], ...] = ((200, 299),)
    virtualhost: str | None = None
    regex: str | None = None
    regex_no_match: bool = False
    regex_options: tuple[str, ...] = ()
    regex_min_offset: int = 0
    regex_max_offset: int | None = None
    place: Place = Place()


class Checker(msgspec.Struct, frozen=True):
    """One checker of a real server; what it inherits is filled in. kind: the word of the file, such as TCP_CHECK.

    Of the fields of other kinds each has its default. connect_ip: None for the address of the real server.
    """

    kind: str
    delay_loop_ms: int = 60_000
    warmup_ms: int = 60_000
    retry: int = 1
    delay_before_retry_ms: int = 1000
    connect_timeout_ms: int = 5000
    alpha: bool = False
    log_all_failures: bool = False
    connect_ip: str | None = None
    connect_port: int | None = None
    bindto: str | None = None
    bind_port: int | None = None
    bind_if: str | None = None
    fwmark: int = 0
    urls: tuple[Url, ...] = ()
    virtualhost: str | None = None
    http_protocol: str = "1.0"
    enable_sni: bool = False
    fast_recovery: bool = False
    command: Command | None = None
    timeout_ms: int = 0
    dynamic: bool = False
    helo_name: str = "smtpchecker.keepalived.org"
    dns_type: str = "SOA"
    dns_name: str = "."
    payload: str | None = None
    require_reply: bool = False
    reply: str | None = None
    min_reply_length: int = 0
    max_reply_length: int = 255
    tracked: Tracked | None = None
    place: Place = Place()


class RealServer(msgspec.Struct, frozen=True):
    """`real_server`, with what it inherits."""

    address: str
    port: int
    family: int
    weight: int = 1
    method: str = "NAT"
    uthreshold: int = 0
    lthreshold: int = 0
    inhibit_on_failure: bool = False
    alpha: bool = False
    smtp_alert: bool = True
    virtualhost: str | None = None
    snmp_name: str | None = None
    notify_up: Command | None = None
    notify_down: Command | None = None
    checkers: tuple[Checker, ...] = ()
    place: Place = Place()


class SorryServer(msgspec.Struct, frozen=True):
    """`sorry_server`."""

    address: str
    port: int
    family: int
    method: str = "NAT"
    inhibit: bool = False


class GroupEntry(msgspec.Struct, frozen=True, gc=False):
    """One line of a `virtual_server_group`: a firewall mark, or addresses from first to last with a port (0: any)."""

    fwmark: int | None = None
    first: str = ""
    last: str = ""
    port: int = 0
    family: int = 0


class ServerGroup(msgspec.Struct, frozen=True):
    """`virtual_server_group`."""

    name: str
    entries: tuple[GroupEntry, ...] = ()
    place: Place = Place()


class VirtualServer(msgspec.Struct, frozen=True):
    """`virtual_server`: by address, by firewall mark, or by group."""

    name: str
    address: str | None = None
    port: int = 0
    fwmark: int | None = None
    group: str | None = None
    family: int = 4
    protocol: str | None = None
    scheduler: str = "wlc"
    method: str = "NAT"
    persistence_timeout_s: int = 0
    ha_suspend: bool = False
    alpha: bool = False
    omega: bool = False
    quorum: int = 1
    hysteresis: int = 0
    weight: int = 1
    smtp_alert: bool = False
    virtualhost: str | None = None
    quorum_up: Command | None = None
    quorum_down: Command | None = None
    sorry_server: SorryServer | None = None
    real_servers: tuple[RealServer, ...] = ()
    place: Place = Place()


# --- the whole --------------------------------------------------------------------------------------------------------


class Global(msgspec.Struct, frozen=True):
    """`global_defs`, what risefall has a use for. others: the further keywords, each with its words."""

    router_id: str | None = None
    emails: tuple[str, ...] = ()
    email_from: str | None = None
    smtp_server: str | None = None
    smtp_port: int = 25
    smtp_helo_name: str | None = None
    smtp_connect_timeout_ms: int = 30_000
    smtp_alert: bool | None = None
    smtp_alert_vrrp: bool | None = None
    smtp_alert_checker: bool | None = None
    no_email_faults: bool = False
    no_checker_emails: bool = False
    default_interface: str | None = None
    dynamic_interfaces: bool = False
    vrrp_version: int = 2
    strict: bool = False
    script_user: str | None = None
    script_group: str | None = None
    script_security: bool = False
    mcast_group4: str = "224.0.0.18"
    mcast_group6: str = "ff02::12"
    startup_delay_ms: int = 0
    notify_fifo: str | None = None
    notify_fifo_script: Command | None = None
    vrrp_notify_fifo: str | None = None
    vrrp_notify_fifo_script: Command | None = None
    lvs_notify_fifo: str | None = None
    lvs_notify_fifo_script: Command | None = None
    notify_priority_changes: bool = False
    fifo_write_states_on_reload: bool = False
    checker_log_all_failures: bool = False
    rs_init_notifies: bool = False
    umask: int | None = None
    net_namespace: str | None = None
    instance: str | None = None
    others: dict[str, tuple[str, ...]] = {}


class Config(msgspec.Struct, frozen=True):
    """One reading. warnings: rendered, in the order of the files. interface_delays_ms: down and up, by interface."""

    global_: Global
    scripts: tuple[Script, ...] = ()
    files: tuple[TrackFile, ...] = ()
    processes: tuple[Process, ...] = ()
    bfds: tuple[Bfd, ...] = ()
    track_groups: tuple[TrackGroup, ...] = ()
    instances: tuple[Instance, ...] = ()
    groups: tuple[SyncGroup, ...] = ()
    static_addresses: tuple[Vip, ...] = ()
    static_routes: tuple[Routing, ...] = ()
    static_rules: tuple[Routing, ...] = ()
    interface_delays_ms: dict[str, tuple[int, int]] = {}
    server_groups: tuple[ServerGroup, ...] = ()
    virtual_servers: tuple[VirtualServer, ...] = ()
    ssl: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
