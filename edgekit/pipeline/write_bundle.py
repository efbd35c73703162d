"""Write what an export found: the report always, and the bundle of the candidate that won."""

from __future__ import annotations

import datetime
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from edgekit import bench
from edgekit.bundle import bundle as artifact
from edgekit.bundle import staging
from edgekit.bundle.bundle import Bundle, Manifest
from edgekit.errors import AccuracyFailure, PerformanceFailure
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.gate import miss
from edgekit.evaluation.reference_outputs import Originals
from edgekit.model import Model
from edgekit.pipeline import budget, pareto
from edgekit.pipeline.candidates import Tried
from edgekit.pipeline.plan import Plan, absence
from edgekit.plugin import Evidence
from edgekit.recipe import recipe
from edgekit.result.report import Candidate, Report

STORED_SAMPLES = 4
STORED_BYTES = 4_000_000
"""Samples travel with the bundle so that the device can prove itself; more than this would outweigh small models."""

PACKAGES = ("edgekit", "numpy", "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "openvino")


def report(made: Plan, model: Model, evaluation: Evaluation, candidates: tuple[Candidate, ...]) -> Report:
    """Gather everything into the report; the failures say which gate or budget kept all candidates back."""
    shipped = next((c for c in candidates if c.status == "shipped"), None)
    measured = any(c.measurement is not None for c in ((shipped,) if shipped else candidates))
    evidence: Evidence = "measured_on_device" if measured else "parsed"
    notes = [*_absence_notes(made), *evaluation.notes, *_mismatch_notes(made), *_candidate_notes(candidates)]
    if made.memory_budget_mb is not None and any(
        c.measurement and not c.measurement.peak_memory_mb for c in candidates
    ):
        notes.append("the memory budget was not checked: this system does not tell a process's peak")
    return Report(
        kind="export",
        model=made.project.model or "live module",
        task=evaluation.task_name,
        target=made.target.name,
        evidence=evidence,
        environment=bench.environment(PACKAGES),
        candidates=pareto.marked(candidates),
        objective=made.project.objective,
        data=evaluation.sources,
        lineage=model.steps,
        notes=tuple(notes),
        failures=() if shipped else tuple(f"{c.name}: {c.reason}" for c in candidates if c.status != "baseline"),
    )


def fail(report: Report, output: Path, made: Plan) -> NoReturn:
    """Write the report beside the output, and raise: PerformanceFailure if only budgets were missed, else
    AccuracyFailure.
    """
    path = _failed_report(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    report.save(path)
    _markdown(report, path.with_suffix(".md"))
    slower = [c for c in report.candidates if c.status == "slower"]
    if slower:
        raise PerformanceFailure(
            f"{slower[0].name} is slower than full precision here and is not shipped: {slower[0].reason}.",
            hint="leave out --recipe and --candidate to ship the fastest, or ask for --objective size",
            report=path,
        )
    if any(c.status == "over-budget" for c in report.candidates):
        closest, over = budget.nearest(made, report.candidates)
        raise PerformanceFailure(
            f"no candidate that keeps the quality is within the budget; nearest: {closest.name} ({closest.reason}).",
            hint=f"raise {' and '.join(excess.option for excess in over)}, or take another target",
            report=path,
        )
    useless = [c for c in report.candidates if c.status == "no-gain"]
    if useless:
        raise PerformanceFailure(
            f"{useless[0].name} is not shipped: {useless[0].reason}.",
            hint="prune more, or leave out --recipe and --candidate to ship the fastest",
            report=path,
        )
    judged = [c for c in report.candidates if c.quality is not None and c.status != "baseline"]
    best = min(judged, key=lambda c: math.inf if c.quality is None else miss(c.quality))
    raise AccuracyFailure(
        f"no candidate keeps the quality asked for; nearest: {best.name} ({best.reason}).",
        hint="allow more with --max-drop (or --min-agreement without labels), or look at the report",
        report=path,
    )


def _failed_report(output: Path) -> Path:
    return output.with_name(output.name + ".report.json")


def bundle(
    output: Path,
    made: Plan,
    report: Report,
    model: Model,
    winner: Tried,
    evaluation: Evaluation,
    originals: Originals,
    tried: Sequence[Tried],
    *,
    force: bool = False,
) -> Bundle:
    """Write the winner's bundle in one move and open it; `force` replaces one that is there."""
    built = winner.compiled.built
    if report.evidence == "measured_on_device":
        built = replace(built, evidence=report.evidence)
    with staging.folder(output, force=force) as stage:
        filled = staging.fill(stage, built, winner.compiled.folder, winner.planned.backend)
        if model.assets.is_dir():
            shutil.copytree(model.assets, stage / "assets")
        # What was evaluated is what the device does: the model's own record with what the project and the data added.
        config = evaluation.task.config
        if not evaluation.synthetic:
            config.save(stage / "assets")
        _write_samples(stage / artifact.SAMPLES, evaluation, originals)
        _write_latencies(stage, tried)
        manifest = Manifest(
            name=output.name,
            model=report.model,
            task=report.task,
            backend=winner.planned.backend,
            recipe=winner.planned.recipe.name,
            target=made.target,
            asked=winner.compiled.model.precision,
            effective=None if made.mismatches or built.portable else winner.effective,
            lineage=winner.compiled.model.steps,
            trusted=model.info.trusted,
            deviation=winner.quality.rel_l2,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **filled,
        )
        # The report names the digest of what runs, so that is hashed first.
        sealed = staging.seal(stage, manifest)
        final = replace(report, artifact=sealed.digest, lineage=manifest.lineage, evidence=manifest.evidence)
        final.save(stage / artifact.REPORT)
        _markdown(final, stage / "report.md")
        (stage / "plan.toml").write_text(made.to_toml())
        (stage / "recipe.toml").write_text(recipe.to_toml(winner.planned.recipe))
        staging.seal(stage, sealed)
    failed = _failed_report(output)
    for stale in (failed, failed.with_suffix(".md")):  # of an export to this place that failed before
        stale.unlink(missing_ok=True)
    return artifact.open(output, check=False)


def _absence_notes(made: Plan) -> list[str]:
    """Say at the top that what the target is best at was not tried."""
    first = next(iter(made.target.backends), None)
    if first is None or all(candidate.backend != first for candidate in made.candidates):
        return []
    absent = absence(first)
    return [f"{first}, the first choice for '{made.target.name}', was not tried: {absent}"] if absent else []


def _mismatch_notes(made: Plan) -> list[str]:
    unchecked = [
        f"the {what} budget of {limit:g} {unit} was not checked: nothing was measured"
        for what, limit, unit in (
            ("latency", made.latency_budget_ms, "ms"),
            ("memory", made.memory_budget_mb, "MB"),
        )
        if limit is not None
    ]
    if not made.mismatches:
        return [] if made.project.bench else unchecked
    return [
        *unchecked,
        f"nothing was measured for '{made.target.name}': {'; '.join(made.mismatches)}. "
        "Quality was checked here, on the graph that ships; for its speed run `edgekit deploy` from here, or "
        "`edgekit bench` on the device",
    ]


def _candidate_notes(candidates: Sequence[Candidate]) -> list[str]:
    notes: list[str] = []
    for candidate in candidates:
        if candidate.quality:
            notes += [note for note in candidate.quality.notes if note not in notes]
        notes += [f"{candidate.name}: {note}" for note in candidate.notes]
    return notes


def _write_samples(folder: Path, evaluation: Evaluation, originals: Originals) -> None:
    import numpy as np

    folder.mkdir()
    room = STORED_BYTES
    for index in range(min(STORED_SAMPLES, len(evaluation.samples))):
        runs = zip(evaluation.task.feeds(evaluation.samples[index]), originals[index], strict=True)
        for run, (feeds, outputs) in enumerate(runs):
            size = sum(array.nbytes for array in (*feeds.values(), *outputs.values()))
            if size > room and index:
                return
            room -= size
            np.savez(folder / f"{index}-{run}.inputs.npz", **feeds)  # type: ignore[arg-type]
            np.savez(folder / f"{index}-{run}.outputs.npz", **outputs)  # type: ignore[arg-type]


def _write_latencies(stage: Path, tried: Sequence[Tried]) -> None:
    for t in tried:
        measured = t.outcome.measurement if t.outcome else None
        if t.outcome is not None and measured is not None and measured.raw_file:
            path = stage / measured.raw_file
            path.parent.mkdir(exist_ok=True)
            t.outcome.save_latencies(path)


def _markdown(report: Report, path: Path) -> None:
    from edgekit.report import markdown

    path.write_text(markdown.render(report))
