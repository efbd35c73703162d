"""Copies of a graph whose outputs observe its inner tensors: the extremes of each as one vector, or the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

STATISTICS = "edgekit_statistics"
"""Name of the vector, and prefix of every name that is added to a graph."""


def with_statistics(graph: Any, tensors: Sequence[str]) -> Any:
    """Return a copy of `graph` with one output instead of its own: f32 [min_0, max_0, size_0, min_1, ...]."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    augmented = ModelProto()
    augmented.CopyFrom(graph)
    del augmented.graph.output[:]
    augmented.graph.initializer.append(numpy_helper.from_array(_one(), STATISTICS + "_shape"))
    scalars = []
    for index, name in enumerate(tensors):
        base = f"{STATISTICS}_{index}_"
        augmented.graph.node.extend(
            (
                helper.make_node("ReduceMin", [name], [base + "min"], keepdims=0),
                helper.make_node("ReduceMax", [name], [base + "max"], keepdims=0),
                helper.make_node("Size", [name], [base + "integer"]),
                helper.make_node("Cast", [base + "integer"], [base + "size"], to=TensorProto.FLOAT),
            )
        )
        for kind in ("min", "max", "size"):
            flat = [base + kind, STATISTICS + "_shape"]
            augmented.graph.node.append(helper.make_node("Reshape", flat, [base + kind + "_1"]))
            scalars.append(base + kind + "_1")
    augmented.graph.node.append(helper.make_node("Concat", scalars, [STATISTICS], axis=0))
    augmented.graph.output.append(helper.make_tensor_value_info(STATISTICS, TensorProto.FLOAT, [len(scalars)]))
    return augmented


def with_channel_extremes(graph: Any, tensors: Sequence[str], *, opset: int) -> Any:
    """Return a copy of `graph` with one output instead of its own: the greatest magnitudes of all tensors' channels.

    They are one float32 vector, tensor after tensor. Channels are the last dimension.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    augmented = ModelProto()
    augmented.CopyFrom(graph)
    del augmented.graph.output[:]
    augmented.graph.initializer.append(numpy_helper.from_array(_one() - 1, STATISTICS + "_first"))
    flat = []
    for index, name in enumerate(tensors):
        base = f"{STATISTICS}_{index}_"
        # From opset 18 on ReduceMax takes its axes as an input.
        axes: dict[str, Any] = {"axes": [0]} if opset < 18 else {}
        reduced = [base + "rows", *([STATISTICS + "_first"] if opset >= 18 else [])]
        augmented.graph.node.extend(
            (
                helper.make_node("Abs", [name], [base + "abs"]),
                helper.make_node("Flatten", [base + "abs"], [base + "rows"], axis=-1),
                helper.make_node("ReduceMax", reduced, [base + "max"], keepdims=0, **axes),
            )
        )
        flat.append(base + "max")
    augmented.graph.node.append(helper.make_node("Concat", flat, [STATISTICS], axis=0))
    augmented.graph.output.append(helper.make_tensor_value_info(STATISTICS, TensorProto.FLOAT, None))
    return augmented


def with_values(graph: Any, tensors: Sequence[str]) -> Any:
    """Return a copy of `graph` with each tensor as an output, instead of the outputs it had."""
    from onnx import ModelProto, TensorProto, helper

    augmented = ModelProto()
    augmented.CopyFrom(graph)
    del augmented.graph.output[:]
    for index, name in enumerate(tensors):
        output = f"{STATISTICS}_{index}"
        augmented.graph.node.append(helper.make_node("Identity", [name], [output]))
        augmented.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return augmented


def _one() -> np.ndarray:
    import numpy as np

    return np.array([1], np.int64)
