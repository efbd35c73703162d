"""The settings of static int8 that TensorRT's parser takes: zero point 0 everywhere, biases in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit import catalog
from edgekit.data import Feeds
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.pipeline.pass_defaults import resolve
from edgekit.target import target

SEED = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


@pytest.fixture
def settings() -> QuantizeStatic:
    resolved = resolve(catalog.recipe("int8-static"), target.load("jetson-orin-nano"), "tensorrt")
    return QuantizeStatic.from_dict(resolved.passes[0].config)


def pairs(model: Model) -> list[tuple[int, np.ndarray, str]]:
    """Return the zero point's type and value of every Q and DQ, and the node's name."""
    graph = onnx.load(model.graph).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes and all(len(node.input) == 3 for node in nodes)
    return [(constants[n.input[2]].data_type, numpy_helper.to_array(constants[n.input[2]]), n.name) for n in nodes]


def test_convolutions_with_biases(
    make_graph: Any, make_model: Any, run_onnxruntime: Any, settings: QuantizeStatic, tmp_path: Path
) -> None:
    proto = make_graph(
        [
            helper.make_node("Conv", ["x", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "k2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c2", "r1"], ["s"]),
            helper.make_node("GlobalAveragePool", ["s"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b3"], ["y"], transB=1),
        ],
        ["x:f32[N,3,8,8]"],
        ["y:f32[N,10]"],
        {
            "k1": floats(16, 3, 3, 3),
            "b1": floats(16),
            "k2": floats(16, 16, 3, 3),
            "b2": floats(16),
            "w": floats(10, 16),
            "b3": floats(10),
        },
    )
    model = make_model(proto, tmp_path / "in")
    feeds = Feeds.from_arrays([{"x": floats(1, 3, 8, 8)} for _ in range(8)])
    (tmp_path / "out").mkdir()
    quantized = settings.apply(model, feeds, tmp_path / "out")
    zero_points = pairs(quantized)
    assert {kind for kind, _, _ in zero_points} == {TensorProto.INT8}, "no bias of 32 bits, no unsigned activation"
    assert not [name for _, zero, name in zero_points if zero.any()]
    assert sum(zero.ndim == 1 for _, zero, _ in zero_points) == 3, "a scale for each channel of each weight"
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(quantized.graph).graph.initializer}
    for bias in ("b1", "b2", "b3"):
        assert np.array_equal(
            constants[bias], numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == bias))
        )
    feed = {"x": floats(4, 3, 8, 8)}
    (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(quantized.graph, feed)
    assert np.linalg.norm(before - after) < 0.1 * np.linalg.norm(before)


def test_resnet(
    resnet: Model, cifar_feeds: Feeds, cifar: Any, run_onnxruntime: Any, settings: QuantizeStatic, tmp_path: Path
) -> None:
    quantized = settings.apply(resnet, cifar_feeds, tmp_path)
    zero_points = pairs(quantized)
    assert {kind for kind, _, _ in zero_points} == {TensorProto.INT8}
    assert not any(zero.any() for _, zero, _ in zero_points)
    images, labels = cifar("test", 20)
    right = [
        float((run_onnxruntime(model.graph, {"images": images})[0].argmax(1) == labels).mean())
        for model in (resnet, quantized)
    ]
    assert right[1] > right[0] - 0.03, right


def test_other_backends_of_the_target_keep_theirs() -> None:
    jetson = target.load("jetson-orin-nano")
    config = resolve(catalog.recipe("int8-static"), jetson, "onnxruntime").passes[0].config
    assert config == {"activations": "s8", "reduce_range": False}
