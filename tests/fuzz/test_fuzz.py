"""A slice of `make fuzz`: inputs of each kind end in an error that says why, or are accepted."""

from __future__ import annotations

import random
from pathlib import Path

import onnx
import pytest

import edgekit
from edgekit.errors import UsageError
from tests.fuzz import machine, onnx_files, parent
from tests.fuzz.worker import KINDS
from tests.wording import raises


@pytest.mark.parametrize(
    "kind",
    ["text", "data", *(pytest.param(k, marks=pytest.mark.nightly) for k in sorted(KINDS.keys() - {"text", "data"}))],
)
def test_inputs_are_accepted_or_refused(kind: str) -> None:
    outcomes = parent.run(kind, 60, seed=1)
    assert outcomes.inputs == 60 and not outcomes.faults, outcomes.faults


def test_a_weight_that_does_not_fit_its_shape_is_refused(tmp_path: Path) -> None:
    proto = onnx_files.net()
    proto.graph.initializer[0].dims[1] = 5
    onnx.save(proto, tmp_path / "a.onnx")
    with raises(UsageError, "a.onnx", "reshape", hint="again"):
        edgekit.export(tmp_path / "a.onnx", output=tmp_path / "out", backends=["onnxruntime"], bench=False)


def test_the_same_seed_draws_the_same_input(tmp_path: Path) -> None:
    draw = onnx_files.draws(tmp_path)
    contents = []
    for _ in range(2):
        draw(random.Random(7))
        contents.append((tmp_path / "a.onnx").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.nightly
@pytest.mark.parametrize("cause", [machine.kills, machine.full_disks, machine.together, machine.namespaces])
def test_a_failing_machine_leaves_nothing_half_written(cause: object, tmp_path: Path) -> None:
    outcomes = cause(2, 1, tmp_path)  # type: ignore[operator]
    assert outcomes.counts and not outcomes.faults, outcomes.faults
