"""Candidates put together by hand, to try the choice on: the numbers are made up and prove nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit import bench
from edgekit.model import Model, Part
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.compiled import Compiled, CompiledPart
from edgekit.pipeline.plan import Plan, PlannedCandidate
from edgekit.plugin import Built, Precision
from edgekit.project import Project
from edgekit.recipe.recipe import PassConfig, Recipe
from edgekit.result.measurement import Measurement, Noise
from edgekit.result.report import Candidate, Check, Quality
from edgekit.target.target import Limits, Target


def measurement(p50_ms: float = 1.0, memory_mb: float | None = 100.0, per_s: float | None = None) -> Measurement:
    return Measurement(
        scenario="single-stream", warmup_count=10, converged=True, count=640, seconds=2.0,
        percentiles_ms={"p50": p50_ms, "p90": p50_ms}, mean_ms=p50_ms, throughput_per_s=per_s or 1e3 / p50_ms,
        peak_memory_mb=memory_mb, cold_start=None, noise=Noise(False), shapes={"x": (1, 3)}, threads=2,
    )  # fmt: skip


def quality(drop: float | None = 0.0, *, passed: bool = True, rel_l2: float = 1e-3) -> Quality:
    check = Check("accuracy drop", drop or 0.0, 0.01, passed, "accuracy" if passed else "too much was lost")
    return Quality(100, 100, 0.1, rel_l2, 0.999, 1.0, "accuracy", 0.9, 0.9 - (drop or 0.0), drop, (check,))


def tried(
    folder: Path,
    name: str,
    p50_ms: float | None = 1.0,
    *,
    bytes_: int = 1000,
    memory_mb: float | None = 100.0,
    per_s: float | None = None,
    drop: float = 0.0,
    passed: bool = True,
    rel_l2: float = 1e-3,
    baseline: bool = False,
    noise: float = 0.001,
) -> BuiltCandidate:
    """Return a candidate whose rounds' medians are within `noise` of its latency; without latency, not measured."""
    backend, _, recipe = name.partition("/")
    passes = () if recipe == "fp32" else (PassConfig("quantize-static"),)
    planned = PlannedCandidate(backend, Recipe(recipe, "made up", passes), baseline=baseline)
    place = folder / name.replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.bin").write_bytes(b"\0" * bytes_)
    part = Part("model", "model.onnx", (), ())
    compiled = Compiled(Model("onnx", (part,)), (CompiledPart(part, Built(("model.bin",)), place, name),), name)
    outcome = None
    if p50_ms is not None:
        medians = 1e6 * p50_ms * (1 + noise * np.linspace(-1, 1, 10))
        rounds = tuple(bench.Round(cycle, 64, 0.2, float(median)) for cycle, median in enumerate(medians))
        outcome = bench.Outcome(name, measurement(p50_ms, memory_mb, per_s), np.array([], dtype=np.int64), rounds)
    return BuiltCandidate(planned, compiled, quality(drop, passed=passed, rel_l2=rel_l2), Precision("f32"), outcome)


def plan(limits: Limits | None = None, **project: object) -> Plan:
    target = Target("host", "made up", limits=limits or Limits())
    return Plan(Project(model="made-up", **project), target, "onnx", ())


def candidate(name: str, status: str = "passed", *, size_mb: float | None = 1.0, **measured: float | None) -> Candidate:
    backend, _, recipe = name.partition("/")
    timing = None if measured.get("p50_ms", 1.0) is None else measurement(**measured)
    return Candidate(name, backend, recipe, status, "", size_mb=size_mb, measurement=timing, quality=quality())
