"""Check a model against a target by tables: no compiler, no device, every problem at once.

`model_problems` needs no graph, so a plan can be checked with it. `graph_problems` reads the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edgekit.plugin import Model, Part, ShapeRange, Target
from edgekit_tensorrt import support_matrix
from edgekit_tensorrt.options import Options
from edgekit_tensorrt.support_matrix import Version

PRECISIONS = {"f32": "f32", "f16": "f16", "i8": "i8", "i8-weights": "i8", "i4-weights": "i4", "f8": "f8"}
"""The parts that a model's precision may have, and the type that the device must then compute in."""

UNSUPPORTED = {
    "bf16": "bf16 is a setting of processor runtimes, the graph itself is f32: use the recipe fp16",
    "i8-dynamic": "TensorRT has no dynamic quantization: use the recipe int8-fp16",
}


def options_of(target: Target) -> Options:
    """Return the target's options for this backend."""
    return Options.from_dict(target.options.get("tensorrt", {}), f"target '{target.name}', options of tensorrt")


def versions(target: Target) -> tuple[Version, ...]:
    """Return the TensorRT versions in the target's software, sorted; none where it lists none."""
    software = " ".join(target.device.software.values())
    numbers = re.findall(r"TensorRT (\d+)\.(\d+)", software)
    return tuple(sorted({(int(major), int(minor)) for major, minor in numbers}))


ALIASES = {"batch": "batch_size", "sequence": "sequence_length"}
"""The exporters' names of sizes that have a shorter name in targets and options."""


BEAMS = 8
"""Most hypotheses that an engine with states takes: each is a row of the batch."""


class Sizes(NamedTuple):
    """The range of a size that may be 0, as the length of a text that is not begun."""

    min: int
    opt: int
    max: int


def ranges(target: Target, part: Part) -> Mapping[str, int | ShapeRange | Sizes]:
    """Return the target's sizes and ranges, also by the exporters' names; for a part with states those of its text."""
    shapes = dict(target.shapes)
    named = {**{long: shapes[short] for short, long in ALIASES.items() if short in shapes}, **shapes}
    return {**named, **_of_states(shapes)} if part.reads or part.writes else named


def _of_states(shapes: Mapping[str, int | ShapeRange]) -> dict[str, int | ShapeRange | Sizes]:
    """Return the ranges of the sizes that a model with states has, where the target does not name them."""
    sequence = shapes.get("sequence")
    if sequence is None:
        return {}
    longest = sequence if isinstance(sequence, int) else sequence.max
    past, usual = Sizes(0, longest // 2, longest), Sizes(1, longest // 2, longest)
    sizes: dict[str, int | ShapeRange | Sizes] = {"encoder_sequence_length": sequence}
    for prefix in ("", "decoder_"):
        own, before = f"{prefix}sequence_length", f"past_{prefix}sequence_length"
        sizes |= {before: past, f"{before} + {own}": usual}
    sizes["decoder_sequence_length"] = Sizes(1, 1, longest)
    if shapes.get("batch", 1) == 1:
        sizes["batch_size"] = Sizes(1, 1, BEAMS)
    return {name: size for name, size in sizes.items() if name not in shapes}


def model_problems(model: Model, target: Target) -> Iterator[str]:
    """Yield every problem with the model's format and precision, for which no graph is needed."""
    if model.format != "onnx":
        yield f"TensorRT builds from onnx, but the model is '{model.format}'"
    if len(model.parts) > 1:
        names = ", ".join(part.name for part in model.parts)
        yield f"the model has {len(model.parts)} graphs ({names}); this backend runs models of one graph"
    old = [version for version in versions(target) if version < support_matrix.STRONG_TYPES]
    if old and len(old) == len(versions(target)):
        numbers = " and ".join(_text(version) for version in old)
        yield f"'{target.name}' has TensorRT {numbers}, which has no strongly typed networks: they need TensorRT 10"
    for precision in model.precision.split("+"):
        if precision not in PRECISIONS:
            yield UNSUPPORTED.get(precision, f"TensorRT does not support the precision '{precision}'")
        else:
            yield from _dtype_problems(PRECISIONS[precision], target)
    yield from _option_problems(model, target)


def _dtype_problems(dtype: str, target: Target) -> Iterator[str]:
    """Yield that the device does not compute in a type, with the first compute capability that does."""
    sm, first_sm = target.device.sm, support_matrix.FIRST_SM.get(dtype)
    if sm is not None and first_sm is not None and _version(sm) < first_sm:
        yield f"'{target.name}' has compute capability {sm}; {dtype} needs at least {_text(first_sm)}"
    elif target.precisions and dtype not in (*target.precisions, "f32"):
        yield f"'{target.name}' does not compute in {dtype} (it has {', '.join(target.precisions)})"


def _option_problems(model: Model, target: Target) -> Iterator[str]:
    options = options_of(target)
    sm, core = target.device.sm, options.dla_core
    if options.runtime == "rtx" and sm is not None and sm not in support_matrix.RTX:
        supported = ", ".join(support_matrix.RTX)
        yield f"TensorRT for RTX does not compile for compute capability {sm} (it does for {supported})"
    elif options.runtime == "rtx" and sm is None:
        yield f"TensorRT for RTX compiles for one compute capability: add it, as in {target.name}:8.9"
    if core is None:
        return
    if target.device.dla is not None and core >= target.device.dla:
        yield f"'{target.name}' has {target.device.dla or 'no'} deep learning accelerators; core {core} does not exist"
    without = [v for v in versions(target) if support_matrix.DLA_UNTIL < v < support_matrix.DLA_AGAIN]
    if without and len(without) == len(versions(target)):
        numbers = " and ".join(map(_text, without))
        yield f"TensorRT {numbers} does not support deep learning accelerators: 10.7 is the last 10.x that does"
    if model.precision == "f32":
        yield "the deep learning accelerator computes in f16 and i8, but the model is f32"


def graph_problems(model: Model, target: Target) -> Iterator[str]:
    """Yield every problem with the model's graph, each node by its name."""
    from edgekit.frameworks import onnx_graph
    from edgekit_tensorrt import nodes

    proto = onnx_graph.read(model.graph)
    supported = [version for version in versions(target) if version >= support_matrix.STRONG_TYPES] or [(11, 0)]
    yield from _opset_problems(onnx_graph.opset(proto), min(supported))
    yield from nodes.problems(proto, supported)
    yield from shape_problems(model, target)
    options = options_of(target)
    if options.dla_core is not None:
        yield from nodes.dla_problems(proto, model, fallback=options.gpu_fallback)
    if target.device.memory_mb is not None:
        yield from _memory_problems(proto, model, target)


def _opset_problems(opset: int, oldest: Version) -> Iterator[str]:
    newest = support_matrix.newest_opset(oldest)
    if not support_matrix.LEAST_OPSET <= opset <= newest:
        yield (
            f"the graph has opset {opset}; the parser of TensorRT {_text(oldest)} accepts {support_matrix.LEAST_OPSET} "
            f"to {newest}"
        )


def shape_problems(model: Model, target: Target) -> Iterator[str]:
    """Yield each free size without a range: an engine is built for a smallest, a usual and a largest size."""
    known = ranges(target, model.part)
    unbounded: dict[str, list[str]] = {}
    for spec in model.part.inputs:
        for dim in spec.shape:
            if isinstance(dim, str) and dim not in known:
                unbounded.setdefault(dim, []).append(spec.name)
    for dim, inputs in unbounded.items():
        names = ", ".join(map(repr, dict.fromkeys(inputs)))
        yield (
            f"the size '{dim}' of {names} is free and '{target.name}' has no range for it: fix it with --shape "
            f"{dim}=N, or add {dim} = {{ min = 1, opt = 4, max = 8 }} to [shapes] of a target of your own"
        )


def _memory_problems(proto: Any, model: Model, target: Target) -> Iterator[str]:
    from edgekit_tensorrt import graph, memory

    weights = memory.weight_bytes(proto)
    sizes = {name: size if isinstance(size, int) else size.max for name, size in ranges(target, model.part).items()}
    node, width = memory.widest(proto, sizes)
    needed_mb, memory_mb = (weights + width) / 2**20, target.device.memory_mb or 0
    if needed_mb > memory_mb:
        parts = f"{weights / 2**20:.0f} MB of weights"
        if node is not None:
            parts += f", and {width / 2**20:.0f} MB at once in {graph.describe(node)}"
        yield f"the model needs at least {needed_mb:.0f} MB ({parts}); the board has {memory_mb} MB"


def _version(text: str) -> Version:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
