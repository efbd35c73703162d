"""The main job: try every candidate of a target, gate it, measure it beside the others, and ship the fastest that
passes.

A plain loop over the parts: the plan says what to try, `build.py` makes it, `verify.py` judges it, `bench/` times
all of them interleaved, and `artifact.py` writes the winner with the report of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact, bench, cache, ship, trial
from edgekit.artifact import Bundle
from edgekit.build import Build
from edgekit.evaluation import Evaluation, prepare
from edgekit.pipeline import Plan, plan
from edgekit.progress import Progress, Silent
from edgekit.project import Project
from edgekit.repair import SUFFIX
from edgekit.result import Candidate, Report
from edgekit.trial import Tried

if TYPE_CHECKING:
    import numpy as np

TIE = 0.02
"""Two candidates closer than this are equally fast for a person: the more faithful one is shipped."""


WIDEST_TIE = 0.10
"""However noisy the machine, a difference beyond this is taken as one: else a bad hour would ship the slow
candidate.
"""

ROUNDS = 10
"""Turns that each candidate gets at least: fewer pairs cannot tell a difference from the noise."""


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
    artifact.check_output(output, force=force)
    made = plan(project, live=module is not None)
    with cache.disk_faults(output, "the export"), Build(made, progress, module) as build:
        model = build.exported()
        evaluation = prepare(project, model)
        originals = trial.run_original(build, model, evaluation)
        tried, lost = trial.try_all(build, model, evaluation, originals)
        tried = _measure(made, tried, evaluation, progress)
        candidates, winner = _judge(made, tried)
        report = ship.report(made, model, evaluation, (*candidates, *lost))
        if winner is None:
            ship.fail(report, output, made)
        bundle = ship.bundle(output, made, report, model, winner, evaluation, originals, tried, force=force)
    return Result(bundle.report(), bundle)


def default_output(project: Project) -> str:
    """Give `out/MODEL-TARGET`."""
    name = (project.model or "model").rstrip("/").replace("\\", "/").split("/")[-1].split(":")[-1]
    return f"out/{name.removesuffix('.onnx')}-{Path(project.target).stem}"


def _measure(made: Plan, tried: Sequence[Tried], evaluation: Evaluation, progress: Progress) -> list[Tried]:
    """Time every built candidate interleaved, those that failed the gate too: the user sees what the gate costs."""
    if made.mismatches or not made.project.bench:
        return list(tried)
    feeds = representative(evaluation)
    entries = [bench.Entry(t.planned.name, t.planned.backend, t.compiled.payload, feeds) for t in tried]
    seconds = made.project.bench_seconds
    settings = bench.Settings(
        min_seconds=seconds, max_seconds=max(30.0, seconds), round_ms=min(200, 1e3 * seconds / ROUNDS)
    )
    outcomes = bench.benchmark(entries, settings, progress)
    return [replace(t, outcome=_with_raw_file(outcome)) for t, outcome in zip(tried, outcomes, strict=True)]


def _with_raw_file(outcome: bench.Outcome) -> bench.Outcome:
    """Say where the bundle will hold the raw latencies."""
    if outcome.measurement is None:
        return outcome
    file = f"latencies/{outcome.name.replace('/', '-')}.txt"
    return replace(outcome, measurement=replace(outcome.measurement, raw_file=file))


def representative(evaluation: Evaluation) -> Mapping[str, np.ndarray]:
    """Give the feeds to time: the sample of median size among the first 64, so that a text is neither short nor
    long.
    """
    several = [evaluation.task.feeds(evaluation.samples[index])[0] for index in range(min(64, len(evaluation.samples)))]
    several.sort(key=lambda feeds: sum(array.size for array in feeds.values()))
    return several[len(several) // 2]


def _judge(made: Plan, tried: Sequence[Tried]) -> tuple[list[Candidate], Tried | None]:
    """Decide who is shipped, and say of each why."""
    standing = {t.planned.name: _standing(made, t) for t in tried}
    passing = [t for t in tried if standing[t.planned.name][0] == "passed"]
    eligible = [t for t in passing if not t.planned.baseline]
    baselines = [t for t in passing if t.planned.baseline and t.p50_ms is not None]
    measured = [t for t in eligible if t.p50_ms is not None]
    winner = _fastest(measured) if measured else (eligible[0] if eligible else None)
    quicker = [b for b in baselines if winner and winner.outcome and not _tied(winner, b)]
    quicker = [b for b in quicker if winner and (b.p50_ms or 0.0) < (winner.p50_ms or 0.0)]
    candidates = []
    for t in tried:
        status, reason = standing[t.planned.name]
        if status == "failed-gate" and t.repair:
            reason += _after_repair(t)
        if t.planned.baseline:
            status, reason = "baseline", reason or "measured for comparison"
        elif t is winner:
            status, reason = "shipped", _why_shipped(made, t, measured)
            if quicker:
                status, reason = "slower", _why_lost(t, quicker[0])
        elif status == "passed" and winner is not None:
            reason = _why_lost(t, winner)
        candidates.append(_candidate(made, t, status, reason))
    return candidates, None if quicker else winner


def _standing(made: Plan, t: Tried) -> tuple[str, str]:
    failed = [check.meaning for check in t.quality.checks if not check.passed]
    if failed:
        return "failed-gate", "; ".join(failed)
    if t.outcome and t.outcome.fault:
        return "build-failed", f"it could not be measured: {t.outcome.fault.message}"
    measured = t.outcome.measurement if t.outcome else None
    budgets = (
        ("p50 ", t.p50_ms, "ms", made.latency_budget_ms),
        ("", t.compiled.size_mb, "MB", made.size_budget_mb),
        ("peak memory ", measured.peak_memory_mb if measured else None, "MB", made.memory_budget_mb),
    )
    over = [
        f"{what}{value:.3g} {unit}, at most {most:g} {unit} allowed"
        for what, value, unit, most in budgets
        if value is not None and most is not None and value > most
    ]
    return ("over-budget", "; ".join(over)) if over else ("passed", "")


def _fastest(measured: Sequence[Tried]) -> Tried:
    """Take the fastest, or the most faithful of those that are as fast within the noise."""
    best = min(measured, key=lambda t: t.p50_ms or 0.0)
    level = [t for t in measured if t is best or _tied(t, best)]
    return min(level, key=lambda t: (max(t.quality.drop or 0.0, 0.0), t.quality.rel_l2))


def _tied(t: Tried, best: Tried) -> bool:
    assert t.outcome is not None and best.outcome is not None
    ratio = (t.p50_ms or 0.0) / (best.p50_ms or 1.0)
    if ratio > 1 + WIDEST_TIE:
        return False
    return ratio <= 1 + TIE or bench.faster(best.outcome, t.outcome).verdict != "faster"


def _why_shipped(made: Plan, t: Tried, measured: Sequence[Tried]) -> str:
    if t.p50_ms is None:
        why = "; ".join(made.mismatches) if made.mismatches else "measuring was switched off"
        return f"first in the target's order of those that pass; not measured ({why})"
    faster = [o for o in measured if o is not t and (o.p50_ms or 0.0) < t.p50_ms]
    if faster:
        return f"as fast as {faster[0].planned.name} within the noise, and closer to the original"
    return "the fastest that passes" if len(measured) > 1 else "the only one that passes"


def _why_lost(t: Tried, winner: Tried) -> str:
    if t.p50_ms is None or winner.p50_ms is None:
        return f"{winner.planned.name} comes first in the target's order"
    ratio = t.p50_ms / winner.p50_ms
    return (
        f"{ratio:.2f}x the time of {winner.planned.name}" if ratio >= 1 else "as fast within the noise, less faithful"
    )


def _after_repair(t: Tried) -> str:
    """Say what became of a candidate that missed the gate and could leave layers in float."""
    assert t.repair is not None
    left, layers = t.repair.layers_in_float, len(t.repair.costs)
    if left:
        return f"; it passes with {left} of {layers} layers in float, as {t.planned.name}{SUFFIX}"
    return f"; no number of its {layers} layers in float was enough" if layers > 1 else ""


def _candidate(made: Plan, t: Tried, status: Any, reason: str) -> Candidate:
    return Candidate(
        name=t.planned.name,
        backend=t.planned.backend,
        recipe=t.planned.recipe.name,
        status=status,
        reason=reason,
        asked=t.compiled.model.precision,
        # What this machine's kernels do says nothing of another's.
        effective=None if made.mismatches else t.effective,
        size_mb=t.compiled.size_mb,
        quality=t.quality,
        measurement=t.outcome.measurement if t.outcome else None,
        layers=t.outcome.layers if t.outcome else (),
        notes=t.compiled.built.notes,
        repair=t.repair,
    )
