"""Make a graph ready for quantization: a recent opset, constants folded, nodes named, types known."""

from __future__ import annotations

import copy
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, UnsupportedError
from edgekit.frameworks import onnx_graph
from edgekit.frameworks.onnx_external import EXTERNAL
from edgekit.frameworks.onnx_model import QUANTIZED, load, rename, save

LARGE_BYTES = 1_500_000_000
"""Above this a graph goes through files with its weights in a file of their own: a protobuf message ends at 2 GiB."""

ADDED = ("_quantized", "_scale", "_zero_point", "_QuantizeLinear_Output", "_DequantizeLinear_Output")
"""What onnxruntime's quantizers append to a tensor's name for what they add: they do not look whether it is free."""

SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")

_UNFOLDED = ("MatMul", "Gemm", "Conv", "Gather", "Add", "Sub", "Mul", "Div")
"""Operators that read a weight and something that is fed: with the weight as an input too, nothing else is folded."""

INFERRED = "onnx.infer"
"""onnxruntime's mark for "types are known": it saves a deep copy and a second inference."""


@dataclass(frozen=True)
class Prepared:
    """A graph in memory, and the same graph in `file`."""

    proto: Any
    file: Path
    large: bool
    """Whether one protobuf message cannot hold it."""
    notes: tuple[str, ...]


def prepare(source: Path, folder: Path, *, least_opset: int, detach: bool = False) -> Prepared:
    """Read `source` and write a graph that quantizers can work on into `folder`, which is created.

    With `detach`, weights in a file beside the graph are not read: the graph in memory names their places in that file,
    and `file` is the source. Where an operator that could be folded reads one, they are read all the same.

    Raises UnsupportedError for a graph with subgraphs, one quantized already, or an opset that cannot be raised.
    """
    folder.mkdir()
    notes: list[str] = []
    proto = load(source, weights=False)
    _refuse(proto.graph)
    external = onnx_graph.external_files(proto)
    detached = _detached(proto.graph) if detach else []
    if external and not detached:
        proto = load(source)
    opset = onnx_graph.opset(proto)
    if opset < least_opset:
        proto = raise_opset(proto, least_opset)
        notes.append(f"opset raised from {opset} to {least_opset}")
    # A folded graph still refers to the external weights of its source, so the folded file must hold its own weights.
    unchanged = opset >= least_opset and not external
    files = (source, *(source.parent / name for name in external))
    large = not detached and sum(path.stat().st_size for path in files) > LARGE_BYTES
    proto, note = _fold(proto, source if unchanged else None, folder, large=large)
    if note:
        notes.append(note)
    _attach(proto.graph, detached)
    _name_nodes(proto.graph)
    rename(proto, _names_in_the_way(proto.graph))
    _copy_shared_weights(proto.graph)
    _flatten_biases(proto.graph)
    proto = infer_types(proto, folder, large=large)
    mark = proto.metadata_props.add()
    mark.key, mark.value = INFERRED, "onnxruntime.quant"
    if detached:
        return Prepared(proto, source, large, tuple(notes))
    file = folder / "graph.onnx"
    save(proto, file)
    # Writing weights to a file of their own takes them out of the proto.
    return Prepared(load(file) if large else proto, file, large, tuple(notes))


def forget_inference(proto: Any) -> None:
    """Remove onnxruntime's mark, and the types that rewriting made stale."""
    kept = [prop for prop in proto.metadata_props if prop.key != INFERRED]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    del proto.graph.value_info[:]


def _detached(graph: Any) -> list[Any]:
    """Make inputs of the weights in a file, and return them; none where one is read by what could be folded."""
    from onnx import helper

    weights = [tensor for tensor in graph.initializer if tensor.data_location == EXTERNAL]
    names = {tensor.name for tensor in weights}
    if any(node.op_type not in _UNFOLDED and names & {*node.input} for node in graph.node):
        return []
    graph.input.extend(helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in weights)
    kept = [copy.deepcopy(tensor) for tensor in weights]
    others = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(others)
    return kept


def _attach(graph: Any, weights: Sequence[Any]) -> None:
    names = {tensor.name for tensor in weights}
    inputs = [value for value in graph.input if value.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    graph.initializer.extend(weights)


def _refuse(graph: Any) -> None:
    kinds = {node.op_type for node in graph.node}
    problems = [f"it has {kind} nodes, whose inner graphs cannot be quantized" for kind in SUBGRAPHS if kind in kinds]
    if operators := sorted(kinds & set(QUANTIZED)):
        problems.append(f"it is already quantized ({', '.join(operators)})")
    if problems:
        raise UnsupportedError("this graph cannot be quantized.", problems=problems, hint="use the recipe fp32 or bf16")


def raise_opset(proto: Any, least: int) -> Any:
    """Return the graph converted to the opset `least`. Raises UnsupportedError where onnx cannot convert it."""
    from onnx import version_converter

    try:
        return version_converter.convert_version(proto, least)
    except Exception as error:  # the converter is native code with exceptions of its own
        raise UnsupportedError(
            f"the graph uses opset {onnx_graph.opset(proto)}, the pass needs {least}, and onnx cannot convert "
            f"the graph: {error}",
            hint=f"export the model again with opset {least} or newer",
        ) from error


def _fold(proto: Any, file: Path | None, folder: Path, *, large: bool) -> tuple[Any, str | None]:
    """Return the graph with constants and batch norms folded by onnxruntime's basic optimizations, and a note.

    These keep to standard operators; where they do not, the graph is returned as it was.
    """
    import onnxruntime

    folded_file = folder / "folded.onnx"
    if file is None:
        file = folder / "plain.onnx"
        save(proto, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded_file)
    if large:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.data")
    try:
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise BuildError(f"onnxruntime cannot load the graph, so no sample can be run: {error}") from error
    folded = load(folded_file)
    if {node.domain for node in folded.graph.node} - {node.domain for node in proto.graph.node} - {"", "ai.onnx"}:
        return load(file), "constants were not folded: onnxruntime put operators of its own into the graph"
    _rename_new_constants(folded.graph, proto.graph)
    # onnxruntime imports every domain it has; the graph uses only those it came with.
    domains = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in domains]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded, None


def _rename_new_constants(graph: Any, before: Any) -> None:
    """Rename the constants that onnxruntime added (a Gemm's reshapes).

    It gives them the same names whenever it loads a graph, and cannot load one that already has such a name (1.32).
    """
    old = {tensor.name for tensor in before.initializer} | {name for node in before.node for name in node.output}
    renamed = {tensor.name: f"prepared_{tensor.name}" for tensor in graph.initializer if tensor.name not in old}
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]


def _name_nodes(graph: Any) -> None:
    """Make the nodes' names unique: quantizers find nodes by name."""
    seen: Counter[str] = Counter(node.name for node in graph.node)
    taken = set(seen)
    for index, node in enumerate(graph.node):
        if not node.name or seen[node.name] > 1:
            node.name = _free_name(f"{node.name or node.op_type}_{index}", taken)


def _names_in_the_way(graph: Any) -> dict[str, str]:
    """Return new names for the tensors that are called as a quantizer will call what it adds to another tensor."""
    inner = [name for node in graph.node for name in node.output] + [tensor.name for tensor in graph.initializer]
    fixed = {value.name for value in (*graph.input, *graph.output)}
    taken = {*inner, *fixed}
    return {
        name: _free_name(f"{name}_renamed", taken)
        for name in dict.fromkeys(inner)
        if name not in fixed and any(name.removesuffix(end) in taken - {name} for end in ADDED)
    }


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return the name, with a number where it is taken, and take it."""
    numbered = (f"{wanted}_{number}" for number in itertools.count(2))
    name = next(name for name in itertools.chain([wanted], numbered) if name not in taken)
    taken.add(name)
    return name


def _copy_shared_weights(graph: Any) -> None:
    """Make a copy, for each MatMul, Gemm and Conv, of a weight that other operators read too.

    A tied embedding that is quantized in place would be dequantized whole, for every lookup, at every inference.
    """
    readers: Counter[str] = Counter(name for node in graph.node for name in node.input)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        for index, name in enumerate(node.input):
            if index and name in constants and readers[name] > 1:
                copy = graph.initializer.add()
                copy.CopyFrom(constants[name])
                copy.name = f"{name}_of_{node.name}"
                node.input[index] = copy.name
                readers[name] -= 1


def _flatten_biases(graph: Any) -> None:
    """Reshape the constant bias of a Gemm to one axis where all rows have the same: quantizers take no other."""
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or not {*node.input[1:]} <= constants.keys():
            continue
        weight, bias = (constants[name] for name in node.input[1:])
        transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        columns = weight.dims[0 if transposed else 1]
        if list(bias.dims) != [columns] and math.prod(bias.dims[:-1]) == 1:
            row = np.broadcast_to(numpy_helper.to_array(bias).reshape(-1), (columns,))
            bias.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(row), bias.name))


def infer_types(proto: Any, folder: Path, *, large: bool) -> Any:
    """Return the model with every tensor's type inferred again: value_info is stale where a tool changed operators.

    A `large` graph, too large for one message, goes through files in `folder`.
    """
    import onnx

    old = {value.name: value for value in proto.graph.value_info}
    del proto.graph.value_info[:]
    if large:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            plain, typed = Path(scratch) / "plain.onnx", Path(scratch) / "typed.onnx"
            save(proto, plain)
            onnx.shape_inference.infer_shapes_path(plain, typed)
            proto = load(typed)
    else:
        proto = onnx.shape_inference.infer_shapes(proto)
    known = {value.name for value in proto.graph.value_info}
    outputs = {name for node in proto.graph.node for name in node.output}
    # After an operator that onnx does not know, only the exporter's types are left.
    proto.graph.value_info.extend(value for name, value in old.items() if name in outputs - known)
    return proto
