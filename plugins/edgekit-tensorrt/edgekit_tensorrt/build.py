"""The build side: lay down the graph with its build plan, and say what a compiler here makes of it."""

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
from edgekit_tensorrt.rules import ranges


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write `model.onnx`, its external data and `plan.json` into `workdir`.

    Raises UnsupportedError naming each node that the compiler here refuses, where one is installed.
    """
    proto = onnx_graph.read(model.graph)
    plan = planned(model, proto, target, options)
    try:
        external = onnx_graph.external_files(proto)
        files = (*onnx_graph.copy_model(model.graph, external, workdir, name=GRAPH, taken=(PLAN,)), PLAN)
        plan.save(workdir / PLAN)
        found = preflight.check(workdir / GRAPH, plan, target)
        _raise_refusal(found, target, options)
        found.save(workdir / PREFLIGHT)
        files += (PREFLIGHT,)
    except BaseException:
        for path in workdir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    requires: dict[str, Any] = {"arch": target.device.arch} if target.device.arch else {}
    if found.engine and found.compiler:
        name, _, version = found.compiler.partition(" ")
        # An engine is read by the release that wrote it; its SM is in the plan, and the session asks the GPU.
        requires["packages"] = {name: f"=={version}"}
    return Built(
        files=(found.engine, *files) if found.engine else files,
        requires=requires,
        options=options.to_dict(),
        evidence="aot_compiled" if found.engine else "parsed",
        portable=found.engine is None,
        cacheable=found.verdict != "unanswered",
        notes=found.notes,
    )


def _raise_refusal(found: Preflight, target: Target, options: Options) -> None:
    """Raise what the compiler found; that it crashed proves nothing of a graph which another TensorRT will build."""
    if found.verdict == "rejected":
        raise UnsupportedError(
            f"{found.compiler} refuses the graph for '{target.name}':",
            problems=found.problems,
            hint="replace these nodes in the model, or choose a backend that has them (see `edgekit plugins`)",
        )
    if found.verdict == "failed":
        kin = ", the nearest that it has to the target's" if found.sibling else ""
        raise UnsupportedError(
            f"{found.compiler} cannot compile the graph for '{target.name}' (SM {found.sm}{kin}):",
            problems=found.problems,
            hint="choose another recipe, or leave these nodes in float",
        )
    if found.verdict == "unanswered" and options.runtime == "rtx":
        raise BuildError(f"no engine for '{target.name}': {'; '.join(found.problems)}", hint="edgekit doctor")


def planned(model: Model, proto: Any, target: Target, options: Options) -> BuildPlan:
    """Return the build plan of a graph for a target."""
    sparse = options.sparsity == "on"
    if options.sparsity == "auto":
        sparse = bool(graph.sparse_weights(proto, model.graph.parent))
    return BuildPlan(
        target=target.name,
        precision=model.precision,
        opset=onnx_graph.opset(proto),
        sm=target.device.sm,
        profiles=profiles(model.part.inputs, ranges(target)),
        sparse=sparse,
        dla_core=options.dla_core,
        gpu_fallback=options.gpu_fallback,
        workspace_mb=options.workspace_mb,
        optimization_level=options.optimization_level,
        options=options.to_dict(),
    )


def profiles(inputs: tuple[TensorSpec, ...], shapes: Mapping[str, int | ShapeRange]) -> tuple[Profile, ...]:
    """Bound every input with a free size by the target's ranges, all of which `supports` has found to be there."""

    def sized(spec: TensorSpec, which: str) -> tuple[int, ...]:
        known = {name: size if isinstance(size, int) else int(getattr(size, which)) for name, size in shapes.items()}
        return spec.resolve(known)

    return tuple(
        Profile(spec.name, sized(spec, "min"), sized(spec, "opt"), sized(spec, "max"))
        for spec in inputs
        if not spec.is_static
    )
