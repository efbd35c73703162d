"""Mel spectrograms and cepstral coefficients by a SpectrumConfig, in numpy, with the conventions of librosa."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.tasks import mel
from edgekit.tasks.spectrum_config import SpectrumConfig

if TYPE_CHECKING:
    import numpy as np


def spectrum(samples: np.ndarray, rate: int, config: SpectrumConfig) -> np.ndarray:
    """Return the frames of `samples`, float32 [bands, frames] or [frames, bands] by the layout.

    Raises UsageError for bands above half the rate, and for a sound that is shorter than its padding.
    """
    import numpy as np

    high = rate / 2 if config.high is None else config.high
    if high > rate / 2:
        raise UsageError(
            f"the bands end at {high:g} Hz, and sounds of {rate} Hz have none above {rate / 2:g}.",
            hint="correct high or rate in [audio]",
        )
    points = config.points
    samples = samples.astype(np.float64)
    if config.centred:
        if config.padding == "reflect" and len(samples) <= points // 2:
            samples = np.pad(samples, (0, points // 2 + 1 - len(samples)))
        samples = np.pad(samples, points // 2, mode="reflect" if config.padding == "reflect" else "constant")
    elif len(samples) < points:
        samples = np.pad(samples, (0, points - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, points)[:: config.hop]
    powers = mel.powers(frames, _weights(config), points)
    energies = (powers if config.power == 2 else np.sqrt(powers)) @ mel.bands(
        rate, points, config.mels, config.low, high, config.scale, area=config.area
    )
    values = _logarithm(energies + config.offset, config)
    if config.coefficients:
        values = values @ _cosines(config.mels, config.coefficients)
    values = ((values - np.array(config.mean)) / np.array(config.std)).astype(np.float32)
    return np.ascontiguousarray(values.T) if config.layout == "bands-frames" else values


def _weights(config: SpectrumConfig) -> np.ndarray:
    """Return the window's weights in the middle of the transform's points."""
    import numpy as np

    angles = 2 * np.pi * np.arange(config.window) / config.window
    first = {"hann": 0.5, "hamming": 0.54, "rectangular": 1.0}[config.shape]
    weights = first - (1 - first) * np.cos(angles)
    before = (config.points - config.window) // 2
    result: np.ndarray = np.pad(weights, (before, config.points - config.window - before))
    return result


def _logarithm(energies: np.ndarray, config: SpectrumConfig) -> np.ndarray:
    import numpy as np

    if config.log == "none":
        return energies
    scale = {"natural": 1.0, "decades": 1 / np.log(10), "decibels": 10 / np.log(10)}[config.log]
    if config.log == "decibels" and config.power == 1:
        scale *= 2
    if config.floor:
        values = scale * np.log(np.maximum(energies, config.floor))
    else:
        values = scale * np.log(energies, out=np.zeros_like(energies), where=energies > 0)
    if config.range is not None:
        values = np.maximum(values, values.max() - config.range)
    result: np.ndarray = values
    return result


@functools.lru_cache(maxsize=4)
def _cosines(mels: int, count: int) -> np.ndarray:
    """Return the first `count` vectors of the orthonormal DCT-II over the bands, [mels, count]."""
    import numpy as np

    angles = np.pi / mels * np.outer(np.arange(mels) + 0.5, np.arange(count))
    scale = np.full(count, np.sqrt(2 / mels))
    scale[0] = np.sqrt(1 / mels)
    result: np.ndarray = np.cos(angles) * scale
    return result
