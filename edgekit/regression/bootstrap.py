"""The ratio of two measurements and its confidence interval: the bootstrap over latency blocks.

Single latencies are not independent draws: what slows one slows its neighbours. So nothing smaller than a block of them
is resampled, and consecutive blocks are resampled together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from edgekit._record import Record
from edgekit.regression.latencies import Latencies, of_blocks
from edgekit.result.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.995
"""The chance that the true ratio is not beyond one end of the interval: one false alarm in two hundred where the limit
is exactly met, and fewer within it. It is high because a gate looks at several values, and because blocks are less
independent than the bootstrap assumes.
"""

RESAMPLES = 500
"""Enough for a standard deviation that is accurate to 3 %."""

LEAST_BLOCKS = 8
"""With fewer, neither the spread between blocks nor the tails of the bootstrap mean anything."""

PARTS = 10
PART_COUNT = 64
"""A run is cut into at most `PARTS` parts, of at least `PART_COUNT` latencies, to see how far it drifts."""


@dataclass(frozen=True)
class Interval(Record):
    """The new value as a multiple of the baseline's, with its confidence interval."""

    ratio: float
    low: float
    high: float
    """The true ratio is beyond each end with a chance of 1 - `CONFIDENCE`."""
    blocks: int
    drift: float = 0.0
    """How far the machine alone moves such a ratio from run to run, as a share; more samples do not reduce it."""


def of_one_run(new: Measurement, base: Measurement, name: str, seed: int = 0) -> Interval | None:
    """Return the interval for two measurements of one run, whose blocks of the same cycle are pairs; None for too few
    pairs.

    For p50 and p90, where the value of each round is kept: the median of the ratios of pairs, since two consecutive
    rounds met the same state of the machine. Else the ratio over all blocks; both sides are resampled by the same
    cycles, so that what slowed both cancels out.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    ratios = _pairs(new, base, name)
    if len(ratios) >= LEAST_BLOCKS:
        drawn = ratios[_draws(len(ratios), generator)]
        return _interval(float(np.median(ratios)), np.median(drawn, axis=1), len(ratios), 0.0)
    ours, theirs = of_blocks(new.turns), of_blocks(base.turns)
    cycles = np.intersect1d(ours.cycles, theirs.cycles)
    if len(cycles) < LEAST_BLOCKS:
        return None
    ours, theirs = ours.of_cycles(cycles), theirs.of_cycles(cycles)
    weights = _weights(len(cycles), generator)
    logs = np.log(ours.values(name, weights) / theirs.values(name, weights))
    return _interval(math.log(ours.value(name) / theirs.value(name)), logs, len(cycles), 0.0)


def _pairs(new: Measurement, base: Measurement, name: str) -> np.ndarray:
    """Return the logarithm of new / base for each pair of rounds; empty where the values of rounds are not kept."""
    import numpy as np

    kept = {"p50": "p50_ms", "p90": "p90_ms"}.get(name)
    if kept is None:
        return np.empty(0)
    others = {block.cycle: getattr(block, kept) for block in base.turns}
    # A model that ended earlier has no block in the last cycles.
    pairs = [
        pair for block in new.turns for pair in zip(getattr(block, kept), others.get(block.cycle, ()), strict=False)
    ]
    return np.log([ours / theirs for ours, theirs in pairs]) if pairs else np.empty(0)


def of_two_runs(new: Latencies, base: Latencies, name: str, seed: int = 0) -> Interval | None:
    """Return the interval for two measurements of different runs on one machine; None for too few blocks.

    Each is resampled by itself. Changes of the machine between runs cannot be seen in either. They are assumed to be as
    large as those between the parts of one run, and widen the interval however many samples there are.
    """
    import numpy as np

    if min(new.size, base.size) < LEAST_BLOCKS:
        return None
    generator = np.random.default_rng(seed)
    new_logs, base_logs = (np.log(side.values(name, _weights(side.size, generator))) for side in (new, base))
    drift = math.hypot(spread_of_parts(new, name), spread_of_parts(base, name))
    blocks = min(new.size, base.size)
    return _interval(math.log(new.value(name) / base.value(name)), new_logs - base_logs, blocks, drift)


def spread_of_parts(latencies: Latencies, name: str) -> float:
    """Return the standard deviation of a value between the parts of its run, as a share of it."""
    import numpy as np

    parts = max(4, min(PARTS, latencies.size // 2, latencies.count // PART_COUNT))
    merged = latencies.merged(min(parts, latencies.size))
    logs = np.log(merged.values(name, np.eye(merged.size, dtype=np.int64)))
    return float(np.std(logs, ddof=1))


def _draws(blocks: int, generator: np.random.Generator) -> np.ndarray:
    """Return the indices of the latency blocks that each resample draws, int [resamples, blocks].

    The circular block bootstrap (Politis and Romano, 1992). Its own block, a sequence of latency blocks, has the length
    of the cube root of their number, the rate that is best for a variance (Hall, Horowitz and Jing, "On blocking rules
    for the bootstrap with dependent data", 1995).
    """
    import numpy as np

    length = max(1, round(blocks ** (1 / 3)))
    starts = generator.integers(0, blocks, size=(RESAMPLES, -(-blocks // length)))
    return ((starts[:, :, None] + np.arange(length)) % blocks).reshape(RESAMPLES, -1)[:, :blocks]


def _weights(blocks: int, generator: np.random.Generator) -> np.ndarray:
    """Return how often each block is drawn in each resample, int [resamples, blocks]."""
    import numpy as np

    times = np.zeros((RESAMPLES, blocks), dtype=np.int64)
    np.add.at(times, (np.arange(RESAMPLES)[:, None], _draws(blocks, generator)), 1)
    return times


def _interval(center: float, logs: np.ndarray, blocks: int, drift: float) -> Interval:
    """Return the interval around the ratio by Student's quantile; `center`, `logs` and `drift` are logarithms of
    ratios.

    The standard deviation is that of the bootstrap, which is too small for few blocks by the factor sqrt((n - 1) / n)
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 2015, section 4.5). The
    drift is independent of the sampling, so the two add as squares.
    """
    import numpy as np

    student = student_quantile(CONFIDENCE, blocks - 1)
    sampling = float(np.std(logs)) * math.sqrt(blocks / (blocks - 1))
    half = student * math.hypot(sampling, drift)
    return Interval(math.exp(center), math.exp(center - half), math.exp(center + half), blocks, student * drift)


def student_quantile(share: float, degrees: int) -> float:
    """Return the quantile of Student's t: Abramowitz and Stegun 26.7.5, within 1 % from 4 degrees of freedom on."""
    z, n = NormalDist().inv_cdf(share), float(degrees)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n ** (power + 1) for power, term in enumerate(terms))
