"""An OpenVINO model on the build side: names that stay, its layers with weights, and whether it attends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError
from edgekit.frameworks import onnx_graph
from edgekit_openvino.session import runtime

FILES = ("model.xml", "model.bin")

PRODUCTS = {
    "Convolution",
    "ConvolutionBackpropData",
    "GroupConvolution",
    "GroupConvolutionBackpropData",
    "MatMul",
}
"""Operators whose sums of products integer kernels compute."""

CARRIES = {"Convert", "Multiply", "Reshape", "Squeeze", "Subtract", "Transpose", "Unsqueeze"}
"""Operators through which a constant reaches the product that it weighs."""

_BIASED = "/WithoutBiases"
"""What OpenVINO adds to an ONNX node's name where the node becomes a product and an addition."""

_NUMBERED = re.compile(r"(\w+)_\d+")


def read(path: Path) -> Any:
    """Return the model of an IR's two files. Raises BuildError when they are none."""
    try:
        return runtime().Core().read_model(str(path), str(path.with_suffix(".bin")))
    except Exception as error:
        raise BuildError(f"'{path.name}' cannot be read as an OpenVINO model: {error}.") from error


def write(model: Any, folder: Path) -> None:
    """Write both files into `folder`, or neither."""
    try:
        runtime().save_model(model, str(folder / FILES[0]), compress_to_fp16=False)
    except BaseException:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        raise


def settle_names(model: Any, proto: Any) -> None:
    """Name nodes as in ONNX, and alike in every run: conversion gives what has no name there a number of the process.

    What makes an output takes the output's name in conversion.
    """
    nodes = list(onnx_graph.nodes(proto))
    given = {name for node in nodes for name in (node.name, *node.input, *node.output)}
    makers = {output: node.name for node in nodes for output in node.output}
    outputs = {value.name: makers.get(value.name) for value in proto.graph.output}
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        own = layer_name(node)
        numbered = _NUMBERED.fullmatch(name)
        if node.get_type_name() not in ("Parameter", "Result") and outputs.get(own):
            node.set_friendly_name(f"{outputs[own]}{name[len(own) :]}")
        elif numbered and name not in given:
            node.set_friendly_name(f"{numbered[1]}.{place}")


def layers(model: Any) -> dict[str, Any]:
    """Return the products that constants weigh, in graph order, by the names that their nodes have in ONNX."""
    return {
        layer_name(node): node
        for node in model.get_ordered_ops()
        if node.get_type_name() in PRODUCTS and _constant_behind(node, 1) is not None
    }


def layer_name(node: Any) -> str:
    """Return the name that a node has in ONNX."""
    return str(node.get_friendly_name().removesuffix(_BIASED))


def is_transformer(model: Any) -> bool:
    """Return whether the model attends, and multiplies by weights at least as often as it convolves."""
    if not any(_attends(node) for node in model.get_ops()):
        return False
    kinds = [node.get_type_name() for node in layers(model).values()]
    return 2 * kinds.count("MatMul") >= len(kinds)


def wide_weight(model: Any) -> str | None:
    """Return the name of an int8 weight of a product that uses its eighth bit where activations are quantized, or None.

    Why it matters is said in `edgekit.frameworks.saturation`; `graph.wide_weight` tells the same of ONNX.
    """
    if not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        return None
    for node in model.get_ordered_ops():
        if node.get_type_name() not in PRODUCTS:
            continue
        for index in (0, 1):
            weight = _constant_behind(node, index)
            kind = None if weight is None else weight.get_element_type().get_type_name()
            if kind not in ("i8", "u8") or not weight.get_data().size:
                continue
            low, high = int(weight.get_data().min()), int(weight.get_data().max())
            if max(high, -low) > 64 if kind == "i8" else high - low > 128:
                return layer_name(node)
    return None


def _constant_behind(node: Any, index: int) -> Any:
    """Return the constant behind an input, through scaling, quantization and changes of shape; None without one."""
    found = node.input_value(index).get_node()
    while found.get_type_name() in CARRIES or found.get_type_name() == "FakeQuantize":
        found = found.input_value(0).get_node()
    return found if found.get_type_name() == "Constant" else None


def _attends(node: Any) -> bool:
    """Return whether a node weighs values by a softmax; later releases convert that to one operator."""
    kind = node.get_type_name()
    if kind != "MatMul":
        return bool(kind == "ScaledDotProductAttention")
    if _constant_behind(node, 1) is not None:
        return False
    found = node.input_value(0).get_node()
    while found.get_type_name() in CARRIES and found.get_type_name() != "Multiply":
        found = found.input_value(0).get_node()
    return bool(found.get_type_name().lower() == "softmax")
