"""Read the layers that TensorRT compiled from its verbose log, and compare them with the types that the graph has.

With detailed profiling verbosity the builder logs one record that starts with `Layers:`, a line for each kernel, with
the types of its inputs and outputs and the ONNX nodes it comes from. Without a GPU this is the only source.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.plugin import Precision, Record

HEADING = "Layers:"

NARROW = ("i8", "f8", "i4", "f4")
"""Types that values are quantized to."""

FLOATS = ("f32", "f16", "bf16")

_TYPES = {
    "float": "f32", "half": "f16", "bfloat16": "bf16", "bf16": "bf16", "int8": "i8", "fp8": "f8", "int4": "i4",
    "fp4": "f4", "int32": "i32", "int64": "i64", "uint8": "u8", "bool": "bool",
}  # fmt: skip

_LABELS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "f8": "fp8", "i4": "int4", "f4": "fp4"}

_KINDS = {
    "CONVOLUTION": ("convolution", "convolutions"),
    "DECONVOLUTION": ("transposed convolution", "transposed convolutions"),
    "MATRIX_MULTIPLY": ("matrix product", "matrix products"),
    "EINSUM": ("Einsum", "Einsums"),
    "ATTENTION": ("attention", "attentions"),
}

POINTWISE = frozenset(("kgen", "shape_call", "signal", "wait", "Reformat", "NoOp", "Constant"))
"""Kinds of compiled layers without a product: generated elementwise kernels, copies and synchronization."""

NAMED = 3
"""How many nodes a sentence names before it gives the number of the others."""

_LINE = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: (?P<inputs>.*?), Constants: (?P<constants>.*?),"
    r" Outputs: (?P<outputs>.*?), TacticName: .*?(?:, Metadata: (?P<nodes>.*))?$"
)
_VALUE = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")
NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\s\x1e\x1f]*(?:\[ONNX Layer: |$))")
"""A node's name may have brackets; records are separated by control characters (seen in 1.7)."""


@dataclass(frozen=True)
class CompiledLayer(Record):
    """One kernel of an engine: what it is, the types of its values, and the ONNX nodes that it computes."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    """The largest first: weights before biases and scales."""
    outputs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def computes_in(self) -> str | None:
        """Return the type of the arithmetic; `i4-weights` is floats on weights stored in i4. None: no arithmetic."""
        values = self.inputs + self.constants + self.outputs
        if not values:
            return None
        floats = [dtype for dtype in values if dtype in FLOATS]
        if self.kind in POINTWISE:
            return (floats or [*self.inputs, *self.outputs, *self.constants])[0]
        narrow = [dtype for dtype in self.constants if dtype in NARROW]
        both = [dtype for dtype in self.inputs if dtype in NARROW and (dtype in narrow or not self.constants)]
        if both:
            return both[0]
        if narrow:
            return f"{narrow[0]}-weights"
        # A fusion may cast its inputs: the type of the weights is that of its product.
        weights = [dtype for dtype in self.constants if dtype in FLOATS]
        return (weights or floats or list(values))[0]


@dataclass(frozen=True)
class Product(Record):
    """A convolution or matrix product of the parsed network, and its type there."""

    node: str
    kind: str
    """TensorRT's layer type, as `CONVOLUTION`."""
    asked: str
    """The type that the graph has for it."""


def dtype_of(name: str) -> str:
    """Return our name for TensorRT's name of a type, in any of the spellings of its log, enum and inspector."""
    return _TYPES.get(name.lower(), name.lower())


def label(dtype: str) -> str:
    """Return the usual name of a type: int8 for `i8`, int4 weights for `i4-weights`."""
    short, _, rest = dtype.partition("-")
    return f"{_LABELS.get(short, short)} {rest}".strip()


def read(text: str) -> tuple[CompiledLayer, ...]:
    """Read the log record that starts with `Layers:`; it ends at the first line that is not a layer."""
    layers: list[CompiledLayer] = []
    for line in text.partition(HEADING)[2].splitlines():
        match = _LINE.match(line.strip())
        if match:
            inputs, constants, outputs = (_values(match[part]) for part in ("inputs", "constants", "outputs"))
            weights = sorted(constants, key=lambda value: -value[1])
            types = [tuple(dtype for dtype, _ in values) for values in (inputs, weights, outputs)]
            nodes = tuple(dict.fromkeys(NODE.findall((match["nodes"] or "").strip())))
            layers.append(CompiledLayer(match["name"], match["kind"], types[0], types[1], types[2], nodes))
        elif layers:
            break
    return tuple(layers)


def _values(text: str) -> list[tuple[str, int]]:
    """Return type and number of elements of each value in a list; free sizes count as one."""
    values = []
    for sizes, dtype in _VALUE.findall(text):
        values.append((dtype_of(dtype), math.prod(max(int(size), 1) for size in sizes.split(",") if size)))
    return values


def precision(layers: Sequence[CompiledLayer], products: Sequence[Product] = ()) -> Precision | None:
    """Count layers by the type they compute in; the main type is that of most products. None without types."""
    counted = Counter(layer.computes_in for layer in layers if layer.computes_in)
    if not counted:
        return None
    heavy: Counter[str] = Counter(dtype for _, dtype in _compiled_types(products, layers) if dtype)
    heavy = heavy or Counter(layer.computes_in for layer in layers if layer.computes_in and layer.kind not in POINTWISE)
    # A layer with packed weights computes in the float type of its inputs.
    for packed in [dtype for dtype in heavy if dtype.endswith("-weights")]:
        count = heavy.pop(packed)
        inputs = (dtype for layer in layers if layer.computes_in == packed for dtype in layer.inputs)
        heavy[next((dtype for dtype in inputs if dtype in FLOATS), "f32")] += count
    main = heavy or Counter({dtype: n for dtype, n in counted.items() if dtype in (*FLOATS, *NARROW)}) or counted
    return Precision(max(sorted(main), key=lambda dtype: main[dtype]), dict(sorted(counted.items())))


def compare(products: Sequence[Product], layers: Sequence[CompiledLayer]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return, as sentences, which products run in the type that the graph has for them, and which do not."""
    same: list[str] = []
    differ: list[str] = []
    compiled = _compiled_types(products, layers)
    for kind, asked in dict.fromkeys((product.kind, product.asked) for product in products):
        group = [(product.node, dtype) for product, dtype in compiled if (product.kind, product.asked) == (kind, asked)]
        other = Counter(dtype for _, dtype in group if dtype and dtype != asked)
        kept = sum(dtype == asked for _, dtype in group)
        if kept:
            same.append(f"{_counted(kept, kind)} {'runs' if kept == 1 else 'run'} in {label(asked)}, as in the graph")
        for other_dtype, count in sorted(other.items()):
            names = first_names(node for node, dtype in group if dtype == other_dtype)
            differ.append(
                f"the graph is {label(asked)}, but {count} of {_counted(len(group), kind)}"
                f" {'runs' if count == 1 else 'run'} in {label(other_dtype)}: {names}"
            )
        if merged := [node for node, dtype in group if dtype is None]:
            verb = "is" if len(merged) == 1 else "are"
            same.append(
                f"{_counted(len(merged), kind)} {verb} folded or merged into other layers: {first_names(merged)}"
            )
    return tuple(same), tuple(differ)


def first_names(names: Iterable[str]) -> str:
    """Return the first names in quotes, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(f"'{name}'" for name in listed[:NAMED]) + more


def _counted(count: int, kind: str) -> str:
    singular, plural = _KINDS.get(kind, (kind.lower(), kind.lower()))
    return f"{count} {singular if count == 1 else plural}"


def _compiled_types(
    products: Sequence[Product], layers: Sequence[CompiledLayer]
) -> tuple[tuple[Product, str | None], ...]:
    """Return each product with the type of its compiled layer: elementwise kernels, which may have its name too, are
    taken last.
    """
    by_node: dict[str, CompiledLayer] = {}
    for layer in sorted(layers, key=lambda layer: layer.kind in POINTWISE):
        for node in layer.nodes:
            by_node.setdefault(node, layer)
    return tuple((product, _product_type(by_node.get(product.node))) for product in products)


def _product_type(layer: CompiledLayer | None) -> str | None:
    """Return the type of a layer's product; a small product runs as a sum in an elementwise kernel, which casts."""
    if layer is None:
        return None
    weights = [dtype for dtype in layer.constants if dtype in FLOATS]
    return weights[0] if layer.kind in POINTWISE and weights else layer.computes_in
