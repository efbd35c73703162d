"""Build an engine on its device, with the device's own TensorRT: the Python module, or trtexec where there is none."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, EdgekitError, EnvironmentFault
from edgekit.plugin import Built, Payload, Target, digest_of_file, probe_host
from edgekit_tensorrt import child, cuda, engine_layers, runtime, sidecar, trtexec
from edgekit_tensorrt.layers import word
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan
from edgekit_tensorrt.trtexec_session import LAYERS

ENGINE = "engine.plan"
TIMING_SECONDS = 3.0
"""How long trtexec times an engine that it alone can run."""


def finish(payload: Payload, target: Target, workdir: Path) -> Built:
    """Build the engine of a prepared payload in `workdir`, with its sidecar, timing cache and layer information.

    Raises EnvironmentFault where there is no driver or no TensorRT, ArtifactError for a GPU that the plan is not for,
    and what the build raises.
    """
    plan = BuildPlan.load(payload.folder / PLAN)
    gpu = cuda.driver()
    if plan.sm is not None and plan.sm != gpu.sm:
        raise ArtifactError(
            f"the bundle is for SM {plan.sm}, this machine's GPU ({gpu.name}) is SM {gpu.sm}.",
            hint=f"finish it on '{target.name}', or export it for this machine",
        )
    kind = str(plan.options.get("runtime", "tensorrt"))
    tool = _tool(kind)
    board = sidecar.board(kind, _version(tool, workdir), gpu.sm, gpu.name, gpu.driver)
    cache = workdir / f"timing-{board.tensorrt}-sm{board.sm}-{board.driver}.cache"
    build = _by_trtexec if isinstance(tool, Path) else _by_module
    began = time.monotonic()
    notes = build(tool, payload.folder / GRAPH, plan, workdir, cache)
    builder = "trtexec" if isinstance(tool, Path) else f"{runtime.MODULES[kind]} {board.tensorrt}"
    seconds = round(time.monotonic() - began, 1)
    sidecar.Sidecar(digest_of_file(workdir / ENGINE), board, builder, seconds).save(workdir / sidecar.SIDECAR)
    files = [ENGINE, sidecar.SIDECAR, LAYERS, *([cache.name] if cache.is_file() else [])]
    return Built(
        files=tuple(name for name in files if (workdir / name).is_file()),
        requires={"arch": probe_host().arch},
        options=dict(payload.options),
        evidence="built_on_device",
        notes=(f"TensorRT {board.tensorrt} built the engine on {gpu.name}, SM {gpu.sm}, in {seconds:g} s", *notes),
    )


def _tool(kind: str) -> Any:
    """Return the module, or else the path of trtexec. Raises EnvironmentFault that says what to install."""
    try:
        return runtime.module(kind)
    except EnvironmentFault as fault:
        if kind != "tensorrt":
            raise
        try:
            return trtexec.find()
        except EnvironmentFault as other:
            raise EnvironmentFault(
                f"there is no TensorRT here: {fault.message} {other.message}", hint=fault.hint
            ) from fault


def _version(tool: Any, workdir: Path) -> str:
    if isinstance(tool, Path):
        return trtexec.version_of(trtexec.help_of(tool, workdir / "help.log")) or ""
    return str(tool.__version__)


def _by_module(tool: Any, graph: Path, plan: BuildPlan, workdir: Path, cache: Path) -> tuple[str, ...]:
    job = {
        "runtime": next(kind for kind, name in runtime.MODULES.items() if name == tool.__name__),
        "graph": str(graph.absolute()),
        "plan": plan.to_dict(),
        "engine": str((workdir / ENGINE).absolute()),
        "timing_cache": str(cache.absolute()),
        "compute_capability": None,
    }
    told = child.build(job, workdir)
    (workdir / LAYERS).write_text(told["layers"])
    return _notes(plan, told["layers"])


def _by_trtexec(tool: Path, graph: Path, plan: BuildPlan, workdir: Path, cache: Path) -> tuple[str, ...]:
    known = (workdir / "help.log").read_text(errors="replace")
    engine, layers = workdir / ENGINE, workdir / LAYERS
    argv = trtexec.build_argv(tool, graph.absolute(), plan, engine, layers, cache, known)
    trtexec.run(
        argv,
        workdir / "build.log",
        timeout_s=child.BUILD_SECONDS,
        doing="building the engine",
        partial=(engine, layers),
    )
    notes = _notes(plan, layers.read_text())
    return (
        *notes,
        *_timed(tool, engine, plan, workdir),
        f"run by trtexec alone: to time it, {runtime.MISSING['tensorrt']}",
    )


def _timed(tool: Path, engine: Path, plan: BuildPlan, workdir: Path) -> tuple[str, ...]:
    """Return what trtexec measures; that it cannot is no reason to refuse an engine."""
    sizes = {one.input: one.opt for one in plan.profiles}
    times = workdir / "times.json"
    argv = trtexec.times_argv(tool, engine, sizes, times, seconds=TIMING_SECONDS)
    try:
        trtexec.run(
            argv, workdir / "times.log", timeout_s=120 + TIMING_SECONDS, doing="timing the engine", partial=(times,)
        )
        found = trtexec.times_of(times)
    except EdgekitError as error:
        return (f"trtexec did not time it: {error.message.splitlines()[0]}",)
    ordered = sorted(found.compute_ms)
    return (
        f"trtexec: GPU time p50 {ordered[len(ordered) // 2]:.3f} ms over {len(ordered)} inferences, without copies, "
        "as a CUDA graph, spinning",
    )


def _notes(plan: BuildPlan, layers: str) -> tuple[str, ...]:
    """Return notes that compare the types of the layers with what was asked."""
    found = engine_layers.effective(engine_layers.read(layers))
    if found is None:
        return ("the engine does not tell its layers' types",)
    asked = plan.precision.partition("+")[0]
    counts = ", ".join(f"{count} in {word(kind)}" for kind, count in found.layers.items())
    says = f"layers: {counts}"
    if asked in ("i8", "f8", "f16", "bf16") and found.main != asked:
        return (says, f"{word(asked)} was asked, most of the arithmetic runs in {word(found.main)}")
    return (says,)
