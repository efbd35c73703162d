"""A small network with every kind of layer that int8 likes or loses on, in float and in int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit import catalog
from edgekit.data import Feeds
from edgekit.frameworks.onnx_model import part_of
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.pipeline import pass_defaults
from edgekit.target import target

LAYERS = ("stem", "depthwise", "point", "wide", "product/MatMulAddFusion", "head")
"""Every MatMul, Gemm and Conv, in the order of the graph; the product and its bias become one Gemm before int8."""


def small_net(channels: int = 16, size: int = 16) -> Any:
    """Build a stem, an inverted residual with a depthwise convolution, a grouped one, a product and a classifier."""
    rng = np.random.default_rng(0)
    weights = {
        "stem.w": (channels, 3, 3, 3), "stem.b": (channels,),
        "depthwise.w": (channels, 1, 3, 3), "depthwise.b": (channels,),
        "point.w": (channels, channels, 1, 1), "point.b": (channels,),
        "wide.w": (2 * channels, channels // 2, 3, 3),
        "product.w": (2 * channels, 24), "product.b": (24,),
        "head.w": (10, 24), "head.b": (10,),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem.w", "stem.b"], ["s"], "stem", pads=[1] * 4),
        node("Relu", ["s"], ["sr"], "stem.relu"),
        node("Conv", ["sr", "depthwise.w", "depthwise.b"], ["d"], "depthwise", pads=[1] * 4, group=channels),
        node("Clip", ["d", "zero", "six"], ["dc"], "depthwise.clip"),
        node("Conv", ["dc", "point.w", "point.b"], ["p"], "point"),
        node("Add", ["p", "sr"], ["a"], "add"),
        node("Relu", ["a"], ["ar"], "add.relu"),
        node("Conv", ["ar", "wide.w"], ["w"], "wide", pads=[1] * 4, group=2),
        node("Relu", ["w"], ["wr"], "wide.relu"),
        node("ReduceMean", ["wr"], ["m"], "mean", axes=[2, 3], keepdims=0),
        node("MatMul", ["m", "product.w"], ["mm"], "product"),
        node("Add", ["mm", "product.b"], ["mb"], "product.bias"),
        node("Sigmoid", ["mb"], ["g"], "gate"),
        node("Gemm", ["g", "head.w", "head.b"], ["y"], "head", transB=1),
    ]
    held = [
        numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    held += [numpy_helper.from_array(np.array(bound, np.float32), name) for name, bound in (("zero", 0), ("six", 6))]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "net", [value("x", 1, [1, 3, size, size])], [value("y", 1, [1, 10])], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


@pytest.fixture(scope="session")
def in_float(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("float")
    proto = small_net()
    onnx.save(proto, str(folder / "model.onnx"))
    return Model("onnx", (part_of(proto),), folder=folder)


@pytest.fixture(scope="session")
def feed() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}


@pytest.fixture(scope="session")
def int8(in_float: Model, feed: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Quantize the network in the flavour of this machine."""
    config = pass_defaults.resolve(catalog.recipe("int8-static"), target.load("host")).passes[0].config
    folder = tmp_path_factory.mktemp("int8")
    feeds = Feeds.from_arrays([feed])
    return QuantizeStatic.from_dict(dict(config)).apply(in_float, feeds, folder)
