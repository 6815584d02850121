"""The same seed is the same run; and the same run, slowly, through full probes, turns the same servers at the same times."""

from __future__ import annotations

import errno
import heapq
from random import Random

import msgspec
import pytest
from click.testing import CliRunner, Result

from risefall.cli.loading import load_text
from risefall.cli.main import group
from risefall.engine import native
from risefall.engine._native import lib
from risefall.engine.native import Probe
from risefall.engine.play import http_reply
from risefall.engine.simulated import End, Wired
from risefall.engine.targets import TargetBuilder
from risefall.errors import ConfigError
from risefall.sim.runs import build_estate, build_simulation
from risefall.sim.scenario import Event, Fault, Scenario, parse_scenario
from risefall.sim.weather import make_weather
from sim_kit import QUIET, turns_of

MS = 1_000_000
MINUTE_MS = 60_000
ROUGH = Scenario(
    balancers=2,
    wrong=0.05,
    network=msgspec.structs.replace(Scenario().network, loss=0.05),
    reply=msgspec.structs.replace(Scenario().reply, median=60.0, sigma=1.2),
    event=(
        *(Event(kind=kind, every=7 * MINUTE_MS, lasts=20_000) for kind in
          (Fault.CRASH, Fault.HOST, Fault.HANG, Fault.WRONG, Fault.PAUSE)),
        Event(kind=Fault.BROWNOUT, every=5 * MINUTE_MS, lasts=30_000, slow=10.0, wrong=0.2),
        Event(kind=Fault.PARTITION, every=20 * MINUTE_MS, lasts=10_000),
    ),
)  # fmt: skip
CONFIG = """
global
  spread-checks 20
defaults
  timeout connect 700ms
  timeout check 800ms
backend app
  option httpchk
  server a 10.0.0.1:80 check inter 1s fastinter 300ms downinter 2s
  server b 10.0.0.1:80 check inter 2s fall 2 rise 1
  server c 10.0.0.1:80 check inter 700ms
"""


def drive(probe: Probe, start_ns: int, wire: Wired) -> tuple[int, object]:
    """One check through a real probe: what the network brings, or its deadline, whichever is first."""
    probe.start(start_ns)
    up = False
    for _ in range(50):
        want = probe.want()
        if want.kind == native.DONE:
            break
        timer_ns = -(-want.deadline_ns // MS) * MS
        if want.kind == native.SEND:
            probe.sent(len(want.out), wire.connect_ns)
            continue
        comes_ns = wire.reply_ns if up else wire.connect_ns
        if comes_ns > timer_ns:
            now_ns = timer_ns
            probe.time(timer_ns)
        elif not up and wire.refused:
            now_ns = comes_ns
            probe.failed(native.AT_CONNECT, errno.ECONNREFUSED, comes_ns)
        elif not up:
            now_ns, up = comes_ns, True
            probe.connected(comes_ns)
        elif wire.reply is End.RESET:
            now_ns = comes_ns
            probe.failed(native.AT_STREAM, errno.ECONNRESET, comes_ns)
        else:
            assert wire.reply in (End.GOOD, End.WRONG)
            now_ns = comes_ns
            probe.received(http_reply(200 if wire.reply is End.GOOD else 503, "OK"), comes_ns)
    return now_ns, probe.result()


@pytest.mark.parametrize("dialect", ["2.6", "3"])
def test_the_same_seed_slowly_through_full_probes(dialect: str) -> None:
    loaded = load_text("t.cfg", CONFIG, {}, dialect)
    estate = build_estate(loaded)
    span_ms = 60 * MINUTE_MS
    weather = make_weather(ROUGH, len(estate.servers), span_ms, 5)
    fast, owners, checks = turns_of(estate, ROUGH, span_ms, 5, weather)
    targets = TargetBuilder(loaded.config, loaded.dialect, {}, node="n").build(loaded.planned, now_ns=0, seed=1)
    sim, _ = build_simulation(estate, ROUGH, weather, 5)
    slow, made = [], 0
    with sim:
        heap = []
        for index, (check, prober) in enumerate(owners):
            target = targets[check.server]
            assert target.health is not None
            program, spec = target.health
            first = check.first_ms + int(Random(f"5 start {prober}").random() * (1000 + spec.inter_ms))
            heapq.heappush(heap, (first, index, 0, spec.health, Probe(program, spec), spec))
        while heap[0][0] < span_ms:
            due, index, count, health, probe, spec = heapq.heappop(heap)
            done_ns, result = drive(probe, due * MS, sim.wired(index, count, due * MS))
            made += 1
            after = lib.rf_counter_next(health, spec.rise, spec.fall, result.verdict)  # type: ignore[attr-defined]
            if (health >= spec.rise) != (after >= spec.rise):
                slow.append((done_ns, index, after >= spec.rise, result.status))  # type: ignore[attr-defined]
            pace = lib.rf_counter_pace(after, spec.rise, spec.fall, spec.inter_ms, spec.fastinter_ms, spec.downinter_ms)
            due = -(-done_ns // MS) + sim.pause(index, count, pace)
            heapq.heappush(heap, (due, index, count + 1, after, probe, spec))
    assert made == checks
    assert len(slow) > 200
    assert sorted((turn.done_ns, turn.check, turn.good, turn.status) for turn in fast) == sorted(slow)  # type: ignore[type-var]


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
