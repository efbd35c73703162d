"""Read an ONNX graph for what TensorRT must know of it. Build side: imports onnx on use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EnvironmentFault


def read(path: Path) -> Any:
    """Give the ModelProto without its external data. Raises BuildError when the file is no ONNX graph."""
    try:
        import onnx
    except ImportError as error:
        raise EnvironmentFault(
            "preparing a graph needs the package onnx, which does not import.", hint="pip install onnx"
        ) from error
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BuildError(f"'{path.name}' cannot be read as an ONNX graph: {error}.") from error


def opset(model: Any) -> int:
    """Give the version of the standard operators that the graph asks for."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node, those of subgraphs and of the model's own functions included."""
    yield from _nodes_of(model.graph.node)
    for function in model.functions:
        yield from _nodes_of(function.node)


def external_files(model: Any) -> tuple[str, ...]:
    """List the files beside the graph that hold its weights, relative to the graph."""
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    found = set()
    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            found |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return tuple(sorted(found))


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
    """Give the axis of the second input that is summed over."""
    if node.op_type == "Conv":
        return 1
    if node.op_type == "MatMul":
        return -2
    if node.op_type == "Gemm":
        return 1 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 0
    return None


def _nodes_of(found: Any) -> Iterator[Any]:
    for node in found:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes_of(graph.node)


def describe(node: Any) -> str:
    """Name an operator and its node, and its domain where that is not the standard one."""
    name = f"'{node.name}'" if node.name else f"that gives '{node.output[0] if node.output else '?'}'"
    domain = "" if node.domain in ("", "ai.onnx") else f" of domain '{node.domain}'"
    return f"{node.op_type}{domain} (node {name})"
