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
"""Whose versions decide what is made here, and what can be."""

INSTALL = "pip install 'edgekit-tensorrt[build]'"


class TensorRT:
    """Prepare typed graphs for TensorRT anywhere, compile them on the device that runs them."""

    api = 2
    name = "tensorrt"
    summary = "TensorRT: NVIDIA Jetson and NVIDIA GPUs"
    accepts = frozenset({"onnx"})
    options = Options
    runtime = Runtime(("tensorrt", "tensorrt-rtx"))  # without a driver nothing is loaded, so nothing is imported first
    recipes = RECIPES
    default_recipes = USUAL

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings that TensorRT needs or is fast with, on all its devices."""
        return PASS_DEFAULTS.get(pass_name, {})

    def variant(self, target: Target, name: str) -> Target:
        """Return the target for one compute capability, as `8.9`."""
        return compute_capability.narrowed(target, name)

    def probe(self) -> Probe:
        """Return what is here: a device that builds and runs engines, or enough to prepare a portable payload."""
        from edgekit_tensorrt.device import look

        versions = package_versions(DISTRIBUTIONS)
        found, more = look()
        if found is not None:
            return Probe(True, {**versions, **more}, (found,))
        missing = [name for name in ("onnx", "onnxruntime") if not _is_here(name)]
        if missing:
            problem = f"{' and '.join(missing)} not installed: graphs are prepared with onnx and gated on onnxruntime"
            return Probe(False, versions, (), (problem,), INSTALL)
        return Probe(True, versions, ("none here: prepares for a device",))

    def supports(self, model: Model, target: Target) -> Support:
        """List what is in the way, from tables of facts; where the graph is there, its nodes are read too."""
        problems = [*rules.model_problems(model, target)]
        if model.format in self.accepts and len(model.parts) == 1:
            problems += rules.graph_problems(model, target)
        return Support(tuple(problems))

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Write the graph and its build plan, which the device's own TensorRT compiles."""
        chosen = Options.from_dict(options, "tensorrt options")
        from edgekit_tensorrt.build import build

        return build(model, target, chosen, workdir)

    def open(self, payload: Payload) -> Session:
        """Load what was built; elsewhere than on its device, the graph that ships runs on ONNX Runtime."""
        if payload.off_target:
            from edgekit_tensorrt.gate import GateSession

            return GateSession(payload)
        from edgekit_tensorrt.session import open_engine

        session: Session = open_engine(payload)
        return session

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        """Compile on this machine, the device, what `build` prepared."""
        from edgekit_tensorrt.finishing import finish

        return finish(payload, target, workdir)


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # half uninstalled
        return False
