"""Move the keys and values that a decoder makes of the encoder's output into the encoder's graph.

Optimum exports the decoder twice: for the first token, where it makes them and no text precedes it, and for the others,
where it reads them. With them in the encoder, and a text that may be empty, the second graph serves every token: a
bundle holds the decoder's weights once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import UnsupportedError

_PREFIX = "cross/"
"""Before the names of what is moved: the graphs number their nodes alike."""


def move(encoder: Any, decoder: Any, output: str, hidden: str, crosses: Sequence[str]) -> None:
    """Move the outputs `crosses` of the decoder, which reads the encoder's `output` as `hidden`, into the encoder: the
    nodes that compute them are copied. Raises UnsupportedError where they need another input.
    """
    nodes, weights = _behind(decoder.graph, hidden, crosses)
    kept = {hidden: output, **{name: name for name in crosses}, "": ""}

    def renamed(name: str) -> str:
        return kept.get(name, _PREFIX + name)

    graph = encoder.graph
    for node in nodes:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = renamed(node.name)
        copy.input[:] = [renamed(name) for name in node.input]
        copy.output[:] = [renamed(name) for name in node.output]
    for tensor in weights:
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = renamed(tensor.name)
    graph.output.extend(value for value in decoder.graph.output if value.name in crosses)


def _behind(graph: Any, hidden: str, outputs: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Return copies of the nodes that compute `outputs` from `hidden`, in order, and the weights that they read."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = _with_batch_of(graph, hidden, weights)
    makers = {name: node for node in nodes for name in node.output}
    todo, needed = list(outputs), {""}
    while todo:
        name = todo.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            todo += makers[name].input
        elif name not in weights and name != hidden:
            raise UnsupportedError(
                f"the decoder computes the keys and values of the encoder's output from '{name}' too.",
                hint="this architecture cannot be exported; name the parts and states in a factory of your own",
            )
    chosen = [node for node in nodes if not needed.isdisjoint(node.output)]
    return chosen, [tensor for name, tensor in weights.items() if name in needed]


def _with_batch_of(graph: Any, hidden: str, weights: Mapping[str, Any]) -> list[Any]:
    """Return copies of the nodes. Those that take the batch of one of the decoder's own values take that of `hidden`:
    they are equal.
    """
    from onnx import helper

    shape = f"{hidden}_shape"
    nodes = [helper.make_node("Shape", [hidden], [shape], name=shape)]
    makers = {name: node for node in graph.node for name in node.output}
    from_hidden = {hidden, "", *weights}
    for node in graph.node:
        copy = type(node)()
        copy.CopyFrom(node)
        nodes.append(copy)
        if from_hidden.issuperset(node.input):
            from_hidden.update(node.output)
        elif node.op_type == "Gather" and _constant(node.input[1], makers, weights) == 0:
            source = makers.get(node.input[0])
            if source is not None and source.op_type == "Shape" and not source.attribute:
                copy.input[0] = shape
    return nodes


def _constant(name: str, makers: Mapping[str, Any], weights: Mapping[str, Any]) -> int | None:
    """Return the constant number of that name, None where it is not one."""
    from onnx import numpy_helper

    node = makers.get(name)
    tensor = weights.get(name) if node is None else node.attribute[0].t if node.op_type == "Constant" else None
    array = None if tensor is None else numpy_helper.to_array(tensor)
    return int(array.item()) if array is not None and array.size == 1 else None
