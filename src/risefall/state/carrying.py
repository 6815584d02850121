"""What a server keeps when its configuration is read again, or the program starts again: one rule for both.

The file says what a server is; hands, agents and checks have said what has become of it. Where the two speak of the same
thing the rules are those by which HAProxy reads its server-state file: a weight that was set holds as long as the file's
own is the same, a `disabled` that came into the file or left it counts, an operator's maintenance and drain stand.
Source: spec/haproxy-checks.md §1.11; server_state.c of 2.6.
"""

from __future__ import annotations

from risefall.state.exchange import CheckChange
from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, MAINT, Admin, CheckState, Moved, Op, ProxyState, ServerState
from risefall.state.warming import WARM
from risefall.state.words import state_text


def carry(old: ServerState, new: ServerState, *, follows: bool = False) -> None:
    """Makes `new`, as the file has it, what `old` has become. Before the fleet of `new` is settled.

    follows: its name is resolved at run time, so that the address of the file means nothing.
    """
    fresh = new.op
    _carry_admin(old, new)
    _carry_address(old, new, follows=follows)
    kept = not old.admin & MAINT or bool(new.admin & MAINT)
    _carry_check(old.health, new.health, counted=kept)
    if old.health is not None and new.health is not None:
        # A check that was switched off in maintenance stays paused, after maintenance too, as in HAProxy.
        new.health.paused = old.health.paused and kept
    _carry_check(old.agent, new.agent, counted=True)
    if old.iweight == new.iweight:
        new.uweight, new.held_weight = old.uweight, old.held_weight
    new.op = _op(old, new, fresh)
    new.warmth = old.warmth if new.op is Op.STARTING else WARM
    new.changed_ms, new.downs, new.down_ms = old.changed_ms, old.downs, old.down_ms
    new.idle_health = min(old.idle_health, new.idle_full)
    if old.watch is not None and new.watch is not None:
        new.watch.errors, new.watch.limit_reached = old.watch.errors, old.watch.limit_reached


def _carry_admin(old: ServerState, new: ServerState) -> None:
    before, now = old.admin & Admin.CMAINT, new.admin & Admin.CMAINT
    if before and now:
        new.admin = new.admin & ~Admin.FMAINT | old.admin & Admin.FMAINT
    elif not before and not now:
        new.admin |= old.admin & Admin.FMAINT
    if not (old.iweight == 0 and new.iweight > 0):
        new.admin |= old.admin & Admin.FDRAIN


def _carry_address(old: ServerState, new: ServerState, *, follows: bool) -> None:
    if follows and old.moved & Moved.NAME and old.fqdn and new.fqdn:
        new.fqdn = old.fqdn
    if follows and new.srv_record == old.srv_record and (new.srv_record or (new.fqdn and new.fqdn == old.fqdn)):
        bits = Admin.RMAINT | Admin.HMAINT
        new.admin = new.admin & ~bits | old.admin & bits
        new.address, new.fqdn = old.address, old.fqdn
        if new.srv_record:
            new.port = old.port
    new.moved = old.moved
    if old.moved & Moved.ADDR and new.address:
        new.address, new.port, new.mapped_ports = old.address, old.port, old.mapped_ports
    if old.moved & Moved.CHECK:
        new.check_addr, new.check_port = old.check_addr, old.check_port
        new.pins = new.pins.without_port(HEALTH)
    if old.moved & Moved.AGENT:
        new.agent_addr, new.agent_port = old.agent_addr, old.agent_port
        new.pins = new.pins.without_port(AGENT)
    if old.moved & Moved.SSL and new.ssl_ready:
        new.ssl, new.ssl_refused = old.ssl, False


def _carry_check(old: CheckState | None, new: CheckState | None, *, counted: bool) -> None:
    """The counter keeps its side, and its place as far as `rise` and `fall` have room for it; from maintenance it comes anew."""
    if old is None or new is None:
        return
    new.epoch = old.epoch  # the engine's check may be the same
    new.enabled, new.fails_before = old.enabled, old.fails_before
    new.status, new.verdict, new.code = old.status, old.verdict, old.code
    new.duration_ms, new.text = old.duration_ms, old.text
    if not counted:
        return
    if old.good:
        new.health = new.full if old.health == old.full else min(new.full, new.rise + old.health - old.rise)
    else:
        new.health = min(new.rise - 1, old.health)


def _op(old: ServerState, new: ServerState, fresh: Op) -> Op:
    """The operational state: that of before, where it still has a reason."""
    if new.admin & MAINT:
        return Op.STOPPED
    blocked = any(check is not None and check.enabled and not check.good for check in (new.health, new.agent))
    kept = Op.RUNNING if old.op is Op.STARTING and not new.slowstart_ms else old.op
    if new.tracks >= 0:  # settling the fleet makes it what the tracked one is
        return Op.STOPPED if blocked else Op.STARTING if kept is Op.STARTING else Op.RUNNING
    same = (old.health is None, old.agent is None, old.tracks) == (new.health is None, new.agent is None, -1)
    if old.admin & MAINT or not same:
        return Op.STOPPED if blocked else fresh
    return kept


def fit(server: ServerState, proxy: ProxyState) -> bool:
    """Takes away what a static algorithm cannot have: other weights than 0% and 100%, slowstarts. Whether there was any."""
    possible = (0, server.iweight)
    if not proxy.static or (
        server.uweight in possible and server.held_weight in (-1, *possible) and server.warmth == WARM
    ):
        return False
    server.uweight = server.uweight if server.uweight in possible else server.iweight
    server.warmth, server.held_weight = WARM, -1
    return True


def date(server: ServerState, now_ms: int, *, was_stopped: bool) -> None:
    """Once the fleet is settled: a server that has gone DOWN or come UP because of the file has done so now."""
    stopped = server.op is Op.STOPPED
    if stopped is was_stopped:
        return
    if stopped:
        server.downs += 1
    else:
        server.down_ms += max(0, now_ms - server.changed_ms)
    server.changed_ms = now_ms


def date_proxy(proxy: ProxyState, now_ms: int, *, was_down: bool) -> None:
    """The same for a proxy: it is down without a server that new traffic may go to."""
    down = not (proxy.active or proxy.backup_active)
    if down is was_down:
        return
    if down:
        proxy.downs += 1
    else:
        proxy.down_ms += max(0, now_ms - proxy.changed_ms)
    proxy.changed_ms = now_ms


def unlink(server: ServerState) -> None:
    """Takes away what a server has from the one that it tracks; settling the fleet gives it anew."""
    inherited = Admin.IMAINT | Admin.IDRAIN
    if server.tracks < 0 and not server.admin & inherited:
        return
    server.admin &= ~inherited
    if server.tracks >= 0 and not server.admin & MAINT and server.op in (Op.STOPPED, Op.STOPPING):
        blocked = server.agent is not None and server.agent.enabled and not server.agent.good
        server.op = Op.STOPPED if blocked else Op.RUNNING


def carry_proxy(old: ProxyState, new: ProxyState) -> None:
    """The same for a proxy."""
    new.changed_ms, new.down_ms, new.downs = old.changed_ms, old.down_ms, old.downs
    new.front_paused, new.front_stopped = old.front_paused, old.front_stopped


def all_of(fleet: Fleet, index: int, which: int) -> CheckChange:
    """All that C must know of a check whose server may be another one than C thinks; what a run says now counts no more."""
    server = fleet.servers[index]
    check = server.agent if which == AGENT else server.health
    assert check is not None
    check.epoch = (check.epoch + 1) & 0xFFFFFFFF or 1
    health = which == HEALTH
    return CheckChange(
        epoch=check.epoch,
        health=check.health,
        paused=check.paused,
        enabled=check.enabled,
        stopped=server.op is Op.STOPPED if health else None,
        state_text=state_text(server) if health else None,
        weight=fleet.effective_weight(index) if health else None,
    )
