"""Facts of an ONNX file: its graph's names, shapes, operators and weights. External data is not read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit._reading import guard
from edgekit._record import Record
from edgekit._requirement import require
from edgekit.frameworks import onnx_model
from edgekit.frameworks.onnx_graph import external_files, graphs

_DTYPES = {**onnx_model.DTYPES, 17: "f8e4m3", 19: "f8e5m2", 21: "u4", 22: "i4"}


@dataclass(frozen=True)
class OnnxFacts(Record):
    """Facts of an ONNX file, as `edgekit inspect` shows them."""

    producer: str
    ir_version: int
    opsets: dict[str, int]
    """Version by domain; the standard one is `ai.onnx`."""
    graph: str
    inputs: tuple[str, ...]
    """As `name:dtype[dims]`; inputs that only name a weight are left out."""
    outputs: tuple[str, ...]
    nodes: int
    operators: dict[str, int]
    weights: int
    parameters: int
    types: dict[str, int]
    """Parameters by element type; constants and inner graphs are counted too."""
    external: tuple[str, ...] = ()
    """Files beside this one that hold weights."""


MOST_DIMS = 64
"""Most dims of a tensor that are read; the runtimes take fewer."""


def read(path: Path) -> OnnxFacts:
    """Return the facts of the ONNX file `path`.

    Raises UsageError when it is not an ONNX file or is cut off, EnvironmentFault without the package onnx.
    """
    require("reading an ONNX file", "onnx")
    proto = onnx_model.load(path, weights=False)
    with guard(f"the ONNX file '{path}'", hint="it may be damaged: download or export it again"):
        return _facts(proto)


def _facts(proto: Any) -> OnnxFacts:
    graph = proto.graph
    initialized = {weight.name for weight in graph.initializer}
    operators = Counter(_operator(node) for inner in graphs(graph) for node in inner.node)
    types: Counter[str] = Counter()
    tensors = list(onnx_model.tensors(graph))
    for tensor in tensors:
        if len(tensor.dims) > MOST_DIMS:  # their product alone would take hours
            raise ValueError(f"'{tensor.name[:40]}' has {len(tensor.dims):,} dims, and at most {MOST_DIMS} are read")
        types[_dtype(tensor.data_type)] += math.prod(tensor.dims)
    return OnnxFacts(
        producer=f"{proto.producer_name} {proto.producer_version}".strip() or "unknown",
        ir_version=proto.ir_version,
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        graph=graph.name,
        inputs=tuple(_describe(value) for value in graph.input if value.name not in initialized),
        outputs=tuple(_describe(value) for value in graph.output),
        nodes=sum(operators.values()),
        operators=dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        weights=len(tensors),
        parameters=sum(types.values()),
        types=dict(types.most_common()),
        external=external_files(proto),
    )


def _operator(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _dtype(number: int) -> str:
    return _DTYPES.get(number, f"type {number}") if number else "?"


def _describe(value: Any) -> str:
    tensor = value.type.tensor_type
    dims = "?"
    if tensor.HasField("shape"):
        dims = ",".join(
            str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
        )
    return f"{value.name}:{_dtype(tensor.elem_type)}[{dims}]"
