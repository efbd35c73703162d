"""Spectrograms and cepstra by a description are those of transformers' audio_utils, which has librosa's formulas."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.tasks.spectrum import spectrum
from edgekit.tasks.spectrum_config import SpectrumConfig
from tests.wording import raises

audio_utils = pytest.importorskip("transformers.audio_utils")

RATE = 16000
SOUND = np.random.default_rng(3).normal(0, 0.2, RATE).astype(np.float32)


def reference(config: SpectrumConfig, log: str | None) -> np.ndarray:
    area = "slaney" if config.area else None
    high = config.high or RATE / 2
    filters = audio_utils.mel_filter_bank(
        config.points // 2 + 1, config.mels, config.low, high, RATE, area, config.scale
    )
    name = {"hann": "hann", "hamming": "hamming", "rectangular": "boxcar"}[config.shape]
    return audio_utils.spectrogram(
        SOUND,
        audio_utils.window_function(config.window, name, periodic=True, frame_length=config.points),
        frame_length=config.points,
        hop_length=config.hop,
        fft_length=config.points,
        power=config.power,
        center=config.centred,
        pad_mode="reflect" if config.padding == "reflect" else "constant",
        mel_filters=filters,
        mel_floor=config.floor,
        log_mel=log,
        dtype=np.float64,
    )


@pytest.mark.parametrize(
    ("config", "log"),
    [
        (SpectrumConfig(), "log"),
        (SpectrumConfig(window=400, fft=512, hop=200, mels=64, low=50, high=7000, log="decades"), "log10"),
        (SpectrumConfig(scale="htk", area=False, shape="hamming", padding="zeros", log="none"), None),
        (SpectrumConfig(centred=False, power=1.0, log="decibels"), "dB"),
        (SpectrumConfig(shape="rectangular", window=256, fft=256, mels=20), "log"),
    ],
    ids=["plain", "padded-window", "htk", "magnitudes", "rectangular"],
)
def test_bands_are_those_of_the_reference(config, log):
    assert np.abs(spectrum(SOUND, RATE, config) - reference(config, log)).max() < 1e-4


def test_cepstra_are_the_orthonormal_cosine_transform():
    fft = pytest.importorskip("scipy.fft")
    bands = spectrum(SOUND, RATE, SpectrumConfig(layout="frames-bands"))
    cepstra = spectrum(SOUND, RATE, SpectrumConfig(layout="frames-bands", coefficients=13))
    assert np.abs(fft.dct(bands.astype(np.float64), norm="ortho")[:, :13] - cepstra).max() < 1e-4


def test_bands_are_scaled_one_by_one_and_bounded_below():
    plain = spectrum(SOUND, RATE, SpectrumConfig(mels=2))
    scaled = spectrum(SOUND, RATE, SpectrumConfig(mels=2, mean=(1.0, 2.0), std=(4.0,)))
    assert np.allclose(scaled, (plain - np.array([[1.0], [2.0]])) / 4, atol=1e-6)
    bounded = spectrum(SOUND, RATE, SpectrumConfig(mels=2, range=0.1))
    assert np.allclose(bounded, np.maximum(plain, plain.max() - 0.1), atol=1e-6) and (bounded > plain).any()


def test_silence_stays_zero_without_a_floor():
    assert not spectrum(np.zeros(RATE, np.float32), RATE, SpectrumConfig(floor=0)).any()
    assert spectrum(np.zeros(RATE, np.float32), RATE, SpectrumConfig(floor=1e-10)).max() < -20


@pytest.mark.parametrize("length", [1, 100, 200, 201])
def test_a_sound_shorter_than_a_frame_is_filled(length):
    assert np.isfinite(spectrum(SOUND[:length], RATE, SpectrumConfig())).all()
    assert spectrum(SOUND[:length], RATE, SpectrumConfig(centred=False)).shape == (40, 1)


def test_bands_above_half_the_rate_are_refused():
    with raises(UsageError, "9000", "8000", hint="[audio]"):
        spectrum(SOUND, RATE, SpectrumConfig(high=9000))


@pytest.mark.parametrize(
    "values",
    [{"hop": 0}, {"fft": 100}, {"coefficients": 50}, {"power": 3}, {"low": 500, "high": 400}, {"std": (0.0,)},
     {"mean": (1.0, 2.0)}, {"floor": -1}],
)  # fmt: skip
def test_a_wrong_value_is_refused(values):
    with raises(UsageError, next(iter(values)), hint="[audio.spectrum]"):
        SpectrumConfig(**values)
