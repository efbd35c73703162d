"""Another rate of a sound, by a windowed sinc in its phases, in numpy: a device has no scipy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CROSSINGS = 32
"""Zeros of the sinc on each side."""
BETA = 12.0
"""Of the Kaiser window: what lies above half the lower rate is weaker by 110 dB."""
ROLLOFF = 0.94
"""Where the filter is half, as a share of half the lower rate."""
ROWS = 1 << 14
"""Outputs that are computed together, so that memory stays small."""


def resample(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Return samples of the rate `source` at the rate `target`, float32; as many as last equally long, rounded up."""
    import numpy as np

    if source == target:
        return samples.astype(np.float32, copy=False)
    common = math.gcd(source, target)
    up, down = target // common, source // common
    scale = min(1.0, up / down) * ROLLOFF
    half = math.ceil(CROSSINGS / scale)
    count = -(-len(samples) * up // down)
    padded = np.concatenate([np.zeros(half, np.float32), samples, np.zeros(half + down + 2, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)
    result = np.zeros(count, np.float32)
    for phase in range(min(up, count)):
        # Output phase + n * up lies at the place (phase + n * up) * down / up of the input.
        first, rest = divmod(phase * down, up)
        weights = _weights(np.arange(1 - half, half + 1) - rest / up, scale, half)
        places = first + 1 + down * np.arange(-(-(count - phase) // up))
        for start in range(0, len(places), ROWS):
            chosen = places[start : start + ROWS]
            begin = phase + start * up
            result[begin : begin + len(chosen) * up : up] = windows[chosen] @ weights
    return result


def _weights(times: np.ndarray, scale: float, half: int) -> np.ndarray:
    """Return the filter at these distances, with the sum 1: silence and constant sounds stay what they are."""
    import numpy as np

    window = np.i0(BETA * np.sqrt(np.clip(1 - (times / half) ** 2, 0, None))) / np.i0(BETA)
    weights: np.ndarray = np.sinc(times * scale) * window
    weights = (weights / weights.sum()).astype(np.float32)
    return weights
