"""SmoothQuant: move the outliers of activations into the weights that multiply them, before int8 rounds both.

Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (arXiv
2211.10438): channel j of an activation is divided by s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), and row j of the
weights multiplied by it. The model computes the same as before; what changes is its error in int8.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError, listed, nearest
from edgekit.frameworks.onnx_model import save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.prepare import Prepared, forget_inference, prepare
from edgekit.passes.quantize.channel_statistics import channel_extremes, sample_rows
from edgekit.passes.quantize.smoothquant_scaling import SmoothableActivation, smooth, smoothable_activations

if TYPE_CHECKING:
    import numpy as np

    from edgekit.data import Feeds

ALPHAS = tuple(step / 10 for step in range(1, 10))

SEARCH_SAMPLES = 16


@dataclass(frozen=True)
class Smooth(Record):
    """Scale the channels of the activations that MatMul and Gemm read to similar ranges, so that int8 rounds them less.

    The model's outputs stay the same.
    """

    name: ClassVar[str] = "smooth"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

    alpha: float | Literal["auto"] = 0.5
    """How much moves into the weights: 0 nothing, 1 all. `auto` tries 0.1 to 0.9 and no smoothing for each activation,
    and keeps what changes the products least."""
    reduce_range: bool = False
    """Whether the weights become 7-bit later, as on x86 without VNNI or AMX: `auto` then rounds them to 7 bits."""
    insert: bool = True
    """Whether an operator is inserted where no norm or layer before can take the division, as where a residual reads
    the norm too; without it such activations stay as they are."""
    exclude: tuple[str, ...] = ()
    """Names of MatMul and Gemm nodes whose activations are not changed."""
    samples: int | None = None
    """Number of the inputs to run, evenly spread; None runs all of them."""

    def __post_init__(self) -> None:
        if self.alpha != "auto" and not 0 <= self.alpha <= 1:
            raise UsageError(
                f"smooth: alpha must be between 0 and 1, or 'auto', found {self.alpha}.",
                hint='set alpha = 0.5 or alpha = "auto" in the recipe',
            )
        if self.samples is not None and self.samples < 1:
            raise UsageError(
                f"smooth: samples must be at least 1, found {self.samples}.",
                hint="leave samples out of the recipe, or set a number above 0",
            )

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the smoothed model into `workdir`.

        Raises UsageError without samples, UnsupportedError where nothing can be smoothed.
        """
        if samples is None or len(samples) == 0:
            raise UsageError(
                "smoothing needs samples to find the outliers of the activations, but there are none.",
                hint="pass data with --data, or use a recipe that needs none: int8-dynamic, fp16 or bf16",
            )
        if model.precision not in ("f32", "bf16") or len(model.parts) != 1:
            raise UnsupportedError(
                f"smoothing starts from an f32 model of one graph; this one is {model.precision} with "
                f"{len(model.parts)}.",
                hint="put smooth first in the recipe",
            )
        no_telemetry()
        samples = samples if self.samples is None else samples.subsample(self.samples)
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        with tempfile.TemporaryDirectory(prefix="smooth-", dir=workdir) as scratch, quiet():
            prepared = prepare(model.graph, Path(scratch) / "prepared", least_opset=13)
            activations = self._activations(prepared)
            scales, notes = self._scales(prepared, activations, samples, model, Path(scratch))
            proto = prepared.proto
            for activation in activations:
                if activation.tensor in scales:
                    smooth(proto.graph, activation, scales[activation.tensor])
            forget_inference(proto)
            save(proto, workdir / model.part.file)
        return rewrite.finish(model, workdir, precision=model.precision, notes=(*notes, *prepared.notes))

    def _activations(self, prepared: Prepared) -> list[SmoothableActivation]:
        graph = prepared.proto.graph
        names = {node.name for node in graph.node}
        for name in self.exclude:
            if name not in names:
                raise UsageError(
                    f"exclude: the graph has no node '{name}'.{nearest(name, names)}",
                    hint=f"its nodes: {listed(names)}",
                )
        activations = [
            activation
            for activation in smoothable_activations(graph, self.exclude)
            if self.insert or activation.folds is not None
        ]
        if not activations:
            raise UnsupportedError(
                "there is nothing to smooth: no MatMul or Gemm with constant weights reads a suitable activation.",
                hint="use --recipe int8-static",
            )
        return activations

    def _scales(
        self,
        prepared: Prepared,
        activations: Sequence[SmoothableActivation],
        samples: Feeds,
        model: Model,
        scratch: Path,
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Return the divisors of each activation that is smoothed, by tensor, and notes."""
        from onnx import numpy_helper

        file = scratch / "extremes.onnx" if prepared.large else None
        widths = {activation.tensor: activation.width for activation in activations}
        greatest = channel_extremes(prepared.proto, widths, samples, model.part.inputs, file=file)
        rows: dict[str, np.ndarray] = {}
        if self.alpha == "auto":
            rows = sample_rows(prepared.proto, widths, samples.subsample(SEARCH_SAMPLES), model.part.inputs, file=file)
        constants = {tensor.name: tensor for tensor in prepared.proto.graph.initializer}
        scales: dict[str, np.ndarray] = {}
        chosen: list[float | None] = []
        for activation in activations:
            weights = [numpy_helper.to_array(constants[name]) for name, _ in activation.weights]
            matrices = [
                weight.T if axis else weight for weight, (_, axis) in zip(weights, activation.weights, strict=True)
            ]
            if self.alpha == "auto":
                levels = 64 if self.reduce_range else 127
                alpha = _best_alpha(rows[activation.tensor], greatest[activation.tensor], matrices, levels)
                chosen.append(alpha)
            else:
                alpha = self.alpha
            if alpha is not None:
                scales[activation.tensor] = divisors(greatest[activation.tensor], matrices, alpha)
        folded = sum(activation.folds is not None for activation in activations if activation.tensor in scales)
        notes = [f"{len(scales)} activations smoothed: {folded} by the norm or layer before, the others by a Mul"]
        if chosen:
            alphas = [alpha for alpha in chosen if alpha is not None]
            notes.append(
                f"alpha {min(alphas, default=0)} to {max(alphas, default=0)}; {chosen.count(None)} not smoothed"
            )
        return scales, tuple(notes)


def divisors(greatest: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Return s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), 1 for a channel that is always 0 or has only zero weights.

    `greatest` is max|X_j|, [channels]; each of `weights` is [channels, columns].
    """
    import numpy as np

    weight_max = np.max([np.abs(weight).max(1) for weight in weights], axis=0).astype(np.float64)
    activation_max = greatest.astype(np.float64)
    alive = (weight_max > 1e-8) & (activation_max > 1e-8)
    scales = np.where(alive, activation_max, 1) ** alpha / np.where(alive, weight_max, 1) ** (1 - alpha)
    # Beyond these limits float32 would lose digits of a weight or an activation; no real channel comes near them.
    return np.clip(np.where(alive, scales, 1), 1e-6, 1e6)


def _best_alpha(rows: np.ndarray, greatest: np.ndarray, weights: Sequence[np.ndarray], levels: int) -> float | None:
    """Return the alpha that changes the products least when both sides are rounded; None for no smoothing.

    Activations are rounded to 127 levels on each side of 0, weights to `levels`, with a scale for each column.
    """
    import numpy as np

    exact = [rows @ weight for weight in weights]

    def error(scale: np.ndarray) -> float:
        data = _rounded(rows / scale, np.abs(greatest / scale).max(), 127)
        products = [data @ _rounded(w * scale[:, None], np.abs(w * scale[:, None]).max(0), levels) for w in weights]
        return float(sum(np.square(a - b).sum() for a, b in zip(products, exact, strict=True)))

    errors = {alpha: error(divisors(greatest, weights, alpha)) for alpha in ALPHAS}
    best = min(errors, key=lambda alpha: errors[alpha])
    return best if errors[best] < error(np.ones(len(greatest))) else None


def _rounded(values: np.ndarray, most: Any, levels: int) -> np.ndarray:
    import numpy as np

    step = np.maximum(most, 1e-12) / levels
    return np.asarray(np.clip(np.round(values / step), -levels, levels) * step)
