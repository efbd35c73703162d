"""Find where an activation can be divided, channel by channel, and the weights that read it multiplied, exactly.

The division goes into constants that are there already, a norm's or a layer's weights, where the activation serves only
the products that take it back; else it is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.passes.quantize.qdq import FLOAT

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Site:
    """An activation, the products that read it, and the constants that can take the division."""

    tensor: str
    width: int
    """Channels: the last dimension of the activation."""
    readers: tuple[str, ...]
    """Names of the nodes."""
    weights: tuple[tuple[str, int], ...]
    """Each reader's constant and the axis of it that runs along the channels."""
    folds: tuple[tuple[str, int], ...] | None
    """Constants to divide, each with its axis of channels; None where there are none, or others read the activation."""


def sites(graph: Any, exclude: Collection[str]) -> list[Site]:
    """Find the activations that MatMul and Gemm with constant weights read, in graph order.

    Every constant that a product reads must be its own, as `prepare` sees to.
    """
    held = _Graph(graph)
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for node in graph.node:
        product = held.product(node)
        if product is not None and node.name not in exclude:
            found.setdefault(node.input[0], []).append((node.name, *product))
    made = []
    for tensor, readers in found.items():
        widths = {width for *_, width in readers}
        if len(widths) > 1 or tensor in held.constants:
            continue
        alone = len(readers) == len(held.readers[tensor]) and tensor not in held.outputs
        folds = held.folds(tensor, widths.copy().pop()) if alone else None
        names = tuple(name for name, *_ in readers)
        weights = tuple((weight, axis) for _, weight, axis, _ in readers)
        made.append(Site(tensor, widths.pop(), names, weights, tuple(folds) if folds else None))
    return made


def smooth(graph: Any, site: Site, scale: np.ndarray) -> None:
    """Divide the site's activation by `scale`, one value a channel, and multiply the weights that read it."""
    import numpy as np
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}

    def multiply(name: str, axis: int, factor: np.ndarray) -> None:
        values = numpy_helper.to_array(constants[name]).astype(np.float64)
        shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
        made = (values * factor.reshape(shape)).astype(np.float32)
        constants[name].CopyFrom(numpy_helper.from_array(made, name))

    for name, axis in site.weights:
        multiply(name, axis, scale)
    if site.folds is not None:
        for name, axis in site.folds:
            multiply(name, axis, 1 / scale)
        return
    divisor, output = f"{site.tensor}_smoothing", f"{site.tensor}_smoothed"
    graph.initializer.append(numpy_helper.from_array((1 / scale).astype(np.float32), divisor))
    nodes = list(graph.node)
    first = min(index for index, node in enumerate(nodes) if node.name in site.readers)
    for node in nodes:
        if node.name in site.readers:
            node.input[0] = output
    graph.node.insert(first, helper.make_node("Mul", [site.tensor, divisor], [output], f"{site.tensor}_smooth"))


class _Graph:
    """A graph with what is asked of it: who makes a tensor, who reads it, which constants there are."""

    def __init__(self, graph: Any) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def product(self, node: Any) -> tuple[str, int, int] | None:
        """Give the weight of a MatMul or Gemm, its axis along what is summed over, and that axis's size."""
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in self.constants:
            return None
        weight, said = self.constants[node.input[1]], {entry.name: entry.i for entry in node.attribute}
        if weight.data_type != FLOAT or len(weight.dims) != 2 or said.get("transA"):
            return None
        axis = 1 if said.get("transB") else 0
        return weight.name, axis, weight.dims[axis]

    def folds(self, tensor: str, width: int) -> list[tuple[str, int]] | None:
        """Give the constants whose division by channel divides `tensor`, whose readers are known."""
        node = self.makers.get(tensor)
        if node is None:
            return None
        if node.op_type == "LayerNormalization":
            return self._vectors(node.input[1:], width)
        if node.op_type == "Relu":
            return self._folds_behind(node.input[0], width)
        if node.op_type in ("MatMul", "Gemm"):
            return self._folds_of_product(node, width)
        if node.op_type not in ("Mul", "Add"):
            return None
        constant = [name for name in node.input if name in self.constants]
        data = [name for name in node.input if name not in self.constants]
        own = self._vectors(constant, width)
        if node.op_type == "Mul":
            if constant:
                return own
            return self._folds_behind(data[0], width) or self._folds_behind(data[1], width)
        before = self._folds_behind(data[0], width) if len(data) == 1 else None
        return [*before, *own] if before and own else None

    def _folds_behind(self, tensor: str, width: int) -> list[tuple[str, int]] | None:
        lone = len(self.readers.get(tensor, ())) == 1 and tensor not in self.outputs
        return self.folds(tensor, width) if lone else None

    def _folds_of_product(self, node: Any, width: int) -> list[tuple[str, int]] | None:
        found = self.product(node)
        if found is None:
            return None
        weight, axis, _ = found
        if self.constants[weight].dims[1 - axis] != width or len(self.readers[weight]) > 1:
            return None
        bias = [name for name in node.input[2:] if name]
        own = self._vectors(bias, width)
        return [(weight, 1 - axis), *own] if own is not None else None

    def _vectors(self, names: Collection[str], width: int) -> list[tuple[str, int]] | None:
        """Give the named constants with their last axis; None where one is no vector of channels, or serves others."""
        for name in names:
            tensor = self.constants.get(name)
            if tensor is None or tensor.data_type != FLOAT or len(self.readers[name]) > 1:
                return None
            if not tensor.dims or tensor.dims[-1] != width:
                return None
        return [(name, -1) for name in names]
