"""What happens to a fleet, and what C is told of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from state_kit import Rig

from risefall.state.commands import find_address, lose_address
from risefall.state.exchange import CheckChange, CheckResult, WeightKind
from risefall.state.fleet import Effects, Order
from risefall.state.server import AGENT, HEALTH, Admin, Op
from risefall.status import Status, Verdict

LEFT = "0 sessions active, 0 requeued, 0 remaining in queue."
ONLINE = "0 sessions requeued, 0 total in queue."


def one(dialect: str = "2.6", *, logged: bool = False, **server: object) -> Rig:
    return Rig(dialect).proxy("b", log_health_checks=logged).server("s", **server).start()  # type: ignore[arg-type]


def fails(rig: Rig, times: int = 1, name: str = "s") -> None:
    for _ in range(times):
        rig.check(name, Status.L7STS, 503, b"Busy")


def passes(rig: Rig, times: int = 1, name: str = "s") -> None:
    for _ in range(times):
        rig.check(name)


def result(status: Status, verdict: Verdict, health: int, epoch: int = 0, **more: object) -> CheckResult:
    return CheckResult(epoch, status, verdict, 0, health, 1, **more)  # type: ignore[arg-type]


def texts(effects: Effects) -> list[str]:
    return [line.text for line in effects.lines]


# --- the traces of the specification ------------------------------------------------------------------


def test_trace_11_1() -> None:
    rig = one(logged=True)
    assert rig.status("s") == "UP 1/3"
    ok, bad, other = (Status.L7OK, 200), (Status.L7STS, 500), (Status.L4CON, 0)
    for (status, code), health, word, told in (
        (ok, 4, "UP", ["3/3 UP"]),
        (ok, 4, "UP", []),
        (bad, 3, "UP 2/3", ["2/3 UP"]),
        (bad, 2, "UP 1/3", ["1/3 UP"]),
        (ok, 4, "UP", ["3/3 UP"]),
        (bad, 3, "UP 2/3", ["2/3 UP"]),
        (bad, 2, "UP 1/3", ["1/3 UP"]),
        (bad, 0, "DOWN", ["0/2 DOWN", f"Server b/s is DOWN. 0 active and 0 backup servers left. {LEFT}", "no server"]),
        (bad, 0, "DOWN", []),
        (other, 0, "DOWN", ["0/2 DOWN"]),
        (ok, 1, "DOWN 1/2", ["1/2 DOWN"]),
        (bad, 0, "DOWN", ["0/2 DOWN"]),
        (ok, 1, "DOWN 1/2", ["1/2 DOWN"]),
        (ok, 4, "UP", ["3/3 UP", f"Server b/s is UP. 1 active and 0 backup servers online. {ONLINE}"]),
    ):
        rig.check("s", status, code)
        assert rig.servers[0].health is not None
        assert (rig.servers[0].health.health, rig.status("s")) == (health, word)
        lines = rig.drain()
        assert len(lines) == len(told)
        assert all(piece in line for piece, line in zip(told, lines, strict=True))
        rig.verify()


def test_trace_11_2() -> None:
    rig = one(logged=True)
    for status, code, word, told in (
        (Status.L7OK, 200, "UP", ["3/3 UP."]),
        (Status.L7OKC, 404, "NOLB", ["code: 404, check duration: #ms, status: 3/3 UP.", "stopping. 0 active", "no se"]),
        (Status.L7OKC, 404, "NOLB", []),
        (Status.L7OK, 200, "UP", ["3/3 UP.", "is UP. 1 active"]),
        (Status.L7OKC, 404, "NOLB", ["3/3 UP.", "stopping", "no server"]),
        (Status.L7STS, 500, "NOLB 2/3", ["failed, reason: Layer7 wrong status, code: 500"]),
        (Status.L7OKC, 404, "NOLB", ["conditionally succeeded"]),
        (Status.L7STS, 500, "NOLB 2/3", ["2/3 UP."]),
        (Status.L7STS, 500, "NOLB 1/3", ["1/3 UP."]),
        (Status.L7STS, 500, "DOWN", ["0/2 DOWN.", "<133> check Server b/s is DOWN"]),
        (Status.L7OKC, 404, "DOWN", []),
    ):
        rig.check("s", status, code)
        assert rig.status("s") == word
        lines = rig.drain()
        assert len(lines) == len(told)
        assert all(piece in line for piece, line in zip(told, lines, strict=True))
        rig.verify()


def test_404_as_the_very_first_check() -> None:
    rig = one()
    rig.check("s", Status.L7OKC, 404)
    assert rig.status("s") == "NOLB"


def test_l7okc_leads_from_down_to_nolb() -> None:
    """`ok-status L7OKC` works while DOWN too, where a 404 does not (spec §1.3)."""
    rig = one()
    fails(rig)
    for health, word in ((1, "DOWN 1/2"), (4, "NOLB")):
        told = result(Status.L7OKC, Verdict.CONDPASS, health, counter_moved=True)
        rig.fleet.result(0, HEALTH, told, 0)
        assert rig.status("s") == word


# --- init-state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "at_start", "failures", "successes"),
    [
        ("fully-up", "UP", 3, 0),
        ("up", "UP 1/3", 1, 0),
        ("down", "DOWN 1/2", 0, 1),
        ("fully-down", "DOWN", 0, 2),
        ("none", "UP 1/3", 1, 0),
    ],
)
def test_init_state(word: str, at_start: str, failures: int, successes: int) -> None:
    """At start and after maintenance; how many checks it takes to turn the server (spec §1.5)."""
    rig = one("3", init_state=word)
    for _ in range(2):
        assert rig.status("s") == at_start
        for _ in range(failures or successes):
            assert rig.status("s").startswith("UP") is (failures > 0)
            (fails if failures else passes)(rig)
        assert rig.status("s") == ("DOWN" if failures else "UP")
        rig.cli("set server b/s state maint")
        rig.drain()
        rig.cli("set server b/s state ready")
        up = "UP" if failures else "DOWN"
        assert rig.drain() == [f"<133> check Server b/s is {up}/READY (leaving forced maintenance)."]
        rig.verify()


def test_init_state_is_applied_again_by_enable_health() -> None:
    rig = one("3", init_state="down")
    passes(rig)
    rig.cli("disable health b/s")
    rig.cli("enable health b/s")
    assert rig.status("s") == "DOWN 1/2"
    rig.verify()


def test_2_6_knows_no_init_state() -> None:
    rig = one(disabled=True, init_state="fully-down")
    rig.cli("enable server b/s")
    assert rig.status("s") == "UP 1/3"


# --- what C is told -----------------------------------------------------------------------------------


def test_a_counter_that_moves_tells_only_its_text() -> None:
    rig = one(agent=True)
    fails(rig, 0)
    passes(rig)
    assert rig.last.orders == [Order(0, HEALTH, CheckChange(state_text="UP", touched=False))]


def test_a_server_that_goes_down() -> None:
    rig = one(agent=True)
    fails(rig)
    assert rig.last.orders == [
        Order(0, HEALTH, CheckChange(stopped=True, state_text="DOWN")),
        Order(0, AGENT, CheckChange()),
    ]
    assert rig.last.changed == [0]
    assert rig.last.weights == {0: 0}


def test_maintenance_pauses_and_ready_starts_anew() -> None:
    rig = one(agent=True)
    passes(rig)
    rig.cli("set server b/s state maint")
    down = CheckChange(epoch=1, health=0, paused=True, stopped=True, state_text="DOWN")
    assert rig.last.orders == [Order(0, HEALTH, down), Order(0, AGENT, CheckChange())]
    rig.cli("set server b/s state maint")
    assert rig.last.orders == [Order(0, HEALTH, CheckChange()), Order(0, AGENT, CheckChange())]
    rig.cli("set server b/s state ready")
    up = CheckChange(epoch=2, health=2, paused=False, stopped=False, state_text="UP 1/3")
    assert rig.last.orders == [Order(0, HEALTH, up), Order(0, AGENT, CheckChange())]


def test_other_commands() -> None:
    rig = one(agent=True, weight=10)
    rig.cli("set weight b/s 50%")
    assert rig.last.orders == [Order(0, HEALTH, CheckChange(weight=5)), Order(0, AGENT, CheckChange())]
    assert rig.last.weights == {0: 5}
    rig.cli("set server b/s health down")
    forced = CheckChange(epoch=1, health=0, stopped=True, state_text="DOWN")
    assert rig.last.orders == [Order(0, HEALTH, forced), Order(0, AGENT, CheckChange())]
    rig.cli("disable health b/s")
    off = CheckChange(epoch=2, enabled=False, state_text="no check")
    assert rig.last.orders == [Order(0, HEALTH, off), Order(0, AGENT, CheckChange())]
    rig.cli("disable health b/s")
    assert rig.last.orders == [Order(0, HEALTH, CheckChange()), Order(0, AGENT, CheckChange())]
    rig.cli("set server b/s agent down")
    assert rig.last.orders == [Order(0, HEALTH, CheckChange()), Order(0, AGENT, CheckChange(epoch=1, health=0))]
    rig.cli("disable agent b/s")
    assert rig.last.orders[1] == Order(0, AGENT, CheckChange(epoch=2, enabled=False))


def test_drain_overrides_no_check() -> None:
    rig = one()
    rig.cli("set server b/s state drain")
    assert rig.last.orders == [Order(0, HEALTH, CheckChange())]
    assert rig.last.weights == {0: 0}


def test_results_overtaken_by_a_command_are_dropped() -> None:
    rig = one()
    passes(rig)
    rig.cli("set server b/s health up")
    late = result(Status.L7STS, Verdict.FAILED, 0, epoch=0, counter_moved=True)
    assert rig.fleet.result(0, HEALTH, late, 0) == Effects()
    assert rig.status("s") == "UP"
    assert rig.fleet.result(0, HEALTH, result(Status.L7STS, Verdict.FAILED, 3, epoch=1), 0) != Effects()


def test_epochs_are_unsigned_and_wrap() -> None:
    rig = one()
    check = rig.servers[0].health
    assert check is not None
    check.epoch = 0xFFFFFFFF
    rig.cli("set server b/s health up")
    assert check.epoch == 1
    assert rig.fleet.result(0, HEALTH, result(Status.L7STS, Verdict.FAILED, 3, epoch=0xFFFFFFFF), 0) == Effects()
    assert rig.fleet.result(0, HEALTH, result(Status.L7STS, Verdict.FAILED, 3, epoch=1), 0) != Effects()


def test_results_of_checks_that_are_not_there() -> None:
    rig = one(check=False, agent=True)
    failed = result(Status.L7STS, Verdict.FAILED, 0)
    assert rig.fleet.result(0, HEALTH, failed, 0) == Effects()
    rig.cli("disable agent b/s")
    assert rig.fleet.result(0, AGENT, result(Status.L7STS, Verdict.FAILED, 0, epoch=1), 0) == Effects()
    rig = one()
    rig.cli("set server b/s state maint")
    assert rig.fleet.result(0, HEALTH, result(Status.L7STS, Verdict.FAILED, 0, epoch=1), 0) == Effects()


@pytest.mark.parametrize(
    ("health", "verdict", "word"),
    [
        (0, Verdict.FAILED, "DOWN"),
        (0, Verdict.NEUTRAL, "DOWN"),
        (1, Verdict.PASSED, "DOWN 1/2"),
        (3, Verdict.FAILED, "UP 2/3"),
        (4, Verdict.CONDPASS, "NOLB"),
    ],
)
def test_a_lost_event_loses_a_line_but_no_state(health: int, verdict: Verdict, word: str) -> None:
    rig = one(logged=True)
    passes(rig)
    told = result(Status.L7STS, verdict, health, counter_moved=True)
    effects = rig.fleet.result(0, HEALTH, told, 0, logged=False)
    if verdict is not Verdict.CONDPASS:
        assert rig.status("s") == word
    assert not any("Health check" in text for text in texts(effects))
    told = result(Status.L7OK, Verdict.PASSED, 4, counter_moved=True)
    rig.fleet.result(0, HEALTH, told, 0, logged=False)
    assert rig.status("s") == "UP"


def test_a_lost_404_leaves_nolb_to_its_own_counter() -> None:
    """NOLB that fails is still NOLB, even if only the second failure was heard of."""
    rig = one()
    rig.check("s", Status.L7OKC, 404)
    rig.fleet.result(0, HEALTH, result(Status.L7STS, Verdict.FAILED, 2, counter_moved=True), 0, logged=False)
    assert rig.status("s") == "NOLB 1/3"


# --- trackers -----------------------------------------------------------------------------------------


def family() -> Rig:
    """b/s; t and u track it, v tracks t; c/w tracks it from elsewhere."""
    rig = Rig().proxy("b", log_health_checks=False).server("s").server("t", track="s").server("u", track="s")
    rig.server("v", track="t", slowstart_ms=2000).proxy("c", log_health_checks=False).server("w", track="s")
    return rig.start()


def test_trackers_follow_depth_first_the_last_of_the_file_first() -> None:
    rig = family()
    passes(rig)
    fails(rig, 3)
    assert rig.changed == ["s", "w", "u", "t", "v"]
    down = 'reason: Layer7 wrong status, code: 503, info: "Busy", check duration: #ms'
    assert rig.drain() == [
        f"<129> check Server b/s is DOWN, {down}. 3 active and 0 backup servers left. {LEFT}",
        f"<129> check Server c/w is DOWN via b/s. 0 active and 0 backup servers left. {LEFT}",
        "<128> check backend c has no server available!",
        f"<129> check Server b/u is DOWN via b/s. 2 active and 0 backup servers left. {LEFT}",
        f"<129> check Server b/t is DOWN via b/s. 1 active and 0 backup servers left. {LEFT}",
        f"<129> check Server b/v is DOWN via b/t. 0 active and 0 backup servers left. {LEFT}",
        "<128> check backend b has no server available!",
    ]
    rig.verify()


def test_a_tracker_has_its_own_slowstart_and_weight() -> None:
    rig = family()
    rig.cli("set weight b/s 7")
    fails(rig)
    passes(rig, 2)
    assert [server.op for server in rig.servers] == [Op.RUNNING, Op.RUNNING, Op.RUNNING, Op.STARTING, Op.RUNNING]
    assert [server.uweight for server in rig.servers] == [7, 1, 1, 1, 1]
    rig.drain()
    rig.pass_time(2000)
    assert rig.drain() == [f"<133> check Server b/v is UP via b/t. 4 active and 0 backup servers online. {ONLINE}"]
    rig.verify()


def test_inherited_and_forced_maintenance() -> None:
    rig = family()
    rig.cli("set server b/t state maint")
    rig.cli("set server b/s state maint")
    assert rig.status("t") == "MAINT (via b/s)"
    assert rig.status("v") == "MAINT (via b/t)"
    rig.drain()
    rig.cli("set server b/t state ready")
    assert rig.drain() == [
        "<133> check Server b/t is leaving forced maintenance but remains in maintenance via b/s.",
    ]
    rig.cli("set server b/t state maint")
    assert rig.drain() == []
    rig.cli("set server b/s state ready")
    assert rig.drain() == [
        "<133> check Server b/s is UP/READY (leaving forced maintenance).",
        "<133> check Server c/w is UP/READY (leaving maintenance).",
        "<133> check Server b/u is UP/READY (leaving maintenance).",
        "<133> check Server b/t remains in forced maintenance.",
    ]
    rig.verify()


def test_a_tracker_that_was_down_and_one_that_stays_down() -> None:
    rig = Rig().proxy("b").server("s").server("t", track="s", agent=True).start()
    rig.agent("t", "down")
    rig.drain()
    rig.cli("set server b/s state maint")
    assert rig.drain()[-1] == "<133> check Server b/t was DOWN and now enters maintenance via b/s."
    rig.cli("set server b/s state ready")
    assert rig.drain()[-1] == "<133> check Server b/t is DOWN/READY (leaving maintenance)."
    rig.agent("t", "up")
    assert rig.status("t") == "UP 1/3"


def test_a_trackers_agent_speaks_again_after_its_tracked_server() -> None:
    """HAProxy takes the tracker UP with the tracked server; its agent's next `down` brings it back (run on 2.6.12)."""
    rig = Rig().proxy("b").server("s").server("t", track="s", agent=True).start()
    rig.agent("t", "down")
    rig.cli("set server b/s health down")
    rig.agent("t", "down")
    rig.cli("set server b/s health up")
    assert rig.status("t") == "UP"
    rig.agent("t", "down")
    assert rig.status("t") == "DOWN 3/3"


def test_a_tracker_of_a_nolb_server_leaves_maintenance_as_nolb() -> None:
    rig = Rig().proxy("b").server("s").server("t", track="s").start()
    rig.cli("set server b/t state maint")
    rig.check("s", Status.L7OKC, 404)
    rig.cli("set server b/t state ready")
    assert rig.status("t") == "NOLB"
    rig.verify()


@pytest.mark.parametrize(
    ("dialect", "left", "remains"),
    [
        ("2.6", "is UP (leaving forced drain)", "is leaving forced drain but remains in drain mode via b/s"),
        ("3", "is UP (leaving drain) via b/s", "remains in drain mode via b/s"),
    ],
)
def test_inherited_drain(dialect: str, left: str, remains: str) -> None:
    rig = Rig(dialect).proxy("b").server("s").server("t", track="s").start()
    rig.cli("set server b/s state drain")
    rig.cli("set server b/t state drain")
    rig.drain()
    rig.cli("set server b/t state ready")
    assert rig.drain() == [f"<133> check Server b/t {remains}."]
    rig.cli("set server b/s state ready")
    assert rig.drain()[-1] == f"<133> check Server b/t {left}."


def test_only_2_6_repeats_a_drain() -> None:
    for dialect, told in (("2.6", 2), ("3", 1)):
        rig = one(dialect)
        rig.cli("set server b/s state drain")
        rig.drain()
        fails(rig)
        assert len(rig.drain()) == told
        rig.cli("set weight b/s 3")
        assert len(rig.drain()) == told - 1


# --- maintenance by a name, slowstart, agents, books ----------------------------------------------------


def test_a_name_that_does_not_resolve() -> None:
    rig = one(disabled=False)
    rig.servers[0].fqdn = "foo.invalid"
    effects = lose_address(rig.fleet, 0, "DNS NX status", 0)
    assert texts(effects) == [
        f"Server b/s is going DOWN for maintenance (DNS NX status). 0 active and 0 backup servers left. {LEFT}",
        "backend b has no server available!",
    ]
    assert rig.status("s") == "MAINT (resolution)"
    rig.cli("set server b/s state maint")
    assert texts(find_address(rig.fleet, 0, 0)) == [
        "Server b/s ('foo.invalid') resolves again but remains in maintenance."
    ]
    rig.cli("set server b/s state ready")
    lose_address(rig.fleet, 0, "DNS NX status", 0)
    assert texts(find_address(rig.fleet, 0, 0)) == ["Server b/s ('foo.invalid') is UP/READY (resolves again)."]


def test_slowstart() -> None:
    """Weight ⌈w x 1..16 / 16⌉ while STARTING, full and told again at its end (spec §1.9)."""
    rig = one(slowstart_ms=4000, weight=100)
    assert rig.servers[0].op is Op.RUNNING
    fails(rig)
    passes(rig, 2)
    seen = []
    rig.drain()
    for _ in range(4):
        seen.append(rig.fleet.effective_weight(0))
        rig.verify()
        rig.pass_time(1000)
    assert seen == [7, 32, 57, 82]
    assert rig.last.weights == {0: 100}
    assert rig.last.orders[0].change.weight == 100
    assert rig.drain() == [f"<133> check Server b/s is UP. 1 active and 0 backup servers online. {ONLINE}"]
    assert rig.servers[0].op is Op.RUNNING
    rig.verify()


def test_slowstart_with_a_static_algorithm() -> None:
    rig = Rig().proxy("b", static=True).server("s", slowstart_ms=2000, weight=100).start()
    fails(rig)
    passes(rig, 2)
    assert (rig.servers[0].op, rig.fleet.effective_weight(0)) == (Op.STARTING, 100)
    rig.pass_time(2000)
    assert rig.servers[0].op is Op.RUNNING


def test_an_agent_that_is_gone_changes_nothing() -> None:
    rig = one(agent=True)
    passes(rig)
    for line, word in (("-", "UP"), ("down", "DOWN (agent)"), ("-", "DOWN (agent)"), ("up", "UP")):
        rig.agent("s", line)
        assert rig.status("s") == word
        rig.verify()


def test_agent_weights_and_maxconn() -> None:
    rig = one(agent=True, weight=40)
    for line, weight in (("50%", 20), ("30000%", 256), ("0%", 0), ("100%", 40)):
        rig.agent("s", line)
        assert rig.servers[0].uweight == weight
    rig.agent("s", "maxconn:30")
    assert rig.servers[0].maxconn == 30
    for weight, then in ((77, 77), (300, 77)):
        told = result(Status.CHECKED, Verdict.NEUTRAL, 1, weight_kind=WeightKind.ABSOLUTE, weight=weight)
        rig.fleet.result(0, AGENT, told, 0)
        assert rig.servers[0].uweight == then
    rig = Rig().proxy("b", static=True).server("s", agent=True, weight=40).start()
    rig.agent("s", "50%")
    assert rig.servers[0].uweight == 40


def test_ready_of_an_agent_lifts_what_others_set() -> None:
    """Trap 27: also a maintenance of the operator or of the file; `up` does not."""
    rig = one(agent=True, disabled=True)
    rig.agent("s", "up")
    assert rig.status("s") == "MAINT"
    rig.agent("s", "ready")
    assert rig.status("s") == "UP 1/3"
    rig.verify()


def test_an_unchanged_agent_line_acts_again_after_a_command() -> None:
    rig = one(agent=True)
    rig.agent("s", "drain")
    rig.cli("set server b/s state ready")
    assert rig.servers[0].admin == Admin(0)
    rig.agent("s", "drain")
    assert rig.servers[0].admin == Admin.FDRAIN


def test_both_checks_must_be_good() -> None:
    rig = one(agent=True)
    fails(rig)
    rig.agent("s", "down")
    passes(rig, 2)
    assert rig.status("s") == "DOWN (agent)"
    rig.agent("s", "up")
    assert rig.status("s") == "UP"


def test_the_books_of_downtime() -> None:
    rig = one()
    server, proxy = rig.servers[0], rig.proxies[0]
    rig.pass_time(5000)
    fails(rig)
    rig.pass_time(3000)
    assert (server.downs, server.changed_ms, proxy.downs, proxy.changed_ms) == (1, 5000, 1, 5000)
    passes(rig, 2)
    assert (server.down_ms, server.changed_ms, proxy.down_ms, proxy.changed_ms) == (3000, 8000, 3000, 8000)
    rig.cli("set server b/s state maint")
    rig.pass_time(2000)
    rig.cli("set server b/s state ready")
    assert (server.down_ms, server.downs, proxy.down_ms, proxy.downs) == (5000, 2, 5000, 2)


def test_weights_of_backups() -> None:
    rig = Rig().proxy("b").server("s", weight=5).server("x", backup=True, weight=7).server("y", backup=True, weight=9)
    rig.proxy("c", allbackups=True).server("z", backup=True, weight=2).server("q", backup=True, weight=3).start()
    assert [rig.fleet.total_weight(number) for number in (0, 1)] == [5, 5]
    fails(rig)
    assert rig.last.weights == {0: 7}
    fails(rig, name="x")
    assert rig.last.weights == {0: 9}
    fails(rig, name="z")
    assert rig.last.weights == {1: 3}


def test_the_room_is_pure() -> None:
    """In a fresh interpreter, all of it imports neither trio nor sockets nor the compiled module."""
    script = (
        "import importlib, pkgutil, sys, risefall.state as room\n"
        "for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*sorted({'trio', 'socket', 'cffi', '_cffi_backend', 'risefall.engine'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"
