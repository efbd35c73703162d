"""Percentiles: the least counts compared with the rule by brute force, and the definition by nearest rank."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.bench.percentile import least_count, nearest_rank, percentiles_ms


@pytest.mark.parametrize(("share", "count"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_least_counts_are_those_of_mlperf(share, count):
    assert least_count(share) == count


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_the_least_count_is_the_first_that_the_binomial_allows(share, confidence):
    def odds(n: int) -> float:
        return sum(math.comb(n, k) * (1 - share) ** k * share ** (n - k) for k in (0, 1))

    count = least_count(share, confidence)
    assert odds(count) <= 1 - confidence < odds(count - 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_the_open_interval_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        least_count(share)


def test_nearest_rank_is_a_measured_value():
    ordered = np.array([10, 20, 30, 40, 50])
    assert [nearest_rank(ordered, p) for p in (1, 200, 201, 500, 900, 1000)] == [10, 10, 20, 30, 50, 50]
    hundred = np.arange(1, 101)
    assert [nearest_rank(hundred, p) for p in (500, 900, 950, 990, 999)] == [50, 90, 95, 99, 100]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (10, []),
        (11, ["p50"]),
        (63, ["p50"]),
        (64, ["p50", "p90"]),
        (661, ["p50", "p90", "p95"]),
        (6636, ["p50", "p90", "p95", "p99", "p99.9"]),
    ],
)
def test_only_what_the_count_supports_is_given(count, names):
    shuffled = np.random.default_rng(0).permutation(np.arange(1, count + 1)) * 1_000_000
    percentiles = percentiles_ms(shuffled)
    assert list(percentiles) == names
    if names:
        assert percentiles["p50"] == math.ceil(count / 2)
