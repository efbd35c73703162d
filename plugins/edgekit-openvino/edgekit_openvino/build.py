"""The build side: write OpenVINO's IR, check that it compiles, and list what opening it requires."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import BuildError, EdgekitError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph, saturation
from edgekit.plugin import Built, Model, Target, probe_host
from edgekit_openvino import BF16, graph, interface, ir
from edgekit_openvino.options import Options
from edgekit_openvino.session import compile_model, f32_on_cpu, is_supported_here, runtime

Float = Literal["f32", "bf16", "f16"]


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write `model.xml` and `model.bin` into `workdir`.

    Raises UnsupportedError with each operator and node that OpenVINO lacks, BuildError for any other failure.
    """
    options, notes = _with_inference_precision(model, target, options)
    here = not target.mismatches(probe_host())
    converted, wide_weight = _read(model)
    on_x86 = target.device.arch == "x86_64" and options.on_cpu
    isa, saturation_notes = saturation.requirements(wide_weight if on_x86 else None, target, "OpenVINO", here=here)
    notes += saturation_notes
    _check_compiles(converted, options, here=here)
    ir.write(converted, workdir)
    return Built(
        files=ir.FILES,
        requires={**isa, **_requires(target, options)},
        options=options.to_dict(),
        evidence="built_on_device" if here else "parsed",
        notes=notes,
    )


def _read(model: Model) -> tuple[Any, str | None]:
    """Return the model, converted where it is ONNX, and the name of a weight that uses all eight bits."""
    if model.format == "openvino":
        network = ir.read(model.graph)
        return network, ir.wide_weight(network)
    proto = onnx_graph.read(model.graph)
    return convert(model, proto), graph.wide_weight(proto, model.graph.parent)


def _with_inference_precision(model: Model, target: Target, options: Options) -> tuple[Options, tuple[str, ...]]:
    """Return the options with the type of the float arithmetic set, and notes: by default OpenVINO takes bf16 where it
    can, silently.
    """
    requested = model.precision.split("+")
    notes = []
    # Graphics and NPUs compute in f16 what is not int8.
    precision: Float = "f32" if options.on_cpu or "f32" in requested else "f16"
    if "bf16" in requested:
        precision = "bf16"
    elif "f16" in requested:
        if _has_f16(target, options):
            precision = "f16"
        elif options.on_cpu:
            notes.append("the weights are f16; on this processor OpenVINO computes in f32")
    if "i8-dynamic" in requested:
        notes.append("OpenVINO runs dynamically quantized products in f32: they are not faster than fp32")
    if options.inference_precision not in (None, precision):
        raise UsageError(
            f"the option inference_precision = '{options.inference_precision}' contradicts the model,"
            f" which is {model.precision}.",
            hint="remove the option, and choose a recipe with the precision that you want",
        )
    return replace(options, inference_precision=precision), tuple(notes)


def _has_f16(target: Target, options: Options) -> bool:
    if not options.on_cpu:
        return True
    instructions = "avx512_fp16" if target.device.arch == "x86_64" else "fp16"
    return instructions in target.device.isa


def _requires(target: Target, options: Options) -> dict[str, Any]:
    """Return what opening the IR requires, whatever its weights are."""
    # Later releases read the IR of earlier ones; the reverse is not promised.
    release = ".".join(runtime().__version__.split(".")[:2])
    requires: dict[str, Any] = {"packages": {"openvino": f">={release}"}}
    device = target.device
    if device.arch:
        requires["arch"] = device.arch
    if not options.on_cpu:
        return requires
    if options.inference_precision == "f16":
        requires["isa"] = ["avx512_fp16" if device.arch == "x86_64" else "fp16"]
    if options.inference_precision == "bf16":
        requires["isa_any"] = list(BF16)  # every processor with one of these has a member of the other list too
    return requires


def convert(model: Model, proto: Any) -> Any:
    """Convert an ONNX model, read as `proto`; the tensors keep its names.

    It calls convert_model: read_model does not fuse Q/DQ, and each zero point becomes a layer (2026.4).
    """
    ov = runtime()
    try:
        converted = ov.convert_model(str(model.graph))
    except Exception as error:
        problems = graph.failed_operators(proto, str(error))
        if problems:
            raise UnsupportedError(
                "OpenVINO lacks operators of this model:",
                problems=problems,
                hint="replace these operators in the model, or choose another backend (see `edgekit plugins`)",
            ) from error
        raise BuildError(f"OpenVINO cannot convert '{model.graph.name}':\n{_last_lines(error)}") from error
    interface.restore(converted, model.part)
    _name_by_position(converted, proto)
    return converted


def _name_by_position(converted: Any, proto: Any) -> None:
    """Name the layers that the ONNX graph does not name by their position: OpenVINO numbers the layers of a process, so
    two builds of one model would differ.
    """
    named = {name for node in proto.graph.node for name in (node.name, *node.output)}
    named |= {tensor.name for tensor in (*proto.graph.initializer, *proto.graph.input)}
    for position, layer in enumerate(converted.get_ordered_ops()):
        name = layer.get_friendly_name()
        if name not in named and re.fullmatch(r"[A-Za-z]+_\d+", name):
            layer.set_friendly_name(f"{layer.get_type_name()}.{position}")


def _check_compiles(converted: Any, options: Options, *, here: bool) -> None:
    """Compile, as the device will; for another machine in f32 where this processor does not have its arithmetic."""
    if not here and not is_supported_here(options):
        options = f32_on_cpu(options)
    try:
        compile_model(converted, options)
    except EdgekitError:
        raise
    except Exception as error:
        raise BuildError(f"OpenVINO cannot compile the model for {options.device}:\n{_last_lines(error)}") from error


def _last_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-4:])
