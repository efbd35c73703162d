"""Faster, slower, or within the noise: on rounds with a known difference."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.bench import Outcome, Round, faster
from edgekit.errors import UsageError
from tests.wording import raises


def outcome(name: str, medians, first_cycle: int = 0) -> Outcome:
    rounds = tuple(Round(first_cycle + i, 10, 0.1, float(value)) for i, value in enumerate(medians))
    return Outcome(name, None, np.empty(0, np.int64), rounds)


def noisy(scale: float, seed: int, count: int = 20, jitter: float = 0.03):
    return scale * (1 + jitter * np.random.default_rng(seed).standard_normal(count))


def test_half_the_latency_is_twice_as_fast():
    comparison = faster(outcome("a", noisy(100, 1)), outcome("b", noisy(200, 2)))
    assert comparison.verdict == "faster" and comparison.pairs == 20
    assert comparison.low < comparison.ratio < comparison.high and comparison.ratio == pytest.approx(2, rel=0.03)
    back = faster(outcome("b", noisy(200, 2)), outcome("a", noisy(100, 1)))
    assert back.verdict == "slower" and back.ratio == pytest.approx(0.5, rel=0.03)


def test_equal_models_are_found_different_as_rarely_as_the_confidence_says():
    wrong = sum(
        faster(outcome("a", noisy(100, 2 * i)), outcome("b", noisy(100, 2 * i + 1))).verdict != "within the noise"
        for i in range(200)
    )
    assert wrong <= 20, f"{wrong} of 200 equal pairs were found different; the interval allows 5 %"


def test_a_drift_that_slows_both_does_not_hide_a_difference():
    drift = np.linspace(1, 3, 20)
    assert faster(outcome("a", noisy(100, 1) * drift), outcome("b", noisy(115, 2) * drift)).verdict == "faster"


def test_only_rounds_of_the_same_cycle_are_paired():
    comparison = faster(outcome("a", [100] * 10), outcome("b", [200] * 10, first_cycle=4))
    assert comparison.pairs == 6 and comparison.ratio == 2


def test_too_few_pairs_are_within_the_noise():
    assert faster(outcome("a", [100] * 4), outcome("b", [200] * 4)).verdict == "within the noise"


def test_it_repeats():
    a, b = outcome("a", noisy(100, 1)), outcome("b", noisy(101, 2))
    assert faster(a, b, seed=3) == faster(a, b, seed=3)


def test_outcomes_without_a_common_cycle_cannot_be_compared():
    with raises(UsageError, "'a'", "'b'"):
        faster(outcome("a", [1, 2]), outcome("b", [1, 2], first_cycle=9))
