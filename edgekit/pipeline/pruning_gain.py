"""Whether pruning gained anything: a pruned candidate is compared with what its recipe gives without the pruning, on
the same backend, measured interleaved with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.pipeline import recipe_passes
from edgekit.pipeline.candidates import BuiltCandidate
from edgekit.pipeline.objective import GOALS, beaten_by, measured
from edgekit.project import Objective
from edgekit.recipe.recipe import Recipe


def without_speedup(built: Sequence[BuiltCandidate], objective: Objective) -> dict[str, str]:
    """Return the pruned candidates that are no better than their unpruned counterparts beyond the noise, by name, each
    with the numbers. One that was not measured, or has no such counterpart, is not judged.
    """
    reasons = {}
    known = measured(built, objective)
    for candidate in known:
        if not recipe_passes.prunes(candidate.planned.recipe):
            continue
        whole = [other for other in known if _is_counterpart(other, candidate)]
        # Of a recipe and its repair, that which can be shipped; where neither can, the speed is compared all the same.
        whole = [other for other in whole if other.quality.ok] or whole
        better = [other for other in whole if beaten_by(other, [candidate], objective) is None]
        if better:
            reasons[candidate.planned.name] = _reason(candidate, better[0], objective)
    return reasons


def _is_counterpart(other: BuiltCandidate, candidate: BuiltCandidate) -> bool:
    return (
        other.planned.backend == candidate.planned.backend
        and not recipe_passes.prunes(other.planned.recipe)
        and _work(other.planned.recipe) == _work(candidate.planned.recipe)
    )


def _work(recipe: Recipe) -> list[Any]:
    """Return what decides the speed of a recipe's graph beside its shape, without the layers that a repair left in
    float.
    """
    plain = {"exclude", "overrides"}
    return [
        (step.name, {key: value for key, value in step.config.items() if key not in plain})
        for step in recipe_passes.without_pruning(recipe)
    ]


def _reason(candidate: BuiltCandidate, other: BuiltCandidate, objective: Objective) -> str:
    goal = GOALS[objective]
    ratio = (goal.cost(candidate) or 0.0) / (goal.cost(other) or 1.0)
    times = (
        f" (p50 {candidate.p50_ms:.3g} against {other.p50_ms:.3g} ms)"
        if candidate.p50_ms and other.p50_ms and goal.timed
        else ""
    )
    return f"its pruning gains nothing: {ratio:.2f}x {goal.cost_of} {other.planned.name}{times}, which is not pruned"
