"""The build side: check that ONNX Runtime loads the graph, list what opening it requires, and write the payload."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.frameworks import onnx_graph, saturation
from edgekit.plugin import Built, Model, Target, probe_host
from edgekit_onnxruntime import graph
from edgekit_onnxruntime.options import CPU, Options
from edgekit_onnxruntime.session import load

FILE = "model.onnx"


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write `model.onnx` and its external data into `workdir`.

    Raises UnsupportedError with each operator and node that the runtime lacks, BuildError for what it rejects.
    """
    proto = onnx_graph.read(model.graph)
    if onnx_graph.is_exact(proto):
        options = replace(options, accuracy_level=1)
    here = not target.mismatches(probe_host())
    on_x86 = target.device.arch == "x86_64" and options.provider == CPU
    wide_weight = graph.wide_weight(proto, model.graph.parent) if on_x86 else None
    isa, notes = saturation.requirements(wide_weight, target, "ONNX Runtime", here=here)
    _check_loads(model.graph, proto, options)
    return Built(
        files=_copy_model(model.graph, proto, workdir),
        requires={**_requires(proto, target, options), **isa},
        options=options.to_dict(),
        evidence="built_on_device" if here else "parsed",
        notes=(*_notes(model, target, options), *graph.slow(proto), *notes),
    )


def _requires(proto: Any, target: Target, options: Options) -> dict[str, Any]:
    """Return what opening the graph requires, whatever its weights are."""
    package = "onnxruntime-gpu" if options.provider.startswith(("CUDA", "Tensorrt")) else "onnxruntime"
    requires: dict[str, Any] = {"packages": {package: f">={graph.oldest_release(proto)}"}}
    if target.device.arch:
        requires["arch"] = target.device.arch
    return requires


def _notes(model: Model, target: Target, options: Options) -> tuple[str, ...]:
    notes = []
    if "f16" in model.precision.split("+") and target.device.arch == "x86_64":
        notes.append("the weights are f16; ONNX Runtime's x86 kernels cast them and compute in f32")
    packed = not {"i8-weights", "i4-weights"}.isdisjoint(model.precision.split("+"))
    if packed and options.accuracy_level == 4:
        notes.append("ONNX Runtime rounds activations to int8 in blocks where it multiplies them by packed weights")
    return tuple(notes)


def _check_loads(path: Path, proto: Any, options: Options) -> None:
    """Load the graph, as the device will. Raises what `build` raises."""
    try:
        load(path, options)
    except EdgekitError:
        raise
    except Exception as error:
        message = str(error)
        version = re.search(r"Opset (\d+) is under development.*?is till opset (\d+)", message, re.S)
        ir_version = re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", message)
        if match := version or ir_version:
            kind = "opset" if version else "IR version"
            installed = importlib.metadata.version("onnxruntime")
            raise UnsupportedError(
                f"the graph has {kind} {match[1]}; onnxruntime {installed} reads up to {match[2]}.",
                hint=f"export with {kind} {match[2]} or lower, or pip install --upgrade onnxruntime",
            ) from error
        if graph.reports_missing_kernel(message):
            problems = graph.missing_kernels(proto, lambda data: _load_error(data, options)) or [_last_lines(message)]
            raise UnsupportedError(
                "ONNX Runtime lacks operators of this model:",
                problems=problems,
                hint="replace these operators in the model, or choose another backend (see `edgekit plugins`)",
            ) from error
        raise BuildError(f"ONNX Runtime cannot load '{path.name}': {_last_lines(message)}") from error


def _load_error(data: bytes, options: Options) -> str | None:
    try:
        load(data, options)
    except Exception as error:
        return str(error)
    return None


def _last_lines(message: str) -> str:
    """Return the end of a runtime's message without the source locations and symbols before it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return re.sub(r"/onnxruntime_src/\S+ .*?\) ", "", " ".join(lines[-3:]))


def _copy_model(source: Path, proto: Any, workdir: Path) -> tuple[str, ...]:
    """Copy the graph and its external data; leave `workdir` empty where that fails."""
    try:
        return onnx_graph.copy_model(source, onnx_graph.external_files(proto), workdir, name=FILE)
    except BaseException:
        for path in workdir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
