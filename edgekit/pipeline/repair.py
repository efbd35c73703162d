"""Bring a candidate that misses the gate back under it: leave the layers that cost most in float, as few as will do.

The pass says what each layer costs, measured. Layers are left out in that order: first 1, 2, 4, ... until the gate is
passed, then the least number between the last miss and the first pass. Every trial is a step of the cache.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgekit import registry
from edgekit.errors import BuildError, UnsupportedError
from edgekit.model import Model
from edgekit.pipeline import recipe_passes
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.stopwatch import Stopwatch
from edgekit.plugin import LayerCost, Repairable
from edgekit.recipe.recipe import PassConfig
from edgekit.result.report import Attempt, Quality, Repair

SUFFIX = "-repaired"


class Judged(Protocol):
    """A candidate that was built and compared with the original."""

    @property
    def quality(self) -> Quality: ...


J = TypeVar("J", bound=Judged)


def repairable(planned: PlannedCandidate) -> PassConfig | None:
    """Return the first pass of the recipe that can leave layers in float, None where there is none."""
    for step in planned.recipe.passes:
        if issubclass(registry.pass_type(step.name), Repairable):
            return step
    return None


class _OutOfTime(Exception):
    """The next trial would take longer than the limit leaves."""


def repair(
    export: Export,
    planned: PlannedCandidate,
    model: Model,
    build_and_judge: Callable[[PlannedCandidate], J],
    trial_s: float = 0.0,
) -> tuple[Repair, J | None]:
    """Return what was tried, and the repaired candidate that leaves fewest layers in float, or None.

    `model` is the graph that the candidate's passes start from. A trial is expected to take `trial_s`, as building and
    judging the candidate did. Where the project's limit of time ends the repair, the best until then counts.
    """
    watch = export.builder.repairing
    with watch.running():
        if not watch.leaves(trial_s):
            return Repair((), 0, (), stopped=_stopped(watch, "its layers' costs would be measured")), None
        return _repair(export, planned, model, build_and_judge, trial_s)


def _repair(
    export: Export,
    planned: PlannedCandidate,
    model: Model,
    build_and_judge: Callable[[PlannedCandidate], J],
    trial_s: float,
) -> tuple[Repair, J | None]:
    step, watch = repairable(planned), export.builder.repairing
    assert step is not None
    costs = layer_costs(export, planned, step, model)
    attempts: list[Attempt] = []
    tried: dict[int, J] = {}
    seconds: list[float] = []
    trials = most_trials(len(costs))
    export.progress.note(f"{planned.name}: a repair takes at most {trials} trials, about {trials * trial_s:.0f} s")

    def passes(count: int) -> bool:
        if not watch.leaves(max(seconds, default=trial_s)):
            raise _OutOfTime(f"{count} of {len(costs)} layers in float would be tried")
        export.progress.note(f"{planned.name}: trying {count} of {len(costs)} layers in float")
        started = watch.spent_s
        try:
            names = [cost.name for cost in costs[:count]]
            tried[count] = build_and_judge(excluding(planned, step, names, SUFFIX))
        except (UnsupportedError, BuildError):
            return False
        finally:
            seconds.append(watch.spent_s - started)
        attempts.append(_attempt(count, tried[count].quality))
        return tried[count].quality.ok

    stopped = ""
    try:
        least = least_passing(len(costs), passes)
    except _OutOfTime as reason:
        stopped = _stopped(watch, str(reason))
        export.progress.note(f"{planned.name}: {stopped}")
        least = min((count for count, candidate in tried.items() if candidate.quality.ok), default=None)
    return Repair(costs, least or 0, tuple(attempts), stopped), tried[least] if least else None


def _stopped(watch: Stopwatch, next_: str) -> str:
    return f"the repair stopped at the limit of {watch.limit_s:g} s (--budget); next, {next_}"


def most_trials(layers: int) -> int:
    """Return how many trials `least_passing` needs at most."""
    return 0 if layers < 2 else math.ceil(2 * math.log2(layers)) + 1


def least_passing(layers: int, passes: Callable[[int], bool]) -> int | None:
    """Return the least count from 1 to `layers` - 1 that passes, in about twice the logarithm of `layers` trials.

    A count above one that passes is taken to pass as well. None where none does: all layers in float is another recipe.
    """
    missed, count = 0, 1
    while count < layers and not passes(count):
        missed, count = count, min(2 * count, layers - 1) if count < layers - 1 else layers
    if count >= layers:
        return None
    while count - missed > 1:
        middle = (missed + count) // 2
        if passes(middle):
            count = middle
        else:
            missed = middle
    return count


def layer_costs(export: Export, planned: PlannedCandidate, step: PassConfig, model: Model) -> tuple[LayerCost, ...]:
    """Measure what each layer costs, once for all candidates whose recipes begin alike."""
    builder, feeds = export.builder, export.evaluation.feeds
    start = builder.with_passes(model, before(planned, step), feeds)
    instance: Any = recipe_passes.configured(step, planned.recipe)

    def make(work: Path) -> None:
        with export.progress.step(f"measuring what each layer costs ({planned.recipe.name})"):
            costs = instance.costs(start, feeds, work)
        (work / "costs.json").write_text(json.dumps([cost.to_dict() for cost in costs]))

    key = {"config": instance.to_dict(), "input": start.digest, "samples": feeds.digest if feeds else None}
    folder = builder.cached_step("costs", key, type(instance), make)
    return tuple(LayerCost.from_dict(cost) for cost in json.loads((folder / "costs.json").read_text()))


def before(planned: PlannedCandidate, step: PassConfig) -> PlannedCandidate:
    """Return the candidate with the passes that come before `step`."""
    passes = planned.recipe.passes[: planned.recipe.passes.index(step)]
    return replace(planned, recipe=replace(planned.recipe, passes=passes))


def excluding(planned: PlannedCandidate, step: PassConfig, names: Sequence[str], suffix: str) -> PlannedCandidate:
    """Return the candidate whose pass leaves these layers in float, beside those that it leaves already."""
    exclude = [*step.config.get("exclude", ()), *names]
    changed = PassConfig(step.name, {**step.config, "exclude": exclude})
    passes = tuple(changed if each is step else each for each in planned.recipe.passes)
    recipe = replace(planned.recipe, name=planned.recipe.name + suffix, passes=passes)
    return replace(planned, recipe=recipe)


def _attempt(count: int, quality: Quality) -> Attempt:
    failed = next((check.meaning for check in quality.checks if not check.passed), "")
    return Attempt(count, quality.ok, failed or (quality.checks[-1].meaning if quality.checks else ""))
