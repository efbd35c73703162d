"""Whether a classifier's output holds probabilities, where its graph does not show it: the original's outputs do."""

from __future__ import annotations

from dataclasses import replace

from edgekit import tasks
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.reference_outputs import ReferenceOutputs
from edgekit.model import Model
from edgekit.tasks.classification import Classification
from edgekit.tasks.tensor import output_of

LEAST_SAMPLES = 8
"""Fewer samples may have logits between 0 and 1 by chance."""


def with_observed_activation(evaluation: Evaluation, reference: ReferenceOutputs, model: Model) -> Evaluation:
    """Return the evaluation with probabilities where every score of every sample is between 0 and 1.

    Logits are not: they would mean that a network of one output answers every sample with its second class.
    """
    import numpy as np

    task = evaluation.task
    if not isinstance(task, Classification) or task.config.activation is not None or len(reference) < LEAST_SAMPLES:
        return evaluation
    low, high = np.inf, -np.inf
    for index in range(len(reference)):
        scores = output_of(reference.outputs(index), task.config.output)
        if scores.dtype.kind != "f" or not scores.size or scores.min() < 0 or scores.max() > 1:
            return evaluation
        low, high = min(low, float(scores.min())), max(high, float(scores.max()))
    if low == high:
        return evaluation
    config = replace(task.config, activation="probabilities")
    note = (
        f"the scores of the output '{task.config.output}' are between 0 and 1 on every sample: they are read as "
        "probabilities"
    )
    return evaluation.with_task(tasks.load(config, model.assets, model.part.inputs, evaluation.samples.classes), note)
