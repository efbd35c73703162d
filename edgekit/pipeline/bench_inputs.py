"""How candidates are measured: on one real sample, or for throughput on a batch of them, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit import bench
from edgekit.bench.scenario import BATCH, free_batch
from edgekit.evaluation.reference_outputs import ReferenceOutputs
from edgekit.pipeline.export import Export
from edgekit.project import Objective
from edgekit.runner import Fed
from edgekit.spec import TensorSpec

ROUNDS = 10
"""Rounds that each candidate gets at least: fewer pairs cannot tell a difference from the noise."""

LOOKED_AT = 64
"""Samples among which the one of median size is found."""

SEARCHED = 512
"""Samples among which those are found that can share a batch."""


def settings(seconds: float) -> bench.Settings:
    """Return how long to measure so that each candidate is timed for `seconds` at least."""
    return bench.Settings.lasting(seconds, round_ms=min(200, 1e3 * seconds / ROUNDS))


def with_raw_file(outcome: bench.Outcome) -> bench.Outcome:
    """Return the outcome with the place where the bundle will hold its raw latencies."""
    if outcome.measurement is None:
        return outcome
    file = f"latencies/{outcome.name.replace('/', '-')}.txt"
    return replace(outcome, measurement=replace(outcome.measurement, raw_file=file))


def feeds(
    export: Export, inputs: Sequence[Sequence[TensorSpec]], objective: Objective | None = None
) -> tuple[Fed, int]:
    """Return what to feed, and how many samples that is; `inputs` are those of every graph that will be measured.

    For throughput a batch of real samples where every graph leaves it free: `BATCH` of those with the shapes of the
    sample of median size, or as many as there are. Else that sample alone. Without `objective` it is the project's.
    Of a model of several parts it is every call of that sample.
    """
    import numpy as np

    reference = export.reference
    sample = representative(reference)
    if not export.model.is_single:
        return [inference.call for inference in reference[sample]], 1
    alone = reference[sample][0].feeds
    throughput = (objective or export.plan.project.objective) == "throughput"
    if not throughput or not all(free_batch(specs) for specs in inputs):
        return alone, 1
    shapes = reference.calls[sample][0].shapes
    alike = [
        (index, step)
        for index, calls in enumerate(reference.calls[:SEARCHED])
        for step, recorded in enumerate(calls)
        if recorded.shapes == shapes
    ][:BATCH]
    several = [reference[index][step].feeds for index, step in alike]
    return {name: np.concatenate([each[name] for each in several]) for name in alone}, len(several)


def representative(reference: ReferenceOutputs) -> int:
    """Return the number of the sample of median size among the first, so that a text is neither short nor long."""
    count = min(LOOKED_AT, len(reference))
    order = sorted(range(count), key=lambda index: reference.calls[index][0].size)
    return order[count // 2]
