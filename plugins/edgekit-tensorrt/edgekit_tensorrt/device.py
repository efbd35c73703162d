"""Find out whether this machine builds and runs engines, quickly and without loading TensorRT."""

from __future__ import annotations

from importlib.util import find_spec

from edgekit.errors import EdgekitError
from edgekit.plugin import probe_jetson
from edgekit_tensorrt import cuda, runtime, trtexec


def describe_gpu() -> tuple[str | None, dict[str, str]]:
    """Return a description of the GPU, and versions of the software; None where the driver or TensorRT is missing."""
    try:
        gpu = cuda.driver()
        description = f"{gpu.name}, SM {gpu.sm}"
        versions = {"cuda": gpu.driver}
    except EdgekitError:
        return None, {}
    if not any(map(_is_installed, runtime.MODULES.values())):
        try:
            trtexec.find()
        except EdgekitError:
            return None, {}
    jetson = probe_jetson()
    if jetson is not None:
        versions |= {"tensorrt": jetson.tensorrt} if jetson.tensorrt else {}
        versions |= {"jetpack": jetson.jetpack} if jetson.jetpack else {}
        description += f", power mode {jetson.power_mode}" if jetson.power_mode else ""
    return description, versions


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None or runtime.system_folder(module) is not None
    except (ImportError, ValueError):  # half uninstalled
        return False
