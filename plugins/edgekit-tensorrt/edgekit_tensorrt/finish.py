"""Build an engine on its device with the device's TensorRT: the Python module, or trtexec where that is missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError, EdgekitError, EnvironmentFault
from edgekit.plugin import Built, Payload, Target, digest_of_file, probe_host
from edgekit_tensorrt import build_process, cuda, engine_info, engine_layers, runtime, trtexec
from edgekit_tensorrt.layers import label, precision
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan
from edgekit_tensorrt.trtexec_session import LAYERS

ENGINE = "engine.plan"
TIMING_SECONDS = 3.0
"""How long trtexec times an engine where the Python module is missing."""


def finish(payload: Payload, target: Target, workdir: Path) -> Built:
    """Build the engine of a prepared payload in `workdir`, with `engine.json`, timing cache and layer information.

    Raises EnvironmentFault without a driver or a TensorRT, ArtifactError for another GPU than the plan's, and what the
    build raises.
    """
    plan = BuildPlan.load(payload.folder / PLAN)
    gpu = cuda.driver()
    if plan.sm is not None and plan.sm != gpu.sm:
        raise ArtifactError(
            f"the bundle is for SM {plan.sm}, but this machine's GPU ({gpu.name}) is SM {gpu.sm}.",
            hint=f"finish it on '{target.name}', or export it for this machine",
        )
    kind = str(plan.options.get("runtime", "tensorrt"))
    tool = _tool(kind)
    board = engine_info.this_board(kind, _version(tool, workdir), gpu.sm, gpu.name, gpu.driver)
    cache = workdir / f"timing-{board.tensorrt}-sm{board.sm}-{board.driver}.cache"
    build = _by_trtexec if isinstance(tool, Path) else _by_module
    started = time.monotonic()
    notes = build(tool, payload.folder / GRAPH, plan, workdir, cache)
    builder = "trtexec" if isinstance(tool, Path) else f"{runtime.MODULES[kind]} {board.tensorrt}"
    seconds = round(time.monotonic() - started, 1)
    info = engine_info.EngineInfo(digest_of_file(workdir / ENGINE), board, builder, seconds)
    info.save(workdir / engine_info.FILE)
    files = [ENGINE, engine_info.FILE, LAYERS, *([cache.name] if cache.is_file() else [])]
    return Built(
        files=tuple(name for name in files if (workdir / name).is_file()),
        requires={"arch": probe_host().arch},
        options=dict(payload.options),
        evidence="built_on_device",
        notes=(f"TensorRT {board.tensorrt} built the engine on {gpu.name}, SM {gpu.sm}, in {seconds:g} s", *notes),
    )


def _tool(kind: str) -> Any:
    """Return the module, or the path of trtexec without it. Raises EnvironmentFault with what to install."""
    try:
        return runtime.module(kind)
    except EnvironmentFault as fault:
        if kind != "tensorrt":
            raise
        try:
            return trtexec.find()
        except EnvironmentFault as trtexec_fault:
            raise EnvironmentFault(
                f"TensorRT is not installed here: {fault.message} {trtexec_fault.message}", hint=fault.hint
            ) from fault


def _version(tool: Any, workdir: Path) -> str:
    if isinstance(tool, Path):
        return trtexec.version_of(trtexec.read_help(tool, workdir / "help.log")) or ""
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
    result = build_process.build(job, workdir)
    (workdir / LAYERS).write_text(result["layers"])
    return _notes(plan, result["layers"])


def _by_trtexec(tool: Path, graph: Path, plan: BuildPlan, workdir: Path, cache: Path) -> tuple[str, ...]:
    help_text = (workdir / "help.log").read_text(errors="replace")
    engine, layers = workdir / ENGINE, workdir / LAYERS
    argv = trtexec.build_argv(tool, graph.absolute(), plan, engine, layers, cache, help_text)
    trtexec.run(
        argv,
        workdir / "build.log",
        timeout_s=build_process.BUILD_SECONDS,
        activity="building the engine",
        partial=(engine, layers),
    )
    notes = _notes(plan, layers.read_text())
    return (
        *notes,
        *_timing_notes(tool, engine, plan, workdir),
        f"the engine runs by trtexec only; to time it, install the Python module: {runtime.MISSING['tensorrt']}",
    )


def _timing_notes(tool: Path, engine: Path, plan: BuildPlan, workdir: Path) -> tuple[str, ...]:
    """Return what trtexec measures; an engine that it cannot time is not refused."""
    sizes = {profile.input: profile.opt for profile in plan.profiles}
    times = workdir / "times.json"
    argv = trtexec.times_argv(tool, engine, sizes, times, seconds=TIMING_SECONDS)
    try:
        trtexec.run(
            argv, workdir / "times.log", timeout_s=120 + TIMING_SECONDS, activity="timing the engine", partial=(times,)
        )
        compute_ms = sorted(trtexec.read_times(times).compute_ms)
    except EdgekitError as error:
        return (f"trtexec could not time the engine: {error.message.splitlines()[0]}",)
    return (
        f"trtexec: GPU time p50 {compute_ms[len(compute_ms) // 2]:.3f} ms over {len(compute_ms)} inferences, without "
        "copies, as a CUDA graph, spinning",
    )


def _notes(plan: BuildPlan, layers: str) -> tuple[str, ...]:
    """Return notes that compare the types of the layers with the precision that was requested."""
    effective = precision(engine_layers.read(layers))
    if effective is None:
        return ("the engine does not report the types of its layers",)
    requested = plan.precision.partition("+")[0]
    counts = "layers: " + ", ".join(f"{count} in {label(dtype)}" for dtype, count in effective.layers.items())
    if requested in ("i8", "f8", "f16", "bf16") and effective.main != requested:
        return (counts, f"{label(requested)} was requested; most of the arithmetic runs in {label(effective.main)}")
    return (counts,)
