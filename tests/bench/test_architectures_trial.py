"""What `benchmarks/architectures_trial.py` calls a circle."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
trial = importlib.import_module("architectures_trial")

FAILS = "neither optimum nor edgekit has the inputs of 'Net': it fails."


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (FAILS, f"'sweep_tmpa1:load' fails: UnsupportedError: {FAILS} (sweep_tmpa1.py, line 6)", True),
        (
            "the model cannot be exported to ONNX: KeyError: 12",
            "neither the tracer nor torch.export translates the forward of 'Net': KeyError: 7",
            True,
        ),
        ("the weights of '/tmp/a/x' cannot be read", "the weights of '/tmp/b/x' cannot be read", True),
        (
            "the model cannot be exported to ONNX: KeyError: 12",
            "the model cannot be exported to ONNX: IndexError: 12",
            False,
        ),
    ],
)
def test_a_circle_is_the_same_cause_behind_whatever_prefix(first, second, same):
    assert (trial.cause(first) == trial.cause(second)) is same
