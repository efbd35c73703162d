"""Percentiles, and how many measurements each of them needs before it may be printed.

A percentile is by nearest rank: the p-th of n sorted values is the value at position ceil(p/100 * n). It is always a
latency that was measured, never one interpolated between two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PER_MILLE: Mapping[str, int] = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99.9": 999}
"""The percentiles to compute where the count supports them, in thousandths so that ranks are exact."""

CONFIDENCE = 0.99


def least_count(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many measurements a percentile needs; `share` is 0.9 for p90.

    The early stopping rule of MLPerf LoadGen for SingleStream (mlcommons/inference, loadgen/early_stopping.cc and
    results.cc) with tolerance d = 0 and one query allowed above the bound (t = 1): the smallest n for which
    P[Binomial(n, 1 - share) <= 1] = share^n + n (1 - share) share^(n-1) = I_share(n - 1, 2), the regularised incomplete
    beta function, is at most 1 - confidence. At 0.99: p50 11, p90 64, p95 130, p99 662, p99.9 6,636.
    """
    if not 0 < share < 1 or not 0 < confidence < 1:
        raise ValueError(f"share and confidence must be between 0 and 1, found {share} and {confidence}")

    def odds(count: int) -> float:
        return float(share ** (count - 1) * (share + count * (1 - share)))

    # The odds fall as the count grows: double until it is enough, then halve the interval.
    high = 2
    while odds(high) > 1 - confidence:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if odds(middle) <= 1 - confidence else (middle, high)
    return high


def nearest_rank(ordered: np.ndarray, per_mille: int) -> int:
    """Return the value at the percentile of `ordered` (sorted ascending, not empty)."""
    rank = -(-len(ordered) * per_mille // 1000)
    return int(ordered[max(rank, 1) - 1])


def percentiles_ms(latencies_ns: np.ndarray) -> dict[str, float]:
    """Return every percentile that the count of `latencies_ns` supports, in milliseconds."""
    import numpy as np

    ordered = np.sort(latencies_ns)
    return {
        name: nearest_rank(ordered, per_mille) / 1e6
        for name, per_mille in PER_MILLE.items()
        if len(ordered) >= least_count(per_mille / 1000)
    }
