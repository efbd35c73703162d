"""The layers of a graph, and the names by which a runtime's profile may refer to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgekit.layers import GraphLayer, LayerMap
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic

node = helper.make_node


@pytest.fixture
def map_layers(
    make_graph: Callable[..., Any], make_model: Callable[..., Model], tmp_path: Path
) -> Callable[..., dict[str, GraphLayer]]:
    """A function that returns the layers of a graph."""

    def find(
        nodes: list[Any], inputs: list[str], outputs: list[str], shapes: dict[str, Any], **config: Any
    ) -> LayerMap:
        rng = np.random.default_rng(0)
        constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        model = make_model(make_graph(nodes, inputs, outputs, constants), tmp_path / "model")
        work = tmp_path / "work"
        work.mkdir()
        layers = QuantizeStatic(**config).layer_map(model, work)
        assert not list(work.iterdir()), "scratch is cleared"
        return layers

    return find


def test_a_residual_block(map_layers: Callable[..., LayerMap]) -> None:
    layer_map = map_layers(
        [
            node("Conv", ["x", "w1"], ["c1"], "conv1", pads=[1] * 4),
            node("Relu", ["c1"], ["r1"], "relu1"),
            node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[1] * 4, group=8),
            node("Conv", ["c2", "w3"], ["c3"], "conv3"),
            node("Add", ["c3", "r1"], ["a"], "add"),
            node("Conv", ["a", "w4"], ["y"], "conv4"),
        ],
        ["x:f32[1,8,4,4]"],
        ["y:f32[1,2,4,4]"],
        {"w1": (8, 8, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (2, 8, 1, 1)},
    )
    layers = {layer.name: layer for layer in layer_map.layers}
    assert list(layers) == ["conv1", "conv2", "conv3", "conv4"]
    assert [layer.kind for layer in layer_map.layers] == ["Conv", "Conv, depthwise", "Conv", "Conv"]
    # conv4 reads conv1 too, through the shortcut; but conv3 reads it already.
    assert [layer.after for layer in layer_map.layers] == [(), ("conv1",), ("conv2",), ("conv3",)]
    assert {"relu1", "r1", "c1"} <= set(layers["conv1"].names)
    assert {"add", "a", "c3"} <= set(layers["conv3"].names)
    assert layers["conv4"].pairs == ("a_QuantizeLinear", "a_DequantizeLinear")
    assert layers["conv1"].reads == 8 * 4 * 4
    assert layer_map.elsewhere == ()


def test_no_name_belongs_to_two_layers(map_layers: Callable[..., LayerMap]) -> None:
    layer_map = map_layers(
        [
            node("Sigmoid", ["x"], ["s"], "before"),
            node("MatMul", ["s", "q"], ["sq"], "query"),
            node("MatMul", ["s", "k"], ["sk"], "key"),
            node("MatMul", ["sq", "sk"], ["m"], "attention"),
            node("Softmax", ["m"], ["p"], "softmax"),
            node("MatMul", ["p", "o"], ["y"], "output"),
        ],
        ["x:f32[1,4,4]"],
        ["y:f32[1,4,4]"],
        {"q": (4, 4), "k": (4, 4), "o": (4, 4)},
    )
    layers = {layer.name: layer for layer in layer_map.layers}
    assert set(layers) == {"query", "key", "output"}, "a product of two activations is not a layer"
    assert {"attention", "softmax"} <= set(layers["key"].names), "what joins two layers belongs to the last"
    assert layers["output"].after == ("query", "key")
    names = [name for layer in layer_map.layers for name in (layer.name, *layer.names, *layer.pairs)]
    assert len(names) == len(set(names))
    assert {"before", "s"} <= set(layer_map.elsewhere)


def test_what_was_folded_keeps_its_names(map_layers: Callable[..., LayerMap]) -> None:
    layer_map = map_layers(
        [
            node("MatMul", ["x", "w"], ["m"], "product"),
            node("Add", ["m", "b"], ["a"], "bias"),
            node("Relu", ["a"], ["r"], "relu"),
            node("MatMul", ["r", "v"], ["y"], "last"),
        ],
        ["x:f32[2,4]"],
        ["y:f32[2,3]"],
        {"w": (4, 8), "b": (8,), "v": (8, 3)},
    )
    first, last = layer_map.layers
    assert (first.kind, last.name) == ("Gemm", "last")
    assert set(first.folded) == {"product", "bias"}
    assert {"product", "m", "bias", "a", "relu", "r"} <= set(first.names)
    assert last.folded == ()


def test_layers_that_the_recipe_leaves_in_float_are_not_listed(map_layers: Callable[..., LayerMap]) -> None:
    layer_map = map_layers(
        [node("MatMul", ["x", "w"], ["m"], "one"), node("MatMul", ["m", "v"], ["y"], "two")],
        ["x:f32[2,n,4]"],
        ["y:f32[2,n,4]"],
        {"w": (4, 4), "v": (4, 4)},
        exclude=("one",),
    )
    (layer,) = layer_map.layers
    assert (layer.name, layer.reads, layer.after) == ("two", None, ())
