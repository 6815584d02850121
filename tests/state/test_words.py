"""Every row of spec §7.2, §6.2 and §3.8 about words."""

from __future__ import annotations

import pytest
from state_kit import Rig

from risefall.state.server import Admin, CheckState, Op, ServerState
from risefall.state.words import encode_text, result_word, state_text, status_word


def rig(**server: object) -> tuple[Rig, ServerState]:
    made = Rig("3").proxy("b").server("s", **server).start()  # type: ignore[arg-type]
    return made, made.servers[0]


@pytest.mark.parametrize(
    ("op", "health", "word", "sent"),
    [
        (Op.RUNNING, 4, "UP", "UP"),
        (Op.RUNNING, 3, "UP 2/3", "UP 2/3"),
        (Op.STARTING, 2, "UP 1/3", "UP 1/3"),
        (Op.STOPPING, 4, "NOLB", "NOLB"),
        (Op.STOPPING, 2, "NOLB 1/3", "NOLB 1/3"),
        (Op.STOPPED, 0, "DOWN", "DOWN"),
        (Op.STOPPED, 1, "DOWN 1/2", "DOWN 1/2"),
        (Op.STOPPED, 4, "DOWN 4/2", "DOWN 4/2"),
    ],
)
def test_a_checked_server(op: Op, health: int, word: str, sent: str) -> None:
    made, server = rig()
    assert server.health is not None
    server.op, server.health.health = op, health
    assert status_word(made.fleet, 0) == word
    assert state_text(server) == sent
    server.admin = Admin.FDRAIN
    assert status_word(made.fleet, 0) == word.replace("UP", "DRAIN")
    assert state_text(server) == sent


def test_maintenance_comes_first() -> None:
    made = Rig().proxy("b").server("s").server("t", track="s").start()
    server = made.servers[1]
    for admin, word in (
        (Admin.FMAINT | Admin.FDRAIN, "MAINT"),
        (Admin.FMAINT | Admin.IMAINT, "MAINT (via b/s)"),
        (Admin.FMAINT | Admin.IMAINT | Admin.RMAINT, "MAINT (resolution)"),
    ):
        server.admin, server.op = admin, Op.STOPPED
        assert status_word(made.fleet, 1) == word


def test_agents() -> None:
    made, server = rig(agent=True)
    assert server.agent is not None
    assert server.health is not None
    server.admin = Admin.IDRAIN
    assert status_word(made.fleet, 0) == "DRAIN (agent)"
    server.agent.enabled = False
    assert status_word(made.fleet, 0) == "DRAIN 1/3"
    server.admin, server.agent.enabled, server.agent.health = Admin(0), True, 0
    server.op, server.health.health = Op.STOPPED, 4
    assert status_word(made.fleet, 0) == "DOWN (agent)"
    server.health.enabled = False
    server.agent.health = 1
    assert status_word(made.fleet, 0) == "DOWN 4/2"
    server.agent.enabled = False
    assert status_word(made.fleet, 0) == "DOWN"


def test_unchecked_and_switched_off() -> None:
    made, server = rig(check=False)
    assert (status_word(made.fleet, 0), state_text(server)) == ("no check", "no check")
    server.op = Op.STOPPING
    assert status_word(made.fleet, 0) == "NOLB"
    made, server = rig()
    assert server.health is not None
    server.health.enabled = False
    assert (status_word(made.fleet, 0), state_text(server)) == ("no check", "no check")
    server.op = Op.STOPPED
    assert status_word(made.fleet, 0) == "DOWN"


def test_a_tracker_shows_the_end_of_its_chain() -> None:
    """The numbers are those of `s`, the word is by the tracker's own state (trap 55; `DOWN 3/3`: run on 2.6.12)."""
    made = Rig().proxy("b").server("s").server("t", track="s").server("u", track="t").start()
    tracked = made.servers[0].health
    assert tracked is not None
    tracked.health = 3
    assert [made.status(name) for name in "stu"] == ["UP 2/3"] * 3
    tracked.health, made.servers[2].op = 4, Op.STOPPED
    assert made.status("u") == "DOWN 3/3"


def test_result_words() -> None:
    check = CheckState(rise=2, fall=3, health=4)
    told = []
    for health in range(5):
        check.health = health
        told.append(result_word(check, 1))
    assert told == ["0/2 DOWN", "1/2 DOWN", "1/3 UP", "2/3 UP", "3/3 UP"]
    assert result_word(check, 0) == "3/3 DRAIN"
    check.health = 1
    assert result_word(check, 0) == "1/2 DOWN"


def test_descriptions() -> None:
    assert encode_text(b"Not Found") == "Not Found"
    assert encode_text(b'"<\xe9>" \x01~\x7f\n') == "<22><3C><E9><3E><22> <01>~<7F><0A>"
    assert encode_text(b"") == ""
