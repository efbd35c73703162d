"""The settings of the pass `nncf`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record


@dataclass(frozen=True)
class NncfConfig(Record):
    """The settings of NNCF that a recipe can have."""

    device: Literal["CPU", "CPU_SPR", "GPU", "NPU", "ANY"] = "CPU"
    """The device whose kernels the nodes are placed for. `CPU_SPR`, x86 processors with AMX, leaves one input of a sum
    in float; no target has it, as NNCF 3.4 raises an IndexError with it on MiniLM."""
    architecture: Literal["auto", "transformer", "other"] = "auto"
    """In transformers norms and attention stay in float and activations are smoothed; `auto` recognizes them by the
    graph. (MiniLM, STS-B Spearman: fp32 0.815, transformer 0.817, other 0.688.)"""
    preset: Literal["performance", "mixed"] | None = None
    """`performance`: symmetric activations, `mixed`: asymmetric ones. None: mixed for transformers only."""
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX, whose 16-bit sums saturate."""
    ranges: Literal["mean", "minmax"] = "mean"
    """`mean`: each sample's extremes, averaged: NNCF's default. `minmax`: the extremes over all samples."""
    bias_correction: Literal["fast", "thorough", "none"] = "fast"
    """Whether biases compensate for the mean error of quantization; `thorough` runs the samples once for each bias."""
    smoothing: float | None = None
    """For transformers: how much of the outliers moves from activations to weights, 0 to 1; negative: nothing; None:
    NNCF's 0.95."""
    exclude: tuple[str, ...] = ()
    """Layers to leave in float, by the names of their nodes in ONNX."""
    samples: int | None = 300
    """How many of the given samples are run, evenly spread; None: all of them."""

    def __post_init__(self) -> None:
        if self.smoothing is not None and self.smoothing > 1:
            raise UsageError(
                f"nncf: 'smoothing' must be at most 1, not {self.smoothing:g}.",
                hint="set smoothing = 0.95 in the recipe, or below 0 for none",
            )
        if self.samples is not None and self.samples < 1:
            raise UsageError(
                f"nncf: 'samples' must be at least 1, not {self.samples}.",
                hint="leave samples out of the recipe, or set a number above 0",
            )
