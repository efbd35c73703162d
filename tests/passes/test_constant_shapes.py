"""Shapes that a traced graph computes although it knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.passes.export.constant_shapes import fix_shapes

Build = Callable[..., Any]


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def run(proto: Any, **feeds: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def kinds(proto: Any) -> list[str]:
    return [each.op_type for each in proto.graph.node]


def copied(proto: Any) -> Any:
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    return other


def sizes_of(name: str, *places: int) -> list[Any]:
    """Return the nodes that the tracer writes for sizes of a tensor, each as a tensor of one element."""
    nodes = [node("Shape", [name], f"{name}_shape")]
    for place in places:
        nodes.append(node("Gather", [f"{name}_shape", f"i{place}"], f"{name}_{place}", axis=0))
        nodes.append(node("Unsqueeze", [f"{name}_{place}", "zero"], f"{name}_{place}_list"))
    return nodes


CONSTANTS = {"zero": integers(0), "one": integers(1), "all": integers(-1), "last": integers(2**63 - 1)}
PLACES = {f"i{place}": np.array(place, np.int64) for place in range(4)}


@pytest.fixture
def heads(make_graph: Build) -> Any:
    """Return a graph that splits a text's channels into heads, repeats each, and takes half of each: [batch, text, 8]
    to [batch, text, 4, 2]."""
    return make_graph(
        [
            *sizes_of("x", 0, 1),
            node("Concat", ["x_0_list", "x_1_list", "two", "four"], "split", axis=0),
            node("Reshape", ["x", "split"], "h"),
            *sizes_of("h", 0, 1, 2, 3),
            node("Unsqueeze", ["h", "three"], "u"),
            node("Concat", ["h_0_list", "h_1_list", "h_2_list", "two", "h_3_list"], "wide", axis=0),
            node("ConstantOfShape", ["five"], "ones", value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
            node("Mul", ["ones", "all"], "negative"),
            node("Equal", ["wide", "negative"], "unset"),
            node("Where", ["unset", "ones", "wide"], "wanted"),
            node("Expand", ["u", "wanted"], "e"),
            node("Mul", ["h_2", "i2"], "doubled"),
            node("Unsqueeze", ["doubled", "zero"], "doubled_list"),
            node("Concat", ["h_0_list", "h_1_list", "doubled_list", "h_3_list"], "joined", axis=0),
            node("Reshape", ["e", "joined"], "r"),
            node("Div", ["h_3", "i2"], "half"),
            node("Unsqueeze", ["half", "zero"], "half_list"),
            node("Slice", ["r", "zero", "half_list", "three", "one"], "y"),
        ],
        ["x:f32[batch,text,8]"],
        ["y:f32[batch,text,4,2]"],
        {**CONSTANTS, **PLACES, "two": integers(2), "three": integers(3), "four": integers(4), "five": integers(5)},
    )


def test_sizes_that_are_known_become_constants(heads: Any) -> None:
    fixed = fix_shapes(copied(heads))
    assert kinds(fixed) == ["Reshape", "Unsqueeze", "Expand", "Reshape", "Slice"]
    targets = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in fixed.graph.initializer}
    assert [targets[each.input[1]] for each in fixed.graph.node if each.op_type in ("Reshape", "Expand")] == [
        [0, 0, 2, 4],
        [1, 1, 1, 2, 1],
        [0, 0, 4, 4],
    ]
    for batch, text in ((1, 1), (1, 7), (3, 5)):
        x = np.random.default_rng(batch).standard_normal((batch, text, 8)).astype(np.float32)
        assert np.array_equal(run(fixed, x=x)[0], run(heads, x=x)[0])


def test_sizes_that_depend_on_the_input_stay(make_graph: Build) -> None:
    proto = make_graph(
        [
            *sizes_of("x", 0, 1),
            node("Mul", ["x_0_list", "x_1_list"], "count"),
            node("Concat", ["count", "x_0_list"], "target", axis=0),
            node("Expand", ["z", "target"], "y"),
            node("Concat", ["x_1_list", "x_0_list"], "turned", axis=0),
            node("Reshape", ["x", "turned"], "t"),
        ],
        ["x:f32[batch,text]", "z:f32[1,1]"],
        ["y:f32[a,b]", "t:f32[c,d]"],
        {**CONSTANTS, **PLACES},
    )
    fixed = fix_shapes(copied(proto))
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "z": np.ones((1, 1), np.float32)}
    assert [each.shape for each in run(fixed, **feeds)] == [(6, 2), (3, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(run(fixed, **feeds), run(proto, **feeds), strict=True))
    assert kinds(fixed) == kinds(proto)


def test_an_output_is_never_dropped(make_graph: Build) -> None:
    proto = make_graph([node("Shape", ["x"], "y")], ["x:f32[4,2]"], ["y:i64[2]"], {})
    assert kinds(fix_shapes(copied(proto))) == ["Shape"]
