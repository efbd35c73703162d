"""The main job: try every candidate of a target, gate it, measure it beside the others, and ship the best that passes:
the fastest, unless the user asked for another objective.

A plain loop over the parts: the plan says what to try, `builder.py` builds it, `evaluation/gate.py` judges it, `bench/`
times all of them interleaved, and `write_bundle.py` writes the winner with the report of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgekit import bench, cache
from edgekit.bundle import staging
from edgekit.bundle.bundle import Bundle
from edgekit.evaluation.dataset import Evaluation, prepare
from edgekit.pipeline import bench_inputs, mixed_precision, pruning_gain, search, write_bundle
from edgekit.pipeline import candidates as trial
from edgekit.pipeline import tuning as tune
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.builder import Build
from edgekit.pipeline.candidates import Tried
from edgekit.pipeline.objective import GOALS, able, beaten_by, best, why_lost, why_shipped
from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.repair import SUFFIX
from edgekit.progress import Progress, Silent
from edgekit.project import Project
from edgekit.result.report import Candidate, Report, Tuning


@dataclass(frozen=True)
class Result:
    """What an export gives: the report always, the bundle when something passed."""

    report: Report
    bundle: Bundle


def export(project: Project, *, force: bool = False, progress: Progress | None = None, module: Any = None) -> Result:
    """Export the project's model for its target; `module` is a live `nn.Module` to export instead of a reference.

    Raises AccuracyFailure or PerformanceFailure when nothing passes, after writing the report beside the output
    (`context["report"]` is its path), and the other errors of `edgekit.errors` for what they say.
    """
    progress = progress or Silent()
    output = Path(project.output or default_output(project))
    staging.check(output, force=force)
    made = plan(project, live=module is not None)
    with cache.disk_faults(output, "the export"), Build(made, progress, module) as build:
        model = build.exported()
        evaluation = prepare(project, model)
        originals = trial.run_original(build, model, evaluation)
        tried, lost = trial.try_all(build, model, evaluation, originals)
        if mixed_precision.wanted(made):
            tried = mixed_precision.add(build, model, evaluation, originals, tried)
        if project.search:
            tried = [*tried, *search.search(build, model, evaluation, originals, tried)]
        tried = _measure(made, tried, evaluation, progress)
        candidates, winner = _judge(made, tried)
        if winner is not None:
            judge = partial(trial.judged, build, winner.planned, evaluation=evaluation, originals=originals)
            tuned, tuning = tune.tune(tune.Subject(made, winner, evaluation, judge, progress))
            candidates = [_tuned(c, tuned, tuning) if c.status == "shipped" else c for c in candidates]
            tried, winner = [tuned if t is winner else t for t in tried], tuned
        report = write_bundle.report(made, model, evaluation, (*candidates, *lost))
        if winner is None:
            write_bundle.fail(report, output, made)
        bundle = write_bundle.bundle(output, made, report, model, winner, evaluation, originals, tried, force=force)
    return Result(bundle.report(), bundle)


def default_output(project: Project) -> str:
    """Give `out/MODEL-TARGET`."""
    name = (project.model or "model").rstrip("/").replace("\\", "/").split("/")[-1].split(":")[-1]
    goal = Path(project.target).name.removesuffix(".toml").replace(":", "-")
    return f"out/{name.removesuffix('.onnx')}-{goal}"


def _measure(made: Plan, tried: Sequence[Tried], evaluation: Evaluation, progress: Progress) -> list[Tried]:
    """Time every built candidate interleaved, those that failed the gate too: the user sees what the gate costs."""
    if made.mismatches or not made.project.bench or any(t.compiled.built.portable for t in tried):
        return list(tried)  # beside what runs only once it is finished, nothing can be compared
    inputs = [t.compiled.built.inputs for t in tried]
    feeds, batch = bench_inputs.feeds(evaluation, made.project.objective, inputs)
    entries = [bench.Entry(t.planned.name, t.planned.backend, t.compiled.payload, feeds, batch) for t in tried]
    outcomes = bench.benchmark(entries, bench_inputs.settings(made.project.bench_seconds), progress)
    return [replace(t, outcome=bench_inputs.with_raw_file(outcome)) for t, outcome in zip(tried, outcomes, strict=True)]


def _judge(made: Plan, tried: Sequence[Tried]) -> tuple[list[Candidate], Tried | None]:
    """Decide who is shipped, and say of each why."""
    goal = made.project.objective
    standing = {t.planned.name: _standing(made, t) for t in tried}
    useless = pruning_gain.missing(tried, goal)
    standing |= {name: ("no-gain", why) for name, why in useless.items() if standing[name][0] == "passed"}
    passing = [t for t in tried if standing[t.planned.name][0] == "passed"]
    eligible = [t for t in passing if not t.planned.baseline]
    baselines = [t for t in passing if t.planned.baseline and t.p50_ms is not None]
    known = able(eligible, goal)
    winner = best(known, goal) if known else (eligible[0] if eligible else None)
    # Who asks for the smallest gets it though it be slower than full precision: the report says by how much.
    quicker = beaten_by(winner, baselines, goal) if winner and winner.measurement and GOALS[goal].timed else None
    candidates = []
    for t in tried:
        status, reason = standing[t.planned.name]
        if status == "failed-gate" and t.repair:
            reason += _after_repair(t)
        if t.planned.baseline:
            status, reason = "baseline", reason or "measured for comparison"
        elif t is winner:
            status, reason = "shipped", _why_shipped(made, t, known, baselines)
            if quicker:
                status, reason = "slower", why_lost(t, quicker, goal)
        elif status == "passed" and winner is not None:
            reason = why_lost(t, winner, goal)
        candidates.append(_candidate(made, t, status, reason))
    return candidates, None if quicker else winner


def _standing(made: Plan, t: Tried) -> tuple[str, str]:
    failed = [check.meaning for check in t.quality.checks if not check.passed]
    if failed:
        return "failed-gate", "; ".join(failed)
    if t.outcome and t.outcome.fault:
        return "build-failed", f"it could not be measured: {t.outcome.fault.message}"
    over = excesses(made, t.compiled.size_mb, t.measurement)
    return ("over-budget", "; ".join(map(str, over))) if over else ("passed", "")


def _why_shipped(made: Plan, t: Tried, known: Sequence[Tried], baselines: Sequence[Tried]) -> str:
    if any(t is one for one in known):
        return why_shipped(t, known, made.project.objective, beside=baselines)
    why = "; ".join(made.mismatches) or "measuring was switched off"
    if t.compiled.built.portable and not made.mismatches:
        why = "its engine is built by `edgekit finish`"
    return f"first in the target's order of those that pass; not measured ({why})"


def _after_repair(t: Tried) -> str:
    """Say what became of a candidate that missed the gate and could leave layers in float."""
    assert t.repair is not None
    left, layers = t.repair.layers_in_float, len(t.repair.costs)
    if left:
        return f"; it passes with {left} of {layers} layers in float, as {t.planned.name}{SUFFIX}"
    return f"; no number of its {layers} layers in float was enough" if layers > 1 else ""


def _tuned(shipped: Candidate, t: Tried, tuning: Tuning | None) -> Candidate:
    """Give the shipped candidate as it is with the options that were found; as it was where none were looked for."""
    if tuning is None:
        return shipped
    return replace(shipped, quality=t.quality, measurement=t.measurement, effective=t.effective, tuning=tuning)


def _candidate(made: Plan, t: Tried, status: Any, reason: str) -> Candidate:
    return Candidate(
        name=t.planned.name,
        backend=t.planned.backend,
        recipe=t.planned.recipe.name,
        status=status,
        reason=reason,
        asked=t.compiled.model.precision,
        # What this machine's kernels do says nothing of another's.
        effective=None if made.mismatches or t.compiled.built.portable else t.effective,
        size_mb=t.compiled.size_mb,
        quality=t.quality,
        measurement=t.measurement,
        layers=t.outcome.layers if t.outcome else (),
        notes=(*t.notes, *t.compiled.built.notes),
        repair=t.repair,
        mixed=t.mixed,
    )
