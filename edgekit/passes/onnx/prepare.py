"""Make a graph ready for quantization: a recent opset, constants folded, nodes named, types known."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, UnsupportedError
from edgekit.frameworks import onnx_graph
from edgekit.frameworks.onnx_model import QUANTIZED, load, save

LARGE_BYTES = 1_500_000_000
"""Above this a graph goes through files with its weights aside: one protobuf message ends at 2 GiB."""

SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")

INFERRED = "onnx.infer"
"""onnxruntime's mark for "types are known": it spares a deep copy and a second inference."""


@dataclass(frozen=True)
class Prepared:
    """A graph in memory and, the same, in `file`."""

    proto: Any
    file: Path
    large: bool
    """Whether one protobuf message cannot hold it."""
    notes: tuple[str, ...]


def prepare(source: Path, folder: Path, *, least_opset: int) -> Prepared:
    """Read `source` and write the graph that quantizers can work on into `folder`, which is made.

    Raises UnsupportedError for a graph with subgraphs, one quantized already, or an opset that cannot be raised.
    """
    folder.mkdir()
    notes: list[str] = []
    proto = load(source, weights=False)
    _refuse(proto.graph)
    outside = onnx_graph.external_files(proto)
    if outside:
        proto = load(source)
    opset = onnx_graph.opset(proto)
    if opset < least_opset:
        proto = raise_opset(proto, least_opset)
        notes.append(f"opset raised from {opset} to {least_opset}")
    # A folded graph refers to weights that were outside already, so the file that is folded must hold its own.
    same = opset >= least_opset and not outside
    large = sum(path.stat().st_size for path in (source, *(source.parent / name for name in outside))) > LARGE_BYTES
    proto, note = _fold(proto, source if same else None, folder, large=large)
    if note:
        notes.append(note)
    _name_nodes(proto.graph)
    _own_weights(proto.graph)
    proto = infer_types(proto, folder, large=large)
    mark = proto.metadata_props.add()
    mark.key, mark.value = INFERRED, "onnxruntime.quant"
    file = folder / "graph.onnx"
    save(proto, file)
    # Writing weights aside takes them out of the proto.
    return Prepared(load(file) if large else proto, file, large, tuple(notes))


def forget_inference(proto: Any) -> None:
    """Take onnxruntime's mark off again, and the types that rewriting made stale."""
    kept = [prop for prop in proto.metadata_props if prop.key != INFERRED]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    del proto.graph.value_info[:]


def _refuse(graph: Any) -> None:
    kinds = {node.op_type for node in graph.node}
    problems = [f"it has {kind} nodes, whose inner graphs cannot be quantized" for kind in SUBGRAPHS if kind in kinds]
    if found := sorted(kinds & set(QUANTIZED)):
        problems.append(f"it is quantized already ({', '.join(found)})")
    if problems:
        raise UnsupportedError(
            "this graph cannot be quantized.", problems=problems, hint="take the recipe fp32 or bf16"
        )


def raise_opset(proto: Any, least: int) -> Any:
    from onnx import version_converter

    try:
        return version_converter.convert_version(proto, least)
    except Exception as error:  # the converter is native code with exceptions of its own
        raise UnsupportedError(
            f"the graph uses opset {onnx_graph.opset(proto)}, the pass needs {least}, and onnx cannot convert it: "
            f"{error}",
            hint=f"export the model again with opset {least} or newer",
        ) from error


def _fold(proto: Any, file: Path | None, folder: Path, *, large: bool) -> tuple[Any, str | None]:
    """Fold constants and batch norms into weights by onnxruntime's basic optimizations, which keep to standard ONNX."""
    import onnxruntime

    folded = folder / "folded.onnx"
    if file is None:
        file = folder / "plain.onnx"
        save(proto, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    if large:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "folded.data")
    try:
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise BuildError(f"onnxruntime cannot load the graph, so no sample can be run: {error}") from error
    made = load(folded)
    if {node.domain for node in made.graph.node} - {node.domain for node in proto.graph.node} - {"", "ai.onnx"}:
        return load(file), "constants were not folded: onnxruntime put operators of its own into the graph"
    _rename_new_constants(made.graph, proto.graph)
    # onnxruntime declares every domain it knows; the graph uses the ones it came with.
    domains = {node.domain for node in made.graph.node} | {""}
    kept = [entry for entry in made.opset_import if entry.domain in domains]
    del made.opset_import[:]
    made.opset_import.extend(kept)
    return made, None


def _rename_new_constants(graph: Any, before: Any) -> None:
    """Give the constants that onnxruntime made (a Gemm's reshapes) other names.

    It names them alike whenever it loads a graph, and cannot load one that has such a name already (1.32).
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
    """Give each node a name of its own: quantizers find nodes by name."""
    seen: Counter[str] = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if not node.name or seen[node.name] > 1:
            node.name = f"{node.name or node.op_type}_{index}"


def _own_weights(graph: Any) -> None:
    """Give each MatMul, Gemm and Conv its own copy of a weight that other operators read too.

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


def infer_types(proto: Any, folder: Path, *, large: bool) -> Any:
    """Infer every tensor's type anew: value_info goes stale when a tool changes operators and keeps it.

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
    made = {name for node in proto.graph.node for name in node.output}
    # Behind an operator that onnx does not know, the exporter's word is all there is.
    proto.graph.value_info.extend(value for name, value in old.items() if name in made - known)
    return proto
