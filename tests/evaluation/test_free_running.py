"""A task whose calls follow its own choices: agreement counts each, and the metric is of a candidate's own text."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import Samples
from edgekit.evaluation import gate
from edgekit.evaluation.perplexity import Perplexity
from edgekit.evaluation.reference_outputs import ReferenceOutputs, record
from edgekit.plugin import Precision
from edgekit.progress import Silent
from edgekit.runner import Runner
from edgekit.spec import MODEL
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.task import Inference, Prediction

CALLS, CHOICES = 3, 5


class Counting:
    """Choose three numbers, each by the scores that follow the one before."""

    config, problem, compares_top, metric = TaskConfig("tensor"), "outputs", True, "exact"

    def steps(self, sample):
        choice = 0
        for _ in range(CALLS):
            outputs = yield MODEL, {"x": np.array([choice])}
            choice = int(outputs["scores"].argmax())

    def predict(self, outputs, sample=None):
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
    assert quality.equal_texts == int(step == 1) and quality.drop == -score


class Erring(Counting):
    """The same, judged by an error rate: what is more is worse."""

    metric = "wer"


def test_more_errors_are_a_loss(tmp_path):
    task, samples = Erring(), Samples.from_feeds([{"x": np.array([0])}], ["241"])
    record(Adding(1), task, samples, tmp_path, Silent())
    reference = ReferenceOutputs(tmp_path, task, samples)
    worse = gate.evaluate(Runner({MODEL: Adding(2)}), task, samples, reference, Silent(), "judging")
    assert (worse.original_score, worse.score, worse.drop) == (0.0, 1.0, 1.0)
    checks = {check.name: check.passed for check in gate.gate(worse, "i8", max_drop=0.5, min_agreement=0.9).checks}
    assert checks["wer drop"] is False


def test_perplexity_is_of_the_tokens_that_the_trace_feeds():
    def logits(*shares):
        return {"logits": np.log(np.array([[[0.9, 0.05, 0.05], shares]], np.float32))}

    def fed(*tokens):
        return {"input_ids": np.array([tokens])}

    trace = [
        Inference("encoder", fed(7, 8), {"hidden": np.zeros((1, 2))}),
        Inference("decoder", fed(2), logits(0.5, 0.25, 0.25)),
        Inference("decoder", fed(0), logits(0.25, 0.5, 0.25)),
        Inference("decoder", fed(1), logits(0.1, 0.1, 0.8)),
    ]
    perplexity = Perplexity()
    assert perplexity.values() == (None, None)
    perplexity.add(trace, [trace[0].outputs, logits(0.25, 0.5, 0.25), logits(0.5, 0.25, 0.25), logits(1, 1, 1)])
    assert perplexity.values() == pytest.approx((2.0, 4.0))
