"""Rows by shapes are the rows that are made one by one, whatever a server looks like."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surfaces_kit import NOW_MS, FakeRecord, Records, small_fleet

from risefall.state.fleet import Fleet
from risefall.state.server import AGENT, HEALTH, Admin, CheckState, Op, Watch
from risefall.status import Status, Verdict
from risefall.surfaces import shapes as module
from risefall.surfaces.csv import show_stat
from risefall.surfaces.query import Query
from risefall.surfaces.shapes import quote


class Blocks:
    """Records that can be had by the block, as the daemon's can."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __call__(self, index: int, which: int) -> FakeRecord | None:
        return self._records.get((index, which))

    def block(self, indices: Sequence[int], which: int) -> list[tuple[int, ...] | None]:
        return [figures_of(self._records.get((index, which))) for index in indices]


def figures_of(one: FakeRecord | None) -> tuple[int, ...] | None:
    """As the engine gives it, with what an earlier and longer text has left."""
    if one is None:
        return None
    return (  # type: ignore[return-value]
        1, one.epoch, one.health, one.fails, int(one.in_progress), int(one.status), int(one.verdict), one.code,
        one.duration_ms, len(one.text), one.text + b"left\0",
    )  # fmt: skip


def both_ways(fleet: Fleet, records: Records, query: Query) -> tuple[list[str], list[str]]:
    slow = show_stat(fleet, lambda index, which: records.get((index, which)), NOW_MS, query)
    return show_stat(fleet, Blocks(records), NOW_MS, query).splitlines(), slow.splitlines()


QUERIES = (
    Query(), Query(kinds=4), Query(iid=4), Query(sid=1), Query(up=True), Query(no_maint=True), Query(legends=False),
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=repr)
@pytest.mark.parametrize("dialect", ["2.6", "3"])
def test_a_small_fleet(dialect: str, query: Query) -> None:
    fast, slow = both_ways(*small_fleet(dialect), query)
    assert fast == slow


flags, few = st.booleans(), st.integers(0, 3)
texts = st.sampled_from([b"", b"OK", b'a "b", c', b"100% sure %s", b"\xff", b"two\nlines"])
records = st.builds(
    FakeRecord, status=st.sampled_from(Status), verdict=st.sampled_from(Verdict), code=st.sampled_from([0, 200, 503, -1]),
    duration_ms=st.integers(-1, 3), text=texts, health=few, fails=few, runs=few, in_progress=flags, epoch=few,
)  # fmt: skip
checks = st.builds(
    CheckState, rise=few, fall=few, health=few, configured=flags, enabled=flags, paused=flags, epoch=few,
    status=st.sampled_from(Status), code=few, duration_ms=st.integers(-1, 3), text=texts, fails_before=few,
)  # fmt: skip
servers = st.fixed_dictionaries({
    "op": st.sampled_from(Op), "admin": st.sampled_from([Admin(0), *Admin, Admin.FMAINT | Admin.FDRAIN]),
    "uweight": st.integers(0, 2), "backup": flags, "health": st.none() | checks, "agent": st.none() | checks,
    "address": st.sampled_from(["", "127.0.0.1", "::1", "/run/x"]), "port": few, "maxconn": few, "maxqueue": few,
    "cookie": st.sampled_from(["", "one", "a,b"]), "tracks": st.sampled_from([-1, -1, -1, 0]),
    "watch": st.none() | st.builds(Watch, st.just(False), st.just(""), few, limit_reached=few), "dynamic": flags,
    "down_ms": st.integers(0, 5000), "downs": few, "idle_health": few, "warmth": st.integers(1, 16),
    "held_weight": st.integers(-1, 2), "changed_ms": st.integers(NOW_MS - 5000, NOW_MS + 5),
})  # fmt: skip


@given(st.lists(st.tuples(servers, st.none() | records, st.none() | records), min_size=8, max_size=8))
def test_any_servers(given_servers: list[tuple[dict[str, object], FakeRecord | None, FakeRecord | None]]) -> None:
    """Eight servers of one proxy, which share shapes where they may."""
    fleet, known = small_fleet()
    for index, (settings, health, agent) in enumerate(given_servers, start=1):
        if Admin.IMAINT in settings["admin"]:  # type: ignore[operator]
            settings["tracks"] = 0
        for name, value in settings.items():
            setattr(fleet.servers[index], name, value)
        for which, record in ((HEALTH, health), (AGENT, agent)):
            known.pop((index, which), None)
            if record is not None:
                known[index, which] = record
    fast, slow = both_ways(fleet, known, Query(kinds=4))
    assert fast == slow


def test_servers_of_one_shape_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a table of many is as slow as before."""
    fleet, known = small_fleet()
    for server in fleet.servers[1:9]:
        server.tracks, server.admin, server.op, server.idle_health = -1, Admin(0), Op.RUNNING, 2
        server.health, server.backup, server.maxconn, server.maxqueue = None, False, 0, 0
    made: list[int] = []
    shape_of = module.shape_of
    monkeypatch.setattr(module, "shape_of", lambda *given: made.append(1) or shape_of(*given))
    show_stat(fleet, Blocks(known), NOW_MS, Query(iid=4, kinds=4))
    assert len(made) == 1


def test_quotes() -> None:
    assert [quote(text) for text in ("a", "a b", "a,b", 'a"b', "a\nb")] == ["a", "a b", '"a,b"', '"a""b"', '"a\nb"']
