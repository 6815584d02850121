"""`server`, `default-server` and `server-template` lines to settings and servers.

Most servers of a farm say the same behind their address; what follows the address is read once for each distinct text
and shared. Source: spec/haproxy-checks.md §1.1, §9.6-9.8; haproxy configuration manual 2.6, §5.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from risefall.config.haproxy.address import parse_address
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.keywords import NEW, SERVER_WORDS
from risefall.config.haproxy.model import Address, Family, Line, Place, Server, ServerSettings
from risefall.config.haproxy.server_values import (
    Fields,
    check_init_addr,
    check_mux,
    check_proxy_options,
    host_only,
    read_networks,
    read_resolve_opts,
    read_source,
)
from risefall.config.haproxy.units import TIME_HELP, TIME_MS_MAX, c_int, integer, time_ms
from risefall.config.text import Wrong, nearest

Warn = Callable[[Wrong], None]

NAME = re.compile(r"[A-Za-z0-9_.:-]+")
PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
TLV = "set-proxy-v2-tlv-fmt("
UDP = re.compile("^udp([46]?)@")
PLACEHOLDER = re.compile(r"<<|>>|\{\{|\}\}|<%|%>|\{%|%\}|\$\{|\$\(|<[A-Za-z_][A-Za-z0-9_ -]*>|@[A-Z_]+@|__[A-Z_]+__")
"""Marks of jinja, ERB, Go templates, envsubst, m4 and sed scripts."""
WEIGHT_MAX = 256
TEMPLATE_MAX = 100_000
UNITLESS_MS = 100
"""A time below this without a unit was probably meant in seconds; HAProxy 3 says so."""
OPTIONAL = frozenset(("weight", "maxconn", "minconn", "maxqueue", "init-addr", "resolve-opts"))
"""Words that take the end of the line for an empty value."""
ELSEWHERE = frozenset(("quic4", "quic6", "rhttp"))
PORT_MASK = 0xFFFF
"""HAProxy keeps 16 bits of a check's port, whatever the number was."""

FLAGS: dict[str, tuple[str, object]] = {
    "check": ("check", True), "no-check": ("check", False),
    "agent-check": ("agent_check", True), "no-agent-check": ("agent_check", False),
    "backup": ("backup", True), "no-backup": ("backup", False),
    "disabled": ("disabled", True), "enabled": ("disabled", False),
    "ssl": ("ssl", True), "no-ssl": ("ssl", False),
    "check-ssl": ("check_ssl", True), "no-check-ssl": ("check_ssl", False),
    "check-send-proxy": ("check_send_proxy", True), "no-check-send-proxy": ("check_send_proxy", False),
    "check-via-socks4": ("check_via_socks4", True),
    "send-proxy": ("send_proxy", "v1"), "no-send-proxy": ("send_proxy", ""),
    "send-proxy-v2": ("send_proxy", "v2"), "no-send-proxy-v2": ("send_proxy", ""),
    "send-proxy-v2-ssl": ("send_proxy", "v2-ssl"), "no-send-proxy-v2-ssl": ("send_proxy", ""),
    "send-proxy-v2-ssl-cn": ("send_proxy", "v2-ssl-cn"), "no-send-proxy-v2-ssl-cn": ("send_proxy", ""),
}  # fmt: skip
TEXTS = {
    "agent-send": "agent_send", "check-sni": "check_sni", "check-alpn": "check_alpn",
    "alpn": "alpn", "track": "track", "resolvers": "resolvers", "healthcheck": "healthcheck",
    "namespace": "namespace", "cookie": "cookie", "resolve-prefer": "resolve_prefer",
}  # fmt: skip
TIMES = {
    "inter": ("inter_ms", 1), "fastinter": ("fastinter_ms", 1), "downinter": ("downinter_ms", 1),
    "agent-inter": ("agent_inter_ms", 1), "slowstart": ("slowstart_ms", 0), "tcp-ut": ("tcp_ut_ms", 0),
}  # fmt: skip
COUNTS = {"rise": "rise", "fall": "fall", "error-limit": "error_limit"}
NUMBERS = {"maxconn": "maxconn", "minconn": "minconn", "maxqueue": "maxqueue"}
CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "observe": ("observe", ("none", "layer4", "layer7")),
    "on-error": ("on_error", ("fastinter", "fail-check", "sudden-death", "mark-down")),
    "on-marked-down": ("on_marked_down", ("shutdown-sessions",)),
    "on-marked-up": ("on_marked_up", ("shutdown-backup-sessions",)),
    "init-state": ("init_state", ("fully-up", "up", "down", "fully-down", "none")),
}  # fmt: skip
TLS_VERSIONS = ("SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
ALLOWED: dict[str, tuple[str, ...]] = {
    **{word: choices for word, (_, choices) in CHOICES.items()},
    "verify": ("none", "required"), "ssl-min-ver": TLS_VERSIONS, "ssl-max-ver": TLS_VERSIONS,
    "resolve-prefer": ("ipv4", "ipv6"), "ws": ("auto", "h1", "h2"), "log-proto": ("legacy", "octet-count"),
}  # fmt: skip
"""Every closed set of values, of the choices and of words that are kept as they are."""
TLS = frozenset(
    [
        "ca-file",
        "ciphers",
        "ciphersuites",
        "crl-file",
        "crt",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "no-sslv3",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "npn",
        "sni",
        "ssl-max-ver",
        "ssl-min-ver",
        "verify",
        "verifyhost",
        "curves",
        "sigalgs",
        "client-sigalgs",
    ]
)
OWN = ("cookie", "check_proto", "id")
"""What `default-server` cannot give to a server (spec §9.6)."""


class Template(msgspec.Struct, frozen=True):
    """What a `server-template` line asks for."""

    prefix: str
    low: int
    high: int


class ServerReader:
    """Reads the server lines of one section.

    defaults: the fields that its `default-server` lines have gathered. origins: those of another backend, for HAProxy 3.5's
    `from be:<name>`; None for a backend that is not known. takes_datagrams: its servers are loggers.
    """

    def __init__(
        self,
        dialect: Dialect,
        warn: Callable[[Wrong, Line], None],
        defaults: Mapping[str, object] | None = None,
        *,
        inherits: bool = True,
    ) -> None:
        """inherits: False where servers have of `defaults` only what they ask for."""
        self._dialect = dialect
        self._warn = warn
        self.defaults: Fields = dict(defaults or {})
        self.takes_datagrams = False
        self.has_defaults = bool(defaults)
        self.origins: Callable[[str], Mapping[str, object] | None] = lambda name: None
        self._inherits = inherits
        self._tails: dict[tuple[str, ...], tuple[ServerSettings, int]] = {}

    def default_server(self, line: Line) -> None:
        """Adds a `default-server` line to what later servers of the section get. Raises Wrong."""
        fields, at = self._origin(line, 1)
        fields = self._read(line, at, fields)
        if "id" in fields:
            self._warn(Wrong("'id' option is not accepted in default-server sections", 1, help="remove it"), line)
        for name in OWN:
            fields.pop(name, None)
        self.defaults = fields
        self.has_defaults = True
        self._tails.clear()

    def server(self, line: Line) -> tuple[str, Address, ServerSettings, int]:
        """Name, address, settings and forced id (0: none) of a `server` line. Raises Wrong."""
        words = line.words
        if len(words) < 3:
            raise Wrong(
                "'server' expects <name> and <addr>[:<port>] as arguments",
                len(words),
                help="server app1 10.0.0.7:80 check",
            )
        name = words[1]
        if not PLAIN.fullmatch(name):
            check_filled_in(words)
            check_name(name, 1)
        try:
            address = self._address(words[2], 2)
        except Wrong:
            check_filled_in(words)
            raise
        settings, forced = self._settings(line, words[3:])
        return name, address, settings, forced

    def template(self, line: Line) -> tuple[Template, Address, ServerSettings, int]:
        """The same of a `server-template` line."""
        words = line.words
        if len(words) < 4:
            raise Wrong(
                "'server-template' expects <prefix> <nb | range> <addr>[:<port>] as arguments",
                len(words),
                help="server-template app 1-8 app.example:80 check",
            )
        check_filled_in(words)
        check_name(words[1], 1)
        _, dash, behind = words[2].partition("-")
        low, high = (c_int(words[2]), c_int(behind)) if dash else (1, c_int(words[2]))
        if not 0 <= low <= high or high - low >= TEMPLATE_MAX:
            raise Wrong(
                f"'server-template' wants 1 to {TEMPLATE_MAX} servers, got '{words[2]}'",
                2,
                help="write 8, or 1-8",
            )
        settings, forced = self._settings(line, words[4:], 4)
        return Template(words[1], low, high), self._address(words[3], 3), settings, forced

    def _address(self, text: str, at: int) -> Address:
        """A server's own address. HAProxy 3 has servers that no check of ours can reach. Raises Wrong."""
        if self._dialect.newer_addresses:
            prefix, sign, _ = text.partition("@")
            if sign and (prefix in ELSEWHERE or (prefix == "uxdg" and self.takes_datagrams)):
                return Address(Family.ELSEWHERE, text)
            if self.takes_datagrams:
                text = UDP.sub(lambda found: found[1] and f"ipv{found[1]}@", text)
        return parse_address(text, at)

    def _settings(self, line: Line, tail: tuple[str, ...], begin: int = 3) -> tuple[ServerSettings, int]:
        found = self._tails.get(tail)
        if found is None:
            fields, at = self._origin(line, begin)
            fields = self._read(line, at, fields)
            forced = fields.pop("id", 0)
            assert isinstance(forced, int)
            found = build(fields), forced
            self._tails[tail] = found
        return found

    def _origin(self, line: Line, at: int) -> tuple[Fields, int]:
        """What a line begins with, and where its keywords do: `from` may stand before them. Raises Wrong."""
        words = line.words
        if words[at : at + 1] != ("from",) or not self._dialect.add_server_from:
            return dict(self.defaults) if self._inherits else {}, at
        if len(words) == at + 1:
            raise Wrong("from: missing value", at + 1, help="write none, or be:<backend>")
        value = words[at + 1]
        if value != "none" and not value.startswith("be:"):
            raise Wrong(f"invalid '{value}' value for 'from' keyword", at + 1, help="write none, or be:<backend>")
        name = value.removeprefix("be:")
        found = {} if value == "none" else self.origins(name) if name else self.defaults
        if found is None:
            raise Wrong(f"from: unknown backend instance '{name}'", at + 1, help="name one that stands before it")
        if words[at + 2 : at + 3] == ("from",):
            raise Wrong("'from' keyword can only be specified once", at + 2, help="remove one of the two")
        return dict(found), at + 2

    # --- keywords -----------------------------------------------------------------------------------------

    def _read(self, line: Line, at: int, fields: Fields) -> Fields:
        """Applies the words from `at` on. Raises Wrong for the first that is wrong."""
        words = line.words
        while at < len(words):
            word = words[at]
            if word in FLAGS:
                name, value = FLAGS[word]
                if name == "ssl":
                    fields["ssl_taken"] = None if value else bool(fields.get("ssl") or fields.get("ssl_taken"))
                fields[name] = value
                at += 1
                continue
            at = self._keyword(line, at, word, fields)
        return fields

    def _keyword(self, line: Line, at: int, word: str, fields: Fields) -> int:
        words = line.words
        known = SERVER_WORDS.get(word)
        if known is None and word.startswith(TLV):
            known = (1, NEW)
        if known is None:
            meant = nearest(word, SERVER_WORDS)
            raise Wrong(
                f"unknown keyword '{word}'",
                at,
                help=f"did you mean '{meant}'?" if meant else "haproxy manual §5.2 lists them",
            )
        count, since = known
        if since is not None and not since.known(self._dialect):
            raise Wrong(
                f"'{word}' is {since.words}",
                at,
                help=f"remove it, or read the file as another version (this is --as {self._dialect.name})",
            )
        if word == "source":
            fields["source"], at = read_source(words, at)
            return at
        if at + count >= len(words) and not self._may_be_missing(words, word):
            raise Wrong(f"'{word}' expects an argument", len(words), help=f"write a value behind {word}")
        value = words[at + 1] if at + count < len(words) and count else ""
        if not self._known_value(line, at, word, value, fields):
            key = "tls" if word in TLS else "other"
            kept = fields.get(key, ())
            assert isinstance(kept, tuple)
            fields[key] = (
                *(one for one in kept if one[0] != word),
                (word, value) if key == "tls" or count else (word,),
            )
        return at + 1 + count

    def _may_be_missing(self, words: Sequence[str], word: str) -> bool:
        """Whether HAProxy reads the end of the line as the value of a word, or does not look at it."""
        return (
            word in OPTIONAL or word.startswith(TLV) or (words[0] == "default-server" and word in ("id", "resolvers"))
        )

    def _known_value(self, line: Line, at: int, word: str, value: str, fields: Fields) -> bool:
        """Reads the value of a keyword that checks need; false for the others."""
        allowed = ALLOWED.get(word)
        if allowed is not None and value not in allowed:
            listed = ", ".join(f"'{choice}'" for choice in allowed)
            meant = nearest(value, allowed)
            raise Wrong(
                f"'{word}' expects {listed} but got '{value}'",
                at + 1,
                help=f"did you mean '{meant}'?" if meant else f"write {listed}",
            )
        if word in TEXTS:
            fields[TEXTS[word]] = value
        elif word in TIMES:
            name, least = TIMES[word]
            fields[name] = self._time(line, at, word, value, least)
        elif word in COUNTS:
            number = self._number(line, at, word, value)
            if number < 1:
                raise Wrong(
                    f"'{word}' wants a count of 1 or more, got '{value}'", at + 1, help=count_help(word, line.words[1])
                )
            fields[COUNTS[word]] = number
        elif word in NUMBERS:
            fields[NUMBERS[word]] = self._number(line, at, word, value)
        elif word in CHOICES:
            fields[CHOICES[word][0]] = value
        else:
            return self._special(line, at, word, value, fields)
        return True

    def _special(self, line: Line, at: int, word: str, value: str, fields: Fields) -> bool:
        match word:
            case "weight":
                number = self._number(line, at, word, value)
                if not 0 <= number <= WEIGHT_MAX:
                    raise Wrong(
                        f"weight of server {line.words[1]} is not within 0 and 256 ({number})",
                        at + 1,
                        help="write a weight of 0 to 256",
                    )
                fields["weight"] = number
            case "id":
                number = self._number(line, at, word, value)
                if number < 1 and line.words[0] != "default-server":
                    raise Wrong("custom id has to be > 0", at + 1, help="write a number of 1 or more")
                fields["id"] = number
            case "port" | "agent-port":
                number = self._number(line, at, word, value)
                if number & PORT_MASK != number:
                    self._warn(
                        Wrong(
                            f"HAProxy reads '{word} {value}' as port {number & PORT_MASK}",
                            at + 1,
                            help="write a port of 1 to 65535",
                        ),
                        line,
                    )
                fields[word.replace("-", "_")] = number & PORT_MASK
            case "addr":
                fields["addr"] = parse_address(value, at + 1, offset=False)
            case "proto" | "check-proto":
                check_mux(word, value, at + 1, self._dialect)
                fields[word.replace("-", "_")] = value
            case "proxy-v2-options":
                check_proxy_options(value, at + 1)
                return False
            case "pool-purge-delay":
                self._time(line, at, word, value, 0)
                return False
            case "agent-addr":
                fields["agent_addr"] = host_only(value, at + 1)
            case "socks4":
                address = fields["socks4"] = parse_address(value, at + 1)
                if address.mapped and address.family is not Family.UNIX:
                    raise Wrong(f"missing port specification in '{value}'", at + 1, help="write socks4 <addr>:<port>")
            case "usesrc":
                raise Wrong(
                    "'usesrc' only allowed after a 'source' statement", at, help="write source <addr> before it"
                )
            case "init-addr":
                if value:
                    check_init_addr(value, at + 1)
                fields["init_addr"] = value
            case "resolve-net":
                fields["resolve_net"] = read_networks(value, at + 1)
            case "resolve-opts":
                fields |= read_resolve_opts(value, at + 1) if value else {}
            case _:
                return False
        return True

    def _time(self, line: Line, at: int, word: str, value: str, least: int) -> int:
        try:
            ms, rest = time_ms(value)
        except ValueError:
            raise Wrong(f"'{word}' wants a time, got '{value}'", at + 1, help=TIME_HELP) from None
        except OverflowError:
            raise Wrong(
                f"timer overflow in argument '{value}' to '{word}'",
                at + 1,
                help=f"the most is {TIME_MS_MAX} ms (24.8 days)",
            ) from None
        if ms < least:
            raise Wrong(f"invalid value 0 for argument '{word}'", at + 1, help="write a time of 1ms or more")
        if rest:
            self._warn(Wrong(f"unexpected '{rest}' after the timer value '{value}'", at + 1, help=TIME_HELP), line)
        elif self._dialect.warn_unitless and 0 < ms < UNITLESS_MS and value.isdigit():
            self._warn(
                Wrong(
                    f"'{word} {value}' means {value} milliseconds",
                    at + 1,
                    help=f"write {value}ms, or {value}s if seconds were meant",
                ),
                line,
            )
        return ms

    def _number(self, line: Line, at: int, word: str, value: str) -> int:
        """A number as HAProxy reads it: what is behind the digits is dropped, with a warning of ours."""
        number = c_int(value)
        if not value.lstrip("+-").isdigit() or integer(value) != number:
            self._warn(Wrong(f"HAProxy reads '{value}' as {number} here", at + 1, help="write a whole number"), line)
        return number


def build(fields: Mapping[str, object]) -> ServerSettings:
    return ServerSettings(**{name: value for name, value in fields.items() if name != "id"})  # type: ignore[arg-type]


def count_help(word: str, name: str) -> str:
    if word == "fall":
        return f"'fall 1' marks {name} DOWN on its first failed check (haproxy manual §5.2 fall)"
    if word == "rise":
        return f"'rise 1' marks {name} UP on its first passed check (haproxy manual §5.2 rise)"
    return "write a number of 1 or more"


def check_filled_in(words: Sequence[str]) -> None:
    """Raises a soft Wrong for a line that still holds a placeholder of some template engine."""
    for at, word in enumerate(words):
        found = PLACEHOLDER.search(word)
        if found:
            raise Wrong(
                f"'{word}' looks like a placeholder that was never filled in: the line is left out",
                at,
                help="run risefall on the file that the template makes",
                soft=True,
            )


def has_placeholder(line: Line) -> bool:
    """Whether a line still holds a mark of some template engine."""
    return any(PLACEHOLDER.search(word) for word in line.words)


def check_name(name: str, at: int) -> None:
    """Raises Wrong for a name that HAProxy does not take."""
    found = NAME.match(name)
    if not found or found.end() < len(name):
        bad = name[found.end() if found else 0]
        raise Wrong(
            f"character '{bad}' is not permitted in server name '{name}'", at, help="use letters, digits and . _ : -"
        )


def place_of(line: Line, at: int = 0) -> Place:
    return Place(line.file, line.line, at)


def number_servers(drafts: Sequence[tuple[str, Address, ServerSettings, int, str, int]]) -> tuple[Server, ...]:
    """Servers with their ids: forced ones first, then the lowest free in order, one on for each server (spec §9.6, trap 46)."""
    used = {forced for *_, forced, _, _ in drafts if forced}
    servers = []
    following = 1
    for name, address, settings, forced, file, line in drafts:
        number = forced
        if not number:
            while following in used:
                following += 1
            number = following
            used.add(number)
        following += 1
        servers.append(Server(name, address, settings, number, file, line, bool(forced)))
    return tuple(servers)
