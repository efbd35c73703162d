"""A prepared graph can be loaded again by onnxruntime, also when operators were added to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgekit.data import Feeds
from edgekit.frameworks import onnx_model
from edgekit.model import Model
from edgekit.passes.onnx.prepare import prepare
from edgekit.passes.quantize.static import QuantizeStatic

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


def quantized_difference(model: Model, count: int, folder: Path) -> float:
    """Return how far static int8 is from float, relative to the outputs, on normal inputs."""
    rng = np.random.default_rng(1)
    feeds = [
        {spec.name: rng.standard_normal(spec.resolve({})).astype(np.float32) for spec in model.part.inputs}
        for _ in range(count)
    ]
    folder.mkdir()
    int8 = QuantizeStatic().apply(model, Feeds(lambda: iter(feeds), lambda: count, lambda: "digest"), folder)
    cpu = ["CPUExecutionProvider"]
    before, after = (onnxruntime.InferenceSession(graph, providers=cpu) for graph in (model.graph, int8.graph))
    exact = np.stack([before.run(None, feed)[0] for feed in feeds])
    return float(np.linalg.norm(np.stack([after.run(None, feed)[0] for feed in feeds]) - exact) / np.linalg.norm(exact))


def test_names_that_nothing_forbids_do_not_clash_with_added_ones(
    make_graph: Callable[..., Any], make_model: Callable[..., Model], tmp_path: Path
) -> None:
    # A node without a name beside one that is called as it would be; tensors called as a quantizer names its own.
    nodes = [
        node("Gemm", ["x", "w", "w_scale"], ["x_quantized"], ""),
        node("Relu", ["x_quantized"], ["x_scale"], "Gemm_0"),
        node("Gemm", ["x_scale", "w_quantized", "w_zero_point"], ["y"], "Gemm_2"),
    ]
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal((6, 6)).astype(np.float32) for name in ("w", "w_quantized")}
    constants |= {name: rng.standard_normal(6).astype(np.float32) for name in ("w_scale", "w_zero_point")}
    model = make_model(make_graph(nodes, ["x:f32[n,6]"], ["y:f32[n,6]"], constants), tmp_path / "model")
    prepared = prepare(model.graph, tmp_path / "prepared", least_opset=13).proto
    assert len({entry.name for entry in prepared.graph.node}) == 3
    assert quantized_difference(model, 20, tmp_path / "int8") < 0.05


@pytest.mark.parametrize("shape", [(1, 6), (1, 1, 6), (1,), (1, 1)])
@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_a_bias_of_one_row_is_quantized_as_a_flat_one(
    kind: str, shape: tuple[int, ...], make_graph: Callable[..., Any], make_model: Callable[..., Model], tmp_path: Path
) -> None:
    if kind == "Gemm" and len(shape) > 2:
        pytest.skip("the bias of a Gemm has two axes at most")
    nodes = [node("Gemm", ["x", "w", "b"], ["y"], "fc")]
    if kind == "MatMul":
        nodes = [node("MatMul", ["x", "w"], ["m"], "fc"), node("Add", ["m", "b"], ["y"], "add")]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((8, 6)).astype(np.float32),
        "b": rng.standard_normal(shape).astype(np.float32),
    }
    output = "y:f32[1,n,6]" if len(shape) == 3 else "y:f32[n,6]"
    model = make_model(make_graph(nodes, ["x:f32[n,8]"], [output], constants), tmp_path / "model")
    assert quantized_difference(model, 20, tmp_path / "int8") < 0.05


def test_a_bias_that_differs_by_row_stays_in_float(
    make_graph: Callable[..., Any], make_model: Callable[..., Model], tmp_path: Path
) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["h"], "rows"), node("Gemm", ["h", "v"], ["y"], "plain")]
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 6), "v": (6, 4), "b": (3, 6)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    model = make_model(make_graph(nodes, ["x:f32[3,8]"], ["y:f32[3,4]"], constants), tmp_path / "model")
    assert quantized_difference(model, 20, tmp_path / "int8") < 0.05


def test_a_model_above_2_gb_is_recognised_without_counting_its_message(
    make_graph: Callable[..., Any],
) -> None:
    proto = make_graph(
        [node("MatMul", ["x", "w"], ["y"])], ["x:f32[n,4]"], ["y:f32[n,4]"], {"w": np.eye(4, dtype="f4")}
    )
    assert not onnx_model.is_larger(proto, onnx_model.SINGLE_FILE_BYTES)
    assert onnx_model.is_larger(proto, 64)
    proto.graph.initializer[0].dims[:] = [2_000_000_000, 4]
    assert onnx_model.is_larger(proto, onnx_model.SINGLE_FILE_BYTES)
