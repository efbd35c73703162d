"""Whether one model is faster than another, or whether the difference is within the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record
from edgekit.bench.outcome import Outcome
from edgekit.errors import UsageError

LEAST_PAIRS = 5
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison(Record):
    """How many times as fast the first model is as the second: 2.0 is half the latency."""

    ratio: float
    low: float
    high: float
    """The 95 % confidence interval of `ratio`."""
    pairs: int
    """Rounds of both that ran next to each other."""
    verdict: Literal["faster", "slower", "within the noise"]
    """`within the noise` when the interval holds 1, and when there are too few pairs to tell."""


def faster(first: Outcome, second: Outcome, *, seed: int = 0) -> Comparison:
    """Compare two outcomes of one `benchmark` call.

    Each pair is the two models' rounds of one cycle, so that what slows the machine for a while slows both; the ratio
    is the median of second / first over the pairs' median latencies. The interval is the percentile bootstrap over
    pairs (Efron 1979; Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, resample at the level
    of runs for the same reason), 2,000 resamples. Raises UsageError when they have no cycle in common.
    """
    import numpy as np

    others = {one.cycle: one.median_ns for one in second.rounds}
    ratios = np.array([others[one.cycle] / one.median_ns for one in first.rounds if one.cycle in others])
    if not len(ratios):
        raise UsageError(
            f"'{first.name}' and '{second.name}' were not measured together.", hint="give both to one benchmark call"
        )
    picks = np.random.default_rng(seed).integers(0, len(ratios), size=(RESAMPLES, len(ratios)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.median(ratios[picks], axis=1), [tail, 100 - tail])
    verdict: Literal["faster", "slower", "within the noise"] = "within the noise"
    if len(ratios) >= LEAST_PAIRS and (low > 1 or high < 1):
        verdict = "faster" if low > 1 else "slower"
    return Comparison(float(np.median(ratios)), float(low), float(high), len(ratios), verdict)
