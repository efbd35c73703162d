"""Groups of channels within one output whose magnitudes differ, as the boxes and the scores of a detector do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S")

MOST = 4096
"""An axis of more entries counts positions, not channels."""

GAP = 5.0
"""Channels whose magnitudes, in order, have a step of more than this are of two kinds. Of two groups of equal size
that lie further apart the fainter one holds less than 4% of the energy: lost as a whole it costs a cosine 0.02.
"""

FEW, LEAST_SHARE = 64, 0.05
"""Beyond so many channels fainter ones must be this share of all to be a kind: a few dead features are none."""


@dataclass
class Channels:
    """Sums along one axis of an output, one for each entry."""

    squares: tuple[np.ndarray, ...]
    """Of the difference, the original, the candidate, and their product."""
    peak: np.ndarray
    """The greatest absolute value of the original."""
    count: int
    """Values in each channel."""

    @property
    def size(self) -> int:
        return len(self.peak)

    def sums(self, kind: Any) -> Any:
        return kind(*self.squares, self.count)


def add(axes: dict[int, Channels], original: np.ndarray, squares: Sequence[np.ndarray], *, first: bool) -> None:
    """Add one call to the sums along the axes that may hold channels.

    An axis whose size changes between calls holds no channels and is dropped.
    """
    import numpy as np

    shape = original.shape
    for axis in _possible(shape) if first else list(axes):
        if axis >= len(shape) or not 1 < shape[axis] <= MOST or (not first and axes[axis].size != shape[axis]):
            axes.pop(axis, None)
            continue
        others = tuple(place for place in range(len(shape)) if place != axis)
        reduced = tuple(np.asarray(each.sum(axis=others)) for each in squares)
        peak = np.abs(original).max(axis=others, initial=0.0)
        old = axes.get(axis)
        if old is not None:
            reduced = tuple(before + now for before, now in zip(old.squares, reduced, strict=True))
            peak = np.maximum(old.peak, peak)
        values = math.prod(shape[place] for place in others) + (old.count if old else 0)
        axes[axis] = Channels(reduced, peak, values)


def _possible(shape: Sequence[int]) -> list[int]:
    """Return the axes that may hold channels: the first one longer than 1, the one after the batch, the last, and of a
    grid of anchors (batch, anchor, channel, height, width) the third. Rows and columns of a picture are none.
    """
    dims = len(shape)
    if not dims:
        return []
    longer = next((axis for axis, size in enumerate(shape) if size > 1), 0)
    return sorted({longer, min(1, dims - 1), dims - 1, *([2] if dims >= 5 else [])})


def groups(axes: Mapping[int, Channels], noise: float) -> tuple[int | None, list[np.ndarray]]:
    """Return the axis whose channels differ most in magnitude, and their groups, the loudest first; no groups where
    they do not differ.

    Channels whose root mean square is at most `noise` are in none.
    """
    best: tuple[float, int | None, list[np.ndarray]] = (1.0, None, [])
    for axis, channels in axes.items():
        step, parts = _groups(channels, noise)
        if len(parts) > 1 and step > best[0]:
            best = step, axis, parts
    return best[1], best[2]


def _groups(channels: Channels, noise: float) -> tuple[float, list[np.ndarray]]:
    """Return the greatest step between the magnitudes in order, and the groups between such steps."""
    import numpy as np

    magnitude = np.sqrt(channels.squares[1] / max(channels.count, 1))
    order = np.argsort(-magnitude, kind="stable")
    order = order[magnitude[order] > noise]
    if len(order) < 2:
        return 1.0, []
    steps = magnitude[order][:-1] / magnitude[order][1:]
    parts = np.split(order, np.flatnonzero(steps > GAP) + 1)
    if channels.size > FEW:
        kept = parts[:1]
        for part in parts[1:]:
            if len(part) < LEAST_SHARE * channels.size:
                kept[-1] = np.concatenate([kept[-1], part])
            else:
                kept.append(part)
        parts = kept
    return float(steps.max()), [np.sort(part) for part in parts]


def ranges(group: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return sorted channels as ranges, start and stop."""
    bounds: list[list[int]] = []
    for channel in group:
        if bounds and bounds[-1][1] == channel:
            bounds[-1][1] += 1
        else:
            bounds.append([int(channel), int(channel) + 1])
    return tuple((start, stop) for start, stop in bounds)


def indices(wanted: Iterable[Sequence[int]]) -> np.ndarray:
    """Return the channels of ranges."""
    import numpy as np

    return np.concatenate([np.arange(start, stop) for start, stop in wanted])
