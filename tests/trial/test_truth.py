"""The two-sample test of bench/truth.py against what is known of it, since the claim of likeness stands on it."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from risefall.cli.loading import load_text
from risefall.trial.rewriting import stage_of
from truth import CONFIGS, FAULTS, config_of, ks_2samp


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
