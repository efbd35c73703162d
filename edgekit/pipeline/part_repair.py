"""Repair a candidate of several parts that misses the gate: leave whole parts in float, as few as will do."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from edgekit.errors import BuildError, UnsupportedError
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.repair import SUFFIX, Judged

MOST_PARTS = 4
"""Of a model with more parts, only one at a time is left in float, or all but one."""

J = TypeVar("J", bound=Judged)


def repaired(
    export: Export, planned: PlannedCandidate, build_and_judge: Callable[[PlannedCandidate], J], trial_s: float
) -> J | None:
    """Return the candidate that passes with the fewest parts in float, or None. A trial is expected to take
    `trial_s`; it ends where the project's limit of time for repairs does.
    """
    watch = export.builder.repairing
    with watch.running():
        for names in _choices([part.name for part in export.model.parts]):
            if not watch.leaves(trial_s):
                export.progress.note(
                    f"{planned.name}: the repair stopped at the limit of {watch.limit_s:g} s (--budget)"
                )
                return None
            export.progress.note(f"{planned.name}: trying {', '.join(names)} in float")
            recipe = replace(planned.recipe, name=f"{planned.recipe.name}{SUFFIX}", parts_in_float=names)
            with contextlib.suppress(UnsupportedError, BuildError):
                candidate = build_and_judge(replace(planned, recipe=recipe))
                if candidate.quality.ok:
                    return candidate
    return None


def _choices(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield the sets of parts to leave in float, the smallest first; never all, which is another recipe."""
    for count in range(1, len(names)):
        if len(names) <= MOST_PARTS or count in (1, len(names) - 1):
            yield from itertools.combinations(names, count)
