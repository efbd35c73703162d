"""Choose which operators of a graph are quantized, and remove the Q/DQ pairs that no integer kernel reads.

Quantizing a tensor is useful only where an integer kernel reads it. So: operators with constant weights, the operators
that fuse into them (Relu, Clip at 0, residual Add), and no pair whose result is only read in float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import UnsupportedError, UsageError, listed, nearest

FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Choice:
    """Which nodes get quantized, by name, and why others do not."""

    nodes: tuple[str, ...]
    types: tuple[str, ...]
    activations: tuple[str, ...]
    """The tensors whose range must be known, in graph order."""
    notes: tuple[str, ...]


def choose_nodes(
    graph: Any, operators: Sequence[str], followers: Sequence[str], exclude: Sequence[str], *, activation_matmul: bool
) -> Choice:
    """Choose the nodes of `graph` (onnx.GraphProto, nodes uniquely named, types inferred) to quantize.

    Raises UsageError for an unknown name in `exclude`, UnsupportedError where nothing is left.
    """
    names = {node.name for node in graph.node}
    for name in exclude:
        if name not in names:
            raise UsageError(
                f"exclude: the graph has no node '{name}'.{nearest(name, names)}",
                hint=f"its nodes: {listed(names)}",
            )
    constants = {tensor.name: tensor for tensor in graph.initializer}
    floats = _float_tensors(graph)
    skipped: Counter[str] = Counter()
    chosen: list[Any] = []
    for node in graph.node:
        if node.op_type not in operators or node.name in exclude:
            continue
        reason = _unfit_reason(node, constants, floats, activation_matmul)
        if reason:
            skipped[f"{node.op_type}: {reason}"] += 1
        else:
            chosen.append(node)
    if not chosen:
        present = sorted({node.op_type for node in graph.node} & set(operators))
        problems = [f"{count} {reason}" for reason, count in sorted(skipped.items())]
        raise UnsupportedError(
            "there is nothing to quantize: "
            + (f"no {' or '.join(present)} is suitable" if present else f"the graph has no {', '.join(operators)}")
            + ".",
            problems=problems,
            hint="use a recipe without int8: fp32, fp16 or bf16",
        )
    chosen += _followers(graph, chosen, constants, floats, set(followers), set(exclude))
    tensors = dict.fromkeys(
        name for node in chosen for name in (*node.input, *node.output) if name in floats and name not in constants
    )
    notes = tuple(f"left in float: {count} {reason}" for reason, count in sorted(skipped.items()))
    types = tuple(sorted({node.op_type for node in chosen}))
    return Choice(tuple(node.name for node in chosen), types, tuple(tensors), notes)


def _unfit_reason(node: Any, constants: dict[str, Any], floats: set[str], activation_matmul: bool) -> str | None:
    """Return why `node` has no fast integer kernel, or None."""
    data, weight = node.input[0], node.input[1]
    if data not in floats or data in constants:
        return "the first operand is constant or not f32"
    if weight not in constants:
        if node.op_type == "MatMul" and activation_matmul and weight in floats:
            return None
        return "the weights are not constant"
    if constants[weight].data_type != FLOAT:
        return "the weights are not f32"
    # Per-channel scales are along the columns; for stacked matrices onnxruntime would put them along the rows.
    if node.op_type in ("MatMul", "Gemm") and len(constants[weight].dims) != 2:
        return "the weights are not a matrix"
    if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] and node.input[2] not in constants:
        return "the bias is not constant"
    if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] and len(constants[node.input[2]].dims) != 1:
        return "the bias differs by row"
    return None


def _followers(
    graph: Any, chosen: Sequence[Any], constants: dict[str, Any], floats: set[str], types: set[str], exclude: set[str]
) -> list[Any]:
    """Return the operators that run in the same integer kernel, or between two, when their data is quantized too."""
    quantized = {name for node in chosen if node.op_type in ("Conv", "Gemm") for name in node.output}
    followers = []
    for node in graph.node:
        if node.op_type not in types or node.name in exclude or not set(node.input) & quantized:
            continue
        data = [name for name in node.input if name and name not in constants]
        if node.op_type == "Clip" and not _clips_at_zero(node, constants):
            continue  # the pair that replaces it saturates at 0, not elsewhere
        if not all(name in floats for name in data) or (node.op_type == "Add" and len(data) < 2):
            continue
        followers.append(node)
        quantized.update(node.output)
    return followers


def _clips_at_zero(node: Any, constants: dict[str, Any]) -> bool:
    from onnx import numpy_helper

    if len(node.input) < 2 or node.input[1] not in constants:
        return False
    return float(numpy_helper.to_array(constants[node.input[1]]).item()) == 0.0


def _float_tensors(graph: Any) -> set[str]:
    values = [*graph.value_info, *graph.input, *graph.output]
    names = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
    return names | {tensor.name for tensor in graph.initializer if tensor.data_type == FLOAT}


KEEPS_FLOAT = ("MatMul", "Gemm")
"""Operators whose integer kernel returns float at no cost (onnxruntime's MatMulIntegerToFloat and QGemm)."""


def spare_float_readers(graph: Any, quantized: Collection[str], *, keep_outputs: bool = True) -> int:
    """Make float operators read the float value where there is one; remove the pairs that are then unread.

    Returns the number of removed pairs. onnxruntime's quantizer sends every reader of a quantized tensor through the
    pair, so the residual stream of a transformer is rounded at each block though no integer kernel reads it (MiniLM
    loses 0.02 of Spearman by that). `quantized` names the chosen nodes. With `keep_outputs` a pair after a Conv, Add or
    pool stays: processor runtimes make integer kernels of those. A GPU's kernel reads integers and passes floats to the
    operators that it fuses.
    """
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    removed: list[str] = []
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        source = producers.get(quantize.input[0])
        if keep_outputs and source is not None and source.name in quantized and source.op_type not in KEEPS_FLOAT:
            continue
        served = False
        for dequantize in readers[quantize.output[0]]:
            if dequantize.output[0] in outputs and source is not None:
                _name_float_output(source, quantize, dequantize, readers)
            pair = dequantize.output[0]
            integer = [node for node in readers.get(pair, []) if node.name in quantized]
            for node in readers.get(pair, []):
                if node.name not in quantized:
                    _replace(node.input, pair, quantize.input[0])
            served = served or bool(integer)
        if not served:
            removed += [quantize.name, *(node.name for node in readers[quantize.output[0]])]
    kept = [node for node in graph.node if node.name not in set(removed)]
    del graph.node[:]
    graph.node.extend(kept)
    return sum(name.endswith("QuantizeLinear") and not name.endswith("DequantizeLinear") for name in removed)


def _name_float_output(source: Any, quantize: Any, dequantize: Any, readers: dict[str, list[Any]]) -> None:
    """Move the name of a graph output from after the pair to before it."""
    output, inner = dequantize.output[0], dequantize.output[0] + "_DequantizeLinear_Output"
    _replace(source.output, quantize.input[0], output)
    quantize.input[0] = output
    dequantize.output[0] = inner
    readers[inner] = readers.get(output, [])
    for node in readers[inner]:
        _replace(node.input, output, inner)


def _replace(names: Any, old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def drop_unread_constants(graph: Any) -> None:
    """Remove the constants that no node reads any more."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for place in reversed(range(len(graph.initializer))):  # in place: a copy of 2 GB is too large for protobuf
        if graph.initializer[place].name not in used:
            del graph.initializer[place]
