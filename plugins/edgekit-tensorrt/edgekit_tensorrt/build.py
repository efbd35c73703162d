"""The build side: write the graph with its build plan, and what a compiler on this machine reports about it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import BuildError, UnsupportedError
from edgekit.frameworks import onnx_graph
from edgekit.plugin import Built, Model, ShapeRange, Target, TensorSpec
from edgekit_tensorrt import graph, preflight
from edgekit_tensorrt.options import Options
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan, Profile
from edgekit_tensorrt.preflight import PREFLIGHT, Preflight
from edgekit_tensorrt.rules import Sizes, ranges


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write `model.onnx`, its external data and `plan.json` into `workdir`.

    Raises UnsupportedError with each node that the compiler on this machine rejects, where one is installed.
    """
    proto = onnx_graph.read(model.graph)
    plan = build_plan(model, proto, target, options)
    try:
        external = onnx_graph.external_files(proto)
        files = (*onnx_graph.copy_model(model.graph, external, workdir, name=GRAPH, taken=(PLAN,)), PLAN)
        plan.save(workdir / PLAN)
        result = preflight.check(workdir / GRAPH, plan, target)
        _raise_failure(result, target, options)
        result.save(workdir / PREFLIGHT)
        files += (PREFLIGHT,)
    except BaseException:
        for path in workdir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    requires: dict[str, Any] = {"arch": target.device.arch} if target.device.arch else {}
    if result.engine and result.compiler:
        name, _, version = result.compiler.partition(" ")
        # Only the release that wrote an engine reads it; its SM is in the plan, and the session compares the GPU's.
        requires["packages"] = {name: f"=={version}"}
    return Built(
        files=(result.engine, *files) if result.engine else files,
        requires=requires,
        options=options.to_dict(),
        evidence="aot_compiled" if result.engine else "parsed",
        portable=result.engine is None,
        cacheable=result.verdict != "unanswered",
        notes=result.notes,
    )


def _raise_failure(result: Preflight, target: Target, options: Options) -> None:
    """Raise what the compiler rejected. A crash proves nothing about a graph that another TensorRT will build."""
    if result.verdict == "rejected":
        raise UnsupportedError(
            f"{result.compiler} rejects the graph for '{target.name}':",
            problems=result.problems,
            hint="replace these nodes in the model, or choose a backend that has them (see `edgekit plugins`)",
        )
    if result.verdict == "failed":
        nearest = ", its nearest to the target's" if result.sibling else ""
        raise UnsupportedError(
            f"{result.compiler} cannot compile the graph for '{target.name}' (SM {result.sm}{nearest}):",
            problems=result.problems,
            hint="choose another recipe, or leave these nodes in float",
        )
    if result.verdict == "unanswered" and options.runtime == "rtx":
        raise BuildError(
            f"the engine for '{target.name}' could not be built: {'; '.join(result.problems)}",
            hint="check this machine with `edgekit doctor`",
        )


def build_plan(model: Model, proto: Any, target: Target, options: Options) -> BuildPlan:
    """Return the build plan of a graph for a target."""
    sparse = options.sparsity == "on"
    if options.sparsity == "auto":
        sparse = bool(graph.sparse_weights(proto, model.graph.parent))
    return BuildPlan(
        target=target.name,
        precision=model.precision,
        opset=onnx_graph.opset(proto),
        sm=target.device.sm,
        profiles=profiles(model.part.inputs, ranges(target, model.part)),
        sparse=sparse,
        dla_core=options.dla_core,
        gpu_fallback=options.gpu_fallback,
        workspace_mb=options.workspace_mb,
        optimization_level=options.optimization_level,
        options=options.to_dict(),
    )


def profiles(inputs: tuple[TensorSpec, ...], shapes: Mapping[str, int | ShapeRange | Sizes]) -> tuple[Profile, ...]:
    """Return the profile of every input with a free size, by the target's ranges; `supports` has checked that each is
    there.
    """

    def sized(spec: TensorSpec, which: str) -> tuple[int, ...]:
        known = {name: size if isinstance(size, int) else int(getattr(size, which)) for name, size in shapes.items()}
        return spec.resolve(known)

    return tuple(
        Profile(spec.name, sized(spec, "min"), sized(spec, "opt"), sized(spec, "max"))
        for spec in inputs
        if not spec.is_static
    )
