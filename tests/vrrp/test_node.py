"""A configuration as a node: states, priorities, what each tracker gives, what would follow; without a process or a socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from risefall.config.keepalived import read
from risefall.config.text import Source
from risefall.evaluator.calling import shown
from risefall.evaluator.node import Called, InstanceView, Node, Said, TrackerView
from risefall.vrrp.trackers import DOWN, UP, Kind, Reading

HEAD = """
vrrp_script hard {
  script /bin/true
}
vrrp_script soft {
  script /bin/true
  weight -20
}
track_file tf {
  file /nonexistent
  weight 2
}
"""
INSTANCE = """vrrp_instance NAME {
  interface eth0
  virtual_router_id VRID
  priority 100
  MORE
  notify "/n.sh x"
  virtual_ipaddress {
    10.0.0.VRID
  }
  track_script {
    TRACKED
  }
  track_file {
    tf
  }
}
"""


def instance(name: str = "VI_1", vrid: int = 51, tracked: str = "hard\n soft", more: str = "") -> str:
    return INSTANCE.replace("NAME", name).replace("VRID", str(vrid)).replace("TRACKED", tracked).replace("MORE", more)


def node(text: str = "", **how: Any) -> Node:
    made = Node(read(Source("keepalived.conf", HEAD + (text or instance()))), **how)
    made.start()
    return made


def well(made: Node) -> Node:
    """All scripts have told, and every election is over."""
    for name in made.wanted(Kind.SCRIPT):
        made.read(Kind.SCRIPT, name, UP)
    made.settle()
    made.drain()
    return made


def only(made: Node) -> InstanceView:
    return made.instances()[0]


def tracker(made: Node, name: str) -> TrackerView:
    return next(one for one in only(made).trackers if one.name == name)


def test_held_back_until_scripts_without_a_weight_have_told() -> None:
    made = node()
    assert (only(made).state, only(made).waits_for, made.healthy) == ("HELD", ("script hard",), False)
    made.read(Kind.SCRIPT, "hard", UP)
    assert (only(made).state, only(made).waits_for, made.healthy) == ("BACKUP", (), True)


def test_what_each_tracker_gives_and_what_would_follow() -> None:
    made = well(node())
    assert only(made).state == "MASTER"
    told = {one.name: (one.points, one.fault, one.if_failed) for one in only(made).trackers}
    assert told == {
        "eth0": (0, False, "FAULT"),
        "hard": (0, False, "FAULT"),
        "soft": (0, False, "100 -> 80"),
        "tf": (0, False, "100 -> 102 at 1"),
    }
    made.read(Kind.SCRIPT, "soft", DOWN)
    made.read(Kind.FILE, "tf", Reading(up=True, value=3))
    assert (only(made).total, only(made).effective) == (86, 86)
    assert tracker(made, "soft").if_failed == "is so now"
    made.read(Kind.SCRIPT, "hard", DOWN)
    assert (only(made).state, only(made).faults, made.healthy) == ("FAULT", ("script hard",), False)
    assert tracker(made, "hard").if_failed == "is FAULT"


def test_the_own_interface() -> None:
    made = well(node())
    made.interface("eth0", up=False)
    assert (only(made).state, only(made).faults) == ("FAULT", ("interface eth0",))
    made.interface("eth0", up=True)
    made.settle()
    assert only(made).state == "MASTER"


@pytest.mark.parametrize(
    ("peer", "more", "state", "then", "told"),
    [
        (90, "", "MASTER", "BACKUP", "100 -> 80: 90 takes over"),
        (70, "", "MASTER", "MASTER", "100 -> 80: still above"),
        (120, "", "BACKUP", "BACKUP", "100 -> 80: below anyhow"),
    ],
)
def test_beside_a_peer(peer: int, more: str, state: str, then: str, told: str) -> None:
    made = well(node(instance(more=more), peer=peer))
    assert (only(made).state, tracker(made, "soft").if_failed) == (state, told)
    made.read(Kind.SCRIPT, "soft", DOWN)
    made.settle()
    assert only(made).state == then


def test_nopreempt_leaves_the_other_alone() -> None:
    """FAULT and back: with nopreempt the peer stays MASTER, without it does not."""
    for more, state in (("nopreempt", "BACKUP"), ("", "MASTER")):
        made = well(node(instance(more=more), peer=90))
        made.read(Kind.SCRIPT, "hard", DOWN)
        made.settle()
        made.read(Kind.SCRIPT, "hard", UP)
        made.settle()
        assert only(made).state == state


def test_preempt_delay_takes_its_time() -> None:
    made = well(node(instance(more="preempt_delay 60"), peer=90))
    made.read(Kind.SCRIPT, "hard", DOWN)
    made.settle()
    made.read(Kind.SCRIPT, "hard", UP)
    began = made.network.now_us
    made.run(began + 50_000_000)
    assert only(made).state == "BACKUP"
    made.run(began + 70_000_000)
    assert only(made).state == "MASTER"


GROUP = """vrrp_sync_group G {
  group {
    VI_1
    VI_2
  }
}
"""


def test_a_sync_group_goes_together() -> None:
    made = well(node(GROUP + instance() + instance("VI_2", 52, "")))
    assert [one.state for one in made.groups()] == ["MASTER"]
    assert tracker(made, "hard").if_failed == "FAULT of all in G"
    assert "soft" not in made.wanted(Kind.SCRIPT)  # spec §5.4: a weight of a member is dropped
    made.read(Kind.SCRIPT, "hard", DOWN)
    assert [one.state for one in made.instances()] == ["FAULT", "FAULT"]
    assert [one.state for one in made.groups()] == ["FAULT"]


def test_lines_and_calls_come_in_order() -> None:
    made = node()
    made.read(Kind.SCRIPT, "hard", UP)
    told = [
        one.text if isinstance(one, Said) else shown(one.call) for one in made.drain() if isinstance(one, Called | Said)
    ]
    assert told == ["(VI_1) Entering BACKUP STATE", "run /n.sh x INSTANCE VI_1 BACKUP 100"]


def test_a_script_that_was_dropped_holds_nobody_back() -> None:
    made = node(scripts=["soft"])
    assert only(made).state == "BACKUP"
    assert made.wanted(Kind.SCRIPT) == {"soft": ["VI_1"]}


@settings(deadline=None)
@example([("tf", True, -4389), ("hard", False, 171), ("tf", False, -13151)], 110, None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hard", "soft", "tf", "eth0", "time"]),
            st.booleans(),
            st.integers(-(1 << 31), (1 << 31) - 1),
        ),
        max_size=30,
    ),
    st.integers(1, 254),
    st.one_of(st.none(), st.integers(1, 254)),
)
def test_priorities_stay_within_bounds_and_reasons_decide(
    events: list[tuple[str, bool, int]], priority: int, peer: int | None
) -> None:
    """Whatever is told, in whatever order: 1..254, FAULT exactly with a reason, never MASTER below a healthy peer for good."""
    made = node(instance().replace("priority 100", f"priority {priority}"), peer=peer)
    for name, up, value in events:
        if name == "time":
            made.run(made.network.now_us + abs(value))
        elif name == "tf":
            made.read(Kind.FILE, "tf", Reading(up=True, value=value))
        elif name == "eth0":
            made.interface("eth0", up=up)
        else:
            made.read(Kind.SCRIPT, name, UP if up else DOWN)
        view = only(made)
        assert 1 <= view.effective <= 254
        if "file tf" not in view.faults:  # a file at FAULT by its weight leaves the priority where it was
            assert view.effective == min(max(view.total, 1), 254)
        if view.faults:
            assert view.state == "FAULT"
        elif view.waits_for:
            assert view.state == "HELD"
        else:
            assert view.state in ("BACKUP", "MASTER")
    made.settle()
    view = only(made)
    if view.state in ("BACKUP", "MASTER") and peer != view.effective:
        assert view.state == ("MASTER" if peer is None or view.effective > peer else "BACKUP")


def test_interface_of_a_route_is_needed_and_its_weight_does_not_count() -> None:
    """Seen with 2.2.7: the route's device replaces `track_interface eth1 weight 10`."""
    more = "track_interface {\neth1 weight 10\n}\nvirtual_routes {\n10.5.0.0/16 dev eth1\n}"
    made = well(node(HEAD + instance(more=more)))
    (view,) = made.instances()
    assert (view.state, view.effective) == ("MASTER", 100)
    made.interface("eth1", up=False)
    (view,) = made.instances()
    assert (view.state, view.faults) == ("FAULT", ("interface eth1",))


def test_own_interface_counts_for_a_route_without_the_primary_tracking() -> None:
    made = well(node(HEAD + instance(more="dont_track_primary\nvirtual_routes {\n10.5.0.0/16 dev eth0\n}")))
    made.interface("eth0", up=False)
    assert made.instances()[0].state == "FAULT"
    made.interface("eth0", up=True)
    made.settle()
    assert made.instances()[0].state == "MASTER"


def test_setting_that_is_a_fault_for_good() -> None:
    """2.2.7 tells FAULT, says nothing more than it has said of the configuration, and stays there."""
    made = node(HEAD + instance(tracked="soft", more="unicast_fault_no_peer"))
    assert [one.text for one in made.drain() if isinstance(one, Said) and "FAULT" in one.text] == []
    (view,) = well(made).instances()
    assert (view.state, view.faults) == ("FAULT", ("configuration",))


def test_source_that_this_machine_has_not_is_a_fault_for_good() -> None:
    more = "unicast_src_ip 10.9.9.9\nunicast_peer {\n10.9.9.8\n}"
    config = read(Source("keepalived.conf", HEAD + instance(tracked="soft", more=more)))
    made = Node(config, unbound=["VI_1"])
    made.start()
    (view,) = well(made).instances()
    assert (view.state, view.faults) == ("FAULT", ("source address",))
