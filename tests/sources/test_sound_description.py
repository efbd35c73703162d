"""The front end of a model that takes sounds, described in a .toml."""

from __future__ import annotations

import pytest

from edgekit import tasks
from edgekit.errors import UsageError
from edgekit.sources import sound_description
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig
from tests.wording import raises

BASE = TaskConfig("tensor", labels=("a", "b"))


def described(folder, text: str, *inputs: str, base: TaskConfig = BASE) -> TaskConfig:
    path = folder / "front.toml"
    path.write_text(text)
    return sound_description.apply(base, path, [TensorSpec.parse(each) for each in inputs])


def test_a_table_of_a_spectrum_makes_a_classifier_of_it(tmp_path):
    text = 'labels = ["yes", "no"]\n[audio]\nrate = 16000\nlength = 16000\n[audio.spectrum]\nmels = 20\n'
    config = described(tmp_path, text, "x:f32[1,20,101]")
    assert (config.task, config.labels) == ("audio-classification", ("yes", "no"))
    assert config.audio is not None and config.audio.spectrum is not None
    assert (config.audio.input, config.audio.features, config.audio.spectrum.mels) == ("x", "spectrum", 20)


def test_samples_of_a_fixed_size_are_cut_and_completed_to_it(tmp_path):
    config = described(tmp_path, "[audio]\nrate = 8000\n", "x:f32[batch,8000]", "sr:i64[]")
    assert config.audio is not None and (config.audio.length, config.audio.rate) == (8000, 8000)
    assert config.labels == ("a", "b")


def test_steps_make_it_the_task_of_times(tmp_path):
    config = described(tmp_path, "[audio]\nstep = 512\n[audio.speech]\nthreshold = 0.6\n", "x:f32[1,512]")
    assert config.task == tasks.FRAMES and config.audio is not None
    assert config.audio.length is None and config.audio.speech is not None and config.audio.speech.threshold == 0.6
    kept = described(tmp_path, "[audio]\nstep = 512\n", "x:f32[1,512]", base=TaskConfig("audio-classification"))
    assert kept.task == "audio-classification"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("rate = 16000\n", "'rate'"),
        ("labels = ['a']\n", "[audio]"),
        ("[audio]\nrat = 16000\n", "'rat'"),
        ("[audio]\nrate = 'fast'\n", "rate"),
        ("[audio]\nstep = 0\n", "step"),
        ("[audio.spectrum]\nmels = 0\n", "mels"),
        ("[audio]\nfeatures = 'spectrum'\n", "spectrum"),
        ("[audio.speech]\nthreshold = 2\n", "threshold"),
        ("task = 'image-classification'\n[audio]\n", "'image-classification'"),
        ("activation = 'softmax'\n[audio]\n", "'softmax'"),
        ("labels = 'yes'\n[audio]\n", "labels"),
        ("[audio\n", "TOML"),
    ],
)
def test_a_wrong_description_is_refused_with_its_place(tmp_path, text, fact):
    with raises(UsageError, "front.toml", fact):
        described(tmp_path, text, "x:f32[1,512]")
