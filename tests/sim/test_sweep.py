"""Grids, fronts and wants; a sweep on several processes says what one run says, and Ctrl-C leaves what is done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from risefall.cli.loading import load_text
from risefall.cli.main import group
from risefall.errors import ConfigError
from risefall.sim.grid import Setting, parse_sweep
from risefall.sim.runs import build_estate, simulate
from risefall.sim.scenario import DEFAULT, Event, Fault
from risefall.sim.sweep import Ground, run_setting, sweep
from risefall.sim.wants import Scored, choose, front, parse_wants
from risefall.sim.weather import make_weather
from sim_kit import QUIET

DAY_MS = 86_400_000
CONFIG = """
defaults
  timeout check 1s
backend app
  option httpchk
  server a 10.0.0.1:80 check inter 3s
  server b 10.0.0.1:80 check inter 3s
"""


def scored(words: dict[str, int], detect: float | None, false: float, load: float) -> Scored:
    return Scored(
        Setting(tuple(words.items())), detect, detect, detect, detect, None, None, None, false, load, 0.0, 0.0,
        1, 0, 0, 1.0, 0, 0, 0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("inter=1s..4s", [1000, 2000, 3000, 4000]),
        ("inter=1s..4s/2s", [1000, 3000, 4000]),
        ("inter=500ms|2s", [500, 2000]),
        ("fall=2..4", [2, 3, 4]),
        ("fall=1|3..4", [1, 3, 4]),
        ("timeout check=100ms..1s", [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]),
    ],
)
def test_values_of_a_sweep(text: str, values: list[int]) -> None:
    assert [setting.values[0][1] for setting in parse_sweep(text)] == values


def test_a_grid_is_every_value_with_every_other() -> None:
    made = parse_sweep("inter=1s..2s,fall=2..3,timeout_check=500ms")
    assert len(made) == 4
    assert made[0].words == "inter 1s fall 2; timeout check 500ms"
    assert made[0].lines == ("default-server inter 1s fall 2", "timeout check 500ms")
    assert parse_sweep("timeout_check=1s")[0].lines == ("timeout check 1s",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inter=1s..10s,fal=2..5", "--sweep:1:15: error: 'fal' cannot be swept"),
        ("fal=2", "did you mean 'fall'?"),
        ("inter=1s,inter=2s", "--sweep:1:10: error: 'inter' stands here twice"),
        ("inter", "--sweep:1:1: error: 'inter' wants values"),
        ("inter=10s..1s", "--sweep:1:7: error: '10s..1s' falls"),
        ("inter=soon", "--sweep:1:7: error: 'soon' is no time\n    inter=soon\n          ^\n  help: 'inter' takes 1ms to 24d"),
        ("inter=1s..25d", "--sweep:1:11: error: '25d' is no time"),
        ("fall=0..3", "--sweep:1:6: error: '0' is no count"),
        ("inter=1ms..10s/1ms", "is more than 1000 values"),
        ("inter=1ms..900ms/1ms,fall=1..20", "18,000 settings are too many, at most 10,000"),
    ],
)  # fmt: skip
def test_bad_sweeps_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_sweep(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detect<=5s,fals<=1/year", "--want:1:12: error: 'fals' is no measure"),
        ("fals<=1/year", "did you mean 'false'?"),
        ("detect<5s", "--want:1:7: error: 'detect' wants '<=' and its most"),
        ("detect<=soon", "--want:1:9: error: 'soon' is no time"),
        ("false<=1", "--want:1:8: error: '1' is no rate"),
        ("load<=2/fortnight", "--want:1:7: error: '2/fortnight' is no rate"),
        ("dead<=x", "write a time a month, such as 30s"),
    ],
)
def test_bad_wants_are_refused_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_wants(text)
    assert message in str(refused.value)


def test_the_front_is_what_nothing_beats() -> None:
    best = [scored({"fall": 1}, 1.0, 9.0, 3.0), scored({"fall": 2}, 2.0, 1.0, 3.0), scored({"fall": 3}, 9.0, 0.0, 0.1)]
    beaten = [scored({"fall": 4}, 2.0, 1.0, 3.5), scored({"fall": 5}, None, 0.0, 0.0)]
    assert {one.setting for one in front([*beaten, *best])} == {one.setting for one in best}


def test_the_least_load_that_meets_it() -> None:
    quick, cheap, bad = (
        scored({"inter": 1000}, 2.0, 0.0, 2.0), scored({"inter": 2000}, 4.0, 0.0, 1.0), scored({"inter": 9000}, 20.0, 0.0, 0.1)
    )  # fmt: skip
    wants = parse_wants("detect<=5s, false<=1/year, load<=2/s")
    assert choose([quick, cheap, bad], wants).chosen is cheap
    assert choose([quick, cheap, bad], wants).missed == ()
    nearest = choose([quick, cheap, bad], parse_wants("detect<=3s,load<=1.5/s"))
    assert nearest.chosen is cheap
    assert [want.said for want in nearest.missed] == ["detect<=3s"]


def test_a_sweep_says_what_single_runs_say() -> None:
    """On two processes, whatever the order: the setting's own run, by a configuration that has those words."""
    loaded = load_text("t.cfg", CONFIG, {}, "2.6")
    span_ms = 3 * DAY_MS
    ground = Ground(loaded, DEFAULT, make_weather(DEFAULT, 2, span_ms, 4), span_ms, 4)
    settings = parse_sweep("inter=1s..2s,fall=2..3,timeout_check=700ms")
    found = {one.setting: one for one in sweep(ground, settings, processes=2)}
    assert set(found) == set(settings)
    text = CONFIG.replace("inter 3s", "inter 2s fall 3").replace("check 1s", "check 700ms")
    alone = simulate(
        build_estate(load_text("t.cfg", text, {}, "2.6")), DEFAULT, ground.weather, span_ms=span_ms, seed=4
    )
    swept = found[settings[-1]]
    assert swept.simulated_checks == alone.simulated_checks
    assert swept.transitions == alone.transitions > 0
    assert swept.detect_worst == max(value for seen in alone.seen for value in seen.detection)


def test_a_setting_that_never_rests_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("risefall.sim.sweep.TURNS_MAX", 1000)
    loaded = load_text("t.cfg", CONFIG, {}, "2.6")
    rough = msgspec.structs.replace(QUIET, wrong=0.5, event=(Event(kind=Fault.CRASH, every=DAY_MS),))
    ground = Ground(loaded, rough, make_weather(rough, 2, DAY_MS, 1), DAY_MS, 1)
    flapping = run_setting(ground, parse_sweep("inter=1s,fall=1,rise=1")[0])
    assert flapping.note == "more than 1,000 changes of state"
    steady = run_setting(ground, parse_sweep("inter=1h,fall=9")[0])
    assert choose([flapping, steady], parse_wants("detect<=1s")).chosen is steady


MEASURE = """
import resource, sys
from risefall.cli.loading import load_text
from risefall.sim.grid import parse_sweep
from risefall.sim.scenario import DEFAULT
from risefall.sim.sweep import Ground, sweep
from risefall.sim.weather import make_weather
loaded = load_text("t.cfg", sys.argv[1], {}, "2.6")
ground = Ground(loaded, DEFAULT, make_weather(DEFAULT, 2, 3_600_000, 1), 3_600_000, 1)
count = sum(1 for one in sweep(ground, parse_sweep(sys.argv[2]), processes=1))
print(count, *(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def test_a_sweep_of_many_settings_needs_no_more_memory() -> None:
    """Twenty times as many, in the process that asks and in the one that runs."""
    found = []
    # A build for ASan keeps what was freed, for a while: that is its memory, not ours.
    environment = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=0"}
    for text in ("inter=1s..20s/1s", "inter=1s..20s/1s,fall=1..20"):
        words = [sys.executable, "-c", MEASURE, CONFIG, text]
        found.append(
            [
                int(word)
                for word in subprocess.run(words, capture_output=True, check=True, env=environment).stdout.split()
            ]
        )
    (few, *little), (many, *much) = found
    assert (few, many) == (20, 400)
    assert all(after < 1.15 * before for before, after in zip(little, much, strict=True))


def run(*words: str) -> Result:
    return CliRunner().invoke(group, ["simulate", "-f", "-", "--as", "2.6", *words], input=CONFIG)


def test_want_prints_the_line() -> None:
    done = run(
        "--span", "5d", "--sweep", "inter=1s..3s/1s,fall=2..3", "--want", "detect<=60s,load<=10/s", "--jobs", "1"
    )
    assert done.exit_code == 0, done.output
    assert "least load that meets detect<=60s, load<=10/s:\n    default-server inter 3s fall 2" in done.stdout


def test_a_want_that_none_meets_says_what_is_nearest() -> None:
    done = run("--span", "5d", "--sweep", "inter=1s..3s/1s", "--want", "detect<=1ms", "--json", "--jobs", "1")
    assert done.exit_code == 1, done.output
    summary = msgspec.json.decode(done.stdout.splitlines()[-1])
    assert summary["want"] == {"met": False, "lines": ["default-server inter 1s"], "missed": ["detect<=1ms"]}
    assert (summary["settings"], summary["done"]) == (3, 3)


def test_ctrl_c_tells_what_is_done_so_far(tmp_path: Path) -> None:
    """Interrupted once a worker is at it: exit code 130, and the summary counts what was done."""
    config = tmp_path / "t.cfg"
    config.write_text(CONFIG)
    words = [
        "simulate",
        "-f",
        str(config),
        "--as",
        "2.6",
        "--sweep",
        "inter=100ms..200ms/1ms",
        "--span",
        "3650d",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "risefall", *words, "--jobs", "2"],
        stdout=subprocess.PIPE, env=dict(os.environ), start_new_session=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        while process.poll() is None and len(children.read_text().split()) < 2:
            os.sched_yield()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    summary = msgspec.json.decode(out.splitlines()[-1])
    assert summary["settings"] == 101
    assert summary["done"] == len(out.splitlines()) - 1 < 101
