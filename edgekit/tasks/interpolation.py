"""Resizing of maps of numbers by linear interpolation between the centres of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def bilinear(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return maps [count, rows, columns] as float32 [count, height, width].

    It is torch's `interpolate(mode="bilinear", align_corners=False)`: places are those of the centres of pixels, and
    those outside of the first and last centre have their value.
    """
    import numpy as np

    maps = maps.astype(np.float32)
    for axis, wanted in ((1, height), (2, width)):
        if maps.shape[axis] != wanted:
            maps = _along(maps, axis, wanted)
    return maps


def _along(maps: np.ndarray, axis: int, wanted: int) -> np.ndarray:
    import numpy as np

    length = maps.shape[axis]
    places = np.maximum((np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * (length / wanted) - 0.5, 0)
    first = np.minimum(places.astype(np.int64), length - 1)
    second = np.minimum(first + 1, length - 1)
    share = (places - first).astype(np.float32)
    share = share[:, None] if axis == 1 else share
    lower = np.take(maps, first, axis)
    return np.asarray(lower + (np.take(maps, second, axis) - lower) * share)
