"""The options of OpenVINO. Precision is in the model; the build sets the option that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record

TELEMETRY = "openvino_telemetry"
"""The module that sends telemetry. openvino and nncf have no switch but CI=true; without the module they use a stub."""


MOST_THREADS = 1024
"""More than any board has processors; a runtime starts as many as it is asked for, and a hundred thousand never end."""


@dataclass(frozen=True)
class Options(Record):
    """Runtime options; an unknown key in a target or recipe is an error."""

    device: str = "CPU"
    """An OpenVINO device: `CPU`, `GPU`, `GPU.1`, `NPU`."""
    threads: int | None = None
    """Threads for inference; None: as many as the processors that the opening process may use."""
    streams: int = 1
    """Inferences that run in parallel; one has the lowest latency."""
    hint: Literal["latency", "throughput"] = "latency"
    pinning: bool | None = None
    """Bind each thread to a processor; None: OpenVINO decides."""
    inference_precision: Literal["f32", "bf16", "f16"] | None = None
    """Type of the arithmetic that is not int8. The build sets it by the model: OpenVINO would choose silently."""

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(
                f"openvino: 'threads' must be at least 1 and at most {MOST_THREADS}, not {str(self.threads)[:20]}.",
                hint="leave 'threads' out of the target to use every core",
            )
        if not 1 <= self.streams <= MOST_THREADS:
            raise UsageError(
                f"openvino: 'streams' must be at least 1 and at most {MOST_THREADS}, not {self.streams:.6g}.",
                hint="leave 'streams' out of the target",
            )
        if not self.device:
            raise UsageError("openvino: 'device' is empty.", hint="the default is CPU")

    @property
    def on_cpu(self) -> bool:
        return self.device.partition(".")[0] == "CPU"
