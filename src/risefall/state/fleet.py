"""All servers of a configuration and what befalls them: results come in, lines and orders go out.

The rules are in `table`, the words in `words` and `lines`; here they are joined: a move of one server is counted in its
proxy, logged, handed to those that track it, and told to C. Every public call is one `Work`: it remembers what C knew of
each server it touches, and ends in one order for each check that must know something new.

HAProxy walks trackers depth first, the last of the file first; so do the stacks below. Source:
spec/haproxy-checks.md §1.2-1.10, §3.8, §4.5, §5, §6.2, §6.3, §8.3; order of trackers, of drain lines and of slowstart's
second line: run on 2.6.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from risefall.state import lines
from risefall.state.exchange import CheckResult, WeightKind
from risefall.state.lines import LogLine, Subject
from risefall.state.server import AGENT, DRAIN, HEALTH, MAINT, Admin, CheckState, Op, ProxyState, ServerState
from risefall.state.table import ADMIN, ASKS, COPIED, INHERITED, NEXT, Move, first_health
from risefall.state.warming import WARM, warm_weight, warmth_at
from risefall.state.words import full_name, runs
from risefall.state.work import Effects, Order, Work
from risefall.status import Status, Verdict

if TYPE_CHECKING:
    from risefall.config.haproxy.dialect import Dialect

__all__ = ["Effects", "Fleet", "LogLine", "Order", "Work"]

WEIGHT_MAX = 256


class Fleet:
    """Proxies and servers, in configuration order. `starting`: servers whose slowstart wants `warm`, about once a second.

    vacant: places of servers that are gone, for others to come. revisions: twice what the next server's revision is, and one
    more while servers have gone since the last one came. limits: those of the process that commands have set, by
    their names in `show info`; there is no traffic that they would hold back.
    """

    def __init__(self, proxies: list[ProxyState], servers: list[ServerState], dialect: Dialect, now_ms: int) -> None:
        self.proxies = proxies
        self.servers = servers
        self.dialect = dialect
        self.starting: set[int] = set()
        self.vacant: list[int] = []
        self.revisions = 0
        self.limits: dict[str, int] = {}
        for proxy in proxies:
            proxy.active = proxy.backup_active = proxy.active_weight = proxy.backup_weight = 0
            proxy.changed_ms = proxy.changed_ms or now_ms
        for index, server in enumerate(servers):
            if server.tracks < 0:
                self._settle(index)
        for index, server in enumerate(servers):
            self._count(index, 1)
            if server.op is Op.STARTING:
                self.starting.add(index)
        self._totals = [self.total_weight(proxy) for proxy in range(len(proxies))]

    # --- what is asked of it --------------------------------------------------------------------------

    def ref(self, index: int) -> int:
        """The end of the tracking chain; the server itself where it tracks nobody."""
        while (tracked := self.servers[index].tracks) >= 0:
            index = tracked
        return index

    def effective_weight(self, index: int) -> int:
        """The weight that balancing uses: the user's, or its share during a slowstart (spec §1.9)."""
        server = self.servers[index]
        if server.held_weight >= 0:
            return server.held_weight
        return warm_weight(server.uweight, server.warmth)

    def usable(self, index: int) -> bool:
        """Whether it counts among those that new traffic may go to (spec §6.3, §8.3)."""
        server = self.servers[index]
        return (
            server.op in (Op.RUNNING, Op.STARTING)
            and server.uweight > 0
            and not (server.admin and server.admin & (MAINT | DRAIN))
        )

    def total_weight(self, proxy: int) -> int:
        """The weight that `weight=a/b` of send-state divides by: of actives, else of backups, or of the first of them."""
        state = self.proxies[proxy]
        if state.active or state.allbackups or not state.backup_active:
            return state.active_weight if state.active else state.backup_weight
        first = next(index for index in state.own if self.servers[index].backup and self.usable(index))
        return self.effective_weight(first)

    # --- results --------------------------------------------------------------------------------------

    def result(self, index: int, which: int, result: CheckResult, now_ms: int, *, logged: bool = True) -> Effects:
        """One result of one check; C has moved its counter already.

        logged: False for a record that was read because its event was lost: no result line, but the state still moves. A health
        check that was under way when it was paused or switched off counts all the same; an agent's does not (run on 2.6.12).
        """
        work = Work(self, now_ms)
        server = self.servers[index]
        check = server.agent if which == AGENT else server.health
        if check is None or (which == AGENT and not check.enabled) or _older(result.epoch, check.epoch):
            return work.effects
        work.keep(index)
        if which == AGENT:
            self._words(work, index, result)
        unseen = not logged and result.health != check.health
        check.status, check.verdict, check.code = result.status, result.verdict, result.code
        check.health, check.duration_ms, check.text = result.health, result.duration_ms, result.text
        if server.watch is not None and which == HEALTH and result.verdict in (Verdict.PASSED, Verdict.CONDPASS):
            server.watch.errors = 0
        proxy = self.proxies[server.proxy]
        news = result.status_changed or result.counter_moved
        final = result.verdict not in (Verdict.UNKNOWN, Verdict.NEUTRAL)
        if logged and news and final and proxy.log_health_checks:
            work.say(lines.result_line(self._subject(index), which, check, result))
        ask = _unseen_move(server, check, result) if unseen else _move_of(check, which, result)
        if self._granted(server, which, ask):
            told = final and not proxy.log_health_checks and server.tracks < 0
            self.move(work, index, ask, lines.reason(result) if told else "")
        return work.finish()

    def warm(self, index: int, now_ms: int) -> Effects:
        """Lets a slowstart go on, or ends it. For each of `starting`, every second or at a twentieth of the slowstart."""
        work = Work(self, now_ms)
        server = self.servers[index]
        if server.op is not Op.STARTING:
            return work.effects
        warmth = warmth_at((now_ms - server.changed_ms) // 1000, server.slowstart_ms)
        if warmth is None:
            self._enter(work, index, NEXT[server.op, Move.WARM], "")
        elif not self.proxies[server.proxy].static and warmth != server.warmth:
            work.touch(index)
            self._change(work, index, warmth=warmth)
        return work.finish()

    def _words(self, work: Work, index: int, result: CheckResult) -> None:
        """What an agent's line says besides health, in HAProxy's order."""
        server = self.servers[index]
        self.administer(work, index, ADMIN[result.admin])
        weight = result.weight
        if result.weight_kind is WeightKind.RELATIVE:
            weight = relative_weight(server, weight)
        if result.weight_kind is not WeightKind.NONE and 0 <= weight <= WEIGHT_MAX and self.accepts(index, weight):
            self.weigh(work, index, weight)
        if result.maxconn is not None:
            server.maxconn = result.maxconn

    def _granted(self, server: ServerState, which: int, ask: Move) -> bool:
        """Whether counters, maintenance and the tracked server allow what a verdict asks for."""
        if ask not in (Move.RUN, Move.UNLOAD):
            return ask is not Move.NONE
        tracked = self.servers[server.tracks] if server.tracks >= 0 else None
        return not (
            (tracked is not None and tracked.op is Op.STOPPED)
            or (server.admin and server.admin & MAINT)
            or _blocks(server.health)
            or _blocks(server.agent)
            or (which == AGENT and server.op is Op.STOPPING)
        )

    # --- moves: by `result` and by `commands` ---------------------------------------------------------

    def move(self, work: Work, index: int, move: Move, why: str = "") -> None:
        """Moves a server, unless it is in maintenance or there already, and then those that track it."""
        stack = [(index, move, why)]
        while stack:
            index, move, why = stack.pop()
            server = self.servers[index]
            if server.admin and server.admin & MAINT:
                continue
            op = NEXT[server.op, _own_pace(server, move)]
            if op is not server.op:
                self._enter(work, index, op, why)
                stack.extend((tracker, COPIED[op], "") for tracker in server.trackers)

    def administer(self, work: Work, index: int, steps: tuple[tuple[bool, Admin], ...], cause: str = "") -> None:
        """Sets (True) and clears flags one after the other, here and, inherited, on trackers."""
        for setting, step in steps:
            stack = [(index, step)]
            while stack:
                at, flag = stack.pop()
                server = self.servers[at]
                if bool(server.admin & flag) is setting:
                    continue
                self._administer(work, at, server.admin | flag if setting else server.admin & ~flag, cause)
                if not server.admin & ~flag & (MAINT if flag & MAINT else DRAIN):
                    stack.extend((tracker, INHERITED[flag]) for tracker in server.trackers)

    def accepts(self, index: int, weight: int) -> bool:
        """A static algorithm takes 0 and the weight of the file only."""
        server = self.servers[index]
        return weight in (0, server.iweight) or not self.proxies[server.proxy].static

    def weigh(self, work: Work, index: int, weight: int) -> None:
        """Sets the user's weight; taking the last usable server its weight is told, nothing else is."""
        server = self.servers[index]
        if weight == server.uweight and not self._repeats_drain(server):
            return  # an agent that says the same with every answer is no news
        if server.admin & MAINT and server.held_weight < 0:
            server.held_weight = self.effective_weight(index)
        work.touch(index)
        if self._change(work, index, uweight=weight):
            work.say(lines.no_server(server.proxy, self.proxies[server.proxy]))
        self._repeat_drain(work, index)

    def weigh_proxy(self, proxy: int, changed: dict[int, int]) -> None:
        """Puts the proxy's total weight into `changed` where it is another than the last one told."""
        total = self.total_weight(proxy)
        if total != self._totals[proxy]:
            self._totals[proxy] = changed[proxy] = total

    def _enter(self, work: Work, index: int, op: Op, why: str) -> None:
        """The server enters another operational state, outside of maintenance."""
        server = self.servers[index]
        was_leaving = _leaving(server)
        work.change(index)
        _stamp(work, server)
        none_left = self._change(work, index, op=op)
        server.downs += op is Op.STOPPED
        work.say(lines.state_line(self._subject(index), why, was_leaving=was_leaving))
        if none_left:
            work.say(lines.no_server(server.proxy, self.proxies[server.proxy]))
        self._repeat_drain(work, index)

    def _repeat_drain(self, work: Work, index: int) -> None:
        """2.6 tells of a drain again whenever anything else of a drained server changes (run; spec §12 has no row)."""
        if self._repeats_drain(self.servers[index]):
            work.say(lines.remains_in_drain(self._subject(index), self.dialect))

    def _repeats_drain(self, server: ServerState) -> bool:
        drained = server.admin and server.admin & DRAIN and not server.admin & MAINT
        return bool(drained) and not self.dialect.drain_remains_short

    def _administer(self, work: Work, index: int, admin: Admin, cause: str) -> None:
        """The administrative flags of one server change."""
        server = self.servers[index]
        old, gone = server.admin, server.admin & ~admin
        work.change(index)
        if admin & MAINT and not old & MAINT:
            self._enter_maintenance(work, index, admin, cause)
            return
        none_left = False
        if old & MAINT and not admin & MAINT:
            self._leave_maintenance(work, index, admin)
            work.say(*lines.leaves_maintenance(self._subject(index), gone))
        else:
            none_left = self._change(work, index, admin=admin)
        who = self._subject(index)
        if admin & MAINT:
            work.say(*lines.remains_in_maintenance(who, gone))
        elif admin & DRAIN and not old & DRAIN:
            _stamp(work, server)
            work.say(lines.enters_drain(who))
        elif old & DRAIN and not admin & DRAIN:
            _stamp(work, server)
            work.say(lines.leaves_drain(who, gone, self.dialect))
        elif admin & DRAIN:
            work.say(lines.remains_in_drain(who, self.dialect))
        if none_left:
            work.say(lines.no_server(server.proxy, self.proxies[server.proxy]))

    def _enter_maintenance(self, work: Work, index: int, admin: Admin, cause: str) -> None:
        server = self.servers[index]
        was_down, was_leaving = server.op is Op.STOPPED, _leaving(server)
        if server.health is None:
            server.idle_health = server.idle_health if was_down else 0
        else:
            # A check that is switched off keeps its counter where the server was DOWN already (run on 2.6.12).
            enabled = server.health.enabled
            work.force(index, HEALTH, health=0 if enabled or not was_down else None, paused=enabled or None)
        if not was_down:
            _stamp(work, server)
            server.downs += 1
        none_left = self._change(work, index, op=Op.STOPPED, admin=admin)
        who = self._subject(index)
        work.say(lines.enters_maintenance(who, cause, was_down=was_down, was_leaving=was_leaving))
        if none_left:
            work.say(lines.no_server(server.proxy, self.proxies[server.proxy]))

    def _leave_maintenance(self, work: Work, index: int, admin: Admin) -> None:
        """UP at once, before any check, unless agent, tracked server or init-state stand against it (trap 29)."""
        server = self.servers[index]
        server.held_weight = -1
        if (check := server.health) is not None and check.enabled:
            # One that is switched off keeps its counter and its pause, also when it is switched on later (run on 2.6.12).
            health = first_health(self.init_state(server), check.rise, check.fall)
            work.force(index, HEALTH, health=health, paused=False)
        tracked = self.servers[server.tracks].op if server.tracks >= 0 else Op.RUNNING
        op = Op.STOPPED
        if not _blocks(server.health) and not _blocks(server.agent):
            op = NEXT[Op.STOPPED, _own_pace(server, COPIED[tracked])]
        _stamp(work, server)
        self._change(work, index, op=op, admin=admin)

    def resume(self, work: Work, index: int, op: Op) -> None:
        """A slowstart of an earlier run begins anew, or is over; 2.6 does not know why (run)."""
        why = "" if self.servers[index].tracks >= 0 else ", reason: Unknown, check duration: 0ms"
        self._enter(work, index, op, why)

    def init_state(self, server: ServerState) -> str:
        """The word that counts: 2.6 knows none."""
        return server.init_state if self.dialect.init_state else ""

    # --- the books ------------------------------------------------------------------------------------

    def _change(
        self,
        work: Work,
        index: int,
        *,
        op: Op | None = None,
        admin: Admin | None = None,
        uweight: int | None = None,
        warmth: int | None = None,
    ) -> bool:
        """Changes a server and the counts of its proxy. Returns whether the last usable one has gone by it."""
        server = self.servers[index]
        proxy = self.proxies[server.proxy]
        before = proxy.active + proxy.backup_active
        self._count(index, -1)
        if op is not None:
            server.op = op
            slow = op is Op.STARTING
            server.warmth = 1 if slow and not proxy.static else WARM
            (self.starting.add if slow else self.starting.discard)(index)
        if admin is not None:
            server.admin = admin
        if uweight is not None:
            server.uweight = uweight
        if warmth is not None:
            server.warmth = warmth
        self._count(index, 1)
        after = proxy.active + proxy.backup_active
        if after and not before:
            proxy.down_ms += max(0, work.now_ms - proxy.changed_ms)
            proxy.changed_ms = work.now_ms
        elif before and not after:
            proxy.downs += 1
            proxy.changed_ms = work.now_ms
        return before > 0 and after == 0

    def _count(self, index: int, by: int) -> None:
        """Adds a usable server to its proxy's counts, or takes it away."""
        if not self.usable(index):
            return
        server = self.servers[index]
        proxy = self.proxies[server.proxy]
        weight = by * self.effective_weight(index)
        if server.backup:
            proxy.backup_active += by
            proxy.backup_weight += weight
        else:
            proxy.active += by
            proxy.active_weight += weight

    def _subject(self, index: int) -> Subject:
        server = self.servers[index]
        parent = full_name(self, server.tracks) if server.tracks >= 0 else ""
        return Subject(self.proxies[server.proxy], server, parent)

    def settle_added(self, index: int) -> None:
        """A server that has just come is as whom it tracks, and counts if it is not in maintenance."""
        self._settle(index)
        self._count(index, 1)

    def uncount(self, index: int) -> None:
        """A server goes."""
        self._count(index, -1)
        self.starting.discard(index)

    @property
    def count(self) -> int:
        """How many servers there are."""
        return len(self.servers) - len(self.vacant)

    def _settle(self, root: int) -> None:
        """At start, silently: maintenance stops and pauses a server, and trackers are as whom they track."""
        stack = [root]
        while stack:
            server = self.servers[stack.pop()]
            if server.tracks >= 0:
                tracked = self.servers[server.tracks]
                server.admin |= Admin.IMAINT if tracked.admin & MAINT else Admin(0)
                server.admin |= Admin.IDRAIN if tracked.admin & DRAIN else Admin(0)
                if tracked.op in (Op.STOPPED, Op.STOPPING):
                    server.op = NEXT[server.op, COPIED[tracked.op]]
            if not server.admin & MAINT:
                server.held_weight = -1  # of a maintenance that another file has ended
            else:
                server.op = Op.STOPPED
                if server.health is None:
                    server.idle_health = 0
                elif server.health.enabled and not server.health.paused:
                    server.health.paused, server.health.health = True, 0
            if server.op is not Op.STARTING:
                server.warmth = WARM
            stack.extend(server.trackers)


def _stamp(work: Work, server: ServerState) -> None:
    """The server changes now; the spell that ends was DOWN or was not."""
    if server.op is Op.STOPPED:
        server.down_ms += max(0, work.now_ms - server.changed_ms)
    server.changed_ms = work.now_ms


def _leaving(server: ServerState) -> bool:
    """STOPPING or draining: nobody is alarmed when such a server goes DOWN (trap 34)."""
    return server.op is Op.STOPPING or bool(server.admin and server.admin & DRAIN)


def relative_weight(server: ServerState, percent: int) -> int:
    """`n%` of the file's weight, HAProxy's way."""
    return min(WEIGHT_MAX, server.iweight * min(percent, 100 * WEIGHT_MAX) // 100)


def _own_pace(server: ServerState, move: Move) -> Move:
    return Move.START if move is Move.RUN and server.slowstart_ms > 0 else move


def _blocks(check: CheckState | None) -> bool:
    """Whether a check stands against UP."""
    return check is not None and runs(check) and not check.good


def _older(epoch: int, own: int) -> bool:
    """Whether a result completed before the last order that overrides its check; both are unsigned and may wrap."""
    return 0 < (own - epoch) & 0xFFFFFFFF < 0x80000000


def _move_of(check: CheckState, which: int, result: CheckResult) -> Move:
    """What a result asks for. Only an agent that says `down` counts as failed; one that is gone does not."""
    failed = result.verdict is Verdict.FAILED
    if failed and (check.health > 0 or (which == AGENT and result.status is not Status.L7STS)):
        return Move.NONE
    return ASKS[which, result.verdict]


def _unseen_move(server: ServerState, check: CheckState, result: CheckResult) -> Move:
    """What a record asks for whose counter moved unseen: the counter tells what the last verdict alone may not."""
    if not check.good:
        return Move.STOP
    if result.verdict is Verdict.CONDPASS:
        return Move.UNLOAD
    return Move.RUN if result.verdict is Verdict.PASSED or server.op is Op.STOPPED else Move.NONE
