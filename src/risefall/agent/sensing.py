"""Reads the signals of all services at their pace, off the answering path, and keeps the desk's answers fresh.

Each signal has one thread at most. One that hangs (a dead NFS server) keeps its thread, is told as a failure at every
further due time, and holds up nobody else; when it comes back its number is dropped, since nobody knows its age.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import trio

from risefall.agent.desk import Desk
from risefall.agent.machine import Machine
from risefall.agent.reading import Reading
from risefall.agent.settings import AnySignal, Check
from risefall.agent.signals import Reader, make_reader, take

CheckOnce = Callable[[Check], Awaitable[tuple[bool, str]]]
"""One check of a target by the engine: whether it passed, and what it said. Raises RisefallError if it cannot be done."""
Step = Callable[[int, int, int, bool], int]
"""The engine's counter: health, rise, fall, passed -> health; good while health >= rise."""


class Engine:
    """What the agent needs of the engine, given from outside: this room imports neither."""

    def __init__(self, check: CheckOnce, step: Step) -> None:
        self.check = check
        self.step = step


class Sensor:
    """One signal: how it is read next."""

    def __init__(
        self, signal: AnySignal, machine: Machine, engine: Engine | None, before: Sensor | None = None
    ) -> None:
        """before: of the same signal, up to now: what it has counted counts on."""
        self.signal = signal
        self._engine = engine
        self._reader: Reader | None = None if isinstance(signal, Check) else make_reader(signal, machine)
        self._limiter = trio.CapacityLimiter(1)
        self._health: int = (
            signal.rise if isinstance(signal, Check) else 0
        )  # as HAProxy starts: UP, and one failure ends that
        if before is not None:
            self._health = before._health

    async def read(self) -> Reading:
        """One reading, within the signal's time."""
        at_ns = time.monotonic_ns()
        late = Reading(at_ns, None, f"took longer than {self.signal.timeout_ms} ms")
        if self._limiter.available_tokens == 0:
            await trio.lowlevel.checkpoint()
            return Reading(at_ns, None, "the reading before has not come back")
        with trio.move_on_after(self.signal.timeout_ms / 1000) as scope:
            if isinstance(self.signal, Check):
                reading = await self._check(self.signal, at_ns)
            else:
                assert self._reader is not None
                reading = await trio.to_thread.run_sync(
                    partial(take, self._reader, time.monotonic_ns), abandon_on_cancel=True, limiter=self._limiter
                )
        if not scope.cancelled_caught:
            return reading
        return self._count(self.signal, False, late.failure, at_ns) if isinstance(self.signal, Check) else late

    async def _check(self, signal: Check, at_ns: int) -> Reading:
        """One check, counted by rise and fall."""
        if self._engine is None:
            await trio.lowlevel.checkpoint()
            return Reading(at_ns, None, "there is no engine to check with")
        try:
            passed, text = await self._engine.check(signal)
        except Exception as error:  # whatever a check may raise, the other signals go on
            return Reading(at_ns, None, str(error) or repr(error))
        return self._count(signal, passed, text, at_ns)

    def _count(self, signal: Check, passed: bool, text: str, at_ns: int) -> Reading:
        if self._engine is None:
            return Reading(at_ns, None, text)
        self._health = self._engine.step(self._health, signal.rise, signal.fall, passed)
        return Reading(at_ns, float(self._health >= signal.rise), "", text)


async def follow(desk: Desk, service: str, sensor: Sensor, refresh: Callable[[str], None]) -> None:
    """Reads one signal for ever, and has its service's answer decided anew. Due times do not drift; those that passed meanwhile are left out."""
    every = sensor.signal.every_ms / 1000
    due = trio.current_time()
    while True:
        desk.put(service, sensor.signal.name, await sensor.read())
        refresh(service)
        due += every * max(1, -(-(trio.current_time() - due) // every))
        await trio.sleep_until(due)


async def look_once(desk: Desk, sensors: dict[str, list[Sensor]]) -> None:
    """Reads every signal once."""

    async def one(service: str, sensor: Sensor) -> None:
        desk.put(service, sensor.signal.name, await sensor.read())

    async with trio.open_nursery() as nursery:
        for service, several in sensors.items():
            for sensor in several:
                nursery.start_soon(one, service, sensor)
    for service in sensors:
        desk.refresh(service, time.monotonic_ns())


def make_sensors(
    desk: Desk, machine: Machine, engine: Engine | None, before: Mapping[str, Sequence[Sensor]] | None = None
) -> dict[str, list[Sensor]]:
    """The sensors of each service. before: those of other settings; the same signals go on with what they have counted."""

    def made(name: str, signal: AnySignal) -> Sensor:
        old = next((sensor for sensor in (before or {}).get(name, ()) if sensor.signal == signal), None)
        return Sensor(signal, machine, engine, old)

    return {name: [made(name, signal) for signal in service.signal] for name, service in desk.settings.service.items()}
