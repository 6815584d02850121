"""What would be checked: every server with the rules, addresses, ports and paces that apply to it.

Source: spec/haproxy-checks.md §1.1, §2.1, §2.3, §2.5, §2.6, §4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import (
    Address,
    Config,
    ConnectRule,
    Family,
    Proxy,
    RuleSet,
    Server,
    ServerSettings,
    Source,
    Tracked,
    VarRule,
    is_service,
)


class PlannedServer(msgspec.Struct, frozen=True, gc=False):
    """One server of a plan. Times are ms; fastinter_ms and downinter_ms are None where `inter` is used.

    rules: of its proxy, or of its `healthcheck` section. check, agent: what is configured, also while disabled.
    check_addr, check_port, agent_addr, agent_port: where they go, None without such a check; a port is 0 for UNIX
    sockets. ssl, send_proxy, via_socks4: of the check itself. timeout_*: None where the proxy sets none.
    """

    proxy: Proxy
    config: Server
    rules: RuleSet
    check: bool
    agent: bool
    check_addr: Address | None
    check_port: int
    agent_addr: Address | None
    agent_port: int
    inter_ms: int
    fastinter_ms: int | None
    downinter_ms: int | None
    agent_inter_ms: int
    rise: int
    fall: int
    timeout_connect_ms: int | None
    timeout_check_ms: int | None
    weight: int
    backup: bool
    disabled: bool
    track: Tracked | None
    init_state: str
    ssl: bool
    send_proxy: bool
    via_socks4: bool
    source: Source | None
    namespace: str


def plan(config: Config) -> list[PlannedServer]:
    """Every server of every proxy, in configuration order; those of a disabled proxy are disabled too."""
    planned: list[PlannedServer] = []
    for proxy in config.proxies:
        shared: dict[int, tuple[dict[str, object], ConnectRule | None]] = {}
        for server in proxy.servers:
            settings = server.settings
            found = shared.get(id(settings))
            if found is None:
                found = shared[id(settings)] = common(config, proxy, settings)
            planned.append(planned_server(server, *found))
    return planned


def planned_server(server: Server, fields: dict[str, object], connect: ConnectRule | None) -> PlannedServer:
    """One server, with what it shares with others (`common`)."""
    settings = server.settings
    check_addr, check_port = health_target(server, settings, connect) if settings.check else (None, 0)
    agent_addr, agent_port = agent_target(server, settings) if settings.agent_check else (None, 0)
    return PlannedServer(
        config=server,
        check_addr=check_addr,
        check_port=check_port,
        agent_addr=agent_addr,
        agent_port=agent_port,
        **fields,  # type: ignore[arg-type]
    )


def common(config: Config, proxy: Proxy, settings: ServerSettings) -> tuple[dict[str, object], ConnectRule | None]:
    """What all servers with the same settings have in common, and the connect rule that comes first."""
    rules = config.healthchecks.get(settings.healthcheck, proxy.checks) if settings.healthcheck else proxy.checks
    connect = first_connect(rules)
    moved = settings.addr is not None or settings.port != 0
    ssl = settings.check_ssl if settings.check_ssl is not None else settings.ssl and not moved
    send_proxy = settings.check_send_proxy or (bool(settings.send_proxy) and not moved)
    via_socks4 = settings.check_via_socks4
    if connect is not None:  # an explicit rule inherits nothing unless it says `default` (spec §2.6)
        ssl = connect.ssl or (connect.default and ssl)
        send_proxy = connect.send_proxy or (connect.default and send_proxy)
        via_socks4 = connect.via_socks4 or (connect.default and via_socks4)
    track = None
    if settings.track:
        backend, _, name = settings.track.rpartition("/")
        track = Tracked(backend or proxy.name, name)
    return {
        "proxy": proxy,
        "rules": rules,
        "check": settings.check,
        "agent": settings.agent_check,
        "inter_ms": settings.inter_ms,
        "fastinter_ms": settings.fastinter_ms,
        "downinter_ms": settings.downinter_ms,
        "agent_inter_ms": settings.agent_inter_ms or settings.inter_ms,
        "rise": settings.rise,
        "fall": settings.fall,
        "timeout_connect_ms": proxy.timeout_connect_ms,
        "timeout_check_ms": proxy.timeout_check_ms,
        "weight": settings.weight,
        "backup": settings.backup,
        "disabled": settings.disabled or proxy.disabled,
        "track": track,
        "init_state": settings.init_state,
        "ssl": ssl,
        "send_proxy": send_proxy,
        "via_socks4": via_socks4 and settings.socks4 is not None,
        "source": settings.source or proxy.source,
        "namespace": settings.namespace,
    }, connect


def first_connect(rules: RuleSet) -> ConnectRule | None:
    """The rule that connects first; None where that is implicit."""
    first = next((rule for rule in rules.rules if not isinstance(rule, VarRule)), None)
    return first if isinstance(first, ConnectRule) else None


def has_own_port(address: Address | None) -> bool:
    return address is not None and address.port > 0 and not address.mapped


def health_target(server: Server, settings: ServerSettings, connect: ConnectRule | None) -> tuple[Address, int]:
    """Address and port of the health check, in the order of spec §2.5."""
    address = (connect.addr if connect else None) or settings.addr or server.address
    if address.family in (Family.UNIX, Family.ABNS):
        return address, 0
    if connect is not None and connect.port:
        return address, connect.port
    if connect is not None and connect.addr is not None and has_own_port(connect.addr):
        return address, connect.addr.port
    if settings.port:
        return address, settings.port
    if settings.addr is not None and has_own_port(settings.addr):
        return address, settings.addr.port
    return address, server.address.port if has_own_port(server.address) else 0


def agent_target(server: Server, settings: ServerSettings) -> tuple[Address, int]:
    """Address and port of the agent: `addr` and `port` move it too (spec §2.5)."""
    return settings.agent_addr or settings.addr or server.address, settings.agent_port or settings.port


class Loaded(msgspec.Struct):
    """A configuration, its plan, and whom it imitates."""

    config: Config
    planned: list[PlannedServer]
    dialect: Dialect

    def addresses(self, *, waiting: bool = False) -> Iterator[Address]:
        """Every address that may have to be looked up first. waiting: a server may start without (`init-addr none`)."""
        yield from self._shared_addresses()
        for server in self.planned:
            own, settings = server.config.address, server.config.settings
            without = settings.init_addr and "libc" not in settings.init_addr.split(",")
            waits = is_service(own, settings) or (waiting and without)
            for address in (own, server.check_addr, server.agent_addr):
                if address is not None and not (waits and address is own):
                    yield address

    def _shared_addresses(self) -> Iterator[Address]:
        """Addresses that rules and settings hold, each once."""
        seen: set[int] = set()
        for server in self.planned:
            settings = server.config.settings
            for one in (settings, server.rules, server.source):
                if one is None or id(one) in seen:
                    continue
                seen.add(id(one))
                if isinstance(one, Source):
                    yield one.addr
                elif isinstance(one, RuleSet):
                    yield from (rule.addr for rule in one.rules if isinstance(rule, ConnectRule) and rule.addr)
                elif one.socks4 is not None:
                    yield one.socks4
