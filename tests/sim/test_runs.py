"""What a run does and says: the same seed is the same run, scenarios and spans are refused with their place."""

from __future__ import annotations

import re

import msgspec
import pytest
from click.testing import CliRunner, Result

from risefall.cli.loading import load_text
from risefall.cli.main import group
from risefall.errors import ConfigError
from risefall.sim.runs import build_estate
from risefall.sim.scenario import Event, Fault, parse_scenario
from sim_kit import CONFIG, MINUTE_MS, QUIET, turns_of


def test_nothing_happens_where_nothing_befalls() -> None:
    estate = build_estate(load_text("t.cfg", CONFIG, {}, "2.6"))
    turns, _, checks = turns_of(estate, QUIET, 60 * MINUTE_MS)
    assert turns == []
    assert checks > 60 * 60


def test_a_pause_that_is_over_in_time_fails_nothing() -> None:
    """A garbage collector of 300 ms, several a minute: every reply comes late, and is a good one."""
    pauses = Event(kind=Fault.PAUSE, every=5000, lasts=300, steady=True)
    estate = build_estate(load_text("t.cfg", CONFIG, {}, "2.6"))
    turns, _, checks = turns_of(estate, msgspec.structs.replace(QUIET, event=(pauses,)), 60 * MINUTE_MS)
    assert turns == []
    assert checks > 60 * 60


def run(*words: str, config: str = CONFIG) -> Result:
    return CliRunner().invoke(group, ["simulate", "-f", "-", *words], input=config)


def test_the_same_seed_is_the_same_to_the_byte() -> None:
    """But for the last line's wall time."""
    one, other, third = (run("--span", "2d", "--seed", seed, "--json") for seed in ("7", "7", "8"))
    assert one.exit_code == 0, one.output
    rows = one.stdout.splitlines()
    assert rows[:-1] == other.stdout.splitlines()[:-1]
    assert rows[:-1] != third.stdout.splitlines()[:-1]
    summary = msgspec.json.decode(rows[-1])
    assert summary["simulated_checks"] > 100_000
    assert {"transitions", "wall_s"} <= set(summary)


def test_the_table_tells_what_it_assumes() -> None:
    done = run("--span", "1d")
    assert done.exit_code == 0, done.output
    assert "app/a" in done.stdout
    assert "assumed, since no --scenario was given: 2 balancers" in done.stdout


def test_what_is_alike_of_many_servers_is_told_once() -> None:
    """A check that only connects is blind for some outages, and the table says which servers have one."""
    servers = "".join(f"  server s{number} 10.0.0.1:80 check\n" for number in range(5))
    done = run("--span", "1d", config=f"backend app\n{servers}  server t 10.0.0.1:80\n")
    assert "app/s0, app/s1, app/s2 and 2 more: only connects: an outage" in done.stdout
    assert "app/t: not checked" in done.stdout


def test_a_narrow_terminal_names_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into a pipe nothing is left out, nor cut."""
    wide = run("--span", "1d").stdout.splitlines()[0]
    assert {"peak", "spared-min", "split-s"} <= set(wide.split())
    monkeypatch.setattr("risefall.cli.simulate_show.Screen.is_terminal", True)
    narrow = re.sub("\x1b\\[[0-9;]*m", "", run("--span", "1d").stdout)
    assert "not shown, for want of width: detect p50, detect worst, " in narrow
    assert max(map(len, narrow.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("balancer = 3\n", "t.toml:1:1: error: balancer: there is no such key here"),
        ('[[event]]\nkind = "crush"\nevery = "1d"\n', "t.toml:2:1: error: event[1].kind: 'crush' is not one of: crash"),
        ('[[event]]\nkind = "crash"\n', "an event wants either 'every' or 'at'"),
        ("[network]\nloss = 1.5\n", "write a share from 0 to 1"),
        ('[[event]]\nkind = "burst"\nevery = "soon"\n', "'soon' is no time"),
        ('[[event]]\nkind = "crash"\nevery = "3651d"\n', "write 1s to 3650d"),
        ('[[event]]\nkind = "crash"\nat = ["1h", "soon"]\n', "event[1].at[2]: 'soon' is no time"),
        ('[reply]\nshape = "histogram"\n', "a histogram wants points that rise"),
    ],
)
def test_bad_scenarios_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_scenario(text, "t.toml")
    assert message in str(refused.value)


def test_times_of_a_scenario_do_not_end_where_haproxys_do() -> None:
    """HAProxy counts 24.8 days; what happens once in ten years is still a scenario."""
    made = parse_scenario(
        '[[event]]\nkind = "crash"\nevery = "3650d"\nlasts = "30d"\n[[event]]\nkind = "hang"\nat = ["10s", "40d"]\n'
    )
    assert (made.event[0].every, made.event[0].lasts) == (3650 * 86_400_000, 30 * 86_400_000)
    assert made.event[1].at == (10_000, 40 * 86_400_000)


def test_nothing_to_simulate_is_refused() -> None:
    done = run(config="backend app\n  server a 10.0.0.1:80\n")
    assert isinstance(done.exception, ConfigError)
    assert "no server of this configuration is checked" in str(done.exception)


def test_a_span_that_is_none_is_refused() -> None:
    done = run("--span", "soon")
    assert done.exit_code == 2
    assert "'soon' is no span" in done.output
