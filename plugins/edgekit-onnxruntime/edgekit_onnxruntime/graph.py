"""Read an ONNX graph for what ONNX Runtime must know of it. Build side: imports onnx on use."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.frameworks import saturation
from edgekit.frameworks.onnx_graph import bodies, describe, foreign, name_of, nodes, opset

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


def problems(model: Any) -> list[str]:
    """Name each operator that ONNX Runtime lacks or must not be given, with its node."""
    found = [f"ONNX Runtime has no operator {describe(node)}" for node in foreign(model, DOMAINS)]
    integer = [name_of(node) for node in nodes(model) if node.op_type == "ConvInteger"]
    if integer:
        found.append(
            "convolutions quantized dynamically (ConvInteger) run 5 to 16 times slower than in f32 in ONNX Runtime,"
            f" or not at all; quantize them statically (nodes {', '.join(integer)})"
        )
    return found


def floor(model: Any) -> str:
    """Return the first onnxruntime release that loads the graph's opset and IR version."""
    asked = opset(model)
    for known, ir_version, release in FLOORS:
        if asked <= known and model.ir_version <= ir_version:
            return release
    return FLOORS[-1][2]


def wide_weight(model: Any, folder: Path) -> str | None:
    """Return the name of an int8 weight that uses its eighth bit in a graph with quantized activations, or None."""
    kinds = {node.op_type for node in nodes(model)}
    if not any(kind.startswith(("Quantize", "DynamicQuantize", "QLinear", "QGemm", "QAttention")) for kind in kinds):
        return None
    fed = {name for node in nodes(model) if _multiplies(node.op_type) for name in node.input}
    return saturation.wide_weight(model, fed, folder)


def lacking(model: Any, fault: Callable[[bytes], str | None]) -> list[str]:
    """Name every node that the runtime has no kernel for, by loading each distinct operator alone.

    The runtime names only the first. `fault` loads a serialized graph and gives its message, or None.
    """
    import onnx

    types = _element_types(model)
    verdicts: dict[bytes, bool] = {}
    found = []
    for node in model.graph.node:
        if bodies(node):
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
    """Return whether the runtime's message is about an operator that it does not have."""
    return _LACKING.search(message) is not None


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
