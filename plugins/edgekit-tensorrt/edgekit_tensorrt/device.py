"""Find out whether this machine builds and runs engines, quickly and without loading TensorRT."""

from __future__ import annotations

from importlib.util import find_spec

from edgekit.errors import EdgekitError
from edgekit.plugin import probe_jetson
from edgekit_tensorrt import cuda, runtime, trtexec


def look() -> tuple[str | None, dict[str, str]]:
    """Describe the GPU of a machine with a driver and a TensorRT, and give versions; None where one is missing."""
    try:
        gpu = cuda.driver()
        described = f"{gpu.name}, SM {gpu.sm}"
        versions = {"cuda": gpu.driver}
    except EdgekitError:
        return None, {}
    if not any(map(_has, runtime.MODULES.values())):
        try:
            trtexec.find()
        except EdgekitError:
            return None, {}
    found = probe_jetson()
    if found is not None:
        versions |= {"tensorrt": found.tensorrt} if found.tensorrt else {}
        versions |= {"jetpack": found.jetpack} if found.jetpack else {}
        described += f", power mode {found.power_mode}" if found.power_mode else ""
    return described, versions


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None or runtime.system_folder(module) is not None
    except (ImportError, ValueError):  # half uninstalled
        return False
