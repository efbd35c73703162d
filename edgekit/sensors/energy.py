"""Energy: the integral of power over the timed regions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]
"""A time in seconds and a value."""


def integral(points: Sequence[Point], start: float, end: float) -> float:
    """Integrate `points` (ascending in time) from `start` to `end` by the trapezoid rule, in value times seconds.

    Between two points the value runs straight, so the ends need not be points; before the first and after the last it
    stays as it was.
    """
    inner = [point for point in points if start < point[0] < end]
    line = [(start, at(points, start)), *inner, (end, at(points, end))]
    return sum((t1 - t0) * (v0 + v1) / 2 for (t0, v0), (t1, v1) in pairwise(line))


def growth(points: Sequence[Point], start: float, end: float) -> float:
    """Give how much a counter grew from `start` to `end`: between two points it grows evenly."""
    return at(points, end) - at(points, start)


def at(points: Sequence[Point], time: float) -> float:
    """Give the value at a time, on the straight line between its neighbours. Raises ValueError for no points."""
    if not points:
        raise ValueError("no points")
    right = bisect_left(points, (time,))
    if right == 0:
        return points[0][1]
    if right == len(points):
        return points[-1][1]
    (t0, v0), (t1, v1) = points[right - 1], points[right]
    return v0 + (v1 - v0) * (time - t0) / (t1 - t0)
