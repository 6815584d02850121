"""Servers that come and go (spec §5.5), without checks."""

from __future__ import annotations

import pytest
from state_kit import Rig

from risefall.state import growth
from risefall.state.commands import Refused, set_state
from risefall.state.server import Admin, Op, ServerState


def rig() -> Rig:
    made = Rig().proxy("b").server("s1").server("s2").server("t", track="s1").proxy("other", static=True).server("o")
    return made.start()


def fresh(made: Rig, place: int = 0, **fields: object) -> ServerState:
    given: dict[str, object] = {
        "name": "new", "proxy": place, "sid": growth.free_id(made.fleet, place, 0), "address": "127.0.0.1", "port": 1,
        "fqdn": "", "op": Op.STOPPED, "admin": Admin.FMAINT, "iweight": 7, "uweight": 7, "backup": False, "health": None,
        "agent": None, "changed_ms": 0, "dynamic": True, "held_weight": 1,
    }  # fmt: skip
    return ServerState(**(given | fields))  # type: ignore[arg-type]


def test_a_new_server_counts_once_it_is_enabled() -> None:
    made = rig()
    before = made.fleet.total_weight(0)
    index = growth.add_server(made.fleet, 0, fresh(made))
    assert list(made.fleet.proxies[0].own) == [0, 1, 2, index]
    assert (made.fleet.total_weight(0), made.fleet.effective_weight(index)) == (before, 1)
    set_state(made.fleet, index, "ready", 0)
    assert (made.fleet.total_weight(0), made.fleet.servers[index].op) == (before + 7, Op.RUNNING)
    with pytest.raises(Refused, match="Only servers in maintenance"):
        growth.remove_server(made.fleet, index)
    set_state(made.fleet, index, "maint", 0)
    growth.remove_server(made.fleet, index)
    assert (made.fleet.total_weight(0), made.fleet.count, made.fleet.vacant) == (before, 4, [index])
    assert growth.add_server(made.fleet, 0, fresh(made)) == index


def test_revisions_tell_who_came_after_a_deletion() -> None:
    """As HAProxy 3 counts them: one more with the first that is added after any were deleted."""
    made = rig()
    seen = []
    for step in "++-+--++":
        if step == "-":
            growth.remove_server(made.fleet, made.fleet.proxies[0].own[-1])
        else:
            index = growth.add_server(made.fleet, 0, fresh(made, name=f"n{len(seen)}"))
            seen.append(made.fleet.servers[index].revision)
    assert seen == [0, 0, 1, 2, 2]


def test_ids() -> None:
    made = rig()
    assert growth.free_id(made.fleet, 0, 0) == 4
    growth.add_server(made.fleet, 0, fresh(made, sid=70))
    assert growth.free_id(made.fleet, 0, 0) == 4
    with pytest.raises(Refused, match=r"custom id 70 already used at \(null\):0 \('server new'\)"):
        growth.free_id(made.fleet, 0, 70)
    made.servers[1].admin = Admin.FMAINT
    growth.remove_server(made.fleet, 1)
    assert growth.free_id(made.fleet, 0, 0) == 2


def test_a_tracker_follows_from_the_first_and_leaves() -> None:
    made = rig()
    tracked = growth.find_tracked(made.fleet, 0, "b/s1")
    set_state(made.fleet, tracked, "maint", 0)
    index = growth.add_server(made.fleet, 0, fresh(made, admin=Admin(0), op=Op.RUNNING, held_weight=-1), tracked)
    assert made.fleet.servers[index].admin == Admin.IMAINT
    assert made.fleet.servers[tracked].trackers == (2, index)
    growth.remove_server(made.fleet, index)
    assert made.fleet.servers[tracked].trackers == (2,)
    with pytest.raises(Refused, match="cannot be removed at runtime"):
        growth.remove_server(made.fleet, tracked)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Require 'backend/server'."),
        ("b", "Require 'backend/server'."),
        ("/x", "Require 'backend/server'."),
        ("nope/x", "No such backend."),
        ("other/x", "Backend must use a dynamic load balancing to support dynamic servers."),
    ],
)
def test_places(name: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        growth.find_place(rig().fleet, name)
    assert (refused.value.text, refused.value.short) == (text, True)


@pytest.mark.parametrize(
    ("track", "text"),
    [
        ("nope/s1", "unable to find required proxy 'nope' for tracking."),
        ("nope", "unable to find required server 'nope' for tracking."),
        ("new", "unable to use b/new for tracking as it is a dynamic server."),
        ("u", "unable to use b/u for tracking as it does not have any check nor agent enabled."),
    ],
)
def test_what_cannot_be_tracked(track: str, text: str) -> None:
    made = Rig().proxy("b").server("u", check=False).start()
    growth.add_server(made.fleet, 0, fresh(made))
    with pytest.raises(Refused) as refused:
        growth.find_tracked(made.fleet, 0, track)
    assert refused.value.text == text
