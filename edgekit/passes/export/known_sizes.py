"""Shapes that are known although their sizes are free: a tracer computes them at each call.

`x.view(batch, tokens, heads, size)` becomes four or more operators that read the sizes of `x` and join them. Where the
sizes that are asked for are those of the data at the same places, ONNX has a constant for it: 0 copies a size, and one
size may be -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Size = int | str | None
"""A number, the name of a free size, or None for what is unknown."""

ROUNDS = 8
"""A shape that became known makes more known: layers follow each other."""

LARGEST = 1024
"""Larger weights hold no sizes."""

_SAME = ("Unsqueeze", "Squeeze", "Cast", "Identity")
"""Operators that keep a list of sizes as it is."""


def fold_known_sizes(proto: Any) -> int:
    """Write a constant shape to each Reshape whose shape is known, and return how many were changed.

    Nodes that nothing reads any more are removed.
    """
    changed = 0
    for _ in range(ROUNDS):
        count = _fold(proto)
        changed += count
        if not count:
            break
    if changed:
        _remove_unread(proto.graph)
        del proto.graph.value_info[:]
    return changed


def _fold(proto: Any) -> int:
    import numpy as np
    from onnx import numpy_helper, shape_inference

    graph = proto.graph
    inferred = shape_inference.infer_shapes(_outline(proto), data_prop=True).graph
    sizes = {
        value.name: _sizes(value)
        for values in (inferred.input, inferred.value_info, inferred.output)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    makers = {name: node for node in graph.node for name in node.output}
    values = _values(graph, sizes)
    changed = 0
    for node in graph.node:
        maker = makers.get(node.input[1]) if node.op_type == "Reshape" else None
        if (
            maker is None
            or maker.op_type == "Constant"
            or any(each.name == "allowzero" and each.i for each in node.attribute)
        ):
            continue
        shape = _constant(sizes.get(node.input[0]), values.get(node.input[1]))
        if shape is not None:
            name = f"{node.output[0]}_known_shape"
            graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
            node.input[1] = name
            changed += 1
    return changed


def _constant(data: Sequence[Size] | None, wanted: Sequence[Size] | None) -> list[int] | None:
    """Return the constant that asks for the shape, None where more than one of its sizes is unknown."""
    if data is None or wanted is None:
        return None
    shape: list[int] = []
    for place, size in enumerate(wanted):
        if isinstance(size, int):
            if size == 0:
                return None
            shape.append(size)
        else:
            shape.append(0 if size is not None and place < len(data) and data[place] == size else -1)
    return shape if shape.count(-1) <= 1 else None


def _values(graph: Any, sizes: Mapping[str, Sequence[Size]]) -> dict[str, list[Size]]:
    """Return the sizes that tensors hold, by name."""
    from onnx import numpy_helper

    values: dict[str, list[Size]] = {}
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    tensors += [(node.output[0], node.attribute[0].t) for node in graph.node if node.op_type == "Constant"]
    for name, tensor in tensors:
        if tensor.data_type == tensor.INT64 and len(tensor.dims) <= 1 and sum(tensor.dims) <= LARGEST:
            values[name] = numpy_helper.to_array(tensor).reshape(-1).tolist()
    for node in graph.node:
        value = _value(node, values, sizes)
        if value is not None:
            values[node.output[0]] = value
    return values


def _value(node: Any, values: Mapping[str, list[Size]], sizes: Mapping[str, Sequence[Size]]) -> list[Size] | None:
    if node.op_type == "Shape":
        return list(sizes[node.input[0]]) if node.input[0] in sizes and not node.attribute else None
    given = [values.get(name) for name in node.input]
    if node.op_type == "Concat":
        return None if any(value is None for value in given) else [size for value in given for size in value or ()]
    if node.op_type == "Unsqueeze" and given[0] is None:
        return [None]  # one size that is computed otherwise: what is joined from it has a known length
    if node.op_type in _SAME:
        return given[0]
    if node.op_type == "Gather" and len(given) == 2 and given[0] is not None and given[1] is not None:
        places = [place for place in given[1] if isinstance(place, int) and -len(given[0]) <= place < len(given[0])]
        return [given[0][place] for place in places] if len(places) == len(given[1]) else None
    return None


def _sizes(value: Any) -> list[Size]:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]


def _outline(proto: Any) -> Any:
    """Return a copy of the model with its large weights as inputs: only their shapes matter here."""
    import onnx
    from onnx import helper

    outline = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    outline.graph.name = proto.graph.name
    outline.graph.node.extend(proto.graph.node)
    outline.graph.input.extend(proto.graph.input)
    outline.graph.output.extend(proto.graph.output)
    for tensor in proto.graph.initializer:
        if sum(tensor.dims) > LARGEST or len(tensor.dims) > 1:
            outline.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        else:
            outline.graph.initializer.append(tensor)
    return outline


def _remove_unread(graph: Any) -> None:
    """Remove the nodes and weights that no output depends on."""
    makers = {name: node for node in graph.node for name in node.output}
    todo, read = [value.name for value in graph.output], set()
    while todo:
        name = todo.pop()
        if name not in read:
            read.add(name)
            todo += makers[name].input if name in makers else ()
    for node in [node for node in graph.node if read.isdisjoint(node.output)]:
        graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
