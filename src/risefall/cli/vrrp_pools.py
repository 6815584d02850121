"""Virtual servers of a keepalived.conf for people and as objects: what would be checked (`--plan`), and how it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from risefall.checkers.plan import BOOTSTRAP_MS, PlannedChecker, PlannedPool, plan
from risefall.checkers.service import CheckerView, PoolView, ServerView, what_of
from risefall.cli.console import grid, plain
from risefall.cli.plan import span
from risefall.config.keepalived.model import Config

GOOD, BAD, DULL = "green", "bold red", "dim"
COLOURS = {"UP": GOOD, "DOWN": BAD, "INIT": DULL, "not checked": "yellow"}


def pace_words(planned: PlannedChecker) -> tuple[str, str, str]:
    """`6s`, `3 after 3s`, `1s to 7s`: how often, the retries before it is down, and when first."""
    one = planned.config
    retry = f"{one.retry} after {span(one.delay_before_retry_ms)}" if one.retry else "none"
    first = span(BOOTSTRAP_MS)
    if one.warmup_ms:
        first += f" to {span(BOOTSTRAP_MS + one.warmup_ms)}"
    return span(one.delay_loop_ms), retry, f"{first}, begins down" if one.alpha else first


def quorum_words(pool: PlannedPool) -> str:
    """`1 of 4`, or `up at 4, down below 2, of 6`."""
    quorum, hysteresis = pool.config.quorum, pool.config.hysteresis
    if not hysteresis:
        return f"{quorum} of {pool.total}"
    return f"up at {quorum + hysteresis}, down below {quorum - hysteresis}, of {pool.total}"


def pool_notes(pool: PlannedPool) -> str:
    config = pool.config
    notes = [f"sorry server {pool.sorry}"] if pool.sorry else []
    notes += [word for word in ("alpha", "omega", "ha_suspend") if getattr(config, word)]
    notes += [f"{what} calls" for what in ("quorum_up", "quorum_down") if getattr(config, what) is not None]
    return ", ".join(notes)


def _check(planned: PlannedChecker, own: str) -> tuple[str, str, str, str]:
    """own: where the server itself is; told only where the checker goes elsewhere."""
    what = what_of(planned.config) + (f" to {planned.to}" if planned.to not in ("", own) else "")
    return (what, f"not checked: {planned.why_not}", "", "") if planned.why_not else (what, *pace_words(planned))


def plan_tables(config: Config) -> Iterator[tuple[tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Heads and rows: the virtual servers, then the real servers of each with their checkers."""
    pools = plan(config)
    rows = [
        (pool.name, f"{pool.config.scheduler} {pool.config.method}", quorum_words(pool), pool_notes(pool))
        for pool in pools
    ]
    yield ("virtual server", "balance", "quorum", "notes"), rows
    for pool in pools:
        lines: list[tuple[str, ...]] = []
        for server in pool.servers:
            weight = f"{server.config.weight}{' (inhibit)' if server.config.inhibit_on_failure else ''}"
            own = f"[{server.config.address}]:{server.config.port}"
            checks = [_check(one, own) for one in server.checkers] or [("none: always up", "", "", "")]
            lines += [("" if at else server.name, "" if at else weight, *check) for at, check in enumerate(checks)]
        yield (f"real server of {pool.name}", "weight", "check", "every", "retry", "first"), lines


def plan_objects(config: Config) -> Iterator[dict[str, Any]]:
    """One object a virtual server: its configuration, each checker with `to` and `why_not` besides."""
    for pool in plan(config):
        one = msgspec.to_builtins(pool.config)
        for server, planned in zip(one["real_servers"], pool.servers, strict=True):
            server["name"] = planned.name
            for checker, its in zip(server["checkers"], planned.checkers, strict=True):
                checker["to"], checker["why_not"] = its.to, its.why_not
        yield {"kind": "virtual_server", **one}


# --- as it stands -------------------------------------------------------------------------------------------------------


def pool_tables(pools: Sequence[PoolView]) -> list[Table]:
    """Two tables, like those of the plan."""
    if not pools:
        return []
    above = grid("virtual server", "quorum", "weight", "sorry server")
    below = grid("real server", "state", "weight", "check", "checker", "used", "last")
    for pool in pools:
        need = f"{pool.weight}, up at {pool.up_at}, down below {pool.down_below}"
        sorry = f"{pool.sorry_server} {'serves' if pool.sorry_active else 'waits'}" if pool.sorry_server else ""
        above.add_row(plain(pool.name), _state(pool.quorum), need, plain(sorry))
        for server in pool.servers:
            for number, checker in enumerate(server.checkers or (None,)):
                state = _state(server.state)
                if not server.checked:
                    state.append(", not checked", style=COLOURS["not checked"])
                head = (plain(server.name), state, _weight(server)) if not number else ("", "", "")
                below.add_row(*head, *(_checker(checker, server) if checker is not None else ("none", "", "", "")))
    return [above, below]


def _weight(server: ServerView) -> str:
    text = str(server.weight)
    if server.weight != server.configured_weight:
        text += f" (of {server.configured_weight})"
    return text if server.in_pool else f"{text}, not in the pool"


def _checker(one: CheckerView, server: ServerView) -> tuple[Text, Text, str, Text]:
    address, _, port = server.name.rpartition(":")
    elsewhere = one.to and one.to != f"{address.rpartition(':')[0]}:{port}"
    what = one.check + (f" to {one.to}" if elsewhere else "")
    used = f"{one.retries} of {one.retry} retries" if one.retry and not one.why_not else ""
    return plain(what), _state(one.state), used, plain(one.why_not or one.last)


def _state(state: str) -> Text:
    return Text(state, style=COLOURS.get(state, ""))
