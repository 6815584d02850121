"""What only shows when a configuration is known whole: of each proxy and its servers, that a check can be done at all.

Source: spec/haproxy-checks.md §2.5, §3.2, §3.10.8, §9.6; alerts of haproxy 2.6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from risefall.config.haproxy.model import (
    CheckKind,
    ConnectRule,
    Family,
    Global,
    Line,
    Resolvers,
    RuleSet,
    Server,
    ServerSettings,
    VarRule,
)
from risefall.config.haproxy.proxies import ProxyDraft, ServerDraft
from risefall.config.haproxy.tracking import word_at
from risefall.config.text import Wrong, nearest


class Judge:
    """Judges the proxies of one configuration. warn: takes what is wrong and does not refuse the file."""

    def __init__(
        self,
        global_: Global,
        healthchecks: Mapping[str, RuleSet],
        resolvers: Mapping[str, Resolvers],
        warn: Callable[[Wrong, Line], None],
    ) -> None:
        self._global = global_
        self._healthchecks = healthchecks
        self._resolvers = resolvers
        self._warn = warn

    def proxy(self, draft: ProxyDraft, rules: RuleSet) -> None:
        """Notes what is wrong with one proxy and its servers."""
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
            self._external(draft, rules)
        if draft.kind == "frontend":
            return
        judged: set[int] = set()
        for server in draft.servers:
            for wrong in line_wrongs(server):
                draft.error(wrong, server.line)
            if draft.disabled:  # whatever else is wrong is never looked at
                continue
            for wrong in self._server_wrongs(draft, server, rules, judged):
                draft.error(wrong, server.line)

    def _external(self, draft: ProxyDraft, rules: RuleSet) -> None:
        line = draft.head_line("external-check")
        where = f"Proxy '{draft.name}' : 'option external-check' unable to find required"
        if not self._global.external_check:
            help = "add 'external-check' to the global section: HAProxy wants it"
            draft.error(Wrong(f"{where} 'global.external-check'", None, help=help, soft=True), line)
        if not rules.command:
            draft.error(
                Wrong(f"{where} 'external-check command'", None, help="add 'external-check command /path'"), line
            )
        elif not self._global.insecure_fork_wanted:
            self._warn(
                Wrong(
                    f"Proxy '{draft.name}' : 'insecure-fork-wanted' not enabled in the global section, HAProxy's external checks will likely fail",
                    None,
                    help="add 'insecure-fork-wanted' to the global section",
                ),
                line,
            )

    def _server_wrongs(self, draft: ProxyDraft, server: ServerDraft, rules: RuleSet, judged: set[int]) -> list[Wrong]:
        """What is wrong with one server now that its proxy is known. `judged`: settings found sound before."""
        settings = server.settings
        found: list[Wrong] = []
        own = self._healthchecks.get(settings.healthcheck, rules)
        if settings.check and not has_port(server, own):
            found.append(no_port(draft, server, rules))
        if id(settings) in judged:
            return found
        judged.add(id(settings))
        for kind, name, known in (
            ("resolvers", settings.resolvers, self._resolvers),
            ("healthcheck", settings.healthcheck, self._healthchecks),
        ):
            if name and name not in known:
                meant = nearest(name, known)
                found.append(
                    Wrong(
                        f"unable to find required {kind} '{name}'",
                        word_at(server, name),
                        help=f"did you mean '{meant}'?" if meant else f"add a {kind} section of that name",
                    )
                )
        verified = dict(settings.tls)
        if (
            (
                settings.ssl
                or settings.check_ssl
                or any(isinstance(rule, ConnectRule) and rule.ssl for rule in own.rules)
            )
            and verified.get("verify", self._global.ssl_server_verify) != "none"
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
        found += mux_wrongs(draft, server, own)
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


def refuse_shared_ids(drafts: Sequence[ProxyDraft]) -> None:
    """Notes an error for each proxy, and each server of one, with an id that another was given before."""
    ids: dict[int, ProxyDraft] = {}
    for draft in drafts:
        first = ids.setdefault(draft.forced_id, draft) if draft.forced_id else draft
        if first is not draft:
            line = next(line for line in draft.section.lines if line.words[0] == "id")
            text = f"{draft.kind} {draft.name} reuses same custom id as {first.kind} {first.name}"
            draft.error(Wrong(text, 1, help="write another number"), line)
        servers: dict[int, ServerDraft] = {}
        for server in draft.servers:
            before = servers.setdefault(server.forced, server) if server.forced else server
            if before is not server:
                draft.error(
                    Wrong(
                        f"custom id {server.forced} already used at line {before.line.line} ('server {before.name}')",
                        word_at(server, "id"),
                        help="write another number",
                    ),
                    server.line,
                )


def line_wrongs(server: ServerDraft) -> Iterator[Wrong]:
    """What HAProxy says of a server's line as soon as it is read, whether or not its proxy is enabled."""
    settings = server.settings
    if settings.agent_check and not (settings.agent_port or settings.port):
        yield Wrong(
            f"server {server.name} does not have agent port, so its agent cannot be checked",
            word_at(server, "agent-check"),
            help="add 'agent-port <port>'",
        )
    if settings.track and settings.check:
        yield Wrong(
            "unable to enable checks and tracking at the same time!",
            word_at(server, "track"),
            help="remove 'check' or 'track'",
        )


def mux_wrongs(draft: ProxyDraft, server: ServerDraft, rules: RuleSet) -> list[Wrong]:
    """`proto` and `check-proto` against what the proxy and its checks speak."""
    settings = server.settings
    found = []
    if not mux_fits(settings, draft.mode):
        found.append(
            Wrong(
                f"MUX protocol '{settings.proto}' is not usable for server '{server.name}'",
                word_at(server, "proto"),
                help="remove it, or change the mode of the backend",
            )
        )
    if not check_mux_fits(settings, rules):
        found.append(
            Wrong(
                f"server '{server.name}' uses an incompatible MUX protocol for the selected check type",
                word_at(server, "check-proto"),
                help="only 'option httpchk' has one",
            )
        )
    return found


def mux_fits(settings: ServerSettings, mode: str) -> bool:
    """Whether `proto` is one of the proxy's mode."""
    return not settings.proto or mode not in ("tcp", "http") or (settings.proto != "none") == (mode == "http")


def check_mux_fits(settings: ServerSettings, rules: RuleSet) -> bool:
    """The same of `check-proto` and the kind of check."""
    said = settings.check_proto if settings.check else ""
    return not said or (said != "none") == (rules.kind is CheckKind.HTTP)


def has_port(server: ServerDraft | Server, rules: RuleSet) -> bool:
    """Whether a check finds a port (spec §2.5)."""
    settings, address = server.settings, server.address
    if settings.port or (settings.addr is not None and settings.addr.port and not settings.addr.mapped):
        return True
    if address.port and not address.mapped:
        return True
    if settings.addr is None or settings.addr.unspecified:
        if address.unspecified or address.family not in (Family.IPV4, Family.IPV6):
            return True  # nor does HAProxy ask for the port of a name, which has no address yet
    elif settings.addr.family not in (Family.IPV4, Family.IPV6, Family.NAME):
        return True
    real = [rule for rule in rules.rules if not isinstance(rule, VarRule)]
    connects = [rule for rule in real if isinstance(rule, ConnectRule)]
    return (
        bool(connects)
        and real[0] is connects[0]
        and all(rule.port or (rule.addr is not None and rule.addr.port) for rule in connects)
    )


def no_port(draft: ProxyDraft, server: ServerDraft, rules: RuleSet) -> Wrong:
    tail = "" if not rules.rules else " nor tcp_check rule 'connect' with port information"
    return Wrong(
        f"{draft.kind} '{draft.name}': server '{server.name}' has neither service port nor check port{tail}",
        2,
        help="write <addr>:<port>, or add 'port <port>'",
    )
