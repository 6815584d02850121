"""The runner in virtual time, with processes that are played: what is started and killed when, and how many at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from vrrp_kit import VECTORS

from risefall.engine.spawning import Child, Program
from risefall.evaluator.runner import Job, Runner
from risefall.vrrp.scripts import ScriptSettings
from risefall.vrrp.settings import US_PER_S, Imitated


class Played:
    """Processes that end when their script says: after so long, with a status, or by a signal."""

    def __init__(self, lives: Callable[[str, int], tuple[float, int]], most: int = 1000) -> None:
        """lives: of the name and the number of a run: how long it lives, and how it ends."""
        self.most = most
        self.lives = lives
        self.began: list[tuple[float, str]] = []
        self.signals: list[tuple[float, str, int]] = []
        self.deaf: set[str] = set()
        self.most_seen = 0
        self._running: dict[Child, tuple[str, float, int]] = {}
        self._runs: dict[str, int] = {}
        self._news = trio.Event()

    @property
    def room(self) -> bool:
        return len(self._running) < self.most

    def start(self, program: Program, *, group: bool = True) -> Child:
        name = program.path.decode()
        self._runs[name] = self._runs.get(name, 0) + 1
        child = Child(1000 + len(self.began), -1, 0, alone=False)
        self.began.append((trio.current_time(), name))
        life_s, status = self.lives(name, self._runs[name])
        self._running[child] = (name, trio.current_time() + life_s, status)
        self.most_seen = max(self.most_seen, len(self._running))
        self._news.set()
        return child

    def signal(self, child: Child, number: int) -> bool:
        if child not in self._running:
            return False
        name = self._running[child][0]
        self.signals.append((trio.current_time(), name, number))
        if number == 9 or name not in self.deaf:
            self._running[child] = (name, trio.current_time(), -number)
        return True

    def ended(self) -> list[tuple[Child, int]]:
        now = trio.current_time()
        over = [(child, status) for child, (_, at, status) in self._running.items() if at <= now]
        for child, _ in over:
            del self._running[child]
        return over

    async def wait(self) -> None:
        while True:
            ends = min((at for _, at, _ in self._running.values()), default=float("inf"))
            if ends <= trio.current_time():
                return
            self._news = trio.Event()
            with trio.move_on_at(ends):
                await self._news.wait()


class Heard:
    """What the runner tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.turns: list[tuple[float, str, bool]] = []
        self.runs: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def turned(self, name: str, up: bool) -> None:
        self.turns.append((round(trio.current_time(), 3), name, up))

    def ran(self, name: str) -> None:
        self.runs.append(name)


def job(name: str, **settings: Any) -> Job:
    words = {key: int(value * US_PER_S) if key.endswith("_us") else value for key, value in settings.items()}
    return Job(ScriptSettings(name=name, **words), Program(name.encode(), [name.encode()], []))


@asynccontextmanager
async def running(jobs: list[Job], played: Played) -> Any:
    heard = Heard()
    runner = Runner(jobs, played, heard)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        yield runner, heard
        nursery.cancel_scope.cancel()


def in_virtual_time(test: Callable[[], Any]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(("rise", "fall", "results", "events", "last"), VECTORS)
def test_vectors_in_time(rise: int, fall: int, results: str, events: str, last: int) -> None:
    """Every row of spec §1.10: the turn comes with the run that the row names, a tenth after its start."""

    async def test() -> None:
        played = Played(lambda name, run: (0.1, int(results[min(run, len(results)) - 1] == "f")))
        async with running([job("chk", rise=rise, fall=fall)], played) as (runner, heard):
            await trio.sleep(len(results) - 0.5)
        told = " ".join(f"{'UP' if up else 'DOWN'}@{int(at) + 1}" for at, _, up in heard.turns)
        assert told == events
        assert runner.jobs["chk"].script.result == last
        assert [at for at, _ in played.began] == pytest.approx([*range(len(results))], abs=1e-4)

    in_virtual_time(test)


def test_a_run_that_hangs_is_ended_and_counts_then() -> None:
    async def test() -> None:
        played = Played(lambda name, run: (100.0, 0))
        async with running([job("chk", interval_us=10, timeout_us=3)], played) as (_, heard):
            await trio.sleep(9)
        assert [(round(at), number) for at, _, number in played.signals][:1] == [(3, 15)]
        assert heard.turns == [(3.0, "chk", False)]
        assert heard.lines == ["VRRP_Script(chk) timed_out"]

    in_virtual_time(test)


def test_one_that_ignores_sigterm_is_killed_two_seconds_later() -> None:
    async def test() -> None:
        played = Played(lambda name, run: (100.0, 0))
        played.deaf.add("chk")
        async with running([job("chk", interval_us=10, timeout_us=3)], played) as (_, heard):
            await trio.sleep(9)
        assert [(round(at), number) for at, _, number in played.signals][:2] == [(3, 15), (5, 9)]
        assert heard.turns == [(5.0, "chk", False)]

    in_virtual_time(test)


def test_head_skips_a_tick_and_2_2_7_does_not() -> None:
    async def test() -> None:
        # In 2.2.7 the end of any run makes the script idle, so only the first two ticks say so.
        for imitated, starts, said in ((Imitated.HEAD, [0, 3, 6], 5), (Imitated.V2_2_7, [*range(8)], 2)):
            played = Played(lambda name, run: (2.5, 0))
            began = trio.current_time()
            async with running([job("chk", timeout_us=60, imitated=imitated)], played) as (_, heard):
                await trio.sleep(7.5)
            assert [round(at - began) for at, _ in played.began] == starts
            assert heard.lines.count("Track script chk is already running, expect idle - skipping run") == said

    in_virtual_time(test)


def test_never_more_at_once_than_may_and_nobody_starves() -> None:
    """40 scripts that take half a second, five at a time: four seconds for all of them, in turn, again and again."""

    async def test() -> None:
        played = Played(lambda name, run: (0.5, 0), most=5)
        jobs = [job(f"s{number}") for number in range(40)]
        async with running(jobs, played) as (runner, heard):
            await trio.sleep(12.2)
        assert played.most_seen == 5
        counts = [one.runs for one in jobs]
        assert (min(counts), max(counts)) == (3, 3)
        assert runner.statistics()["running"] == 5
        assert not [line for line in heard.lines if "running" in line]

    in_virtual_time(test)


def test_a_ladder_goes_on_where_there_is_no_room() -> None:
    async def test() -> None:
        played = Played(lambda name, run: (100.0 if name == "hangs" else 0.1, 0), most=1)
        async with running([job("hangs", interval_us=50, timeout_us=2), job("waits")], played) as (_, heard):
            await trio.sleep(2.5)
        assert heard.turns == [(2.0, "hangs", False), (2.1, "waits", True)]

    in_virtual_time(test)
