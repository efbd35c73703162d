"""What a user can tune in OpenVINO. Precision lives in the model; the build writes what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record

TELEMETRY = "openvino_telemetry"
"""The module that calls home. openvino and nncf have no switch but CI=true; without it they use their own stub."""


@dataclass(frozen=True)
class Options(Record):
    """Runtime options; an unknown key in a target or recipe is an error."""

    device: str = "CPU"
    """An OpenVINO device: `CPU`, `GPU`, `GPU.1`, `NPU`."""
    threads: int | None = None
    """Threads for inference; None takes the processors that the opening process may use."""
    streams: int = 1
    """Inferences that run side by side; one gives the least latency."""
    hint: Literal["latency", "throughput"] = "latency"
    pinning: bool | None = None
    """Bind each thread to a processor; None leaves it to OpenVINO."""
    inference_precision: Literal["f32", "bf16", "f16"] | None = None
    """Type of the arithmetic that is not int8. The build sets it by the model, as OpenVINO's own choice is silent."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"openvino: 'threads' is {self.threads}, at least 1 is needed.")
        if self.streams < 1:
            raise UsageError(f"openvino: 'streams' is {self.streams}, at least 1 is needed.")
        if not self.device:
            raise UsageError("openvino: 'device' is empty.", hint="the default is CPU")

    @property
    def on_cpu(self) -> bool:
        return self.device.partition(".")[0] == "CPU"
