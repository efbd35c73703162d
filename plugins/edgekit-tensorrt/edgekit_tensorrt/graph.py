"""Sparse weights and descriptions of nodes of an ONNX graph. Build side: imports onnx on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.frameworks.onnx_graph import name_of


def sparse_weights(model: Any, folder: Path) -> tuple[str, ...]:
    """Return the weights of convolutions and products with two zeros in every four neighbours along the input channels.

    That is the 2:4 pattern of sparse kernels; the number of input channels must be a multiple of four.
    """
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in _PASSES_WEIGHTS}
    names: dict[str, None] = {}
    for node in model.graph.node:
        axis = _summed_axis(node)
        if axis is None or len(node.input) < 2:
            continue
        name = node.input[1]
        while name in sources:
            name = sources[name]
        tensor = constants.get(name)
        if tensor is None or len(tensor.dims) < 2 or tensor.dims[axis] % 4:
            continue
        values = np.moveaxis(numpy_helper.to_array(tensor, str(folder)), axis, -1)
        if (np.count_nonzero(values.reshape(-1, 4), axis=1) <= 2).all():
            names[name] = None
    return tuple(names)


_PASSES_WEIGHTS = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")
"""Operators between a constant weight and its reader that do not move zeros."""


def _summed_axis(node: Any) -> int | None:
    """Return the axis of the second input that is summed over."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "MatMul":
        return -2
    if node.op_type == "Gemm":
        return 1 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 0
    return None


def describe(node: Any) -> str:
    """Return an operator with its node's name, and its domain where that is not the standard one."""
    domain = "" if node.domain in ("", "ai.onnx") else f" of domain '{node.domain}'"
    return f"{node.op_type}{domain} (node {name_of(node)})"
