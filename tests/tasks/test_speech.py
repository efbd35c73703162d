"""Voice activity: a sound in steps, their probabilities, and the times of speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import tasks
from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.spec import MODEL, TensorSpec
from edgekit.tasks.audio import steps
from edgekit.tasks.config import AudioConfig, CalledPart, Calls, TaskConfig
from edgekit.tasks.spectrum_config import SpectrumConfig
from edgekit.tasks.speech import Speech, segments_of
from edgekit.tasks.speech_config import SpeechConfig
from tests.wording import raises

INPUTS = (TensorSpec.parse("x:f32[1,6]"), TensorSpec.parse("sr:i64[]"))
RATE = 1000


def task(metric: str | None = None, activation: str | None = "probabilities", **settings) -> Speech:
    audio = AudioConfig("x", RATE, step=4, context=2, **settings)
    calls = Calls((CalledPart(MODEL, INPUTS),), recurrent=True)
    config = TaskConfig(tasks.FRAMES, audio=audio, metric=metric, activation=activation, calls=calls)
    loaded = tasks.load(config, Path(), INPUTS)
    assert isinstance(loaded, Speech)
    return loaded


def outputs(*scores):
    return [{"probability": np.array([[score]], np.float32)} for score in scores]


def test_a_sound_is_fed_step_by_step_with_the_samples_before():
    calls = list(task().steps(Sample({"sound": np.arange(1, 10, dtype=np.float32) / 10})))
    assert [part for part, _ in calls] == [MODEL] * 3
    fed = np.concatenate([feeds["x"] for _, feeds in calls]) * 10
    assert np.allclose(fed, [[0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 8], [7, 8, 9, 0, 0, 0]])
    assert {int(feeds["sr"]) for _, feeds in calls} == {RATE}


@pytest.mark.parametrize(("layout", "shape"), [("bands-frames", (5, 3)), ("frames-bands", (3, 5))])
def test_a_spectrogram_is_cut_into_frames(layout, shape):
    config = AudioConfig(
        rate=RATE, features="spectrum", spectrum=SpectrumConfig(mels=5, layout=layout), step=2, context=1
    )
    values = np.ones((5, 4) if layout == "bands-frames" else (4, 5), np.float32)
    assert [part.shape for part in steps(values, config)] == [shape] * 2


def test_speech_ends_after_a_silence_and_short_speech_is_left_out():
    settings = SpeechConfig(threshold=0.5, release=0.3, shortest=0.2, silence=0.2)
    scores = [0.1, 0.6, 0.4, 0.9, 0.1, 0.8, 0.1, 0.1, 0.1, 0.9, 0.0, 0.0, 0.7, 0.7]
    assert segments_of(scores, settings, 0.1) == [(1, 6), (12, 14)]
    assert segments_of([], settings, 0.1) == []


def test_the_answer_has_times_in_seconds():
    answer = task(speech=SpeechConfig(shortest=0.0, silence=0.004)).answer(outputs(0.9, 0.9, 0.1, 0.1, 0.6))
    assert [(each["start"], each["end"]) for each in answer["speech"]] == [(0.0, 0.008), (0.016, 0.02)]
    assert (answer["seconds"], answer["of"]) == (0.012, 0.02)


@pytest.mark.parametrize(("metric", "value"), [(None, 0.75), ("accuracy", 0.5), ("f1", 0.5)])
def test_metrics_are_of_all_steps(metric, value):
    judged = task(metric)
    predictions = [judged.predict(outputs(0.9, 0.2)), judged.predict(outputs(0.1, 0.6))]
    labels = [judged.label("[[0.0, 0.008]]"), judged.label([])]
    assert judged.score(predictions, labels) == pytest.approx(value)


def test_scores_of_two_classes_are_logits_and_may_be_probabilities():
    rows = [{"y": np.array([[0.0, 2.0]])}]
    assert task(activation=None).probabilities(rows)[0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert task().probabilities([{"y": np.array([[0.2, 0.8]])}])[0] == pytest.approx(0.8)
    assert task(activation="logits").probabilities(outputs(0.0))[0] == pytest.approx(0.5)


def test_a_logit_that_is_not_named_one_is_refused():
    with raises(UsageError, "3.2", hint='activation = "logits"'):
        task().probabilities(outputs(0.5, 3.2))
    with raises(UsageError, "3 values", hint="--output-name"):
        task().probabilities([{"y": np.zeros((1, 3))}])


@pytest.mark.parametrize("label", ["speech", [1, 2], 7])
def test_a_label_without_times_is_refused(label):
    with raises(UsageError, "times", hint="[[0.5, 1.75]"):
        task().label(label)
