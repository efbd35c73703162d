"""Measure what it costs to quantize each layer alone: the basis for choosing which layers stay in float.

One float graph has a switch for every layer. Where it is on, the layer's activations go through its Q/DQ pairs and its
weights are replaced by their int8 values; all others stay exact. So one session measures every layer, in memory that
does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError
from edgekit.frameworks.onnx_model import save
from edgekit.passes.quantize.qdq import KEEPS_FLOAT
from edgekit.plugin import LayerCost

if TYPE_CHECKING:
    import numpy as np

SWITCH = "edgekit_switch_"


@dataclass(frozen=True)
class _Layer:
    """A layer of the switched graph: the name of its switch, and its weights as int8 represents them."""

    name: str
    kind: str
    switch: str
    weights: Mapping[str, np.ndarray]


def layer_costs(
    float_graph: Any,
    quantized: Any,
    layers: Collection[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    *,
    file: Path | None = None,
) -> tuple[LayerCost, ...]:
    """Return the relative L2 change of the outputs when each of `layers` alone is quantized, the greatest first.

    `float_graph` and `quantized` are onnx.ModelProtos with the same node names: the graph before and after. A layer's
    scales are those of its Q/DQ pairs there. Every feed is run once for each layer. The graph that measures goes
    through `file` where it is too large for one protobuf message, and through memory otherwise.
    """
    import numpy as np
    import onnxruntime

    switched, switched_layers = _switched(float_graph, quantized, layers)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if file is not None:
        save(switched, file)
    graph = switched.SerializeToString() if file is None else file
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    del switched, graph
    wanted = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs() if value.type in ("tensor(float)", "tensor(double)")]
    changes, references = np.zeros((len(switched_layers), len(names))), np.zeros(len(names))
    for number, feed in enumerate(feeds):
        inputs = {name: value for name, value in feed.items() if name in wanted}
        try:
            exact = session.run(names, inputs)
            references += [LayerCost.change(array, 0 * array) for array in exact]
            for index, layer in enumerate(switched_layers):
                changed = session.run(names, {**inputs, layer.switch: np.array(True), **layer.weights})
                changes[index] += [LayerCost.change(*pair) for pair in zip(exact, changed, strict=True)]
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise BuildError(f"calibration sample {number} does not run: {error}") from error
    return LayerCost.ordered(
        LayerCost.of(layer.name, layer.kind, change, references.tolist())
        for layer, change in zip(switched_layers, changes.tolist(), strict=True)
    )


def weight_costs(float_graph: Any, quantized: Any, layers: Collection[str]) -> tuple[LayerCost, ...]:
    """Return the relative L2 change of each layer's weights, the greatest first: a cost that needs no samples."""
    import numpy as np
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in (*float_graph.graph.initializer, *quantized.graph.initializer)}
    pairs = {node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    weights = {node.name: node.input[1] for node in float_graph.graph.node if node.name in layers}
    costs = []
    for node in quantized.graph.node:
        if node.name in layers and (pair := pairs.get(node.input[1])) is not None:
            exact = numpy_helper.to_array(constants[weights[node.name]])
            change = np.linalg.norm(dequantized(pair, constants) - exact) / max(float(np.linalg.norm(exact)), 1e-30)
            costs.append(LayerCost(node.name, node.op_type, float(change)))
    return LayerCost.ordered(costs)


def _switched(float_graph: Any, quantized: Any, layers: Collection[str]) -> tuple[Any, tuple[_Layer, ...]]:
    """Return a copy of `float_graph` with a switch for every layer; weights and switches are inputs with defaults."""
    from onnx import ModelProto, TensorProto, helper

    switched = ModelProto()
    switched.CopyFrom(float_graph)
    graph = switched.graph
    pairs = {node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    rounded = {node.input[0]: node for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    after = {node.name: node for node in quantized.graph.node}
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    listed = {value.name for value in graph.input}
    nodes: list[Any] = []
    switched_layers: list[_Layer] = []
    for node in graph.node:
        if node.name in layers and (quantized_node := after.get(node.name)) is not None:
            switch = f"{SWITCH}{len(switched_layers)}"
            replaced: dict[str, np.ndarray] = {}
            for index, name in enumerate(quantized_node.input):
                pair = pairs.get(name)
                if pair is None or index >= len(node.input):
                    continue
                if node.input[index] not in weights:
                    nodes += _switch(node, index, pair, switch)
                elif index == 1:  # a bias is kept in 32 bits: it costs nothing
                    replaced[node.input[index]] = dequantized(pair, constants)
            output_pair = rounded.get(quantized_node.output[0])
            nodes.append(node)
            if output_pair is not None and node.op_type not in KEEPS_FLOAT:
                nodes += _switch_output(node, output_pair, switch)
            graph.initializer.append(helper.make_tensor(switch, TensorProto.BOOL, [], [False]))
            graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
            switched_layers.append(_Layer(node.name, node.op_type, switch, replaced))
        else:
            nodes.append(node)
    for name in {name for layer in switched_layers for name in layer.weights} - listed:
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(weights[name].dims)))
    scales = {name for node in nodes if node.name.startswith(SWITCH) for name in node.input if name in constants}
    present = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(constants[name] for name in sorted(scales - present))
    ordered = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    switched.ir_version = max(switched.ir_version, 4)  # from there on an initializer among the inputs is a default
    return switched, tuple(switched_layers)


def _copy(node: Any) -> Any:
    from onnx import NodeProto

    copied = NodeProto()
    copied.CopyFrom(node)
    return copied


def _switch(node: Any, index: int, pair: Any, switch: str) -> list[Any]:
    """Make `node` read its input `index` through the Q/DQ pair where the switch is on; return the nodes for that."""
    source, switched = node.input[index], f"{switch}_{index}"
    node.input[index] = switched
    return _rounded(source, switched, pair, switch)


def _switch_output(node: Any, pair: Any, switch: str) -> list[Any]:
    """Make `node` return its result through the Q/DQ pair where the switch is on, as an integer kernel does."""
    output, raw = node.output[0], f"{switch}_output"
    node.output[0] = raw
    return _rounded(raw, output, pair, switch)


def _rounded(source: str, result: str, pair: Any, switch: str) -> list[Any]:
    from onnx import helper

    base, parameters = f"{switch}_of_{source}", list(pair.input[1:])
    return [
        helper.make_node("QuantizeLinear", [source, *parameters], [base + "_q"], base + "_q"),
        helper.make_node("DequantizeLinear", [base + "_q", *parameters], [base + "_dq"], base + "_dq"),
        helper.make_node("Where", [switch, base + "_dq", source], [result], base),
    ]


def dequantized(pair: Any, constants: Mapping[str, Any]) -> np.ndarray:
    """Return the float weights that the pair's int8 constant represents."""
    import numpy as np
    from onnx import numpy_helper

    values, scale = (numpy_helper.to_array(constants[name]) for name in pair.input[:2])
    zero = numpy_helper.to_array(constants[pair.input[2]]) if len(pair.input) > 2 else np.zeros_like(scale)
    attributes = {entry.name: entry.i for entry in pair.attribute}
    axis = attributes.get("axis", 1)
    if block := attributes.get("block_size"):
        scale, zero = np.repeat(scale, block, axis), np.repeat(zero, block, axis)
    elif scale.ndim:
        shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    weights: np.ndarray = (values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return weights
