"""The two-sample test of bench/truth.py against what is known of it, since the claim of likeness stands on it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import msgspec

from risefall.cli.loading import load_text
from risefall.trial.rewriting import stage_of
from truth import CONFIGS, FAULTS, cell, config_of, kept, ks_2samp, span_s


def test_equal_samples_agree_and_apart_ones_do_not() -> None:
    values = [float(n) for n in range(50)]
    assert ks_2samp(values, values) == 1.0
    assert ks_2samp(values, [value + 100 for value in values]) < 1e-12


def test_a_value_of_the_tables() -> None:
    """D = 0.2 of twice 100 values: lambda = 0.2 * (sqrt(50) + 0.12 + 0.11 / sqrt(50)) = 1.441, Q = 0.0314."""
    one = [float(n) for n in range(100)]
    assert ks_2samp(one, [value + 20 for value in one]) == pytest.approx(0.0314, abs=0.0005)


def test_it_rejects_what_is_the_same_as_rarely_as_it_says_and_sees_a_shift() -> None:
    dice = random.Random(5)
    rejected = seen = 0
    for _ in range(400):
        one = [dice.uniform(2, 3) for _ in range(60)]
        other = [dice.uniform(2, 3) for _ in range(60)]
        rejected += ks_2samp(one, other) < 0.05
        seen += ks_2samp(one, [value + 0.3 for value in other]) < 0.05
    assert 4 <= rejected <= 36, "5 % of 400 are 20, give or take"
    assert seen > 350


def test_every_configuration_is_one_that_bench_plays() -> None:
    assert len(CONFIGS) == 12
    assert len(FAULTS) == 6
    for name in CONFIGS:
        stage = stage_of(load_text("t.cfg", config_of(name, 3), {}, "2.6"))
        assert len(stage.played) == 3, stage.left_out


def test_what_was_kept_is_not_run_again(tmp_path: Path) -> None:
    """A file of cells whose last line was cut by whoever ended the run."""
    made = cell("redis", "refuse", [1.0, 2.0], [1.5], [1.0, 2.5], [1.0, 2.0, 3.0])
    path = tmp_path / "kept.jsonl"
    path.write_bytes(msgspec.json.encode(made) + b"\n" + msgspec.json.encode(made)[:-9])
    assert kept(str(path)) == [made]
    assert kept(str(tmp_path / "none")) == kept("") == []
    assert made.samples == {"risefall": 2, "haproxy": 3, "simulated": 3}


def test_a_run_is_long_enough_for_the_slowest_first_failure(tmp_path: Path) -> None:
    """Sound for 2.5 intervals at most; then a phase, and `fall` checks that each take connect and reply and an interval."""
    path = tmp_path / "t.cfg"
    path.write_text(config_of("http 1s 2/3", 1))
    assert span_s(path) == pytest.approx(1 + 2.5 + 1 + 3 * (0.4 + 1 + 1))
