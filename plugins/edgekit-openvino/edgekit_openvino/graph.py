"""What an ONNX graph needs of OpenVINO: operators and weights. Build side: imports onnx on use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekit.frameworks import saturation
from edgekit.frameworks.onnx_graph import describe, foreign, nodes

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
"""Operator domains with operators that OpenVINO's ONNX frontend converts."""

_NO_RULE = re.compile(r"No conversion rule found for operations: (.+)")
_FAILED = re.compile(r"^-- (\S+) with a message:", re.M)
_FAILED_NODE = re.compile(r"<Node\((\w+)\): ([^>]*)>")


def problems(model: Any) -> list[str]:
    """Return a message for each operator of a domain that OpenVINO does not convert, with its node."""
    return [f"OpenVINO has no operator {describe(node)}" for node in foreign(model, DOMAINS)]


def failed_operators(model: Any, message: str) -> list[str]:
    """Return a message for every node that the converter's report is about; none when it is not about operators.

    The report lists each failing operator as `domain.Op` or `Op-opset`; those with a rule, with the node's output.
    """
    unknown = {_operator(word) for line in _NO_RULE.findall(message) for word in line.split(",")}
    failed = {_operator(word) for word in _FAILED.findall(message)}
    outputs = {output for _, output in _FAILED_NODE.findall(message)}
    messages = []
    for node in nodes(model):
        key = (node.domain if node.domain != "ai.onnx" else "", node.op_type)
        if key in unknown:
            messages.append(f"OpenVINO has no operator {describe(node)}")
        elif key in failed and (not outputs or outputs & {node.name, *node.output}):
            messages.append(f"OpenVINO cannot convert {describe(node)}: {_reason(message)}")
    return messages


def wide_weight(model: Any, folder: Path) -> str | None:
    """Return the name of an int8 weight that uses its eighth bit in a graph with quantized activations, or None."""
    # Dynamically quantized products (MatMulInteger) run in f32 in OpenVINO and cannot saturate: only Q/DQ counts.
    if not any(node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear") for node in nodes(model)):
        return None
    multiplied = {
        name
        for node in nodes(model)
        if node.op_type == "DequantizeLinear" or node.op_type.startswith("QLinear")
        for name in node.input
    }
    return saturation.wide_weight(model, multiplied, folder)


def _operator(word: str) -> tuple[str, str]:
    domain, _, name = word.strip().rpartition(".")
    return domain, re.sub(r"-\d+$", "", name)


def _reason(message: str) -> str:
    """Return the last line before the report's summary: the condition that was not met."""
    lines = [line.strip() for line in message.partition("Summary")[0].splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
