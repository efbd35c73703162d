"""Settings by operator type and by node: a node's setting comes before its type's, and that before the one for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.data import Feeds
from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
from tests.wording import raises

SEED = np.random.default_rng(4)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


@pytest.fixture
def model(make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
    """Two convolutions, then two products: `x:f32[N,2,6,6]` to `y:f32[N,4]`."""
    proto = make_graph(
        [
            helper.make_node("Conv", ["x", "k1"], ["c1"], name="stem"),
            helper.make_node("Softplus", ["c1"], ["s1"]),
            helper.make_node("Conv", ["s1", "k2"], ["c2"], name="body"),
            helper.make_node("Flatten", ["c2"], ["f"]),
            helper.make_node("MatMul", ["f", "w1"], ["h"], name="first"),
            helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
            helper.make_node("MatMul", ["t", "w2"], ["y"], name="second"),
        ],
        ["x:f32[N,2,6,6]"],
        ["y:f32[N,4]"],
        {"k1": floats(8, 2, 3, 3), "k2": floats(8, 8, 3, 3), "w1": floats(32, 16), "w2": floats(16, 4)},
    )
    return make_model(proto, tmp_path / "in")


@pytest.fixture
def quantized(model: Model, tmp_path: Path) -> Any:
    """A function that quantizes with settings and returns the graph."""
    feeds = Feeds.from_arrays([{"x": floats(1, 2, 6, 6)} for _ in range(40)])
    numbers = iter(range(100))

    def apply(config: dict[str, Any]) -> Any:
        folder = tmp_path / f"out{next(numbers)}"
        folder.mkdir()
        return onnx.load(QuantizeStatic.from_dict(config).apply(model, feeds, folder).graph).graph

    return apply


def scales(graph: Any, name: str) -> list[np.ndarray]:
    """Return the scales of the node's quantized operands: of its data and of its weights."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    (node,) = [node for node in graph.node if node.name == name]
    pairs = [producers[operand] for operand in node.input if operand in producers]
    return [constants[pair.input[1]] for pair in pairs if pair.op_type == "DequantizeLinear"]


def over(operators: Any = None, nodes: Any = None, **config: Any) -> dict[str, Any]:
    return {**config, "overrides": {"operators": operators or {}, "nodes": nodes or {}}}


class TestPrecedence:
    def test_float(self, quantized: Any) -> None:
        graph = quantized(over({"Conv": {"float": True}}, {"body": {"float": False}, "second": {"float": True}}))
        counts = {name: len(scales(graph, name)) for name in ("stem", "body", "first", "second")}
        assert counts == {"stem": 0, "body": 2, "first": 2, "second": 0}

    def test_method(self, quantized: Any) -> None:
        plain = quantized({"method": "minmax"})
        tight = quantized({"method": "percentile", "percentile": 90.0})
        mixed = quantized(
            over(
                {"Conv": {"method": "minmax"}},
                {"body": {"method": "percentile", "percentile": 90.0}},
                method="percentile",
                percentile=90.0,
            )
        )
        for name, like in (("stem", plain), ("body", tight), ("first", tight), ("second", tight)):
            assert scales(mixed, name)[0] == scales(like, name)[0], name
        assert all(scales(plain, name)[0] > scales(tight, name)[0] for name in ("stem", "body", "first"))

    def test_weights(self, quantized: Any) -> None:
        graph = quantized(
            over(
                {"Conv": {"per_channel": False}, "MatMul": {"reduce_range": True}},
                {"body": {"per_channel": True}, "second": {"reduce_range": False, "per_channel": False}},
            )
        )
        shapes = {name: scales(graph, name)[1].shape for name in ("stem", "body", "first", "second")}
        assert shapes == {"stem": (), "body": (8,), "first": (16,), "second": ()}
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        assert 60 <= np.abs(constants["w1_quantized"].astype(int)).max() <= 64
        assert np.abs(constants["w2_quantized"].astype(int)).max() == 127

    def test_exclude_comes_before_all(self, quantized: Any) -> None:
        graph = quantized(over({"Conv": {"float": False}}, {"body": {"float": False}}, exclude=["body"]))
        assert (len(scales(graph, "stem")), len(scales(graph, "body"))) == (2, 0)


def test_empty_settings_change_nothing(quantized: Any) -> None:
    assert quantized({}).SerializeToString() == quantized(over({"Conv": {}}, {"first": {}})).SerializeToString()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("secnd", ("'secnd'", "'second'")),
        ("tanh", ("'tanh'", "Tanh")),
    ],
)
def test_nodes_that_the_pass_does_not_change_are_refused(quantized: Any, node: str, message: str) -> None:
    with raises(UsageError, message):
        quantized(over(nodes={node: {"float": True}}))
