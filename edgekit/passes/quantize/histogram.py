"""Ranges that leave outliers out, from histograms: percentile, entropy and mean squared error.

A histogram has a fixed number of bins between the extremes, so it holds any number of samples in the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BINS = 2048

STEPS = 64
"""Number of clippings of each end that are tried: every 32nd bin, as in the entropy calibration of onnxruntime and
TensorRT."""


class Histograms:
    """Counts the values of many tensors, each between its own extremes: `counts` is int64 [tensors, BINS].

    0 is always inside, because int8 must represent it exactly: paddings and rectified values are 0.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        import numpy as np

        self.low, self.high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        self.counts = np.zeros((len(low), BINS), np.int64)

    def add(self, tensor: int, values: np.ndarray) -> None:
        """Count the values of one tensor; all are between its extremes."""
        import numpy as np

        low, width = self.low[tensor], self.high[tensor] - self.low[tensor]
        if width <= 0:
            self.counts[tensor, 0] += values.size
            return
        bins = ((values.reshape(-1).astype(np.float64) - low) * (BINS / width)).astype(np.int64)
        self.counts[tensor] += np.bincount(bins.clip(0, BINS - 1), minlength=BINS)

    def ranges(self, clip: Callable[[np.ndarray, float, float], tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest of each tensor as `clip`, one of the functions below, chooses them."""
        import numpy as np

        ranges = [
            clip(counts, float(low), float(high)) if high > low else (float(low), float(high))
            for counts, low, high in zip(self.counts, self.low, self.high, strict=True)
        ]
        lowest, highest = (np.array(side) for side in zip(*ranges, strict=True))
        return lowest, highest


def percentile(counts: np.ndarray, low: float, high: float, percent: float) -> tuple[float, float]:
    """Return the range without the values beyond `percent` at each end.

    An end with many values, as 0 after a Relu, is kept.
    """
    import numpy as np

    share = np.cumsum(counts) / counts.sum()
    tail = 1 - percent / 100
    width = (high - low) / BINS
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1 - tail, side="left"))
    return low + first * width, min(high, low + (max(last, first) + 1) * width)


def mean_square(counts: np.ndarray, low: float, high: float, levels: int) -> tuple[float, float]:
    """Return the range in which rounding to `levels` values and clipping together change the values least."""
    import numpy as np

    centres = low + (np.arange(BINS) + 0.5) * (high - low) / BINS

    def error(first: float, last: float) -> float:
        scale = (last - first) / (levels - 1)
        rounded = np.clip(np.round((centres - first) / scale), 0, levels - 1) * scale + first
        return float((counts * (rounded - centres) ** 2).sum())

    return _best(low, high, error)


def entropy(counts: np.ndarray, low: float, high: float, levels: int) -> tuple[float, float]:
    """Return the range that keeps most of the distribution's information: least Kullback-Leibler divergence.

    After Migacz, "8-bit Inference with TensorRT" (GTC 2017): of the clipped distribution, its tails added to the last
    bins, from the same one merged into `levels` bins and spread out again over the bins that are not empty.
    """
    import numpy as np

    width = (high - low) / BINS
    zero = min(int(-low / width), BINS - 1)
    counts = counts.copy()
    # The many zeros of a Relu are exact in int8 with any range: merged with their neighbours they would dominate.
    counts[zero] = counts[max(zero - 1, 0) : zero + 2].sum() - counts[zero]
    below = np.concatenate(([0], np.cumsum(counts)))

    def divergence(first: float, last: float) -> float:
        start, stop = round((first - low) / width), min(round((last - low) / width), BINS)
        if stop - start < levels:
            return math.inf  # finer than the histogram's bins
        inside = counts[start:stop].astype(np.float64)
        reference = inside.copy()
        reference[0] += below[start]
        reference[-1] += below[-1] - below[stop]
        group = np.arange(len(inside)) * levels // len(inside)
        filled = inside > 0
        totals = np.bincount(group, weights=inside, minlength=levels)
        shares = np.bincount(group[filled], minlength=levels)
        spread = np.where(filled, totals[group] / np.maximum(shares[group], 1), 0.0)
        p, q = reference / reference.sum(), spread / max(spread.sum(), 1.0)
        here = p > 0
        # A tail that falls into an empty bin has no counterpart: it counts as a fraction of the least value.
        least = q[q > 0].min() if (q > 0).any() else 1.0
        return float((p[here] * np.log(p[here] / np.where(q[here] > 0, q[here], 1e-3 * least))).sum())

    return _best(low, high, divergence)


def _best(low: float, high: float, cost: Callable[[float, float], float]) -> tuple[float, float]:
    """Return the range of least cost: each end in turn is moved towards 0, until nothing improves."""
    first, last = low, high
    best = cost(first, last)
    for _ in range(3):
        before = first, last
        for step in range(1, STEPS):
            if last > 0 and (current := cost(first, high * step / STEPS)) < best:
                best, last = current, high * step / STEPS
        for step in range(1, STEPS):
            if first < 0 and (current := cost(low * step / STEPS, last)) < best:
                best, first = current, low * step / STEPS
        if (first, last) == before:
            break
    return first, last
