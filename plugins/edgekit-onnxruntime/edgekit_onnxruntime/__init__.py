"""ONNX Runtime as an edgekit backend. Importing this imports neither the runtime nor a framework."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.plugin import (
    Built,
    KnownFault,
    Model,
    Payload,
    Probe,
    Runtime,
    Session,
    Support,
    Target,
    fewer_threads,
    no_telemetry,
    package_versions,
    probe_host,
)
from edgekit_onnxruntime.options import CPU, GENAI, GENAI_CONFIG, Options
from edgekit_onnxruntime.recipes import DEFAULT_RECIPES, RECIPES

if TYPE_CHECKING:
    from edgekit_onnxruntime.genai_session import GenAiSession

__all__ = ["OnnxRuntime"]

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""The distributions that provide the module `onnxruntime`."""

INSTALL = "pip install onnxruntime"
WHEELS = {"x86_64", "aarch64", "arm64", "amd64"}
CRASHING = KnownFault(
    "onnxruntime",
    "1.21.0",
    arch="aarch64",
    lacks="dotprod",
    works="1.20.1, 1.22.0, 1.23.2 and 1.32.0",
    source="seen on emulated Cortex-A53 and -A72",
)
"""The one release that crashes with SIGILL at import on ARM cores without dot product."""

PRECISIONS = {"f32", "f16", "i8", "i8-dynamic", "i8-weights", "i4-weights"}


class OnnxRuntime:
    """Compile for and run on ONNX Runtime."""

    api = 2
    name = "onnxruntime"
    summary = "ONNX Runtime: x86-64 and 64-bit ARM processors"
    accepts = frozenset({"onnx", GENAI})
    options = Options
    recipes = RECIPES
    default_recipes = DEFAULT_RECIPES
    runtime = Runtime(DISTRIBUTIONS, modules=("onnxruntime",), alone=("onnxruntime",), faults=(CRASHING,))

    def probe(self) -> Probe:
        """Return which ONNX Runtime is here and which execution providers it has."""
        versions = package_versions(DISTRIBUTIONS)
        problem = _known_crash(versions)
        if problem:
            return Probe(False, versions, (), (problem,), "pip install 'onnxruntime>=1.22'")
        try:
            no_telemetry()
            import onnxruntime

            devices = tuple(onnxruntime.get_available_providers())
        except Exception as error:
            return Probe(False, versions, (), _import_problems(error, versions), _install_hint(versions))
        versions = versions or {"onnxruntime": str(onnxruntime.__version__)}
        return Probe(True, {**versions, **package_versions((GENAI,))}, devices)

    def supports(self, model: Model, target: Target) -> Support:
        """Return every problem; where the model has its graph, that of its operators too."""
        problems = [*_format_problems(self, model), *_precision_problems(model), *_target_problems(target)]
        if model.format == GENAI:
            return Support((*problems, *_genai_problems(target)))
        if not problems and model.parts:
            from edgekit.frameworks import onnx_graph
            from edgekit_onnxruntime import graph

            problems = [*target.shape_problems(model.part.inputs), *graph.problems(onnx_graph.read(model.graph))]
        return Support(tuple(problems))

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Check that the runtime loads the graph, then copy it with its external data."""
        chosen = Options.from_dict(options, "onnxruntime options")
        if model.format == GENAI:
            from edgekit_onnxruntime import genai_build

            return genai_build.build(model, target, chosen, workdir)
        from edgekit_onnxruntime.build import build

        return build(model, target, chosen, workdir)

    def open(self, payload: Payload) -> Session:
        """Load what `build` wrote; needs onnxruntime and numpy only."""
        if payload.main.name == GENAI_CONFIG:
            return self.generator(payload)
        from edgekit_onnxruntime.session import OnnxRuntimeSession

        return OnnxRuntimeSession(payload)

    def generator(self, payload: Payload) -> GenAiSession:
        """Load what `build` wrote of a model for onnxruntime-genai."""
        from edgekit_onnxruntime.genai_session import GenAiSession

        return GenAiSession(payload)

    def variants(self, payload: Payload, cores: int) -> tuple[Mapping[str, Any], ...]:
        """Return fewer threads, the graph without the last level of optimization, and threads that do not spin."""
        if Options.from_dict(payload.options, "onnxruntime options").provider != CPU:
            return ()
        if payload.main.name == GENAI_CONFIG:
            return (*fewer_threads(cores), {"allow_spinning": False})
        return (*fewer_threads(cores), {"graph_level": "extended"}, {"allow_spinning": False})


def _known_crash(versions: Mapping[str, str]) -> str | None:
    """Return the problem with a release that crashes on this processor, found without importing it."""
    version = versions.get(CRASHING.package)
    if version is not None and CRASHING.holds(version, probe_host()):
        return f"{CRASHING.package} {version} crashes at import on this processor (Cortex-A53, A72 and similar cores)"
    return None


def _import_problems(error: Exception, versions: Mapping[str, str]) -> tuple[str, ...]:
    if platform.machine() not in WHEELS:
        return (f"there are no onnxruntime wheels for {platform.machine()}: a 64-bit system is needed",)
    if not versions or isinstance(error, ModuleNotFoundError):
        return (f"onnxruntime is not installed ({error})",)
    return (f"onnxruntime is installed but does not import: {type(error).__name__}: {error}",)


def _install_hint(versions: Mapping[str, str]) -> str:
    if platform.machine() not in WHEELS:
        return f"install a 64-bit operating system (aarch64), then {INSTALL}"
    return f"pip install --force-reinstall {next(iter(versions))}" if versions else INSTALL


def _format_problems(backend: OnnxRuntime, model: Model) -> list[str]:
    problems = []
    if model.format not in backend.accepts:
        problems.append(f"ONNX Runtime builds from onnx, but the model is '{model.format}'")
    if len(model.parts) > 1:
        names = ", ".join(part.name for part in model.parts)
        problems.append(f"the model has {len(model.parts)} graphs ({names}); this backend runs models of one graph")
    for part in model.parts:
        problems += [
            f"'{spec.name}' is bf16, a type that numpy arrays for ONNX Runtime cannot have"
            for spec in (*part.inputs, *part.outputs)
            if spec.dtype == "bf16"
        ]
    return problems


def _genai_problems(target: Target) -> list[str]:
    problems = []
    if not package_versions((GENAI,)):
        problems.append(f"{GENAI} is not installed (pip install 'edgekit-onnxruntime[genai]')")
    if Options.from_dict(target.options.get("onnxruntime", {})).provider != CPU:
        problems.append(f"edgekit runs {GENAI} on processors only")
    return problems


def _precision_problems(model: Model) -> list[str]:
    requested = model.precision.split("+")
    problems = [
        f"ONNX Runtime does not support the precision '{part}' (it supports {', '.join(sorted(PRECISIONS))})"
        for part in requested
        if part not in PRECISIONS | {"bf16"}
    ]
    if "bf16" in requested:
        problems.append("ONNX Runtime has no bf16 arithmetic on processors (requested: " + model.precision + ")")
    return problems


def _target_problems(target: Target) -> list[str]:
    arch = target.device.arch
    if arch is not None and arch not in WHEELS:
        return [f"there are no onnxruntime wheels for {arch}: a 64-bit x86 or ARM system is needed"]
    return []
