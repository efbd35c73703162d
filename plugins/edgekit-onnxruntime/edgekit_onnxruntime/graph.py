"""Read an ONNX graph for what ONNX Runtime must know of it. Build side: imports onnx on use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EnvironmentFault

DOMAINS = {
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.microsoft.experimental",
    "com.ms.internal.nhwc",
    "org.pytorch.aten",
}
"""Operator domains that ONNX Runtime registers by itself."""

FLOORS = (
    # (opset, IR version, the first release that loads them): each release was asked by loading such a graph.
    (21, 10, "1.20"),
    (22, 10, "1.21"),
    (23, 11, "1.23"),
    (25, 13, "1.24"),
    (26, 13, "1.25"),
    (28, 14, "1.32"),
)

_LACKING = re.compile(
    r"is not a registered function/op|No Op registered for|Could not find an implementation for|NOT_IMPLEMENTED"
)


def read(path: Path) -> Any:
    """Give the ModelProto without its external data. Raises BuildError when the file is no ONNX graph."""
    try:
        import onnx
    except ImportError as error:
        raise EnvironmentFault(
            "building needs the package onnx, which does not import.", hint="pip install onnx"
        ) from error
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise BuildError(f"'{path.name}' cannot be read as an ONNX graph: {error}.") from error


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node, those of subgraphs and of the model's own functions included."""
    yield from _nodes_of(model.graph.node)
    for function in model.functions:
        yield from _nodes_of(function.node)


def name_of(node: Any) -> str:
    """Name a node for people: by its name, or by its first output where it has none."""
    return f"'{node.name}'" if node.name else f"that gives '{node.output[0] if node.output else '?'}'"


def describe(node: Any) -> str:
    """Name an operator, its domain and its node."""
    return f"{node.op_type} of domain '{node.domain or 'ai.onnx'}' (node {name_of(node)})"


def problems(model: Any) -> list[str]:
    """Name each operator that ONNX Runtime lacks or must not be given, with its node."""
    own = {(function.domain, function.name) for function in model.functions}
    found = [
        f"ONNX Runtime has no operator {describe(node)}"
        for node in nodes(model)
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own
    ]
    integer = [name_of(node) for node in nodes(model) if node.op_type == "ConvInteger"]
    if integer:
        found.append(
            "convolutions quantized dynamically (ConvInteger) run 5 to 16 times slower than in f32 in ONNX Runtime,"
            f" or not at all; quantize them statically (nodes {', '.join(integer)})"
        )
    return found


def floor(model: Any) -> str:
    """Give the first onnxruntime release that loads the graph's opset and IR version."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    for known, ir_version, release in FLOORS:
        if opset <= known and model.ir_version <= ir_version:
            return release
    return FLOORS[-1][2]


def wide_weights(model: Any, folder: Path) -> str | None:
    """Give the name of an int8 weight that uses its eighth bit in a graph with quantized activations, or None.

    On x86 without VNNI or AMX, the sum of two u8*s8 products saturates at 16 bits unless weights stay within +-64.
    """
    from onnx import TensorProto, numpy_helper

    kinds = {node.op_type for node in nodes(model)}
    if not any(kind.startswith(("Quantize", "DynamicQuantize", "QLinear", "QGemm", "QAttention")) for kind in kinds):
        return None
    fed = {name for node in nodes(model) if _multiplies(node.op_type) for name in node.input}
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.INT8 and len(weight.dims) > 1 and weight.name in fed:
            array = numpy_helper.to_array(weight, str(folder))
            if array.size and (array.max() > 64 or array.min() < -64):
                return str(weight.name)
    return None


def external_files(model: Any) -> tuple[str, ...]:
    """List the files beside the graph that hold its weights, relative to the graph."""
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    found = set()
    for tensor in _get_all_tensors(model):
        if uses_external_data(tensor):
            found |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return tuple(sorted(found))


def lacking(model: Any, fault: Callable[[bytes], str | None]) -> list[str]:
    """Name every node that the runtime has no kernel for, by loading each distinct operator alone.

    The runtime names only the first. `fault` loads a serialized graph and gives its message, or None.
    """
    import onnx

    types = _element_types(model)
    verdicts: dict[bytes, bool] = {}
    found = []
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            continue  # its body sees outer values, so that it cannot stand alone
        key = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute).SerializeToString()
        key += repr([types.get(name) for name in node.input]).encode()
        if key not in verdicts:
            message = fault(_alone(model, node, types))
            verdicts[key] = message is not None and _LACKING.search(message) is not None
        if verdicts[key]:
            of = ", ".join(_type_name(types.get(name)) for name in node.input if name)
            found.append(f"ONNX Runtime has no kernel for {describe(node)} on inputs of type {of or 'none'}")
    return found


def is_lacking(message: str) -> bool:
    """Say whether the runtime's message is about an operator that it does not have."""
    return _LACKING.search(message) is not None


def _nodes_of(found: Any) -> Iterator[Any]:
    for node in found:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes_of(graph.node)


def _multiplies(kind: str) -> bool:
    return kind in (
        "DequantizeLinear",
        "MatMulInteger",
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "QGemm",
        "QAttention",
    ) or (kind.startswith("QLinear") or kind == "MatMulIntegerToFloat")


def _element_types(model: Any) -> dict[str, int]:
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:
        inferred = model  # unknown operators can stop the inference; the declared types remain
    types = {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _alone(model: Any, node: Any, types: dict[str, int]) -> bytes:
    import onnx

    def values(names: Any) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(name, types.get(name) or onnx.TensorProto.FLOAT, None)
            for name in dict.fromkeys(names)
            if name
        ]

    graph = onnx.helper.make_graph([node], "alone", values(node.input), values(node.output))
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    single.ir_version = model.ir_version
    return bytes(single.SerializeToString())


def _type_name(element: int | None) -> str:
    import onnx

    return onnx.TensorProto.DataType.Name(element).lower() if element else "unknown"
