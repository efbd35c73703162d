"""The original's outputs: kept as they are, and the error where it does not run."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import Samples
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.evaluation import reference_outputs
from edgekit.evaluation.reference_outputs import SYNTHETIC, ReferenceOutputs, record
from edgekit.progress import Silent
from edgekit.spec import MODEL, TensorSpec
from edgekit.tasks import TaskConfig, load
from tests.wording import raises

X = TensorSpec("x", "f32", ("N", 3))
ROWS = [np.full((1, 3), number, np.float32) for number in range(3)]


@dataclass
class Function:
    """A model that is one function of its feeds."""

    call: Callable[[np.ndarray], Any]
    framework: str = "numpy"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.call(feeds["x"])


def recorded(call: Callable[[np.ndarray], Any], folder: Path, source: str = "arrays") -> ReferenceOutputs:
    samples = Samples.from_feeds([{"x": row} for row in ROWS], source=source)
    task = load(TaskConfig("tensor"), folder, [X])
    record(Function(call), task, samples, folder, Silent())
    return ReferenceOutputs(folder, task, samples)


def test_every_array_comes_back_as_it_was(tmp_path):
    def call(x):
        return {"sum": x.sum(), "row": x * 2, "turned": np.asfortranarray(np.outer(x, x)), "none": np.zeros((0, 2))}

    records = recorded(call, tmp_path)
    assert len(records) == 3 and records.framework == "numpy"
    for index, row in enumerate(ROWS):
        (inference,) = records[index]
        assert inference.part == MODEL and list(inference.feeds) == ["x"]
        np.testing.assert_array_equal(inference.feeds["x"], row)
        outputs = inference.outputs
        assert records.outputs(index)[0].keys() == outputs.keys()
        for name, array in call(row).items():
            assert outputs[name].shape == np.shape(array) and outputs[name].dtype == array.dtype
            np.testing.assert_array_equal(outputs[name], array)


def test_feeds_beyond_the_limit_are_prepared_again(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_outputs, "FEEDS_BYTES", 2 * ROWS[0].nbytes)
    reference = recorded(lambda x: {"y": x * 2}, tmp_path)
    with zipfile.ZipFile(tmp_path / "feeds.zip") as archive:
        assert archive.namelist() == ["0.0.0", "1.0.0"]
    for index, row in enumerate(ROWS):
        (inference,) = reference[index]
        np.testing.assert_array_equal(inference.feeds["x"], row)
        np.testing.assert_array_equal(inference.outputs["y"], row * 2)


def test_a_task_of_several_parts_is_recorded_call_by_call(tmp_path, monkeypatch):
    """The feeds of the second call depend on the outputs of the first."""

    class TwoParts:
        config = TaskConfig("tensor")

        def steps(self, sample):
            hidden = yield "encoder", {"x": sample.fields["x"]}
            yield "decoder", {"hidden": hidden["y"] + 1}

    samples, task = Samples.from_feeds([{"x": row} for row in ROWS]), TwoParts()
    for limit in (0, 1_000_000):
        folder = tmp_path / str(limit)
        folder.mkdir()
        monkeypatch.setattr(reference_outputs, "FEEDS_BYTES", limit)
        record(Doubling(), task, samples, folder, Silent())
        first, second = ReferenceOutputs(folder, task, samples)[2]
        assert (first.part, second.part) == ("encoder", "decoder")
        np.testing.assert_array_equal(second.feeds["hidden"], ROWS[2] * 2 + 1)
        np.testing.assert_array_equal(second.outputs["y"], (ROWS[2] * 2 + 1) * 2)


class Doubling:
    framework = "numpy"

    def run(self, feeds):
        return {"y": 2 * next(iter(feeds.values()))}


def fails(x):
    raise IndexError("index out of range")


@pytest.mark.parametrize(
    ("call", "source", "kind", "message"),
    [
        (fails, "val", BuildError, ["sample 0", "x[1, 3]", "index out of range"]),
        (fails, SYNTHETIC, UsageError, ["x[1, 3]", "index out of range"]),
        (lambda x: {"y": x / 0}, "val", BuildError, ["finite", "'y'", "sample 0"]),
        (lambda x: {"y": x / 0}, SYNTHETIC, UsageError, ["finite", "'y'"]),
        (lambda x: {"label": np.array(["cat"])}, "val", UnsupportedError, ["'label'", "text"]),
        (lambda x: {"label": np.array(["cat"], object)}, "val", UnsupportedError, ["'label'", "text"]),
    ],
)
def test_what_cannot_be_compared_is_reported(call, source, kind, message, tmp_path):
    with raises(kind, message) as caught, np.errstate(all="ignore"):
        recorded(call, tmp_path, source)
    assert caught.value.hint
    assert source != SYNTHETIC or "--data" in caught.value.hint
