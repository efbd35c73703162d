"""Read an ONNX graph for what TensorRT must know of it. Build side: imports onnx on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.frameworks.onnx_graph import name_of


def sparse_weights(model: Any, folder: Path) -> tuple[str, ...]:
    """Name the weights of convolutions and products with two zeros in every four neighbours along the input channels.

    That is the pattern of the sparse kernels; a weight whose input channels are no multiple of four has none.
    """
    import numpy as np
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    behind = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in _PASSES_WEIGHTS}
    found: dict[str, None] = {}
    for node in model.graph.node:
        axis = _input_channels(node)
        if axis is None or len(node.input) < 2:
            continue
        name = node.input[1]
        while name in behind:
            name = behind[name]
        tensor = held.get(name)
        if tensor is None or len(tensor.dims) < 2 or tensor.dims[axis] % 4:
            continue
        values = np.moveaxis(numpy_helper.to_array(tensor, str(folder)), axis, -1)
        if (np.count_nonzero(values.reshape(-1, 4), axis=1) <= 2).all():
            found[name] = None
    return tuple(found)


_PASSES_WEIGHTS = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")
"""Operators that stand between a constant weight and its reader and keep zeros where they are."""


def _input_channels(node: Any) -> int | None:
    """Return the axis of the second input that is summed over."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "MatMul":
        return -2
    if node.op_type == "Gemm":
        return 1 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 0
    return None


def describe(node: Any) -> str:
    """Name an operator and its node, and its domain where that is not the standard one."""
    domain = "" if node.domain in ("", "ai.onnx") else f" of domain '{node.domain}'"
    return f"{node.op_type}{domain} (node {name_of(node)})"
