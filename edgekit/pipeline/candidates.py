"""One export's trials: the original is run once, then every candidate is built and held against it.

What cannot be built is kept with its reason. Measuring and choosing among those that were built is `choose.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit import bench, cache, registry
from edgekit._record import digest_of
from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.evaluation import gate as quality
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.reference_outputs import VERSION, Originals, record
from edgekit.model import Model
from edgekit.pipeline import recipe_passes, torch_passes
from edgekit.pipeline.builder import Build, Compiled, tool_versions
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import repair, repairable
from edgekit.plugin import Precision
from edgekit.project import DEFAULT_MAX_DROP, DEFAULT_MIN_AGREEMENT
from edgekit.result.measurement import Measurement
from edgekit.result.report import Candidate, Mixed, Quality, Repair


@dataclass(frozen=True)
class Tried:
    """A candidate that was built and held against the original, and measured where it could be."""

    planned: PlannedCandidate
    compiled: Compiled
    quality: Quality
    effective: Precision
    outcome: bench.Outcome | None = None
    repair: Repair | None = None
    notes: tuple[str, ...] = ()
    mixed: Mixed | None = None

    @property
    def p50_ms(self) -> float | None:
        return self.measurement.p50_ms if self.measurement else None

    @property
    def measurement(self) -> Measurement | None:
        return self.outcome.measurement if self.outcome else None


def run_original(build: Build, model: Model, evaluation: Evaluation) -> Originals:
    """Run the original on the evaluation samples, or take its outputs from the cache."""

    def run(work: Path) -> None:
        record(build.original(), evaluation.task, evaluation.samples, work, build.progress)

    if build.source_digest is None:
        # The user's own code may have changed where no digest can see it: its outputs are computed each time.
        work = build.enter_context(cache.workdir("originals"))
        run(work)
        return Originals(work)
    decides = [build.source_digest, model.digest, evaluation.samples.digest, evaluation.task.config.to_dict()]
    folder, _ = cache.fetch(digest_of(["originals", VERSION, decides, tool_versions()]), "originals", run)
    return Originals(folder)


def try_all(
    build: Build, model: Model, evaluation: Evaluation, originals: Originals
) -> tuple[list[Tried], list[Candidate]]:
    """Build and verify every candidate; those that cannot be built are kept with the reason.

    Raises UnsupportedError or BuildError when none of those that were asked for could be built.
    """
    tried: list[Tried] = []
    lost: list[Candidate] = []
    faults: list[EdgekitError] = []
    for planned in build.plan.candidates:
        if planned.resort and _some_int8_passes(tried):
            continue
        if planned.problems:
            lost.append(_lost(planned, "unsupported", "; ".join(planned.problems)))
            continue
        try:
            tried += attempt(build, planned, model, evaluation, originals)
        except (UnsupportedError, BuildError) as fault:
            faults.append(fault)
            status = "unsupported" if isinstance(fault, UnsupportedError) else "build-failed"
            lost.append(_lost(planned, status, _reason(fault)))
            build.progress.note(f"{planned.name}: {_reason(fault)}")
    if all(t.planned.baseline for t in tried):  # what is measured for comparison only cannot be shipped
        failed = [fault for fault in faults if isinstance(fault, BuildError)]
        if failed:
            raise failed[0]
        reasons = [f"{candidate.name}: {candidate.reason}" for candidate in lost]
        # The last candidate is the plainest: what would mend it mends the others as well.
        hint = next((fault.hint for fault in reversed(faults) if fault.hint), None)
        message = f"nothing can be built for '{build.plan.target.name}'."
        raise UnsupportedError(message, problems=reasons, hint=hint) from faults[0]
    return tried, lost


def _some_int8_passes(tried: list[Tried]) -> bool:
    asked = [t for t in tried if not (t.planned.baseline or t.planned.resort)]
    return any(t.quality.ok and t.planned.recipe.precision.startswith("i8") for t in asked)


def attempt(
    build: Build,
    planned: PlannedCandidate,
    model: Model,
    evaluation: Evaluation,
    originals: Originals,
    *,
    mend: bool = True,
) -> list[Tried]:
    """Build a candidate and hold it against the original; give it, and where it misses the gate and is to be repaired,
    what it became. Raises UnsupportedError or BuildError when it cannot be built.
    """
    model = torch_passes.graph(build, model, planned, evaluation)

    def one(changed: PlannedCandidate) -> Tried:
        return _try(build, changed, model, evaluation, originals)

    first = one(planned)
    if first.quality.ok or planned.baseline or not mend or not build.plan.project.repair or repairable(planned) is None:
        return [first]
    found, repaired = repair(build, planned, model, evaluation.feeds, one)
    first = replace(first, repair=found)
    return [first] if repaired is None else [first, replace(repaired, repair=found)]


def _try(build: Build, planned: PlannedCandidate, model: Model, evaluation: Evaluation, originals: Originals) -> Tried:
    goal, backend = build.plan.target, registry.backend(planned.backend)
    typed = build.with_passes(model, planned, evaluation.feeds)
    support = backend.supports(typed, goal)
    if not support.ok:
        raise UnsupportedError(
            "; ".join(support.problems),
            hint="change what is named in the model, or choose another backend (see `edgekit plugins`)",
        )
    compiled = build.compiled(typed, planned, goal)
    return judged(build, planned, compiled, evaluation, originals)


def judged(
    build: Build, planned: PlannedCandidate, compiled: Compiled, evaluation: Evaluation, originals: Originals
) -> Tried:
    """Hold what was compiled against the original and the gate."""
    project, backend = build.plan.project, registry.backend(planned.backend)

    def check(work: Path) -> None:
        # What is portable has no engine yet, on its own device neither: the graph is judged, as it is elsewhere.
        elsewhere = bool(build.plan.mismatches) or compiled.built.portable
        with backend.open(replace(compiled.payload, elsewhere=elsewhere)) as session:
            title = f"verifying {planned.name}"
            seen = quality.evaluate(session, evaluation.task, evaluation.samples, originals, build.progress, title)
            found = {"quality": seen.to_dict(), "effective": session.precision.to_dict()}
        (work / "quality.json").write_text(json.dumps(found))

    decides = [compiled.key, originals.digest, evaluation.samples.digest, evaluation.task.config.to_dict()]
    folder, _ = cache.fetch(digest_of(["quality", quality.VERSION, decides]), "quality", check)
    found = json.loads((folder / "quality.json").read_text())
    gated = quality.gate(
        Quality.from_dict(found["quality"]),
        compiled.model.precision,
        max_drop=DEFAULT_MAX_DROP if project.max_drop is None else project.max_drop,
        min_agreement=DEFAULT_MIN_AGREEMENT if project.min_agreement is None else project.min_agreement,
        retrained=bool(recipe_passes.live(planned.recipe)),
    )
    return Tried(planned, compiled, gated, Precision.from_dict(found["effective"]))


def _reason(fault: EdgekitError) -> str:
    """Give a message in one line: its list of problems would be an entry in the middle of a table."""
    problems = getattr(fault, "problems", ())
    if not problems:
        return fault.message
    first = fault.message.partition("\n")[0].rstrip(".:")
    return f"{first}: {'; '.join(problems)}"


def _lost(planned: PlannedCandidate, status: Any, reason: str) -> Candidate:
    return Candidate(planned.name, planned.backend, planned.recipe.name, status, reason, asked=planned.recipe.precision)
