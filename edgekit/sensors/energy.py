"""Energy: the integral of power over the timed regions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]
"""A time in seconds and a value."""


def integral(points: Sequence[Point], start: float, end: float) -> float:
    """Return the integral of `points` (ascending in time) from `start` to `end`, in value times seconds.

    By the trapezoid rule. The value is linear between two points, so the ends need not be points; before the first and
    after the last it is constant.
    """
    inner = [point for point in points if start < point[0] < end]
    line = [(start, value_at(points, start)), *inner, (end, value_at(points, end))]
    return sum((t1 - t0) * (v0 + v1) / 2 for (t0, v0), (t1, v1) in pairwise(line))


def growth(points: Sequence[Point], start: float, end: float) -> float:
    """Return how much a counter grew from `start` to `end`; between two points it grows evenly."""
    return value_at(points, end) - value_at(points, start)


def value_at(points: Sequence[Point], time: float) -> float:
    """Return the value at a time, interpolated between its neighbours. Raises ValueError for no points."""
    if not points:
        raise ValueError("no points")
    right = bisect_left(points, (time,))
    if right == 0:
        return points[0][1]
    if right == len(points):
        return points[-1][1]
    (t0, v0), (t1, v1) = points[right - 1], points[right]
    return v0 + (v1 - v0) * (time - t0) / (t1 - t0)
