"""Read ONNX Runtime's profile: which kernels ran, on which types, and for how long."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekit.plugin import LayerTime, Precision, probe_host

TYPES = {
    "float": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "double": "f64",
    "int8": "i8",
    "uint8": "i8",
    "int16": "i16",
    "uint16": "i16",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
    "string": "str",
}
"""ONNX Runtime's names of element types, and ours; u8 and s8 are one precision."""

INTEGER = {
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "QAttention",
    "ConvInteger",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
}
"""Kernels that multiply in int8, whatever the type of their first input."""

FLOAT = {
    "Conv",
    "ConvTranspose",
    "FusedConv",
    "NhwcFusedConv",
    "MatMul",
    "FusedMatMul",
    "TransposeMatMul",
    "Gemm",
    "FusedGemm",
    "MatMulNBits",
    "Attention",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "LSTM",
    "GRU",
    "RNN",
    "Einsum",
}

CONTAINERS = {"If", "Loop", "Scan"}
"""Their time is that of the kernels inside, which are listed too."""

PACKED = "MatMulNBits"
"""Multiplies packed weights: in int8 with activations rounded in blocks, unless the option accuracy_level is 1."""

INT8_DOT = {"avx2", "dotprod"}
"""Instruction sets for which MLAS has such kernels (onnxruntime 1.32); without them they compute in f32."""

SUFFIX = "_kernel_time"

DECORATION = re.compile(r"^fused |(_token_\d+|_nchwc|_new_reshape|/\w+Fusion/?)$")
"""What ONNX Runtime adds to the name of an operator, or of its output, when it rewrites it; sometimes repeatedly."""


def events(file: Path) -> list[dict[str, Any]]:
    """Return the kernel events of a profile file, in the order in which they ran."""
    everything = json.loads(file.read_text())
    kernels = [event for event in everything if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)]
    return [event for event in kernels if event["args"]["op_name"] not in CONTAINERS]


def emulated(events: Iterable[Mapping[str, Any]]) -> str:
    """Return how a session for another machine computed what that machine does in narrow types, in words."""
    kinds = {event["args"]["op_name"] for event in events}
    words = []
    if "DequantizeLinear" in kinds:
        words.append("Q/DQ pairs rounded, and their products were summed in float")
    if kinds & INTEGER:
        words.append("integer products were summed in 32 bits")
    return "; ".join(words)


def precision(events: Iterable[Mapping[str, Any]], *, rounds: bool = True) -> Precision:
    """Count kernels by type; the main type is the one in which most convolutions and matrix products ran. `rounds` is
    whether products with packed weights round activations.
    """
    layers: Counter[str] = Counter()
    heavy: Counter[str] = Counter()
    for event in events:
        kind, dtype = event["args"]["op_name"], _precision_of(event, rounds)
        layers[dtype] += 1
        if kind in INTEGER or kind in FLOAT or kind == PACKED:
            heavy[dtype] += 1
    # Without products (a pure table look-up) the main type is the one that most kernels run in.
    counted = heavy or Counter({name: count for name, count in layers.items() if name in ("f32", "f16", "bf16", "i8")})
    main = max(sorted(counted), key=lambda name: counted[name]) if counted else "f32"
    return Precision(main, dict(sorted(layers.items())))


def layer_times(
    events: Iterable[Mapping[str, Any]], warmup: int, runs: int, *, rounds: bool = True
) -> tuple[LayerTime, ...]:
    """Return the median time of each kernel over the last `runs`; what runs several times within one run is summed."""
    by_node: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        by_node.setdefault((event["name"], event["args"].get("node_index", "")), []).append(event)
    times = []
    for (name, _), node_events in by_node.items():
        per_run = max(1, round(len(node_events) / (warmup + runs)))
        times_us = [event["dur"] for event in node_events]
        sums_us = [sum(times_us[start : start + per_run]) for start in range(0, len(times_us), per_run)][-runs:]
        kind = node_events[0]["args"]["op_name"]
        time_ms = statistics.median(sums_us) / 1000
        layer = name[: -len(SUFFIX)]
        times.append(LayerTime(layer, kind, _precision_of(node_events[0], rounds), time_ms, _covers(layer)))
    return tuple(times)


def _covers(name: str) -> tuple[str, ...]:
    """Return a kernel's name and, without ONNX Runtime's additions, that of the operator it comes from: of several
    fused ones the first or the last.
    """
    names = [name]
    while (shorter := DECORATION.sub("", names[-1])) != names[-1]:
        names.append(shorter)
    return tuple(names)


def _precision_of(event: Mapping[str, Any], rounds: bool) -> str:
    args = event["args"]
    packed = args["op_name"] == PACKED and rounds
    if args["op_name"] in INTEGER or (packed and INT8_DOT.intersection(probe_host().isa)):
        return "i8"
    shapes = args.get("input_type_shape") or args.get("output_type_shape") or []
    first = next((name for entry in shapes for name in entry), "unknown")
    return TYPES.get(first, first)
