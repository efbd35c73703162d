"""SmoothQuant's rewriting: divide an activation by channel, and multiply the weights that read it, exactly.

The division goes into existing constants, a norm's or a layer's weights, where only products that multiply it back read
the activation; else it is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.passes.quantize.qdq import FLOAT

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SmoothableActivation:
    """An activation, the products that read it, and the constants that can take the division."""

    tensor: str
    width: int
    """Channels: the last dimension of the activation."""
    readers: tuple[str, ...]
    """Names of the nodes."""
    weights: tuple[tuple[str, int], ...]
    """Each reader's constant and its axis of channels."""
    folds: tuple[tuple[str, int], ...] | None
    """Constants to divide, each with its axis of channels; None where there are none, or others read the activation."""


def smoothable_activations(graph: Any, exclude: Collection[str]) -> list[SmoothableActivation]:
    """Return the activations that MatMul and Gemm with constant weights read, in graph order.

    Every constant that a product reads must be read by it alone, as in a graph of `prepare`.
    """
    index = _GraphIndex(graph)
    products: dict[str, list[tuple[str, str, int, int]]] = {}
    for node in graph.node:
        product = index.product(node)
        if product is not None and node.name not in exclude:
            products.setdefault(node.input[0], []).append((node.name, *product))
    activations = []
    for tensor, readers in products.items():
        widths = {width for *_, width in readers}
        if len(widths) > 1 or tensor in index.constants:
            continue
        alone = len(readers) == len(index.readers[tensor]) and tensor not in index.outputs
        folds = index.folds(tensor, widths.copy().pop()) if alone else None
        names = tuple(name for name, *_ in readers)
        weights = tuple((weight, axis) for _, weight, axis, _ in readers)
        activations.append(SmoothableActivation(tensor, widths.pop(), names, weights, tuple(folds) if folds else None))
    return activations


def smooth(graph: Any, activation: SmoothableActivation, scale: np.ndarray) -> None:
    """Divide the activation by `scale`, one value for each channel, and multiply the weights that read it, in place."""
    import numpy as np
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}

    def multiply(name: str, axis: int, factor: np.ndarray) -> None:
        values = numpy_helper.to_array(constants[name]).astype(np.float64)
        shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
        product = (values * factor.reshape(shape)).astype(np.float32)
        constants[name].CopyFrom(numpy_helper.from_array(product, name))

    for name, axis in activation.weights:
        multiply(name, axis, scale)
    if activation.folds is not None:
        for name, axis in activation.folds:
            multiply(name, axis, 1 / scale)
        return
    divisor, output = f"{activation.tensor}_smoothing", f"{activation.tensor}_smoothed"
    graph.initializer.append(numpy_helper.from_array((1 / scale).astype(np.float32), divisor))
    nodes = list(graph.node)
    first = min(index for index, node in enumerate(nodes) if node.name in activation.readers)
    for node in nodes:
        if node.name in activation.readers:
            node.input[0] = output
    graph.node.insert(
        first, helper.make_node("Mul", [activation.tensor, divisor], [output], f"{activation.tensor}_smooth")
    )


class _GraphIndex:
    """A graph's constants and outputs, and the producer and readers of each tensor."""

    def __init__(self, graph: Any) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def product(self, node: Any) -> tuple[str, int, int] | None:
        """Return the constant weight of a MatMul or Gemm, the axis that is summed over, and its size; else None."""
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in self.constants:
            return None
        weight, attributes = self.constants[node.input[1]], {entry.name: entry.i for entry in node.attribute}
        if weight.data_type != FLOAT or len(weight.dims) != 2 or attributes.get("transA"):
            return None
        axis = 1 if attributes.get("transB") else 0
        return weight.name, axis, weight.dims[axis]

    def folds(self, tensor: str, width: int) -> list[tuple[str, int]] | None:
        """Return the constants, each with its axis of channels, whose division divides `tensor`; None without any."""
        node = self.producers.get(tensor)
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
        product = self.product(node)
        if product is None:
            return None
        weight, axis, _ = product
        if self.constants[weight].dims[1 - axis] != width or len(self.readers[weight]) > 1:
            return None
        bias = [name for name in node.input[2:] if name]
        own = self._vectors(bias, width)
        return [(weight, 1 - axis), *own] if own is not None else None

    def _vectors(self, names: Collection[str], width: int) -> list[tuple[str, int]] | None:
        """Return the named constants with their last axis; None where one is not a vector of channels or is shared."""
        for name in names:
            tensor = self.constants.get(name)
            if tensor is None or tensor.data_type != FLOAT or len(self.readers[name]) > 1:
                return None
            if not tensor.dims or tensor.dims[-1] != width:
                return None
        return [(name, -1) for name in names]
