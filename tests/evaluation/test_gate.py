"""The comparison of outputs, and the gate's checks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.data import Samples
from edgekit.errors import BuildError, UsageError
from edgekit.evaluation.deviation import Deviation
from edgekit.evaluation.gate import add_inference, evaluate, gate
from edgekit.evaluation.reference_outputs import ReferenceOutputs, record
from edgekit.progress import Silent
from edgekit.result.report import Quality
from edgekit.runner import Runner
from edgekit.spec import MODEL, TensorSpec
from edgekit.tasks import TaskConfig, load
from tests.wording import mentions, raises


def quality(**over):
    values = dict(samples=200, labelled=0, max_abs=0.1, rel_l2=1e-6, cosine=0.999, agreement=None, reference="torch")
    return Quality(**{**values, **over})


def judged(measured, asked="i8", max_drop=0.01, min_agreement=0.99):
    return gate(measured, asked, max_drop=max_drop, min_agreement=min_agreement)


def test_a_deviation_is_what_numpy_computes():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(2, 5)), rng.normal(size=(2, 5))) for _ in range(3)]
    deviation = Deviation()
    for a, b in pairs:
        deviation.add({"y": a}, {"y": b})
    a, b = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    assert deviation.rel_l2 == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert deviation.max_abs == pytest.approx(np.abs(a - b).max())
    cosines = [(x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs]
    assert deviation.cosine == pytest.approx(min(cosines))


def test_half_precision_does_not_overflow_the_comparison():
    big = np.full((1, 4), 60000, np.float16)
    deviation = Deviation()
    deviation.add({"y": big}, {"y": big})
    assert deviation.rel_l2 == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_fail(bad):
    deviation = Deviation()
    deviation.add({"y": np.ones(3)}, {"y": np.array([1, bad, 1])})
    assert math.isinf(deviation.rel_l2)
    verdict = judged(quality(rel_l2=deviation.rel_l2, agreement=1.0))
    assert not verdict.ok and "finite" in verdict.checks[0].name


def test_outputs_that_are_not_finite_have_no_score(tmp_path):
    """A number there would be invented: zero looks like a loss, and with a wide budget like a pass."""
    folder = tmp_path / "originals"
    folder.mkdir()
    x = TensorSpec("x", "f32", ("N", 2))
    rows = Samples.from_feeds([{"x": np.eye(2, dtype=np.float32)[[k % 2]]} for k in range(4)], [0, 1, 0, 1])
    task = load(TaskConfig("image-classification", labels=("a", "b")), tmp_path, [x])

    class Model:
        framework = "numpy"

        def __init__(self, scale):
            self.scale = scale

        def run(self, feeds):
            return {"logits": feeds["x"] * self.scale}

        def close(self):
            pass

    record(Model(1), task, rows, folder, Silent())
    with Runner({MODEL: Model(np.nan)}) as runner:
        quality = evaluate(runner, task, rows, ReferenceOutputs(folder, task, rows), Silent(), "")
    assert (quality.original_score, quality.score, quality.drop) == (1.0, None, None)
    (failed, *_) = (check for check in judged(quality, max_drop=1.0).checks if not check.passed)
    assert failed.name == "finite"


def test_other_names_or_shapes_are_refused():
    with raises(UsageError, "['b']", "['a']"):
        Deviation().add({"a": np.ones(1)}, {"b": np.ones(1)})
    with raises(UsageError, "'a'", "[2]", "[1]"):
        Deviation().add({"a": np.ones(1)}, {"a": np.ones(2)})


def test_a_graph_with_other_outputs_was_exported_wrongly():
    with raises(BuildError, "'a'", "[1, 1]", "[1]", hint="--backend"):
        add_inference(Deviation(), {"a": np.ones(1)}, {"a": np.ones((1, 1))})


def test_full_precision_must_agree_with_the_original():
    assert judged(quality(rel_l2=1e-5, agreement=1.0), "f32").ok
    assert not judged(quality(rel_l2=1e-2, agreement=1.0), "f32").ok
    assert judged(quality(rel_l2=1e-2, agreement=1.0), "f16").ok


def test_the_drop_is_absolute_and_exact_at_its_limit():
    at = quality(labelled=200, metric="accuracy", original_score=0.97, score=0.96, drop=0.97 - 0.96)
    assert judged(at).ok
    below = quality(labelled=200, metric="accuracy", original_score=0.97, score=0.955, drop=0.015)
    assert not judged(below).ok
    assert mentions(judged(below).checks[0].meaning, "1.50 points")
    assert judged(below, max_drop=0.02).ok


def test_a_gain_passes_whatever_is_allowed():
    gained = quality(labelled=200, metric="auc", original_score=0.77, score=0.78, drop=-0.01)
    assert judged(gained, max_drop=0.0).ok


def test_without_labels_the_top_answers_must_agree():
    assert judged(quality(agreement=0.99)).ok
    assert not judged(quality(agreement=0.98)).ok
    assert judged(quality(agreement=0.98), min_agreement=0.97).ok


def test_without_answers_the_outputs_must_agree():
    assert judged(quality(cosine=0.995)).ok
    assert not judged(quality(cosine=0.98)).ok


def test_too_few_samples_are_reported():
    few = quality(samples=50, labelled=50, metric="accuracy", original_score=1.0, score=1.0, drop=0.0)
    assert mentions(judged(few).notes[0], "sample", "2.0 points")
    assert judged(quality(labelled=500, metric="accuracy", original_score=1.0, score=1.0, drop=0.0)).notes == ()
