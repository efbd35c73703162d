"""OpenVINO as an edgekit backend. Importing this imports neither the runtime nor a framework."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.plugin import (
    Built,
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
)
from edgekit_openvino.options import TELEMETRY, Options
from edgekit_openvino.recipes import DEFAULT_RECIPES, RECIPES, nncf_defaults

__all__ = ["OpenVino"]

INSTALL = "pip install openvino"
WHEELS = {"x86_64", "aarch64", "arm64", "amd64"}
PRECISIONS = {"f32", "f16", "bf16", "i8", "i8-dynamic", "i8-weights", "i4-weights"}
BF16 = ("avx512_bf16", "amx_bf16")
"""x86 instruction sets; with either of them OpenVINO has bf16 arithmetic."""
ARM_GLIBC = (2, 35)
"""The glibc that the aarch64 wheels of 2026 need."""


class OpenVino:
    """Compile for and run on OpenVINO."""

    api = 2
    name = "openvino"
    summary = "OpenVINO: Intel and other x86-64 processors, 64-bit ARM, Intel graphics and NPUs"
    accepts = frozenset({"onnx", "openvino"})
    options = Options
    runtime = Runtime(("openvino",), modules=("openvino",), alone=("openvino",), telemetry=(TELEMETRY,))
    recipes = RECIPES
    default_recipes = DEFAULT_RECIPES

    def pass_defaults(self, pass_name: str, target: Target) -> Mapping[str, Any]:
        """Return the settings of OpenVINO's own pass; those of other passes follow from the processor alone."""
        return nncf_defaults(target) if pass_name == "nncf" else {}

    def probe(self) -> Probe:
        """Return which OpenVINO is here and which devices it finds."""
        versions = package_versions(("openvino",))
        try:
            no_telemetry(TELEMETRY)
            import openvino

            core = openvino.Core()
            devices = tuple(_full_name(core, device) for device in core.available_devices)
        except Exception as error:
            return Probe(False, versions, (), _import_problems(error, versions), _install_hint(versions))
        if not devices:
            return Probe(False, versions, (), ("OpenVINO found no device",), "pip install --force-reinstall openvino")
        return Probe(True, versions or {"openvino": str(openvino.__version__)}, devices)

    def supports(self, model: Model, target: Target) -> Support:
        """Return every problem; where the model has its graph, that of its operators too."""
        problems = [*_format_problems(self, model), *_precision_problems(model, target), *_target_problems(target)]
        if not problems and model.parts:
            from edgekit.frameworks import onnx_graph
            from edgekit_openvino import graph

            problems = target.shape_problems(model.part.inputs)
            if model.format == "onnx":
                problems += graph.problems(onnx_graph.read(model.graph))
        return Support(tuple(problems))

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        """Write OpenVINO's IR and check that it compiles."""
        chosen = Options.from_dict(options, "openvino options")
        from edgekit_openvino.build import build

        return build(model, target, chosen, workdir)

    def open(self, payload: Payload) -> Session:
        """Load what `build` wrote; needs openvino and numpy only."""
        from edgekit_openvino.session import OpenVinoSession

        return OpenVinoSession(payload)

    def variants(self, payload: Payload, cores: int) -> tuple[Mapping[str, Any], ...]:
        """Return fewer threads, threads that may move between processors, and the hint for throughput."""
        if not Options.from_dict(payload.options, "openvino options").on_cpu:
            return ()
        return (*fewer_threads(cores), {"pinning": False}, {"pinning": True}, {"hint": "throughput"})


def _full_name(core: Any, device: str) -> str:
    try:
        return f"{device}: {core.get_property(device, 'FULL_DEVICE_NAME')}"
    except Exception:
        return device  # its driver does not report a name; the device is available all the same


def _import_problems(error: Exception, versions: Mapping[str, str]) -> tuple[str, ...]:
    machine = platform.machine()
    if machine not in WHEELS:
        return (f"there are no openvino wheels for {machine}: a 64-bit system is needed",)
    glibc = tuple(int(part) for part in platform.libc_ver()[1].split(".") if part.isdigit())
    if machine in ("aarch64", "arm64") and glibc and glibc < ARM_GLIBC:
        return (f"the openvino wheels for {machine} need glibc 2.35, this system has {platform.libc_ver()[1]}",)
    if not versions or isinstance(error, ModuleNotFoundError):
        return (f"openvino is not installed ({error})",)
    return (f"openvino is installed but does not work: {type(error).__name__}: {error}",)


def _install_hint(versions: Mapping[str, str]) -> str:
    if platform.machine() not in WHEELS:
        return f"install a 64-bit operating system (aarch64), then {INSTALL}"
    return "pip install --force-reinstall openvino" if versions else INSTALL


def _format_problems(backend: OpenVino, model: Model) -> list[str]:
    problems = []
    if model.format not in backend.accepts:
        problems.append(f"OpenVINO builds from onnx and from its own format, but the model is '{model.format}'")
    if len(model.parts) > 1:
        names = ", ".join(part.name for part in model.parts)
        problems.append(f"the model has {len(model.parts)} graphs ({names}); this backend runs models of one graph")
    for part in model.parts:
        problems += [
            f"'{spec.name}' is {spec.dtype}, a type that this backend cannot pass to OpenVINO"
            for spec in (*part.inputs, *part.outputs)
            if spec.dtype in ("bf16", "str")
        ]
    return problems


def _precision_problems(model: Model, target: Target) -> list[str]:
    requested = model.precision.split("+")
    problems = [
        f"OpenVINO does not support the precision '{part}' (it supports {', '.join(sorted(PRECISIONS))})"
        for part in requested
        if part not in PRECISIONS
    ]
    if "bf16" not in requested:
        return problems
    device = target.device
    if not Options.from_dict(target.options.get("openvino", {})).on_cpu:
        problems.append("OpenVINO has bf16 arithmetic on processors only")
    elif device.arch not in (None, "x86_64"):
        problems.append(f"OpenVINO has bf16 arithmetic on x86 only, '{target.name}' is {device.arch}")
    elif not set(device.isa) & set(BF16):
        isa = ", ".join(device.isa) or "no instruction set listed"
        problems.append(f"bf16 needs {' or '.join(BF16)}; '{target.name}' has {isa}")
    return problems


def _target_problems(target: Target) -> list[str]:
    arch = target.device.arch
    if arch is not None and arch not in WHEELS:
        return [f"there are no openvino wheels for {arch}: a 64-bit x86 or ARM system is needed"]
    return []
