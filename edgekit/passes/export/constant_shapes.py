"""Make constants of the shapes that a traced graph computes although it knows them.

torch's tracer writes the shape that a tensor is given as a chain of Shape, Gather, Unsqueeze, Concat for each layer; a
language model spends a fourth of its time on them where its products are small. Sizes are followed through such chains
as numbers or names: what turns out to be numbers becomes a constant, and a Reshape or Expand to sizes that its data has
already takes 0 or 1 in their place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from edgekit.passes.quantize.qdq import drop_unread_constants

Size = int | str
"""A number, or the name of a size that is equal wherever it has this name."""

MOST_ROUNDS = 6
LONGEST = 16
"""Tensors of more elements are not shapes."""

INT64 = 7  # onnx.TensorProto.INT64
_SAME = {"Unsqueeze", "Squeeze", "Cast", "Identity", "Flatten"}
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
}


def fix_shapes(proto: Any) -> Any:
    """Return the graph with what it knows of its shapes as constants; its outputs are the same for every input."""
    import onnx

    for _ in range(MOST_ROUNDS):
        typed = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        if not _Shapes(typed.graph).rewrite(proto.graph):
            break
    _drop_unread_nodes(proto.graph)
    drop_unread_constants(proto.graph)
    del proto.graph.value_info[:]
    return proto


class _Shapes:
    """The sizes of each tensor, and the values of those that hold sizes."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._fresh = (f"?{number}" for number in itertools.count())
        values = (*graph.input, *graph.value_info, *graph.output)
        self._sizes = {value.name: self._of(value) for value in values if value.type.tensor_type.HasField("shape")}
        self._sizes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        self._integers = {value.name for value in values if value.type.tensor_type.elem_type == INT64}
        self._values: dict[str, list[Size]] = {}
        self._constants: set[str] = set()
        for tensor in graph.initializer:
            if tensor.data_type == INT64 and len(tensor.dims) < 2 and sum(tensor.dims) <= LONGEST:
                self._constant(tensor.name, numpy_helper.to_array(tensor))
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                tensor = node.attribute[0].t
                if tensor.data_type == INT64 and len(tensor.dims) < 2 and sum(tensor.dims) <= LONGEST:
                    self._constant(node.output[0], numpy_helper.to_array(tensor))
            elif (sizes := self._followed(node)) is not None and len(sizes) <= LONGEST:
                self._values[node.output[0]] = sizes

    def rewrite(self, graph: Any) -> bool:
        """Make constants in `graph`, and return whether there were any to make."""
        changed = False
        for node in list(graph.node):
            if node.op_type in ("Reshape", "Expand") and node.input[1] not in self._constants:
                changed |= self._set(graph, node, 1, self._target(node), 1)
                continue
            for place, name in enumerate(node.input):
                values, rank = self._values.get(name), len(self._sizes.get(name, [0, 0]))
                if values is None or name in self._constants or name not in self._integers or rank > 1:
                    continue
                if all(isinstance(value, int) for value in values):
                    changed |= self._set(graph, node, place, values, rank)
        return changed

    def _target(self, node: Any) -> list[Size] | None:
        """Return the constant shape of a Reshape or Expand; None where more than one of its sizes is not known."""
        wanted, given = self._values.get(node.input[1]), self._sizes.get(node.input[0])
        if wanted is None or given is None:
            return None
        if node.op_type == "Expand":
            aligned = [*([1] * (len(wanted) - len(given))), *given]
            kept = [1 if size == own else size for size, own in zip(wanted, aligned, strict=False)]
            return kept if len(aligned) == len(wanted) and all(isinstance(size, int) for size in kept) else None
        if any(entry.name == "allowzero" and entry.i for entry in node.attribute):
            return None
        kept = []
        for place, size in enumerate(wanted):
            same = isinstance(size, str) and place < len(given) and given[place] == size
            kept.append(0 if same else size)
        unknown = [place for place, size in enumerate(kept) if isinstance(size, str)]
        if len(unknown) > 1 or (unknown and -1 in kept):
            return None
        return [-1 if isinstance(size, str) else size for size in kept]

    def _set(self, graph: Any, node: Any, place: int, values: list[Size] | None, rank: int) -> bool:
        import numpy as np
        from onnx import numpy_helper

        if values is None:
            return False
        name = f"{node.name or node.output[0]}_sizes_{place}"
        array = np.array(values if rank else values[0], np.int64)
        graph.initializer.append(numpy_helper.from_array(array, name))
        node.input[place] = name
        self._constants.add(name)
        return True

    def _constant(self, name: str, array: Any) -> None:
        self._values[name] = [int(value) for value in array.reshape(-1)]
        self._constants.add(name)

    def _of(self, value: Any) -> list[Size]:
        dims = value.type.tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or next(self._fresh) for dim in dims]

    def _followed(self, node: Any) -> list[Size] | None:
        """Return the values of a node's output where they follow from those of its inputs."""
        kind = node.op_type
        if kind == "Shape":
            sizes = self._sizes.get(node.input[0])
            limits = {entry.name: entry.i for entry in node.attribute}
            return None if sizes is None else sizes[limits.get("start", 0) : limits.get("end", len(sizes))]
        given = [self._values.get(name) for name in node.input]
        if kind in _SAME:
            return given[0]
        if kind == "Reshape":
            return given[0] if self._values.get(node.input[1]) == [-1] else None
        if kind == "ConstantOfShape":
            return self._filled(node, given[0])
        known = [values for values in given if values is not None]
        if len(known) < len(given) or not known:
            return None
        if kind == "Concat":
            return list(itertools.chain.from_iterable(known))
        if kind == "Gather":
            return self._gathered(node, *known)
        if kind == "Where":
            chosen = list(zip(*_alike(known), strict=True))
            return (
                [a if take else b for take, a, b in chosen]
                if all(isinstance(each[0], int) for each in chosen)
                else None
            )
        if kind == "Equal":
            pairs = [_equal(a, b) for a, b in zip(*_alike(known), strict=True)]
            return None if None in pairs else [int(bool(pair)) for pair in pairs]
        if kind in _ARITHMETIC:
            return [self._computed(kind, a, b) for a, b in zip(*_alike(known), strict=True)]
        return None

    def _gathered(self, node: Any, values: list[Size], places: list[Size]) -> list[Size] | None:
        if not all(isinstance(place, int) and -len(values) <= place < len(values) for place in places):
            return None
        return [values[int(place)] for place in places]

    def _filled(self, node: Any, shape: list[Size] | None) -> list[Size] | None:
        from onnx import numpy_helper

        if shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] > LONGEST:
            return None
        value = next((numpy_helper.to_array(entry.t) for entry in node.attribute), None)
        return None if value is None or value.dtype.kind != "i" else [int(value.reshape(-1)[0])] * shape[0]

    def _computed(self, kind: str, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int) and (kind != "Div" or b):
            return _ARITHMETIC[kind](a, b)
        if kind in ("Mul", "Div") and b == 1:
            return a
        return f"({a} {kind} {b})"


def _alike(lists: Sequence[list[Size]]) -> list[list[Size]]:
    """Return the lists with those of one element repeated to the length of the longest."""
    longest = max(len(each) for each in lists)
    return [each * longest if len(each) == 1 else each for each in lists]


def _equal(a: Size, b: Size) -> bool | None:
    """Return whether two sizes are equal; None where that depends on the input. A named size is at least 0."""
    if a == b:
        return True
    if isinstance(a, int) and isinstance(b, int):
        return False
    return False if (isinstance(a, int) and a < 0) or (isinstance(b, int) and b < 0) else None


def _drop_unread_nodes(graph: Any) -> None:
    """Remove the nodes of which nothing is read any more."""
    outputs = {value.name for value in graph.output}
    read: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            read[name] = read.get(name, 0) + 1
    kept = []
    for node in reversed(graph.node):  # readers come behind what they read
        if outputs.isdisjoint(node.output) and not any(read.get(name) for name in node.output):
            for name in node.input:
                read[name] -= 1
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
