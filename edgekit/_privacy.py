"""Switches for the telemetry of dependencies: call `no_telemetry` before the first import of a runtime or framework."""

from __future__ import annotations

import os
import sys

_OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime >= 1.29 writes a device id at import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def no_telemetry(*modules: str) -> None:
    """Switch off telemetry that has a switch, for this process and its children; make `modules`, the packages of
    telemetry without one, unimportable in this process.
    """
    os.environ.update(_OFF)
    for name in modules:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how Python marks "not importable"
