"""Emulate the rounding of bf16 and f16 in f32 arithmetic, to check a model on a machine that has neither.

Each result of a float operator is rounded once, as by hardware that adds in f32; results that the device fuses away are
rounded too. Q/DQ pairs stay exact: integer kernels sum them in 32 bits. The rounding is arithmetic, as runtimes without
the type remove conversions to it: x + (2^n + 1) x - (2^n + 1) x leaves the upper 24 - n bits of x.
"""

from __future__ import annotations

from typing import Any, Literal

Narrow = Literal["bf16", "f16"]

FACTORS = {"bf16": 2.0**16 + 1, "f16": 2.0**13 + 1}

GREATEST_F16 = 65504.0

LEAST_F16, STEPS_F16 = 2.0**-14, 2.0**24
"""Values below the first are multiples of one over the second."""

EXACT = {"FakeQuantize", "Parameter", "Result", "Constant", "ReadValue"}
"""What is not rounded: quantizers are exact, the others compute nothing."""

PASSES_ON = {"Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Broadcast"}


def with_rounding(model: Any, narrow: Narrow) -> Any:
    """Return `model`, changed in place: results and weights of float operators are rounded to `narrow`."""
    nodes = model.get_ordered_ops()
    constant = _constants(nodes)
    for node in nodes:
        name = node.get_friendly_name()
        if name in constant or node.get_type_name() in EXACT:
            continue
        for port in node.inputs():
            source = port.get_source_output()
            if source.get_node().get_friendly_name() in constant and _is_float_constant(source):
                port.replace_source_output(_rounded(source, narrow))
    for node in nodes:
        if node.get_friendly_name() in constant or node.get_type_name() in EXACT:
            continue
        for output in node.outputs():
            readers = output.get_target_inputs()
            if output.get_element_type().is_real() and readers:
                rounded = _rounded(output, narrow)
                names = output.get_tensor().get_names()
                for reader in readers:
                    reader.replace_source_output(rounded)
                if any(reader.get_node().get_type_name() == "Result" for reader in readers):
                    output.get_tensor().set_names(set())
                    rounded.get_tensor().set_names(names)
    model.validate_nodes_and_infer_types()
    return model


def _constants(nodes: list[Any]) -> set[str]:
    """Return the names of the nodes that depend on constants alone, as weights and what unpacks them."""
    names: set[str] = set()
    for node in nodes:
        sources = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
        if node.get_type_name() == "Constant" or (sources and all(source in names for source in sources)):
            names.add(node.get_friendly_name())
    return names


def _is_float_constant(source: Any) -> bool:
    """Return whether a constant holds floats as they are: what is unpacked from integers is exact."""
    node = source.get_node()
    while node.get_type_name() in PASSES_ON and node.inputs():
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant" and node.get_output_element_type(0).is_real())


def _rounded(source: Any, narrow: Narrow) -> Any:
    import numpy as np
    from openvino import Type
    from openvino import opset13 as ops

    if source.get_element_type() != Type.f32:
        source = ops.convert(source, "f32").output(0)

    def number(value: float) -> Any:
        return ops.constant(np.float32(value))

    scaled = ops.multiply(source, number(FACTORS[narrow]))
    rounded = ops.subtract(scaled, ops.subtract(scaled, source))
    if narrow == "f16":
        small = ops.multiply(ops.round(ops.multiply(source, number(STEPS_F16)), "half_to_even"), number(1 / STEPS_F16))
        rounded = ops.select(ops.less(ops.absolute(source), number(LEAST_F16)), small, rounded)
        beyond = ops.multiply(rounded, number(np.inf))
        rounded = ops.select(ops.greater(ops.absolute(rounded), number(GREATEST_F16)), beyond, rounded)
    return rounded.output(0)
