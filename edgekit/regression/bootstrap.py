"""How far one measurement lies above another, and how sure that is: the bootstrap over turns.

Single latencies are no independent draws: what slows one slows its neighbours. So nothing is resampled below a turn,
and turns that followed each other are resampled together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from edgekit._record import Record
from edgekit.regression.latencies import Latencies, of_turns
from edgekit.result.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.995
"""That the true ratio is not beyond one end of the interval: one false alarm in two hundred where the limit is exactly
met, and fewer within it. A gate looks at several values, and turns are less independent than the bootstrap takes them.
"""

RESAMPLES = 500
"""Enough for a standard deviation, to 3 %."""

LEAST_TURNS = 8
"""Below that neither the spread between turns nor the tails of the bootstrap mean anything."""

PARTS = 10
PART_COUNT = 64
"""A run is cut into at most so many parts, of at least so many latencies, to see how far it drifts."""


@dataclass(frozen=True)
class Interval(Record):
    """How many times the baseline's value the new one is."""

    ratio: float
    low: float
    high: float
    """Each is passed by the true ratio with a chance of 1 - `CONFIDENCE`."""
    turns: int
    drift: float = 0.0
    """By how much, as a share, the machine alone moves such a ratio from one run to another; more samples leave it."""


def together(new: Measurement, base: Measurement, name: str, seed: int = 0) -> Interval | None:
    """Compare two measurements of one run, whose turns of the same cycle are pairs; None for too few pairs.

    For p50 and p90 where each turn's own is kept: the median over pairs of their ratio, since two turns that followed
    each other met the same machine. Else the ratio over all turns; both are resampled by the same cycles, so that what
    slowed both drops out.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    ratios = _pairs(new, base, name)
    if len(ratios) >= LEAST_TURNS:
        drawn = ratios[_draws(len(ratios), generator)]
        return _interval(float(np.median(ratios)), np.median(drawn, axis=1), len(ratios), 0.0)
    one, other = of_turns(new.turns), of_turns(base.turns)
    cycles = np.intersect1d(one.cycles, other.cycles)
    if len(cycles) < LEAST_TURNS:
        return None
    one, other = one.of_cycles(cycles), other.of_cycles(cycles)
    picks = _picks(len(cycles), generator)
    logs = np.log(one.values(name, picks) / other.values(name, picks))
    return _interval(math.log(one.value(name) / other.value(name)), logs, len(cycles), 0.0)


def _pairs(new: Measurement, base: Measurement, name: str) -> np.ndarray:
    """Return the logarithm of new / base for each pair of single turns; empty where those are not kept."""
    import numpy as np

    kept = {"p50": "p50_ms", "p90": "p90_ms"}.get(name)
    if kept is None:
        return np.empty(0)
    others = {turn.cycle: getattr(turn, kept) for turn in base.turns}
    # A model that is done earlier has no turn in the last cycles.
    pairs = [pair for turn in new.turns for pair in zip(getattr(turn, kept), others.get(turn.cycle, ()), strict=False)]
    return np.log([one / other for one, other in pairs]) if pairs else np.empty(0)


def apart(new: Latencies, base: Latencies, name: str, seed: int = 0) -> Interval | None:
    """Compare two measurements of different runs on one machine; None for too few turns.

    Each is resampled by itself. What moves the machine between runs cannot be seen in either. It is taken to be as much
    as what moves it between the parts of one run, and widens the interval however many samples there are.
    """
    import numpy as np

    if min(new.size, base.size) < LEAST_TURNS:
        return None
    generator = np.random.default_rng(seed)
    found = [np.log(one.values(name, _picks(one.size, generator))) for one in (new, base)]
    drift = math.hypot(wander(new, name), wander(base, name))
    turns = min(new.size, base.size)
    return _interval(math.log(new.value(name) / base.value(name)), found[0] - found[1], turns, drift)


def wander(one: Latencies, name: str) -> float:
    """Return the standard deviation of a value between the parts of its run, as a share of it."""
    import numpy as np

    parts = max(4, min(PARTS, one.size // 2, one.count // PART_COUNT))
    cut = one.merged(min(parts, one.size))
    each = np.log(cut.values(name, np.eye(cut.size, dtype=np.int64)))
    return float(np.std(each, ddof=1))


def _draws(turns: int, generator: np.random.Generator) -> np.ndarray:
    """Return the places of the turns that each resample draws, int [resamples, turns].

    The circular block bootstrap (Politis and Romano, 1992) with blocks of the cube root of the length, the rate that is
    best for a variance (Hall, Horowitz and Jing, "On blocking rules for the bootstrap with dependent data", 1995).
    """
    import numpy as np

    block = max(1, round(turns ** (1 / 3)))
    starts = generator.integers(0, turns, size=(RESAMPLES, -(-turns // block)))
    return ((starts[:, :, None] + np.arange(block)) % turns).reshape(RESAMPLES, -1)[:, :turns]


def _picks(turns: int, generator: np.random.Generator) -> np.ndarray:
    """Return how often each turn is drawn in each resample, int [resamples, turns]."""
    import numpy as np

    times = np.zeros((RESAMPLES, turns), dtype=np.int64)
    np.add.at(times, (np.arange(RESAMPLES)[:, None], _draws(turns, generator)), 1)
    return times


def _interval(center: float, logs: np.ndarray, turns: int, drift: float) -> Interval:
    """Return the interval of Student's quantile around the ratio, in logarithms.

    The standard deviation is that of the bootstrap, which is too small for few turns by the factor sqrt((n - 1) / n)
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 2015, section 4.5). The
    drift is independent of the sampling, so the two add as squares.
    """
    import numpy as np

    student = student_quantile(CONFIDENCE, turns - 1)
    sampling = float(np.std(logs)) * math.sqrt(turns / (turns - 1))
    half = student * math.hypot(sampling, drift)
    return Interval(math.exp(center), math.exp(center - half), math.exp(center + half), turns, student * drift)


def student_quantile(share: float, freedom: int) -> float:
    """Return the quantile of Student's t: Abramowitz and Stegun 26.7.5, within 1 % from 4 degrees of freedom on."""
    z, n = NormalDist().inv_cdf(share), float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / n ** (power + 1) for power, term in enumerate(terms))
