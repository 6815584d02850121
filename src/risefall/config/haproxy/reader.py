"""A whole configuration from its files: sections to proxies, ids, logs, and what only shows when all is known.

Source: spec/haproxy-checks.md §2.5, §3.2, §3.10.8, §9.4-9.6; haproxy configuration manual 2.6.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from risefall.config.haproxy.check_options import KINDS
from risefall.config.haproxy.dialect import DIALECTS, Dialect
from risefall.config.haproxy.globals import GlobalReader
from risefall.config.haproxy.judging import Judge, refuse_shared_ids
from risefall.config.haproxy.keywords import is_strict
from risefall.config.haproxy.lexer import column
from risefall.config.haproxy.model import (
    Config,
    Global,
    Line,
    Place,
    Proxy,
    Resolvers,
    RuleSet,
    Section,
)
from risefall.config.haproxy.proxies import ProxyDraft
from risefall.config.haproxy.resolvers import DEFAULT, implied, read_resolvers
from risefall.config.haproxy.rules import RuleDraft
from risefall.config.haproxy.servers import NAME, has_placeholder
from risefall.config.haproxy.tracking import Tracking
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

    def _refuse(self, wrong: Wrong, head: Line) -> None:
        """What no HAProxy takes in a section's line; a warning where a template's mark stands there instead."""
        self._diagnostics.add(wrong, head.file, head.line, head.raw, error=not has_placeholder(head))

    # --- sections -----------------------------------------------------------------------------------------------

    def _global(self, globals_: GlobalReader, section: Section) -> None:
        for line in section.lines:
            try:
                globals_.line(line)
            except Wrong as wrong:
                self._warn(wrong, line)

    def _read_defaults(self, section: Section) -> None:
        words = section.head.words
        at = 1 if words[1:2] == ("from",) and len(words) > 2 else 2
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
            self._refuse(
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
            self._refuse(
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
            self._refuse(Wrong(f"'{section.kind}' expects a name", 1, help=f"such as {section.kind} web"), head)
        else:
            known = NAME.match(section.name)
            if not known or known.end() < len(section.name):
                bad = section.name[known.end() if known else 0]
                self._refuse(
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
        refuse_shared_ids(self._drafts)
        used = {draft.forced_id for draft in self._drafts if draft.forced_id}
        following = 2 if global_.stats_frontend else 1
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
        judge = Judge(global_, self._healthchecks, self._resolvers, self._warn)
        for draft, proxy in zip(self._drafts, proxies, strict=True):
            judge.proxy(draft, proxy.checks)
        Tracking(self._drafts, [proxy.checks for proxy in proxies]).check()
        return tuple(proxies)
