"""Nodes that TensorRT's parser rejects, found in the graph alone. Build side: imports onnx on use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgekit.frameworks import onnx_graph
from edgekit.plugin import Model
from edgekit_tensorrt import graph, support_matrix
from edgekit_tensorrt.support_matrix import Version

STANDARD = ("", "ai.onnx")
INT8, FLOAT8, INT4 = 3, 17, 22  # onnx.TensorProto.DataType
SIGNED = (INT8, FLOAT8, INT4)
INSTEAD_USE = {
    "DynamicQuantizeLinear": "quantize statically: recipe int8-fp16",
    "MatMulInteger": "quantize statically: recipe int8-fp16",
    "ConvInteger": "quantize statically: recipe int8-fp16",
    "QLinearConv": "write it as Q/DQ pairs around a Conv",
    "QLinearMatMul": "write it as Q/DQ pairs around a MatMul",
}


def problems(proto: Any, versions: Sequence[Version]) -> Iterator[str]:
    """Yield a message for each node that the parser of one of these TensorRTs rejects, with what to do where known."""
    own = {(function.domain, function.name) for function in proto.functions}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {
        n.output[0]: a.t for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    for node in onnx_graph.nodes(proto):
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in STANDARD:
            yield f"TensorRT has no operator {graph.describe(node)}: write it in standard operators"
            continue
        too_old = [version for version in versions if not support_matrix.supports(node.op_type, version)]
        if too_old:
            numbers = " and ".join(f"{major}.{minor}" for major, minor in too_old)
            added = support_matrix.ADDED.get(node.op_type)
            since = f" (added in {added[0]}.{added[1]})" if added else ""
            instead = f": {INSTEAD_USE[node.op_type]}" if node.op_type in INSTEAD_USE else ""
            yield f"TensorRT {numbers} has no operator {graph.describe(node)}{since}{instead}"
        elif node.op_type in _CHECKS:
            yield from (f"{graph.describe(node)}: {problem}" for problem in _CHECKS[node.op_type](node, constants))


def dla_problems(proto: Any, model: Model, *, fallback: bool) -> Iterator[str]:
    """Yield what cannot run on a deep learning accelerator: free sizes and, without `fallback`, other operators."""
    for spec in model.part.inputs:
        if not spec.is_static:
            yield f"the deep learning accelerator supports fixed sizes only; '{spec}' has free ones"
            continue
        sizes = [int(size) for size in spec.shape]
        if sizes and (
            sizes[0] > support_matrix.DLA_MOST_BATCH or max(sizes[1:], default=0) > support_matrix.DLA_MOST_SIZE
        ):
            yield (
                f"the deep learning accelerator supports batches up to {support_matrix.DLA_MOST_BATCH} and sizes up to "
                f"{support_matrix.DLA_MOST_SIZE}; '{spec}' is larger"
            )
    if fallback:
        return
    for node in onnx_graph.nodes(proto):
        if node.op_type not in support_matrix.ON_DLA:
            yield (
                f"the deep learning accelerator does not support {graph.describe(node)}: set gpu_fallback = true to "
                "run it on the GPU"
            )


Constants = Mapping[str, Any]


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def _quantizer(node: Any, constants: Constants) -> Iterator[str]:
    from onnx import numpy_helper

    zero_point = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    stored = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
    typed = zero_point if zero_point is not None else stored
    if typed is not None and typed.data_type not in SIGNED:
        from onnx import TensorProto

        name = TensorProto.DataType.Name(typed.data_type).lower()
        advice = "leave biases in float" if name == "int32" else "quantize symmetrically to int8"
        yield f"its type is {name}; TensorRT supports int8, fp8 and int4: {advice}"
    elif zero_point is not None and numpy_helper.to_array(zero_point).astype("float32").any():
        yield "its zero point is not 0: quantize symmetrically"
    if len(node.input) > 1 and node.input[1] not in constants:
        yield "its scale is computed; TensorRT needs a constant"


def _pool(node: Any, constants: Constants) -> Iterator[str]:
    if any(int(step) != 1 for step in _attribute(node, "dilations", ())):
        yield "its dilations are not 1"
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        yield "TensorRT does not compute its second output, the indices"


def _norm(node: Any, constants: Constants) -> Iterator[str]:
    if any(node.output[1:]):
        yield "TensorRT computes its first output only"


def _recurrent(node: Any, constants: Constants) -> Iterator[str]:
    for name in ("layout", "input_forget"):
        if _attribute(node, name, 0):
            yield f"its {name} is not 0"


def _resize(node: Any, constants: Constants) -> Iterator[str]:
    modes = (
        ("mode", b"nearest", (b"nearest", b"linear")),
        (
            "coordinate_transformation_mode",
            b"half_pixel",
            (b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners"),
        ),
        ("keep_aspect_ratio_policy", b"stretch", (b"stretch",)),
    )
    for name, default, supported in modes:
        if (value := _attribute(node, name, default)) not in supported:
            values = ", ".join(value.decode() for value in supported)
            yield f"its {name} is '{value.decode()}'; TensorRT supports {values}"
    if _attribute(node, "antialias", 0):
        yield "TensorRT has no antialiasing"


def _top(node: Any, constants: Constants) -> Iterator[str]:
    from onnx import numpy_helper

    count = constants.get(node.input[1]) if len(node.input) > 1 else None
    if count is not None and int(numpy_helper.to_array(count).reshape(-1)[0]) >= support_matrix.TOP_K:
        yield f"its K must be less than {support_matrix.TOP_K}"
    if not _attribute(node, "sorted", 1):
        yield "its output is not sorted; TensorRT sorts it"


def _scatter(node: Any, constants: Constants) -> Iterator[str]:
    if _attribute(node, "reduction", b"none") != b"none":
        yield "TensorRT does not support its reduction"


_CHECKS: dict[str, Callable[[Any, Constants], Iterator[str]]] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantizer),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    "LayerNormalization": _norm,
    "LSTM": _recurrent,
    "Resize": _resize,
    "TopK": _top,
    "ScatterND": _scatter,
}
"""The restrictions in onnx-tensorrt's docs/operators.md that can be checked in the graph."""
