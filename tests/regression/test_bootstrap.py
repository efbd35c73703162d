"""How often the gate is wrong, on synthetic runs with known parameters: seeded, so that the counts repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import Machine, measurement

from edgekit.regression.bootstrap import LEAST_BLOCKS, of_one_run, of_two_runs, spread_of_parts, student_quantile
from edgekit.regression.latencies import of_blocks

MACHINE = Machine()
PAIRS = 100


@pytest.fixture(scope="module")
def pairs():
    """Return pairs of an equal and of a slower model, measured interleaved: (equal, slower, base)."""
    measured = []
    for seed in range(PAIRS):
        common = MACHINE.common(seed, 80)
        models = [
            MACHINE.measure(common, 3 * seed + n, slower=by, per_turn=12) for n, by in enumerate((0.0, 0.05, 0.0))
        ]
        measured.append(tuple(models))
    return measured


@pytest.mark.parametrize("name", ["p50", "p90"])
def test_equal_models_raise_few_alarms_and_slower_ones_are_found(name, pairs):
    alarms = sum(of_one_run(equal, base, name).low > 1 for equal, _, base in pairs)
    assert alarms <= 0.02 * PAIRS
    detected = sum(of_one_run(slower, base, name).low > 1.01 for _, slower, base in pairs)
    assert detected >= 0.95 * PAIRS


def test_the_interval_contains_the_truth(pairs):
    intervals = [of_one_run(slower, base, "p50") for _, slower, base in pairs]
    missed = sum(not interval.low <= 1.05 <= interval.high for interval in intervals)
    assert missed <= 0.04 * PAIRS, "0.5 % is left out at each end"


def test_separate_runs_raise_few_alarms_though_the_machine_drifted():
    alarms = 0
    for seed in range(PAIRS):
        new = MACHINE.measure(MACHINE.common(2 * seed, 20), 2 * seed)
        base = MACHINE.measure(MACHINE.common(2 * seed + 1, 20), 2 * seed + 1)
        interval = of_two_runs(of_blocks(new.turns), of_blocks(base.turns), "p50")
        alarms += interval.low > 1.05
    assert alarms <= 0.02 * PAIRS


def test_separate_runs_include_their_drift_and_pairs_need_not():
    steady, moving = Machine(drift=0.0, wander=0.0), Machine(drift=0.1, wander=0.0)
    new, base = (moving.measure(moving.common(3, 40), seed) for seed in (1, 2))
    quiet = steady.measure(steady.common(3, 40), 1)
    assert spread_of_parts(of_blocks(new.turns), "p50") > 5 * spread_of_parts(of_blocks(quiet.turns), "p50")
    paired, apart = of_one_run(new, base, "p50"), of_two_runs(of_blocks(new.turns), of_blocks(base.turns), "p50")
    assert apart.drift > 0.01 and paired.drift == 0
    assert apart.high - apart.low > 3 * (paired.high - paired.low)


def test_throughput_and_mean_follow_the_slowdown():
    common = MACHINE.common(1, 40)
    new, base = MACHINE.measure(common, 1, slower=0.5), MACHINE.measure(common, 2)
    assert of_one_run(new, base, "mean").ratio == pytest.approx(1.5, rel=0.06)
    assert of_one_run(new, base, "throughput").ratio == pytest.approx(1 / 1.5, rel=0.06)


@pytest.mark.parametrize("name", ["p50", "p90", "mean"])
def test_only_blocks_of_one_cycle_are_pairs(name):
    latencies = np.full((12, 30), 0.2)
    new, base = measurement(latencies * 1.1), measurement(latencies)
    interval = of_one_run(new, replace(base, turns=base.turns[3:]), name)
    assert interval.blocks == 9 and interval.ratio == pytest.approx(1.1, rel=1e-3)
    assert of_one_run(new, replace(base, turns=base.turns[: LEAST_BLOCKS - 1]), name) is None


def test_single_rounds_are_pairs_though_a_block_joins_them():
    common = Machine(drift=0.5).common(1, 200)
    new, base = (MACHINE.measure(common, seed, slower=by, per_turn=12) for seed, by in ((1, 0.05), (2, 0.0)))
    assert len(new.turns) == 25
    single = of_one_run(new, base, "p50")
    bare = [
        replace(measured, turns=tuple(replace(turn, p50_ms=(), p90_ms=()) for turn in measured.turns))
        for measured in (new, base)
    ]
    pooled = of_one_run(*bare, "p50")
    assert (single.blocks, pooled.blocks) == (200, 25)
    assert single.low < 1.05 < single.high
    assert single.high - single.low < (pooled.high - pooled.low) / 2, "a machine that moves makes the pooled one vague"


def test_a_burst_in_one_round_changes_nothing():
    latencies = np.full((40, 12), 0.2) * np.random.default_rng(0).normal(1, 0.002, (40, 12))
    calm, shaken = measurement(latencies), latencies.copy()
    shaken[7] *= 30
    assert of_one_run(measurement(shaken), calm, "p50").ratio == pytest.approx(1, abs=0.002)
    assert of_one_run(measurement(shaken), calm, "throughput").ratio < 0.7, "but throughput counts what was lost"


def test_it_repeats():
    common = MACHINE.common(5, 20)
    sides = [MACHINE.measure(common, seed) for seed in (1, 2)]
    assert of_one_run(*sides, "p90", 3) == of_one_run(*sides, "p90", 3)


@pytest.mark.parametrize(
    ("freedom", "value"), [(4, 3.747), (7, 2.998), (19, 2.539), (100, 2.364)]
)  # fmt: skip
def test_students_quantile(freedom, value):
    assert student_quantile(0.99, freedom) == pytest.approx(value, rel=0.01)
