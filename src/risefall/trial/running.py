"""One program on trial: backends are played, it checks them, they are broken and repaired, and both sides are watched.

Each server goes round by itself: sound for a while, broken, until every checker has said DOWN (or had time to), broken a
little longer, sound again, until every checker has said UP. How long, and how it is broken, comes from a generator that
is seeded by the server's place: two programs on trial get the same failures. The waits are uniform over a check's
interval, so that the phase of a failure is; the sound ones last for more than one interval, so that lateness can be seen.
"""

from __future__ import annotations

import random
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from risefall.config.haproxy.plan import Loaded
from risefall.engine.play import Door, Listener, Note, Player, Seen, When
from risefall.errors import StartError
from risefall.trial.checkers import Checker, Reading, Told, version_of
from risefall.trial.measures import Backend, Finding, Result
from risefall.trial.rewriting import AGENT, HOST, Played, Stage, Writer
from risefall.trial.sound import AGENT_DOWN, Fault, Stance, broken, sound, visible

NOTES_EVERY_S = 0.25
LOAD_STEP_S = 0.25
GRACE_S = 2.0
START_S = 60.0
BUSIEST_NS = 100_000_000
SPANS_KEPT = 8
"""Of each server; notes are at most NOTES_EVERY_S old when they are looked at."""


class Plan(msgspec.Struct, frozen=True):
    """How a trial is run. latency_us: quantiles of the time that a sound answer takes; empty for at once."""

    span_s: float
    faults: tuple[Fault, ...]
    balancers: int = 1
    seed: int = 1
    latency_us: tuple[int, ...] = ()
    dialect: str = "3"


SOUND_INTERVALS = (1.5, 2.5)
"""How long a server is sound before it is broken, of its `inter`."""


def detect_limit_s(played: Played, fault: Fault | None = None) -> float:
    """As long as the configuration can need, and a little: each of `fall` checks may last its timeouts."""
    planned = played.planned
    if fault is Fault.AGENT or played.acts is None:
        return planned.agent_inter_ms / 1000 + GRACE_S
    pace = max(planned.inter_ms, planned.fastinter_ms or 0)
    longest = (planned.timeout_connect_ms or 0) + max(played.timeout_ms, planned.inter_ms)
    return (planned.inter_ms + planned.fall * (pace + longest)) / 1000 + GRACE_S


def pace_s(played: Played) -> float:
    """The interval of what is broken of it: its health check, else its agent."""
    return (played.planned.inter_ms if played.acts is not None else played.planned.agent_inter_ms) / 1000


def failure_s(stage: Stage) -> float:
    """How long a trial must last for one failure of each server to be found."""
    return max(SOUND_INTERVALS[1] * pace_s(one) + detect_limit_s(one) for one in stage.played)


class Server:
    """A played server while it runs: what the checkers say of it, and since when it is steady."""

    def __init__(self, played: Played, health: Listener, agent: Listener | None, balancers: int) -> None:
        self.played, self.health, self.agent = played, health, agent
        self.up = [True] * balancers
        self.down_ns: list[int | None] = [None] * balancers
        self.up_ns: list[int | None] = [None] * balancers
        self.news = trio.Event()
        self.steady: list[tuple[int, int | None]] = []
        """Spans in which it was sound and said to be UP: only checks within one are compared with `inter`."""
        self.broken = False
        self.door = Door.OPEN
        self.ended: Note | None = None
        self.recent: deque[int] = deque()
        self.busiest = 0
        """Most connections within 100 ms."""

    def tell(self, told: Told) -> bool:
        """Takes a checker's word. True: DOWN although nothing was broken."""
        self.up[told.checker] = told.up
        if told.up:
            self.up_ns[told.checker] = told.at_ns
        else:
            self.down_ns[told.checker] = told.at_ns
        self.news.set()
        self.news = trio.Event()
        return not told.up and not self.broken

    def steady_from(self, at_ns: int) -> None:
        self.steady = [*self.steady[-SPANS_KEPT:], (at_ns, None)]

    def steady_until(self, at_ns: int) -> None:
        if self.steady and self.steady[-1][1] is None:
            self.steady[-1] = (self.steady[-1][0], at_ns)

    def is_steady(self, from_ns: int, to_ns: int) -> bool:
        return any(begin <= from_ns and (end is None or to_ns <= end) for begin, end in self.steady)

    async def all_say(self, up: bool) -> None:
        while any(one is not up for one in self.up):
            await self.news.wait()

    def detect_limit_s(self, fault: Fault) -> float:
        return detect_limit_s(self.played, fault)

    def recover_limit_s(self) -> float:
        planned = self.played.planned
        pace = max(planned.inter_ms, planned.fastinter_ms or 0, planned.downinter_ms or 0, planned.agent_inter_ms)
        longest = (planned.timeout_connect_ms or 0) + max(self.played.timeout_ms, planned.inter_ms)
        return (longest + (planned.rise + 1) * pace) / 1000 + GRACE_S


class Watch:
    """What the notes of the player come to, one after another, so that a long run keeps numbers only.

    late_s: from when the next check was due (the end of the one before and `inter`) until it was accepted; took_s: from
    accept to the end of a connection; both of steady servers only. load: connections in each LOAD_STEP_S.
    """

    def __init__(self) -> None:
        self.begin_ns = 0
        self.late_s, self.took_s = array("d"), array("d")
        self.load: list[int] = []

    def take(self, server: Server, note: Note) -> None:
        if note.seen is Seen.TURNED:
            server.ended = None
        elif note.seen is Seen.ENDED:
            server.ended = note
            if server.is_steady(note.at_ns - note.took_ns, note.at_ns):
                self.took_s.append(note.took_ns / 1e9)
        elif note.seen is Seen.ACCEPTED and note.at_ns >= self.begin_ns:
            self._accepted(server, note.at_ns)

    def _accepted(self, server: Server, at_ns: int) -> None:
        step = int((at_ns - self.begin_ns) / 1e9 / LOAD_STEP_S)
        self.load += [0] * (step + 1 - len(self.load))
        self.load[step] += 1
        server.recent.append(at_ns)
        while at_ns - server.recent[0] > BUSIEST_NS:
            server.recent.popleft()
        server.busiest = max(server.busiest, len(server.recent))
        ended, server.ended = server.ended, None
        if ended is not None and server.is_steady(ended.at_ns - ended.took_ns, at_ns):
            self.late_s.append((at_ns - ended.at_ns) / 1e9 - server.played.planned.inter_ms / 1000)


class Trial:
    """One run of one program. `run`, then `result`; both also after an interruption."""

    def __init__(self, program: str, loaded: Loaded, stage: Stage, plan: Plan, player: Player, folder: Path) -> None:
        self.program, self._loaded, self._stage, self._plan = program, loaded, stage, plan
        self._player, self._folder = player, folder
        self._version = version_of(program)
        self.servers = [self._listen(one) for one in stage.played]
        self._by_name = {one.played.full_name: one for one in self.servers}
        self.findings: list[Finding] = []
        self.false_downs = 0
        self._by_listener = {int(one.health): one for one in self.servers}
        self._watch = Watch()
        self._lost = 0
        self._checkers: list[Checker] = []
        self.begin_ns = self.end_ns = 0
        self._spent: list[tuple[float, float]] = []
        self._memory = 0
        self._tallies: list[tuple[tuple[int, int], tuple[int, int]]] = []
        self._before: list[tuple[int, int]] = []
        self._before_checks: list[int] = []
        self.finished = False

    def _listen(self, one: Played) -> Server:
        health, _ = self._player.listen(HOST, 0)
        agent = self._player.listen(HOST, 0, *AGENT)[0] if one.planned.agent else None
        server = Server(one, health, agent, self._plan.balancers)
        self._take(server, sound(one.acts or ()))
        return server

    def ports(self) -> list[tuple[int, int]]:
        return [
            (self._player.port(one.health), self._player.port(one.agent) if one.agent is not None else 0)
            for one in self.servers
        ]

    def config_text(self, door: str = "") -> str:
        return Writer(self._loaded, self._stage, self.ports()).text(door)

    def _take(self, server: Server, stance: Stance) -> int:
        """A server behaves so from now on. Returns: when, monotonic ns."""
        player, listener = self._player, server.health
        before_ns = time.monotonic_ns()
        if stance.acts:
            player.script(listener, *stance.acts)
        player.capacity(listener, stance.service_us, drop_pct=100 if stance.service_us else 0)
        usual = any(act.when is not When.NEVER for act in stance.acts)
        player.latency(listener, self._plan.latency_us if usual else (), seed=self._plan.seed)
        door = Door.OPEN if stance.door_open else Door.DEAF if stance.deaf else Door.REFUSE
        if door is not server.door:  # to open an open door would refuse whoever knocks meanwhile
            player.door(listener, door)
            server.door = door
        return (before_ns + time.monotonic_ns()) // 2

    # --- running ------------------------------------------------------------------------------------------

    async def run(self, progress: Callable[[float, int], None]) -> None:
        """Runs for the span. progress: seconds done, failures injected. Raises: StartError when a program will not run."""
        self._player.notes()
        async with trio.open_nursery() as nursery:
            for number in range(self._plan.balancers):
                config = self._folder / f"{self.program}-{number}.cfg"
                door = str(self._folder / f"{number}.sock") if self.program == "haproxy" else ""
                config.write_text(self.config_text(door), "utf-8", "surrogateescape")
                checker = Checker(self.program, number, config, self._plan.dialect, self._hear)
                await nursery.start(checker.run)
                self._checkers.append(checker)
            nursery.start_soon(self._gather)
            with trio.move_on_after(START_S) as starting:
                await self._all_checked()
            if starting.cancelled_caught:
                raise StartError(f"{self.program}: not every server was checked within {START_S:g} s")
            self._begin()
            try:
                async with trio.open_nursery() as faulty:
                    for place, server in enumerate(self.servers):
                        faulty.start_soon(self._go_round, place, server)
                    await self._wait_span(progress)
                    faulty.cancel_scope.cancel()
                self.finished = True
            finally:
                self._end()
            nursery.cancel_scope.cancel()

    async def _wait_span(self, progress: Callable[[float, int], None]) -> None:
        started = trio.current_time()
        while (gone := trio.current_time() - started) < self._plan.span_s:
            progress(gone, len(self.findings))
            await trio.sleep(min(0.2, self._plan.span_s - gone))
        progress(self._plan.span_s, len(self.findings))

    async def _all_checked(self) -> None:
        """Until every server was looked at by every program; those that only connect are not seen, and get their interval."""
        wanted = [one for one in self.servers if one.played.acts]
        blind = [one.played.planned.inter_ms for one in self.servers if one.played.acts == ()]
        agents = [one for one in self.servers if one.agent is not None]
        while any(self._player.counts(one.health).accepts < self._plan.balancers for one in wanted) or any(
            one.agent is not None and self._player.counts(one.agent).accepts < self._plan.balancers for one in agents
        ):
            await trio.sleep(0.02)
        if blind:
            await trio.sleep(min(START_S - 1, max(blind) / 1000 + 1.0))

    def _hear(self, told: Told) -> None:
        server = self._by_name.get(told.server)
        if server is not None and server.tell(told) and self.begin_ns:
            self.false_downs += 1

    async def _gather(self) -> None:
        """Fetches the player's notes before its ring is full."""
        while True:
            await trio.sleep(NOTES_EVERY_S)
            self._fetch()

    def _fetch(self) -> None:
        notes, self._lost = self._player.notes()
        for note in notes:
            server = self._by_listener.get(note.listener)
            if server is not None and self.begin_ns:
                self._watch.take(server, note)

    def _begin(self) -> None:
        self._fetch()
        self._before = [self._counts(one) for one in self.servers]
        self._before_checks = [len(one.readings) for one in self._checkers]
        self._spent = [(one.spent().cpu_s, 0.0) for one in self._checkers]
        self.begin_ns = time.monotonic_ns()
        self._watch.begin_ns = self.begin_ns
        for server in self.servers:
            server.steady_from(self.begin_ns)

    def _counts(self, server: Server) -> tuple[int, int]:
        """Connections and bytes of a server so far, its agent's with them."""
        ports = [server.health, *([server.agent] if server.agent is not None else [])]
        tallies = [self._player.counts(one) for one in ports]
        return sum(one.accepts for one in tallies), sum(one.bytes_in + one.bytes_out for one in tallies)

    def _end(self) -> None:
        self.end_ns = time.monotonic_ns()
        spent = [one.spent() for one in self._checkers]
        self._spent = [(before, after.cpu_s) for (before, _), after in zip(self._spent, spent, strict=True)]
        self._memory = sum(one.memory_bytes for one in spent) // max(1, len(spent))
        self._tallies = [(before, self._counts(one)) for before, one in zip(self._before, self.servers, strict=True)]
        self._fetch()

    async def _go_round(self, place: int, server: Server) -> None:
        """Breaks and repairs one server until cancelled."""
        dice = random.Random(f"{self._plan.seed}/{place}")
        played = server.played
        usable = [
            fault for fault in visible(played.acts or (), played.planned.agent)
            if fault in self._plan.faults and (fault is Fault.AGENT or played.acts is not None)
        ]  # fmt: skip
        if not usable:
            return
        turns: list[Fault] = []
        inter_s = pace_s(played)
        while True:
            if not turns:
                turns = dice.sample(usable, len(usable))
            sound_s, longer_s = dice.uniform(*SOUND_INTERVALS) * inter_s, dice.uniform(0.0, inter_s)
            await trio.sleep(sound_s)
            await self._break(server, turns.pop(), longer_s)

    async def _break(self, server: Server, fault: Fault, longer_s: float) -> None:
        played, player = server.played, self._player
        server.down_ns, server.up_ns = [None] * self._plan.balancers, [None] * self._plan.balancers
        server.broken = True
        server.steady_until(time.monotonic_ns())
        if fault is Fault.AGENT:
            assert server.agent is not None
            broken_ns = time.monotonic_ns()
            player.script(server.agent, msgspec.structs.replace(AGENT[0], reply=AGENT_DOWN))
        else:
            broken_ns = self._take(server, broken(fault, played.acts or (), played.timeout_ms))
        repaired_ns: int | None = None
        gave_up = False
        try:
            with trio.move_on_after(server.detect_limit_s(fault)) as limit:
                await server.all_say(up=False)
            gave_up = limit.cancelled_caught
            await trio.sleep(longer_s)
            if server.agent is not None:
                player.script(server.agent, *AGENT)
            repaired_ns = self._take(server, sound(played.acts or ()))
            with trio.move_on_after(server.recover_limit_s()):
                await server.all_say(up=True)
            server.broken = False
            if all(server.up):
                server.steady_from(time.monotonic_ns())
        finally:
            done = tuple(server.up_ns) if repaired_ns is not None else (None,) * self._plan.balancers
            late = tuple(
                at if at is not None and repaired_ns is not None and at >= repaired_ns else None for at in done
            )
            down, all_down = tuple(server.down_ns), all(at is not None for at in server.down_ns)
            if all_down or gave_up or any(at is not None for at in down):
                self.findings.append(Finding(played.full_name, fault, broken_ns, repaired_ns, down, late, gave_up))

    # --- figures ------------------------------------------------------------------------------------------

    def result(self) -> Result:
        """What was measured; of as much as there was."""
        span_s = max((self.end_ns - self.begin_ns) / 1e9, 1e-9)
        connections = [after[0] - before[0] for before, after in self._tallies]
        seen = sum(connections)
        inside = [
            reading for one, n in zip(self._checkers, self._before_checks, strict=True) for reading in one.readings[n:]
        ]
        checks = seen or sum(one.checks for one in inside)
        cpu_s = sum(after - before for before, after in self._spent)
        blurred = self._plan.balancers > 1 or self._loaded.config.global_.spread_checks_pct
        return Result(
            program=self._version,
            balancers=self._plan.balancers,
            span_s=span_s,
            findings=tuple(self.findings),
            checks=checks,
            cpu_us_per_check=cpu_s / checks * 1e6 if checks else None,
            memory_bytes=self._memory,
            late_s=None if blurred else tuple(self._watch.late_s),
            took_s=tuple(self._watch.took_s),
            load_step_s=LOAD_STEP_S,
            load=tuple(self._watch.load[: max(1, int(span_s / LOAD_STEP_S))]),
            backends=tuple(self._backends(connections, span_s)),
            late_inside_us=inside_figures(inside),
            false_downs=self.false_downs,
            notes_lost=self._lost,
            cut_short=not self.finished,
        )

    def _backends(self, connections: Sequence[int], span_s: float) -> list[Backend]:
        rows: Mapping[str, list[int]] = defaultdict(list)
        for place, server in enumerate(self.servers):
            rows[server.played.backend].append(place)
        out = []
        for name, places in rows.items() if self._tallies else ():
            moved = [after[1] - before[1] for before, after in (self._tallies[place] for place in places)]
            counts = [connections[place] for place in places]
            if all(self.servers[place].played.acts == () for place in places):
                out.append(Backend(name, len(places), None, None, None, None))
                continue
            busiest = max(self.servers[place].busiest for place in places)
            each = len(places) * span_s
            out.append(Backend(name, len(places), sum(counts) / each, max(counts) / span_s, sum(moved) / each, busiest))
        return out


def inside_figures(readings: Sequence[Reading]) -> tuple[int, int, int] | None:
    """p50 (median of the seconds), p99 (of the worst second) and worst lateness that risefall tells of itself."""
    told = [one for one in readings if one.checks]
    if not told:
        return None
    middle = sorted(one.late_p50_us for one in told)[len(told) // 2]
    return middle, max(one.late_p99_us for one in told), max(one.late_max_us for one in told)
