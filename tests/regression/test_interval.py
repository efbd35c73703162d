"""How often the gate is wrong, on synthetic runs whose truth is known: seeded, so that the counts repeat."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import Machine, measurement

from edgekit.regression.interval import LEAST_TURNS, apart, student_quantile, together, wander
from edgekit.regression.latencies import of_turns

MACHINE = Machine()
PAIRS = 200


def pairs(slower: float, name: str, cycles: int = 75):
    """Give the interval of each of 200 pairs that were measured by turns."""
    found = []
    for seed in range(PAIRS):
        common = MACHINE.common(seed, cycles)
        new = MACHINE.measure(common, 2 * seed, slower=slower)
        base = MACHINE.measure(common, 2 * seed + 1)
        found.append(together(of_turns(new.turns), of_turns(base.turns), name))
    return found


@pytest.mark.parametrize("name", ["p50", "p90"])
def test_equal_models_raise_few_alarms_and_slower_ones_are_found(name):
    alarms = sum(one.low > 1 for one in pairs(0.0, name))
    assert alarms <= 0.02 * PAIRS
    found = sum(one.low > 1.01 for one in pairs(0.05, name))
    assert found >= 0.95 * PAIRS


def test_the_interval_holds_the_truth():
    missed = sum(not one.low <= 1.05 <= one.high for one in pairs(0.05, "p50"))
    assert missed <= 0.04 * PAIRS, "0.5 % is left out at each end"


def test_runs_apart_raise_few_alarms_though_the_machine_moved():
    alarms = 0
    for seed in range(PAIRS):
        new = MACHINE.measure(MACHINE.common(2 * seed, 40), 2 * seed)
        base = MACHINE.measure(MACHINE.common(2 * seed + 1, 40), 2 * seed + 1)
        found = apart(of_turns(new.turns), of_turns(base.turns), "p50")
        alarms += found.low > 1.05
    assert alarms <= 0.02 * PAIRS


def test_runs_apart_know_their_drift_and_pairs_need_not():
    steady, moving = Machine(drift=0.0, wander=0.0), Machine(drift=0.1, wander=0.0)
    new, base = (of_turns(moving.measure(moving.common(3, 40), seed).turns) for seed in (1, 2))
    quiet = of_turns(steady.measure(steady.common(3, 40), 1).turns)
    assert wander(new, "p50") > 5 * wander(quiet, "p50")
    one, two = together(new, base, "p50"), apart(new, base, "p50")
    assert two.drift > 0.01 and one.drift == 0
    assert two.high - two.low > 3 * (one.high - one.low)


def test_throughput_and_mean_follow_the_slowdown():
    common = MACHINE.common(1, 40)
    new, base = MACHINE.measure(common, 1, slower=0.5), MACHINE.measure(common, 2)
    sides = of_turns(new.turns), of_turns(base.turns)
    assert together(*sides, "mean").ratio == pytest.approx(1.5, rel=0.06)
    assert together(*sides, "throughput").ratio == pytest.approx(1 / 1.5, rel=0.06)


def test_only_turns_of_one_cycle_are_pairs():
    latencies = np.full((12, 30), 0.2)
    new, base = measurement(latencies * 1.1), measurement(latencies)
    kept = of_turns(base.turns[3:])
    found = together(of_turns(new.turns), kept, "p50")
    assert found.turns == 9 and found.ratio == pytest.approx(1.1)
    assert together(of_turns(new.turns), of_turns(base.turns[: LEAST_TURNS - 1]), "p50") is None


def test_it_repeats():
    common = MACHINE.common(5, 20)
    sides = [of_turns(MACHINE.measure(common, seed).turns) for seed in (1, 2)]
    assert together(*sides, "p90", 3) == together(*sides, "p90", 3)


@pytest.mark.parametrize(
    ("freedom", "value"), [(4, 3.747), (7, 2.998), (19, 2.539), (100, 2.364)]
)  # fmt: skip
def test_students_quantile(freedom, value):
    assert student_quantile(0.99, freedom) == pytest.approx(value, rel=0.01)
