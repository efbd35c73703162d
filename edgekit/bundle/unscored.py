"""Samples of the export that give no score: a bundle shows on them that it runs, and that its outputs are finite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.data import Samples
from edgekit.progress import Progress
from edgekit.result.report import Check, Quality
from edgekit.runner import Runner

if TYPE_CHECKING:
    from edgekit.tasks.task import Task


def with_finite_outputs(task: Task, runner: Runner, samples: Samples, quality: Quality, progress: Progress) -> Quality:
    """Return the quality with a check that every output on the samples is finite, and with a note on what it is not."""
    import numpy as np

    from edgekit.tasks import drive

    faulty = 0
    with progress.step(f"running {samples.source}", len(samples)) as tick:
        for sample in samples:
            inferences = drive(task, sample, runner.start())
            outputs = [array for inference in inferences for array in inference.outputs.values()]
            faulty += not all(array.dtype.kind != "f" or np.isfinite(array).all() for array in outputs)
            tick()
    meaning = f"the outputs are finite on {len(samples) - faulty} of the {len(samples)} samples of the export's data"
    why = f"the task '{task.config.task}' has no metric" if task.metric is None else "they have no labels"
    note = f"the samples of '{samples.source}' give no score: {why}; outputs were compared on the stored samples alone"
    check = Check("finite on data", faulty, 0, not faulty, meaning)
    return replace(quality, checks=(*quality.checks, check), notes=(*quality.notes, note))
