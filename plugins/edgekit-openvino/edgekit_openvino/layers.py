"""Read OpenVINO's executable graph and counters: which layers run, in which types, and for how long."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgekit.plugin import LayerTime, Precision

HEAVY = {
    "Convolution",
    "Deconvolution",
    "GroupConvolution",
    "FullyConnected",
    "MatMul",
    "Gemm",
    "MHA",
    "ScaledDotProductAttention",
    "ScaledDotProductAttentionWithKVCache",
    "LSTMCell",
    "LSTMSequence",
    "GRUCell",
    "GRUSequence",
    "RNNCell",
    "RNNSeq",
}
"""Layers with most of the arithmetic, by their names in the executable graph."""

QUANTIZERS = {"FakeQuantize", "Pooling"}
"""Lighter layers that compute in int8 where a graph is quantized."""

PIECES = re.compile(r"(/(WithoutBiases|Dequantization\w+))+$")
"""What OpenVINO appends to an operator's name for the pieces that it is split into."""

NOT_EXECUTED = {"Input", "Output", "Const", "Parameter", "Result"}

PACKED = "-weights"
"""The end of the type of layers whose weights have fewer bits than they compute in."""

CONTAINERS = {"If", "Loop", "TensorIterator"}
"""Layers whose inner graphs are not listed; their own type is that of a condition or a counter."""


def precision(graph: Any, inference: str = "f32") -> Precision:
    """Count layers by type; the main type is the one in which most convolutions and matrix products run.

    `inference` is the type that the model was compiled in for floats: that of the layers inside containers.
    """
    counted: Counter[str] = Counter()
    heavy: Counter[str] = Counter()
    layers = [layer for layer in _layers(graph) if layer[1] not in CONTAINERS]
    quantized = any(dtype == "i8" and kind in (*HEAVY, *QUANTIZERS) for _, kind, dtype in layers)
    for _, kind, dtype in layers:
        # Booleans run as u8 too; a graph that is not quantized has no other u8.
        counted["bool" if dtype == "boolean" or (dtype == "i8" and not quantized) else dtype] += 1
        if kind in HEAVY:
            heavy[inference if dtype.endswith(PACKED) else dtype] += 1
    # Without products (a pure table look-up) the main type is the one that most layers run in.
    main = heavy or Counter({name: count for name, count in counted.items() if name in ("f32", "f16", "bf16", "i8")})
    return Precision(
        max(sorted(main), key=lambda name: main[name]) if main else inference,
        dict(sorted(counted.items())),
    )


def layer_times(runs: Sequence[Sequence[Any]], graph: Any) -> tuple[LayerTime, ...]:
    """Return the median time of each executed layer over `runs`, each a request's profiling information."""
    types = {name: dtype for name, _, dtype in _layers(graph)}
    covers = _covers(graph)
    times_ms: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for run in runs:
        for layer in run:
            if layer.status.name == "EXECUTED":
                times_ms.setdefault(layer.node_name, []).append(layer.real_time.total_seconds() * 1000)
                kinds[layer.node_name] = layer.node_type, _dtype(layer.exec_type.rpartition("_")[2])
    return tuple(
        LayerTime(name, kinds[name][0], types.get(name, kinds[name][1]), statistics.median(times), covers.get(name, ()))
        for name, times in times_ms.items()
    )


def _covers(graph: Any) -> dict[str, tuple[str, ...]]:
    """Return the operators that each layer was fused from, by the layer's name."""
    covers = {}
    for layer in graph.get_ordered_ops():
        info = layer.get_rt_info()
        fused = info["originalLayersNames"].astype(str) if "originalLayersNames" in info else ""
        names = [name for name in fused.split(",") if name]
        covers[layer.get_friendly_name()] = tuple(dict.fromkeys(PIECES.sub("", name) for name in names))
    return covers


def _layers(graph: Any) -> list[tuple[str, str, str]]:
    """Return name, kind and type of the layers that run: without constants and what is folded from them."""
    layers = []
    constant: set[str] = set()
    for layer in graph.get_ordered_ops():
        info = layer.get_rt_info()
        name, kind = layer.get_friendly_name(), info["layerType"].astype(str)
        sources = [value.get_source_output().get_node().get_friendly_name() for value in layer.inputs()]
        if kind == "Const" or (sources and constant.issuperset(sources)):
            constant.add(name)
        elif kind not in NOT_EXECUTED:
            layers.append((name, kind, _type(layer, kind, info["runtimePrecision"].astype(str))))
    return layers


def _type(layer: Any, kind: str, runtime_precision: str) -> str:
    """Return the type in which a layer computes; for floats times packed weights OpenVINO reports the weights'."""
    dtype = _dtype(runtime_precision)
    if kind == "Gather" and runtime_precision.lower() == "i8":
        return dtype + PACKED  # booleans are u8
    if dtype not in ("i8", "i4") or kind not in ("FullyConnected", "MatMul"):
        return dtype
    source = layer.inputs()[0].get_source_output().get_node().get_rt_info()
    activations = source["outputPrecisions"].astype(str).lower() if "outputPrecisions" in source else ""
    return dtype + PACKED if activations.partition(",")[0] in ("f32", "bf16", "f16") else dtype


def _dtype(name: str) -> str:
    """Return our name of a type; u8 and s8 are one precision, u4 and s4 another."""
    name = name.lower()
    return {"u8": "i8", "u4": "i4"}.get(name, name)
