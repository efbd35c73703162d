"""Rewrite a graph from f32 to f16, keeping in f32 what f16 cannot carry.

Every tensor has an f32 form under its own name and an f16 form under another. A node reads and writes one of the two,
and a form that is read but not written is made by one shared Cast. So inputs, outputs and inner graphs keep their names
and types, and no value goes through f16 on its way from one f32 operator to the next. The vendors' converters
(onnxconverter_common.float16, onnxruntime.transformers.float16) send it through f16, put the casts of inner graphs
into the outer one, clip constants to the range of f16, and miss every tensor whose type was not inferred. Here the
operators' schemas decide what may be f16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FLOAT, FLOAT16 = 1, 10  # onnx.TensorProto

GREATEST = 65504.0
"""The greatest finite f16."""

LEAST_NORMAL = 2.0**-14
"""The least f16 with full precision; an epsilon below it loses digits or becomes 0."""

LEAST = 2.0**-24
"""The least f16 above 0."""

# fmt: off
KEPT = frozenset((
    "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization",
    "LpNormalization", "MeanVarianceNormalization", "LRN", "Softmax", "LogSoftmax", "Softplus", "Pow", "Exp", "Log",
    "Sqrt", "Reciprocal", "Range", "CumSum", "TopK", "NonMaxSuppression", "RoiAlign", "GlobalAveragePool",
    "GlobalLpPool", "Sin", "Cos", "Tan", "DynamicQuantizeLinear",
))
"""Operators that lose digits or overflow in f16, beside every Reduce*. TensorRT#2564 shows LayerNorm overflowing."""

QUANTIZERS = frozenset(("QuantizeLinear", "DequantizeLinear"))
"""They have the type of their scale: in f16 what is dequantized feeds an f16 operator with no Cast between, which would
keep a compiler from fusing the two. The standard has f16 scales from opset 19 on."""

LEAST_SCALE = 2.0**-18
"""A smaller scale keeps fewer than 7 bits in f16, less than the values that it scales."""

GREATEST_SCALE = GREATEST / 448
"""What a greater scale dequantizes may lie beyond f16; 448 is the greatest level, of f8."""

ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"))

WEIGHTED = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "LSTM", "GRU", "RNN", "Einsum"))
"""Operators whose constants are weights: a small value among them does no harm."""

MOVES = frozenset((
    "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Expand", "Identity", "Concat", "Split", "Flatten",
    "Tile", "Gather", "GatherElements", "GatherND", "Where", "Pad", "Dropout",
))
"""Operators that only move values: they have the type of what they move."""
# fmt: on


@dataclass(frozen=True)
class Conversion:
    """The numbers of operators in f16, of operators kept in f32, and of casts that were added."""

    half: int
    kept: int
    casts: int
    notes: tuple[str, ...]


def to_half(proto: Any, keep: Collection[str] = ()) -> Conversion:
    """Rewrite `proto` in place; its types must be inferred and its constants be initializers.

    `keep` names nodes that stay in f32.
    """
    graph = proto.graph
    precisions = _NodePrecisions(proto, keep)
    suffix = _unused_suffix(graph)
    halved = [node for node in graph.node if precisions.is_half(node)]
    half_ids = {id(node) for node in halved}
    read_half: set[str] = set()
    read_float: set[str] = {value.name for value in graph.output}
    written_half: set[str] = set()
    for node in graph.node:
        read_float.update(_captured(node))
        for index, name in enumerate(node.input):
            if name in precisions.floats:
                if id(node) in half_ids and precisions.takes_half(node, index):
                    read_half.add(name)
                    node.input[index] = name + suffix
                else:
                    read_float.add(name)
        if id(node) in half_ids:
            for index, name in enumerate(node.output):
                if name in precisions.floats:
                    written_half.add(name)
                    node.output[index] = name + suffix
            _retype_cast(node)
    notes = _convert_constants(graph, read_half, read_float, suffix)
    if precisions.beyond:
        notes.append(f"{precisions.beyond} operators stay in f32 because each has a constant beyond the range of f16")
    casts = _insert_casts(graph, precisions, read_half, read_float, written_half, suffix)
    del graph.value_info[:]
    return Conversion(len(halved), len(graph.node) - casts - len(halved), casts, tuple(notes))


class _NodePrecisions:
    """Decide for each node of a graph, in order, whether it runs in f16."""

    def __init__(self, proto: Any, keep: Collection[str]) -> None:
        from edgekit.frameworks.onnx_graph import opset

        graph = proto.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        values = [*graph.value_info, *graph.input, *graph.output]
        self.floats = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
        self.floats |= {name for name, tensor in self.constants.items() if tensor.data_type == FLOAT}
        self._opset = opset(proto)
        self._keep = frozenset(keep)
        self._readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._kept_values: set[str] = set()
        self.beyond = 0
        self._half = {id(node) for node in graph.node if self._decide(node)}

    def is_half(self, node: Any) -> bool:
        return id(node) in self._half

    def takes_half(self, node: Any, index: int) -> bool:
        """Return whether the schema lets this input be f16; the scales of Resize are f32 always."""
        return _allows_half(self._schema(node).inputs, index)

    def _schema(self, node: Any) -> Any:
        import onnx

        return onnx.defs.get_schema(node.op_type, self._opset, node.domain)

    def _decide(self, node: Any) -> bool:
        half = self._fits(node) and not self._should_stay(node)
        if not half:
            self._kept_values.update(node.output)
        return half

    def _fits(self, node: Any) -> bool:
        """Return whether `node` could run in f16 at all."""
        import onnx

        from edgekit.frameworks.onnx_graph import bodies

        inputs = [index for index, name in enumerate(node.input) if name in self.floats]
        outputs = [index for index, name in enumerate(node.output) if name in self.floats]
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, self._opset, node.domain):
            return False
        # Operators that make floats of other types (Cast, ConstantOfShape, DequantizeLinear) and inner graphs stay.
        if not inputs or bodies(node):
            return False
        schema = self._schema(node)
        return _allows_half(schema.inputs, inputs[0]) and all(_allows_half(schema.outputs, index) for index in outputs)

    def _should_stay(self, node: Any) -> bool:
        """Return whether `node` should run in f32 though it could run in f16."""
        if _is_kept_type(node) or node.name in self._keep:
            return True
        data = [name for name in node.input if name in self.floats]
        if node.op_type in QUANTIZERS:
            return self._scale_leaves_half(node.input[1])
        if self._has_unfit_constant(data, small=node.op_type not in WEIGHTED):
            return True
        if node.op_type in MOVES:
            # Values must not pass through f16 on their way between f32 operators; a table of constants is halved.
            moving = [name for name in data if name not in self.constants]
            return bool(moving) and all(name in self._kept_values for name in moving)
        if node.op_type not in ARITHMETIC:
            return False
        if node.op_type == "Div" and data[-1] in self._kept_values:
            return True  # the division of a norm
        # Squares about to be summed, a residual about to be normalized, scores with their mask before softmax.
        return any(_is_kept_type(reader) for name in node.output for reader in self._readers.get(name, []))

    def _scale_leaves_half(self, name: str) -> bool:
        import numpy as np
        from onnx import numpy_helper

        if name not in self.constants:
            return True  # the range of a computed scale is not known
        scale = np.abs(numpy_helper.to_array(self.constants[name]))
        return bool(((scale < LEAST_SCALE) | (scale > GREATEST_SCALE)).any())

    def _has_unfit_constant(self, names: Iterable[str], *, small: bool) -> bool:
        """Return whether a constant is beyond f16, as a mask's fill, or `small` enough to vanish, as an epsilon."""
        import numpy as np
        from onnx import numpy_helper

        for name in names:
            if name not in self.constants:
                continue
            values = np.abs(numpy_helper.to_array(self.constants[name]))
            if values.size and values.max() > GREATEST:
                self.beyond += 1
                return True
            if small and values.size == 1 and 0 < values.max() < LEAST_NORMAL:
                return True
        return False


def _is_kept_type(node: Any) -> bool:
    return node.op_type in KEPT or node.op_type.startswith("Reduce")


def _allows_half(formals: Sequence[Any], index: int) -> bool:
    """Return whether the schema's input or output `index` (the last may repeat) takes f16."""
    return "tensor(float16)" in formals[min(index, len(formals) - 1)].types


def _unused_suffix(graph: Any) -> str:
    """Return a suffix that no name of the graph has."""
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    suffix = "_f16"
    while any(name.endswith(suffix) for name in names):
        suffix += "_"
    return suffix


def _retype_cast(node: Any) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
            attribute.i = FLOAT16


def _captured(node: Any) -> set[str]:
    """Return the names that the inner graphs of `node` may read from outside; inner graphs stay in f32."""
    from edgekit.frameworks.onnx_graph import bodies, graphs

    names: set[str] = set()
    for body in bodies(node):
        for graph in graphs(body):
            names.update(name for nested in graph.node for name in nested.input)
            names.update(value.name for value in graph.output)
    return names


def _convert_constants(graph: Any, read_half: set[str], read_float: set[str], suffix: str) -> list[str]:
    """Write each constant in the forms that are read, in place; return a note of how many values became 0."""
    import numpy as np
    from onnx import numpy_helper

    kept, vanishing, total = [], 0, 0
    for tensor in graph.initializer:
        if tensor.name in read_float or tensor.name not in read_half:
            kept.append(tensor)
        if tensor.name in read_half:
            values = numpy_helper.to_array(tensor)
            magnitudes = np.abs(values)
            vanishing += int(np.count_nonzero((magnitudes > 0) & (magnitudes < LEAST)))
            total += int(np.count_nonzero(magnitudes))
            kept.append(numpy_helper.from_array(values.astype(np.float16), tensor.name + suffix))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return [f"{vanishing} of {total} weights are below the smallest f16 and became 0"] if vanishing else []


def _insert_casts(
    graph: Any,
    precisions: _NodePrecisions,
    read_half: set[str],
    read_float: set[str],
    written_half: set[str],
    suffix: str,
) -> int:
    """Insert one Cast after the producer of each tensor that is read in its other form too; return their number."""
    from onnx import helper

    def cast(name: str) -> list[Any]:
        if name not in precisions.floats or name in precisions.constants:
            return []
        if name in written_half and name in read_float:
            source, result, to = name + suffix, name, FLOAT
        elif name not in written_half and name in read_half:
            source, result, to = name, name + suffix, FLOAT16
        else:
            return []
        return [helper.make_node("Cast", [source], [result], f"Cast_to_{result}", to=to)]

    nodes = [node for value in graph.input for node in cast(value.name)]
    count = len(nodes)
    for node in graph.node:
        added = [new for name in node.output for new in cast(name.removesuffix(suffix))]
        nodes += [node, *added]
        count += len(added)
    del graph.node[:]
    graph.node.extend(nodes)
    return count
