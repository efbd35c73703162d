"""What TensorRT's parser refuses in single nodes, read off the graph. Build side: imports onnx on use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgekit.frameworks import onnx_graph
from edgekit.plugin import Model
from edgekit_tensorrt import facts, graph
from edgekit_tensorrt.facts import Version

STANDARD = ("", "ai.onnx")
INT8, FLOAT8, INT4 = 3, 17, 22  # onnx.TensorProto.DataType
SIGNED = (INT8, FLOAT8, INT4)
INSTEAD = {
    "DynamicQuantizeLinear": "quantize statically: recipe int8-fp16",
    "MatMulInteger": "quantize statically: recipe int8-fp16",
    "ConvInteger": "quantize statically: recipe int8-fp16",
    "QLinearConv": "write it as Q/DQ pairs around a Conv",
    "QLinearMatMul": "write it as Q/DQ pairs around a MatMul",
}


def problems(proto: Any, versions: Sequence[Version]) -> Iterator[str]:
    """Name each node that the parser of one of these TensorRTs refuses, with what to do where that is known."""
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
        lacking = [version for version in versions if not facts.takes(node.op_type, version)]
        if lacking:
            told = " and ".join(f"{major}.{minor}" for major, minor in lacking)
            since = facts.ADDED.get(node.op_type)
            more = f" (it came with {since[0]}.{since[1]})" if since else ""
            hint = f": {INSTEAD[node.op_type]}" if node.op_type in INSTEAD else ""
            yield f"TensorRT {told} has no operator {graph.describe(node)}{more}{hint}"
        elif node.op_type in _CHECKS:
            yield from (f"{graph.describe(node)}: {what}" for what in _CHECKS[node.op_type](node, constants))


def dla_problems(proto: Any, model: Model, *, fallback: bool) -> Iterator[str]:
    """Return what a deep learning accelerator does not take: free sizes, and without `fallback` other operators."""
    for spec in model.part.inputs:
        if not spec.is_static:
            yield f"the deep learning accelerator takes fixed sizes only, '{spec}' has free ones"
            continue
        sizes = [int(size) for size in spec.shape]
        if sizes and (sizes[0] > facts.DLA_MOST_BATCH or max(sizes[1:], default=0) > facts.DLA_MOST_SIZE):
            yield (
                f"the deep learning accelerator takes batches up to {facts.DLA_MOST_BATCH} and sizes up to "
                f"{facts.DLA_MOST_SIZE}, '{spec}' is larger"
            )
    if fallback:
        return
    for node in onnx_graph.nodes(proto):
        if node.op_type not in facts.ON_DLA:
            yield (
                f"the deep learning accelerator has no {graph.describe(node)}, and it may not run on the GPU: set "
                "gpu_fallback = true"
            )


Constants = Mapping[str, Any]


def _said(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def _quantizer(node: Any, constants: Constants) -> Iterator[str]:
    from onnx import numpy_helper

    zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    stored = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
    kind = zero.data_type if zero is not None else stored.data_type if stored is not None else None
    if kind is not None and kind not in SIGNED:
        from onnx import TensorProto

        name = TensorProto.DataType.Name(kind).lower()
        more = ": leave biases in float" if name == "int32" else ": quantize symmetrically to int8"
        yield f"it is in {name}, TensorRT takes int8, fp8 and int4{more}"
    elif zero is not None and numpy_helper.to_array(zero).astype("float32").any():
        yield "its zero point is not 0: quantize symmetrically"
    if len(node.input) > 1 and node.input[1] not in constants:
        yield "its scale is computed, TensorRT needs a constant"


def _pool(node: Any, constants: Constants) -> Iterator[str]:
    if any(int(step) != 1 for step in _said(node, "dilations", ())):
        yield "its dilations are not 1"
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        yield "its second output, the indices, is not given by TensorRT"


def _norm(node: Any, constants: Constants) -> Iterator[str]:
    if any(node.output[1:]):
        yield "TensorRT gives its first output only"


def _recurrent(node: Any, constants: Constants) -> Iterator[str]:
    for name in ("layout", "input_forget"):
        if _said(node, name, 0):
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
    for name, default, known in modes:
        if (found := _said(node, name, default)) not in known:
            yield f"its {name} is '{found.decode()}', TensorRT takes {', '.join(one.decode() for one in known)}"
    if _said(node, "antialias", 0):
        yield "TensorRT has no antialiasing"


def _top(node: Any, constants: Constants) -> Iterator[str]:
    from onnx import numpy_helper

    count = constants.get(node.input[1]) if len(node.input) > 1 else None
    if count is not None and int(numpy_helper.to_array(count).reshape(-1)[0]) >= facts.TOP_K:
        yield f"its K is not less than {facts.TOP_K}"
    if not _said(node, "sorted", 1):
        yield "its output is not sorted, TensorRT sorts"


def _scatter(node: Any, constants: Constants) -> Iterator[str]:
    if _said(node, "reduction", b"none") != b"none":
        yield "TensorRT has no reduction for it"


_CHECKS: dict[str, Callable[[Any, Constants], Iterator[str]]] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantizer),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    "LayerNormalization": _norm,
    "LSTM": _recurrent,
    "Resize": _resize,
    "TopK": _top,
    "ScatterND": _scatter,
}
"""The restrictions of onnx-tensorrt's docs/operators.md that a graph shows by itself."""
