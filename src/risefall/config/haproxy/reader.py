"""A whole configuration from its files: sections to proxies, ids, logs, and what only shows when all is known.

Source: spec/haproxy-checks.md §2.5, §3.2, §3.10.8, §9.4-9.6; haproxy configuration manual 2.6.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from risefall.config.haproxy.address import ANY
from risefall.config.haproxy.dialect import DIALECTS, Dialect
from risefall.config.haproxy.globals import GlobalReader
from risefall.config.haproxy.keywords import is_strict
from risefall.config.haproxy.lexer import column
from risefall.config.haproxy.model import (
    CheckKind,
    Config,
    ConnectRule,
    Family,
    Global,
    Line,
    Place,
    Proxy,
    Resolvers,
    RuleSet,
    Section,
    Server,
    VarRule,
    is_service,
)
from risefall.config.haproxy.proxies import ProxyDraft, ServerDraft
from risefall.config.haproxy.resolvers import DEFAULT, implied, read_resolvers
from risefall.config.haproxy.rules import KINDS, RuleDraft
from risefall.config.haproxy.servers import NAME
from risefall.config.haproxy.tracking import Tracking, word_at
from risefall.config.haproxy.tree import TreeReader
from risefall.config.text import Diagnostics, Source, Wrong, nearest

PROXY_KINDS = frozenset(("frontend", "backend", "listen"))


def read(
    sources: Sequence[Source],
    *,
    dialect: str = "3",
    strict: bool = False,
    env: Mapping[str, str] | None = None,
    hostname: str = "localhost",
) -> Config:
    """Reads configuration files, in order, as one configuration.

    dialect: `2.6` or `3`. strict: warnings are errors. env: the environment that `"${NAME}"` reads.
    Raises ConfigError, with every error of every file.
    """
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage before the end, and there may be millions of words to look at
    try:
        return _Reader(DIALECTS[dialect], strict, env or {}, hostname).read(sources)
    finally:
        if collecting:
            gc.enable()


class _Reader:
    """One reading."""

    def __init__(self, dialect: Dialect, strict: bool, env: Mapping[str, str], hostname: str) -> None:
        self._dialect = dialect
        self._diagnostics = Diagnostics(strict=strict)
        self._env = {"HAPROXY_LOCALPEER": hostname, **env}
        if dialect.healthcheck_sections:
            self._env["HAPROXY_BRANCH"] = ".".join(dialect.version.split(".")[:2])
        self._diagnostics.columns = lambda raw, at: column(raw, at, self._env)
        self._defaults: list[ProxyDraft] = []
        self._named: set[int] = set()
        """Ids of the defaults that some proxy names with `from`."""
        self._taken: list[tuple[Section, ProxyDraft]] = []
        """Proxies that take the last defaults before them without a word, and those."""
        self._resolvers: dict[str, Resolvers] = {}
        self._healthchecks: dict[str, RuleSet] = {}
        self._drafts: list[ProxyDraft] = []

    def read(self, sources: Sequence[Source]) -> Config:
        self._diagnostics.files(source.name for source in sources)
        tree = TreeReader(self._env, self._dialect, self._diagnostics).read(sources)
        globals_ = GlobalReader(self._dialect)
        for section in tree:
            match section.kind:
                case "global":
                    self._global(globals_, section)
                case "defaults":
                    self._read_defaults(section)
                case "frontend" | "backend" | "listen":
                    self._proxy(section)
                case "resolvers":
                    resolvers = read_resolvers(section, self._resolvers, self._diagnostics)
                    self._resolvers.setdefault(section.name, resolvers)
                case "healthcheck":
                    self._healthcheck(section)
        self._warn_of_both()
        self._resolvers.setdefault(DEFAULT, implied())
        global_ = globals_.finish()
        proxies = self._finish(global_)
        self._diagnostics.check()
        return Config(
            dialect=self._dialect.name,
            global_=global_,
            proxies=proxies,
            healthchecks=self._healthchecks,
            tree=tuple(tree),
            warnings=self._diagnostics.warnings(),
            resolvers=self._resolvers,
        )

    def _warn(self, wrong: Wrong, line: Line) -> None:
        self._diagnostics.add(wrong, line.file, line.line, line.raw, error=False)

    # --- sections -----------------------------------------------------------------------------------------------

    def _global(self, globals_: GlobalReader, section: Section) -> None:
        for line in section.lines:
            try:
                globals_.line(line)
            except Wrong as wrong:
                self._warn(wrong, line)

    def _read_defaults(self, section: Section) -> None:
        words = section.head.words
        at = 1 if words[1:2] == ("from",) else 2
        parent = self._parent(section, at, implicit=False)
        draft = ProxyDraft(section, self._dialect, self._diagnostics, parent)
        draft.name = "" if at == 1 else section.name
        draft.reader.origins = self._origins(draft)
        draft.read()
        self._defaults.append(draft)

    def _origins(self, draft: ProxyDraft) -> Callable[[str], Mapping[str, object] | None]:
        """The `default-server` settings so far of a backend up to this section (`from be:<name>`)."""
        return lambda name: next(
            (one.reader.defaults for one in (*self._drafts, draft) if one.has_backend and one.name == name), None
        )

    def _parent(self, section: Section, at: int, *, implicit: bool) -> ProxyDraft | None:
        """The defaults that a section begins with: those it names with `from`, else the last ones before it."""
        words = section.head.words
        if len(words) <= at:
            return self._last(section) if implicit else None
        if words[at] != "from" or len(words) <= at + 1:
            help = "write a 'bind' line for it" if section.kind in ("frontend", "listen") else "remove it"
            what = (
                "addresses in the section line are" if section.kind in ("frontend", "listen") else f"'{words[at]}' is"
            )
            self._warn(Wrong(f"{what} not accepted since HAProxy 1.9", at, help=help), section.head)
            return self._last(section) if implicit else None
        name = words[at + 1]
        found = [draft for draft in self._defaults if draft.name == name]
        if not found:
            meant = nearest(name, [draft.name for draft in self._defaults])
            self._warn(
                Wrong(
                    f"defaults section '{name}' not found for {section.kind} '{section.name}'",
                    at + 1,
                    help=f"did you mean '{meant}'?" if meant else "name a defaults section that stands before it",
                ),
                section.head,
            )
            return None
        if len(found) > 1:
            places = " and ".join(f"{draft.section.head.file}:{draft.section.head.line}" for draft in found[:2])
            self._warn(
                Wrong(
                    f"ambiguous defaults section name '{name}' referenced by {section.kind} '{section.name}' exists at least at {places}",
                    at + 1,
                    help="use distinct names",
                ),
                section.head,
            )
        self._named.add(id(found[-1]))
        return found[-1]

    def _last(self, section: Section) -> ProxyDraft | None:
        """What a proxy without `from` begins with."""
        if not self._defaults:
            return None
        self._taken.append((section, self._defaults[-1]))
        return self._defaults[-1]

    def _warn_of_both(self) -> None:
        """Of defaults that some name and others take without a word."""
        for section, defaults in self._taken:
            if id(defaults) in self._named:
                head = defaults.section.head
                self._warn(
                    Wrong(
                        f"defaults section '{defaults.name}' (declared at {head.file}:{head.line}) is explicitly referenced "
                        "by another proxy and implicitly used here",
                        0,
                        help="name it with 'from' here, too, or end with a defaults section that nobody names",
                    ),
                    section.head,
                )

    def _proxy(self, section: Section) -> None:
        head = section.head
        if not section.name:
            self._warn(Wrong(f"'{section.kind}' expects a name", 1, help=f"such as {section.kind} web"), head)
        else:
            known = NAME.match(section.name)
            if not known or known.end() < len(section.name):
                bad = section.name[known.end() if known else 0]
                self._warn(
                    Wrong(
                        f"character '{bad}' is not permitted in '{section.kind}' name '{section.name}'",
                        1,
                        help="use letters, digits and . _ : -",
                    ),
                    head,
                )
        draft = ProxyDraft(section, self._dialect, self._diagnostics, self._parent(section, 2, implicit=True))
        for other in self._drafts:
            if other.name == draft.name and (
                (other.has_backend and draft.has_backend) or (other.has_frontend and draft.has_frontend)
            ):
                first = other.section.head
                self._warn(
                    Wrong(
                        f"{draft.kind} '{draft.name}' has the same name as {other.kind} '{other.name}' declared at {first.file}:{first.line}",
                        1,
                        help="use distinct names",
                    ),
                    head,
                )
                break
        draft.reader.origins = self._origins(draft)
        draft.read()
        self._drafts.append(draft)

    def _healthcheck(self, section: Section) -> None:
        """`healthcheck <name>` with its type and rules (spec §3.11)."""
        draft = RuleDraft(self._dialect)
        for line in section.lines:
            words = line.words
            try:
                match words[0]:
                    case "type" if len(words) > 1 and words[1] in KINDS and words[1] != "external-check":
                        draft.option(line, words[1:], partial(self._warn, line=line))
                    case "http-check":
                        draft.http_check(line)
                    case "tcp-check":
                        draft.tcp_check(line)
                    case _:
                        at = 1 if words[0] == "type" else 0
                        got = words[at] if len(words) > at else ""
                        meant = nearest(got, (*KINDS, "type", "http-check", "tcp-check"))
                        raise Wrong(
                            f"'healthcheck' does not know '{got}'",
                            at,
                            help=f"did you mean '{meant}'?" if meant else "known are type, http-check and tcp-check",
                        )
            except Wrong as wrong:
                self._diagnostics.add(
                    wrong, line.file, line.line, line.raw, error=is_strict(words) or words[0] == "type"
                )
        self._healthchecks[section.name] = draft.finish(Place(section.head.file, section.head.line))

    # --- when all is known ------------------------------------------------------------------------------------------

    def _finish(self, global_: Global) -> tuple[Proxy, ...]:
        used = {draft.forced_id for draft in self._drafts if draft.forced_id}
        following = 2 if global_.stats_sockets else 1  # HAProxy's own frontend of the stats socket is number 1
        proxies = []
        for draft in self._drafts:
            number = draft.forced_id
            if not number:
                while following in used:
                    following += 1
                number = following
                used.add(number)
            following += 1
            proxies.append(draft.finish(number, global_.logs))
        for draft, proxy in zip(self._drafts, proxies, strict=True):
            self._judge(draft, proxy.checks, global_)
        Tracking(self._drafts, [proxy.checks for proxy in proxies]).check()
        return tuple(proxies)

    def _judge(self, draft: ProxyDraft, rules: RuleSet, global_: Global) -> None:
        if draft.rules.ignored:
            word = draft.rules.ignored
            line = next(line for line in draft.section.lines if line.words[0] == word)
            option = "httpchk" if word == "http-check" else "tcp-check"
            self._warn(
                Wrong(
                    f"{draft.kind} '{draft.name}' uses {word} rules without 'option {option}', so the rules are ignored",
                    0,
                    help=f"add 'option {option}'",
                ),
                line,
            )
        if rules.kind is CheckKind.EXTERNAL and draft.kind in ("backend", "listen"):
            self._external(draft, rules, global_)
        if draft.disabled or draft.kind == "frontend":
            return
        judged: set[int] = set()
        for server in draft.servers:
            for wrong in self._server_wrongs(draft, server, rules, judged, global_):
                draft.error(wrong, server.line)

    def _external(self, draft: ProxyDraft, rules: RuleSet, global_: Global) -> None:
        line = draft.head_line("external-check")
        where = f"Proxy '{draft.name}' : 'option external-check' unable to find required"
        if not global_.external_check:
            help = "add 'external-check' to the global section: HAProxy wants it"
            draft.error(Wrong(f"{where} 'global.external-check'", None, help=help, soft=True), line)
        if not rules.command:
            draft.error(
                Wrong(f"{where} 'external-check command'", None, help="add 'external-check command /path'"), line
            )
        elif not global_.insecure_fork_wanted:
            self._warn(
                Wrong(
                    f"Proxy '{draft.name}' : 'insecure-fork-wanted' not enabled in the global section, HAProxy's external checks will likely fail",
                    None,
                    help="add 'insecure-fork-wanted' to the global section",
                ),
                line,
            )

    def _server_wrongs(
        self, draft: ProxyDraft, server: ServerDraft, rules: RuleSet, judged: set[int], global_: Global
    ) -> list[Wrong]:
        """What is wrong with one server now that its proxy is known. `judged`: settings found sound before."""
        settings = server.settings
        found: list[Wrong] = []
        if settings.check and not has_port(server, self._healthchecks.get(settings.healthcheck, rules)):
            found.append(no_port(draft, server, rules))
        if settings.agent_check and not (settings.agent_port or settings.port):
            found.append(
                Wrong(
                    f"server {server.name} does not have agent port, so its agent cannot be checked",
                    word_at(server, "agent-check"),
                    help="add 'agent-port <port>'",
                )
            )
        if id(settings) in judged:
            return found
        judged.add(id(settings))
        if settings.resolvers and settings.resolvers not in self._resolvers:
            meant = nearest(settings.resolvers, self._resolvers)
            found.append(
                Wrong(
                    f"unable to find required resolvers '{settings.resolvers}'",
                    word_at(server, settings.resolvers),
                    help=f"did you mean '{meant}'?" if meant else "add a resolvers section of that name",
                )
            )
        if settings.healthcheck and settings.healthcheck not in self._healthchecks:
            meant = nearest(settings.healthcheck, self._healthchecks)
            found.append(
                Wrong(
                    f"unable to find required healthcheck '{settings.healthcheck}'",
                    word_at(server, settings.healthcheck),
                    help=f"did you mean '{meant}'?" if meant else "add a healthcheck section of that name",
                )
            )
        verified = dict(settings.tls)
        if (
            (settings.ssl or settings.check_ssl)
            and verified.get("verify", global_.ssl_server_verify) != "none"
            and "ca-file" not in verified
        ):
            found.append(
                Wrong(
                    "verify is enabled by default but no CA file specified",
                    word_at(server, "ssl" if settings.ssl else "check-ssl"),
                    help="add 'ca-file <file>', or 'verify none'",
                    soft=True,
                )
            )
        if settings.observe == "layer7" and draft.mode != "http":
            found.append(
                Wrong(
                    "'layer7' can only be used in http proxies",
                    word_at(server, "layer7"),
                    help="write observe layer4, or mode http",
                    soft=True,  # HAProxy alerts, and starts without it
                )
            )
        if settings.check_via_socks4 and settings.socks4 is None:
            found.append(
                Wrong(
                    "'check-via-socks4' wants the address of a proxy",
                    word_at(server, "check-via-socks4"),
                    help="add 'socks4 <addr>:<port>'",
                    soft=True,  # HAProxy starts, and checks without it
                )
            )
        return found


def has_port(server: ServerDraft | Server, rules: RuleSet) -> bool:
    """Whether a check finds a port (spec §2.5)."""
    settings, address = server.settings, server.address
    if is_service(address, settings):  # each record brings its own
        return True
    if settings.addr is not None and settings.addr.family in (Family.UNIX, Family.ABNS):
        return True
    if address.family in (Family.UNIX, Family.ABNS, Family.FD) and settings.addr is None:
        return True
    if all(one is None or one.host in ANY.values() for one in (settings.addr, address)):
        return True  # HAProxy takes the address of no machine for none at all
    if settings.port or (settings.addr is not None and settings.addr.port and not settings.addr.mapped):
        return True
    if address.port and not address.mapped:
        return True
    real = [rule for rule in rules.rules if not isinstance(rule, VarRule)]
    connects = [rule for rule in real if isinstance(rule, ConnectRule)]
    return (
        bool(connects)
        and real[0] is connects[0]
        and all(
            rule.port
            or rule.port_expr
            or (rule.addr is not None and (rule.addr.port or rule.addr.family in (Family.UNIX, Family.ABNS)))
            for rule in connects
        )
    )


def no_port(draft: ProxyDraft, server: ServerDraft, rules: RuleSet) -> Wrong:
    tail = "" if not rules.rules else " nor tcp_check rule 'connect' with port information"
    return Wrong(
        f"{draft.kind} '{draft.name}': server '{server.name}' has neither service port nor check port{tail}",
        2,
        help="write <addr>:<port>, or add 'port <port>'",
    )
