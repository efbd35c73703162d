"""Arrays to a model's inputs: batch, types and shapes; and the task that compares outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.data import Sample, Samples
from edgekit.errors import UsageError
from edgekit.evaluation.dataset import synthetic_feeds
from edgekit.model import InputHints
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, load
from tests.wording import raises

NOWHERE = Path("none")


def tensors(*specs):
    return load(TaskConfig("tensor"), NOWHERE, [TensorSpec.parse(spec) for spec in specs])


def test_tensors_are_cast_and_get_their_batch():
    task = tensors("x:f32[N,2]", "state:f32[2,1,3]", "sr:i64[]")
    (feeds,) = task.feeds(Sample({"x": [1, 2], "state": np.zeros((2, 1, 3)), "sr": 16000}))
    assert feeds["x"].shape == (1, 2) and feeds["x"].dtype == np.float32
    assert feeds["state"].shape == (2, 1, 3) and feeds["sr"].shape == () and feeds["sr"].dtype == np.int64
    (again,) = task.feeds(Sample(feeds))
    assert again["x"].shape == (1, 2)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("f32", 2**24 + 1),
        ("i64", 1.5),
        ("u8", -1),
        ("u64", -1),
        ("i8", 200),
        ("f16", 1e9),
        ("i64", float("nan")),
        ("bool", 3),
        ("f32", "word"),
        ("i64", None),
    ],
)
def test_a_cast_that_loses_values_is_refused(spec, value):
    with raises(UsageError, "'x'", str(TensorSpec("x", spec, ()).numpy_dtype)):
        tensors(f"x:{spec}[N,1]").feeds(Sample({"x": [value]}))


@pytest.mark.parametrize(
    ("spec", "value"),
    [("f32", 2**24), ("i64", 3.0), ("u8", 255), ("bool", 1), ("f32", True), ("f16", 0.1), ("f32", 0.1)],
)
def test_a_cast_that_keeps_values(spec, value):
    (feeds,) = tensors(f"x:{spec}[N,1]").feeds(Sample({"x": [value]}))
    assert feeds["x"].item() == pytest.approx(float(value), rel=1e-3)


def test_text_tensors():
    (feeds,) = tensors("x:str[N]").feeds(Sample({"x": "hello"}))
    assert feeds["x"].tolist() == ["hello"]


def test_tensors_that_do_not_fit():
    with raises(UsageError, "'state:f32[1]'", "'stat'") as caught:
        tensors("x:f32[N,2]", "state:f32[1]").feeds(Sample({"x": [1, 2], "stat": [1]}))
    assert "x, stat" in caught.value.hint
    with raises(UsageError, "'x'", "[2, 2, 2]", "x:f32[N,2]"):
        tensors("x:f32[N,2]").feeds(Sample({"x": np.zeros((2, 2, 2))}))
    with raises(UsageError, "'x'", "[1, 3]", "x:f32[N,2]"):
        tensors("x:f32[N,2]").feeds(Sample({"x": np.zeros(3)}))
    with raises(UsageError, "'x'", hint="--processor"):
        tensors("x:f32[N,2]").feeds(Sample({"image": Path("a.png")}))
    assert tensors("x:f32[N,2]").feeds(Sample({"other": [1, 2]}))[0]["x"].shape == (1, 2)


def test_tensor_answers_and_metric():
    task = tensors("x:f32[N,2]")
    answer = task.answer([{"y": np.array([[1.0, 3.0]], np.float32)}])
    assert answer["outputs"]["y"] == {
        "shape": [1, 2],
        "dtype": "float32",
        "min": 1.0,
        "max": 3.0,
        "mean": 2.0,
        "first": [1.0, 3.0],
    }
    assert task.metric is None and task.predict([{"y": np.zeros(1)}]).value is None
    with raises(UsageError, "'tensor'", hint="--task"):
        task.score([], [])


def test_random_inputs_have_a_limit():
    with raises(UsageError, "'x:f32[100000,100000,100]'", hint="--data"):
        synthetic_feeds((TensorSpec.parse("x:f32[100000,100000,100]"),), 0, InputHints())


def test_synthetic_feeds_pass_unchanged():
    feeds = {"x": np.ones((1, 2), np.float32)}
    (sample,) = Samples.from_feeds([feeds])
    assert np.array_equal(tensors("x:f32[1,2]").feeds(sample)[0]["x"], feeds["x"])


def test_sizes_that_the_model_accepts_are_used():
    spec = TensorSpec.parse("input_values:f32[batch_size,sequence_length]")
    assert synthetic_feeds((spec,), 0, InputHints())["input_values"].shape == (1, 16)
    hints = InputHints(example_sizes={"sequence_length": 16000})
    assert synthetic_feeds((spec,), 0, hints)["input_values"].shape == (1, 16000)


def test_why_files_cannot_be_read_is_reported(tmp_path):
    config = TaskConfig("object-detection", no_preprocessing="YolosImageProcessor pads, which has no equivalent here")
    task = load(config, tmp_path, (TensorSpec.parse("pixel_values:f32[1,3,8,8]"),))
    with raises(UsageError, "'pixel_values'", "YolosImageProcessor", hint="npz") as caught:
        task.feeds(Sample({"image": tmp_path / "a.png"}))
    assert "npz" in caught.value.hint
