"""Sync groups (spec/keepalived-track.md §5.2, §5.3): all MASTER or none."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vrrp_kit import near, us

from risefall.vrrp.actions import Action, Enter, EnterGroup, Log, Send, State, Stop
from risefall.vrrp.election import Instance
from risefall.vrrp.groups import Group
from risefall.vrrp.network import Network
from risefall.vrrp.settings import InstanceSettings
from risefall.vrrp.trackers import DOWN, UP, Kind, Tracked

BACKUP, MASTER, FAULT = State.BACKUP, State.MASTER, State.FAULT
LINKS = {"VI_1": "eth0", "VI_2": "eth1"}
ALL = Tracked(Kind.SCRIPT, "all", 0)
WEIGHT = Tracked(Kind.SCRIPT, "weight", -20)


def member(number: int, which: int, priority: int, **changes: object) -> InstanceSettings:
    """VI_1 or VI_2 of node `number`."""
    plain = InstanceSettings(
        name=f"VI_{which}", source=f"10.{which}.0.{number + 1}", vrid=50 + which, priority=priority, vips=("10.0.0.9",)
    )
    return msgspec.structs.replace(plain, **changes)


def network(tracked: dict[str, list[Tracked]] | None = None, *, first: int = 100, second: int = 90) -> Network:
    """Two nodes, each with a group of two instances on two links; both run."""
    made = Network()
    for number, priority in enumerate((first, second)):
        made.add_node(
            f"n{number}",
            [member(number, 1, priority), member(number, 2, priority)],
            links=LINKS,
            tracked=tracked if number == 0 else None,
            groups={"G": ["VI_1", "VI_2"]},
        )
        made.at(us(0.1), lambda name=f"n{number}": made.start(name))  # type: ignore[misc]
    return made


def entered(made: Network, name: str, after: float = 0) -> list[tuple[str, State]]:
    """Who entered what on this node after that time, groups too."""
    return [
        (one.action.instance if isinstance(one.action, Enter) else one.action.group, one.action.state)
        for one in made.happened
        if one.node == name and one.at_us >= us(after) and isinstance(one.action, Enter | EnterGroup)
    ]


def both(made: Network, name: str) -> set[State]:
    """The states of its two instances."""
    return {made.state(name, "VI_1"), made.state(name, "VI_2")}


def test_all_become_master_with_the_last() -> None:
    """The members first, each as it changes, then the group, once."""
    made = network()
    made.run(us(6))
    assert entered(made, "n0", 1) == [("VI_2", MASTER), ("VI_1", MASTER), ("G", MASTER)]
    assert both(made, "n1") == {BACKUP}


def test_one_link_of_the_master_goes_down() -> None:
    """All of it goes to FAULT, but the priority 0 of the dead link is lost: a full wait, 3.5 s, not 0.65."""
    made = network()
    made.at(us(6), lambda: made.link_down("n0", "eth1"))
    made.run(us(20))
    assert both(made, "n0") == {FAULT}
    assert both(made, "n1") == {MASTER}
    taken = next(one.at_us for one in made.changes if (one.node, one.state) == ("n1", MASTER))
    assert taken / 1e6 - 6 == pytest.approx(3.5, abs=0.3)


def test_a_fault_of_one_member() -> None:
    """It resigns twice, the one that is dragged along once; then all come back together and preempt."""
    made = network({"VI_1": [ALL]})
    made.at(us(0.1), lambda: made.read("n0", ALL.key, UP))
    made.at(us(6), lambda: made.read("n0", ALL.key, DOWN))
    made.at(us(12), lambda: made.read("n0", ALL.key, UP))
    made.run(us(6.5))
    resigned = [
        one.action.instance for one in made.happened if isinstance(one.action, Send) and one.action.priority == 0
    ]
    assert resigned == ["VI_1", "VI_1", "VI_2"]
    assert entered(made, "n0", 5) == [("VI_1", FAULT), ("VI_2", FAULT), ("G", FAULT)]
    lines = [one.action.text for one in made.happened if isinstance(one.action, Log)]
    assert "VRRP_Group(G) Syncing instances to FAULT state" in lines
    made.run(us(20))
    assert both(made, "n0") == {MASTER}
    assert both(made, "n1") == {BACKUP}
    came_back = next(one.at_us / 1e6 for one in made.changes if one.at_us > us(13) and one.state is MASTER)
    assert came_back == near(15.61)


def test_a_pending_script_holds_the_whole_group() -> None:
    """Nobody starts before it has told; then all enter BACKUP."""
    made = network({"VI_2": [ALL]})
    made.at(us(2), lambda: made.read("n0", ALL.key, UP))
    made.run(us(1))
    assert entered(made, "n0") == []
    made.run(us(3))
    assert entered(made, "n0") == [("VI_2", BACKUP), ("VI_1", BACKUP), ("G", BACKUP)]


def test_a_pending_script_that_fails() -> None:
    """FAULT for all; the member at fault first, then those it takes along."""
    made = network({"VI_2": [ALL]})
    made.at(us(2), lambda: made.read("n0", ALL.key, DOWN))
    made.run(us(3))
    assert both(made, "n0") == {FAULT}
    assert entered(made, "n0")[0] == ("VI_2", FAULT)


def test_a_weight_in_the_group_fails_all_over() -> None:
    """§5.3: 100 to 80 on both."""
    made = network({"VI_1": [WEIGHT], "VI_2": [WEIGHT]})
    made.at(us(0.2), lambda: made.read("n0", WEIGHT.key, UP))
    made.at(us(6), lambda: made.read("n0", WEIGHT.key, DOWN))
    made.run(us(20))
    assert both(made, "n1") == {MASTER}
    assert both(made, "n0") == {BACKUP}


def test_a_weight_of_one_member_moves_nothing() -> None:
    """§5.4: the other members keep their priority, and the group waits for all."""
    made = network({"VI_1": [WEIGHT]})
    made.at(us(0.2), lambda: made.read("n0", WEIGHT.key, UP))
    made.at(us(6), lambda: made.read("n0", WEIGHT.key, DOWN))
    made.run(us(60))
    assert both(made, "n0") == {MASTER}
    assert both(made, "n1") == {BACKUP}


def test_one_yields_and_all_leave() -> None:
    """No member resigns."""
    out: list[Action] = []
    members = [Instance(member(0, which, 100), out) for which in (1, 2)]
    group = Group("G", members, out)
    group.start()
    for one in members:
        one.start(0)
    for one in members:
        one.time(one.deadline_us)
    assert [one.state for one in members] == [MASTER, MASTER]
    out.clear()
    members[0].advert(us(4), "10.1.0.2", 120, us(1))
    assert [one.state for one in members] == [BACKUP, BACKUP]
    assert not [one for one in out if isinstance(one, Send)]
    assert isinstance(out[-1], EnterGroup)
    assert out[-1].state is group.state is BACKUP


def test_an_accepted_advert_cancels_the_wish() -> None:
    """So a group never takes over while one of its links has a better master."""
    out: list[Action] = []
    members = [Instance(member(1, which, 90), out) for which in (1, 2)]
    Group("G", members, out).start()
    for one in members:
        one.start(0)
    members[0].time(members[0].deadline_us)
    assert (members[0].state, members[0].want) == (BACKUP, MASTER)
    members[0].advert(us(3.7), "10.1.0.1", 100, us(1))
    assert members[0].want is BACKUP
    members[1].time(members[1].deadline_us)
    assert members[1].state is BACKUP


def test_owners_start_together() -> None:
    """A group of owners is MASTER at once."""
    made = network(first=255)
    made.run(us(0.2))
    assert both(made, "n0") == {MASTER}


def test_what_is_no_group() -> None:
    """No member, or one that belongs to another."""
    out: list[Action] = []
    one = Instance(member(0, 1, 100), out)
    Group("G", [one], out)
    with pytest.raises(ValueError, match="two sync groups"):
        Group("H", [one], out)
    with pytest.raises(ValueError, match="no member"):
        Group("H", [], out)


def test_group_stops_after_its_members() -> None:
    """§6.2: instances first, then the group, which hands over within a skew."""
    made = network()
    made.run(us(6))
    made.stop("n0")
    assert [one.action.name for one in made.happened if isinstance(one.action, Stop)] == ["VI_1", "VI_2", "G"]
    made.run(us(20))
    assert both(made, "n1") == {MASTER}


steps = st.lists(
    st.tuples(
        st.integers(0, 4_000_000),
        st.sampled_from(["pass", "fail", "link_down", "link_up", "stop", "start", "part", "heal"]),
        st.sampled_from(["n0", "n1"]),
        st.sampled_from(["eth0", "eth1"]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(100, 90), (100, 100), (255, 100)]), st.booleans(), steps)
def test_members_are_never_apart(
    priorities: tuple[int, int], gated: bool, told: list[tuple[int, str, str, str]]
) -> None:
    """Whatever happens: all MASTER or none, FAULT together, and the group says the same as its members."""
    tracked = {"VI_2": [ALL]}
    made = network(tracked, first=priorities[0], second=priorities[1])
    if not gated:
        made.read("n0", ALL.key, UP)
    made.run(us(0.2))
    for gap_us, what, name, link in told:
        match what:
            case "pass" | "fail":
                made.read("n0", ALL.key, UP if what == "pass" else DOWN)
            case "part":
                made.part("n0", "n1")
            case "heal":
                made.heal()
            case "link_down" | "link_up":
                getattr(made, what)(name, link)
            case _:
                if made.nodes[name].running == (what == "stop"):
                    getattr(made, what)(name)
        made.run(made.now_us + gap_us)
        for node in made.nodes.values():
            states = {port.instance.state for port in node.ports.values()}
            assert len(states) == 1
            group = node.groups[0]
            if node.running and not group.pending():
                assert states == {group.state}
                assert (group.state is FAULT) == group.faulty()
