"""ONNX files as edgekit writes them: read, check, describe, rename, save. Shared by the sources and the passes.

A graph of at most 2 GB is one self-contained file; a larger one has one data file beside it, for protobuf's limit.
Sizes are fixed in `onnx_shapes.py`.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit._reading import reason
from edgekit.errors import UsageError
from edgekit.frameworks import onnx_external, onnx_shapes
from edgekit.frameworks.onnx_graph import external_files, graphs, not_text
from edgekit.model import ASSETS, Model, Part
from edgekit.spec import TensorSpec

GRAPH_FILE = "model.onnx"

SINGLE_FILE_BYTES = 2_000_000_000
"""Above this, weights go to a data file: a protobuf message stays under 2^31 bytes, and the graph needs room."""

UNPACKS = ("DequantizeLinear", "MatMulNBits")
"""Operators that unpack weights: a graph with these alone has packed weights, with others of QUANTIZED it is quantized
as a whole."""

QUANTIZED = ("QuantizeLinear", *UNPACKS, "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
"""Operators of a graph that is quantized already."""

DTYPES = {  # onnx.TensorProto.DataType: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    1: "f32",
    2: "u8",
    3: "i8",
    4: "u16",
    5: "i16",
    6: "i32",
    7: "i64",
    8: "str",
    9: "bool",
    10: "f16",
    11: "f64",
    12: "u32",
    13: "u64",
    16: "bf16",
}

BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
"""Bits of an element of each type; a float8 or another that is missing has few of the bytes of a model."""


def load(path: Path, *, weights: bool = True) -> Any:
    """Return an ONNX file as an onnx.ModelProto; without `weights`, external data is not loaded.

    Raises UsageError for a file that is not ONNX, or whose external data cannot be read (which is named).
    """
    import onnx

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError as error:
        raise UsageError(f"the file '{path}' does not exist.", hint="give the path of an .onnx file") from error
    except MemoryError:
        raise
    except Exception as error:  # DecodeError, OSError, and for some damage ValueError or UnicodeDecodeError
        raise UsageError(
            f"'{path}' is not a readable ONNX file: {error}.",
            hint="it may be truncated: compare its size with the original's, download or export it again",
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise UsageError(
            f"'{path}' is not an ONNX model: it has no graph.",
            hint="it may be empty, truncated or another kind of file; download or export it again",
        )
    if (name := not_text(proto)) is not None:
        raise UsageError(
            f"'{path}' has the name '{name[:60].decode(errors='replace')}', which is not UTF-8 text.",
            hint="export it again with names in UTF-8; a copy may be damaged",
        )
    if weights:
        in_functions = (node for function in proto.functions for node in function.node)
        onnx_external.read_into([*tensors(proto.graph), *_attribute_tensors(in_functions)], path)
    return proto


def save(proto: Any, path: Path) -> None:
    """Write a model whose weights are in memory: one file, and `<name>.data` beside it above 2 GB."""
    import onnx

    if not is_larger(proto, SINGLE_FILE_BYTES):
        path.write_bytes(proto.SerializeToString())
        return
    location = path.name + ".data"
    (path.parent / location).unlink(missing_ok=True)  # onnx appends to a file that exists
    onnx.save(proto, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=location)


def is_larger(proto: Any, limit: int) -> bool:
    """Return whether a model with its weights takes more than `limit` bytes, which is below 2 GiB.

    The weights are counted first: protobuf cannot count a message that it cannot write (EncodeError above 2 GiB).
    """
    weights = sum(
        math.prod(tensor.dims) * BITS.get(tensor.data_type, 0) // 8
        for tensor in tensors(proto.graph)
        if tensor.data_location != 1  # TensorProto.EXTERNAL: in another file
    )
    return bool(weights > limit or proto.ByteSize() > limit)


def rewrite(proto: Any, path: Path) -> None:
    """Overwrite the file that a model was loaded from without weights with the changed model; external data stays."""
    path.write_bytes(proto.SerializeToString())


def copy_graph(source: Path, destination: Path) -> None:
    """Copy an ONNX file with its weights: byte for byte where it is self-contained, else saved again in our layout."""
    proto = load(source, weights=False)
    if not external_files(proto):
        shutil.copyfile(source, destination)
        return
    save(load(source), destination)


def copy_assets(model: Model, workdir: Path) -> None:
    """Copy the assets of `model` into `workdir`, the work directory of the model that is made from it."""
    if model.assets.is_dir() and model.assets.resolve() != (workdir / ASSETS).resolve():
        shutil.copytree(model.assets, workdir / ASSETS, dirs_exist_ok=True)


def part_of(proto: Any, *, name: str = "model", file: str = GRAPH_FILE) -> Part:
    """Return a graph's inputs and outputs as a Part; initializers listed as inputs (IR version 3) are left out.

    Raises UsageError for tensors of a type that edgekit does not feed, as sequences or float8.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_spec(value) for value in proto.graph.input if value.name not in weights)
    return Part(name, file, inputs, tuple(_spec(value) for value in proto.graph.output))


def _spec(value: Any) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UsageError(
            f"'{value.name}' is a {(kind or 'untyped value').replace('_type', '')}; edgekit supports tensors only.",
            hint="export the model with tensors in place of it; from scikit-learn with options={'zipmap': False}",
        )
    dtype = DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        raise UsageError(
            f"'{value.name}' has the ONNX element type {value.type.tensor_type.elem_type}, "
            "which edgekit does not support.",
            hint="export the model with inputs and outputs of f32, f16, int or bool",
        )
    return TensorSpec(value.name, dtype, onnx_shapes.shape_of(value))


def tensors(graph: Any) -> Iterator[Any]:
    """Yield every constant tensor: initializers and tensor attributes, nested graphs included."""
    for inner in graphs(graph):
        yield from inner.initializer
        yield from _attribute_tensors(inner.node)


def _attribute_tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def precision_of(proto: Any) -> str:
    """Return the precision of a graph.

    i8 or i8-dynamic where it is quantized, i8-weights or i4-weights where only its weights are, f16 where most weights
    are f16, else f32.
    """
    kinds = {node.op_type for graph in graphs(proto.graph) for node in graph.node}
    if kinds & set(UNPACKS) and kinds.isdisjoint(set(QUANTIZED) - set(UNPACKS)):
        packed = [tensor.data_type for tensor in tensors(proto.graph)]
        return "i4-weights" if set(packed) & {21, 22} or "MatMulNBits" in kinds else "i8-weights"
    if not kinds.isdisjoint(QUANTIZED):
        return "i8-dynamic" if kinds.isdisjoint({"QuantizeLinear", "DequantizeLinear"}) else "i8"
    half = sum(math.prod(tensor.dims) for tensor in tensors(proto.graph) if tensor.data_type == 10)
    return "f16" if 2 * half > parameter_count(proto) else "f32"


def parameter_count(proto: Any) -> int:
    """Return the number of elements of the floating-point constants."""
    return sum(math.prod(tensor.dims) for tensor in tensors(proto.graph) if tensor.data_type in (1, 10, 11, 16))


def non_finite(proto: Any) -> str | None:
    """Return the name of the first constant with a NaN or infinite value; None where there is none.

    A constant that is one infinite value is an attention mask's fill, and passes.
    """
    import numpy as np
    from onnx import numpy_helper

    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            if tensor.data_type not in (1, 10, 11, 16):
                continue
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind != "f":
                array = array.astype(np.float32)  # bfloat16 comes as ml_dtypes
            # A sum is finite only if every element is, short of overflow; it saves the mask array of the exact test.
            with np.errstate(all="ignore"):
                total = array.sum(dtype=np.float64)
            if not np.isfinite(total) and _broken(array):
                return str(tensor.name)
    return None


def _broken(array: Any) -> bool:
    """Return whether a value is NaN, or infinite in an array of more than one."""
    import numpy as np

    return bool(np.isnan(array).any() or (np.isinf(array).any() and array.size > 1))


def check(path: Path, given: Path) -> None:
    """Run onnx's checker on a file, made of the `given` one. Raises UsageError with the first line of its message."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        lines = [line.strip().removesuffix(" of node:") for line in str(error).splitlines() if line.strip()]
        raise UsageError(
            f"'{given}' is not a valid ONNX model: {lines[0] if lines else error}",
            hint="export it again; a copy may be truncated",
        ) from error
    except Exception as error:  # the checker's own message may not be text, where names in the file are not
        raise UsageError(
            f"'{given}' is not a valid ONNX model: {reason(error)}.", hint="export it again; a copy may be truncated"
        ) from error


def rename(proto: Any, names: Mapping[str, str]) -> None:
    """Rename tensors of the top graph wherever they are used, also in nested graphs, in place."""
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = names.get(value.name, value.name)
        for node in graph.node:
            for side in (node.input, node.output):
                for index, name in enumerate(side):
                    if name in names:
                        side[index] = names[name]
