"""Read the layers that TensorRT compiled, off its verbose log, and compare them with what the graph asked for.

With detailed profiling verbosity the builder logs one record that starts with `Layers:`, a line for each kernel, with
the types of what it reads and writes and the ONNX nodes it came from. Nothing else tells without a GPU.
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

_WORDS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "f8": "fp8", "i4": "int4", "f4": "fp4"}

_KINDS = {
    "CONVOLUTION": ("convolution", "convolutions"),
    "DECONVOLUTION": ("transposed convolution", "transposed convolutions"),
    "MATRIX_MULTIPLY": ("matrix product", "matrix products"),
    "EINSUM": ("Einsum", "Einsums"),
    "ATTENTION": ("attention", "attentions"),
}

POINTWISE = frozenset(("kgen", "shape_call", "signal", "wait", "Reformat", "NoOp", "Constant"))
"""Kinds of compiled layers that hold no product: generated elementwise kernels and book-keeping."""

NAMED = 3
"""Nodes that a sentence names before it says how many more there are."""

_LINE = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: (?P<inputs>.*?), Constants: (?P<constants>.*?),"
    r" Outputs: (?P<outputs>.*?), TacticName: .*?(?:, Metadata: (?P<nodes>.*))?$"
)
_VALUE = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")
NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\s\x1e\x1f]*(?:\[ONNX Layer: |$))")
"""A node's name may hold brackets; records are separated by control characters (seen in 1.7)."""


@dataclass(frozen=True)
class CompiledLayer(Record):
    """One kernel of an engine: what it is, the types of its values, and the ONNX nodes that it computes."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    """The largest first: the weights, before biases and scales."""
    outputs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def computes_in(self) -> str | None:
        """Return the type of the arithmetic; `i4-weights` is floats on weights stored in i4. None: no arithmetic."""
        values = self.inputs + self.constants + self.outputs
        if not values:
            return None
        floats = [one for one in values if one in FLOATS]
        if self.kind in POINTWISE:
            return (floats or [*self.inputs, *self.outputs, *self.constants])[0]
        narrow = [one for one in self.constants if one in NARROW]
        both = [one for one in self.inputs if one in NARROW and (one in narrow or not self.constants)]
        if both:
            return both[0]
        if narrow:
            return f"{narrow[0]}-weights"
        # A fusion casts within: what it reads may be of another type than its product, whose weights tell.
        weights = [one for one in self.constants if one in FLOATS]
        return (weights or floats or list(values))[0]


@dataclass(frozen=True)
class Product(Record):
    """A convolution or matrix product of the network as parsed, and the type that its graph asks for."""

    node: str
    kind: str
    """TensorRT's layer type, as `CONVOLUTION`."""
    asked: str


def type_of(name: str) -> str:
    """Return our word for TensorRT's name of a type, in any of the spellings of its log, enum and inspector."""
    return _TYPES.get(name.lower(), name.lower())


def word(kind: str) -> str:
    """Return the usual name of a type: int8 for `i8`, int4 weights for `i4-weights`."""
    short, _, rest = kind.partition("-")
    return f"{_WORDS.get(short, short)} {rest}".strip()


def read(text: str) -> tuple[CompiledLayer, ...]:
    """Read the log record that starts with `Layers:`; it ends at the first line that is no layer."""
    found: list[CompiledLayer] = []
    for line in text.partition(HEADING)[2].splitlines():
        match = _LINE.match(line.strip())
        if match:
            inputs, constants, outputs = (_values(match[part]) for part in ("inputs", "constants", "outputs"))
            weights = sorted(constants, key=lambda one: -one[1])
            types = [tuple(kind for kind, _ in values) for values in (inputs, weights, outputs)]
            nodes = tuple(dict.fromkeys(NODE.findall((match["nodes"] or "").strip())))
            found.append(CompiledLayer(match["name"], match["kind"], types[0], types[1], types[2], nodes))
        elif found:
            break
    return tuple(found)


def _values(text: str) -> list[tuple[str, int]]:
    """Return type and number of elements of each value in a list; free sizes count as one."""
    found = []
    for sizes, kind in _VALUE.findall(text):
        found.append((type_of(kind), math.prod(max(int(size), 1) for size in sizes.split(",") if size)))
    return found


def precision(layers: Sequence[CompiledLayer], products: Sequence[Product] = ()) -> Precision | None:
    """Count layers by the type they compute in; the main one is that of most products. None without layers."""
    counted = Counter(one.computes_in for one in layers if one.computes_in)
    if not counted:
        return None
    heavy: Counter[str] = Counter(got for _, got in _matched(products, layers) if got)
    heavy = heavy or Counter(one.computes_in for one in layers if one.computes_in and one.kind not in POINTWISE)
    # In a layer with packed weights the arithmetic is in floats; which, its inputs say.
    for packed in [kind for kind in heavy if kind.endswith("-weights")]:
        count = heavy.pop(packed)
        floats = [one for layer in layers if layer.computes_in == packed for one in layer.inputs if one in FLOATS]
        heavy[floats[0] if floats else "f32"] += count
    main = heavy or Counter({kind: count for kind, count in counted.items() if kind in (*FLOATS, *NARROW)}) or counted
    return Precision(max(sorted(main), key=lambda kind: main[kind]), dict(sorted(counted.items())))


def compare(products: Sequence[Product], layers: Sequence[CompiledLayer]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return, as sentences, which products run in the type that the graph asks for, and which do not."""
    same: list[str] = []
    differ: list[str] = []
    matched = _matched(products, layers)
    for kind, asked in dict.fromkeys((one.kind, one.asked) for one in products):
        group = [(one.node, got) for one, got in matched if (one.kind, one.asked) == (kind, asked)]
        other = Counter(got for _, got in group if got and got != asked)
        kept = sum(got == asked for _, got in group)
        if kept:
            same.append(f"{_many(kept, kind)} {'runs' if kept == 1 else 'run'} in {word(asked)}, as asked")
        for got, count in sorted(other.items()):
            names = named(node for node, found in group if found == got)
            differ.append(
                f"{word(asked)} asked, {count} of {_many(len(group), kind)}"
                f" {'runs' if count == 1 else 'run'} in {word(got)}: {names}"
            )
        if gone := [node for node, got in group if got is None]:
            whose = "its" if len(gone) == 1 else "their"
            same.append(f"{_many(len(gone), kind)} in no layer of {whose} own, folded or merged: {named(gone)}")
    return tuple(same), tuple(differ)


def named(names: Iterable[str]) -> str:
    """List the first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(f"'{name}'" for name in listed[:NAMED]) + more


def _many(count: int, kind: str) -> str:
    one, several = _KINDS.get(kind, (kind.lower(), kind.lower()))
    return f"{count} {one if count == 1 else several}"


def _matched(products: Sequence[Product], layers: Sequence[CompiledLayer]) -> tuple[tuple[Product, str | None], ...]:
    """Find each product's compiled layer: elementwise kernels beside it carry its name too and come last."""
    by_node: dict[str, CompiledLayer] = {}
    for layer in sorted(layers, key=lambda one: one.kind in POINTWISE):
        for node in layer.nodes:
            by_node.setdefault(node, layer)
    return tuple((one, _product_type(by_node[one.node]) if one.node in by_node else None) for one in products)


def _product_type(layer: CompiledLayer) -> str | None:
    """Return the type of a layer's product; a small one runs as a sum of products in an elementwise kernel."""
    weights = [one for one in layer.constants if one in FLOATS]
    return weights[0] if layer.kind in POINTWISE and weights else layer.computes_in
