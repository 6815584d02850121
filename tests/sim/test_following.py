"""Agents in virtual time: what balancers make of a load trace, by the agent's own rules and HAProxy's own words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from risefall.cli.loading import load_text
from risefall.cli.main import group
from risefall.errors import ConfigError
from risefall.sim.agents import Following, follow_agents
from risefall.sim.runs import build_estate
from risefall.sim.scenario import Event, Fault, Played
from risefall.sim.weather import make_weather
from sim_kit import QUIET

SETTINGS = """
[service.app]
smooth = "0"
hysteresis = 0
step = 10000
[[service.app.signal]]
kind = "cpu"
name = "cpu"
curve = [[0, 100], [100, 1]]
[[service.app.state]]
say = "drain"
signal = "cpu"
op = ">="
value = 99
"""
CONFIG = """
backend app
  balance {balance}
  option httpchk
  server s 10.0.0.1:80 check {weight} agent-check agent-port 99 agent-inter 2s
"""


def trace(folder: Path, *loads: int) -> Played:
    """A load each 20 s."""
    (folder / "agent.toml").write_text(SETTINGS)
    lines = [f"{20 * place},{load}" for place, load in enumerate((*loads, loads[-1]))]
    (folder / "load.csv").write_text("\n".join(["t,cpu", *lines]) + "\n")
    return Played(settings=str(folder / "agent.toml"), trace=str(folder / "load.csv"))


def follow(
    played: Played, *events: Event, balance: str = "roundrobin", weight: str = "weight 100", balancers: int = 1
) -> Following:
    loaded = load_text("t.cfg", CONFIG.format(balance=balance, weight=weight), {}, "2.6")
    estate = build_estate(loaded)
    scenario = msgspec.structs.replace(QUIET, balancers=balancers, event=events, agent=played)
    return follow_agents(loaded, estate, scenario, make_weather(scenario, 1, 3_600_000, 1), 3_600_000, 1)


def test_each_balancer_follows_within_its_agent_inter(tmp_path: Path) -> None:
    """Weight falls and comes back; whoever asks every 2 s knows within 2 s, each at its own time."""
    told = follow(trace(tmp_path, 0, 50, 90, 50, 0), balancers=3)
    assert told.span_ns == 100e9
    for one, steps in zip(told.followers, told.held, strict=True):
        assert [step.weight for step in steps] == [100, 51, 11, 51, 100]
        assert (one.weight_least, one.weight_most, one.changes, one.unheard, one.unanswered) == (11, 100, 4, 0, 0)
        assert one.heard_worst_s is not None
        assert 0 < one.heard_worst_s <= 2.002
        assert one.weight_mean == pytest.approx((100 + 51 + 11 + 51 + 100) / 5, abs=5)
    assert len({one.heard_mean_s for one in told.followers}) == 3


def test_a_drain_is_taken_back(tmp_path: Path) -> None:
    """`drain` and, once the load is gone, `ready`: out for as long, and no longer."""
    told = follow(trace(tmp_path, 10, 100, 10))
    assert [(step.weight > 0, step.word) for step in told.held[0]] == [
        (True, ""),
        (True, ""),
        (False, "drain"),
        (True, ""),
    ]
    assert told.followers[0].out_s == pytest.approx(20, abs=2.1)


@pytest.mark.parametrize(
    ("balance", "weight", "weights"),
    [("roundrobin", "", [1, 0, 1]), ("static-rr", "weight 100", [100]), ("roundrobin", "weight 10", [10, 5, 10])],
)
def test_what_haproxy_does_not_take_does_not_happen(
    tmp_path: Path, balance: str, weight: str, weights: list[int]
) -> None:
    """Per cent of weight 1 are cut to 0, and a static algorithm takes 0 and 100 only (run on 2.6.12)."""
    told = follow(trace(tmp_path, 0, 50, 0), balance=balance, weight=weight)
    assert [step.weight for step in told.held[0]] == weights


def test_an_agent_that_cannot_be_heard_changes_nothing(tmp_path: Path) -> None:
    gone = Event(kind=Fault.HOST, at=(30_000,), lasts=60_000, steady=True)
    told = follow(trace(tmp_path, 0, 50, 90, 20, 0), gone)
    assert [step.weight for step in told.held[0]] == [100, 51, 100]
    assert told.followers[0].unanswered > 10
    assert told.followers[0].unheard == 2


SCENARIO = 'balancers = 2\n[agent]\nsettings = "agent.toml"\ntrace = "load.csv"\n'


def run(folder: Path, text: str, *words: str, config: str = CONFIG) -> Result:
    (folder / "s.toml").write_text(text)
    words = ("simulate", "-f", "-", "--scenario", str(folder / "s.toml"), "--span", "1h", *words)
    return CliRunner().invoke(group, words, input=config.format(balance="roundrobin", weight="weight 100"))


def test_text_objects_and_a_picture(tmp_path: Path) -> None:
    trace(tmp_path, 0, 50, 90, 50, 0)
    pytest.importorskip("matplotlib")
    done = run(tmp_path, SCENARIO, "--plot", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "agents play 100 s of the trace" in done.stdout
    assert (tmp_path / "out" / "agent.png").read_bytes().startswith(b"\x89PNG")
    lines = [msgspec.json.decode(line) for line in run(tmp_path, SCENARIO, "--json").stdout.splitlines()]
    agents = [line for line in lines if line.get("kind") == "agent"]
    assert [(one["server"], one["balancer"], one["weight_least"]) for one in agents] == [("s", 1, 11), ("s", 2, 11)]
    assert "simulated_checks" in lines[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SCENARIO.replace("load.csv", "loud.csv"), "s.toml:4:1: error: agent.trace: 'loud.csv': there is no such file"),
        (SCENARIO + 'service = "api"\n', "agent.toml: error: there is no service 'api'\n  help: services: app"),
        ('[agent]\nsettings = "agent.toml"\n', "s.toml:1:2: error: agent: 'trace' is missing"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, text: str, message: str) -> None:
    trace(tmp_path, 0, 50)
    done = run(tmp_path, text)
    assert isinstance(done.exception, ConfigError), done.output
    assert message in str(done.exception)


def test_agents_without_an_agent_check_are_refused(tmp_path: Path) -> None:
    trace(tmp_path, 0, 50)
    done = run(tmp_path, SCENARIO, config="backend app\n  server s 10.0.0.1:80 check\n")
    assert "no server has an agent-check" in str(done.exception)
