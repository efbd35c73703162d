"""The settings of the pass `nncf`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record


@dataclass(frozen=True)
class NncfConfig(Record):
    """What a recipe can set of NNCF."""

    device: Literal["CPU", "CPU_SPR", "GPU", "NPU", "ANY"] = "CPU"
    """Whose kernels the nodes are placed for. `CPU_SPR`, x86 processors with AMX, leaves one input of a sum in float;
    targets do not ask for it, as NNCF 3.4 ends in an IndexError with it on MiniLM."""
    architecture: Literal["auto", "transformer", "other"] = "auto"
    """Transformers keep norms and attention in float and have activations smoothed; `auto` tells them by the graph.
    (MiniLM, STS-B Spearman: fp32 0.815, transformer 0.817, other 0.688.)"""
    preset: Literal["performance", "mixed"] | None = None
    """`performance`: symmetric activations, `mixed`: asymmetric ones. None: mixed for transformers only."""
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX, whose 16-bit sums saturate."""
    ranges: Literal["mean", "minmax"] = "mean"
    """`mean`: each sample's extremes, averaged, as is NNCF's default. `minmax`: the extremes over all samples."""
    bias_correction: Literal["fast", "thorough", "none"] = "fast"
    """Whether biases make up for the mean error of what is quantized; `thorough` runs the samples once for each."""
    smoothing: float | None = None
    """For transformers: how far outliers move from activations to weights, 0 to 1; negative: not at all; None: NNCF's
    0.95."""
    exclude: tuple[str, ...] = ()
    """Names of layers to leave in float, as the nodes are called in ONNX."""
    samples: int | None = 300
    """So many of the given inputs are run, evenly spread; None runs all of them."""

    def __post_init__(self) -> None:
        if self.smoothing is not None and self.smoothing > 1:
            raise UsageError(f"nncf: smoothing must be at most 1, found {self.smoothing:g}.")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"nncf: samples must be at least 1, found {self.samples}.")
