"""Static int8 in Q/DQ form: ranges from samples, weights per channel, through Hugging Face optimum's ORTQuantizer."""

from __future__ import annotations

import builtins
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.onnx_model import load, save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.layer_map import layer_map
from edgekit.passes.onnx.overrides import by_node, check_operators, specificity
from edgekit.passes.onnx.prepare import Prepared, forget_inference, prepare
from edgekit.passes.quantize.calibrate import Calibration, Method, cached_ranges
from edgekit.passes.quantize.float8 import LEAST_OPSET, to_float8
from edgekit.passes.quantize.layer_costs import layer_costs
from edgekit.passes.quantize.ort_quantizer import PACKAGES, quantize
from edgekit.passes.quantize.qdq import Choice, choose_nodes, drop_unread_constants, spare_float_readers
from edgekit.plugin import LayerCost, LayerMap

if TYPE_CHECKING:
    from edgekit.data import Feeds

COST_SAMPLES = 16
"""Samples on which each layer's cost is measured: the order of the layers settles long before the ranges do."""


KNOWN = ("MatMul", "Gemm", "Conv")
"""Operators that have a fast integer kernel in every runtime."""

MethodName = Literal["minmax", "mean", "percentile", "entropy", "mse"]


@dataclass(frozen=True)
class StaticLayer(Record):
    """Settings for an operator type or a node; None is the setting for all."""

    float: bool | None = None
    """Whether it is left in float."""
    method: MethodName | None = None
    """How the ranges of the values that it reads are found."""
    percentile: builtins.float | None = None
    per_channel: bool | None = None
    """Whether its weights have a scale for each channel."""
    reduce_range: bool | None = None
    """Whether its weights have 7 bits."""

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)


@dataclass(frozen=True)
class StaticOverrides(Record):
    """Settings by operator type and by node name; a node's come before its type's."""

    operators: Mapping[str, StaticLayer] = field(default_factory=dict)
    nodes: Mapping[str, StaticLayer] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantizeStatic(Record):
    """Quantize weights and activations of MatMul, Gemm and Conv to int8 with ranges found on samples."""

    name: ClassVar[str] = "quantize-static"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = PACKAGES

    activations: Literal["u8", "s8"] = "u8"
    """x86 multiplies u8 by s8; ARM and TensorRT s8 by s8."""
    weights: Literal["s8"] = "s8"
    levels: Literal["i8", "f8"] = "i8"
    """`f8`: 8-bit floats (E4M3) instead, weights and activations, for GPUs that multiply them."""
    per_channel: bool = True
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX, whose 16-bit sums saturate."""
    symmetric_activations: bool = False
    """Zero point 0, as TensorRT requires."""
    quantize_bias: bool = True
    """Biases in 32 bits, as the integer kernels of processors add them; TensorRT takes them in float only."""
    quantize_outputs: bool = True
    """Round the output of a Conv even where only float operators read it; TensorRT fuses those into its kernel instead.
    """
    operators: tuple[str, ...] = ("MatMul", "Gemm", "Conv")
    followers: tuple[str, ...] = ("Relu", "Clip", "Add", "MaxPool")
    """Operators quantized where they follow a quantized Conv: they fuse into it, or run between two in integers."""
    activation_matmul: bool = False
    """Whether a MatMul of two activations, as in attention, is quantized as well: it costs accuracy and gains no time
    (MiniLM, STS-B Spearman: fp32 0.820, without 0.817, with 0.816)."""
    exclude: tuple[str, ...] = ()
    """Names of nodes to leave in float."""
    samples: int | None = None
    """Number of the inputs to run, evenly spread; None runs all of them."""
    method: MethodName = "minmax"
    """`minmax`: the extremes over all samples. `mean`: each sample's extremes, averaged (small samples in groups), as
    NNCF does; outliers move it less, and it clips more (relative L2 error: ResNet-20 minmax 0.04, mean 0.08; MiniLM
    0.14 with both). `percentile`, `entropy` and `mse` leave outliers out by a histogram of all values: a share of them
    at each end, by the most information kept, by the least error of rounding and clipping."""
    percentile: float = 99.99
    """For the method `percentile`: the percentage of values below the highest, and above the lowest."""
    overrides: StaticOverrides | None = None
    """Settings for an operator type or a node: `[passes.operators.Conv]`, `[passes.nodes."/head/MatMul"]`."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.operators) - set(KNOWN))
        if unknown or not self.operators:
            raise UsageError(
                f"quantize-static: operators can be {', '.join(KNOWN)}, found {', '.join(unknown) or 'none'}.",
                hint="other operators lose accuracy and gain little; those that fuse into a Conv go into `followers`",
            )
        _check_percentile(self.percentile)
        check_operators(self.overrides, self.operators, self.name)
        if self.levels == "f8" and not (self.activations == "s8" and self.symmetric_activations):
            raise UsageError(
                "quantize-static: 8-bit floats have no zero point.",
                hint="with levels = 'f8', set activations = 's8' and symmetric_activations = true too",
            )
        if self.samples is not None and self.samples < 1:
            raise UsageError(
                f"quantize-static: samples must be at least 1, found {self.samples}.",
                hint="leave samples out of the recipe, or set a number above 0",
            )

    @property
    def precision(self) -> str:
        return self.levels

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the int8 model into `workdir`.

        Raises UsageError without samples, UnsupportedError where nothing can be quantized, BuildError if a tool fails.
        """
        samples = self._check(model, samples)
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        with tempfile.TemporaryDirectory(prefix="quantize-", dir=workdir) as scratch, quiet():
            prepared, choice, proto, calibration = self._quantized(model, samples, Path(scratch))
            dropped = spare_float_readers(proto.graph, set(choice.nodes), keep_outputs=self.quantize_outputs)
            drop_unread_constants(proto.graph)
            forget_inference(proto)
            save(proto, workdir / model.part.file)
        precision = self.levels if model.precision == "f32" else f"{self.levels}+{model.precision}"
        levels = {"i8": "int8", "f8": "fp8"}[self.levels]
        notes = (
            f"{len(choice.nodes)} operators in {levels} ({', '.join(choice.types)}), {calibration.count} samples",
            f"{dropped} Q/DQ pairs that only float operators read were dropped",
            *calibration.notes,
            *choice.notes,
            *prepared.notes,
        )
        return rewrite.finish(model, workdir, precision=precision, notes=notes)

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Return the change of the outputs by quantizing each MatMul, Gemm and Conv alone, on calibration samples."""
        samples = self._check(model, samples)
        with tempfile.TemporaryDirectory(prefix="costs-", dir=workdir) as scratch, quiet():
            prepared, choice, proto, _ = self._quantized(model, samples, Path(scratch))
            kinds = {node.name: node.op_type for node in prepared.proto.graph.node}
            layers = {name for name in choice.nodes if kinds[name] in self.operators}
            file = Path(scratch) / "switched.onnx" if prepared.large else None
            return layer_costs(prepared.proto, proto, layers, samples.subsample(COST_SAMPLES), file=file)

    def layer_map(self, model: Model, workdir: Path) -> LayerMap:
        """Return every MatMul, Gemm and Conv that would be quantized; no sample is run."""
        self._check_model(model)
        with tempfile.TemporaryDirectory(prefix="layer_map-", dir=workdir) as scratch, quiet():
            prepared = prepare(model.graph, Path(scratch) / "prepared", least_opset=13)
            graph = prepared.proto.graph
            kinds = {node.name: node.op_type for node in graph.node}
            chosen = self._chosen_nodes(graph, self._layers(graph)).nodes
            layers = {name for name in chosen if kinds[name] in self.operators}
            return layer_map(graph, load(model.graph, weights=False).graph, layers)

    def _check(self, model: Model, samples: Feeds | None) -> Feeds:
        if samples is None or len(samples) == 0:
            raise UsageError(
                "static quantization needs samples to find the ranges of the activations, but there are none.",
                hint="pass data with --data, or use a recipe that needs none: int8-dynamic, fp16 or bf16",
            )
        self._check_model(model)
        no_telemetry()
        return samples if self.samples is None else samples.subsample(self.samples)

    def _check_model(self, model: Model) -> None:
        if model.precision not in ("f32", "bf16"):
            raise UnsupportedError(
                f"static quantization starts from an f32 model; this one is {model.precision}.",
                hint="put quantize-static first in the recipe",
            )
        if len(model.parts) != 1:
            raise UnsupportedError(
                f"static quantization takes a model of one graph; this one has {len(model.parts)}.",
                hint="use the recipe int8-dynamic, which needs no samples",
            )

    def _layers(self, graph: Any) -> dict[str, StaticLayer]:
        """Return the settings of each node that can be quantized, by name."""
        defaults = StaticLayer(False, self.method, self.percentile, self.per_channel, self.reduce_range)
        return by_node(graph, self.operators, defaults, self.overrides, self.name)

    def _choose(self, graph: Any, exclude: Sequence[str]) -> Choice:
        return choose_nodes(graph, self.operators, self.followers, exclude, activation_matmul=self.activation_matmul)

    def _chosen_nodes(self, graph: Any, layers: Mapping[str, StaticLayer]) -> Choice:
        """Return the choice of the nodes that are not left in float."""
        return self._choose(graph, (*self.exclude, *(name for name, layer in layers.items() if layer.float)))

    def _quantized(self, model: Model, samples: Feeds, scratch: Path) -> tuple[Prepared, Choice, Any, Calibration]:
        """Return the float graph, the choice of nodes, the graph as ORTQuantizer leaves it, and the calibration."""
        prepared = prepare(model.graph, scratch / "prepared", least_opset=LEAST_OPSET if self.levels == "f8" else 13)
        graph = prepared.proto.graph
        layers = self._layers(graph)
        choice = self._chosen_nodes(graph, layers)
        # Also of layers that are left in float: so the samples are run once, whichever layers those are.
        tensors = self._choose(graph, ()).activations
        calibration = self._ranges(prepared, self._methods(graph, tensors, layers), samples, model)
        proto = quantize(
            prepared.file,
            scratch / "quantized",
            nodes=choice.nodes,
            types=choice.types,
            ranges=calibration.ranges,
            signed_activations=self.activations == "s8",
            symmetric_activations=self.symmetric_activations,
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            quantize_bias=self.quantize_bias,
            large=prepared.large,
            weights=self._weights(graph, {name: layers[name] for name in choice.nodes if name in layers}),
        )
        if self.levels == "f8":
            to_float8(proto, prepared.proto)
        return prepared, choice, proto, calibration

    def _methods(self, graph: Any, tensors: Sequence[str], layers: Mapping[str, StaticLayer]) -> dict[str, Method]:
        """Return the method for each tensor: that of the layer that reads it, else of the one that produces it.

        Of several readers, one with settings of its own comes before one whose type has settings, and that before the
        rest.
        """
        readers: dict[str, list[Any]] = {}
        makers: dict[str, list[Any]] = {}
        for node in graph.node:
            if node.name in layers:
                readers.setdefault(node.input[0], []).append(node)
                readers.setdefault(node.input[1], []).append(node)
                makers.setdefault(node.output[0], []).append(node)
        defaults = StaticLayer(method=self.method, percentile=self.percentile)
        methods = {}
        for name in tensors:
            nodes = readers.get(name) or makers.get(name) or ()
            most_specific = max(nodes, key=lambda node: specificity(node, self.overrides), default=None)
            layer = layers[most_specific.name] if most_specific else defaults
            # The percentage matters to the method `percentile` only; other methods must compare equal.
            percent = layer.percentile if layer.method == "percentile" else None
            levels = 128 if self.reduce_range else 256
            methods[name] = Method(layer.method or self.method, percent or self.percentile, levels)
        return methods

    def _ranges(self, prepared: Prepared, wanted: Mapping[str, Method], samples: Feeds, model: Model) -> Calibration:
        """Return the ranges; the samples are run once for each method."""
        calibrations = [
            cached_ranges(
                prepared,
                [name for name, wanted_method in wanted.items() if wanted_method == method],
                samples,
                model.part.inputs,
                method=method,
                source=model.digest,
            )
            for method in dict.fromkeys(wanted.values())
        ]
        ranges = {name: pair for calibration in calibrations for name, pair in calibration.ranges.items()}
        notes = dict.fromkeys(note for calibration in calibrations for note in calibration.notes)
        return Calibration(ranges, calibrations[0].count, tuple(notes))

    def _weights(self, graph: Any, layers: Mapping[str, StaticLayer]) -> dict[str, dict[str, Any]]:
        """Return how the weights of layers that differ from the rest are quantized, by weight."""
        overrides = {}
        for node in graph.node:
            layer = layers.get(node.name)
            if layer is None or (layer.per_channel, layer.reduce_range) == (self.per_channel, self.reduce_range):
                continue
            transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
            axis = {"axis": 0 if node.op_type == "Conv" or transposed else 1} if layer.per_channel else {}
            overrides[node.input[1]] = {"reduce_range": layer.reduce_range, **axis}
        return overrides


def _check_percentile(percent: float | None) -> None:
    if percent is not None and not 50 < percent <= 100:
        raise UsageError(
            f"quantize-static: percentile must be above 50 and at most 100, found {percent}.",
            hint="set 99.99, for example, in the recipe",
        )
