"""A prepared graph can be loaded again by onnxruntime, also when operators were added to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

from edgekit.model import Model
from edgekit.passes.onnx.prepare import prepare

node = helper.make_node


def test_constants_that_onnxruntime_added_do_not_clash_with_its_next_ones(
    make_graph: Callable[..., Any], make_model: Callable[..., Model], tmp_path: Path
) -> None:
    # A product of three dimensions and its bias become a Gemm between two reshapes, whose shapes are new constants.
    nodes = [node("MatMul", ["x", "w"], ["m"], "product"), node("Add", ["m", "b"], ["y"], "bias")]
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal((4, 4)).astype(np.float32), "b": np.ones(4, np.float32)}
    model = make_model(make_graph(nodes, ["x:f32[1,3,4]"], ["y:f32[1,3,4]"], constants), tmp_path / "model")
    proto = prepare(model.graph, tmp_path / "prepared", least_opset=13).proto
    assert [entry.op_type for entry in proto.graph.node] == ["Reshape", "Gemm", "Reshape"]

    # The same once more after it, as a layer that a quantizer left in float: it becomes a Gemm when the graph is
    # loaded.
    proto.graph.node.extend([node("MatMul", ["y", "v"], ["n"], "second"), node("Add", ["n", "b2"], ["z"], "bias2")])
    proto.graph.initializer.extend(
        [numpy_helper.from_array(constants["w"], "v"), numpy_helper.from_array(constants["b"], "b2")]
    )
    proto.graph.output[0].name = "z"
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.standard_normal((1, 3, 4)).astype(np.float32)
    expected = (x @ constants["w"] + 1) @ constants["w"] + 1
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-5)
