"""SmoothQuant: move the outliers of activations into the weights that read them, before int8 rounds both.

Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (arXiv
2211.10438): channel j of an activation is divided by s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), and row j of the
weights multiplied by it. The model computes what it computed; what changes is what int8 leaves of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit._privacy import no_telemetry
from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.onnx_model import save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.passes.onnx.prepare import Prepared, forget_inference, prepare
from edgekit.passes.quantize.channel_ranges import channel_extremes, some_rows
from edgekit.passes.quantize.smoothquant_scaling import Site, sites, smooth

if TYPE_CHECKING:
    import numpy as np

    from edgekit.data import Feeds

ALPHAS = tuple(step / 10 for step in range(1, 10))

SEARCH_SAMPLES = 16


@dataclass(frozen=True)
class Smooth(Record):
    """Even out the channels of the activations that MatMul and Gemm read, exactly, so that int8 rounds them less."""

    name: ClassVar[str] = "smooth"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

    alpha: float | Literal["auto"] = 0.5
    """How much moves into the weights: 0 nothing, 1 all. `auto` tries 0.1 to 0.9 and nothing at all for each
    activation, and keeps what changes the products least."""
    reduce_range: bool = False
    """Whether 7-bit weights follow, as on x86 without VNNI or AMX: `auto` rounds them so."""
    insert: bool = True
    """Whether an operator is put in where no norm or layer before can take the division, as where a residual reads the
    norm too; without, such activations stay as they are."""
    exclude: tuple[str, ...] = ()
    """Names of MatMul and Gemm nodes whose activations are left alone."""
    samples: int | None = None
    """So many of the given inputs are run, evenly spread; None runs all of them."""

    def __post_init__(self) -> None:
        if self.alpha != "auto" and not 0 <= self.alpha <= 1:
            raise UsageError(f"smooth: alpha must be between 0 and 1, or 'auto', found {self.alpha}.")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"smooth: samples must be at least 1, found {self.samples}.")

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the smoothed model into `workdir`.

        Raises UsageError without samples, UnsupportedError where nothing can be smoothed.
        """
        if samples is None or len(samples) == 0:
            raise UsageError(
                "smoothing needs samples to find the outliers of the activations, and there are none.",
                hint="give data with --data, or take a recipe that needs none: int8-dynamic, fp16 or bf16",
            )
        if model.precision not in ("f32", "bf16") or len(model.parts) != 1:
            raise UnsupportedError(
                f"smoothing starts from an f32 model of one graph, this one is {model.precision} with "
                f"{len(model.parts)}.",
                hint="put smooth first in the recipe",
            )
        no_telemetry()
        samples = samples if self.samples is None else samples.subsample(self.samples)
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        with tempfile.TemporaryDirectory(prefix="smooth-", dir=workdir) as scratch, quiet():
            prepared = prepare(model.graph, Path(scratch) / "prepared", least_opset=13)
            found = self._sites(prepared)
            scales, notes = self._scales(prepared, found, samples, model, Path(scratch))
            proto = prepared.proto
            for site in found:
                if site.tensor in scales:
                    smooth(proto.graph, site, scales[site.tensor])
            forget_inference(proto)
            save(proto, workdir / model.part.file)
        return rewrite.finish(model, workdir, precision=model.precision, notes=(*notes, *prepared.notes))

    def _sites(self, prepared: Prepared) -> list[Site]:
        graph = prepared.proto.graph
        names = {node.name for node in graph.node}
        for name in self.exclude:
            if name not in names:
                raise UsageError(
                    f"exclude: the graph has no node '{name}'.", hint="list the nodes with `edgekit inspect`"
                )
        found = [site for site in sites(graph, self.exclude) if self.insert or site.folds is not None]
        if not found:
            raise UnsupportedError(
                "there is nothing to smooth: no MatMul or Gemm with constant weights reads an activation that can be.",
                hint="take --recipe int8-static",
            )
        return found

    def _scales(
        self, prepared: Prepared, found: Sequence[Site], samples: Feeds, model: Model, scratch: Path
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Give the divisor of each activation that is smoothed, and notes."""
        from onnx import numpy_helper

        file = scratch / "extremes.onnx" if prepared.large else None
        widths = {site.tensor: site.width for site in found}
        greatest = channel_extremes(prepared.proto, widths, samples, model.part.inputs, file=file)
        rows: dict[str, np.ndarray] = {}
        if self.alpha == "auto":
            rows = some_rows(prepared.proto, widths, samples.subsample(SEARCH_SAMPLES), model.part.inputs, file=file)
        constants = {tensor.name: tensor for tensor in prepared.proto.graph.initializer}
        scales: dict[str, np.ndarray] = {}
        chosen: list[float | None] = []
        for site in found:
            weights = [numpy_helper.to_array(constants[name]) for name, _ in site.weights]
            turned = [weight.T if axis else weight for weight, (_, axis) in zip(weights, site.weights, strict=True)]
            if self.alpha == "auto":
                alpha = _best(rows[site.tensor], greatest[site.tensor], turned, 64 if self.reduce_range else 127)
                chosen.append(alpha)
            else:
                alpha = self.alpha
            if alpha is not None:
                scales[site.tensor] = divisors(greatest[site.tensor], turned, alpha)
        folded = sum(site.folds is not None for site in found if site.tensor in scales)
        notes = [f"{len(scales)} activations smoothed: {folded} by the norm or layer before, the others by a Mul"]
        if chosen:
            plain = [alpha for alpha in chosen if alpha is not None]
            notes.append(f"alpha {min(plain, default=0)} to {max(plain, default=0)}; {chosen.count(None)} left alone")
        return scales, tuple(notes)


def divisors(greatest: np.ndarray, weights: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Give s_j = max|X_j|^alpha / max|W_j|^(1 - alpha), 1 for a channel that is always 0 or that nothing reads.

    `greatest` holds max|X_j|; each of `weights` is [channels, columns].
    """
    import numpy as np

    read = np.max([np.abs(weight).max(1) for weight in weights], axis=0).astype(np.float64)
    seen = greatest.astype(np.float64)
    alive = (read > 1e-8) & (seen > 1e-8)
    made = np.where(alive, seen, 1) ** alpha / np.where(alive, read, 1) ** (1 - alpha)
    # Beyond that a weight or an activation would leave float32's exact middle; no real channel comes near.
    return np.clip(np.where(alive, made, 1), 1e-6, 1e6)


def _best(rows: np.ndarray, greatest: np.ndarray, weights: Sequence[np.ndarray], levels: int) -> float | None:
    """Give the alpha that changes the products least when both sides are rounded; None for no smoothing.

    Activations are rounded to 127 levels at each side of 0 and weights to `levels`, with a scale for each column.
    """
    import numpy as np

    exact = [rows @ weight for weight in weights]

    def error(scale: np.ndarray) -> float:
        data = _rounded(rows / scale, np.abs(greatest / scale).max(), 127)
        made = [data @ _rounded(w * scale[:, None], np.abs(w * scale[:, None]).max(0), levels) for w in weights]
        return float(sum(np.square(a - b).sum() for a, b in zip(made, exact, strict=True)))

    found = {alpha: error(divisors(greatest, weights, alpha)) for alpha in ALPHAS}
    best = min(found, key=lambda alpha: found[alpha])
    return best if found[best] < error(np.ones(len(greatest))) else None


def _rounded(values: np.ndarray, most: Any, levels: int) -> np.ndarray:
    import numpy as np

    step = np.maximum(most, 1e-12) / levels
    return np.asarray(np.clip(np.round(values / step), -levels, levels) * step)
