"""Mel spectrograms in numpy, with the formulas of Slaney's Auditory Toolbox and of Kaldi, as transformers has them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ROWS = 4096
"""Frames that are transformed together."""

FLOOR = 1.192092955078125e-07
"""Kaldi's least energy, the machine epsilon of single precision."""


def log_mel(samples: np.ndarray, rate: int, mels: int, fft: int, hop: int) -> np.ndarray:
    """Return Whisper's log-mel spectrogram, float32 [mels, frames]: decades, at most 8 below the loudest, scaled."""
    import numpy as np

    padded = np.pad(samples.astype(np.float64), fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    energies = powers(np.lib.stride_tricks.sliding_window_view(padded, fft)[::hop][:-1], window, fft)
    decades = np.log10(np.maximum(energies @ slaney(rate, fft, mels), 1e-10))
    result: np.ndarray = ((np.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0).astype(np.float32).T
    return result


def kaldi(samples: np.ndarray, rate: int, mels: int, *, povey: bool) -> np.ndarray:
    """Return Kaldi's filter banks of 25 ms every 10 ms, float32 [frames, mels], with its window or Hann's."""
    import numpy as np

    length, hop = rate * 25 // 1000, rate // 100
    fft = 1 << (length - 1).bit_length()
    if len(samples) < length:
        samples = np.pad(samples, (0, length - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), length)[::hop]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = np.concatenate([0.03 * frames[:, :1], frames[:, 1:] - 0.97 * frames[:, :-1]], axis=1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    energies = powers(frames, window**0.85 if povey else window, fft)
    result: np.ndarray = np.log(np.maximum(energies @ _kaldi_filters(rate, fft, mels), FLOOR)).astype(np.float32)
    return result


def powers(frames: np.ndarray, window: np.ndarray, fft: int) -> np.ndarray:
    """Return the squared magnitudes of frames [frames, samples] under a window, [frames, frequencies]."""
    import numpy as np

    parts = [
        np.abs(np.fft.rfft(frames[start : start + ROWS] * window, fft)) ** 2 for start in range(0, len(frames), ROWS)
    ]
    return np.concatenate(parts)


def slaney(rate: int, fft: int, mels: int) -> np.ndarray:
    """Return filters [frequencies, mels] of one area, linear below 1 kHz and logarithmic above, from 0 to 8 kHz."""
    return bands(rate, fft, mels, 0.0, 8000.0, "slaney", area=True)


@functools.lru_cache(maxsize=4)
def bands(rate: int, fft: int, mels: int, low: float, high: float, scale: str, *, area: bool) -> np.ndarray:
    """Return the triangles [frequencies, mels] of bands from `low` to `high` Hz, of one area or of a height of one, on
    Slaney's scale (linear below 1 kHz, then 27 steps to a factor of 6.4) or HTK's, 2595 log10(1 + Hz / 700).
    """
    import numpy as np

    step = np.log(6.4) / 27.0

    def mel(hertz: float) -> float:
        if scale == "htk":
            return float(2595.0 * np.log10(1.0 + hertz / 700.0))
        return float(3.0 * hertz / 200.0 if hertz < 1000.0 else 15.0 + np.log(hertz / 1000.0) / step)

    places = np.linspace(mel(low), mel(high), mels + 2)
    if scale == "htk":
        hertz = 700.0 * (10.0 ** (places / 2595.0) - 1.0)
    else:
        hertz = np.where(places < 15.0, 200.0 * places / 3.0, 1000.0 * np.exp(step * (places - 15.0)))
    filters = _triangles(np.linspace(0, rate / 2, fft // 2 + 1), hertz)
    result: np.ndarray = filters * (2.0 / (hertz[2:] - hertz[:-2])) if area else filters
    return result


@functools.lru_cache(maxsize=4)
def _kaldi_filters(rate: int, fft: int, mels: int) -> np.ndarray:
    import numpy as np

    def mel(hertz: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = 1127.0 * np.log(1.0 + hertz / 700.0)
        return scaled

    low, high = mel(np.array([20.0, rate // 2]))
    return _triangles(mel(np.arange(fft // 2 + 1) * rate / fft), np.linspace(low, high, mels + 2))


def _triangles(places: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return triangles [places, mels] between neighbouring corners."""
    import numpy as np

    slopes = corners[None] - places[:, None]
    widths = np.diff(corners)
    filters: np.ndarray = np.maximum(0.0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    return filters
