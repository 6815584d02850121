"""The virtual servers of one configuration, checked: pools and machines, what they say and call, and how they stand.

Source: spec/keepalived-track.md §11; the order of the first lines as 2.2.7 writes them.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Mapping

import msgspec
import trio

from risefall.checkers.attempts import Attempts, tls_context
from risefall.checkers.pace import MACHINES, US_PER_MS, Misc, Paced
from risefall.checkers.plan import BOOTSTRAP_MS, PlannedChecker, plan
from risefall.checkers.pool import Pool, Server, real_weight
from risefall.checkers.running import Prepared, Programs, Runner, is_local, maker
from risefall.checkers.words import Line, Out
from risefall.config.keepalived.model import Checker, Command, Config
from risefall.engine.spawning import CHILDREN_MAX, Children
from risefall.evaluator.commands import Dropped, Ready, prepared
from risefall.evaluator.runner import monotonic_us
from risefall.vrrp.notify import Call

LOOK_S = 1.0
"""How often addresses are looked for, with ha_suspend; keepalived hears of each."""
VIOLATION = "SECURITY VIOLATION - check scripts are being executed but script_security not enabled."
INSECURE = " There are insecure scripts."


class CheckerView(msgspec.Struct, frozen=True):
    """One checker. state: UP, DOWN, INIT before its first result, `not checked`. retries: how many of `retry` are used."""

    check: str
    to: str
    state: str
    runs: int
    retries: int
    retry: int
    last: str
    why_not: str


class ServerView(msgspec.Struct, frozen=True):
    """One real server. checked: whether any checker is run; else its state is only assumed. in_pool: whether it would get
    clients. weight: the effective one."""

    name: str
    state: str
    checked: bool
    weight: int
    configured_weight: int
    in_pool: bool
    inhibit: bool
    checkers: tuple[CheckerView, ...]


class PoolView(msgspec.Struct, frozen=True):
    """One virtual server. weight: of the servers that are up; it has to reach `up_at`, and is lost below `down_below`."""

    name: str
    quorum: str
    weight: int
    up_at: int
    down_below: int
    sorry_server: str
    sorry_active: bool
    servers: tuple[ServerView, ...]


def first_delay_ms(checker: Checker, rng: random.Random) -> int:
    """Until the first check."""
    return BOOTSTRAP_MS + int(checker.warmup_ms * rng.random())


def commands(config: Config) -> tuple[Command, ...]:
    """Every program that a pool may call, each once, and that of its FIFO."""
    found: dict[tuple[str, ...], Command] = {}
    for pool in config.virtual_servers:
        for command in (pool.quorum_up, pool.quorum_down):
            if command is not None:
                found.setdefault(command.argv, command)
        for server in pool.real_servers:
            for command in (server.notify_up, server.notify_down):
                if command is not None:
                    found.setdefault(command.argv, command)
    global_ = config.global_
    # One process has one program behind the FIFO of all: with instances it is theirs.
    for command in (global_.lvs_notify_fifo_script, None if config.instances else global_.notify_fifo_script):
        if command is not None:
            found.setdefault(command.argv, command)
    return tuple(found.values())


class Checkers:
    """Of one configuration. `start`, then `run` until cancelled, then `stop`; the views may be asked at any time."""

    def __init__(
        self,
        config: Config,
        env: Mapping[str, str],
        say: Callable[[str], None],
        call: Callable[[Call], None],
        *,
        once: bool = False,
        seed: int = 0,
        most: int = CHILDREN_MAX,
    ) -> None:
        """say: is told what keepalived logs; call: what it calls. once: each checker until its first result, at once.

        Raises: StartError for an SSL block that cannot be used.
        """
        self.config = config
        self._global = config.global_
        if not self._global.router_id:
            self._global = msgspec.structs.replace(config.global_, router_id=socket.gethostname())
        self._env = env
        self._say = say
        self._call = call
        self._once = once
        self._seed = seed
        self._most = most
        self.pools = [Pool(one, self._global, self._hear) for one in plan(config)]
        self.machines: dict[int, Paced] = {}
        """By the identity of the planned checker, in keepalived's order."""
        self._programs: dict[Misc, Prepared] = {}
        self._suspended: set[str] = set()
        secure = any(m.kind == "SSL_GET" for p in config.virtual_servers for s in p.real_servers for m in s.checkers)
        self._attempts = Attempts(tls_context(config.ssl)) if secure else Attempts()
        self._first = trio.Event()
        self._last: tuple[bool, list[PoolView]] | None = None

    def _hear(self, out: Out) -> None:
        if isinstance(out, Line):
            self._say(out.text)
        else:
            self._call(out.call)

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self, *, programs: int = 0, insecure: bool = False) -> None:
        """Everything up to the first check. programs: how many may be called besides; insecure: whether one of them is."""
        for pool in self.pools:
            for server in pool.servers:
                for planned in server.planned.checkers:
                    if planned.why_not:
                        what = f"{planned.config.kind} of service {server.name} of VS {pool.name}"
                        self._say(f"risefall does not run {what}: {planned.why_not}")
                    else:
                        insecure = self._machine(planned, server, pool) or insecure
        if (self._programs or programs) and not self._global.script_security:
            self._say(VIOLATION + (INSECURE if insecure else ""))
        for pool in self.pools:
            pool.start()
            if pool.config.ha_suspend and not self._is_here(pool):
                self._suspended.add(pool.name)
        rng = random.Random(self._seed or None)
        now_us = monotonic_us()
        for machine in self.machines.values():
            machine.due_us = now_us + first_delay_ms(machine.config, rng) * US_PER_MS
            verb = "Deactivating" if machine.pool.name in self._suspended else "Activating"
            self._say(f"{verb} healthchecker for service {machine.name} for VS {machine.pool.name}")

    def _machine(self, planned: PlannedChecker, server: Server, pool: Pool) -> bool:
        """Makes one, unless its program may not run; whether that is insecure."""
        ready: Ready | None = None
        if planned.config.command is not None:
            made = prepared(planned.config.command, self._global, self._env)
            for line in made.said:
                self._say(line)
            if isinstance(made, Dropped):
                if "is not executable" not in made.said[-1]:
                    insecure = made.said[-1].startswith(("Unsafe", "Wrong"))
                    why = "due to insecure" if insecure else "since not found/accessible"
                    self._say(f"Disabling misc script {quoted(planned.config.command)} {why}")
                return False
            ready = made
        machine = MACHINES[planned.config.kind](planned, server, pool, self._global, self._hear)
        self.machines[id(planned)] = machine
        if ready is not None and isinstance(machine, Misc):
            self._programs[machine] = Prepared(ready.program(self._env, self._global.umask), by_shell=ready.by_shell)
        return ready is not None and ready.insecure

    async def run(self) -> None:
        """Checks until it is cancelled; with `once` until each has a result."""
        with Children(self._most) as children:
            programs = Programs(children, self._say)
            runner = Runner(
                self.machines.values(),
                maker(self._attempts, programs, self._programs),
                once=self._once,
                enabled=lambda machine: machine.pool.name not in self._suspended,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(programs.run)
                if any(pool.config.ha_suspend for pool in self.pools):
                    nursery.start_soon(self._watch_addresses)
                nursery.start_soon(runner.run)
                await runner.first.wait()
                self._first.set()
                await trio.sleep_forever()

    async def first(self) -> None:
        """Until each checker has a result, or could not be run."""
        await self._first.wait()

    def stop(self) -> None:
        """As at the end of keepalived; the views stay those of before."""
        self._last = self.healthy, self.views()
        for pool in self.pools:
            pool.stop()

    @property
    def longest_us(self) -> int:
        """The longest that a first result may take."""
        longest_ms = 0
        for machine in self.machines.values():
            one = machine.config
            each_ms = one.timeout_ms if one.kind == "MISC_CHECK" else one.connect_timeout_ms * 5
            longest_ms = max(longest_ms, each_ms * (one.retry + 1 if one.kind == "SMTP_CHECK" else 1 + len(one.urls)))
        return longest_ms * US_PER_MS

    # --- ha_suspend ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _is_here(pool: Pool) -> bool:
        """Of a group of addresses keepalived never finds one."""
        return pool.config.address is not None and is_local(pool.config.address)

    async def _watch_addresses(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            for pool in self.pools:
                if pool.config.ha_suspend:
                    self._look(pool)

    def _look(self, pool: Pool) -> None:
        here = self._is_here(pool)
        if here is (pool.name not in self._suspended):
            return
        (self._suspended.discard if here else self._suspended.add)(pool.name)
        for machine in self.machines.values():
            if machine.pool is pool:
                verb = "Activating" if here else "Suspending"
                self._say(f"{verb} healthchecker for service {machine.name} for VS {pool.name}")

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def healthy(self) -> bool:
        """Whether every real server is up, and every quorum is there."""
        if self._last is not None:
            return self._last[0]
        return all(pool.quorum_up and all(server.alive for server in pool.servers) for pool in self.pools)

    def views(self) -> list[PoolView]:
        """How everything stands."""
        if self._last is not None:
            return self._last[1]
        return [self._pool_view(pool) for pool in self.pools]

    def _pool_view(self, pool: Pool) -> PoolView:
        config = pool.config
        return PoolView(
            name=pool.name,
            quorum="UP" if pool.quorum_up else "DOWN",
            weight=pool.weight,
            up_at=config.quorum + config.hysteresis,
            down_below=max(1, config.quorum - config.hysteresis),
            sorry_server=pool.planned.sorry,
            sorry_active=pool.sorry_alive,
            servers=tuple(self._server_view(pool, server) for server in pool.servers),
        )

    def _server_view(self, pool: Pool, server: Server) -> ServerView:
        return ServerView(
            name=server.name,
            state="UP" if server.alive else "DOWN",
            checked=any(id(one) in self.machines for one in server.planned.checkers),
            weight=real_weight(server.weight),
            configured_weight=server.config.weight,
            in_pool=pool.in_pool(server),
            inhibit=server.config.inhibit_on_failure,
            checkers=tuple(self._checker_view(one) for one in server.planned.checkers),
        )

    def _checker_view(self, planned: PlannedChecker) -> CheckerView:
        machine = self.machines.get(id(planned))
        what, retry = what_of(planned.config), planned.config.retry
        if machine is None:
            why = planned.why_not or "its program may not run"
            return CheckerView(what, planned.to, "not checked", 0, 0, retry, "", why)
        state = ("UP" if machine.up else "DOWN") if machine.has_run else "INIT"
        used = machine.retries if machine.has_run and machine.up else 0
        return CheckerView(what, planned.to, state, machine.runs, used, retry, machine.last, "")


def quoted(command: Command) -> str:
    """As keepalived shows a command."""
    return " ".join(f"'{word}'" for word in command.argv)


def what_of(checker: Checker) -> str:
    """Its kind, and what it asks."""
    if checker.urls:
        return f"{checker.kind} {' '.join(url.path for url in checker.urls)}"
    if checker.command is not None:
        return f"{checker.kind} {' '.join(checker.command.argv)}"
    if checker.tracked is not None:
        return f"{checker.kind} {checker.tracked.name}"
    return checker.kind
