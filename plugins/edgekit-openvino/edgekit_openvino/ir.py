"""An OpenVINO model on the build side: repeatable names, its layers with weights, and whether it is a transformer."""

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
"""Operators between a constant weight and the product that reads it."""

_BIASED = "/WithoutBiases"
"""What OpenVINO adds to an ONNX node's name where the node becomes a product and an addition."""

_NUMBERED = re.compile(r"(\w+)_\d+")


def read(path: Path) -> Any:
    """Return the model in an IR's two files. Raises BuildError when they cannot be read as one."""
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


def make_names_repeatable(model: Any, proto: Any) -> None:
    """Name nodes as in ONNX, and those without a name there by their position: conversion numbers all nodes of a
    process, and names the producer of an output after the output.
    """
    nodes = list(onnx_graph.nodes(proto))
    named = {name for node in nodes for name in (node.name, *node.input, *node.output)}
    producers = {output: node.name for node in nodes for output in node.output}
    outputs = {value.name: producers.get(value.name) for value in proto.graph.output}
    for position, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        own = layer_name(node)
        numbered = _NUMBERED.fullmatch(name)
        if node.get_type_name() not in ("Parameter", "Result") and outputs.get(own):
            node.set_friendly_name(f"{outputs[own]}{name[len(own) :]}")
        elif numbered and name not in named:
            node.set_friendly_name(f"{numbered[1]}.{position}")


def layers(model: Any) -> dict[str, Any]:
    """Return the products with constant weights, in graph order, by the names of their nodes in ONNX."""
    return {
        layer_name(node): node
        for node in model.get_ordered_ops()
        if node.get_type_name() in PRODUCTS and _constant_behind(node, 1) is not None
    }


def layer_name(node: Any) -> str:
    """Return the name that a node has in ONNX."""
    return str(node.get_friendly_name().removesuffix(_BIASED))


def is_transformer(model: Any) -> bool:
    """Return whether the model has attention, and at least as many matrix products with weights as convolutions."""
    if not any(_is_attention(node) for node in model.get_ops()):
        return False
    kinds = [node.get_type_name() for node in layers(model).values()]
    return 2 * kinds.count("MatMul") >= len(kinds)


def wide_weight(model: Any) -> str | None:
    """Return the name of an int8 weight of a product that uses its eighth bit where activations are quantized, or None.

    `edgekit.frameworks.saturation` explains why it matters; `graph.wide_weight` does the same for ONNX.
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
    source = node.input_value(index).get_node()
    while source.get_type_name() in CARRIES or source.get_type_name() == "FakeQuantize":
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" else None


def _is_attention(node: Any) -> bool:
    """Return whether a node multiplies values by a softmax; later releases convert that to one operator."""
    kind = node.get_type_name()
    if kind != "MatMul":
        return bool(kind == "ScaledDotProductAttention")
    if _constant_behind(node, 1) is not None:
        return False
    source = node.input_value(0).get_node()
    while source.get_type_name() in CARRIES and source.get_type_name() != "Multiply":
        source = source.input_value(0).get_node()
    return bool(source.get_type_name().lower() == "softmax")
