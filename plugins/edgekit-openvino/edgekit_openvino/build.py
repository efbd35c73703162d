"""The build side: make OpenVINO's IR, prove that it compiles, and say what opening it needs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import BuildError, EdgekitError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph, saturation
from edgekit.plugin import Built, Model, Target, probe_host
from edgekit_openvino import BF16, graph, ir
from edgekit_openvino.options import Options
from edgekit_openvino.session import anywhere, compile_model, reads_in, runtime

Float = Literal["f32", "bf16", "f16"]


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write `model.xml` and `model.bin` into `workdir`.

    Raises UnsupportedError naming each operator and node that OpenVINO lacks, BuildError when it fails otherwise.
    """
    options, notes = _pinned(model, target, options)
    here = not target.mismatches(probe_host())
    converted, wide = _read(model)
    on_x86 = target.device.arch == "x86_64" and options.on_cpu
    needs, warned = saturation.requirements(wide if on_x86 else None, target, "OpenVINO", here=here)
    notes += warned
    if not here and not reads_in(options):
        notes += (f"checked on this processor in f32: {_arithmetic(options)} is not here",)
    _prove(converted, options, here=here)
    ir.write(converted, workdir)
    return Built(
        files=ir.FILES,
        requires={**needs, **_requires(target, options)},
        options=options.to_dict(),
        evidence="built_on_device" if here else "parsed",
        notes=notes,
    )


def _read(model: Model) -> tuple[Any, str | None]:
    """Return the model, converted where it is ONNX, and the name of a weight that uses all eight bits."""
    if model.format == "openvino":
        read = ir.read(model.graph)
        return read, ir.wide_weight(read)
    proto = onnx_graph.read(model.graph)
    return convert(model, proto), graph.wide_weight(proto, model.graph.parent)


def _pinned(model: Model, target: Target, options: Options) -> tuple[Options, tuple[str, ...]]:
    """Settle the type of the float arithmetic: left alone, OpenVINO takes bf16 where it can, silently."""
    asked = model.precision.split("+")
    notes = []
    # Graphics and NPUs compute in f16 what is not int8.
    chosen: Float = "f32" if options.on_cpu or "f32" in asked else "f16"
    if "bf16" in asked:
        chosen = "bf16"
    elif "f16" in asked:
        if _has_f16(target, options):
            chosen = "f16"
        elif options.on_cpu:
            notes.append("weights are f16; on this processor OpenVINO computes them in f32")
    if "i8-dynamic" in asked:
        notes.append("OpenVINO runs dynamically quantized products in f32: nothing is gained over fp32")
    if options.inference_precision not in (None, chosen):
        raise UsageError(
            f"the option inference_precision = '{options.inference_precision}' contradicts the model,"
            f" which is {model.precision}.",
            hint="leave the option out, and choose a recipe with the precision wanted",
        )
    return replace(options, inference_precision=chosen), tuple(notes)


def _has_f16(target: Target, options: Options) -> bool:
    if not options.on_cpu:
        return True
    wanted = "avx512_fp16" if target.device.arch == "x86_64" else "fp16"
    return wanted in target.device.isa


def _requires(target: Target, options: Options) -> dict[str, Any]:
    """List what opening needs, whatever the weights are."""
    # The IR of a release is read by later ones; nothing promises the other way round.
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

    By convert_model: read_model leaves Q/DQ unfused, each zero point a layer of its own (2026.4).
    """
    ov = runtime()
    try:
        converted = ov.convert_model(str(model.graph))
    except Exception as error:
        problems = graph.lacking(proto, str(error))
        if problems:
            raise UnsupportedError(
                "OpenVINO lacks operators of this model:",
                problems=problems,
                hint="replace these operators in the model, or choose another backend (see `edgekit plugins`)",
            ) from error
        raise BuildError(f"OpenVINO cannot convert '{model.graph.name}':\n{_last_lines(error)}") from error
    for specs, ports in ((model.part.inputs, converted.inputs), (model.part.outputs, converted.outputs)):
        if len(specs) != len(ports):
            raise BuildError(
                f"OpenVINO made {len(ports)} tensors ({', '.join(map(str, ports))}) of {', '.join(map(str, specs))}."
            )
        for index, spec in enumerate(specs):
            if not any(spec.name in port.get_names() for port in ports):
                ports[index].get_tensor().add_names({spec.name})
    _number(converted, proto)
    return converted


def _number(converted: Any, proto: Any) -> None:
    """Name the layers that the ONNX graph does not name by their place: OpenVINO counts what a process made so far, and
    two builds of one model would differ in that.
    """
    named = {name for node in proto.graph.node for name in (node.name, *node.output)}
    named |= {tensor.name for tensor in (*proto.graph.initializer, *proto.graph.input)}
    for place, layer in enumerate(converted.get_ordered_ops()):
        name = layer.get_friendly_name()
        if name not in named and re.fullmatch(r"[A-Za-z]+_\d+", name):
            layer.set_friendly_name(f"{layer.get_type_name()}.{place}")


def _arithmetic(options: Options) -> str:
    return f"{options.inference_precision or 'f32'} on the {'processor' if options.on_cpu else options.device}"


def _prove(converted: Any, options: Options, *, here: bool) -> None:
    """Compile, as the device will; for another machine on this processor in f32 where its arithmetic is not here."""
    if not here and not reads_in(options):
        options = anywhere(options)
    try:
        compile_model(converted, options)
    except EdgekitError:
        raise
    except Exception as error:
        raise BuildError(f"OpenVINO cannot compile the model for {options.device}:\n{_last_lines(error)}") from error


def _last_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-4:])
