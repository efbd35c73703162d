"""Each output is judged by itself, and so are channels of one tensor whose magnitudes differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import stored_checks
from edgekit.data import Samples
from edgekit.errors import UsageError
from edgekit.evaluation import scores
from edgekit.evaluation.deviation import Deviation
from edgekit.evaluation.free_sizes import FreeSizes, free_sizes
from edgekit.evaluation.gate import evaluate, gate
from edgekit.evaluation.reference_outputs import ReferenceOutputs, record
from edgekit.evaluation.scores import Scores
from edgekit.model import Part
from edgekit.progress import Silent
from edgekit.result.quality import ANSWERS, OutputDeviation
from edgekit.result.report import Quality
from edgekit.runner import Runner
from edgekit.spec import MODEL, TensorSpec
from edgekit.tasks import TaskConfig, load
from edgekit.tasks.task import Prediction
from tests.wording import mentions, raises

RNG = np.random.default_rng(3)


def deviation_of(*pairs: tuple[dict[str, Any], dict[str, Any]], **options: Any) -> Deviation:
    deviation = Deviation()
    for original, outputs in pairs:
        deviation.add(original, outputs, **options)
        deviation.sample_ends()
    return deviation


def rounded(array: np.ndarray, scale: float) -> np.ndarray:
    """Return the values as int8 with this scale represents them."""
    return (np.round(array / scale).clip(-128, 127) * scale).astype(np.float32)


def boxes_and_scores(classes: int = 3, axis: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return a detector's tensor, and its boxes and scores rounded each by a scale of its own."""
    boxes = RNG.uniform(0, 640, (1, 4, 50)).astype(np.float32)
    found = RNG.uniform(0, 1, (1, classes, 50)).astype(np.float32) ** 3
    exact, near = (
        np.concatenate([boxes, found], 1),
        np.concatenate([rounded(boxes, 640 / 127), rounded(found, 1 / 127)], 1),
    )
    return (exact, near) if axis == 1 else (exact.transpose(0, 2, 1), near.transpose(0, 2, 1))


def test_an_output_of_small_numbers_is_not_outweighed_by_one_of_large_numbers():
    boxes, found = RNG.uniform(0, 640, (1, 90, 4)), RNG.uniform(0, 1, (1, 90, 3))
    original = {"boxes": boxes.astype(np.float32), "scores": found.astype(np.float32)}
    lost = {**original, "scores": original["scores"].mean() * np.ones_like(original["scores"])}
    deviation = deviation_of((original, lost))
    assert deviation.worst == "scores" and deviation.cosine < 0.9 and deviation.rel_l2 > 0.4
    assert deviation.pooled < 1e-3, "over all outputs together the loss does not show"


@pytest.mark.parametrize(("axis", "name"), [(1, "y[:, 4:7]"), (2, "y[:, :, 4:7]")])
def test_channels_of_small_numbers_are_judged_by_themselves(axis: int, name: str):
    pairs = [boxes_and_scores(axis=axis) for _ in range(3)]
    kept = deviation_of(*(({"y": exact}, {"y": near}) for exact, near in pairs))
    assert kept.cosine > 0.99, "int8 with a scale for each kind keeps both"
    lost = deviation_of(*(({"y": exact}, {"y": rounded(exact, 640 / 127)}) for exact, _ in pairs))
    assert lost.worst == name and lost.cosine < 0.5


@pytest.mark.parametrize(
    ("shape", "axis", "name"),
    [
        ((1, 3, 8, 4, 4), 2, "y[:, :, 4:8]"),
        ((1, 3, 4, 4, 8), 4, "y[:, :, :, :, 4:8]"),
        ((4, 8, 60), 1, "y[:, 4:8]"),
        ((1, 4, 4, 8), 3, "y[:, :, :, 4:8]"),
        ((60, 8), 1, "y[:, 4:8]"),
    ],
)
def test_every_layout_of_a_head_has_its_channels(shape: tuple[int, ...], axis: int, name: str):
    values = RNG.uniform(0, 1, (*shape[:axis], *shape[axis + 1 :], 8))
    values[..., :4] *= 640
    exact, lost = np.moveaxis(values, -1, axis), values.copy()
    lost[..., 4:] = 0.5
    assert deviation_of(({"y": exact}, {"y": np.moveaxis(lost, -1, axis)})).worst == name


def test_one_score_beside_boxes_is_a_kind_of_its_own():
    exact, _ = boxes_and_scores(classes=1)
    lost = exact.copy()
    lost[:, 4] = 0.5
    assert deviation_of(({"y": exact}, {"y": lost})).worst == "y[:, 4]"


def test_a_class_that_never_scores_has_nothing_to_lose():
    exact, near = boxes_and_scores(classes=20)
    exact[:, 10:] *= 1e-3
    near[:, 10:] = 0
    assert deviation_of(({"y": exact}, {"y": near})).cosine > 0.99


def test_features_that_are_nearly_dead_are_no_kind():
    features = RNG.standard_normal((8, 512)).astype(np.float32)
    features[:, :9] *= 1e-4
    pairs = [({"f": row[None]}, {"f": rounded(row[None], 3.5 / 127)}) for row in features]
    assert deviation_of(*pairs).cosine > 0.99


def test_rounding_in_a_near_zero_output_is_not_a_broken_export():
    main = RNG.standard_normal((1, 100)).astype(np.float32)
    near_zero = (1e-8 * RNG.standard_normal((1, 100))).astype(np.float32)
    original = {"y": main, "loss": near_zero, "zero": np.zeros((1, 3), np.float32)}
    other = {"y": main, "loss": near_zero[:, ::-1], "zero": np.full((1, 3), 1e-9, np.float32)}
    deviation = deviation_of((original, other))
    assert deviation.rel_l2 < 1e-3 and deviation.cosine > 0.999


def test_a_small_output_that_is_wrong_is_a_broken_export():
    main, small = RNG.standard_normal((1, 100)).astype(np.float32), RNG.uniform(0, 1e-3, (1, 9)).astype(np.float32)
    deviation = deviation_of(({"y": main, "s": small}, {"y": main, "s": small * 1.01}))
    assert 0.009 < deviation.rel_l2 < 0.011


def test_an_output_that_comes_from_nothing_is_seen():
    y = np.ones((1, 4), np.float32)
    assert deviation_of(({"y": y, "z": 0 * y}, {"y": y, "z": 0.1 * y})).worst == "z"


def test_a_picture_of_nothing_is_weighed_by_what_the_output_is_elsewhere():
    boxes = np.full((1, 8), 100, np.float32)
    full, empty = np.zeros((1, 8), np.float32), np.full((1, 8), 1e-3, np.float32)
    full[0, 2] = 0.9
    exact = [{"boxes": boxes, "scores": each} for each in (full, empty)]
    assert deviation_of(*((each, {**each, "scores": rounded(each["scores"], 1 / 127)}) for each in exact)).cosine > 0.99
    invented = {"boxes": boxes, "scores": full[:, ::-1]}
    assert deviation_of((exact[0], exact[0]), (exact[1], invented)).worst.startswith("scores")


@pytest.mark.parametrize("kind", [np.int64, bool, str])
def test_whole_numbers_truth_values_and_text_are_equal_or_not(kind: type):
    values = np.arange(100).reshape(1, 100) % 2
    other = values.copy()
    other[0, :5] = 1 - other[0, :5]
    deviation = deviation_of(({"classes": values.astype(kind)}, {"classes": other.astype(kind)}))
    assert deviation.cosine == pytest.approx(0.95) and deviation.rel_l2 == pytest.approx(0.05)
    (part,) = deviation.parts()
    assert part.exact and part.name == "classes"


def test_the_check_names_the_worst_output():
    parts = (OutputDeviation("boxes", 1e-4, 0.9999), OutputDeviation("scores", 0.7, 0.71))
    measured = Quality(50, 0, 1.0, 0.7, 0.71, None, worst="scores", outputs=parts)
    assert mentions(gate(measured, "i8", max_drop=0.01, min_agreement=0.99).checks[0].meaning, "0.7100", "'scores'")
    parity, cosine = gate(measured, "f32", max_drop=0.01, min_agreement=0.99).checks
    assert not parity.passed and mentions(parity.meaning, "'scores'") and not cosine.passed


def test_the_parts_of_the_first_samples_are_kept_for_the_device():
    first, second = ({"y": np.array([[1.0, 2.0]])}, {"y": np.array([[1.0, 2.2]])}), ({"y": np.ones((1, 2))},) * 2
    (part,) = deviation_of(first, second).with_stored()
    assert part.stored == pytest.approx(0.2 / np.sqrt(5)) and part.rel_l2 < part.stored


def test_only_outputs_whose_size_follows_the_data_may_have_another_size():
    original, other = {"b": np.ones((3, 4)), "n": np.ones(1)}, {"b": np.ones((2, 4)), "n": np.ones(1)}
    deviation = deviation_of((original, other), sizes=FreeSizes(frozenset("b")))
    assert {part.output: (part.resized, part.calls) for part in deviation.parts()} == {"b": (1, 1), "n": (0, 0)}
    with raises(UsageError, "'b'", "[2, 4]", "[3, 4]"):
        deviation_of((original, other), sizes=FreeSizes(frozenset("n")))


BOXES = Part("model", "m", (TensorSpec("x", "f32", ("n", 3)),), (TensorSpec("b", "f32", ("n", 4)),))


@pytest.mark.parametrize(
    ("declared", "sizes", "resizable", "varying"),
    [
        (("found", 4), [3, 3], True, False),
        (("n", 4), [1, 1], False, False),
        (("n", 4), [1, 2], True, True),
        ((1, 4), [3, 3], True, False),
        ((3, 4), [3, 3], False, False),
    ],
)
def test_a_size_that_no_input_decides_follows_the_data(declared, sizes, resizable, varying):
    part = replace(BOXES, outputs=(TensorSpec("b", "f32", declared),))
    free = free_sizes(part, [({"x": (1, 3)}, {"b": (size, 4)}) for size in sizes])
    assert ("b" in free.resizable, "b" in free.varying) == (resizable, varying)


def test_without_a_metric_other_sizes_fail_and_the_message_names_the_metric():
    parts = (OutputDeviation("boxes", 0.0, 1.0, resized=3, calls=10),)
    measured = Quality(10, 0, 0.0, 0.0, 1.0, None, outputs=parts)
    (check,) = gate(measured, "i8", max_drop=0.01, min_agreement=0.99).checks
    assert not check.passed and mentions(check.meaning, "'boxes'", "70.0%", "--metric package.module:function")
    scored = replace(measured, labelled=10, metric="m:f", original_score=0.5, score=0.5, drop=0.0)
    judged = gate(scored, "i8", max_drop=0.01, min_agreement=0.99)
    assert judged.ok and mentions(*judged.notes, "'boxes'", "7 of 10", "metric decides")


def test_outputs_beside_the_answers_are_judged_too():
    parts = (OutputDeviation("logits", 0.3, 0.95), OutputDeviation("embedding", 0.8, 0.6))
    measured = Quality(50, 0, 1.0, 0.8, 0.6, 1.0, worst="embedding", outputs=parts, unjudged=("embedding",))
    agreement, cosine = gate(measured, "i8", max_drop=0.01, min_agreement=0.99).checks
    assert agreement.passed and not cosine.passed and mentions(cosine.meaning, "'embedding'", "0.6000")
    scored = replace(measured, labelled=50, metric="accuracy", original_score=0.9, score=0.9, drop=0.0)
    judged = gate(scored, "i8", max_drop=0.01, min_agreement=0.99)
    assert judged.ok and mentions(judged.notes[-1], "accuracy", "'embedding'", "0.6000")


def test_which_outputs_hold_no_answers_follows_from_the_task(tmp_path):
    x = TensorSpec("x", "f32", ("N", 4))
    rows = [{"x": np.eye(4, dtype=np.float32)[[k]]} for k in range(4)]
    classifier, raw = (load(TaskConfig(name), tmp_path, [x]) for name in ("image-classification", "tensor"))

    class Model:
        framework = "numpy"

        def run(self, feeds):
            return {"logits": feeds["x"], "embedding": 2 * feeds["x"]}

        def close(self):
            pass

    for task, expected in ((classifier, ("embedding",)), (raw, ())):
        folder = tmp_path / task.config.task
        folder.mkdir()
        samples = Samples.from_feeds(rows)
        record(Model(), task, samples, folder, Silent())
        with Runner({MODEL: Model()}) as runner:
            reference = ReferenceOutputs(folder, task, samples)
            assert evaluate(runner, task, samples, reference, Silent(), "").unjudged == expected


def answer(*probabilities: float) -> Prediction:
    return Prediction(int(np.argmax(probabilities)), np.array(probabilities))


def test_scores_that_fall_are_named_though_the_answers_stay():
    moved = Scores()
    for top in (0.95, 0.9, 0.85):
        moved.add(answer(1 - top, top), answer(1.3 - top, top - 0.3), (), ())
    (shift,) = moved.shifts()
    assert shift.name == ANSWERS and shift.before.mean == pytest.approx(0.9) and shift.after.mean == pytest.approx(0.6)
    assert [(each.threshold, each.before, each.kept) for each in shift.decisions] == [(0.5, 3, 3), (0.9, 2, 0)]
    assert mentions(*scores.notes((shift,)), "0.900", "0.600", "0.0%")


def test_scores_within_a_tensor_of_boxes_are_found():
    exact, near = boxes_and_scores()
    moved = Scores()
    moved.add(Prediction(None), Prediction(None), [{"y": exact}], [{"y": near}])
    (shift,) = moved.shifts()
    assert shift.name == "y[:, 4:7]" and shift.before.p90 <= 1
    assert scores.notes((shift,)) == ()


def test_outputs_that_are_not_scores_have_none():
    moved = Scores()
    for value in (0.5, 3.0):
        array = np.full((1, 4), value, np.float32)
        moved.add(Prediction(None), Prediction(None), [{"y": array}], [{"y": array}])
    assert moved.shifts() == ()


def test_a_device_is_held_to_each_output_that_was_compared_at_export():
    boxes, found = RNG.uniform(0, 640, (1, 9, 4)), RNG.uniform(0, 1, (1, 9, 3))
    exact = {"boxes": boxes.astype(np.float32), "scores": found.astype(np.float32)}
    exported = deviation_of((exact, exact))
    quality = Quality(1, 0, 0.0, 0.0, 1.0, None, outputs=exported.with_stored())
    broken = deviation_of((exact, {**exact, "scores": exact["scores"][:, ::-1]}))
    assert broken.pooled < 1e-2, "over all outputs together it would pass"
    (check,) = stored_checks.checks(broken, 5e-3, quality)
    assert not check.passed and mentions(check.meaning, "'scores'")
    (old,) = stored_checks.checks(broken, 5e-3, replace(quality, outputs=()))
    assert old.passed, "the report of an older edgekit has one number for all"
    assert stored_checks.checks(exported, 0.0, quality)[0].passed
