"""`defaults`, `frontend`, `backend` and `listen` sections to proxies: what is inherited, and what it then means.

A draft begins as a copy of its defaults' and takes one line after another. Source: spec/haproxy-checks.md §3.2, §6.4,
§9.4-9.6; haproxy configuration manual 2.6, §4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from risefall.config.haproxy.check_options import KINDS
from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.keywords import CHECK_OPTIONS, OPTIONS, PROXY_WORDS, REMOVED, TIMEOUTS, is_strict, removed
from risefall.config.haproxy.logs import read_log
from risefall.config.haproxy.model import Address, Line, LogTarget, Place, Proxy, Section, ServerSettings, Source
from risefall.config.haproxy.rule_lines import no_more
from risefall.config.haproxy.rules import RuleDraft
from risefall.config.haproxy.server_values import read_source
from risefall.config.haproxy.servers import ServerReader, has_placeholder, number_servers
from risefall.config.haproxy.units import atoi, parse_time
from risefall.config.text import Diagnostics, Wrong, nearest

MODES = ("tcp", "http", "log", "spop", "haterm")
OLD_TIMEOUTS = {"contimeout": "connect", "clitimeout": "client", "srvtimeout": "server"}
GLOBAL_LOGS = LogTarget("global", "")
"""Stands for `log global` until the global section is known whole."""
BALANCES = frozenset(
    [
        "roundrobin",
        "static-rr",
        "leastconn",
        "first",
        "source",
        "uri",
        "url_param",
        "hdr",
        "random",
        "rdp-cookie",
        "hash",
        "log-hash",
        "sticky",
    ]
)


class ServerDraft:
    """One server line, with its line for messages."""

    __slots__ = ("address", "forced", "line", "name", "settings")

    def __init__(self, name: str, address: Address, settings: ServerSettings, forced: int, line: Line) -> None:
        self.name = name
        self.address = address
        self.settings = settings
        self.forced = forced
        self.line = line


class ProxyDraft:
    """One proxy or `defaults` section while its lines come in."""

    def __init__(self, section: Section, dialect: Dialect, diagnostics: Diagnostics, parent: ProxyDraft | None) -> None:
        self.section = section
        self.kind = section.kind
        self.name = section.name
        self.dialect = dialect
        self._diagnostics = diagnostics
        self.rules: RuleDraft = RuleDraft(dialect, parent.rules if parent else None)
        self.reader: ServerReader = ServerReader(dialect, self._warn, parent.reader.defaults if parent else None)
        self.servers: list[ServerDraft] = []
        self._names: dict[str, ServerDraft] = {}
        self._option_lines: dict[str, Line] = {}
        self.mode: str = parent.mode if parent else "tcp"
        self.reader.takes_datagrams = self.mode == "log"
        self.balance: str = parent.balance if parent else "roundrobin"
        self.consistent: bool = parent.consistent if parent else False
        self.timeouts: dict[str, int] = dict(parent.timeouts) if parent else {}
        self.options: set[str] = set(parent.options) if parent else set()
        self.logs: list[LogTarget] = list(parent.logs) if parent else []
        self.log_tag: str = parent.log_tag if parent else ""
        self.source: Source | None = parent.source if parent else None
        self.cookie: str = parent.cookie if parent else ""
        self.maxconn: int = parent.maxconn if parent else 0
        self.fullconn: int = parent.fullconn if parent else 0
        self.monitor_uri: str = parent.monitor_uri if parent else ""
        self.email: dict[str, str] = dict(parent.email) if parent else {}
        self.load_server_state: str = parent.load_server_state if parent else ""
        self.unique_id_format: str = parent.unique_id_format if parent else ""
        self.server_state_name: str = parent.server_state_name if parent else ""
        self.disabled: bool = parent.disabled if parent else False
        self.forced_id = 0

    @property
    def has_backend(self) -> bool:
        return self.kind in ("backend", "listen", "defaults")

    @property
    def has_frontend(self) -> bool:
        return self.kind in ("frontend", "listen", "defaults")

    def _warn(self, wrong: Wrong, line: Line) -> None:
        self._diagnostics.add(wrong, line.file, line.line, line.raw, error=False)

    def error(self, wrong: Wrong, line: Line) -> None:
        """Notes an error that only shows when the section is known whole."""
        self._diagnostics.add(wrong, line.file, line.line, line.raw, error=True)

    def read(self) -> None:
        """Takes every line of the section; what is wrong is noted, and the next line is read."""
        readers = READERS
        for line in self.section.lines:
            read = readers.get(line.words[0])
            try:
                if read is not None:
                    read(self, line)
                else:
                    self._other(line)
            except Wrong as wrong:
                strict = is_strict(line.words) and not has_placeholder(line)
                self._diagnostics.add(wrong, line.file, line.line, line.raw, error=strict)

    # --- server lines -------------------------------------------------------------------------------------

    def _may_have_servers(self, line: Line) -> None:
        if self.kind not in ("backend", "listen"):
            raise Wrong(
                f"'{line.words[0]}' not allowed because {self.kind} '{self.name}' has no backend capability",
                0,
                help="move it to a backend or listen section",
            )

    def _add(self, draft: ServerDraft) -> None:
        self.servers.append(draft)
        known = self._names.setdefault(draft.name, draft)
        if known is not draft:
            raise Wrong(
                f"{self.kind} '{self.name}', another server named '{draft.name}' was already defined at line {known.line.line}",
                1,
                help="use distinct names: commands and trackers find only the first",
                soft=True,
            )

    def _server(self, line: Line) -> None:
        self._may_have_servers(line)
        name, address, settings, forced = self.reader.server(line)
        self._add(ServerDraft(name, address, settings, forced, line))

    def _template(self, line: Line) -> None:
        self._may_have_servers(line)
        template, address, settings, forced = self.reader.template(line)
        for offset, number in enumerate(range(template.low, template.high + 1)):
            self._add(
                ServerDraft(f"{template.prefix}{number}", address, settings, forced + offset if forced else 0, line)
            )

    def _default_server(self, line: Line) -> None:
        if self.kind == "frontend":
            self._may_have_servers(line)
        self.reader.default_server(line)

    # --- checks --------------------------------------------------------------------------------------------

    def _http_check(self, line: Line) -> None:
        if self._has_backend(line, "http-check"):
            self.rules.http_check(line)

    def _tcp_check(self, line: Line) -> None:
        if self._has_backend(line, "tcp-check"):
            self.rules.tcp_check(line)

    def _has_backend(self, line: Line, what: str) -> bool:
        if not self.has_backend:
            self._warn(
                Wrong(
                    f"'{what}' ignored because frontend '{self.name}' has no backend capability",
                    0,
                    help="move it to a backend",
                ),
                line,
            )
        return self.has_backend

    def _option(self, line: Line) -> None:
        self._one_option(line, line.words[1:], on=True)

    def _no(self, line: Line) -> None:
        words = line.words
        match words[1:2]:
            case ("option",):
                self._one_option(line, words[2:], on=words[0] == "no")
            case ("log",) if words[0] == "no":
                no_more(words, 2)
                self.logs.clear()
            case _:
                what = words[1] if len(words) > 1 else ""
                raise Wrong(
                    f"negation/default currently supported only for options and log, not for '{what}'",
                    1,
                    help="remove the line",
                )

    def _one_option(self, line: Line, words: Sequence[str], *, on: bool) -> None:
        at = len(line.words) - len(words)
        if not words:
            raise Wrong("'option' expects an option name", len(line.words), help="such as option httpchk")
        name = words[0]
        negated = line.words[0] in ("no", "default")
        if name in KINDS:
            if negated:
                raise Wrong(f"negation/default is not supported for option '{name}'", at, help="leave the line out")
            if self._has_backend(line, name):
                self.rules.option(line, words, lambda wrong: self._warn(wrong, line))
                self._option_lines[name] = line
            return
        was = removed(f"option {name}", self.dialect)
        if was:
            raise Wrong(f"'option {name}' is gone since HAProxy {was[0]}", at, help=was[1])
        if name not in OPTIONS:
            meant = nearest(name, OPTIONS)
            wrong = Wrong(
                f"unknown option '{name}'",
                at,
                help=f"did you mean '{meant}'?" if meant else "haproxy manual §4.1 lists them",
            )
            self._diagnostics.add(wrong, line.file, line.line, line.raw, error=meant in CHECK_OPTIONS)
            return
        if name in ("log-health-checks", "allbackups") and len(words) > 1:
            raise Wrong(f"'option {name}' cannot handle unexpected argument '{words[1]}'", at + 1, help="remove it")
        if on and not (negated and line.words[0] == "default"):
            self.options.add(name)
        else:
            self.options.discard(name)

    def _external_check(self, line: Line) -> None:
        what = line.words[1] if len(line.words) > 1 else ""
        if what not in ("command", "path") or len(line.words) < 3:
            raise Wrong(
                f"'external-check' only supports 'command' and 'path' (got '{what}')",
                1,
                help="such as external-check command /usr/bin/check",
            )
        no_more(line.words, 3)
        setattr(self.rules, what, line.words[2])

    # --- the rest --------------------------------------------------------------------------------------------

    def _mode(self, line: Line) -> None:
        mode = one(line)
        if mode not in MODES:
            raise Wrong(
                f"unknown mode '{mode}'" if mode != "health" else "'mode health' is gone since HAProxy 2.1",
                1,
                help="use 'http-request return status 200'" if mode == "health" else "write mode tcp or mode http",
                fatal=mode != "health" and not has_placeholder(line),
            )
        self.mode = mode
        self.reader.takes_datagrams = mode == "log"

    def _balance(self, line: Line) -> None:
        if len(line.words) < 2:
            return
        algorithm = line.words[1]
        if algorithm.partition("(")[0] not in BALANCES:
            raise Wrong(
                f"unknown balance algorithm '{algorithm}'",
                1,
                help=f"did you mean '{nearest(algorithm, BALANCES) or 'roundrobin'}'?",
                fatal=not has_placeholder(line),
            )
        self.balance = " ".join(line.words[1:])

    def _hash_type(self, line: Line) -> None:
        self.consistent = line.words[1:2] == ("consistent",)

    def _timeout(self, line: Line) -> None:
        words = line.words
        name = words[1] if len(words) > 1 else ""
        today = OLD_TIMEOUTS.get(name, name)
        if today not in TIMEOUTS:
            meant = nearest(name, TIMEOUTS)
            raise Wrong(
                f"'timeout' does not know '{name}'",
                1,
                help=f"did you mean '{meant}'?" if meant else "known are " + ", ".join(sorted(TIMEOUTS)),
                soft=True,
            )
        if len(words) < 3:
            raise Wrong(
                f"'timeout {name}' expects an integer value (in milliseconds)", 3, help=f"such as timeout {name} 5s"
            )
        self.timeouts[today] = parse_time(words[2], f"'timeout {name}'", 2)
        if today != name:
            raise Wrong(f"'timeout {name}' is gone since HAProxy 2.1", 1, help=f"use 'timeout {today}'", soft=True)
        if len(words) > 3:
            raise Wrong(
                f"'timeout {name}' : unexpected extra argument '{words[3]}' after value '{words[2]}'",
                3,
                help="remove it",
            )

    def _contimeout(self, line: Line) -> None:
        """Gone for years, but what it meant is clear."""
        if len(line.words) > 1:
            self.timeouts["connect"] = parse_time(line.words[1], "'contimeout'", 1)
        self._other(line)

    def _log(self, line: Line) -> None:
        if line.words[1:] == ("global",):
            self.logs.append(GLOBAL_LOGS)
        else:
            self.logs.append(read_log(line.words, Place(line.file, line.line)))

    def _log_tag(self, line: Line) -> None:
        self.log_tag = one(line)

    def _source(self, line: Line) -> None:
        self.source, at = read_source(line.words, 0, ranges=False)
        no_more(line.words, at)

    def _cookie(self, line: Line) -> None:
        self.cookie = one(line)

    def _maxconn(self, line: Line) -> None:
        self.maxconn = atoi(one(line))

    def _fullconn(self, line: Line) -> None:
        self.fullconn = atoi(one(line))

    def _monitor_uri(self, line: Line) -> None:
        self.monitor_uri = one(line)

    def _email_alert(self, line: Line) -> None:
        if len(line.words) < 3:
            raise Wrong(
                "'email-alert' wants a word and a value",
                len(line.words),
                help="such as email-alert to admin@example.org",
            )
        self.email[line.words[1]] = line.words[2]

    def _load_server_state(self, line: Line) -> None:
        state = one(line)
        if state not in ("global", "local", "none"):
            raise Wrong(
                f"'load-server-state-from-file' expects 'global', 'local' or 'none'. Got '{state}'",
                1,
                help="write one of them",
            )
        self.load_server_state = state

    def _unique_id_format(self, line: Line) -> None:
        self.unique_id_format = one(line)

    def _server_state_name(self, line: Line) -> None:
        no_more(line.words, 2)
        self.server_state_name = line.words[1] if len(line.words) > 1 else ""

    def _id(self, line: Line) -> None:
        number = atoi(one(line))
        if number < 1:
            raise Wrong("custom id has to be > 0", 1, help="write a number of 1 or more")
        no_more(line.words, 2)
        self.forced_id = number

    def _disabled(self, line: Line) -> None:
        no_more(line.words, 1)
        self.disabled = True

    def _enabled(self, line: Line) -> None:
        no_more(line.words, 1)
        self.disabled = False

    def _other(self, line: Line) -> None:
        """A word without a meaning for checks: known, removed or unknown."""
        word = line.words[0]
        was = removed(word, self.dialect)
        if was:
            raise Wrong(f"'{word}' is gone since HAProxy {was[0]}", 0, help=was[1])
        if word not in PROXY_WORDS and word not in REMOVED:
            meant = nearest(word, PROXY_WORDS)
            where = self.kind if self.kind == "defaults" else f"{self.kind} {self.name}"
            raise Wrong(
                f"unknown keyword '{word}' in '{where}' section",
                0,
                help=f"did you mean '{meant}'?" if meant else "haproxy manual §4.1 lists them",
            )

    # --- the result --------------------------------------------------------------------------------------------

    def head_line(self, option: str) -> Line:
        """The line that a finding about an option belongs to."""
        return self._option_lines.get(option, self.section.head)

    def finish(self, number: int, global_logs: tuple[LogTarget, ...]) -> Proxy:
        """The proxy, after its lines and the global section are known."""
        logs: list[LogTarget] = []
        for target in self.logs:
            logs.extend(global_logs if target is GLOBAL_LOGS else (target,))
        drafts = [
            (one.name, one.address, one.settings, one.forced, one.line.file, one.line.line) for one in self.servers
        ]
        return Proxy(
            name=self.name,
            kind=self.kind,
            id=number,
            mode=self.mode,
            section=self.section,
            servers=number_servers(drafts),
            checks=self.rules.finish(Place(self.section.head.file, self.section.head.line)),
            balance=self.balance,
            consistent=self.consistent,
            default_server=tuple(self.reader.defaults.items()) if self.dialect.add_server_from else (),
            timeout_connect_ms=self.timeouts.get("connect") or None,
            timeout_check_ms=self.timeouts.get("check") or None,
            timeout_server_ms=self.timeouts.get("server", 0),
            timeout_tunnel_ms=self.timeouts.get("tunnel", 0),
            log_health_checks="log-health-checks" in self.options,
            allbackups="allbackups" in self.options,
            disabled=self.disabled,
            forced_id=bool(self.forced_id),
            logs=tuple(logs),
            log_tag=self.log_tag,
            source=self.source,
            cookie=self.cookie,
            maxconn=self.maxconn,
            fullconn=self.fullconn,
            monitor_uri=self.monitor_uri,
            email_alert=tuple(self.email.items()),
            load_server_state=self.load_server_state,
            server_state_name=self.server_state_name,
            unique_id_format=self.unique_id_format,
        )


def one(line: Line) -> str:
    """The argument of a word that takes one."""
    if len(line.words) < 2:
        raise Wrong(f"'{line.words[0]}' expects an argument", 1, help="write its value behind it")
    return line.words[1]


READERS: dict[str, Callable[[ProxyDraft, Line], None]] = {
    "server": ProxyDraft._server,
    "server-template": ProxyDraft._template,
    "default-server": ProxyDraft._default_server,
    "http-check": ProxyDraft._http_check,
    "tcp-check": ProxyDraft._tcp_check,
    "external-check": ProxyDraft._external_check,
    "option": ProxyDraft._option,
    "no": ProxyDraft._no,
    "default": ProxyDraft._no,
    "mode": ProxyDraft._mode,
    "balance": ProxyDraft._balance,
    "hash-type": ProxyDraft._hash_type,
    "timeout": ProxyDraft._timeout,
    "contimeout": ProxyDraft._contimeout,
    "log": ProxyDraft._log,
    "log-tag": ProxyDraft._log_tag,
    "source": ProxyDraft._source,
    "cookie": ProxyDraft._cookie,
    "maxconn": ProxyDraft._maxconn,
    "fullconn": ProxyDraft._fullconn,
    "monitor-uri": ProxyDraft._monitor_uri,
    "email-alert": ProxyDraft._email_alert,
    "load-server-state-from-file": ProxyDraft._load_server_state,
    "unique-id-format": ProxyDraft._unique_id_format,
    "server-state-file-name": ProxyDraft._server_state_name,
    "id": ProxyDraft._id,
    "disabled": ProxyDraft._disabled,
    "enabled": ProxyDraft._enabled,
}
