"""From sounds to one float tensor, as transformers' feature extractors do it, with soundfile and numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample
from edgekit.data.sound import read_sound
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec, check_feeds
from edgekit.tasks.config import AudioConfig
from edgekit.tasks.tensor import fit

if TYPE_CHECKING:
    import numpy as np

FRAMES = "audio-frame-classification"
"""The task whose answer is the times of speech."""

FIELDS = ("audio", "sound", "speech", "input_values", "input_features", "path", "file", "x")
"""Names of the field that holds the sound, the most reliable first."""

RATES = ("sr", "sample_rate", "sampling_rate")
"""Names of an input that takes the samples of a second."""

SEARCHED = 0.25
"""The share of a window in whose end its quietest place is looked for, where a long sound is cut."""

QUIET = 0.05
"""Seconds whose loudness is compared there."""


def features(samples: np.ndarray, config: AudioConfig) -> np.ndarray:
    """Return the input of one sound, float32 without the batch: samples, or a spectrogram."""
    import numpy as np

    from edgekit.tasks import mel

    if config.length is not None:
        samples = samples[: config.length]
    spoken = len(samples)
    if config.features == "samples" and config.normalized:
        samples = _normalized(samples)
    short = max(config.length or 0, config.shortest) - spoken
    if short > 0:
        samples = np.pad(samples, (0, short))
    if config.features == "samples":
        return samples.astype(np.float32)
    if config.spectrum is not None:
        from edgekit.tasks.spectrum import spectrum

        return spectrum(samples, config.rate, config.spectrum)
    if config.features == "log-mel":
        if config.normalized:
            samples = np.concatenate([_normalized(samples[:spoken]), samples[spoken:]])
        return mel.log_mel(samples, config.rate, config.mels, config.fft, config.hop)
    povey = config.features == "povey"
    banks = mel.kaldi(samples * 32768 if povey else samples, config.rate, config.mels, povey=povey)
    if config.normalized and povey:
        banks = (banks - banks.mean(axis=0)) / np.maximum(banks.std(axis=0), 1e-10)
    if config.frames is not None:
        banks = np.pad(banks[: config.frames], ((0, max(0, config.frames - len(banks))), (0, 0)))
    result: np.ndarray = ((banks - config.mean) / (2 * config.std)).astype(np.float32) if not povey else banks
    return result


def _normalized(samples: np.ndarray) -> np.ndarray:
    import numpy as np

    result: np.ndarray = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return result


def windows(samples: np.ndarray, config: AudioConfig) -> list[np.ndarray]:
    """Return the parts of a sound, each no longer than a window: it is cut at the quietest place of a window's end."""
    import numpy as np

    if config.window is None:
        return [samples]
    most, quiet = int(config.window * config.rate), max(1, int(QUIET * config.rate))
    parts = []
    while len(samples) > most:
        begin = most - int(SEARCHED * most)
        sums = np.concatenate([[0.0], np.cumsum(np.square(samples[begin:most], dtype=np.float64))])
        place = begin + int(np.argmin(sums[quiet:] - sums[:-quiet])) + quiet // 2
        parts.append(samples[:place])
        samples = samples[place:]
    return [*parts, samples]


def steps(values: np.ndarray, config: AudioConfig) -> list[np.ndarray]:
    """Return what each call of a model that takes a sound step by step is fed: `context` samples or frames of before,
    zeros at first, and `step` new ones; zeros complete the last.
    """
    import numpy as np

    assert config.step is not None
    axis = 1 if config.spectrum is not None and config.spectrum.layout == "bands-frames" else 0
    count = -(-values.shape[axis] // config.step)
    after = count * config.step - values.shape[axis]
    padding = [(config.context, after) if place == axis else (0, 0) for place in range(values.ndim)]
    padded = np.moveaxis(np.pad(values, padding), axis, 0)
    begins = range(0, count * config.step, config.step)
    return [np.moveaxis(padded[begin : begin + config.context + config.step], 0, axis) for begin in begins]


def step_seconds(config: AudioConfig) -> float:
    """Return the time from one step to the next."""
    assert config.step is not None
    return config.step * (1 if config.spectrum is None else config.spectrum.hop) / config.rate


def with_channel(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return the array with a channel of size 1, where the input has one in the second or the last place."""
    if len(spec.shape) != array.ndim + 2:
        return array
    return array[None] if spec.shape[1] == 1 or spec.shape[-1] != 1 else array[..., None]


@dataclass(frozen=True, eq=False)
class Sounds:
    """Prepares the sound input of a model, from a file or from an array that is prepared already."""

    config: AudioConfig
    inputs: Sequence[TensorSpec]

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        spec = self.spec
        field, value = self.find(sample)
        if field == spec.name and hasattr(value, "dtype"):
            return [self._complete({spec.name: fit(value, spec)}, sample)]
        return [
            self._complete({spec.name: fit(part, spec)}, sample)
            for part in self.parts(read_sound(value, self.config.rate, field))
        ]

    def parts(self, samples: np.ndarray) -> list[np.ndarray]:
        """Return what each call is fed of a sound at the model's rate, float32 without the batch."""
        if self.config.step is not None:
            return [with_channel(part, self.spec) for part in steps(features(samples, self.config), self.config)]
        return [with_channel(features(part, self.config), self.spec) for part in windows(samples, self.config)]

    def _complete(self, feeds: dict[str, np.ndarray], sample: Sample) -> dict[str, np.ndarray]:
        import numpy as np

        array = feeds[self.spec.name]
        for other in self.inputs:
            if other.name in feeds:
                continue
            if other.name in sample.fields:
                feeds[other.name] = fit(sample.fields[other.name], other)
            elif other.name in RATES:
                feeds[other.name] = fit(np.full([1] * len(other.shape), self.config.rate), other)
            elif other.name == "attention_mask":  # one sound at a time has no padding
                feeds[other.name] = fit(np.ones(array.shape[:2], np.int64), other)
        check_feeds(self.inputs, feeds)
        return feeds

    @property
    def spec(self) -> TensorSpec:
        """The input that takes the sound. Raises UsageError where the graph has none."""
        for spec in self.inputs:
            if spec.name == self.config.input:
                return spec
        floats = [spec for spec in self.inputs if spec.dtype in ("f32", "f16")]
        if len(floats) == 1:
            return floats[0]
        known = ", ".join(map(str, self.inputs))
        raise UsageError(f"the model has no input '{self.config.input}' for a sound.", hint=f"its inputs: {known}")

    def find(self, sample: Sample) -> tuple[str, Any]:
        """Return the name and the value of the field with the sound. Raises UsageError where there is none."""
        for name in (self.spec.name, *FIELDS):
            if name in sample.fields:
                return name, sample.fields[name]
        files = [name for name, value in sample.fields.items() if isinstance(value, (Path, bytes))]
        if len(files) == 1:
            return files[0], sample.fields[files[0]]
        known = ", ".join(sample.fields) or "nothing"
        raise UsageError("the sample has no sound.", hint=f"name its column or array 'audio'; the sample has {known}")
