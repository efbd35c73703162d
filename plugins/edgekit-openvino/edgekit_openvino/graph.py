"""Read an ONNX graph for what OpenVINO must know of it. Build side: imports onnx on use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EnvironmentFault

DOMAINS = {
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "mmdeploy",
    "org.openvinotoolkit",
    "org.pytorch.aten",
}
"""Operator domains of which OpenVINO's ONNX frontend knows operators."""

_NO_RULE = re.compile(r"No conversion rule found for operations: (.+)")
_FAILED = re.compile(r"^-- (\S+) with a message:", re.M)
_FAILED_NODE = re.compile(r"<Node\((\w+)\): ([^>]*)>")


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


def describe(node: Any) -> str:
    """Name an operator, its domain and its node, by its first output where it has no name."""
    name = f"'{node.name}'" if node.name else f"that gives '{node.output[0] if node.output else '?'}'"
    return f"{node.op_type} of domain '{node.domain or 'ai.onnx'}' (node {name})"


def problems(model: Any) -> list[str]:
    """Name each operator of a domain that OpenVINO does not know, with its node."""
    own = {(function.domain, function.name) for function in model.functions}
    return [
        f"OpenVINO has no operator {describe(node)}"
        for node in nodes(model)
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own
    ]


def lacking(model: Any, message: str) -> list[str]:
    """Name every node that the converter's message is about; empty when it is not about operators.

    Its report lists each failing operator as `domain.Op` or `Op-opset`; those that have a rule, with the node's output.
    """
    unknown = {_operator(word) for line in _NO_RULE.findall(message) for word in line.split(",")}
    failed = {_operator(word) for word in _FAILED.findall(message)}
    outputs = {output for _, output in _FAILED_NODE.findall(message)}
    found = []
    for node in nodes(model):
        key = (node.domain if node.domain != "ai.onnx" else "", node.op_type)
        if key in unknown:
            found.append(f"OpenVINO has no operator {describe(node)}")
        elif key in failed and (not outputs or outputs & {node.name, *node.output}):
            found.append(f"OpenVINO cannot convert {describe(node)}: {_reason(message)}")
    return found


def wide_weights(model: Any, folder: Path) -> str | None:
    """Give the name of an int8 weight that uses its eighth bit in a graph with quantized activations, or None.

    On x86 without VNNI or AMX, the sum of two u8*s8 products saturates at 16 bits unless weights stay within +-64.
    """
    from onnx import TensorProto, numpy_helper

    # Dynamically quantized products (MatMulInteger) run in f32 in OpenVINO and cannot saturate: only Q/DQ counts.
    if not any(node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") for node in nodes(model)):
        return None
    fed = {
        name
        for node in nodes(model)
        if node.op_type == "DequantizeLinear" or node.op_type.startswith("QLinear")
        for name in node.input
    }
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.INT8 and len(weight.dims) > 1 and weight.name in fed:
            array = numpy_helper.to_array(weight, str(folder))
            if array.size and (array.max() > 64 or array.min() < -64):
                return str(weight.name)
    return None


def _nodes_of(found: Any) -> Iterator[Any]:
    for node in found:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes_of(graph.node)


def _operator(word: str) -> tuple[str, str]:
    domain, _, name = word.strip().rpartition(".")
    return domain, re.sub(r"-\d+$", "", name)


def _reason(message: str) -> str:
    """Give the last line before the report's summary: the condition that was not met."""
    lines = [line.strip() for line in message.partition("Summary")[0].splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
