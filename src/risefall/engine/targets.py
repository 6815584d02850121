"""Planned servers to checks of the engine: program, address, pace, first due time; or the reason why not.

Source: spec/haproxy-checks.md §1.1, §1.2, §2.2, §2.3, §2.5, §4.1.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import Config, Family, Proxy, Source, is_service
from risefall.config.haproxy.plan import PlannedServer
from risefall.engine.around import Around
from risefall.engine.external import command_of, endpoint_place
from risefall.engine.layout import NotChecked, raw, site_of
from risefall.engine.live import ValueOf, live_of, text_of, unknown
from risefall.engine.names import NOWHERE, Found, Unresolved, endpoint, initial
from risefall.engine.namespaces import namespace_of
from risefall.engine.native import CheckSpec, Endpoint, Process, Program
from risefall.engine.outside import Reach, reach_of
from risefall.engine.programs import Compiler
from risefall.engine.tls import Contexts
from risefall.engine.transports import Transports

SPACING_MIN_MS = 1000
"""Intervals shorter than this do not set the spacing of the first checks (spec §2.2)."""
HASHING = frozenset(("source", "uri", "url_param", "hdr", "rdp-cookie", "hash"))
"""Algorithms whose map of servers stands, unless `hash-type` says that it is a consistent one."""
HEALTH, AGENT = 0, 1
STATE_SITE = "state-site"
"""The fact that send-state's header is made of."""
NAMING = frozenset((STATE_SITE, "srv_name"))
"""Facts that change when a command gives a server another name."""


Retell = Callable[[Endpoint, str, ValueOf], tuple[bytes, Process | None]]
"""Of where a server is now, its name now, and what is true of others: the texts of its check's site, and its process."""


class Target(msgspec.Struct):
    """What is to run for one server. A None program with a reason is "not checked: <why>"; with none, not configured."""

    planned: PlannedServer
    address: Endpoint | None
    health: tuple[Program, CheckSpec] | None = None
    agent: tuple[Program, CheckSpec] | None = None
    why_not: str = ""
    agent_why_not: str = ""
    waits: bool = False
    """It starts without an address, in MAINT (resolution)."""
    reach: Reach | None = None
    """How the health check's connections go where the native driver cannot make them."""
    retell: Retell | None = None
    """Of a health check that tells its server's address or name, or reads facts of servers."""
    reads: frozenset[str] = frozenset()
    """Backends that its health check reads facts of; EVERY for any."""


def tag_of(server: int, which: int) -> int:
    """The word that events carry: which server of the list, and which of its checks."""
    return server << 1 | which


def start_health(planned: PlannedServer) -> int:
    """The counter at start (spec §1.2, §1.5): `rise`, unless init-state says otherwise or the server starts in maintenance."""
    if planned.disabled:
        return 0
    full = planned.rise + planned.fall - 1
    return {"fully-up": full, "down": planned.rise - 1, "fully-down": 0}.get(planned.init_state, planned.rise)


def source_words(source: Source | None, found: Found) -> dict[str, Endpoint | int | str | None]:
    """`source` as a spec's fields. `usesrc` means a client, which a check has not: 2.6 uses the plain address (run).

    Raises NotChecked when its name has no address.
    """
    if source is None:
        return {}
    address = source.addr
    says = address.family in (Family.IPV4, Family.IPV6, Family.NAME) and not (address.unspecified and address.port == 0)
    made = endpoint(address, address.port, found) if says else None
    if isinstance(made, Unresolved):
        raise NotChecked(f"source {address.host}: {made.why}")
    return {
        "source": made,
        "source_port_max": source.port_max,
        "interface": source.interface,
    }


def first_check_delays(
    config: Config, targets: Sequence[PlannedServer], dialect: Dialect, rng: random.Random
) -> list[int]:
    """Milliseconds until the first check of each configured check, in order: health before agent (spec §2.2).

    Disabled servers count; intervals below a second do not set the spacing.
    """
    paces = [pace for planned in targets for pace in start_paces(planned)]
    spacing = min((pace for pace in paces if pace >= SPACING_MIN_MS), default=0)
    cap = config.global_.max_spread_checks_ms
    delays = []
    for position, pace in enumerate(paces):
        own = pace
        if dialect.random_start and config.global_.spread_checks_pct:
            spread = pace * config.global_.spread_checks_pct // 100
            own += rng.randint(-spread, spread)
        reach = max(spacing, own)
        if cap:
            reach = min(reach, cap)
        delays.append(reach * position // len(paces))
    return delays


def start_paces(planned: PlannedServer) -> list[int]:
    """The intervals that follow the counter at start: of the health check, then of the agent."""
    paces: list[int] = []
    if planned.proxy.disabled:
        return paces
    if planned.check:
        full = planned.rise + planned.fall - 1
        health = start_health(planned)
        paces.append(planned.inter_ms if health >= full else planned.fastinter_ms or planned.inter_ms)
    if planned.agent:
        paces.append(planned.agent_inter_ms)
    return paces


class TargetBuilder:
    """Makes targets for one configuration; programs and rule sets are shared."""

    def __init__(
        self,
        config: Config,
        dialect: Dialect,
        found: Found,
        *,
        node: str,
        waiting: bool = False,
        groups: Sequence[int] | None = None,
        around: Around | None = None,
    ) -> None:
        """waiting: servers that start without an address get checks too, paused until they have one.

        groups: the engine's group of each proxy, its place in the configuration where none are told. around: the names that
        expressions may say, None where they need not be there.
        """
        self._groups = range(len(config.proxies)) if groups is None else groups
        self._waiting = waiting
        self._config = config
        self._dialect = dialect
        self._found = found
        self._node = config.global_.node or node
        self._around = around or Around(config)
        self._compiler = Compiler(dialect, config.global_.bufsize, found, config.global_.variables, self._around)
        self._contexts = Contexts(config)
        self._transports = Transports(self._contexts, found)

    def agent_program(self, send: str) -> Program:
        """What an agent-check does that sends a text. Raises NotChecked."""
        return self._compiler.agent(send).program

    def build_added(self, index: int, planned: PlannedServer, *, now_ns: int) -> Target:
        """The target of a server that comes while the others run: its checks wait to be enabled, and keep their pace."""
        group = next(
            group for group, proxy in zip(self._groups, self._config.proxies, strict=True) if proxy is planned.proxy
        )
        pace = planned.inter_ms if planned.downinter_ms is None else planned.downinter_ms
        target = self._target(index, planned, group, now_ns, iter((pace, planned.agent_inter_ms)[not planned.check :]))
        paused = planned.config.settings.disabled
        if target.health is not None:
            program, spec = target.health
            spec = msgspec.structs.replace(spec, enabled=False, paused=paused)
            target.health = program, spec
        if target.agent is not None:
            program, spec = target.agent
            target.agent = program, msgspec.structs.replace(spec, enabled=False)
        return target

    def build(self, planned: Sequence[PlannedServer], *, now_ns: int, seed: int = 0) -> list[Target]:
        """Targets in the order of the plan, their first checks spread over time from `now_ns` on."""
        delays = iter(first_check_delays(self._config, planned, self._dialect, random.Random(seed or None)))
        groups = {id(proxy): group for group, proxy in zip(self._groups, self._config.proxies, strict=True)}
        targets = []
        for index, server in enumerate(planned):
            group = groups[id(server.proxy)]
            targets.append(self._target(index, server, group, now_ns, delays))
        return targets

    def _target(self, index: int, planned: PlannedServer, group: int, now_ns: int, delays: object) -> Target:
        settings = planned.config.settings
        own = planned.config.address
        resolved = None if is_service(own, settings) else initial(settings.init_addr, own, own.port, self._found)
        address = resolved if isinstance(resolved, Endpoint) else None
        target = Target(planned, address, waits=self._waiting and resolved is None)
        if planned.proxy.disabled:
            target.why_not = target.agent_why_not = "its proxy is disabled"
            return target
        if planned.check:
            first_ns = now_ns + next(delays) * 1_000_000  # type: ignore[call-overload]
            try:
                target.health = self._health(target, index, group, first_ns)
            except NotChecked as why:
                target.why_not = str(why)
        if planned.agent:
            first_ns = now_ns + next(delays) * 1_000_000  # type: ignore[call-overload]
            try:
                target.agent = self._agent(target, index, first_ns)
            except NotChecked as why:
                target.agent_why_not = str(why)
        return target

    def _to(self, target: Target, which: int) -> Endpoint:
        planned = target.planned
        address = planned.check_addr if which == HEALTH else planned.agent_addr
        port = planned.check_port if which == HEALTH else planned.agent_port
        if target.waits and address is planned.config.address:
            return msgspec.structs.replace(NOWHERE, port=port)
        to = endpoint(address, port, self._found) if address is not None else Unresolved("no address")
        if address is not None and is_service(address, planned.config.settings):
            to = Unresolved("SRV records are only looked up by 'risefall run'")
        if isinstance(to, Unresolved):
            raise NotChecked(f"no address: {to.why}")
        return to

    def _health(self, target: Target, index: int, group: int, first_ns: int) -> tuple[Program, CheckSpec]:
        planned = target.planned
        to = self._to(target, HEALTH)
        compiled = self._compiler.health(planned.rules, planned.proxy.unique_id_format)
        if not compiled.external:
            target.reach = reach_of(planned, compiled.host, self._dialect, self._contexts, self._found)
        lives = [live for name in compiled.facts if (live := live_of(name)) is not None]
        target.reads = frozenset(live.backend or planned.proxy.name for live in lives)
        if compiled.external or lives or not NAMING.isdisjoint(compiled.facts):
            target.retell = partial(self._told, planned, tuple(compiled.facts), compiled.external)
        native_way = not compiled.external and target.reach is None
        spec = CheckSpec(
            to=to,
            inter_ms=planned.inter_ms,
            fastinter_ms=planned.fastinter_ms or 0,
            downinter_ms=planned.downinter_ms or 0,
            connect_ms=planned.timeout_connect_ms or 0,
            check_ms=planned.timeout_check_ms or 0,
            rise=planned.rise,
            fall=planned.fall,
            health=0 if target.waits else start_health(planned),
            tag=tag_of(index, HEALTH),
            first_ns=first_ns,
            spread_pct=self._config.global_.spread_checks_pct,
            group=group,
            weight=planned.weight,
            paused=planned.disabled or target.waits,
            stopped=planned.disabled or target.waits or planned.init_state in ("down", "fully-down"),
            late_check_timeout=not self._dialect.exact_check_timeout,
            site=site_of([self._fact(name, planned) for name in compiled.facts]),
            transport=self._transports.transport(planned, compiled.host, self._dialect) if native_way else None,
            outside=target.reach is not None,
            process=self._process(planned, target.address or NOWHERE) if compiled.external else None,
            netns=namespace_of(planned),
            **source_words(planned.source, self._found),  # type: ignore[arg-type]
        )
        return compiled.program, spec

    def _agent(self, target: Target, index: int, first_ns: int) -> tuple[Program, CheckSpec]:
        planned = target.planned
        program = self._compiler.agent(planned.config.settings.agent_send).program
        spec = CheckSpec(
            to=self._to(target, AGENT),
            inter_ms=planned.agent_inter_ms,
            connect_ms=planned.timeout_connect_ms or 0,
            check_ms=planned.timeout_check_ms or 0,
            rise=1,
            fall=1,
            health=1,
            tag=tag_of(index, AGENT),
            first_ns=first_ns,
            spread_pct=self._config.global_.spread_checks_pct,
            initial_weight=planned.weight,
            static_weights=is_static(planned.proxy),
            late_check_timeout=not self._dialect.exact_check_timeout,
            netns=namespace_of(planned),
            **source_words(planned.source, self._found),  # type: ignore[arg-type]
        )
        return program, spec

    def _told(
        self, planned: PlannedServer, facts: Sequence[str], external: bool, to: Endpoint, name: str, value_of: ValueOf
    ) -> tuple[bytes, Process | None]:
        """What a check tells of its server, which is at `to` and called `name` now, and of others."""
        if name != planned.config.name:
            planned = msgspec.structs.replace(planned, config=msgspec.structs.replace(planned.config, name=name))
        site = site_of([self._fact(fact, planned, to, value_of) for fact in facts])
        return site, self._process(planned, to) if external else None

    def _fact(
        self, name: str, planned: PlannedServer, to: Endpoint | None = None, value_of: ValueOf = unknown
    ) -> bytes:
        """A text that a program tells of its server; to: where that is, if not where the configuration says."""
        if (live := live_of(name)) is not None:
            return text_of(live, planned.proxy, self._around, value_of)
        match name:
            case "state-site":
                return self._state_site(planned, to)
            case "srv_name":
                return raw(planned.config.name)
            case "srv_id":
                return raw(str(planned.config.id))
            case "be_name":
                return raw(planned.proxy.name)
            case "be_id":
                return raw(str(planned.proxy.id))
            case "be_server_timeout":
                return raw(str(planned.proxy.timeout_server_ms))
            case "be_tunnel_timeout":
                return raw(str(planned.proxy.timeout_tunnel_ms))
        raise NotChecked(f"nothing is known of '{name}'")

    def _process(self, planned: PlannedServer, to: Endpoint) -> Process:
        """What an external check of the server at `to` starts."""
        command = command_of(planned, to, self._config)
        return Process(command.path, command.argv, command.env)

    def _state_site(self, planned: PlannedServer, to: Endpoint | None) -> bytes:
        """The part of send-state's header that changes with the server's address only (spec §3.8)."""
        address = planned.config.address
        inet = address.family in (Family.IPV4, Family.IPV6, Family.NAME)
        host, port = (address.host, str(address.port)) if to is None else endpoint_place(to)
        if not inet:
            host, port = "unix", ""
        name = f"{planned.proxy.name}/{planned.config.name}"
        return f"; address={host}; port={port}; name={name}; node={self._node}; weight=".encode(
            "utf-8", "surrogateescape"
        )


def is_static(proxy: Proxy) -> bool:
    """Whether the balance algorithm takes the weights 0% and 100% only (run on 2.6.12)."""
    algorithm = proxy.balance.split()[0].partition("(")[0] if proxy.balance else ""
    return algorithm == "static-rr" or (algorithm in HASHING and not proxy.consistent)
