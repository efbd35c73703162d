"""Write what an export found: the report always, and the bundle of the candidate that won."""

from __future__ import annotations

import datetime
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from edgekit import bench, catalog, registry
from edgekit.bundle import staging
from edgekit.bundle.bundle import REPORT, SAMPLES, Bundle, Manifest, open
from edgekit.errors import AccuracyFailure, BuildError, PerformanceFailure
from edgekit.evaluation.gate import A_METRIC, SIZES, miss
from edgekit.pipeline import budget, bundle_samples, pareto
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.export import Export
from edgekit.pipeline.feasibility import absence
from edgekit.pipeline.plan import Plan
from edgekit.plugin import Evidence
from edgekit.recipe import toml_file
from edgekit.result.report import Candidate, Report


def report(export: Export, candidates: tuple[Candidate, ...]) -> Report:
    """Return the report of an export; its failures name the gate or budget that kept each candidate back."""
    plan, project = export.plan, export.plan.project
    shipped = next((c for c in candidates if c.status == "shipped"), None)
    measured = any(c.measurement is not None for c in ((shipped,) if shipped else candidates))
    evidence: Evidence = "measured_on_device" if measured else "parsed"
    notes = [*_absence_notes(plan), *export.evaluation.notes, *_mismatch_notes(plan), *_candidate_notes(candidates)]
    if plan.memory_budget_mb is not None and any(
        c.measurement and not c.measurement.peak_memory_mb for c in candidates
    ):
        notes.append("the memory budget was not checked: this system does not report a process's peak")
    return Report(
        kind="export",
        model=project.model or "live module",
        task=export.evaluation.shipped.task,
        target=plan.target.name,
        evidence=evidence,
        environment=bench.environment(_packages(plan)),
        candidates=pareto.marked(candidates),
        objective=project.objective,
        data=export.evaluation.sources,
        lineage=export.model.steps,
        notes=tuple(notes),
        noisy=any(c.measurement is not None and c.measurement.noise.noisy for c in candidates),
        failures=() if shipped else tuple(f"{c.name}: {c.reason}" for c in candidates if c.status != "baseline"),
    )


def fail(report: Report, output: Path, plan: Plan) -> NoReturn:
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
        closest, over = budget.nearest(plan, report.candidates)
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
    crashed = [c for c in report.candidates if c.status == "build-failed"]
    judged = [c for c in report.candidates if c.status == "failed-gate"]
    if not judged:
        first = next(c for c in crashed if c.quality is not None)
        raise BuildError(
            f"no candidate that keeps the quality could be measured; the first: {first.name} ({first.reason}).",
            hint="ship what passes the gate without measuring it, with --no-bench, or look at the report",
            report=path,
        )
    best = min(judged, key=lambda c: math.inf if c.quality is None else miss(c.quality))
    also = f"; {crashed[0].name} is not among them: {crashed[0].reason}" if crashed else ""
    raise AccuracyFailure(
        f"no candidate keeps the quality asked for; nearest: {best.name} ({best.reason}){also}.",
        hint=_more(best, crashed),
        report=path,
    )


def _more(best: Candidate, crashed: Sequence[Candidate]) -> str:
    """Return what lets a candidate pass: the nearest, or one that could not be run at all."""
    failed = {check.name for check in best.quality.checks if not check.passed} if best.quality else set()
    if SIZES in failed:
        return A_METRIC
    if crashed:
        return f"look at the report for what stopped {crashed[0].name}, and leave others out with --candidate"
    if failed & {"parity", "finite"}:  # no limit of the user's applies
        return "look at the report, and try another runtime with --backend or another precision with --recipe"
    if best.repair and best.repair.stopped:
        return "give the repair more time with --budget SECONDS, or look at the report"
    if failed & {"agreement", "cosine"}:
        return "allow more with --min-agreement, give labelled samples with --data, or look at the report"
    return "allow more with --max-drop, or look at the report"


def _failed_report(output: Path) -> Path:
    return output.with_name(output.name + ".report.json")


def write(
    export: Export,
    output: Path,
    report: Report,
    winner: BuiltCandidate,
    built: Sequence[BuiltCandidate],
    *,
    force: bool = False,
) -> Bundle:
    """Write the winner's bundle in one move and open it; `force` replaces one that is there."""
    plan, model, evaluation = export.plan, export.model, export.evaluation
    compiled, parts = winner.compiled, [(each.part, each.built, each.folder) for each in winner.compiled.parts]
    if report.evidence == "measured_on_device":
        parts = [(part, replace(built, evidence=report.evidence), folder) for part, built, folder in parts]
    stored = bundle_samples.chosen(export, winner)
    report = _with_stored(report, stored)
    with staging.folder(output, force=force) as stage:
        filled = staging.fill(stage, parts, winner.planned.backend)
        if model.assets.is_dir():
            shutil.copytree(model.assets, stage / "assets")
        # What was evaluated is what the device does: the model's own record with what the project and the data added.
        evaluation.shipped.save(stage / "assets")
        stored.write(stage / SAMPLES)
        _write_latencies(stage, built)
        manifest = Manifest(
            name=output.name,
            model=report.model,
            task=report.task,
            backend=winner.planned.backend,
            recipe=winner.planned.recipe.name,
            target=plan.target,
            asked=winner.compiled.model.precision,
            effective=None if plan.mismatches or compiled.portable else winner.effective,
            states=compiled.model.states,
            lineage=winner.compiled.model.steps,
            trusted=model.info.trusted,
            deviation=stored.deviation,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **filled,
        )
        # The report names the digest of what runs, so that is hashed first.
        sealed = staging.seal(stage, manifest)
        final = replace(report, artifact=sealed.digest, lineage=manifest.lineage, evidence=manifest.evidence)
        final.save(stage / REPORT)
        _markdown(final, stage / "report.md")
        (stage / "plan.toml").write_text(plan.to_toml())
        (stage / "recipe.toml").write_text(toml_file.to_toml(winner.planned.recipe))
        staging.seal(stage, sealed)
    failed = _failed_report(output)
    for stale in (failed, failed.with_suffix(".md")):  # of an export to this place that failed before
        stale.unlink(missing_ok=True)
    return open(output, check=False)


def _with_stored(report: Report, stored: bundle_samples.BundleSamples) -> Report:
    """Return the report with whose samples travel, and what they are compared with on a device."""
    return replace(
        report,
        data=replace(report.data, stored=stored.source, stored_samples=stored.count),
        notes=(*report.notes, stored.note),
        candidates=tuple(
            replace(each, quality=stored.quality) if each.status == "shipped" else each for each in report.candidates
        ),
    )


def _packages(plan: Plan) -> set[str]:
    """Return the distributions that made and ran the candidates of a plan."""
    passes = {"export", *(step.name for candidate in plan.candidates for step in candidate.recipe.passes)}
    kinds = [registry.pass_type(name) for name in sorted(passes & {*registry.names("pass")})]
    named: list[tuple[str, ...]] = [kind.packages for kind in kinds]
    named += [catalog.runtime(candidate.backend).packages for candidate in plan.candidates]
    named += [source.packages for source in registry.sources() if source.scheme == plan.source]
    return {package for packages in named for package in packages}


def _absence_notes(plan: Plan) -> list[str]:
    """Return, for the top of the report, that what the target is best at was not tried."""
    first = next(iter(plan.target.backends), None)
    if first is None or all(candidate.backend != first for candidate in plan.candidates):
        return []
    absent = absence(first)
    return [f"{first}, the first choice for '{plan.target.name}', was not tried: {absent}"] if absent else []


def _mismatch_notes(plan: Plan) -> list[str]:
    unchecked = [
        f"the {what} budget of {limit:g} {unit} was not checked: nothing was measured"
        for what, limit, unit in (
            ("latency", plan.latency_budget_ms, "ms"),
            ("memory", plan.memory_budget_mb, "MB"),
        )
        if limit is not None
    ]
    if not plan.mismatches:
        return [] if plan.project.bench else unchecked
    return [
        *unchecked,
        f"nothing was measured for '{plan.target.name}': {'; '.join(plan.mismatches)}. "
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


def _write_latencies(stage: Path, built: Sequence[BuiltCandidate]) -> None:
    for candidate in built:
        measurement = candidate.measurement
        if candidate.outcome is not None and measurement is not None and measurement.raw_file:
            path = stage / measurement.raw_file
            path.parent.mkdir(exist_ok=True)
            candidate.outcome.save_latencies(path)


def _markdown(report: Report, path: Path) -> None:
    from edgekit.report import markdown

    path.write_text(markdown.render(report))
