"""Build every candidate and compare it with the original. What cannot be built is kept with its reason.

Measuring and choosing among those that were built come after: `run.py`, `selection.py`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import bench, cache, catalog
from edgekit._record import digest_of
from edgekit.data import Feeds
from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.evaluation import gate
from edgekit.pipeline import blame, part_feeds, part_repair, planning, recipe_passes, torch_passes
from edgekit.pipeline.compiled import Compiled
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import repair, repairable
from edgekit.pipeline.stopwatch import Stopwatch
from edgekit.plugin import Precision
from edgekit.project import DEFAULT_MIN_AGREEMENT
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Mixed, Quality, Repair
from edgekit.runner import Fed

EXACT = "-exact"
"""What a backend's recipe with activations in float has behind the name of the same recipe without."""


@dataclass(frozen=True)
class BuiltCandidate:
    """A candidate that was built and compared with the original, and measured where it could be."""

    planned: PlannedCandidate
    compiled: Compiled
    quality: Quality
    effective: Precision
    outcome: bench.Outcome | None = None
    repair: Repair | None = None
    notes: tuple[str, ...] = ()
    mixed: Mixed | None = None

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def p50_ms(self) -> float | None:
        return self.measurement.p50_ms if self.measurement else None

    @property
    def measurement(self) -> Measurement | None:
        return self.outcome.measurement if self.outcome else None

    def entry(self, name: str, fed: Fed, batch: int = 1) -> bench.Entry:
        """Return what the benchmark needs to time it on `fed`, a batch of so many samples."""
        return bench.Entry(name, self.planned.backend, self.compiled.program, fed, batch)


def build_all(export: Export) -> tuple[list[BuiltCandidate], list[Candidate]]:
    """Build and judge every candidate of the plan; return those that were built, and the others with the reason.

    Raises UnsupportedError or BuildError when none of those that were asked for could be built.
    """
    built: list[BuiltCandidate] = []
    lost: list[Candidate] = []
    faults: list[EdgekitError] = []
    for planned in export.plan.candidates:
        if planned.fallback and _some_int8_passes(built):
            continue
        if planned.problems:
            lost.append(_lost(planned, "unsupported", "; ".join(planned.problems)))
            continue
        try:
            built += attempt(export, planned)
        except (UnsupportedError, BuildError) as fault:
            faults.append(fault)
            status = "unsupported" if isinstance(fault, UnsupportedError) else "build-failed"
            lost.append(_lost(planned, status, _reason(fault)))
            export.progress.note(f"{planned.name}: {_reason(fault)}")
    if all(candidate.planned.baseline for candidate in built):  # a baseline cannot be shipped
        reasons = [f"{candidate.name}: {candidate.reason}" for candidate in lost]
        raise blame.none_left(export.plan.target.name, reasons, faults)
    return built, lost


def attempt(export: Export, planned: PlannedCandidate, *, mend: bool = True) -> list[BuiltCandidate]:
    """Build a candidate and judge it; return it, and its repaired form where it misses the gate and can be repaired.

    Raises UnsupportedError or BuildError when it cannot be built.
    """
    start = torch_passes.graph(export, planned)

    feeds: Feeds | Mapping[str, Feeds] | None = export.evaluation.feeds
    if not export.model.is_single:
        feeds = part_feeds.of_parts(export, planned) if recipe_passes.needs_samples(planned.recipe) else None

    def build_and_judge(changed: PlannedCandidate) -> BuiltCandidate:
        return judge(export, changed, export.builder.build(start, changed, feeds))

    watch = Stopwatch()
    with watch.running():
        first = build_and_judge(planned)
    mend = mend and export.plan.project.repair
    quantizes = bool(recipe_passes.after_export(planned.recipe))
    if first.quality.ok or planned.baseline or not mend or not quantizes:
        return [first]
    if len(export.model.parts) > 1:
        candidate = part_repair.repaired(export, planned, build_and_judge, watch.spent_s)
        return [first] if candidate is None else [first, candidate]
    if export.model.states and (exact := _exact(export, planned)) is not None:
        with contextlib.suppress(UnsupportedError, BuildError):
            return [first, build_and_judge(exact)]
    if not repairable(planned) or not export.model.is_single:
        return [first]
    try:
        attempts, repaired = repair(export, planned, start, build_and_judge, watch.spent_s)
    except (UnsupportedError, BuildError) as fault:  # the candidate stays, as it is
        return [replace(first, notes=(*first.notes, f"it could not be repaired: {_reason(fault)}"))]
    first = replace(first, repair=attempts)
    return [first] if repaired is None else [first, replace(repaired, repair=attempts)]


def _exact(export: Export, planned: PlannedCandidate) -> PlannedCandidate | None:
    """Return the candidate with activations in float where its backend has a recipe for it that is not tried anyway."""
    name = f"{planned.recipe.name}{EXACT}"
    recipe = catalog.recipes(planned.backend).get(name)
    tried = {(each.backend, each.recipe.name) for each in export.plan.candidates}
    if recipe is None or (planned.backend, name) in tried:
        return None
    exact = planning.planned(export.plan, planned.backend, recipe)
    return None if exact.problems else exact


def judge(export: Export, planned: PlannedCandidate, compiled: Compiled) -> BuiltCandidate:
    """Compare what was compiled with the original, and the result with the gate."""
    project = export.plan.project

    # What is portable has no engine yet, on its own device neither: the graph is judged, as it is elsewhere.
    off_target = bool(export.plan.mismatches) or compiled.portable

    def check(work: Path) -> None:
        with compiled.program.open(blame.guarded(planned.backend), off_target=off_target) as runner:
            evaluation, title = export.evaluation, f"verifying {planned.name}"
            quality = gate.evaluate(
                runner,
                evaluation.task,
                evaluation.samples,
                export.reference,
                export.progress,
                title,
                export.model.part if export.model.is_single else None,
            )
            precision = runner.precision
            if off_target:
                quality = replace(quality, arithmetic=_arithmetic(precision, planned.backend))
            judged = {"quality": quality.to_dict(), "effective": precision.to_dict()}
        (work / "quality.json").write_text(json.dumps(judged))

    key = digest_of(["quality", gate.VERSION, off_target, [compiled.key, *export.data_key]])
    folder, _ = cache.fetch(key, "quality", check)
    judged: dict[str, Any] = json.loads((folder / "quality.json").read_text())
    quality = gate.gate(
        Quality.from_dict(judged["quality"]),
        compiled.model.precision,
        max_drop=project.allowed_drop,
        min_agreement=DEFAULT_MIN_AGREEMENT if project.min_agreement is None else project.min_agreement,
        retrained=recipe_passes.changes_module(planned.recipe),
    )
    return BuiltCandidate(planned, compiled, quality, Precision.from_dict(judged["effective"]))


def _arithmetic(precision: Precision, backend: str) -> str:
    """Return how a candidate for another machine was computed on this one, in words."""
    how = precision.emulated or f"in {', '.join(sorted(precision.layers)) or precision.main}"
    return f"on this machine by {backend}, not on the device: {how}"


def _some_int8_passes(built: list[BuiltCandidate]) -> bool:
    asked = [candidate for candidate in built if not (candidate.planned.baseline or candidate.planned.fallback)]
    return any(candidate.quality.ok and candidate.planned.recipe.precision.startswith("i8") for candidate in asked)


def _reason(fault: EdgekitError) -> str:
    """Return a message in one line: its list of problems would be an entry in the middle of a table."""
    problems = getattr(fault, "problems", ())
    if not problems:
        return fault.message
    first = fault.message.partition("\n")[0].rstrip(".:")
    return f"{first}: {'; '.join(problems)}"


def _lost(planned: PlannedCandidate, status: Any, reason: str) -> Candidate:
    return Candidate(planned.name, planned.backend, planned.recipe.name, status, reason, asked=planned.recipe.precision)
