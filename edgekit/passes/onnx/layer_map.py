"""A graph's layers with every name by which a runtime's profile may refer to them.

A runtime fuses, splits and renames. What it keeps is the name of an operator it started from, or of that operator's
output: so a layer has its own names and those of the operators after it, up to the next layer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from edgekit.plugin import GraphLayer, LayerMap

PAIR = ("_QuantizeLinear", "_DequantizeLinear")
"""Suffixes by which onnxruntime's quantizer names the operators of a tensor's Q/DQ pair."""


def layer_map(graph: Any, before: Any, layers: Collection[str]) -> LayerMap:
    """Return the map of `layers`, names of nodes of `graph`, the onnx.GraphProto that is quantized (types inferred).

    `before` is the graph that it was made from: float kernels are named after its operators.
    """
    order = {name: place for place, name in enumerate(node.name for node in graph.node if node.name in layers)}
    names, owners, after = _owners(graph, order)
    folded = _add_names_before(before, graph, order, owners, names)
    data = {node.name: node.input[0] for node in graph.node if node.name in order}
    pairs: dict[str, str] = {}
    for layer, tensor in data.items():
        pairs.setdefault(tensor, layer)
    for tensor in owners:
        if tensor not in pairs:
            names.update({f"{tensor}{end}": owners[tensor] for end in PAIR})
    names_by_layer: dict[str | None, list[str]] = {}
    for name, owner in names.items():
        if name != owner:
            names_by_layer.setdefault(owner, []).append(name)
    sizes = _sizes(graph)
    kinds = {node.name: _kind(node, graph) for node in graph.node if node.name in order}
    return LayerMap(
        tuple(
            GraphLayer(
                name=layer,
                kind=kinds[layer],
                names=tuple(names_by_layer.get(layer, ())),
                folded=tuple(folded.get(layer, ())),
                pairs=tuple(f"{data[layer]}{end}" for end in PAIR) if pairs[data[layer]] == layer else (),
                after=after[layer],
                reads=sizes.get(data[layer]),
            )
            for layer in order
        ),
        tuple(names_by_layer.get(None, ())),
    )


def _owners(
    graph: Any, order: Mapping[str, int]
) -> tuple[dict[str, str | None], dict[str, str | None], dict[str, tuple[str, ...]]]:
    """Return the layer that each name belongs to, the same for tensors alone, and the layers that each layer reads.

    A name belongs to the layer that it comes from; of several, to the last. A layer that another of the layers read
    here reads itself is left out: else each block of a residual network would read all blocks before it.
    """
    constants = {tensor.name for tensor in graph.initializer}
    names: dict[str, str | None] = {}
    owners: dict[str, str | None] = {}
    sources: dict[str, frozenset[str]] = {}
    after: dict[str, tuple[str, ...]] = {}
    ancestors: dict[str, frozenset[str]] = {}
    for node in graph.node:
        data_inputs = [name for name in node.input if name and name not in constants]
        upstream = frozenset().union(*(sources.get(name, frozenset()) for name in data_inputs))
        if len(upstream) > 1:
            upstream -= frozenset().union(*(ancestors[layer] for layer in upstream))
        if node.name in order:
            after[node.name] = tuple(sorted(upstream, key=order.__getitem__))
            ancestors[node.name] = upstream.union(*(ancestors[layer] for layer in upstream))
            upstream = frozenset({node.name})
        owner = max(upstream, key=order.__getitem__, default=None)
        for name in node.output:
            owners[name], sources[name] = owner, upstream
        for name in (node.name, *node.output):
            names.setdefault(name, owner)
    return names, owners, after


def _add_names_before(
    before: Any, graph: Any, order: Collection[str], owners: Mapping[str, str | None], names: dict[str, str | None]
) -> dict[str, list[str]]:
    """Add to `names` the operators and tensors that preparation folded: each belongs to the layer of its reader.

    Returns the names that were folded into each layer itself, as a bias that became a Gemm's.
    """
    producers = {name: node.name for node in graph.node for name in node.output}
    kept_nodes = {node.name for node in graph.node}
    readers: dict[str, tuple[str | None, bool]] = {}
    folded: dict[str, list[str]] = {}
    for node in reversed(before.node):
        output = next((name for name in node.output if name in owners), None)
        if output is not None:
            owner, inside = owners[output], producers[output] in order
        else:
            owner, inside = next((readers[name] for name in node.output if name in readers), (None, False))
        for name in node.input:
            if name not in owners:
                readers.setdefault(name, (owner, inside))
        for name in (node.name, *node.output):
            if name:
                names.setdefault(name, owner)
        if inside and owner is not None and node.name and node.name not in kept_nodes:
            folded.setdefault(owner, []).append(node.name)
    return folded


def _kind(node: Any, graph: Any) -> str:
    """Return the operator's kind: of a convolution with its grouping, which decides whether int8 is faster."""
    if node.op_type != "Conv":
        return str(node.op_type)
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    weight = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    if groups == 1:
        return "Conv"
    return "Conv, depthwise" if weight.dims[1] == 1 else f"Conv, {groups} groups"


def _sizes(graph: Any) -> dict[str, int]:
    """Return the number of elements of every tensor whose sizes are fixed."""
    sizes = {}
    for value in (*graph.value_info, *graph.input):
        dims = value.type.tensor_type.shape.dim
        if dims and all(dim.HasField("dim_value") for dim in dims):
            sizes[value.name] = math.prod(dim.dim_value for dim in dims)
    return sizes
