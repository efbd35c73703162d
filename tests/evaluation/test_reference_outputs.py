"""The original's outputs: kept as they are, and what is said where it does not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import Samples
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.evaluation.reference_outputs import SYNTHETIC, Originals, record
from edgekit.progress import Silent
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, load

X = TensorSpec("x", "f32", ("N", 3))
ROWS = [np.full((1, 3), number, np.float32) for number in range(3)]


@dataclass
class Function:
    """A model that is one function of its feeds."""

    call: Callable[[np.ndarray], Any]
    framework: str = "numpy"

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.call(feeds["x"])


def recorded(call: Callable[[np.ndarray], Any], folder: Path, source: str = "arrays") -> Originals:
    samples = Samples.from_feeds([{"x": row} for row in ROWS], source=source)
    record(Function(call), load(TaskConfig("tensor"), folder, [X]), samples, folder, Silent())
    return Originals(folder)


def test_every_array_comes_back_as_it_was(tmp_path):
    def call(x):
        return {"sum": x.sum(), "row": x * 2, "turned": np.asfortranarray(np.outer(x, x)), "none": np.zeros((0, 2))}

    found = recorded(call, tmp_path)
    assert len(found) == 3 and found.framework == "numpy"
    for index, row in enumerate(ROWS):
        (outputs,) = found[index]
        for name, array in call(row).items():
            assert outputs[name].shape == np.shape(array) and outputs[name].dtype == array.dtype
            np.testing.assert_array_equal(outputs[name], array)


def fails(x):
    raise IndexError("index out of range")


@pytest.mark.parametrize(
    ("call", "source", "kind", "message"),
    [
        (fails, "val", BuildError, r"does not run on sample 0 \(x\[1, 3\]\): index out of range\."),
        (fails, SYNTHETIC, UsageError, r"does not run on inputs that were made up \(x\[1, 3\]\): index out of range"),
        (lambda x: {"y": x / 0}, "val", BuildError, "not finite in 'y' on sample 0"),
        (lambda x: {"y": x / 0}, SYNTHETIC, UsageError, "not finite in 'y' on made-up inputs"),
        (lambda x: {"label": np.array(["cat"])}, "val", UnsupportedError, "output 'label' holds text"),
        (lambda x: {"label": np.array(["cat"], object)}, "val", UnsupportedError, "output 'label' holds text"),
    ],
)
def test_what_cannot_be_held_against_is_told(call, source, kind, message, tmp_path):
    with pytest.raises(kind, match=message) as caught, np.errstate(all="ignore"):
        recorded(call, tmp_path, source)
    assert caught.value.hint
    assert source != SYNTHETIC or "--data" in caught.value.hint
