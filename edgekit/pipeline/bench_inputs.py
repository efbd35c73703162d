"""How candidates are measured: on one real sample, or for throughput on a batch of them, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit import bench
from edgekit.bench.scenario import BATCH, free_batch
from edgekit.evaluation.dataset import Evaluation
from edgekit.project import Objective
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

ROUNDS = 10
"""Turns that each candidate gets at least: fewer pairs cannot tell a difference from the noise."""

LOOKED_AT = 64
"""Samples among which the one of median size is sought."""

SEARCHED = 512
"""Samples among which those are sought that can share a batch."""


def settings(seconds: float) -> bench.Settings:
    """Give how long to measure so that each candidate is timed for `seconds` at least."""
    return bench.Settings.lasting(seconds, round_ms=min(200, 1e3 * seconds / ROUNDS))


def with_raw_file(outcome: bench.Outcome) -> bench.Outcome:
    """Say where the bundle will hold the raw latencies."""
    if outcome.measurement is None:
        return outcome
    file = f"latencies/{outcome.name.replace('/', '-')}.txt"
    return replace(outcome, measurement=replace(outcome.measurement, raw_file=file))


def feeds(
    evaluation: Evaluation, objective: Objective, inputs: Sequence[Sequence[TensorSpec]]
) -> tuple[Mapping[str, np.ndarray], int]:
    """Give what to feed, and how many samples that is; `inputs` are those of every graph that will be measured.

    For throughput a batch of real samples where every graph leaves it free: `BATCH` of those with the shapes of the
    sample of median size, or as many as there are. Else that sample alone.
    """
    import numpy as np

    one = representative(evaluation)
    if objective != "throughput" or not all(free_batch(specs) for specs in inputs):
        return one, 1
    shapes = {name: array.shape for name, array in one.items()}
    alike: list[Mapping[str, np.ndarray]] = []
    for index in range(min(SEARCHED, len(evaluation.samples))):
        for found in evaluation.task.feeds(evaluation.samples[index]):
            if {name: array.shape for name, array in found.items()} == shapes and len(alike) < BATCH:
                alike.append(found)
        if len(alike) == BATCH:
            break
    return {name: np.concatenate([found[name] for found in alike]) for name in one}, len(alike)


def representative(evaluation: Evaluation) -> Mapping[str, np.ndarray]:
    """Give the feeds of the sample of median size among the first, so that a text is neither short nor long."""
    count = min(LOOKED_AT, len(evaluation.samples))
    several = [evaluation.task.feeds(evaluation.samples[index])[0] for index in range(count)]
    several.sort(key=lambda found: sum(array.size for array in found.values()))
    return several[len(several) // 2]
