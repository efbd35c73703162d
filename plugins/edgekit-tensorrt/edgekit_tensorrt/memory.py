"""A lower bound of the memory that a graph needs: its weights, and the operator with the most inputs and outputs.

Build side: imports onnx on use. What an engine needs beyond that is known on its device only.
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
"""Bits of each onnx.TensorProto.DataType, without text and the rarer 8-bit floats."""


def weight_bytes(proto: Any) -> int:
    """Return the bytes of all constants, including those in files beside the graph."""
    return sum(ceil(prod(tensor.dims) * BITS.get(tensor.data_type, 8) / 8) for tensor in proto.graph.initializer)


def widest(proto: Any, sizes: Mapping[str, int]) -> tuple[Any, int]:
    """Return the node whose inputs and outputs, without constants, have the most bytes, and how many.

    Free sizes are those in `sizes`; others count as 1.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(proto).graph
    except Exception:  # unknown operators can stop the inference; the declared shapes remain
        inferred = proto.graph
    constants = {tensor.name for tensor in proto.graph.initializer}
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    sizes_bytes = {value.name: _bytes(value, sizes) for value in values}
    widths = (
        (node, sum(sizes_bytes.get(name, 0) for name in {*node.input, *node.output} - constants))
        for node in proto.graph.node
    )
    return max(widths, key=lambda pair: pair[1], default=(None, 0))


def _bytes(value: Any, sizes: Mapping[str, int]) -> int:
    tensor = value.type.tensor_type
    dims = [dim.dim_value or sizes.get(dim.dim_param, 1) for dim in tensor.shape.dim]
    return ceil(prod(dims) * BITS.get(tensor.elem_type, 0) / 8)
