"""A fleet and the checks below it, without time: a model of C that counts, tells only news, and obeys orders."""

from __future__ import annotations

import re
from collections.abc import Callable

from risefall.config.haproxy.dialect import DIALECTS
from risefall.state import commands, growth
from risefall.state.exchange import AdminWord, CheckResult, WeightKind
from risefall.state.fleet import Effects, Fleet
from risefall.state.server import AGENT, DRAIN, HEALTH, MAINT, Admin, CheckState, Op, ProxyState, ServerState
from risefall.state.table import first_health, first_op
from risefall.state.words import state_text, status_word
from risefall.status import Status, Verdict

VERDICTS = {
    Status.CHECKED: Verdict.NEUTRAL,
    Status.L4OK: Verdict.PASSED,
    Status.L6OK: Verdict.PASSED,
    Status.L7OK: Verdict.PASSED,
    Status.PROCOK: Verdict.PASSED,
    Status.L7OKC: Verdict.CONDPASS,
}
"""All others fail."""

ADMIN_WORDS = {"ready": AdminWord.READY, "drain": AdminWord.DRAIN, "maint": AdminWord.MAINT}


def count(health: int, rise: int, fall: int, verdict: Verdict) -> int:
    """The counter of spec §1.2."""
    if verdict in (Verdict.PASSED, Verdict.CONDPASS):
        return rise + fall - 1 if health + 1 >= rise else health + 1
    if verdict is Verdict.FAILED:
        return max(health - 1, 0) if health - 1 >= rise else 0
    return health


def health_check(init_state: str = "", rise: int = 2, fall: int = 3) -> CheckState:
    return CheckState(rise=rise, fall=fall, health=first_health(init_state, rise, fall))


def agent_check() -> CheckState:
    return CheckState(rise=1, fall=1, health=1)


class Below:
    """One check as C has it."""

    def __init__(self, state: CheckState, server: ServerState) -> None:
        self.rise, self.fall, self.health = state.rise, state.fall, state.health
        self.enabled, self.paused, self.epoch = state.enabled, state.paused, state.epoch
        self.status = Status.INI
        self.verdict = Verdict.UNKNOWN
        self.words: object = None
        self.touched = False
        self.stopped = server.op is Op.STOPPED
        self.state_text = state_text(server)
        self.weight = server.uweight


class Rig:
    """Servers of one or more proxies by name, their checks below, and what was written."""

    def __init__(self, dialect: str = "2.6", now_ms: int = 0) -> None:
        self.dialect = DIALECTS[dialect]
        self.proxies: list[ProxyState] = []
        self.servers: list[ServerState] = []
        self.index: dict[str, int] = {}
        self.now_ms = now_ms
        self.log: list[str] = []
        self.changed: list[str] = []
        self.replies: list[str] = []
        self.last = Effects()

    def proxy(self, name: str, kind: str = "backend", **more: object) -> Rig:
        fields = {"log_health_checks": True, "disabled": False, "static": False, **more}
        state = ProxyState(name, kind, len(self.proxies) + 2, "http", "roundrobin", len(self.servers), 0, **fields)  # type: ignore[arg-type]
        self.proxies.append(state)
        return self

    def server(
        self,
        name: str,
        *,
        check: bool = True,
        agent: bool = False,
        track: str = "",
        weight: int = 1,
        disabled: bool = False,
        rise: int = 2,
        fall: int = 3,
        **more: object,
    ) -> Rig:
        """The next server of the last proxy."""
        init = str(more.get("init_state", ""))
        self.index[name] = index = len(self.servers)
        self.servers.append(
            self._made(
                name,
                weight=weight,
                op=first_op(init),
                proxy=len(self.proxies) - 1,
                sid=index + 1,
                admin=Admin.FMAINT | Admin.CMAINT if disabled else Admin(0),
                health=health_check(init, rise, fall) if check and not track else None,
                agent=agent_check() if agent else None,
                tracks=self.index[track] if track else -1,
                **more,
            )
        )
        if track:
            self.servers[self.index[track]].trackers += (index,)
        self.proxies[-1].count += 1
        return self

    def _made(self, name: str, *, weight: int, **fields: object) -> ServerState:
        usual = {"address": "127.0.0.1", "port": 80, "fqdn": "", "changed_ms": self.now_ms, "backup": False}
        return ServerState(name=name, iweight=weight, uweight=weight, **(usual | fields))  # type: ignore[arg-type]

    def start(self) -> Rig:
        self.fleet = Fleet(self.proxies, self.servers, self.dialect, self.now_ms)
        self.below = {
            (index, which): Below(check, server)
            for index, server in enumerate(self.servers)
            for which, check in ((HEALTH, server.health), (AGENT, server.agent))
            if check is not None
        }
        return self

    # --- servers that come and go ---------------------------------------------------------------------

    def add(
        self,
        name: str,
        *,
        check: bool = True,
        agent: bool = False,
        track: str = "",
        weight: int = 1,
        backup: bool = False,
    ) -> None:
        """`add server` to the first proxy: in maintenance, its checks configured and not enabled."""
        server = self._made(
            name,
            weight=weight,
            op=Op.STOPPED,
            proxy=0,
            sid=growth.free_id(self.fleet, 0, 0),
            admin=Admin.FMAINT,
            backup=backup,
            health=health_check() if check and not track else None,
            agent=agent_check() if agent else None,
            dynamic=True,
            held_weight=1,
            idle_health=0,
        )
        checks = [
            (which, check) for which, check in ((HEALTH, server.health), (AGENT, server.agent)) if check is not None
        ]
        for _, check_state in checks:
            check_state.enabled = False
        tracks = growth.find_tracked(self.fleet, 0, track) if track else -1
        self.index[name] = index = growth.add_server(self.fleet, 0, server, tracks)
        for which, check_state in checks:
            below = self.below[index, which] = Below(check_state, server)
            below.weight = self.fleet.effective_weight(index)

    def remove(self, name: str) -> None:
        """`del server`. Raises: Refused."""
        growth.remove_server(self.fleet, self.index[name])
        del self.index[name]

    # --- what happens ---------------------------------------------------------------------------------

    def check(
        self, name: str, status: Status = Status.L7OK, code: int = 200, text: bytes = b"", *, late: bool = False
    ) -> Effects:
        """One health check ends so; 404 is conditionally passed where it may be. late: it began before it was stopped."""
        self._run(self.index[name], HEALTH, status, code, text, late=late)
        return self.last

    def agent(self, name: str, line: str) -> Effects:
        """The agent says this line; words of spec §4.2, `-` for no answer."""
        status, text = Status.CHECKED, b""
        more: dict[str, object] = {}
        words, _, why = line.partition("#")
        for word in words.split():
            if word in ADMIN_WORDS:
                more["admin"] = ADMIN_WORDS[word]
            elif word.endswith("%"):
                more |= {"weight_kind": WeightKind.RELATIVE, "weight": int(word[:-1])}
            elif word.startswith("maxconn:"):
                more["maxconn"] = int(word[8:])
            elif word == "-":
                status = Status.L4CON
            else:
                status = Status.L7OK if word == "up" else Status.L7STS
                text = f"via agent : {word}".encode() + (f" ({why.strip()})".encode() if why else b"")
        self._run(self.index[name], AGENT, status, 0, text, **more)
        return self.last

    def cli(self, command: str) -> Effects:
        """One line of the runtime API; the reply is kept as the socket of 2.6 gives it."""
        self.last = Effects()
        try:
            self._take(self._command(*command.split(maxsplit=4)))
            self.replies.append("\n")
        except commands.Refused as refusal:
            self.replies.append(refusal.text + ("\n" if refusal.short else "\n\n"))
        return self.last

    def pass_time(self, ms: int) -> None:
        """Time goes by; slowstarts are seen to every second."""
        for _ in range(ms // 1000):
            self.now_ms += 1000
            for index in sorted(self.fleet.starting):
                self._take(self.fleet.warm(index, self.now_ms))
        self.now_ms += ms % 1000

    # --- what is seen ---------------------------------------------------------------------------------

    def status(self, name: str) -> str:
        return status_word(self.fleet, self.index[name])

    def drain(self) -> list[str]:
        """The lines written since, as `recorded.jsonl` has them."""
        lines, self.log = self.log, []
        return lines

    def verify(self) -> None:
        """Counts equal a recount, C knows what it must, and no state contradicts another."""
        fleet = self.fleet
        for number, proxy in enumerate(self.proxies):
            own = [i for i in proxy.own if fleet.usable(i)]
            actives = [i for i in own if not self.servers[i].backup]
            backups = [i for i in own if self.servers[i].backup]
            assert (proxy.active, proxy.backup_active) == (len(actives), len(backups))
            assert proxy.active_weight == sum(map(fleet.effective_weight, actives))
            assert proxy.backup_weight == sum(map(fleet.effective_weight, backups))
            counted = actives or (backups if proxy.allbackups else backups[:1])
            assert fleet.total_weight(number) == sum(map(fleet.effective_weight, counted))
        for index, server in enumerate(self.servers):
            if server.gone:
                continue
            assert not server.admin & MAINT or server.op is Op.STOPPED
            assert (index in fleet.starting) == (server.op is Op.STARTING)
            assert server.warmth == 16 or server.op is Op.STARTING
            if server.tracks >= 0:
                tracked = self.servers[server.tracks]
                assert bool(server.admin & Admin.IMAINT) == bool(tracked.admin & MAINT)
                assert bool(server.admin & Admin.IDRAIN) == bool(tracked.admin & DRAIN)
            for which, check in ((HEALTH, server.health), (AGENT, server.agent)):
                if check is None:
                    continue
                below = self.below[index, which]
                assert 0 <= check.health <= check.full
                assert (below.health, below.paused) == (check.health, check.paused)
                assert (below.enabled, below.epoch) == (check.enabled, check.epoch)
                assert not check.paused or which == HEALTH
                if which == HEALTH:
                    assert below.stopped == (server.op is Op.STOPPED)
                    assert below.state_text == state_text(server)
                    assert below.weight == fleet.effective_weight(index)
            assert status_word(fleet, index)

    # --- below ----------------------------------------------------------------------------------------

    def _run(
        self, index: int, which: int, status: Status, code: int, text: bytes, *, late: bool = False, **more: object
    ) -> None:
        self.last = Effects()
        below = self.below.get((index, which))
        if below is None or ((not below.enabled or below.paused) and not late):
            return
        if status is Status.L7OKC and below.stopped:
            status = Status.L7STS
        verdict = VERDICTS.get(status, Verdict.FAILED)
        before = below.health
        if which == HEALTH or verdict is not Verdict.FAILED or status is Status.L7STS:
            below.health = count(below.health, below.rise, below.fall, verdict)
        moved, differs = below.health != before, status is not below.status
        words = (text, *more.values())
        told = moved or differs or below.touched or (which == AGENT and words != below.words)
        touched, below.touched, below.words = below.touched, False, words
        below.status, below.verdict = status, verdict
        if not told:
            return
        result = CheckResult(
            epoch=below.epoch,
            status=status,
            verdict=verdict,
            code=code,
            health=below.health,
            duration_ms=0,
            text=text,
            status_changed=differs,
            counter_moved=moved and which == HEALTH,
            touched=touched,
            **more,  # type: ignore[arg-type]
        )
        self._take(self.fleet.result(index, which, result, self.now_ms))

    def _take(self, effects: Effects) -> None:
        self.last = effects
        for line in effects.lines:
            told = re.sub(r"duration: \d+ms", "duration: #ms", line.text)
            self.log.append(f"<{16 * 8 + line.level}> check {told}")
        self.changed += [self.servers[index].name for index in effects.changed]
        for order in effects.orders:
            below, change = self.below[order.server, order.which], order.change
            below.epoch = change.epoch or below.epoch
            below.touched |= change.touched
            for field in ("health", "paused", "enabled", "stopped", "state_text", "weight"):
                if (value := getattr(change, field)) is not None:
                    setattr(below, field, value)

    def _command(self, verb: str, what: str, target: str = "", sub: str = "", word: str = "") -> Effects:
        index = self.index[target.rpartition("/")[2]]
        if what == "weight":
            sub, word = what, sub
        elif verb in ("enable", "disable") and what == "server":
            sub, word = "state", {"enable": "ready", "disable": "maint"}[verb]
        elif verb in ("enable", "disable"):
            switch = {"enable": commands.enable_check, "disable": commands.disable_check}[verb]
            return switch(self.fleet, index, {"health": HEALTH, "agent": AGENT}[what], self.now_ms)
        act: dict[str, Callable[[Fleet, int, str, int], Effects]] = {
            "state": commands.set_state,
            "health": commands.set_health,
            "agent": commands.set_agent,
            "weight": commands.set_weight,
        }
        return act[sub](self.fleet, index, word, self.now_ms)
