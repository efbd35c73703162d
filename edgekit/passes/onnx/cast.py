"""Lower precision without calibration: f16 in the graph itself, or a mark that floats run in bf16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph
from edgekit.frameworks.onnx_model import copy_graph, is_larger, load, save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.float16 import QUANTIZERS, to_half
from edgekit.passes.onnx.overrides import FloatOverrides, check_operators, left_in_float
from edgekit.passes.onnx.prepare import LARGE_BYTES, infer_types, raise_opset

if TYPE_CHECKING:
    from edgekit.data import Feeds

QUANTIZED = ("i8", "i4-weights", "i8-weights", "f8")
"""Precisions of quantized models whose float operators can be cast to f16."""

SCALES_IN_HALF = 19
"""The opset from which QuantizeLinear and DequantizeLinear take f16 scales."""


@dataclass(frozen=True)
class Cast(Record):
    """Cast weights and arithmetic to f16 (norms, softmax and reductions stay in f32), or mark the model for bf16."""

    name: ClassVar[str] = "cast"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnx",)

    dtype: Literal["f16", "bf16"] = "f16"
    overrides: FloatOverrides | None = None
    """What stays in f32, by operator type or node: `[passes.operators.Softplus]`. For f16 only."""

    def __post_init__(self) -> None:
        if self.overrides is not None and self.dtype == "bf16":
            raise UsageError(
                "cast: bf16 applies to the whole graph: it has no settings for operators or nodes.",
                hint="leave the tables [passes.operators...] and [passes.nodes...] out, or cast to f16",
            )

    @property
    def precision(self) -> str:
        return self.dtype

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the model into `workdir`, with the inputs and outputs it had; `samples` are not used.

        Raises UnsupportedError for a model that is not f32 or whose weights do not fit f16.
        """
        no_telemetry()
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        if self.dtype == "bf16":
            return self._mark(model, workdir, rewrite)
        if model.precision not in ("f32", *QUANTIZED):
            raise UnsupportedError(
                f"f16 starts from an f32 model or a quantized one ({', '.join(QUANTIZED)}); this one is "
                f"{model.precision}.",
                hint="cast once in a recipe",
            )
        notes: list[str] = []
        for part in model.parts:
            with quiet():
                part_notes = self._halve(model.folder / part.file, workdir / part.file)
            notes += part_notes if len(model.parts) == 1 else [f"{part.name}: {note}" for note in part_notes]
        precision = "f16" if model.precision == "f32" else f"{model.precision}+f16"
        return rewrite.finish(model, workdir, precision=precision, notes=notes)

    def _halve(self, source: Path, target: Path) -> list[str]:
        from onnx.defs import get_all_schemas

        check_operators(self.overrides, {schema.name for schema in get_all_schemas()}, self.name)
        proto = load(source)
        if onnx_graph.opset(proto) < SCALES_IN_HALF and any(node.op_type in QUANTIZERS for node in proto.graph.node):
            proto = raise_opset(proto, SCALES_IN_HALF)
        _lift_constants(proto.graph)
        try:
            proto = infer_types(proto, target.parent, large=is_larger(proto, LARGE_BYTES))
        except Exception as error:  # onnx's inference raises errors of its own
            raise BuildError(f"onnx cannot infer the types in '{source.name}': {error}") from error
        kinds = {node.op_type for node in proto.graph.node}
        conversion = to_half(proto, keep=left_in_float(proto.graph, kinds, self.overrides, self.name))
        if not conversion.half:
            raise UnsupportedError(
                "no operator of this graph can run in f16.", hint="use the recipe fp32 or int8-static"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        save(proto, target)
        return [
            f"{conversion.half} operators in f16, {conversion.kept} kept as they were, "
            f"{conversion.casts} casts between them",
            f"opset {onnx_graph.opset(proto)}",
            *conversion.notes,
        ]

    def _mark(self, model: Model, workdir: Path, rewrite: Rewrite) -> Model:
        """Copy the graphs as they are: bf16 is a choice of the runtime, made from the model's precision."""
        if "bf16" in model.precision.split("+") or "f16" in model.precision.split("+"):
            raise UnsupportedError(
                f"the model is already {model.precision}; it cannot be marked bf16.", hint="cast once in a recipe"
            )
        for part in model.parts:
            (workdir / part.file).parent.mkdir(parents=True, exist_ok=True)
            copy_graph(model.folder / part.file, workdir / part.file)
        precision = "bf16" if model.precision == "f32" else f"{model.precision}+bf16"
        note = "the graph is unchanged: the runtime runs its float operators in bf16"
        return rewrite.finish(model, workdir, precision=precision, notes=(note,))


def _lift_constants(graph: Any) -> None:
    """Turn Constant nodes into initializers, where the conversion looks for weights."""
    kept = []
    for node in graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
