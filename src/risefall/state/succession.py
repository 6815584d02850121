"""One fleet takes over from another: servers that are the same go on as they are, the others carry over what they have become.

Source: spec/haproxy-checks.md §1.11; `carrying` has the rules for one server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from risefall.state.carrying import carry, date, fit, unlink
from risefall.state.fleet import Fleet
from risefall.state.server import Op, ProxyState, ServerState


class Succession(msgspec.Struct):
    """The new fleet, and what came of the old one's servers. stale: those of which C may not know what they are now."""

    fleet: Fleet
    stale: set[int]
    same: int
    changed: int
    added: int


def succeed(
    old: Fleet,
    proxies: list[ProxyState],
    servers: list[ServerState],
    matched: Sequence[int],
    is_same: Callable[[int, int], bool],
    follows: Collection[int],
    now_ms: int,
) -> Succession:
    """Makes the fleet of a new configuration out of it and the old fleet, which must not be used any more.

    Args:
        servers: as the new file has them.
        matched: for each of them its place in the old fleet, -1 for a new one.
        is_same: of an old and a new place: whether both files say the same of the server.
        follows: servers whose names are resolved at run time.
    """
    stale: set[int] = set()
    stopped = bytearray(len(servers))
    same = changed = added = 0
    for index, before in enumerate(matched):
        if before < 0:
            added += 1
            continue
        new, was = servers[index], old.servers[before]
        stopped[index] = was.op is Op.STOPPED
        if is_same(before, index):
            was.proxy, was.tracks, was.trackers, was.needed = new.proxy, new.tracks, new.trackers, new.needed
            servers[index] = was
            same += 1
            if fit(was, proxies[new.proxy]):
                stale.add(index)
        else:
            carry(was, new, follows=index in follows)
            fit(new, proxies[new.proxy])
            stale.add(index)
            changed += 1
    for index, server in enumerate(servers):
        if server.tracks >= 0 or server.admin:
            unlink(server)
            if server.agent is not None:
                stale.add(index)
    fleet = Fleet(proxies, servers, old.dialect, now_ms)
    for index, before in enumerate(matched):
        if before >= 0:
            date(servers[index], now_ms, was_stopped=bool(stopped[index]))
    return Succession(fleet, stale, same, changed, added)
