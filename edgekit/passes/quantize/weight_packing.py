"""Pack weights into few bits, and add the operators to the graph that unpack them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from edgekit.passes.quantize.qdq import FLOAT

if TYPE_CHECKING:
    import numpy as np

SHRINKS = 40
"""Number of scales that are tried, from the one that clips nothing down to half of it."""


def split_gemm(graph: Any, names: Collection[str]) -> None:
    """Replace each Gemm by a MatMul of the same name and an Add: onnxruntime cannot use transposed packed weights.

    A Gemm that scales its terms, or transposes its data, stays as it is.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.name in names and node.op_type == "Gemm"]:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
            continue
        if attributes.get("transB", 0):
            weight = constants[node.input[1]]
            transposed = np.ascontiguousarray(numpy_helper.to_array(weight).T)
            weight.CopyFrom(numpy_helper.from_array(transposed, weight.name))
        bias, output = list(node.input[2:]), node.output[0]
        del node.attribute[:], node.input[2:]
        node.op_type = "MatMul"
        if bias and bias[0]:
            node.output[0] = f"{output}_without_bias"
            add = helper.make_node("Add", [node.output[0], bias[0]], [output], f"{node.name}_bias")
            graph.node.insert(list(graph.node).index(node) + 1, add)


def pack(graph: Any, node: Any, bits: int, block: int | None, symmetric: bool, scale: str) -> str:
    """Replace the weight of `node`, [rows, columns], by packed levels and their DequantizeLinear; return its new form.

    `block` rows of a column share a scale; None is all of them. The form is a phrase for notes.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    name = node.input[1]
    weight = numpy_helper.to_array(constants[name])
    levels, scales, zeros = quantize_weight(weight, bits, block, symmetric, search=scale == "mse")
    kind = {(8, True): "INT8", (8, False): "UINT8", (4, True): "INT4", (4, False): "UINT4"}[bits, symmetric]
    for constant, values in ((f"{name}_packed", levels), (f"{name}_zero", zeros)):
        if values is None:
            continue
        graph.initializer.append(
            helper.make_tensor(constant, getattr(TensorProto, kind), values.shape, _raw(values, bits), raw=True)
        )
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
    inputs = [f"{name}_packed", f"{name}_scale", *([f"{name}_zero"] if zeros is not None else [])]
    attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
    unpack = helper.make_node("DequantizeLinear", inputs, [f"{name}_unpacked"], f"{name}_unpack", **attributes)
    node.input[1] = unpack.output[0]
    graph.node.insert(list(graph.node).index(node), unpack)
    return f"in {kind.lower()}, a scale for each {f'{block} elements' if block else 'channel'}"


def quantize_weight(
    weight: np.ndarray, bits: int, block: int | None, symmetric: bool, *, search: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return integer levels like `weight`, scales and zero points, [rows / block, columns] or [columns].

    With `search`, of several scales for a block the one is used that changes the weights least (sum of squares), as in
    GPTQ's quantizer (Frantar et al. 2022, arXiv 2210.17323, whose code tries shrunken ranges).
    """
    import numpy as np

    rows, columns = weight.shape
    blocks = weight.reshape(-1, block or rows, columns).astype(np.float32)
    low, high = blocks.min(1, keepdims=True), blocks.max(1, keepdims=True)
    if symmetric:
        high = np.maximum(high, -low)
        low, least, most = -high, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    else:
        low, high, least, most = np.minimum(low, 0), np.maximum(high, 0), 0, 2**bits - 1
    # In 8 bits -128 gains nothing, and kernels that negate a level do not take it; in 4 bits -8 is a sixteenth of all.
    least = -127 if symmetric and bits == 8 else least
    best: Any = None
    for step in range(SHRINKS if search else 1):
        shrink = 1 - 0.5 * step / SHRINKS
        scale = (high * shrink / most if symmetric else (high - low) * shrink / most).astype(np.float32)
        scale = np.where(scale > 0, scale, np.float32(1))
        zero = np.zeros_like(scale) if symmetric else np.clip(np.round(-low * shrink / scale), least, most)
        levels = np.clip(np.round(blocks / scale) + zero, least, most)
        error = np.square((levels - zero) * scale - blocks).sum(1, keepdims=True)
        if best is None:
            best = [error, scale, zero, levels]
            continue
        better = error < best[0]
        best = [np.where(better, new, old) for new, old in zip((error, scale, zero, levels), best, strict=True)]
    _, scale, zero, levels = best
    kind = np.int8 if symmetric else np.uint8
    shape = (-1, columns) if block else (columns,)
    packed = levels.astype(kind).reshape(rows, columns)
    return packed, scale.reshape(shape), None if symmetric else zero.astype(kind).reshape(shape)


def _raw(values: np.ndarray, bits: int) -> bytes:
    """Return the bytes that ONNX stores: two 4-bit values in a byte, the first in the low half."""
    import numpy as np

    if bits == 8:
        return values.tobytes()
    halves = values.reshape(-1).astype(np.uint8) & 15
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    return bytes((halves[0::2] | (halves[1::2] << 4)).tobytes())


def row_lookups(graph: Any, least_elements: int, exclude: Collection[str]) -> list[Any]:
    """Return the Gather nodes that look up rows of a float table that only look-ups read."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    others = {name for node in graph.node if node.op_type != "Gather" for name in node.input}
    nodes = []
    for node in graph.node:
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != FLOAT or len(table.dims) != 2 or node.name in exclude:
            continue
        by_row = not any(entry.name == "axis" and entry.i for entry in node.attribute)
        fixed = node.input[1] in constants
        if by_row and not fixed and table.name not in others and table.dims[0] * table.dims[1] >= least_elements:
            nodes.append(node)
    return nodes


def quantize_lookup(graph: Any, node: Any) -> None:
    """Make `node` look up int8 rows, and other nodes their scales.

    A DequantizeLinear before the Gather would unpack the whole table at every inference in onnxruntime.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    table, ids, output = node.input[0], node.input[1], node.output[0]
    if f"{table}_packed" not in constants:
        rows = numpy_helper.to_array(constants[table])
        levels, scales, _ = quantize_weight(np.ascontiguousarray(rows.T), 8, None, True, search=False)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(levels.T), f"{table}_packed"))
        graph.initializer.append(numpy_helper.from_array(scales[:, None], f"{table}_scale"))
    node.input[0], node.output[0] = f"{table}_packed", f"{output}_levels"
    added = [
        helper.make_node("Cast", [f"{output}_levels"], [f"{output}_cast"], f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"], f"{node.name}_scale"),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output], f"{node.name}_unpack"),
    ]
    place = list(graph.node).index(node) + 1
    for offset, new_node in enumerate(added):
        graph.node.insert(place + offset, new_node)
