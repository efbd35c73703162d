"""What an ONNX graph needs of ONNX Runtime: operators, release, weights. Build side: imports onnx on use."""

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
"""Operator domains that ONNX Runtime registers itself."""

RELEASES = (
    # (opset, IR version, the first release that loads them): found by loading such a graph in each release.
    (21, 10, "1.20"),
    (22, 10, "1.21"),
    (23, 11, "1.23"),
    (25, 13, "1.24"),
    (26, 13, "1.25"),
    (28, 14, "1.32"),
)

_MISSING_KERNEL = re.compile(
    r"is not a registered function/op|No Op registered for|Could not find an implementation for|NOT_IMPLEMENTED"
)


def problems(model: Any) -> list[str]:
    """Return a message for each operator that ONNX Runtime lacks, with its node."""
    return [f"ONNX Runtime has no operator {describe(node)}" for node in foreign(model, DOMAINS)]


def slow(model: Any) -> tuple[str, ...]:
    """Return a note on operators that ONNX Runtime runs slower than what they replace; they are measured as others."""
    integer = [name_of(node) for node in nodes(model) if node.op_type == "ConvInteger"]
    if not integer:
        return ()
    return (
        "convolutions quantized dynamically (ConvInteger) run 5 to 16 times slower than in f32 in ONNX Runtime;"
        f" quantize them statically (nodes {', '.join(integer[:5])})",
    )


def oldest_release(model: Any) -> str:
    """Return the first onnxruntime release that loads the graph's opset and IR version."""
    needed = opset(model)
    for newest, ir_version, release in RELEASES:
        if needed <= newest and model.ir_version <= ir_version:
            return release
    return RELEASES[-1][2]


def wide_weight(model: Any, folder: Path) -> str | None:
    """Return the name of an int8 weight that uses its eighth bit in a graph with quantized activations, or None."""
    kinds = {node.op_type for node in nodes(model)}
    if not any(kind.startswith(("Quantize", "DynamicQuantize", "QLinear", "QGemm", "QAttention")) for kind in kinds):
        return None
    multiplied = {name for node in nodes(model) if _multiplies(node.op_type) for name in node.input}
    return saturation.wide_weight(model, multiplied, folder)


def missing_kernels(model: Any, load_error: Callable[[bytes], str | None]) -> list[str]:
    """Return a message for every node that the runtime has no kernel for, by loading each distinct operator alone.

    The runtime names only the first. `load_error` loads a serialized graph and returns the error's message, or None.
    """
    import onnx

    types = _element_types(model)
    is_missing: dict[bytes, bool] = {}
    messages = []
    for node in model.graph.node:
        if bodies(node):
            continue  # its body reads outer values, so it cannot be loaded alone
        key = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute).SerializeToString()
        key += repr([types.get(name) for name in node.input]).encode()
        if key not in is_missing:
            error = load_error(_single_node_model(model, node, types))
            is_missing[key] = error is not None and _MISSING_KERNEL.search(error) is not None
        if is_missing[key]:
            inputs = ", ".join(_type_name(types.get(name)) for name in node.input if name)
            messages.append(f"ONNX Runtime has no kernel for {describe(node)} on inputs of type {inputs or 'none'}")
    return messages


def reports_missing_kernel(message: str) -> bool:
    """Return whether the runtime's message is about an operator or a kernel that it does not have."""
    return _MISSING_KERNEL.search(message) is not None


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


def _single_node_model(model: Any, node: Any, types: dict[str, int]) -> bytes:
    import onnx

    def values(names: Any) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(name, types.get(name) or onnx.TensorProto.FLOAT, None)
            for name in dict.fromkeys(names)
            if name
        ]

    graph = onnx.helper.make_graph([node], "single_node", values(node.input), values(node.output))
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    single.ir_version = model.ir_version
    return bytes(single.SerializeToString())


def _type_name(element: int | None) -> str:
    import onnx

    return onnx.TensorProto.DataType.Name(element).lower() if element else "unknown"
