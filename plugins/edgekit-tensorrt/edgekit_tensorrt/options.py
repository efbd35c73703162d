"""The options of TensorRT. Precision is not one of them: it is in the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record


@dataclass(frozen=True)
class Options(Record):
    """Options of the build and of the runtime; an unknown key in a target or recipe is an error."""

    runtime: Literal["tensorrt", "rtx"] = "tensorrt"
    """`tensorrt`: the engine is built on its device. `rtx`: TensorRT for RTX compiles ahead of time, without a GPU."""
    workspace_mb: int | None = None
    """Scratch memory that a kernel may use, in MiB; None: all that the device has, as is TensorRT's default."""
    optimization_level: int | None = None
    """How long the builder searches for kernels, 0 to 5; None: TensorRT's default (3)."""
    sparsity: Literal["auto", "on", "off"] = "auto"
    """Sparse kernels for 2:4 weights; `auto` allows them where weights have the pattern."""
    dla_core: int | None = None
    """The deep learning accelerator to build for; None builds for the GPU."""
    gpu_fallback: bool = True
    """Run layers that the accelerator does not support on the GPU; False: they fail the build."""

    def __post_init__(self) -> None:
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UsageError(
                f"tensorrt: 'workspace_mb' must be at least 1, not {self.workspace_mb}.",
                hint="leave 'workspace_mb' out of the target for the whole memory",
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(
                f"tensorrt: 'optimization_level' must be 0 to 5, not {self.optimization_level}.",
                hint="leave 'optimization_level' out of the target for TensorRT's own",
            )
        if self.dla_core is not None and self.dla_core < 0:
            raise UsageError(
                f"tensorrt: 'dla_core' must be 0 or more, not {self.dla_core}.",
                hint="set dla_core = 0, or leave it out for the GPU",
            )
        if self.dla_core is not None and self.runtime == "rtx":
            raise UsageError("tensorrt: TensorRT for RTX has no deep learning accelerator.", hint="remove 'dla_core'")
