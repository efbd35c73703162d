"""Dynamic int8: weights ahead of time, activations at run time; MatMul and Gemm, through optimum's ORTQuantizer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError
from edgekit.frameworks.onnx_model import save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.overrides import FloatOverrides, check_operators, left_in_float
from edgekit.passes.onnx.prepare import forget_inference, prepare
from edgekit.passes.quantize.ort_quantizer import PACKAGES, quantize
from edgekit.passes.quantize.qdq import choose_nodes, drop_unread_constants

if TYPE_CHECKING:
    from edgekit.data import Feeds

OPERATORS = ("MatMul", "Gemm")

ASSUMED_SIZE = 64
"""Assumed free size other than the batch, to compare the work of operators: a sentence, a row of pixels."""


@dataclass(frozen=True)
class QuantizeDynamic(Record):
    """Quantize the weights of MatMul and Gemm to int8, and their activations at run time; needs no samples."""

    name: ClassVar[str] = "quantize-dynamic"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = PACKAGES
    precision: ClassVar[str] = "i8-dynamic"

    per_channel: bool = True
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX, whose 16-bit sums saturate."""
    exclude: tuple[str, ...] = ()
    """Names of nodes to leave in float."""
    overrides: FloatOverrides | None = None
    """What is left in float, by operator type or node: `[passes.nodes."/head/MatMul"]`."""

    def __post_init__(self) -> None:
        check_operators(self.overrides, OPERATORS, self.name)

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the int8 model into `workdir`; `samples` are not used.

        Raises UnsupportedError where convolutions carry most of the work or there is nothing to quantize, BuildError
        where a tool fails.
        """
        if model.precision not in ("f32", "bf16"):
            raise UnsupportedError(
                f"dynamic quantization starts from an f32 model; this one is {model.precision}.",
                hint="put quantize-dynamic first in the recipe",
            )
        no_telemetry()
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        notes: list[str] = []
        for part in model.parts:
            with tempfile.TemporaryDirectory(prefix="quantize-", dir=workdir) as scratch, quiet():
                part_notes = self._quantize(model.folder / part.file, Path(scratch), workdir / part.file)
            notes += part_notes if len(model.parts) == 1 else [f"{part.name}: {note}" for note in part_notes]
        precision = "i8-dynamic" if model.precision == "f32" else f"i8-dynamic+{model.precision}"
        return rewrite.finish(model, workdir, precision=precision, notes=notes)

    def _quantize(self, source: Path, scratch: Path, target: Path) -> Sequence[str]:
        # DynamicQuantizeLinear came with 11; the static pass needs 13 for its scales per channel.
        prepared = prepare(source, scratch / "prepared", least_opset=11)
        share = _share_of_convolutions(prepared.proto.graph)
        if share > 0.5:
            raise UnsupportedError(
                f"dynamic int8 does not suit this graph: convolutions do {share:.0%} of its work, and quantized "
                "dynamically they become ConvInteger, which runs slower than float or not at all.",
                hint="use --recipe int8-static with --data, or --recipe fp16 or bf16",
            )
        exclude = (*self.exclude, *left_in_float(prepared.proto.graph, OPERATORS, self.overrides, self.name))
        choice = choose_nodes(prepared.proto.graph, OPERATORS, (), exclude, activation_matmul=False)
        proto = quantize(
            prepared.file,
            scratch / "quantized",
            # ORTQuantizer turns each Gemm into a MatMul of another name before it looks at the names.
            nodes=[*choice.nodes, *(name + "_MatMul" for name in choice.nodes)],
            types=("MatMul",),
            ranges=None,
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            large=prepared.large,
        )
        drop_unread_constants(proto.graph)
        forget_inference(proto)
        save(proto, target)
        notes = [f"{len(choice.nodes)} operators in int8 ({', '.join(choice.types)})", *choice.notes, *prepared.notes]
        if share:
            notes.append(f"convolutions, {share:.0%} of the work, stay in float")
        return notes


def _share_of_convolutions(graph: Any) -> float:
    """Return an estimate of the share of the multiplications that convolutions do, 0 to 1."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    work: Mapping[str, list[int]] = {"Conv": [], "MatMul": []}
    for node in graph.node:
        outputs = math.prod(shapes.get(node.output[0], (1,))) if node.output else 0
        weight = sizes.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type in ("Conv", "ConvTranspose") and weight:
            work["Conv"].append(outputs * math.prod(weight[1:]))
        elif node.op_type in ("MatMul", "Gemm"):
            operand = weight or shapes.get(node.input[1], (1, 1))
            transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
            work["MatMul"].append(outputs * operand[-1 if transposed or len(operand) < 2 else -2])
    convolutions, total = sum(work["Conv"]), sum(work["Conv"]) + sum(work["MatMul"])
    return convolutions / total if total else 0.0


def _shape(value: Any) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value or (1 if index == 0 else ASSUMED_SIZE) for index, dim in enumerate(dims))
