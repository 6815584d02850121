"""What a haproxy.cfg says, as frozen structs: the hand-over from `config` to everybody else.

Two shapes stand side by side. The *tree* (`Section`, `Line`) keeps every word of every section with its
place, whether or not risefall has a use for it. The *meaning* (`Config`, `Proxy`, `Server`, rule sets)
is what the words say about checks after defaults, `default-server` and the dialect were applied. Settings
that many servers share are shared objects: a server of a large farm costs its name, its address and a line.

Source: spec/haproxy-checks.md §1.1, §2, §3, §4.1, §6.4, §7.1, §9; haproxy configuration manual 2.6.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import msgspec


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a word stands: `column` and `line` count from 1; column 0 means the whole line."""

    file: str
    line: int
    column: int = 0


# --- the tree -------------------------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a section, its words after quotes, escapes and variables.

    `raw` is the line as written; a word's column is found again from it (`lexer.columns`), so that a
    hundred thousand lines cost no list of numbers each.
    """

    file: str
    line: int
    raw: str
    words: tuple[str, ...]


class Section(msgspec.Struct, frozen=True):
    """`kind` is the section word (`backend`), `name` its name or ``, `lines` all that follows it."""

    kind: str
    name: str
    head: Line
    lines: tuple[Line, ...]


# --- addresses ------------------------------------------------------------------------------------


class Family(IntEnum):
    """How an address is reached. NAME still has to be resolved (by `engine.names`); nothing here reaches ELSEWHERE (`quic4@`, `rhttp@`,
    `uxdg@`), whose host is the whole text.
    """

    IPV4 = 4
    IPV6 = 6
    UNIX = 1
    ABNS = 2
    FD = 3
    ELSEWHERE = 5
    NAME = 0


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address as the file gives it.

    host: numeric text of IPv4/IPv6 (canonical), path of UNIX, name of ABNS, number of FD, or the name to resolve.
    port: 0 when the address has none. `mapped` is true where the port is missing or relative (`+N`, `-N`;
    then `port` is the signed offset): such a server has no port of its own to check (spec §2.5).
    prefer: family that a prefix such as `ipv6@` forces on a name, else None.
    """

    family: Family
    host: str
    port: int = 0
    mapped: bool = False
    prefer: Family | None = None

    @property
    def unspecified(self) -> bool:
        """Whether this is `*`, `0.0.0.0` or `::`: checked on the local host (spec §2.5)."""
        return self.host in ("0.0.0.0", "::") and self.family in (Family.IPV4, Family.IPV6)


# --- check rules ----------------------------------------------------------------------------------


class CheckKind(Enum):
    """The word of `plan --json`'s check_kind."""

    TCP = "tcp"
    HTTP = "http"
    TCP_CHECK = "tcp-check"
    MYSQL = "mysql"
    PGSQL = "pgsql"
    REDIS = "redis"
    SMTP = "smtp"
    LDAP = "ldap"
    SPOP = "spop"
    SSL_HELLO = "ssl-hello"
    EXTERNAL = "external"


class Match(Enum):
    """Match method of `hdr` / `fhdr` names and values (`-m`), and how a pattern is compared."""

    STR = "str"
    BEG = "beg"
    END = "end"
    SUB = "sub"
    REG = "reg"


class Expect(Enum):
    """The pattern word of an expect rule, in http-check and in tcp-check."""

    STATUS = "status"
    RSTATUS = "rstatus"
    STRING = "string"
    RSTRING = "rstring"
    STRING_LF = "string-lf"
    HDR = "hdr"
    FHDR = "fhdr"
    BINARY = "binary"
    RBINARY = "rbinary"
    BINARY_LF = "binary-lf"


class HeaderMatch(msgspec.Struct, frozen=True):
    """Name or value half of an `hdr` / `fhdr` expect. `lf`: the text is a log-format string."""

    text: str
    match: Match = Match.STR
    lf: bool = False


class ConnectRule(msgspec.Struct, frozen=True, tag="connect"):
    """`http-check connect` / `tcp-check connect`. port_expr is a sample expression, kept as text."""

    place: Place
    step: int
    default: bool = False
    port: int = 0
    port_expr: str = ""
    addr: Address | None = None
    ssl: bool = False
    sni: str = ""
    alpn: str = ""
    proto: str = ""
    send_proxy: bool = False
    via_socks4: bool = False
    linger: bool = False
    comment: str = ""


class Header(msgspec.Struct, frozen=True):
    """One header of an HTTP request; `value` is a log-format string, as written.

    hidden: it stood in the version word of `option httpchk`, where even a Content-Length is the file's own to say.
    """

    name: str
    value: str
    hidden: bool = False


class HttpSendRule(msgspec.Struct, frozen=True, tag="http-send"):
    """The request that `option httpchk` and `http-check send` make together, merged (spec §3.8)."""

    place: Place
    step: int
    method: str = "OPTIONS"
    uri: str = "/"
    uri_lf: bool = False
    version: str = "HTTP/1.0"
    headers: tuple[Header, ...] = ()
    body: str = ""
    body_lf: bool = False
    comment: str = ""
    empty_body: bool = False
    """The version word ended in the blank line before a body, and held none."""


class TcpSendRule(msgspec.Struct, frozen=True, tag="tcp-send"):
    """`tcp-check send`, `send-binary` (data is the bytes) and their -lf forms (lf is the format text)."""

    place: Place
    step: int
    data: bytes = b""
    lf: str | None = None
    binary: bool = False
    comment: str = ""


class ExpectRule(msgspec.Struct, frozen=True, tag="expect"):
    """One expect. Status names are HAProxy's (`L7OK`); an empty one means the default of spec §3.6.

    statuses: inclusive ranges of `status`. pattern: text of the string/regex kinds. data: bytes of `binary`.
    """

    place: Place
    step: int
    kind: Expect
    negate: bool = False
    pattern: str = ""
    data: bytes = b""
    statuses: tuple[tuple[int, int], ...] = ()
    name: HeaderMatch | None = None
    value: HeaderMatch | None = None
    min_recv: int = -1
    comment: str = ""
    ok_status: str = ""
    error_status: str = ""
    tout_status: str = ""
    on_success: str = ""
    on_error: str = ""
    status_code: str = ""


class VarRule(msgspec.Struct, frozen=True, tag="var"):
    """`set-var(name) expr`, `set-var-fmt(name) fmt`, `unset-var(name)`; `comment` rules are not kept: their text moves on.

    more: words behind an expression. Those that name converters go on with it, and the first that names none ends it.
    """

    place: Place
    step: int
    word: str
    name: str
    expr: str
    more: tuple[str, ...] = ()


Rule = ConnectRule | HttpSendRule | TcpSendRule | ExpectRule | VarRule


class RuleSet(msgspec.Struct, frozen=True):
    """Everything one proxy (or one `healthcheck` section) says about the exchange of a check.

    rules: in order; the implicit connect is not among them (it is step 0 when no ConnectRule is first).
    options: words of a preset's option line (`("user", "haproxy", "post-41")`), empty otherwise.
    command, path: of external-check.
    """

    kind: CheckKind = CheckKind.TCP
    rules: tuple[Rule, ...] = ()
    options: tuple[str, ...] = ()
    disable_on_404: bool = False
    send_state: bool = False
    command: str = ""
    path: str = ""
    place: Place | None = None


# --- servers and proxies --------------------------------------------------------------------------


class Source(msgspec.Struct, frozen=True):
    """`source`: address (port 0 for any), last port of a range or 0, interface, and `usesrc`'s words."""

    addr: Address
    port_max: int = 0
    interface: str = ""
    usesrc: tuple[str, ...] = ()


class ServerSettings(msgspec.Struct, frozen=True):
    """All that a server line says but its name, address and id. Shared by every server that says the same.

    Times are ms; fastinter, downinter and agent_inter are None when unset (then they are `inter`).
    tls etc. hold the words that TLS checks need, by keyword (`{"verify": "none", "ca-file": "..."}`).
    other: keywords read and left alone, each with its words.
    """

    check: bool = False
    agent_check: bool = False
    inter_ms: int = 2000
    fastinter_ms: int | None = None
    downinter_ms: int | None = None
    agent_inter_ms: int | None = None
    rise: int = 2
    fall: int = 3
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    addr: Address | None = None
    port: int = 0
    agent_addr: Address | None = None
    agent_port: int = 0
    agent_send: str = ""
    init_state: str = ""
    track: str = ""
    slowstart_ms: int = 0
    observe: str = "none"
    on_error: str = "fail-check"
    error_limit: int = 10
    on_marked_down: str = ""
    on_marked_up: str = ""
    maxconn: int = 0
    minconn: int = 0
    maxqueue: int = 0
    cookie: str = ""
    init_addr: str = ""
    resolvers: str = ""
    resolve_prefer: str = ""
    resolve_net: tuple[str, ...] = ()
    resolve_dup_ip: bool = False
    """`resolve-opts allow-dup-ip`: servers of one proxy may have the same address of a name."""
    resolve_ignore_weight: bool = False
    source: Source | None = None
    ssl: bool = False
    ssl_taken: bool | None = None
    """`no-ssl` was said last: True where `ssl` stood before it, so that a command may bring it back."""
    check_ssl: bool | None = None
    check_sni: str = ""
    check_alpn: str = ""
    check_proto: str = ""
    alpn: str = ""
    proto: str = ""
    tls: tuple[tuple[str, str], ...] = ()
    send_proxy: str = ""
    check_send_proxy: bool = False
    check_via_socks4: bool = False
    socks4: Address | None = None
    healthcheck: str = ""
    namespace: str = ""
    tcp_ut_ms: int = 0
    other: tuple[tuple[str, ...], ...] = ()


class Server(msgspec.Struct, frozen=True, gc=False):
    """One server. `id` is HAProxy's sid; forced_id tells whether the file gave it."""

    name: str
    address: Address
    settings: ServerSettings
    id: int
    file: str
    line: int
    forced_id: bool = False


def is_service(address: Address, settings: ServerSettings) -> bool:
    """Whether an address names SRV records, which fill in host, port and weight while we run."""
    return bool(settings.resolvers) and address.family is Family.NAME and address.host.startswith("_")


class Tracked(msgspec.Struct, frozen=True):
    """`track` resolved to names."""

    backend: str
    server: str


class LogTarget(msgspec.Struct, frozen=True):
    """One `log` line (spec §6.4). address `stdout`, `stderr`, `fd@N`, `ring@x`, a path, or host:port."""

    address: str
    facility: str
    format: str = ""
    max_level: str = "debug"
    min_level: str = "emerg"
    len_bytes: int = 1024
    place: Place | None = None


class Proxy(msgspec.Struct, frozen=True):
    """One frontend, backend or listen after its defaults were applied.

    id: HAProxy's iid; a stats socket takes the first. logs: all targets that a line of this
    proxy goes to, with `log global` already replaced. section: its part of the tree. consistent: its `hash-type` is.
    default_server: fields of settings that its `default-server` lines ask for, for servers that are added.
    """

    name: str
    kind: str
    id: int
    mode: str
    section: Section
    servers: tuple[Server, ...] = ()
    checks: RuleSet = RuleSet()
    balance: str = "roundrobin"
    consistent: bool = False
    default_server: tuple[tuple[str, object], ...] = ()
    timeout_connect_ms: int | None = None
    timeout_check_ms: int | None = None
    timeout_server_ms: int = 0
    timeout_tunnel_ms: int = 0
    log_health_checks: bool = False
    allbackups: bool = False
    disabled: bool = False
    forced_id: bool = False
    logs: tuple[LogTarget, ...] = ()
    log_tag: str = ""
    source: Source | None = None
    cookie: str = ""
    maxconn: int = 0
    fullconn: int = 0
    monitor_uri: str = ""
    email_alert: tuple[tuple[str, str], ...] = ()
    load_server_state: str = ""
    server_state_name: str = ""
    unique_id_format: str = ""

    @property
    def has_backend(self) -> bool:
        return self.kind in ("backend", "listen")

    @property
    def has_frontend(self) -> bool:
        return self.kind in ("frontend", "listen")


class NameServer(msgspec.Struct, frozen=True):
    """One `nameserver` line. stream: asked over TCP (`tcp@`). datagram: over UDP alone (`udp@`)."""

    name: str
    address: Address
    stream: bool = False
    datagram: bool = False


class Resolvers(msgspec.Struct, frozen=True):
    """One `resolvers` section. hold_*_ms: how long an address stays after the last good answer, by what came instead.

    resolve_ms: between two resolutions of a name; retry_ms: until a question is asked again, `retries` times.
    hold_obsolete_ms: how long a record stays that answers no longer hold. payload_bytes: of the largest answer.
    """

    name: str
    nameservers: tuple[NameServer, ...] = ()
    parse_resolv_conf: bool = False
    hold_valid_ms: int = 10_000
    hold_nx_ms: int = 30_000
    hold_refused_ms: int = 30_000
    hold_timeout_ms: int = 30_000
    hold_other_ms: int = 30_000
    hold_obsolete_ms: int = 0
    resolve_ms: int = 1000
    retry_ms: int = 1000
    retries: int = 3
    payload_bytes: int = 512


class StatsSocket(msgspec.Struct, frozen=True):
    """One `stats socket` of the global section."""

    address: str
    level: str = "operator"
    mode: str = ""
    user: str = ""
    group: str = ""
    severity: str = "none"
    place: Place | None = None


class ProcessVariable(msgspec.Struct, frozen=True):
    """`set-var proc.NAME EXPR` or `set-var-fmt proc.NAME FORMAT` of `global`."""

    name: str
    text: str
    is_format: bool


class Global(msgspec.Struct, frozen=True):
    """What the `global` sections say that risefall uses. spread_checks is a percentage, times are ms."""

    spread_checks_pct: int = 0
    max_spread_checks_ms: int | None = None
    external_check: bool = False
    external_check_env: bool = False
    """`external-check preserve-env`: commands get our own environment too."""
    insecure_fork_wanted: bool = False
    ssl_server_verify: str = "required"
    logs: tuple[LogTarget, ...] = ()
    log_tag: str = ""
    log_send_hostname: str | None = None
    """None: not asked for. Empty: asked for, the machine's own name."""
    node: str = ""
    description: str = ""
    localpeer: str = ""
    stats_sockets: tuple[StatsSocket, ...] = ()
    stats_timeout_ms: int = 10_000
    stats_frontend: bool = False
    """A line of the runtime socket was there, so that HAProxy's own frontend takes the first id."""
    server_state_base: str = ""
    server_state_file: str = ""
    bufsize: int = 16384
    ca_base: str = ""
    crt_base: str = ""
    maxconn: int = 0
    max_checks_per_thread: int = 0
    variables: tuple[ProcessVariable, ...] = ()
    """In the order of the file."""


class Config(msgspec.Struct, frozen=True):
    """A whole configuration, read and found sound.

    dialect: `2.6` or `3`. healthchecks, resolvers: the sections of that kind by name. warnings: rendered, in file order.
    tree: every section in order, with every word.
    """

    dialect: str
    global_: Global
    proxies: tuple[Proxy, ...]
    healthchecks: dict[str, RuleSet]
    tree: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
    resolvers: dict[str, Resolvers] = {}
