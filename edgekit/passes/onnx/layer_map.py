"""List a graph's layers with every name by which a runtime's profile may speak of them.

A runtime fuses, splits and renames. What it keeps is the name of an operator it started from, or of that operator's
output: so a layer is known by its own names and by those of the operators behind it, up to the next layer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from edgekit.plugin import GraphLayer, LayerMap

PAIR = ("_QuantizeLinear", "_DequantizeLinear")
"""What onnxruntime's quantizer appends to a tensor's name to name the operators of its Q/DQ pair."""


def layer_map(graph: Any, before: Any, layers: Collection[str]) -> LayerMap:
    """List `layers`, names of nodes of `graph`, the onnx.GraphProto that is quantized (types inferred).

    `before` is the graph that it was made from: what float kernels are named after.
    """
    order = {name: place for place, name in enumerate(node.name for node in graph.node if node.name in layers)}
    names, homes, after = _homes(graph, order)
    folded = _add_names_before(before, graph, order, homes, names)
    data = {node.name: node.input[0] for node in graph.node if node.name in order}
    pairs: dict[str, str] = {}
    for layer, tensor in data.items():
        pairs.setdefault(tensor, layer)
    for tensor in homes:
        if tensor not in pairs:
            names.update({f"{tensor}{end}": homes[tensor] for end in PAIR})
    held: dict[str | None, list[str]] = {}
    for name, home in names.items():
        if name != home:
            held.setdefault(home, []).append(name)
    sizes = _sizes(graph)
    kinds = {node.name: _kind(node, graph) for node in graph.node if node.name in order}
    return LayerMap(
        tuple(
            GraphLayer(
                name=layer,
                kind=kinds[layer],
                names=tuple(held.get(layer, ())),
                folded=tuple(folded.get(layer, ())),
                pairs=tuple(f"{data[layer]}{end}" for end in PAIR) if pairs[data[layer]] == layer else (),
                after=after[layer],
                reads=sizes.get(data[layer]),
            )
            for layer in order
        ),
        tuple(held.get(None, ())),
    )


def _homes(
    graph: Any, order: Mapping[str, int]
) -> tuple[dict[str, str | None], dict[str, str | None], dict[str, tuple[str, ...]]]:
    """Give the layer that each name belongs to, the same for tensors alone, and the layers that each layer reads.

    A name belongs to the layer that it comes from: of several, the last. Of what a layer reads, those are left out that
    another one reads in turn, else each block of a residual network would read all blocks before it.
    """
    constants = {tensor.name for tensor in graph.initializer}
    names: dict[str, str | None] = {}
    homes: dict[str, str | None] = {}
    sources: dict[str, frozenset[str]] = {}
    after: dict[str, tuple[str, ...]] = {}
    ancestors: dict[str, frozenset[str]] = {}
    for node in graph.node:
        given = [name for name in node.input if name and name not in constants]
        reached = frozenset().union(*(sources.get(name, frozenset()) for name in given))
        if len(reached) > 1:
            reached -= frozenset().union(*(ancestors[layer] for layer in reached))
        if node.name in order:
            after[node.name] = tuple(sorted(reached, key=order.__getitem__))
            ancestors[node.name] = reached.union(*(ancestors[layer] for layer in reached))
            reached = frozenset({node.name})
        home = max(reached, key=order.__getitem__, default=None)
        for name in node.output:
            homes[name], sources[name] = home, reached
        for name in (node.name, *node.output):
            names.setdefault(name, home)
    return names, homes, after


def _add_names_before(
    before: Any, graph: Any, order: Collection[str], homes: Mapping[str, str | None], names: dict[str, str | None]
) -> dict[str, list[str]]:
    """Add the operators and tensors that were folded on the way: each belongs where what reads it belongs.

    Gives those that were folded into a layer itself, as a bias that became a Gemm's.
    """
    makers = {name: node.name for node in graph.node for name in node.output}
    there = {node.name for node in graph.node}
    readers: dict[str, tuple[str | None, bool]] = {}
    folded: dict[str, list[str]] = {}
    for node in reversed(before.node):
        made = next((name for name in node.output if name in homes), None)
        if made is not None:
            home, inside = homes[made], makers[made] in order
        else:
            home, inside = next((readers[name] for name in node.output if name in readers), (None, False))
        for name in node.input:
            if name not in homes:
                readers.setdefault(name, (home, inside))
        for name in (node.name, *node.output):
            if name:
                names.setdefault(name, home)
        if inside and home is not None and node.name and node.name not in there:
            folded.setdefault(home, []).append(node.name)
    return folded


def _kind(node: Any, graph: Any) -> str:
    """Name the operator, and what decides whether int8 pays for a convolution."""
    if node.op_type != "Conv":
        return str(node.op_type)
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    weight = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
    if groups == 1:
        return "Conv"
    return "Conv, depthwise" if weight.dims[1] == 1 else f"Conv, {groups} groups"


def _sizes(graph: Any) -> dict[str, int]:
    """Give the number of elements of every tensor whose sizes are fixed."""
    found = {}
    for value in (*graph.value_info, *graph.input):
        dims = value.type.tensor_type.shape.dim
        if dims and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = math.prod(dim.dim_value for dim in dims)
    return found
