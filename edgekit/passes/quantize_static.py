"""Static int8 in Q/DQ form: ranges from samples, weights per channel, through Hugging Face optimum's ORTQuantizer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes._calibrate import Calibration, Method, known_ranges
from edgekit.passes._costs import layer_costs
from edgekit.passes._onnx import save
from edgekit.passes._optimum import PACKAGES, quantize
from edgekit.passes._prepare import Prepared, forget_inference, prepare
from edgekit.passes._qdq import Choice, choose_nodes, drop_unread_constants, spare_float_readers
from edgekit.passes._rewrite import Rewrite, quiet
from edgekit.plugin import LayerCost

if TYPE_CHECKING:
    from edgekit.data import Feeds

COST_SAMPLES = 16
"""Samples on which each layer's cost is measured: the order of the layers settles long before the ranges do."""


@dataclass(frozen=True)
class QuantizeStatic(Record):
    """Quantize weights and activations of MatMul, Gemm and Conv to int8 with ranges found on samples."""

    name: ClassVar[str] = "quantize-static"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True

    activations: Literal["u8", "s8"] = "u8"
    """x86 multiplies u8 by s8; ARM and TensorRT s8 by s8."""
    weights: Literal["s8"] = "s8"
    per_channel: bool = True
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX, whose 16-bit sums saturate."""
    symmetric_activations: bool = False
    """Zero point 0, as TensorRT wants."""
    operators: tuple[str, ...] = ("MatMul", "Gemm", "Conv")
    followers: tuple[str, ...] = ("Relu", "Clip", "Add", "MaxPool")
    """Operators quantized where they follow a quantized Conv: they fuse into it, or run between two in integers."""
    activation_matmul: bool = False
    """Whether a MatMul of two activations, as in attention, is quantized as well: it costs accuracy and gains no time
    (MiniLM, STS-B Spearman: fp32 0.820, without 0.817, with 0.816)."""
    exclude: tuple[str, ...] = ()
    """Names of nodes to leave in float."""
    samples: int | None = None
    """So many of the given inputs are run, evenly spread; None runs all of them."""
    method: Literal["minmax", "mean", "percentile", "entropy", "mse"] = "minmax"
    """`minmax`: the extremes over all samples. `mean`: each sample's extremes, averaged (small samples in groups), as
    NNCF does; outliers move it less, and it clips more (relative L2 error: ResNet-20 minmax 0.04, mean 0.08; MiniLM
    0.14 with both). `percentile`, `entropy` and `mse` leave outliers out by a histogram of all values: a share of them
    at each end, what keeps most information, what rounds and clips least."""
    percentile: float = 99.99
    """For the method `percentile`: the percentage of values that lies below the highest, and above the lowest."""

    def __post_init__(self) -> None:
        known = ("MatMul", "Gemm", "Conv")
        unknown = sorted(set(self.operators) - set(known))
        if unknown or not self.operators:
            raise UsageError(
                f"quantize-static: operators can be {', '.join(known)}, found {', '.join(unknown) or 'none'}.",
                hint="other operators lose accuracy and gain little; those that fuse into a Conv go into `followers`",
            )
        if not 50 < self.percentile <= 100:
            raise UsageError(f"quantize-static: percentile must be above 50 and at most 100, found {self.percentile}.")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"quantize-static: samples must be at least 1, found {self.samples}.")

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the int8 model into `workdir`.

        Raises UsageError without samples, UnsupportedError where nothing can be quantized, BuildError if a tool fails.
        """
        samples = self._check(model, samples)
        rewrite = Rewrite(self.name, self.to_dict(), PACKAGES)
        with tempfile.TemporaryDirectory(prefix="quantize-", dir=workdir) as scratch, quiet():
            prepared, choice, proto, found = self._quantized(model, samples, Path(scratch))
            dropped = spare_float_readers(proto.graph, set(choice.nodes))
            drop_unread_constants(proto.graph)
            forget_inference(proto)
            save(proto, workdir / model.part.file)
        precision = "i8" if model.precision == "f32" else f"i8+{model.precision}"
        notes = (
            f"{len(choice.nodes)} operators in int8 ({', '.join(choice.types)}), {found.count} samples",
            f"{dropped} Q/DQ pairs that only float operators read were dropped",
            *found.notes,
            *choice.notes,
            *prepared.notes,
        )
        return rewrite.finish(model, workdir, precision=precision, notes=notes)

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Measure what quantizing each MatMul, Gemm and Conv alone does to the outputs, on calibration samples."""
        samples = self._check(model, samples)
        with tempfile.TemporaryDirectory(prefix="costs-", dir=workdir) as scratch, quiet():
            prepared, choice, proto, _ = self._quantized(model, samples, Path(scratch))
            kinds = {node.name: node.op_type for node in prepared.proto.graph.node}
            layers = {name for name in choice.nodes if kinds[name] in self.operators}
            file = Path(scratch) / "switched.onnx" if prepared.large else None
            return layer_costs(prepared.proto, proto, layers, samples.evenly(COST_SAMPLES), file=file)

    def _check(self, model: Model, samples: Feeds | None) -> Feeds:
        if samples is None or len(samples) == 0:
            raise UsageError(
                "static quantization needs samples to find the ranges of the activations, and there are none.",
                hint="give data with --data, or take a recipe that needs none: int8-dynamic, fp16 or bf16",
            )
        if model.precision not in ("f32", "bf16"):
            raise UnsupportedError(
                f"static quantization starts from an f32 model, this one is {model.precision}.",
                hint="put quantize-static first in the recipe",
            )
        if len(model.parts) != 1:
            raise UnsupportedError(
                f"static quantization takes a model of one graph; this one has {len(model.parts)}.",
                hint="take int8-dynamic, which needs no samples for each graph",
            )
        no_telemetry()
        return samples if self.samples is None else samples.evenly(self.samples)

    def _choose(self, graph: Any, exclude: tuple[str, ...]) -> Choice:
        return choose_nodes(graph, self.operators, self.followers, exclude, activation_matmul=self.activation_matmul)

    def _quantized(self, model: Model, samples: Feeds, scratch: Path) -> tuple[Prepared, Choice, Any, Calibration]:
        """Give the float graph, the choice of nodes, the graph as ORTQuantizer leaves it, and the calibration."""
        prepared = prepare(model.graph, scratch / "prepared", least_opset=13)
        graph = prepared.proto.graph
        choice = self._choose(graph, self.exclude)
        # Of all layers, those that are left in float too: however many those are, the samples are run once.
        found = known_ranges(
            prepared,
            self._choose(graph, ()).activations,
            samples,
            model.part.inputs,
            method=Method(self.method, self.percentile, 128 if self.reduce_range else 256),
            source=model.digest,
        )
        proto = quantize(
            prepared.file,
            scratch / "quantized",
            nodes=choice.nodes,
            types=choice.types,
            ranges=found.ranges,
            signed_activations=self.activations == "s8",
            symmetric_activations=self.symmetric_activations,
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
        )
        return prepared, choice, proto, found
