"""Compute the scores of the last position alone: those of a prompt's other tokens are not read.

The product with the vocabulary is the largest of a small language model: for a prompt of n tokens n - 1 of n parts of
it are left out. The values of the last position are the same.
"""

from __future__ import annotations

from typing import Any

_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Tanh", "Cast", "Identity", "Neg"}
"""Operators between the product and the scores that treat each position by itself, where one input is the product."""


def keep_last_position(proto: Any, scores: str) -> bool:
    """Slice the input of the product that gives the output `scores`, [batch, positions, vocabulary]; return whether the
    graph has that form. Where another node reads the product too, nothing is changed.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    node = makers.get(scores)
    while node is not None and node.op_type in _ELEMENTWISE:
        moving = [name for name in node.input if name not in constants]
        if len(moving) != 1 or readers.get(node.output[0], 0) > 1:
            return False
        node = makers.get(moving[0])
    if node is None or node.op_type != "MatMul" or readers.get(node.output[0], 0) > 1:
        return False
    names = {name for each in graph.node for name in each.output} | constants
    kept = f"{node.input[0]}_last"
    if kept in names or node.input[0] in constants:
        return False
    indices = {"starts": [-1], "ends": [2**63 - 1], "axes": [1]}
    for name, values in indices.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{kept}_{name}"))
    place = list(graph.node).index(node)
    slicing = helper.make_node(
        "Slice", [node.input[0], *(f"{kept}_{name}" for name in indices)], [kept], name=f"{kept}_slice"
    )
    node.input[0] = kept
    graph.node.insert(place, slicing)
    output = next(value for value in graph.output if value.name == scores)
    dimension = output.type.tensor_type.shape.dim[1]
    dimension.Clear()
    dimension.dim_value = 1
    del graph.value_info[:]
    return True
