"""Check a model against a target by facts alone: no compiler, no device, every problem at once.

`model_problems` needs no graph: a plan is checked with it. `graph_problems` reads the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgekit.plugin import Model, ShapeRange, Target
from edgekit_tensorrt import facts
from edgekit_tensorrt.facts import Version
from edgekit_tensorrt.options import Options

PRECISIONS = {"f32": "f32", "f16": "f16", "i8": "i8", "i8-weights": "i8", "i4-weights": "i4", "f8": "f8"}
"""What a model's precision may be made of, and what the device must then compute in."""

WHY_NOT = {
    "bf16": "bf16 is a mark for processor runtimes, the graph itself is f32: take fp16",
    "i8-dynamic": "TensorRT has no dynamic quantization: take int8-fp16",
}


def options_of(target: Target) -> Options:
    """Read the target's options for this backend."""
    return Options.from_dict(target.options.get("tensorrt", {}), f"target '{target.name}', options of tensorrt")


def versions(target: Target) -> tuple[Version, ...]:
    """List the TensorRT versions that the target comes with, as its software says; none where it says none."""
    said = " ".join(target.device.software.values())
    return tuple(sorted({(int(major), int(minor)) for major, minor in re.findall(r"TensorRT (\d+)\.(\d+)", said)}))


ALIASES = {"batch": "batch_size", "sequence": "sequence_length"}
"""What the exporters call the sizes that targets and users call by a shorter name."""


def ranges(target: Target) -> dict[str, int | ShapeRange]:
    """Return the target's sizes and ranges, under the exporters' names too."""
    said = dict(target.shapes)
    return {**{long: said[short] for short, long in ALIASES.items() if short in said}, **said}


def model_problems(model: Model, target: Target) -> Iterator[str]:
    """Yield what is in the way of a model of this precision, before its graph is known."""
    if model.format != "onnx":
        yield f"TensorRT builds from onnx, the model is '{model.format}'"
    if len(model.parts) > 1:
        names = ", ".join(part.name for part in model.parts)
        yield f"the model has {len(model.parts)} graphs ({names}), this backend runs models of one graph"
    old = [version for version in versions(target) if version < facts.STRONG_TYPES]
    if old and len(old) == len(versions(target)):
        told = " and ".join(_text(version) for version in old)
        yield f"'{target.name}' comes with TensorRT {told}, which has no strongly typed networks: they came with 10"
    for word in model.precision.split("+"):
        if word not in PRECISIONS:
            yield WHY_NOT.get(word, f"the precision '{word}' is unknown to TensorRT")
        else:
            yield from _beyond(PRECISIONS[word], target)
    yield from _option_problems(model, target)


def _beyond(kind: str, target: Target) -> Iterator[str]:
    """Return the message that a device does not compute in a precision, with the first compute capability that does."""
    sm, floor = target.device.sm, facts.FLOORS.get(kind)
    if sm is not None and floor is not None and _version(sm) < floor:
        yield f"'{target.name}' has compute capability {sm}, {kind} begins with {_text(floor)}"
    elif target.precisions and kind not in (*target.precisions, "f32"):
        yield f"'{target.name}' does not compute in {kind} (it has {', '.join(target.precisions)})"


def _option_problems(model: Model, target: Target) -> Iterator[str]:
    options = options_of(target)
    sm, core = target.device.sm, options.dla_core
    if options.runtime == "rtx" and sm is not None and sm not in facts.RTX:
        yield f"TensorRT for RTX does not compile for compute capability {sm} (it does for {', '.join(facts.RTX)})"
    elif options.runtime == "rtx" and sm is None:
        yield f"TensorRT for RTX compiles for one compute capability: name it, as in {target.name}:8.9"
    if core is None:
        return
    if target.device.dla is not None and core >= target.device.dla:
        yield f"'{target.name}' has {target.device.dla or 'no'} deep learning accelerators, core {core} is asked for"
    without = [v for v in versions(target) if facts.DLA_UNTIL < v < facts.DLA_AGAIN]
    if without and len(without) == len(versions(target)):
        yield f"TensorRT {' and '.join(map(_text, without))} has no deep learning accelerator: 10.7 was the last 10.x"
    if model.precision == "f32":
        yield "the deep learning accelerator computes in f16 and i8, the model is f32"


def graph_problems(model: Model, target: Target) -> Iterator[str]:
    """Yield what is in the way of the graph, each node by its name."""
    from edgekit.frameworks import onnx_graph
    from edgekit_tensorrt import nodes

    proto = onnx_graph.read(model.graph)
    here = [v for v in versions(target) if v >= facts.STRONG_TYPES] or [(11, 0)]
    yield from _opset_problems(onnx_graph.opset(proto), min(here))
    yield from nodes.problems(proto, here)
    yield from shape_problems(model, target)
    options = options_of(target)
    if options.dla_core is not None:
        yield from nodes.dla_problems(proto, model, fallback=options.gpu_fallback)
    if target.device.memory_mb is not None:
        yield from _memory_problems(proto, model, target)


def _opset_problems(opset: int, oldest: Version) -> Iterator[str]:
    newest = facts.newest_opset(oldest)
    if not facts.LEAST_OPSET <= opset <= newest:
        yield (
            f"the graph has opset {opset}, the parser of TensorRT {_text(oldest)} takes {facts.LEAST_OPSET} to {newest}"
        )


def shape_problems(model: Model, target: Target) -> Iterator[str]:
    """Return which free sizes have no range: an engine is built for a least, a usual and a greatest size."""
    known = ranges(target)
    found: dict[str, list[str]] = {}
    for spec in model.part.inputs:
        for dim in spec.shape:
            if isinstance(dim, str) and dim not in known:
                found.setdefault(dim, []).append(spec.name)
    for dim, inputs in found.items():
        names = ", ".join(map(repr, dict.fromkeys(inputs)))
        yield (
            f"the size '{dim}' of {names} is free and '{target.name}' gives no range for it: fix it with --shape "
            f"{dim}=N, or write {dim} = {{ min = 1, opt = 4, max = 8 }} into [shapes] of a target of your own"
        )


def _memory_problems(proto: Any, model: Model, target: Target) -> Iterator[str]:
    from edgekit_tensorrt import graph, memory

    weights = memory.weight_bytes(proto)
    sizes = {n: s if isinstance(s, int) else s.max for n, s in ranges(target).items()}
    node, width = memory.widest(proto, sizes)
    need_mb, have = (weights + width) / 2**20, target.device.memory_mb or 0
    if need_mb > have:
        parts = f"{weights / 2**20:.0f} MB of weights"
        if node is not None:
            parts += f", and {width / 2**20:.0f} MB at once in {graph.describe(node)}"
        yield f"it needs at least {need_mb:.0f} MB ({parts}), the board has {have} MB"


def _version(text: str) -> Version:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
