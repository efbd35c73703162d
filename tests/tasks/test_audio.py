"""The inputs made of sounds are those of transformers' feature extractors."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.sources.audio_processor import audio_config
from edgekit.spec import TensorSpec
from edgekit.tasks import load
from edgekit.tasks.audio import features, windows
from edgekit.tasks.config import AudioConfig, TaskConfig

transformers = pytest.importorskip("transformers")

RATE = 16000
DRAW = np.random.default_rng(0)
SPEECH = (np.sin(2 * np.pi * 300 * (np.arange(RATE * 2) / RATE) ** 1.7) * 0.3 + DRAW.normal(0, 0.01, RATE * 2)).astype(
    np.float32
)
EXTRACTORS = {
    "Wav2Vec2FeatureExtractor": "input_values",
    "WhisperFeatureExtractor": "input_features",
    "ASTFeatureExtractor": "input_values",
    "Speech2TextFeatureExtractor": "input_features",
}


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # AST has more filters than frequencies below 200 Hz
@pytest.mark.parametrize("kind", EXTRACTORS)
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_features_are_those_of_transformers(kind, seconds):
    extractor = getattr(transformers, kind)()
    config, reason = audio_config(extractor.to_dict(), "audio-classification", None)
    assert reason is None
    sound = SPEECH[: int(seconds * RATE)]
    wanted = extractor(sound, sampling_rate=RATE, return_tensors="np")[EXTRACTORS[kind]][0]
    assert config.input == EXTRACTORS[kind]
    assert np.abs(features(sound, config) - wanted).max() < 2e-5


def test_log_mel_is_nearer_to_the_exact_one_than_single_precision():
    extractor = transformers.WhisperFeatureExtractor(feature_size=128)
    config, _ = audio_config(extractor.to_dict(), "automatic-speech-recognition", None)
    padded = np.pad(SPEECH, (0, config.length - len(SPEECH)))
    exact = extractor._np_extract_fbank_features(padded[None], "cpu")[0]
    assert np.abs(features(SPEECH, config) - exact).max() < 1e-6


def test_an_extractor_without_an_equivalent_is_named():
    config, reason = audio_config({"feature_extractor_type": "ClapFeatureExtractor"}, "audio-classification", None)
    assert config is None and "ClapFeatureExtractor" in reason


@pytest.mark.parametrize(
    ("problem", "metric", "wanted"),
    [(None, "accuracy", [0.4, 0.6]), ("multi-label", None, [0.65, 0.65]), ("regression", None, None)],
)
def test_the_answer_to_a_long_sound_is_the_mean_of_its_windows(problem, metric, wanted, tmp_path):
    inputs = [TensorSpec.parse("input_values:f32[1,n]")]
    config = TaskConfig(
        "audio-classification", ("no", "yes"), metric=metric, problem_type=problem, audio=AudioConfig(window=1.0)
    )
    task = load(config, tmp_path, inputs)
    if wanted is None:
        numbers = [{"value": np.array([[number]], np.float32)} for number in (1.0, 2.0)]
        assert task.predict(numbers).value == 1.5
        return
    rows = [(0.5, 0.5), (0.3, 0.7)] if problem is None else [(0.5, 0.5), (0.8, 0.8)]
    logits = [np.log(row) if problem is None else np.log(np.divide(row, np.subtract(1, row))) for row in rows]
    prediction = task.predict([{"logits": each[None].astype(np.float32)} for each in logits])
    assert np.allclose(prediction.scores, wanted, atol=1e-6)


def test_a_long_sound_is_cut_where_it_is_quiet():
    config = AudioConfig(rate=1000, window=10.0)
    sound = np.ones(25_000, np.float32)
    sound[8_500:8_600] = sound[17_000:17_100] = 0
    parts = windows(sound, config)
    assert np.array_equal(np.concatenate(parts), sound)
    assert [len(part) // 100 for part in parts][:2] == [85, 85] and max(map(len, parts)) <= 10_000
    assert len(windows(sound[:9_000], config)) == 1
