"""The measured cost of quantizing each layer alone: it decides which layers stay in float.

Every quantizer of the model gets a switch. Where it is off, the value passes unchanged; a layer's cost is the change of
the outputs when the quantizers that it reads are switched on. So one compiled model measures every layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError
from edgekit.plugin import LayerCost
from edgekit_openvino import ir
from edgekit_openvino.options import Options
from edgekit_openvino.session import compile_model, runtime

if TYPE_CHECKING:
    import numpy as np

SWITCH = "edgekit_switch_"

PASSES_ON = ir.CARRIES - {"Multiply", "Subtract"} | {
    "Broadcast",
    "Concat",
    "Gather",
    "MaxPool",
    "Pad",
    "Relu",
    "Slice",
    "Split",
    "StridedSlice",
    "Tile",
    "VariadicSplit",
}
"""Operators that integer kernels run through: the readers of a quantizer are found behind them."""


def layer_costs(model: Any, feeds: Iterable[Mapping[str, np.ndarray]]) -> tuple[LayerCost, ...]:
    """Return the relative L2 change of the outputs when one layer alone is quantized, the greatest change first.

    `model` is an openvino.Model with FakeQuantize nodes on weights and activations; it is changed in place.
    Every feed is run once for each layer. Raises BuildError where a sample does not run.
    """
    import numpy as np

    layers = _quantized_layers([node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"])
    names = {port.get_any_name() for port in model.inputs}
    switches = _insert_switches(model)
    request = compile_model(model, Options()).create_infer_request()
    outputs = [index for index, port in enumerate(model.outputs) if port.get_element_type().is_real()]
    off = {name: np.array(False) for name in switches.values()}
    changes, references = {name: np.zeros(len(outputs)) for name in layers}, np.zeros(len(outputs))

    def run(inputs: Mapping[str, np.ndarray], on: Sequence[str]) -> list[np.ndarray]:
        results = request.infer({**inputs, **off, **dict.fromkeys(on, np.array(True))}, share_inputs=False)
        return [np.array(results[index], np.float64) for index in outputs]

    for number, feed in enumerate(feeds):
        inputs = {name: array for name, array in feed.items() if name in names}
        try:
            exact = run(inputs, ())
            references += [LayerCost.change(array, 0 * array) for array in exact]
            for name, (_, quantizers) in layers.items():
                changed = run(inputs, [switches[quantizer] for quantizer in quantizers])
                changes[name] += [LayerCost.change(*pair) for pair in zip(exact, changed, strict=True)]
        except Exception as error:  # OpenVINO raises RuntimeError for every fault
            raise BuildError(f"calibration sample {number} does not run: {error}") from error
    return LayerCost.ordered(
        LayerCost.of(name, kind, changes[name].tolist(), references.tolist()) for name, (kind, _) in layers.items()
    )


def _quantized_layers(quantizers: Sequence[Any]) -> dict[str, tuple[str, list[str]]]:
    """Return the kind of each layer that reads quantizers, and the quantizers' names, by the layer's name."""
    layers: dict[str, tuple[str, list[str]]] = {}
    for quantizer in quantizers:
        waiting, seen = [quantizer], set()
        while waiting:
            for port in waiting.pop().outputs():
                for target in port.get_target_inputs():
                    node = target.get_node()
                    kind, name = node.get_type_name(), node.get_friendly_name()
                    if name in seen or kind in ("Result", "FakeQuantize"):
                        continue
                    seen.add(name)
                    if kind in PASSES_ON:
                        waiting.append(node)
                    else:
                        layers.setdefault(ir.layer_name(node), (kind, []))[1].append(quantizer.get_friendly_name())
    return layers


def _insert_switches(model: Any) -> dict[str, str]:
    """Put a switch behind every quantizer; return the switches' input names by the quantizers' names."""
    ov = runtime()
    from openvino import opset13

    names: dict[str, str] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        switch = opset13.parameter([], ov.Type.boolean)
        name = f"{SWITCH}{len(names)}"
        switch.output(0).get_tensor().set_names({name})
        targets = node.output(0).get_target_inputs()
        selected = opset13.select(switch, node, node.input_value(0))
        for target in targets:
            target.replace_source_output(selected.output(0))
        model.add_parameters([switch])
        names[node.get_friendly_name()] = name
    model.validate_nodes_and_infer_types()
    return names
