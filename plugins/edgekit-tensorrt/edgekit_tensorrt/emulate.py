"""Emulate the rounding of f16 and bf16 on processors that compute them in f32. Build side: imports onnx on use.

ONNX Runtime's CPU kernels run chains of f16 operators in f32: a product that overflows f16 stays finite, and the gate
would pass a model that gives infinities on the device (seen with 1.32). So each operator with an f16 or bf16 output is
computed in f32 and its results are rounded to the type, once each, as by tensor cores, which add in f32. Values that
the device fuses away are rounded too: the emulated graph rounds at least as often as the device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.frameworks import onnx_graph

FLOAT, FLOAT16, BFLOAT16 = 1, 10, 16  # onnx.TensorProto.DataType
ROUNDED = (FLOAT16, BFLOAT16)


def with_explicit_rounding(path: Path) -> bytes | None:
    """Return the graph at `path` with f32 arithmetic and explicit rounding; None where it has no f16 and no bf16.

    Raises UnsupportedError for a graph with branches or loops, in which f16 is not rounded.
    """
    import onnx

    proto = onnx.load(str(path))
    if not _types(proto) & set(ROUNDED):
        return None
    if any(map(onnx_graph.bodies, proto.graph.node)):
        raise UnsupportedError(
            "the rounding of this graph cannot be checked here: it has branches or loops and f16.",
            hint="use the recipe fp32, or export the graph without If, Loop and Scan",
        )
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    interface = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    _round(proto.graph, types, interface)
    try:
        return bytes(proto.SerializeToString())
    except Exception as error:  # protobuf's, for a message above 2 GiB
        raise UnsupportedError("the rounding of a graph above 2 GB cannot be checked here.") from error


def _types(proto: Any) -> set[int]:
    """Return the element types of initializers, casts and the graph's inputs and outputs."""
    types = {tensor.data_type for tensor in proto.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    for node in onnx_graph.nodes(proto):
        types |= {entry.i for entry in node.attribute if entry.name in ("to", "output_dtype", "dtype")}
    return types


def _round(graph: Any, types: dict[str, int], interface: set[str]) -> None:
    """Rewrite every f16 and bf16 tensor but the graph's inputs and outputs to f32, rounded where it is computed."""
    import numpy as np
    from onnx import helper, numpy_helper

    narrow = {name: dtype for name, dtype in types.items() if dtype in ROUNDED}
    for tensor in graph.initializer:
        if tensor.data_type in ROUNDED:
            narrow[tensor.name] = tensor.data_type
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name in narrow and value.name not in constants]
    wide = {name: f"{name}_f32" for name in inputs}
    nodes = [helper.make_node("Cast", [name], [wide[name]], to=FLOAT) for name in inputs]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name)
        _widen(node)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name not in narrow:
                continue
            if name in interface:  # an output keeps its type, and nodes that read it take the f32 form
                wide[name] = f"{name}_f32"
                node.output[index] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [name], to=narrow[name]))
                nodes.append(helper.make_node("Cast", [name], [wide[name]], to=FLOAT))
            else:
                node.output[index] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_rounded"], to=narrow[name]))
                nodes.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _widen(node: Any) -> None:
    """Change the type in an operator's attributes to f32: its output is rounded afterwards."""
    import numpy as np
    from onnx import numpy_helper

    for entry in node.attribute:
        if entry.name in ("to", "output_dtype", "dtype") and entry.i in ROUNDED:
            entry.i = FLOAT
        elif entry.name == "value" and entry.t.data_type in ROUNDED:  # Constant, ConstantOfShape
            entry.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry.t).astype(np.float32)))
