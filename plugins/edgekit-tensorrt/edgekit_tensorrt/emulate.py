"""Make a graph's rounding visible on processors that compute f16 and bf16 in f32. Build side: imports onnx on use.

ONNX Runtime's CPU kernels run chains of f16 operators in f32: a product that overflows f16 comes out finite, and the
gate would pass what the device turns into infinities (seen with 1.32). So each operator that gives f16 or bf16 is
computed in f32 here and its results are rounded to the type, once each, as tensor cores do that add in f32. Values that
the device fuses away are rounded here too: what passes here is rounded at least as often as there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.frameworks import onnx_graph

FLOAT, FLOAT16, BFLOAT16 = 1, 10, 16  # onnx.TensorProto.DataType
ROUNDED = (FLOAT16, BFLOAT16)


def emulated(path: Path) -> bytes | None:
    """Return the graph at `path` with f32 arithmetic and explicit rounding; None where every type computes as it is.

    Raises UnsupportedError for a graph that keeps f16 inside its branches and loops.
    """
    import onnx

    proto = onnx.load(str(path))
    if not _types(proto) & set(ROUNDED):
        return None
    if any(map(onnx_graph.bodies, proto.graph.node)):
        raise UnsupportedError(
            "the rounding of this graph cannot be checked here: it has branches or loops beside f16.",
            hint="take the recipe fp32, or export the graph without If, Loop and Scan",
        )
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    outside = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    _round(proto.graph, kinds, outside)
    try:
        return bytes(proto.SerializeToString())
    except Exception as error:  # protobuf's own, of a message above 2 GiB
        raise UnsupportedError("the rounding of a graph above 2 GB cannot be checked here.") from error


def _types(proto: Any) -> set[int]:
    """List the element types that initializers, casts and the graph's ends have."""
    found = {tensor.data_type for tensor in proto.graph.initializer}
    found |= {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    for node in onnx_graph.nodes(proto):
        found |= {entry.i for entry in node.attribute if entry.name in ("to", "output_dtype", "dtype")}
    return found


def _round(held: Any, kinds: dict[str, int], outside: set[str]) -> None:
    """Rewrite every f16 and bf16 tensor but the graph's ends into f32, rounded where it is made."""
    import numpy as np
    from onnx import helper, numpy_helper

    low = {name: kind for name, kind in kinds.items() if kind in ROUNDED}
    for tensor in held.initializer:
        if tensor.data_type in ROUNDED:
            low[tensor.name] = tensor.data_type
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    constants = {tensor.name for tensor in held.initializer}
    fed = [value.name for value in held.input if value.name in low and value.name not in constants]
    wide = {name: f"{name}_f32" for name in fed}
    nodes = [helper.make_node("Cast", [name], [wide[name]], to=FLOAT) for name in fed]
    for node in held.node:
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name)
        _widen(node)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name not in low:
                continue
            if name in outside:  # the graph gives it in its own type, and inner readers take the f32 form
                wide[name] = f"{name}_f32"
                node.output[index] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [name], to=low[name]))
                nodes.append(helper.make_node("Cast", [name], [wide[name]], to=FLOAT))
            else:
                node.output[index] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_rounded"], to=low[name]))
                nodes.append(helper.make_node("Cast", [f"{name}_rounded"], [name], to=FLOAT))
    del held.node[:]
    held.node.extend(nodes)
    del held.value_info[:]


def _widen(node: Any) -> None:
    """Let an operator that says its type say f32: the rounding follows it."""
    import numpy as np
    from onnx import numpy_helper

    for entry in node.attribute:
        if entry.name in ("to", "output_dtype", "dtype") and entry.i in ROUNDED:
            entry.i = FLOAT
        elif entry.name == "value" and entry.t.data_type in ROUNDED:  # Constant, ConstantOfShape
            entry.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry.t).astype(np.float32)))
