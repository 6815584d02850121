"""What befalls servers, ways and balancers, one at a time: what a run answers is what can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from risefall.cli.loading import load_text
from risefall.errors import ConfigError
from risefall.sim.latency import levels
from risefall.sim.runs import Estate, Outcome, build_estate, first_minute, simulate
from risefall.sim.scenario import Event, Fault, Latency, Network, Scenario, Shape, load_scenario
from risefall.sim.weather import make_weather
from risefall.status import Status
from sim_kit import INSTANT, QUIET, estate, turns_of

HOUR_MS = 3_600_000
MONTH_S = 30 * 86_400


def with_events(*events: Event, balancers: int = 1, **more: object) -> Scenario:
    return msgspec.structs.replace(QUIET, balancers=balancers, event=events, **more)


def run(made: Estate, scenario: Scenario, span_ms: int = HOUR_MS, seed: int = 3) -> Outcome:
    weather = make_weather(scenario, len(made.servers), span_ms, seed)
    return simulate(made, scenario, weather, span_ms=span_ms, seed=seed)


def at(kind: Fault, *begins: int, lasts: int, **more: object) -> Event:
    """Exactly then, exactly so long."""
    return msgspec.structs.replace(Event(kind=kind, at=begins, lasts=lasts, steady=True), **more)


def test_recovery_is_a_uniform_phase_of_downinter_and_rise_less_one_fast_ones() -> None:
    made = estate("inter 1s fastinter 500ms downinter 4s rise 3 fall 2", servers=20)
    crashes = Event(kind=Fault.CRASH, every=HOUR_MS, lasts=120_000)
    rows = run(made, with_events(crashes), 10 * 24 * HOUR_MS).rows
    count = sum(row.recovery.count for row in rows)
    mean = sum((row.recovery.mean or 0.0) * row.recovery.count for row in rows) / count
    assert count > 3000
    assert abs(mean - (2.0 + 1.0)) < 5 * 4.0 / math.sqrt(12 * count)
    assert 4.9 < max(row.recovery.worst or 0.0 for row in rows) < 5.01


def test_an_outage_that_is_over_before_fall_checks_is_unseen() -> None:
    """Two a balancer, and nobody says DOWN; traffic went to the dead all the while."""
    (row,) = run(estate("inter 5s fall 3"), with_events(at(Fault.CRASH, 60_000, 600_000, lasts=1000), balancers=2)).rows
    assert (row.outages, row.missed, row.detection.count, row.false_downs) == (2, 4, 0, 0)
    assert row.dead_minutes * (HOUR_MS / 1000 / MONTH_S) == pytest.approx(2 / 60)


def test_a_partition_of_one_balancer_makes_two_opinions_and_a_false_alarm() -> None:
    """It fails from 60 s to 90 s for balancer 2 alone: DOWN within 2 s, since a check that is lost takes its `inter` of 1 s."""
    partition = at(Fault.PARTITION, 60_000, lasts=30_000, balancer=2)
    outcome = run(estate("inter 1s fall 2 rise 2"), with_events(partition, balancers=2))
    (row,) = outcome.rows
    split_s = row.two_opinions_s * (HOUR_MS / 1000 / MONTH_S)
    assert (row.outages, row.false_downs, row.missed) == (0, 1, 0)
    assert 90 - 64 < split_s < 93 - 62
    (down, _, _), (up, _, _) = outcome.opinions[1].turns
    assert outcome.opinions[0].turns == []
    assert 62e9 < down < 64e9
    assert split_s == pytest.approx((up - down) / 1e9)


def test_a_restart_of_forty_seconds() -> None:
    """Refused for 40 s: known after two checks at most a second and a fastinter, back as soon after."""
    made = estate("inter 1s fastinter 200ms downinter 1s rise 2 fall 2")
    (row,) = run(made, with_events(at(Fault.RESTART, 600_000, lasts=40_000))).rows
    assert row.detection.worst is not None
    assert row.recovery.worst is not None
    assert 0.2 <= row.detection.worst <= 1.25
    assert 0.2 <= row.recovery.worst <= 1.25
    months = HOUR_MS / 1000 / MONTH_S
    assert row.dead_minutes * months * 60 == pytest.approx(row.detection.worst)
    assert row.spared_minutes * months * 60 == pytest.approx(row.recovery.worst)


def test_a_balancer_that_reboots_finds_the_dead_again() -> None:
    """It holds every server for UP until its own checks say otherwise; the other one is not touched."""
    crash, reboot = at(Fault.CRASH, 60_000, lasts=600_000), at(Fault.REBOOT, 120_000, lasts=1, balancer=1)
    outcome = run(estate("inter 1s fall 3"), with_events(crash, reboot, balancers=2))
    assert [up for _, up, _ in outcome.opinions[0].turns] == [False, True, False, True]
    assert [up for _, up, _ in outcome.opinions[1].turns] == [False, True]
    assert outcome.opinions[0].turns[1][0] == pytest.approx(120e9, abs=1e6)
    assert outcome.rows[0].two_opinions_s > 0


def test_a_garbage_collector_that_is_too_slow_cries_wolf() -> None:
    """Pauses of 5 s where a reply has a second: each is a DOWN of a server that was not."""
    pauses = at(Fault.PAUSE, *range(60_000, HOUR_MS - 60_000, 60_000), lasts=5000)
    (row,) = run(estate("inter 1s fall 2"), with_events(pauses)).rows
    assert (row.outages, row.detection.count) == (0, 0)
    assert row.false_downs == len(pauses.at)
    assert row.false_per_month == pytest.approx(len(pauses.at) * MONTH_S / 3600)


def test_losses_in_bursts_do_what_the_same_losses_apart_do_not() -> None:
    """The same share of packets in all: `fall` bears those that come singly."""
    made = estate("inter 1s fall 3", servers=4)
    loss = 0.01
    apart = msgspec.structs.replace(QUIET, network=Network(trip=INSTANT, loss=loss))
    bursts = with_events(Event(kind=Fault.BURST, every=500_000, lasts=10_000, loss=loss * 510 / 10))
    alone, together = (sum(row.false_downs for row in run(made, one, 48 * HOUR_MS).rows) for one in (apart, bursts))
    assert together > 20 * max(1, alone)


def test_the_tail_of_a_pareto() -> None:
    """Of replies of 20 ms and more, alpha 1, one in fifty takes more than a second (spec §2.3: connect and reply share `inter`)."""
    tail = Latency(shape=Shape.PARETO, median=20.0, alpha=1.0)
    made = estate("inter 1s fall 1 rise 1", servers=4)
    turns, _, checks = turns_of(made, msgspec.structs.replace(QUIET, reply=tail), 24 * HOUR_MS)
    late = 20 / 1000
    expected = checks * late * (1 - late)
    assert abs(sum(not turn.good for turn in turns) - expected) < 5 * math.sqrt(expected)


def recorded(folder: Path, text: str) -> str:
    """A scenario beside what `risefall bench --record` writes: nine of ten in 1 to 10 ms, one in ten in 2 to 4 s."""
    (folder / "seen.json").write_text('{"unit": "us", "edges": [1000, 10000, 2000000, 4000000], "counts": [90, 0, 10]}')
    (folder / "short.json").write_text('{"unit": "us", "edges": [1000], "counts": [90]}')
    (folder / "s.toml").write_text(f"balancers = 1\n[network]\nloss = 0.0\n[reply]\n{text}")
    return str(folder / "s.toml")


def test_a_recorded_histogram(tmp_path: Path) -> None:
    scenario = load_scenario(recorded(tmp_path, 'shape = "histogram"\nfile = "seen.json"\n'))
    quantiles = levels(scenario.reply)[0]
    assert quantiles[0] == 1000
    assert quantiles[1024 * 45 // 100] == pytest.approx(1000 + 9000 * 0.5, abs=10)
    assert quantiles[1024 * 95 // 100] == pytest.approx(3_000_000, abs=20_000)
    made = estate("inter 1s fall 1 rise 1", servers=4)
    turns, _, checks = turns_of(made, scenario, 24 * HOUR_MS)
    expected = checks * 0.1 * 0.9
    assert abs(sum(not turn.good for turn in turns) - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('shape = "histogram"\nfile = "none.json"\n', "s.toml:6:1: error: reply.file: 'none.json': cannot be read: No such"),
        ('shape = "histogram"\nfile = "short.json"\n', "'short.json': no histogram of risefall bench --record: it wants"),
        ('shape = "histogram"\nfile = "s.toml"\n', "s.toml:6:1: error: reply.file: 's.toml': no histogram"),
        ('file = "seen.json"\n', "a file is for shape = \"histogram\", without points"),
    ],
)  # fmt: skip
def test_a_recorded_histogram_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_scenario(recorded(tmp_path, text))
    assert message in str(refused.value)


def test_balancers_that_start_together_stay_a_herd() -> None:
    """Twenty of them, one server each 10 s: all in the same second, and on their own hardly any two."""
    made = estate("inter 10s")
    alone = msgspec.structs.replace(QUIET, balancers=20)
    herd = msgspec.structs.replace(alone, together=True)
    assert run(made, herd).rows[0].checks_peak_per_s == 20
    assert run(made, alone).rows[0].checks_peak_per_s < 10
    weather = make_weather(herd, 1, HOUR_MS, 3)
    bins = first_minute(made, herd, weather, 3)
    assert max(bins) == 20
    assert sum(bins) == 20 * 6
    assert max(first_minute(made, alone, weather, 3)) < 5


EXTERNAL = """
global
  external-check
  insecure-fork-wanted
backend app
  option external-check
  external-check command /bin/true
  server a 10.0.0.1:80 check inter 1s fall 2
"""


@pytest.mark.parametrize(("kind", "status"), [(Fault.CRASH, Status.PROCERR), (Fault.HANG, Status.PROCTOUT)])
def test_external_checks(kind: Fault, status: Status) -> None:
    """A command that fails ends; one that hangs is ended at `inter`."""
    made = build_estate(load_text("t.cfg", EXTERNAL, {}, "2.6"))
    down, up = turns_of(made, with_events(at(kind, 60_000, lasts=60_000)), HOUR_MS)[0]
    assert (down.good, down.status) == (False, status)
    assert (up.good, up.status) == (True, Status.PROCOK)


def test_a_server_that_tracks_another_is_told_and_has_no_checks() -> None:
    text = "backend app\n option httpchk\n server a 10.0.0.1:80 check\nbackend web\n server b 10.0.0.1:81 track app/a\n"
    outcome = run(build_estate(load_text("t.cfg", text, {}, "2.6")), QUIET)
    assert [row.server for row in outcome.rows] == ["a"]
    assert outcome.left_out == [("web/b", "follows app/a, down and up with it")]
