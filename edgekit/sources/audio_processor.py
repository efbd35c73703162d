"""Read `preprocessor_config.json` as an AudioConfig, and a CTC tokenizer's files as a CtcConfig: what transformers'
feature extractors and Wav2Vec2CTCTokenizer do, as data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.sources import checkpoint
from edgekit.tasks.config import AudioConfig, CtcConfig

WINDOW = 30.0
"""Seconds of the parts that speech recognition by CTC cuts a long sound into."""

KALDI_FRAMES = 100
"""Frames of Kaldi's filter banks in a second."""

_KINDS = {
    "Wav2Vec2FeatureExtractor": "samples",
    "WhisperFeatureExtractor": "log-mel",
    "ASTFeatureExtractor": "hann",
    "Speech2TextFeatureExtractor": "povey",
}


def is_audio(settings: Mapping[str, Any]) -> bool:
    """Return whether settings are those of sounds."""
    return "sampling_rate" in settings or settings.get("feature_extractor_type") in _KINDS


def audio_config(settings: Mapping[str, Any], task: str, config: Any) -> tuple[AudioConfig | None, str | None]:
    """Return the AudioConfig that settings describe, or None and why they cannot be followed.

    `config` is the model's own, None for a model without one.
    """
    kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
    if kind not in _KINDS:
        return None, f"the feature extractor '{kind}' has no equivalent here ({', '.join(_KINDS)} have)"
    if settings.get("dither"):
        return None, "the feature extractor adds noise (dither)"
    rate = int(settings.get("sampling_rate", 16000))
    if kind == "Wav2Vec2FeatureExtractor":
        cut = task in ("automatic-speech-recognition", "audio-classification")
        return AudioConfig(
            rate=rate,
            normalized=bool(settings.get("do_normalize", True)),
            shortest=_shortest(config),
            window=WINDOW if cut else None,
        ), None
    if kind == "WhisperFeatureExtractor":
        seconds = int(settings.get("chunk_length", 30))
        return AudioConfig(
            "input_features",
            rate,
            "log-mel",
            normalized=bool(settings.get("do_normalize", False)),
            length=seconds * rate,
            mels=int(settings.get("feature_size", 80)),
            fft=int(settings.get("n_fft", 400)),
            hop=int(settings.get("hop_length", 160)),
            window=float(seconds) if task == "automatic-speech-recognition" else None,
        ), None
    mels = int(settings.get("num_mel_bins", 80 if kind == "Speech2TextFeatureExtractor" else 128))
    if kind == "ASTFeatureExtractor":
        scaled = bool(settings.get("do_normalize", True))
        mean, std = float(settings.get("mean", -4.2677393)), float(settings.get("std", 4.5689974))
        frames = int(settings.get("max_length", 1024))
        if not scaled:
            mean, std = 0.0, 0.5
        return AudioConfig(
            "input_values", rate, "hann", mels=mels, frames=frames, mean=mean, std=std, window=frames / KALDI_FRAMES
        ), None
    normalized = settings.get("do_ceptral_normalize", True)
    if normalized and not (settings.get("normalize_means", True) and settings.get("normalize_vars", True)):
        return None, "the feature extractor normalises means or variances alone"
    return AudioConfig("input_features", rate, "povey", bool(normalized), mels=mels, window=WINDOW), None


def _shortest(config: Any) -> int:
    """Return the fewest samples of which a network's convolutions make a frame."""
    count = 1
    kernels, strides = getattr(config, "conv_kernel", None) or (), getattr(config, "conv_stride", None) or ()
    for kernel, stride in reversed([*zip(kernels, strides, strict=True)]):
        count = (count - 1) * stride + kernel
    return int(count)


def ctc_config(folder: Path, config: Any) -> CtcConfig | None:
    """Return how a CTC model's frames become text; None where no vocabulary is beside it.

    Raises UsageError for a vocabulary whose ids are not numbers from 0.
    """
    file = folder / "vocab.json"
    if not file.is_file():
        return None
    settings_file = folder / "tokenizer_config.json"
    settings = checkpoint.read_json(settings_file) if settings_file.is_file() else {}
    vocabulary = checkpoint.read_json(file)
    added = folder / "added_tokens.json"
    vocabulary = {**vocabulary, **(checkpoint.read_json(added) if added.is_file() else {})}
    if not all(isinstance(number, int) and 0 <= number < 1 << 20 for number in vocabulary.values()):
        raise UsageError(
            f"'{file}' does not map tokens to their numbers.", hint="copy it from the model's origin: one language each"
        )
    tokens = [""] * (max(vocabulary.values(), default=-1) + 1)
    for token, number in vocabulary.items():
        tokens[number] = token
    blank = getattr(config, "pad_token_id", None)
    space = settings.get("word_delimiter_token", "|")
    if settings.get("do_lower_case"):
        tokens = [token if token == space else token.lower() for token in tokens]
    return CtcConfig(tuple(tokens), blank if isinstance(blank, int) else 0, space)
