"""What a user can tune in TensorRT. Precision is not among it: that lives in the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record


@dataclass(frozen=True)
class Options(Record):
    """Options of the build and of the runtime; an unknown key in a target or recipe is an error."""

    runtime: Literal["tensorrt", "rtx"] = "tensorrt"
    """`tensorrt`: the engine is built on its device. `rtx`: TensorRT for RTX, which compiles ahead without a GPU."""
    workspace_mb: int | None = None
    """Scratch memory that a kernel may take, in MiB; None leaves it to TensorRT, which takes what the device has."""
    optimization_level: int | None = None
    """0 to 5, how long the builder searches for kernels; None leaves it to TensorRT (3)."""
    sparsity: Literal["auto", "on", "off"] = "auto"
    """Sparse kernels for 2:4 weights; `auto` allows them where weights have the pattern."""
    dla_core: int | None = None
    """The deep learning accelerator to build for; None builds for the GPU."""
    gpu_fallback: bool = True
    """Layers that the accelerator refuses run on the GPU instead of failing the build."""

    def __post_init__(self) -> None:
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UsageError(f"tensorrt: 'workspace_mb' is {self.workspace_mb}, at least 1 is needed.")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(f"tensorrt: 'optimization_level' is {self.optimization_level}, it must be 0 to 5.")
        if self.dla_core is not None and self.dla_core < 0:
            raise UsageError(f"tensorrt: 'dla_core' is {self.dla_core}, it must be 0 or more.")
        if self.dla_core is not None and self.runtime == "rtx":
            raise UsageError("tensorrt: TensorRT for RTX has no deep learning accelerator.", hint="drop 'dla_core'")
