"""A task whose calls follow its own choices: agreement counts each, and the metric is of a candidate's own text."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import Samples
from edgekit.evaluation import gate
from edgekit.evaluation.reference_outputs import ReferenceOutputs, record
from edgekit.plugin import Precision
from edgekit.progress import Silent
from edgekit.runner import Runner
from edgekit.spec import MODEL
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.task import Prediction

CALLS, CHOICES = 3, 5


class Counting:
    """Choose three numbers, each by the scores that follow the one before."""

    config, problem, compares_top, metric = TaskConfig("tensor"), "outputs", True, "exact"

    def steps(self, sample):
        choice = 0
        for _ in range(CALLS):
            outputs = yield MODEL, {"x": np.array([choice])}
            choice = int(outputs["scores"].argmax())

    def predict(self, outputs):
        choices = tuple(int(each["scores"].argmax()) for each in outputs)
        return Prediction(choices, choices=choices)

    def label(self, raw):
        return tuple(int(digit) for digit in raw)

    def score(self, predictions, labels):
        return sum(each.value == label for each, label in zip(predictions, labels, strict=True)) / len(labels)


class Adding:
    """The best score is that of the number plus `step`."""

    framework, precision = "made up", Precision("f32")

    def __init__(self, step):
        self.step = step

    def run(self, feeds):
        return {"scores": np.eye(CHOICES, dtype=np.float32)[(feeds["x"] + self.step) % CHOICES]}

    def close(self):
        pass


@pytest.mark.parametrize(("step", "agreement", "score"), [(1, 1.0, 0.0), (2, 0.0, 1.0)])
def test_the_metric_is_of_the_candidates_own_choices(tmp_path, step, agreement, score):
    """From 0 in steps of 2 the choices are 2, 4, 1; in the original's place they would be 2, 3, 4."""
    task, samples = Counting(), Samples.from_feeds([{"x": np.array([0])}], ["241"])
    record(Adding(1), task, samples, tmp_path, Silent())
    reference = ReferenceOutputs(tmp_path, task, samples)
    quality = gate.evaluate(Runner({MODEL: Adding(step)}), task, samples, reference, Silent(), "judging")
    assert (quality.agreement, quality.score, quality.original_score) == (agreement, score, 0.0)
