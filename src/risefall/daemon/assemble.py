"""A plan and its targets to the fleet that `state` keeps: what every server is at start.

Source: spec/haproxy-checks.md §1.2, §1.5, §1.8, §1.10, §7.3 (ids), §7.5.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from array import array
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from risefall.config.haproxy.dialect import Dialect
from risefall.config.haproxy.model import Address, Config, ConnectRule, Family, Proxy, is_service
from risefall.config.haproxy.plan import PlannedServer, first_connect, has_own_port
from risefall.engine.native import Endpoint
from risefall.engine.targets import Target, is_static, start_health
from risefall.state.exchange import Aim
from risefall.state.fleet import Fleet
from risefall.state.server import NO_PINS, Admin, CheckState, Op, Pins, ProxyState, ServerState, Watch


class Seed:
    """A fleet before it lives: packed bytes, so that nothing of it lies among the pages of the tree.

    `grow` it once the tree and the plan are gone: then the servers fill whole pages, and those of the tree go back to
    the system (measured at 15,000 servers: 430 bytes of Python for each instead of 1,500).
    """

    def __init__(self, config: Config, targets: Sequence[Target], dialect: Dialect, now_ms: int) -> None:
        """Every proxy in configuration order, every server in the order of the plan.

        marks: of each server, what the file says of it; the same after a reload where that is the same.
        """
        proxies = [proxy_state(proxy, config.global_.maxconn, now_ms) for proxy in config.proxies]
        places = {id(proxy): place for place, proxy in enumerate(config.proxies)}
        tracks, trackers = links(targets)
        used = named_servers(config)
        self.marks = array("Q")
        self._places = array("L")
        self._links = tracks, trackers
        packed = bytearray()
        ends = array("Q")
        encode = msgspec.msgpack.Encoder().encode
        for index, target in enumerate(targets):
            place = places[id(target.planned.proxy)]
            proxy = proxies[place]
            if not proxy.count:
                proxy.first = index
            proxy.count += 1
            server = server_state(target, 0, 0)
            server.needed = index in trackers or (proxy.name, server.name) in used
            self._places.append(place)
            line = encode(folded(server, TEXTS))
            self.marks.append(mark_of(line, target))
            packed += line
            ends.append(len(packed))
        self._proxies = encode([folded(proxy, PROXY_TEXTS) for proxy in proxies])
        self._servers = bytes(packed)
        self._ends = ends
        self._dialect = dialect
        self._now_ms = now_ms

    def grow(self) -> Fleet:
        """The fleet."""
        return Fleet(self.proxies(), self.servers(), self._dialect, self._now_ms)

    def proxies(self) -> list[ProxyState]:
        """The proxies."""
        proxies = msgspec.msgpack.decode(self._proxies, type=list[ProxyState])
        for proxy in proxies:
            for name in PROXY_TEXTS:
                setattr(proxy, name, unfold(getattr(proxy, name)))
        return proxies

    def servers(self) -> list[ServerState]:
        """The servers. Texts and numbers that many of them share are shared again."""
        tracks, trackers = self._links
        decode = msgspec.msgpack.Decoder(ServerState).decode
        view = memoryview(self._servers)
        texts: dict[str, str] = {}
        numbers: dict[int, int] = {}
        pins: dict[Pins, Pins] = {NO_PINS: NO_PINS}
        servers = []
        begin = 0
        for index, end in enumerate(self._ends):
            server = decode(view[begin:end])
            server.proxy, server.changed_ms = self._places[index], self._now_ms
            if tracks:
                server.tracks, server.trackers = tracks.get(index, -1), tuple(trackers.get(index, ()))
            for name in TEXTS:
                text = unfold(getattr(server, name))
                setattr(server, name, texts.setdefault(text, text))
            for name in NUMBERS:
                number = getattr(server, name)
                setattr(server, name, numbers.setdefault(number, number))
            server.pins = pins.setdefault(server.pins, server.pins)
            servers.append(server)
            begin = end
        return servers


TEXTS = ("name", "address", "fqdn", "srv_record", "init_state", "cookie", "check_addr", "agent_addr")
PROXY_TEXTS = ("name", "balance", "cookie")
NUMBERS = ("sid", "port", "changed_ms", "slowstart_ms", "maxconn", "maxqueue", "check_port", "agent_port")


def mark_of(line: bytes, target: Target) -> int:
    """What the file says of a server, in 64 bits."""
    track = target.planned.track
    tracked = b"" if track is None else f"{track.backend}/{track.server}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(line + b"\0" + tracked, digest_size=8).digest(), "little")


PORT_SPAN = 1 << 16
FOLD = "\0"
AnyState = TypeVar("AnyState", ServerState, ProxyState)


def folded(state: AnyState, names: Sequence[str]) -> AnyState:
    """A state that can be packed: texts that are no UTF-8 become their bytes, one character each."""
    for name in names:
        text = getattr(state, name)
        if not text.isascii():
            setattr(state, name, FOLD + text.encode("utf-8", "surrogateescape").decode("latin-1"))
    return state


def unfold(text: str) -> str:
    """Undoes `folded` for one text."""
    return text[1:].encode("latin-1").decode("utf-8", "surrogateescape") if text.startswith(FOLD) else text


def proxy_state(proxy: Proxy, maxconn: int, now_ms: int) -> ProxyState:
    """maxconn: of the process, which frontends without one of their own have; 0 for none."""
    return ProxyState(
        name=proxy.name,
        kind=proxy.kind,
        id=proxy.id,
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
        front_limit=proxy.maxconn or maxconn or None,
        fullconn=proxy.fullconn,
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
    watch = None
    if settings.observe != "none" and health is not None:
        watch = Watch(settings.observe == "layer7", settings.on_error, settings.error_limit)
    service = is_service(address, settings)
    unresolved = address.family is Family.NAME and target.address is None
    if unresolved:
        admin, op = admin | Admin.RMAINT, Op.STOPPED
    inet = address.family in (Family.IPV4, Family.IPV6, Family.NAME)
    return ServerState(
        name=config.name,
        proxy=place,
        sid=0 if planned.proxy.disabled and not config.forced_id else config.id,  # HAProxy numbers the others only
        address=shown(address, target.address),
        port=address.port % PORT_SPAN if inet else 0,
        fqdn=address.host if address.family is Family.NAME and not service else "",
        srv_record=address.host if service else "",
        op=op,
        admin=admin,
        watch=watch,
        iweight=planned.weight,
        uweight=planned.weight,
        backup=planned.backup,
        health=health,
        agent=agent,
        idle_health=planned.rise,
        idle_rise=planned.rise,
        idle_fall=planned.fall,
        changed_ms=now_ms,
        downs=int(unresolved),  # HAProxy counts how it comes into this maintenance at start
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
        agent_port=settings.agent_port or settings.port,
        mapped_ports=inet and address.mapped,
        ssl_refused=settings.ssl_taken is not None,
        ssl_ready=settings.ssl
        or bool(settings.ssl_taken)
        or bool(settings.check_ssl)
        or any(rule.ssl for rule in connects(planned)),
        pins=pins_of(planned),
    )


def connects(planned: PlannedServer) -> list[ConnectRule]:
    """The connect rules of a server's check."""
    return [rule for rule in planned.rules.rules if isinstance(rule, ConnectRule)]


def pins_of(planned: PlannedServer) -> Pins:
    """What of the way of its checks stands fast, whatever address the server gets."""
    settings = planned.config.settings
    ports = [
        address.port if address is not None and has_own_port(address) else 0
        for address in (settings.addr, settings.agent_addr or settings.addr)
    ]
    first = first_connect(planned.rules)
    health = None
    if first is not None and (first.addr is not None or first.port):
        own = first.addr.port if first.addr is not None and has_own_port(first.addr) else 0
        health = Aim(shown(first.addr), first.port or own)
    return Pins(health, *ports) if health is not None or any(ports) else NO_PINS


SERVER_FETCH = re.compile(
    r"\bsrv_(?:conn|conn_free|is_up|iweight|queue|sess_rate|uweight|weight)\((?:([^()/,]+)/)?([^()/,]+)\)"
)


def named_servers(config: Config) -> set[tuple[str, str]]:
    """Backends and servers that `use-server` lines and expressions speak of."""
    found: set[tuple[str, str]] = set()
    for section in config.tree:
        for line in section.lines:
            if line.words[0] == "use-server" and len(line.words) > 1:
                found.add((section.name, line.words[1]))
            for word in line.words:
                if "srv_" in word:
                    found.update((match[1] or section.name, match[2]) for match in SERVER_FETCH.finditer(word))
    return found


def links(targets: Sequence[Target]) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Who tracks whom, and who is tracked by whom, by index; what that means at start, the fleet sees to (spec §1.8)."""
    tracks: dict[int, int] = {}
    trackers: dict[int, list[int]] = {}
    if any(target.planned.track for target in targets):
        names: dict[tuple[str, str], int] = {}
        for index, target in enumerate(targets):
            names.setdefault((target.planned.proxy.name, target.planned.config.name), index)
        for index, target in enumerate(targets):
            track = target.planned.track
            if track is not None and not target.planned.proxy.disabled:
                tracks[index] = names[track.backend, track.server]
                trackers.setdefault(tracks[index], []).append(index)
    return tracks, trackers
