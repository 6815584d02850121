"""Every target checked once, at the engine's own speed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from risefall.engine.native import Change, CheckSpec, now_ns
from risefall.engine.outside import Outside
from risefall.engine.targets import Target
from risefall.engine.workers import CheckId, Workers
from risefall.state.exchange import CheckResult
from risefall.status import Status

GRACE_S = 5.0
"""Beyond the longest time that any check may take, for checks that waited for a slot."""


QUIET_S = 1.0
"""Without an event for so long, the records are looked at."""


class Once(msgspec.Struct):
    """What one target's checks said; None where there is none, or it could not be done."""

    target: Target
    health: CheckResult | None = None
    agent: CheckResult | None = None


def longest_s(specs: Sequence[CheckSpec], slots: int) -> float:
    """When every check must have ended: each bounded by its own deadlines, in as many rounds as slots make."""
    each = max((spec.inter_ms + spec.check_ms for spec in specs), default=0) / 1000
    rounds = -(-len(specs) // max(1, slots // 2))
    return each * rounds + GRACE_S


async def check_once(targets: Sequence[Target], *, slots: int = 0, bufsize: int = 16384, groups: int = 1) -> list[Once]:
    """Runs each target's checks once; results in the order of the targets."""
    outcomes = [Once(target) for target in targets]
    wanted = []
    outside = Outside()
    for index, target in enumerate(targets):
        for which, made in enumerate((target.health, target.agent)):
            if made is not None:
                program, spec = made
                spec = msgspec.structs.replace(spec, tag=index << 1 | which, first_ns=now_ns(), paused=False)
                wanted.append((program, spec))
                if spec.outside and target.reach is not None:
                    outside.add(spec.tag, program, spec, target.reach)
    if not wanted:
        return outcomes
    with Workers(1, len(wanted), slots=slots, bufsize=bufsize, groups=groups) as workers:
        engine = workers.engines[0]
        checks = {}
        for program, spec in wanted:
            check = workers.add(program, spec, 0)
            assert check is not None, "the thread does not run yet: nothing can be full"
            checks[spec.tag] = check
        tell_start(workers, targets, checks)
        workers.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outside.run)
            with trio.move_on_after(longest_s([spec for _, spec in wanted], engine.slots)):
                await collect(workers, checks, outside, outcomes)
            nursery.cancel_scope.cancel()
    return outcomes


def tell_start(workers: Workers, targets: Sequence[Target], checks: dict[int, CheckId]) -> None:
    """What requests tell of their own server (send-state), as at a start: nobody keeps states here."""
    totals: dict[int, int] = {}
    for index, target in enumerate(targets):
        if target.health is None or target.retell is None:
            continue
        spec = target.health[1]
        totals[spec.group] = totals.get(spec.group, 0) + spec.weight
        workers.command(checks[index << 1], Change(state_text=start_text(spec)))
    for group, total in totals.items():
        workers.group_weight(group, total)


def start_text(spec: CheckSpec) -> str:
    """The word of send-state for a server that was never checked."""
    if spec.stopped:
        return f"DOWN {spec.health}/{spec.rise}" if spec.health else "DOWN"
    full = spec.rise + spec.fall - 1
    return "UP" if spec.health == full else f"UP {spec.health - spec.rise + 1}/{spec.fall}"


async def collect(workers: Workers, checks: dict[int, CheckId], outside: Outside, outcomes: list[Once]) -> None:
    """Takes results, by tag, until every check has one."""
    engine = workers.engines[0]
    missing = set(checks)

    def drain() -> None:
        engine.clear()
        while events := engine.drain():
            for event in events:
                if event.run:
                    outside.ask(event.tag, event, engine.report)
                elif event.tag in missing:
                    missing.discard(event.tag)
                    engine.remove(event.check)
                    put(outcomes, event.tag, event.result)

    while missing:
        with trio.move_on_after(QUIET_S) as waited:
            await trio.lowlevel.wait_readable(engine.fileno())
        drain()
        if waited.cancelled_caught:
            found = await look(workers, {tag: checks[tag] for tag in missing})
            drain()  # an event behind its record says more: the record has no text that HAProxy only logs
            for tag in missing & set(found):
                put(outcomes, tag, found[tag])
            missing -= set(found)


async def look(workers: Workers, checks: dict[int, CheckId]) -> dict[int, CheckResult]:
    """Results that were no news: a neutral first answer without words. From the records of checks that have run."""
    found = {}
    for tag, record in zip(checks, workers.snapshot(list(checks.values())), strict=True):
        if record is not None and record.runs > 0:
            found[tag] = CheckResult(
                0, Status(record.status), record.verdict, record.code, record.health, record.duration_ms, record.text
            )
    await trio.lowlevel.checkpoint()
    return found


def put(outcomes: list[Once], tag: int, result: CheckResult) -> None:
    """Files a result with its target."""
    if tag & 1:
        outcomes[tag >> 1].agent = result
    else:
        outcomes[tag >> 1].health = result
