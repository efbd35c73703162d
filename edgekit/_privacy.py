"""Keep dependencies from calling home. Call `no_telemetry` before the first import of a runtime or a framework."""

from __future__ import annotations

import os
import sys

_OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29 writes a device id at import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def no_telemetry() -> None:
    """Switch off the telemetry of onnxruntime, openvino and the Hugging Face hub, for this process and its children."""
    os.environ.update(_OFF)
    # openvino and nncf have no switch but CI=true; where their telemetry package does not import, they use their own
    # stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python marks "not importable"
