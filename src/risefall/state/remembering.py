"""What is kept of a fleet over a restart: values that go into a file and come out of it; `carrying` says what they mean then.

Times are kept as ages: the monotonic clock begins anew with every boot. Source: spec/haproxy-checks.md §1.11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Moved, Op, ProxyState, ServerState, Watch
from risefall.status import Status, Verdict

ProxyKey = tuple[str, str]
"""Kind and name."""


class Shown(NamedTuple):
    """What is shown of a check and no news tells. fails: `chkfail`. last: status, verdict, code, ms, text; None for the news."""

    fails: int
    last: tuple[int, int, int, int, bytes] | None


Live = Callable[[int, int], Shown]
"""By server and HEALTH or AGENT."""


class KeptCheck(msgspec.Struct, frozen=True, array_like=True):
    """One check: its counter, whether a hand took it back, its last news, how often it has failed, whether it is paused."""

    rise: int
    fall: int
    health: int
    enabled: bool
    status: int
    verdict: int
    code: int
    duration_ms: int
    text: bytes
    fails: int
    paused: bool = False


class KeptServer(msgspec.Struct, frozen=True, array_like=True):
    """One server. age_ms: since it changed last. errors: of `observe`, in a row, and how often the limit was reached.

    place: address, port, whether that is an offset, name, SRV name. ways: of its checks, as commands have set them.
    """

    name: str
    op: int
    admin: int
    iweight: int
    uweight: int
    held_weight: int
    warmth: int
    age_ms: int
    downs: int
    down_ms: int
    idle_health: int
    tracks: bool
    moved: int
    health: KeptCheck | None
    agent: KeptCheck | None
    errors: tuple[int, int] | None
    place: tuple[str, int, bool, str, str] | None
    ways: tuple[str, int, str, int, bool] | None


class KeptProxy(msgspec.Struct, frozen=True, array_like=True):
    """One proxy. paused: a command has done so with its frontend. down: there was no server for new traffic.

    A frontend that a command has shut down is not kept: only a new start brings it back.
    """

    kind: str
    name: str
    age_ms: int
    down_ms: int
    downs: int
    paused: bool
    down: bool


def keep_proxy(proxy: ProxyState, now_ms: int) -> KeptProxy:
    """A proxy as it is kept."""
    return KeptProxy(
        proxy.kind,
        proxy.name,
        now_ms - proxy.changed_ms,
        proxy.down_ms,
        proxy.downs,
        proxy.front_paused,
        not (proxy.active or proxy.backup_active),
    )


def keep_server(fleet: Fleet, index: int, live: Live, now_ms: int) -> KeptServer:
    """A server as it is kept."""
    server = fleet.servers[index]
    named = bool(server.fqdn or server.srv_record)
    place = (server.address, server.port, server.mapped_ports, server.fqdn, server.srv_record)
    ways = (server.check_addr, server.check_port, server.agent_addr, server.agent_port, server.ssl)
    return KeptServer(
        name=server.name,
        op=server.op,
        admin=server.admin,
        iweight=server.iweight,
        uweight=server.uweight,
        held_weight=server.held_weight,
        warmth=server.warmth,
        age_ms=now_ms - server.changed_ms,
        downs=server.downs,
        down_ms=server.down_ms,
        idle_health=server.idle_health,
        tracks=server.tracks >= 0,
        moved=server.moved,
        health=_keep_check(server.health, index, HEALTH, live),
        agent=_keep_check(server.agent, index, AGENT, live),
        errors=None if server.watch is None else (server.watch.errors, server.watch.limit_reached),
        place=place if named or server.moved else None,
        ways=ways if server.moved else None,
    )


def _keep_check(check: CheckState | None, index: int, which: int, live: Live) -> KeptCheck | None:
    if check is None:
        return None
    fails, last = live(index, which)
    status, verdict, code, duration_ms, text = last or (
        check.status,
        check.verdict,
        check.code,
        check.duration_ms,
        check.text,
    )
    return KeptCheck(
        check.rise,
        check.fall,
        check.health,
        check.enabled,
        status,
        verdict,
        code,
        duration_ms,
        text,
        fails,
        check.paused,
    )


def recall_server(kept: KeptServer, now_ms: int, away_ms: int) -> ServerState:
    """A server as it was when it was kept, `away_ms` ago. Raises: ValueError for what cannot be."""
    address, port, mapped, fqdn, srv = kept.place or ("", 0, False, "", "")
    check_addr, check_port, agent_addr, agent_port, ssl = kept.ways or ("", 0, "", 0, False)
    return ServerState(
        name=kept.name,
        proxy=0,
        sid=0,
        address=address,
        port=port,
        fqdn=fqdn,
        op=Op(kept.op),
        admin=Admin(kept.admin),
        iweight=kept.iweight,
        uweight=kept.uweight,
        backup=False,
        health=_recall_check(kept.health),
        agent=_recall_check(kept.agent),
        changed_ms=now_ms - away_ms - kept.age_ms,
        tracks=0 if kept.tracks else -1,
        check_addr=check_addr,
        check_port=check_port,
        agent_addr=agent_addr,
        agent_port=agent_port,
        mapped_ports=mapped,
        ssl=ssl,
        watch=None if kept.errors is None else Watch(False, "", 0, *kept.errors),
        down_ms=kept.down_ms,
        downs=kept.downs,
        idle_health=kept.idle_health,
        warmth=kept.warmth,
        held_weight=kept.held_weight,
        srv_record=srv,
        moved=Moved(kept.moved),
    )


def _recall_check(kept: KeptCheck | None) -> CheckState | None:
    if kept is None:
        return None
    if not (kept.rise > 0 and kept.fall > 0 and 0 <= kept.health < kept.rise + kept.fall):
        raise ValueError(f"a counter of {kept.health} with rise {kept.rise} and fall {kept.fall}")
    return CheckState(
        kept.rise,
        kept.fall,
        kept.health,
        enabled=kept.enabled,
        paused=kept.paused,
        status=Status(kept.status),
        verdict=Verdict(kept.verdict),
        code=kept.code,
        duration_ms=kept.duration_ms,
        text=kept.text,
        fails_before=-kept.fails,
    )


def recall_proxy(kept: KeptProxy, proxy: ProxyState, now_ms: int, away_ms: int) -> None:
    """A proxy's figures go on."""
    proxy.changed_ms = now_ms - away_ms - kept.age_ms
    proxy.down_ms, proxy.downs = kept.down_ms, kept.downs
    proxy.front_paused = kept.paused
