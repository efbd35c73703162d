"""Weights in 8 or 4 bits, activations in float: for products limited by memory, as those of language models.

The form is standard ONNX: DequantizeLinear before MatMul or Gemm, one scale for each channel or for each block of a
channel (opset 21). ONNX Runtime turns it into MatMulNBits, OpenVINO keeps the weights packed and unpacks them as it
multiplies. Tables that are looked up become int8 with a scale for each row, which is looked up with it.
"""

from __future__ import annotations

import builtins
import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph, onnx_model
from edgekit.frameworks.onnx_external import DataFile
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.overrides import by_node, check_operators
from edgekit.passes.onnx.prepare import forget_inference, prepare
from edgekit.passes.quantize.layer_costs import layer_costs, weight_costs
from edgekit.passes.quantize.qdq import choose_nodes, drop_unread_constants
from edgekit.passes.quantize.weight_packing import Weights, pack, quantize_lookup, row_lookups, split_gemm
from edgekit.plugin import LayerCost

if TYPE_CHECKING:
    from edgekit.data import Feeds

PRODUCTS = ("MatMul", "Gemm")
OPERATORS = (*PRODUCTS, "Gather")

BLOCK = 32
"""Default number of elements that share a scale in 4 bits; `benchmarks/results/weight-only.md` compares others."""

LEAST_BLOCK = 16
"""onnxruntime's MatMulNBits takes blocks of a power of two from 16 on; OpenVINO takes those that divide the rows."""

COST_SAMPLES = 16


@dataclass(frozen=True)
class WeightLayer(Record):
    """Settings for an operator type or a node; None is the setting for all."""

    float: bool | None = None
    """Whether it is left in float."""
    bits: Literal[8, 4] | None = None
    block: int | None = None
    symmetric: bool | None = None

    def __post_init__(self) -> None:
        _check_block(self.block)


@dataclass(frozen=True)
class WeightOverrides(Record):
    """Settings by operator type and by node name; a node's come before its type's."""

    operators: Mapping[str, WeightLayer] = field(default_factory=dict)
    nodes: Mapping[str, WeightLayer] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightOnly(Record):
    """Store the weights of MatMul, Gemm and Gather in 8 or 4 bits, and leave activations in float; needs no samples."""

    name: ClassVar[str] = "weight-only"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

    bits: Literal[8, 4] = 8
    block: int | None = None
    """Number of elements of a channel that share a scale; None is all of them in 8 bits, 32 in 4 bits. A channel that
    it does not divide gets the next smaller power of two; one that 16 does not divide gets 8 bits and one scale."""
    symmetric: bool = True
    """Zero point 0; without it each scale has its own zero point, for weights that are mostly of one sign."""
    scale: Literal["mse", "max"] = "mse"
    """`max`: the greatest value is the last level. `mse`: smaller scales are tried too, and the one that changes the
    weights least is kept."""
    embeddings: bool = True
    """Whether tables that are looked up (Gather) are stored in int8."""
    exact: bool = False
    """Whether activations must stay in float. ONNX Runtime rounds them to int8 in blocks where it multiplies them by
    packed weights, which changes the tokens of models whose activations have channels of large values."""
    least_elements: int = 4096
    """Smaller weights stay in float: packing them saves nothing."""
    exclude: tuple[str, ...] = ()
    """Names of nodes to leave in float."""
    overrides: WeightOverrides | None = None
    """Settings for an operator type or a node: `[passes.operators.Gemm]`, `[passes.nodes."/head/MatMul"]`."""

    def __post_init__(self) -> None:
        _check_block(self.block)
        if self.least_elements < 0:
            raise UsageError(
                f"weight-only: least_elements must be at least 0, found {self.least_elements}.",
                hint="set least_elements = 0 in the recipe to pack every layer",
            )
        check_operators(self.overrides, OPERATORS, self.name)

    @property
    def precision(self) -> str:
        return f"i{self.bits}-weights"

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the model with packed weights into `workdir`; `samples` are not used.

        Raises UnsupportedError where there is nothing to pack.
        """
        if model.precision not in ("f32", "bf16"):
            raise UnsupportedError(
                f"packed weights start from an f32 model; this one is {model.precision}.",
                hint="put weight-only first in the recipe",
            )
        no_telemetry()
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        notes: list[str] = []
        for part in model.parts:
            graph = workdir / part.file
            graph.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="pack-", dir=workdir) as scratch, quiet():
                part_notes = self._write(model.folder / part.file, graph, Path(scratch))
            notes += part_notes if len(model.parts) == 1 else [f"{part.name}: {note}" for note in part_notes]
        precision = f"i{self.bits}-weights" if model.precision == "f32" else f"i{self.bits}-weights+{model.precision}"
        return rewrite.finish(model, workdir, precision=precision, notes=notes)

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Return the change of the outputs, or without samples of the weights, by packing each MatMul and Gemm alone.

        Raises UnsupportedError for a model of several graphs.
        """
        if len(model.parts) != 1:
            raise UnsupportedError(
                f"the cost of packing a layer is measured for a model of one graph; this one has {len(model.parts)}.",
                hint="name the layers to leave in float in the recipe's `exclude`",
            )
        from onnx import ModelProto

        no_telemetry()
        with tempfile.TemporaryDirectory(prefix="costs-", dir=workdir) as scratch, quiet():
            prepared = prepare(model.graph, Path(scratch) / "prepared", least_opset=self._least_opset)
            proto = ModelProto()
            proto.CopyFrom(prepared.proto)
            self._pack(proto, Weights(model.folder))
            split = {node.name for node in proto.graph.node if node.op_type == "MatMul"}
            split_gemm(prepared.proto.graph, split, Weights(model.folder))
            layers = {node.name for node in proto.graph.node if node.op_type in PRODUCTS}
            if samples is None or len(samples) == 0:
                return weight_costs(prepared.proto, proto, layers)
            file = Path(scratch) / "switched.onnx" if prepared.large else None
            return layer_costs(prepared.proto, proto, layers, samples.subsample(COST_SAMPLES), file=file)

    def _write(self, source: Path, graph: Path, scratch: Path) -> list[str]:
        """Write the packed graph of `source`, and return notes: weights that are in a file of their own are read and
        packed one by one into another.
        """
        prepared = prepare(source, scratch / "prepared", least_opset=self._least_opset, detach=True)
        with contextlib.ExitStack() as stack:
            is_detached = prepared.file == source
            data = stack.enter_context(DataFile(graph)) if is_detached else None
            weights = Weights(source.parent, data)
            notes = self._pack(prepared.proto, weights)
            weights.copy_rest(prepared.proto.graph)
        forget_inference(prepared.proto)
        if self.exact:
            onnx_graph.mark_exact(prepared.proto)
        (onnx_model.rewrite if is_detached else onnx_model.save)(prepared.proto, graph)
        return [*notes, *prepared.notes]

    @property
    def _least_opset(self) -> int:
        """Blocks of a channel, and 4 bits, came with opset 21; scales for each channel with 13."""
        settings = [self, *(self.overrides.operators.values() if self.overrides else ())]
        settings += self.overrides.nodes.values() if self.overrides else ()
        return 21 if any(layer.bits == 4 or layer.block for layer in settings) else 13

    def _pack(self, proto: Any, weights: Weights) -> list[str]:
        """Pack the weights of a prepared graph in place, and return notes. Raises UnsupportedError."""
        graph = proto.graph
        layers = by_node(graph, OPERATORS, self._defaults(), self.overrides, self.name)
        exclude = (*self.exclude, *(name for name, layer in layers.items() if layer.float))
        choice = choose_nodes(graph, PRODUCTS, (), exclude, activation_matmul=False)
        forms: dict[str, int] = {}
        small = unsplit = 0
        for node in [node for node in graph.node if node.name in choice.nodes]:
            split_gemm(graph, [node.name], weights)
            if node.op_type == "Gemm":
                unsplit += 1
                continue
            rows, columns = weights.shape(graph, node.input[1])
            if rows * columns < self.least_elements:
                small += 1
                continue
            layer = _fitting(layers[node.name], rows)
            form = pack(graph, node, layer.bits or 8, layer.block, bool(layer.symmetric), self.scale, weights)
            forms[form] = forms.get(form, 0) + 1
        tables = row_lookups(graph, self.least_elements, exclude) if self.embeddings else []
        for table in tables:
            quantize_lookup(graph, table, weights)
        if not forms and not tables:
            raise UnsupportedError(
                f"there is nothing to pack: no weight has {self.least_elements} elements.",
                hint="lower least_elements in the recipe, or use the recipe fp32",
            )
        if self._least_opset == 21:
            proto.ir_version = max(proto.ir_version, 10)
        drop_unread_constants(graph)
        notes = [f"{count} weights {form}" for form, count in sorted(forms.items())]
        notes += [f"{len(tables)} tables in int8, a scale for each row"] if tables else []
        notes += [f"left in float: {small} of fewer than {self.least_elements} elements"] if small else []
        notes += [f"left in float: {unsplit} Gemm that scale or transpose their terms"] if unsplit else []
        return [*notes, *choice.notes]

    def _defaults(self) -> WeightLayer:
        return WeightLayer(False, self.bits, self.block, self.symmetric)


def _fitting(layer: WeightLayer, rows: int) -> WeightLayer:
    """Return the layer with a block that both runtimes take for this number of rows."""
    if layer.block is None and layer.bits == 8:
        return layer
    block = layer.block or BLOCK
    while block >= LEAST_BLOCK and rows % block:
        block //= 2
    return replace(layer, block=block) if block >= LEAST_BLOCK else replace(layer, bits=8, block=None)


def _check_block(block: builtins.int | None) -> None:
    if block is not None and (block < LEAST_BLOCK or block & (block - 1)):
        raise UsageError(
            f"weight-only: block must be a power of two of at least {LEAST_BLOCK}, found {block}.",
            hint=f"set block = {LEAST_BLOCK}, or twice that, in the recipe",
        )
