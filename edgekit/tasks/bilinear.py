"""Resizing by the four nearest pixels, without a filter against aliasing, as OpenCV's INTER_LINEAR does it.

Detectors are trained on pictures that OpenCV resized. Weights have 11 bits, and sums are rounded as in OpenCV's
`modules/imgproc/src/resize.cpp` (HResizeLinear, VResizeLinear).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SCALE = 1 << 11


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels, uint8 [H,W] or [H,W,C], in another size."""
    import numpy as np

    if pixels.shape[:2] == (height, width):
        return pixels
    left, right, of_left, of_right = _axis(pixels.shape[1], width)
    above, below, of_above, of_below = _axis(pixels.shape[0], height)
    trailing = (1,) * (pixels.ndim - 2)
    wide = pixels.astype(np.int32)
    rows = wide[:, left] * of_left.reshape(1, -1, *trailing) + wide[:, right] * of_right.reshape(1, -1, *trailing)
    rows >>= 4
    shape = (-1, 1, *trailing)
    upper = (rows[above] * of_above.reshape(shape)) >> 16
    lower = (rows[below] * of_below.reshape(shape)) >> 16
    return np.asarray(((upper + lower + 2) >> 2).clip(0, 255), np.uint8)


def _axis(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each place of an axis, the two pixels that it lies between, and the weight of each."""
    import numpy as np

    centres = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).astype(np.float32)
    first = np.floor(centres).astype(np.int64)
    share = centres - first.astype(np.float32)
    share[(first < 0) | (first >= length - 1)] = 0
    first = first.clip(0, length - 1)
    before, after = (np.rint(part * SCALE).astype(np.int32) for part in (np.float32(1) - share, share))
    return first, np.minimum(first + 1, length - 1), before, after
