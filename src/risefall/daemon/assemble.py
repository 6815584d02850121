"""A plan and its targets to the fleet that `state` keeps: what every server is at start.

Source: spec/haproxy-checks.md §1.2, §1.5, §1.8, §1.10, §7.3 (ids), §7.5.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import Address, Config, Family, Proxy
from risefall.config.haproxy.plan import PlannedServer
from risefall.engine.native import Endpoint
from risefall.engine.targets import Target, is_static, start_health
from risefall.state.fleet import Fleet
from risefall.state.server import Admin, CheckState, Op, ProxyState, ServerState


def make_fleet(config: Config, targets: Sequence[Target], dialect: Dialect, now_ms: int) -> Fleet:
    """Every proxy in configuration order, every server in the order of the plan."""
    shift = 1 if config.global_.stats_sockets else 0  # HAProxy gives the frontend of its socket the first id
    proxies = [proxy_state(proxy, shift, now_ms) for proxy in config.proxies]
    places = {id(proxy): place for place, proxy in enumerate(config.proxies)}
    servers = []
    for index, target in enumerate(targets):
        place = places[id(target.planned.proxy)]
        proxy = proxies[place]
        if not proxy.count:
            proxy.first = index
        proxy.count += 1
        servers.append(server_state(target, place, now_ms))
    link_trackers(targets, servers)
    return Fleet(proxies, servers, dialect, now_ms)


def proxy_state(proxy: Proxy, shift: int, now_ms: int) -> ProxyState:
    return ProxyState(
        name=proxy.name,
        kind=proxy.kind,
        id=proxy.id if proxy.forced_id else proxy.id + shift,
        mode=proxy.mode,
        balance=proxy.balance,
        first=0,
        count=0,
        log_health_checks=proxy.log_health_checks,
        disabled=proxy.disabled,
        static=is_static(proxy),
        allbackups=proxy.allbackups,
        forced_id=proxy.forced_id,
        cookie=proxy.cookie,
        changed_ms=now_ms,
    )


def shown(address: Address | None, resolved: Endpoint | None = None) -> str:
    """An address as `show servers state` prints it; "" for none or an unresolved name."""
    if resolved is not None and resolved.family in (4, 6) and (address is None or not address.unspecified):
        return str(ipaddress.ip_address(resolved.packed))
    if address is None or address.family is Family.NAME:
        return ""
    if address.family is Family.ABNS:
        return f"abns@{address.host}"
    return address.host


def server_state(target: Target, place: int, now_ms: int) -> ServerState:
    planned = target.planned
    config, settings = planned.config, planned.config.settings
    address = config.address
    health = None
    if planned.check and target.health is not None:
        health = CheckState(planned.rise, planned.fall, start_health(planned), paused=planned.disabled)
    agent = CheckState(1, 1, 1) if planned.agent and target.agent is not None else None
    admin, op = Admin(0), Op.RUNNING
    if settings.disabled:
        admin, op = Admin.CMAINT | Admin.FMAINT, Op.STOPPED
    elif planned.init_state in ("down", "fully-down"):
        op = Op.STOPPED
    if address.family is Family.NAME and target.address is None:
        admin, op = admin | Admin.RMAINT, Op.STOPPED
    inet = address.family in (Family.IPV4, Family.IPV6, Family.NAME)
    return ServerState(
        name=config.name,
        proxy=place,
        sid=config.id,
        address=shown(address, target.address),
        port=max(0, address.port) if inet and not address.mapped else 0,
        fqdn=address.host if address.family is Family.NAME else "",
        op=op,
        admin=admin,
        iweight=planned.weight,
        uweight=planned.weight,
        backup=planned.backup,
        health=health,
        agent=agent,
        changed_ms=now_ms,
        init_state=planned.init_state,
        slowstart_ms=settings.slowstart_ms,
        maxconn=settings.maxconn,
        maxqueue=settings.maxqueue,
        cookie=settings.cookie,
        forced_id=config.forced_id,
        ssl=settings.ssl,
        check_addr=shown(settings.addr),
        check_port=settings.port,
        agent_addr=shown(settings.agent_addr or settings.addr),
        agent_port=planned.agent_port,
        mapped_ports=inet and address.mapped,
    )


def link_trackers(targets: Sequence[Target], servers: Sequence[ServerState]) -> None:
    """Fills `tracks` and `trackers`; what is inherited at start, the fleet sees to (spec §1.8)."""
    planned: list[tuple[int, PlannedServer]] = [(i, one.planned) for i, one in enumerate(targets) if one.planned.track]
    if not planned:
        return
    names: dict[tuple[str, str], int] = {}
    for index, target in enumerate(targets):
        names.setdefault((target.planned.proxy.name, target.planned.config.name), index)
    for index, one in planned:
        assert one.track is not None
        parent = names[one.track.backend, one.track.server]
        servers[index].tracks = parent
        servers[parent].trackers = (*servers[parent].trackers, index)
