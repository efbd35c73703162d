"""TensorRT as an edgekit backend. Importing this imports neither the runtime nor a framework."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.plugin import USUAL, Built, Model, Payload, Probe, Runtime, Session, Support, Target, package_versions
from edgekit_tensorrt import compute_capability, rules
from edgekit_tensorrt.options import Options
from edgekit_tensorrt.recipes import PASS_DEFAULTS, RECIPES

__all__ = ["TensorRT"]

DISTRIBUTIONS = ("tensorrt", "tensorrt-rtx", "onnx", "onnxruntime")
"""The distributions whose versions decide what can be built here, and how."""

INSTALL = "pip install 'edgekit-tensorrt[build]'"


class TensorRT:
    """Prepare typed graphs for TensorRT anywhere, compile them on the device that runs them."""

    api = 2
    name = "tensorrt"
    summary = "TensorRT: NVIDIA Jetson and NVIDIA GPUs"
    accepts = frozenset({"onnx"})
    options = Options
    runtime = Runtime(("tensorrt", "tensorrt-rtx"))  # no `modules` to import first: without a driver nothing is loaded
    recipes = RECIPES
    default_recipes = USUAL

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings that TensorRT needs, or is fast with, on all devices."""
        return PASS_DEFAULTS.get(pass_name, {})

    def variant(self, target: Target, name: str) -> Target:
        """Return the target for one compute capability, as `8.9`."""
        return compute_capability.narrowed(target, name)

    def probe(self) -> Probe:
        """Return what is here: a device that builds and runs engines, or enough to prepare a portable payload."""
        from edgekit_tensorrt.device import describe_gpu

        versions = package_versions(DISTRIBUTIONS)
        gpu, device_versions = describe_gpu()
        if gpu is not None:
            return Probe(True, {**versions, **device_versions}, (gpu,))
        missing = [name for name in ("onnx", "onnxruntime") if not _is_here(name)]
        if missing:
            problem = f"{' and '.join(missing)} not installed: onnx prepares graphs, onnxruntime checks their outputs"
            return Probe(False, versions, (), (problem,), INSTALL)
        return Probe(True, versions, ("none here: it prepares graphs for a device",))

    def supports(self, model: Model, target: Target) -> Support:
        """Return every problem, from tables; where the model has its graph, that of its nodes too."""
        problems = [*rules.model_problems(model, target)]
        if model.format in self.accepts and len(model.parts) == 1:
            problems += rules.graph_problems(model, target)
        return Support(tuple(problems))

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Write the graph and its build plan, which TensorRT compiles on the device."""
        chosen = Options.from_dict(options, "tensorrt options")
        from edgekit_tensorrt.build import build

        return build(model, target, chosen, workdir)

    def open(self, payload: Payload) -> Session:
        """Load what was built; off target, the graph in the payload runs on ONNX Runtime."""
        if payload.off_target:
            from edgekit_tensorrt.cpu_session import CpuSession

            return CpuSession(payload)
        from edgekit_tensorrt.session import open_engine

        session: Session = open_engine(payload)
        return session

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        """Compile what `build` prepared, on this machine: the device."""
        from edgekit_tensorrt.finish import finish

        return finish(payload, target, workdir)


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # half uninstalled
        return False
