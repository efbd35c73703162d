"""Pack weights into few bits, and add the operators to the graph that unpack them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.onnx_external import EXTERNAL, LEAST_BYTES, DataFile, array_of
from edgekit.passes.quantize.qdq import FLOAT
from edgekit.plugin import probe_host

if TYPE_CHECKING:
    import numpy as np

SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
"""The first scales that are tried, as parts of the one that clips nothing."""

REFITS = 2
"""How often the best of them is replaced by the scale that fits its levels best."""

CHUNK_ELEMENTS = 131_072
"""So many elements are packed at a time: with what they are compared with they stay in a core's cache."""

PIECE_BYTES = 8_000_000


class Weights:
    """Read and add the constants of a graph: in its message, or in a file of `folder`, from which `data` is written."""

    def __init__(self, folder: Path, data: DataFile | None = None) -> None:
        self._folder, self._data = folder, data
        self._added = set[str]()

    def read(self, tensor: Any) -> np.ndarray:
        return array_of(tensor, self._folder)

    def shape(self, graph: Any, name: str) -> tuple[int, ...]:
        return next(tuple(tensor.dims) for tensor in graph.initializer if tensor.name == name)

    def add(self, graph: Any, name: str, kind: str, shape: Sequence[int], stored: np.ndarray) -> None:
        """Add a constant of ONNX's element type `kind` to the graph, of the bytes in `stored`."""
        from onnx import TensorProto

        tensor = graph.initializer.add()
        tensor.name, tensor.data_type = name, getattr(TensorProto, kind)
        self._added.add(name)
        tensor.dims.extend(shape)
        if self._data is None or stored.nbytes < LEAST_BYTES:
            tensor.raw_data = stored.tobytes()
        else:
            self._data.add(tensor, [stored])

    def copy_rest(self, graph: Any) -> None:
        """Copy the weights that are still in the file of the source into the new one."""
        import numpy as np

        for tensor in graph.initializer:
            if self._data is None or tensor.data_location != EXTERNAL or tensor.name in self._added:
                continue
            flat = self.read(tensor).reshape(-1).view(np.uint8)
            starts = range(0, flat.size, PIECE_BYTES)
            self._data.add(tensor, (flat[start : start + PIECE_BYTES] for start in starts))


def split_gemm(graph: Any, names: Collection[str], weights: Weights) -> None:
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
            transposed = np.ascontiguousarray(weights.read(weight).T)
            weight.CopyFrom(numpy_helper.from_array(transposed, weight.name))
        bias, output = list(node.input[2:]), node.output[0]
        del node.attribute[:], node.input[2:]
        node.op_type = "MatMul"
        if bias and bias[0]:
            node.output[0] = f"{output}_without_bias"
            add = helper.make_node("Add", [node.output[0], bias[0]], [output], f"{node.name}_bias")
            graph.node.insert(list(graph.node).index(node) + 1, add)


def pack(graph: Any, node: Any, bits: int, block: int | None, symmetric: bool, scale: str, weights: Weights) -> str:
    """Replace the weight of `node`, [rows, columns], by packed levels and their DequantizeLinear; return its new form.

    `block` rows of a column share a scale; None is all of them. The form is a phrase for notes.
    """
    from onnx import helper

    name = node.input[1]
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    levels, scales, zeros = quantize_weight(weights.read(tensor), bits, block, symmetric, search=scale == "mse")
    if sum(name in other.input for other in graph.node) == 1:
        tensor.ClearField("raw_data")  # its memory; without a reader, the constant itself is removed at the end
    kind = {(8, True): "INT8", (8, False): "UINT8", (4, True): "INT4", (4, False): "UINT4"}[bits, symmetric]
    for constant, values in ((f"{name}_packed", levels), (f"{name}_zero", zeros)):
        if values is not None:
            weights.add(graph, constant, kind, values.shape, _raw(values, bits))
    weights.add(graph, f"{name}_scale", "FLOAT", scales.shape, scales)
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

    With `search`, of several scales for a block the one is used that changes the weights least (sum of squares): those
    that clip a part of the range, as in GPTQ's quantizer (Frantar et al. 2022, arXiv 2210.17323, whose code tries
    shrunken ranges), and of the best the one of least squares for its levels. Chunks are packed on every core.
    """
    import numpy as np

    rows, columns = weight.shape
    height = block or rows
    kind = np.int8 if symmetric else np.uint8
    levels = np.empty((rows, columns), kind)
    scales = np.empty((rows // height, columns), np.float32)
    zeros = None if symmetric else np.empty(scales.shape, kind)
    width = max(1, min(columns, CHUNK_ELEMENTS // height))
    count = max(1, CHUNK_ELEMENTS // (height * width))

    def pack_chunk(place: tuple[int, int]) -> None:
        first, column = place
        across, down = slice(column, column + width), slice(first, first + count)
        part = slice(first * height, (first + count) * height)
        blocks = np.asarray(weight[part, across], np.float32)
        size = blocks.shape[1]
        chunk = _quantize(blocks.reshape(-1, height, size), bits, symmetric, search=search)
        levels[part, across] = chunk[0].reshape(-1, size)
        scales[down, across] = chunk[1]
        if zeros is not None:
            zeros[down, across] = chunk[2]

    places = itertools.product(range(0, len(scales), count), range(0, columns, width))
    with ThreadPoolExecutor(probe_host().cores) as pool:
        list(pool.map(pack_chunk, places))
    if block is None:
        scales, zeros = scales[0], None if zeros is None else zeros[0]
    return levels, scales, zeros


def _quantize(
    blocks: np.ndarray, bits: int, symmetric: bool, *, search: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the levels of blocks, f32 [blocks, elements, columns], their scales and zero points [blocks, columns]."""
    import numpy as np

    low, high = blocks.min(1), blocks.max(1)
    if symmetric:
        high = np.maximum(high, -low)
        # In 8 bits -128 gains nothing, and kernels that negate a level do not take it; in 4 bits -8 is one in sixteen.
        least, most = -127 if bits == 8 else -8, 2 ** (bits - 1) - 1
        whole, zero = high / np.float32(most), np.zeros_like(high)
    else:
        low, high, least, most = np.minimum(low, 0), np.maximum(high, 0), 0, 2**bits - 1
        whole = (high - low) / np.float32(most)
        zero = np.rint(-low / np.where(whole > 0, whole, 1))
    whole = np.where(whole > 0, whole, np.float32(1)).astype(np.float32)
    scratch = np.empty_like(blocks)

    def rounded(scale: np.ndarray) -> np.ndarray:
        """Write the levels for these scales, less the zero points, into `scratch`, and return it."""
        np.multiply(blocks, (1 / scale)[:, None], out=scratch)
        np.rint(scratch, out=scratch)
        if symmetric:  # clipping to numbers is several times as fast as clipping to arrays
            np.clip(scratch, least, most, out=scratch)
        else:
            np.add(scratch, zero[:, None], out=scratch)
            np.clip(scratch, least, most, out=scratch)
            np.subtract(scratch, zero[:, None], out=scratch)
        return scratch

    best = whole
    if search:
        least_error = np.full(whole.shape, np.inf, np.float32)
        fitted = whole
        for shrink in (*SHRINKS, *(None,) * REFITS):
            scale = fitted if shrink is None else whole * np.float32(shrink)
            values = rounded(scale)
            products, squares = np.einsum("bij,bij->bj", values, blocks), np.einsum("bij,bij->bj", values, values)
            # The error is that of blocks - scale * levels, whose own square is the same for every scale.
            error = scale * (scale * squares - 2 * products)
            better = error < least_error
            least_error, best = np.where(better, error, least_error), np.where(better, scale, best)
            refit = np.where((squares > 0) & (products > 0), products / np.where(squares > 0, squares, 1), scale)
            fitted = np.where(better, refit, fitted).astype(np.float32)
    return rounded(best) + zero[:, None], best, zero


def _raw(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the bytes that ONNX stores: two 4-bit values in a byte, the first in the low half."""
    import numpy as np

    if bits == 8:
        return values.reshape(-1).view(np.uint8)
    halves = values.reshape(-1).view(np.uint8)
    if halves.size % 2:
        halves = np.append(halves, np.zeros(1, np.uint8))
    packed: np.ndarray = halves[1::2] << 4
    packed |= halves[0::2] & 15
    return packed


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


def quantize_lookup(graph: Any, node: Any, weights: Weights) -> None:
    """Make `node` look up int8 rows, and other nodes their scales.

    A DequantizeLinear before the Gather would unpack the whole table at every inference in onnxruntime.
    """
    from onnx import TensorProto, helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    table, ids, output = node.input[0], node.input[1], node.output[0]
    if f"{table}_packed" not in constants:
        levels, scales = _by_row(weights.read(constants[table]))
        weights.add(graph, f"{table}_packed", "INT8", levels.shape, levels)
        weights.add(graph, f"{table}_scale", "FLOAT", scales.shape, scales)
    node.input[0], node.output[0] = f"{table}_packed", f"{output}_levels"
    added = [
        helper.make_node("Cast", [f"{output}_levels"], [f"{output}_cast"], f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"], f"{node.name}_scale"),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output], f"{node.name}_unpack"),
    ]
    place = list(graph.node).index(node) + 1
    for offset, new_node in enumerate(added):
        graph.node.insert(place + offset, new_node)


def _by_row(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a table in int8, and the scale of each row, [rows, 1]."""
    import numpy as np

    levels, scales = np.empty(table.shape, np.int8), np.empty((len(table), 1), np.float32)
    step = max(1, CHUNK_ELEMENTS // max(1, table.shape[1]))
    for first in range(0, len(table), step):
        rows = np.asarray(table[first : first + step], np.float32)
        scale = np.abs(rows).max(1, keepdims=True) / np.float32(127)
        scale = np.where(scale > 0, scale, np.float32(1))
        levels[first : first + step] = np.rint(rows / scale)
        scales[first : first + step] = scale
    return levels, scales
