"""The Pareto front: the candidates that no other one beats, whatever a user values most of latency, size, memory and
quality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgekit.result.report import Candidate

STEP = 0.02
"""Latencies, sizes and amounts of memory within the same step of 2 % count as equal: a measured value has noise, and by
its last digit nearly every candidate would be best in something.
"""


def marked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates with those on the front marked. Those that missed the gate compete too: they show what it
    costs.
    """
    points = [point(candidate) for candidate in candidates]
    known = [place for place in points if place is not None]
    return tuple(
        replace(candidate, front=place is not None and not any(_dominates(other, place) for other in known))
        for candidate, place in zip(candidates, points, strict=True)
    )


def point(candidate: Candidate) -> tuple[float, ...] | None:
    """Return latency, size, memory and lost quality as steps, less being better; None where it was not measured.

    Quality is the metric's drop, else the answers or the direction that are not the original's; a gain counts as no
    loss. Memory that is not known is left out of the comparison.
    """
    measured, quality, size = candidate.measurement, candidate.quality, candidate.size_mb
    if measured is None or quality is None or size is None or not math.isfinite(quality.rel_l2):
        return None
    if quality.drop is not None:
        lost = quality.drop
    else:
        lost = 1 - (quality.cosine if quality.agreement is None else quality.agreement)
    return _step(measured.p50_ms), _step(size), _step(measured.peak_memory_mb or 1.0), max(0.0, round(lost, 6))


def _dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))


def _step(value: float) -> float:
    # Steps and not a tolerance: "equal within 2 %" is not transitive, and a ring of candidates could beat each other.
    return round(math.log(value) / math.log1p(STEP)) if value > 0 else -math.inf
