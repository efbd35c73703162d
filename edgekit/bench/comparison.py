"""Whether one model is faster than another, or the difference is within the noise."""

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
    """How many times as fast as the second model the first one is: 2.0 is half the latency."""

    ratio: float
    low: float
    high: float
    """The 95 % confidence interval of `ratio`."""
    pairs: int
    """Rounds of both in the same cycle."""
    verdict: Literal["faster", "slower", "within the noise"]
    """`within the noise` when the interval contains 1, and when there are too few pairs to decide."""


def faster(first: Outcome, second: Outcome, *, seed: int = 0) -> Comparison:
    """Return the comparison of two outcomes of one `benchmark` call.

    A pair is the two models' rounds of one cycle, so that a slow phase of the machine affects both; the ratio is the
    median of second / first over the pairs' median latencies. The interval is the percentile bootstrap over
    pairs (Efron 1979; Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, resample at the level
    of runs for the same reason), 2,000 resamples. Raises UsageError when they have no cycle in common.
    """
    import numpy as np

    others = {other.cycle: other.median_ns for other in second.rounds}
    ratios = np.array([others[own.cycle] / own.median_ns for own in first.rounds if own.cycle in others])
    if not len(ratios):
        raise UsageError(
            f"'{first.name}' and '{second.name}' were not measured together.", hint="pass both to one benchmark call"
        )
    picks = np.random.default_rng(seed).integers(0, len(ratios), size=(RESAMPLES, len(ratios)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.median(ratios[picks], axis=1), [tail, 100 - tail])
    verdict: Literal["faster", "slower", "within the noise"] = "within the noise"
    if len(ratios) >= LEAST_PAIRS and (low > 1 or high < 1):
        verdict = "faster" if low > 1 else "slower"
    return Comparison(float(np.median(ratios)), float(low), float(high), len(ratios), verdict)
