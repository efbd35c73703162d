"""Which candidate is shipped, and why each of the others is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgekit import bench
from edgekit.pipeline import pruning_gain
from edgekit.pipeline.budget import excesses
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.objective import (
    GOALS,
    beaten_by,
    best,
    expected_fastest,
    faithful,
    measured,
    why_lost,
    why_shipped,
)
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.repair import SUFFIX
from edgekit.result.measurement import Speed
from edgekit.result.report import Candidate, Tuning


def select(plan: Plan, built: Sequence[BuiltCandidate]) -> tuple[list[Candidate], BuiltCandidate | None]:
    """Return every candidate with its status and the reason, and the one that is shipped, None where none is."""
    objective = plan.project.objective
    standing = {candidate.name: _standing(plan, candidate) for candidate in built}
    useless = pruning_gain.without_speedup(built, objective)
    standing |= {name: ("no-gain", why) for name, why in useless.items() if standing[name][0] == "passed"}
    passing = [candidate for candidate in built if standing[candidate.name][0] == "passed"]
    eligible = [candidate for candidate in passing if not candidate.planned.baseline]
    baselines = [candidate for candidate in passing if candidate.planned.baseline and candidate.p50_ms is not None]
    compared = measured(eligible, objective)
    alike = [] if compared or not eligible else expected_fastest(eligible)
    winner = best(compared, objective) if compared else (faithful(alike) if alike else None)
    # Who asks for the smallest gets it though it be slower than full precision: the report says by how much.
    timed = winner is not None and winner.measurement is not None and GOALS[objective].timed
    quicker = beaten_by(winner, baselines, objective) if winner and timed else None
    candidates = []
    for candidate in built:
        status, reason = standing[candidate.name]
        if status == "failed-gate" and candidate.repair:
            reason += _after_repair(candidate)
        if candidate.planned.baseline:
            status, reason = "baseline", reason or "measured for comparison"
        elif candidate is winner:
            status, reason = "shipped", _why_shipped(plan, candidate, compared, baselines, alike)
            if quicker:
                status, reason = "slower", why_lost(candidate, quicker, objective)
        elif status == "passed" and winner is not None:
            reason = why_lost(candidate, winner, objective)
        behind = None if winner is None or candidate is winner else _behind(winner, candidate)
        candidates.append(replace(_reported(plan, candidate, status, reason), behind=behind))
    return candidates, None if quicker else winner


def _behind(winner: BuiltCandidate, candidate: BuiltCandidate) -> Speed | None:
    """Return how many times as fast the winner is; None where the two were not measured in the same rounds."""
    first, second = winner.outcome, candidate.outcome
    if first is None or second is None or not {r.cycle for r in first.rounds} & {r.cycle for r in second.rounds}:
        return None
    compared = bench.faster(first, second)
    return Speed(compared.ratio, compared.low, compared.high)


def with_tuning(shipped: Candidate, candidate: BuiltCandidate, tuning: Tuning | None) -> Candidate:
    """Return the shipped candidate with the options that tuning chose; unchanged where none were tried."""
    if tuning is None:
        return shipped
    return replace(
        shipped,
        quality=candidate.quality,
        measurement=candidate.measurement,
        effective=candidate.effective,
        tuning=tuning,
    )


def _standing(plan: Plan, candidate: BuiltCandidate) -> tuple[str, str]:
    failed = [check.meaning for check in candidate.quality.checks if not check.passed]
    if failed:
        return "failed-gate", "; ".join(failed)
    if candidate.outcome and candidate.outcome.fault:
        return "build-failed", f"it could not be measured: {candidate.outcome.fault.message}"
    over = excesses(plan, candidate.compiled.size_mb, candidate.measurement)
    return ("over-budget", "; ".join(map(str, over))) if over else ("passed", "")


def _why_shipped(
    plan: Plan,
    candidate: BuiltCandidate,
    compared: Sequence[BuiltCandidate],
    baselines: Sequence[BuiltCandidate],
    alike: Sequence[BuiltCandidate],
) -> str:
    if any(candidate is other for other in compared):
        return why_shipped(candidate, compared, plan.project.objective, beside=baselines)
    why = "; ".join(plan.mismatches) or "measuring was switched off"
    if candidate.compiled.portable and not plan.mismatches:
        why = "its engine is built by `edgekit finish`"
    if len(alike) > 1:
        return f"the closest to the original of those that are expected to be the fastest; not measured ({why})"
    return f"first in the target's order of those that pass; not measured ({why})"


def _after_repair(candidate: BuiltCandidate) -> str:
    """Return what became of a candidate that missed the gate and could leave layers in float."""
    assert candidate.repair is not None
    stopped = f"; {candidate.repair.stopped}" if candidate.repair.stopped else ""
    left, layers = candidate.repair.layers_in_float, len(candidate.repair.costs)
    if left:
        return f"; it passes with {left} of {layers} layers in float, as {candidate.name}{SUFFIX}{stopped}"
    return stopped or (f"; no number of its {layers} layers in float was enough" if layers > 1 else "")


def _reported(plan: Plan, candidate: BuiltCandidate, status: Any, reason: str) -> Candidate:
    return Candidate(
        name=candidate.name,
        backend=candidate.planned.backend,
        recipe=candidate.planned.recipe.name,
        status=status,
        reason=reason,
        asked=candidate.compiled.model.precision,
        # What this machine's kernels do says nothing of another's.
        effective=None if plan.mismatches or candidate.compiled.portable else candidate.effective,
        size_mb=candidate.compiled.size_mb,
        part_sizes_mb=candidate.compiled.part_sizes_mb,
        quality=candidate.quality,
        measurement=candidate.measurement,
        layers=candidate.outcome.layers if candidate.outcome else (),
        notes=(*candidate.notes, *candidate.compiled.notes),
        repair=candidate.repair,
        mixed=candidate.mixed,
    )
