"""Bound from below the memory that a graph needs: its weights, and the operator that reads and writes most at once.

Build side: imports onnx on use. What an engine takes beyond that, only its device tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod
from typing import Any

BITS = {
    1: 32,
    2: 8,
    3: 8,
    4: 16,
    5: 16,
    6: 32,
    7: 64,
    9: 8,
    10: 16,
    11: 64,
    12: 32,
    13: 64,
    16: 16,
    17: 8,
    21: 4,
    22: 4,
}
"""Of each onnx.TensorProto.DataType; text and the rarer 8-bit floats are left out."""


def weight_bytes(proto: Any) -> int:
    """Return the bytes of all constants, those in files beside the graph included."""
    return sum(ceil(prod(t.dims) * BITS.get(t.data_type, 8) / 8) for t in proto.graph.initializer)


def widest(proto: Any, sizes: Mapping[str, int]) -> tuple[Any, int]:
    """Return the node whose inputs and outputs, without constants, take most bytes, and how many.

    Free sizes are taken from `sizes`, others count as 1.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # unknown operators can stop the inference; the declared shapes remain
        inferred = proto.graph
    held = {tensor.name for tensor in proto.graph.initializer}
    taken = {v.name: _bytes(v, sizes) for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    found = ((node, sum(taken.get(n, 0) for n in {*node.input, *node.output} - held)) for node in proto.graph.node)
    return max(found, key=lambda pair: pair[1], default=(None, 0))


def _bytes(value: Any, sizes: Mapping[str, int]) -> int:
    kind = value.type.tensor_type
    dims = [dim.dim_value or sizes.get(dim.dim_param, 1) for dim in kind.shape.dim]
    return ceil(prod(dims) * BITS.get(kind.elem_type, 0) / 8)
