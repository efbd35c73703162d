"""Sizes that the user asks for: an option that the model's file makes useless is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.errors import UsageError
from tests.wording import raises

pytestmark = pytest.mark.needs("onnxruntime")


def net(path: Path, batch: int | str) -> str:
    """Write a layer of 5 inputs and 2 outputs, with the batch that the file fixes, or leaves free."""
    weight = numpy_helper.from_array(np.ones((5, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def export(model: str, tmp_path: Path, **shapes: int | str) -> edgekit.Result:
    return edgekit.export(
        model, output=tmp_path / "out", candidates=["onnxruntime/fp32"], bench=False, shapes=shapes, force=True
    )


@pytest.mark.parametrize("size", ["dynamic", 8])
def test_a_batch_that_the_file_fixes(tmp_path: Path, size: int | str) -> None:
    with raises(UsageError, f"batch={size}", "fixed at 4", hint="leave --shape out"):
        export(net(tmp_path / "net.onnx", 4), tmp_path, batch=size)


def test_what_the_hint_leads_to(tmp_path: Path) -> None:
    fixed = net(tmp_path / "fixed.onnx", 4)
    for path, shape in (("one.npz", (8, 5)), ("fours.npz", (3, 4, 5))):
        np.savez(tmp_path / path, x=np.ones(shape, np.float32))
    options = {"output": tmp_path / "out", "candidates": ["onnxruntime/fp32"], "bench": False, "force": True}
    with raises(UsageError, "x:f32[4,5]", hint=("arrays of 4", "export the model again")) as caught:
        edgekit.export(fixed, data=tmp_path / "one.npz", **options)
    assert "--shape" not in (caught.value.hint or "")
    edgekit.export(fixed, data=tmp_path / "fours.npz", **options)
    edgekit.export(net(tmp_path / "free.onnx", "N"), data=tmp_path / "one.npz", **options)
    export(fixed, tmp_path, batch=4)
