"""Every server of a configuration text checked once, in this process."""

from __future__ import annotations

import trio

from risefall.cli.loading import load_text
from risefall.config.haproxy.plan import Loaded
from risefall.engine.around import Around
from risefall.engine.names import resolve
from risefall.engine.native import now_ns
from risefall.engine.once import check_once
from risefall.engine.targets import Target, TargetBuilder
from risefall.state.exchange import CheckResult


async def targets_of(text: str, dialect: str = "2.6") -> list[Target]:
    """The servers of a configuration, ready to be checked."""
    loaded: Loaded = load_text("test.cfg", text, {}, dialect)
    found = await resolve(loaded.addresses())
    return TargetBuilder(loaded.config, loaded.dialect, found, node="node", around=Around(loaded.config)).build(
        loaded.planned, now_ns=now_ns()
    )


def outcomes(text: str, dialect: str = "2.6") -> list[CheckResult]:
    """What the first health check of each server said, as `risefall check` makes it."""

    async def run() -> list[CheckResult]:
        targets = await targets_of(text, dialect)
        assert not [target.why_not for target in targets if target.why_not]
        said = await check_once(targets)
        return [one.health for one in said if one.health is not None]

    return trio.run(run)
