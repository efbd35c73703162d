"""Masks: transformers' own resizing and queries, levels of masks, metrics counted by hand, drawing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekit.data import Sample, load
from edgekit.data.masks import MASK, read_mask
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import ImageConfig, TaskConfig, with_data
from edgekit.tasks import load as load_task
from edgekit.tasks.interpolation import bilinear
from edgekit.tasks.mask_metrics import confusion, score
from edgekit.tasks.segmentation_config import SegmentationConfig
from tests.wording import raises

INPUTS = (TensorSpec("pixel_values", "f32", ("batch", 3, "height", "width")),)
LABELS = ("road", "car", "tree")


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def segmentation(tmp_path, labels=LABELS, **fields):
    config = TaskConfig("semantic-segmentation", labels=labels, image=ImageConfig(size=(8, 8)), **fields)
    return load_task(config, tmp_path, INPUTS)


def picture(tmp_path, name="a.png", size=(21, 13)):
    Image.new("RGB", size, (100, 150, 200)).save(tmp_path / name)
    return Sample({"image": tmp_path / name})


@pytest.mark.parametrize("size", [(13, 21), (4, 4), (3, 9), (1, 1)])
def test_resizing_is_that_of_torch(draw, size):
    import torch

    maps = draw.normal(size=(3, 4, 5)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=size, mode="bilinear")[0].numpy()
    np.testing.assert_allclose(bilinear(maps, *size), theirs, atol=1e-6)


def test_classes_are_those_of_transformers_at_the_size_of_the_picture(tmp_path, draw):
    import torch
    from transformers import SegformerImageProcessor

    logits = draw.normal(size=(1, 3, 4, 4)).astype(np.float32)

    class Outputs:
        pass

    outputs = Outputs()
    outputs.logits = torch.from_numpy(logits)
    (theirs,) = SegformerImageProcessor().post_process_semantic_segmentation(outputs, [(13, 21)])
    task = segmentation(tmp_path)
    sample = picture(tmp_path)
    ours = task.predict([{"logits": logits}], sample).value
    assert ours.shape == (13, 21) and np.array_equal(ours, theirs.numpy())
    answer = task.answer([{"logits": logits}], sample)
    assert sum(each["share"] for each in answer["classes"]) == pytest.approx(1) and answer["height"] == 13
    drawn = task.draw([{"logits": logits}], sample)
    assert drawn.size == (21, 13) and len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) == len(np.unique(ours))


def test_queries_are_summed_as_transformers_does(tmp_path, draw):
    import torch
    from transformers import Mask2FormerImageProcessor

    classes = draw.normal(size=(1, 6, 4)).astype(np.float32)
    masks = draw.normal(size=(1, 6, 96, 96)).astype(np.float32)

    class Outputs:
        pass

    outputs = Outputs()
    outputs.class_queries_logits, outputs.masks_queries_logits = torch.from_numpy(classes), torch.from_numpy(masks)
    (theirs,) = Mask2FormerImageProcessor().post_process_semantic_segmentation(outputs, [(384, 384)])
    task = segmentation(tmp_path)
    named = {"class_queries_logits": classes, "masks_queries_logits": masks}
    ours = task.predict([named], picture(tmp_path, size=(384, 384))).value
    assert np.mean(ours == theirs.numpy()) > 0.999 and task.reads_every_output


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[[[2.0, -2.0]]]]), [[1, 0]]),  # the logits of one class
        (np.array([[[2.0, -2.0]]]), [[1, 0]]),
        (np.array([[[3, 1]]]), [[3, 1]]),  # the numbers of classes
        (np.array([[[[0.0, 5.0, 1.0]], [[9.0, 5.0, 1.0]]]]), [[1], [0]]),  # channels last
    ],
)
def test_forms_of_outputs(tmp_path, array, expected):
    assert segmentation(tmp_path).predict([{"out": array}]).value.tolist() == expected


def test_a_probability_is_cut_at_the_threshold(tmp_path):
    task = segmentation(tmp_path, labels=(), activation="probabilities", segmentation=SegmentationConfig(threshold=0.8))
    outputs = [{"out": np.array([[[[0.79, 0.81]]]])}]
    assert task.predict(outputs).value.tolist() == [[0, 1]]
    assert [each["label"] for each in task.answer(outputs)["classes"]] == ["background", "foreground"]


def test_metrics_counted_by_hand():
    actual = np.array([[0, 0, 1, 1], [2, 2, 255, 255]])
    predicted = np.array([[0, 1, 1, 1], [2, 0, 0, 2]])
    counts = confusion([(predicted, actual)], 255)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert score("miou", counts) == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert score("pixel-accuracy", counts) == pytest.approx(4 / 6)
    assert score("dice", counts) == pytest.approx((2 / 4 + 4 / 5 + 2 / 3) / 3)
    assert score("dice", np.array([[5, 1], [2, 2]])) == pytest.approx(2 * 2 / (3 + 4))
    with raises(UsageError, "miou", hint="levels"):
        score("miou", np.zeros((2, 2)))


def folder(tmp_path, levels, name="data"):
    (tmp_path / name / "images").mkdir(parents=True)
    (tmp_path / name / "masks").mkdir()
    for number, level in enumerate(levels):
        Image.new("RGB", (4, 4)).save(tmp_path / name / "images" / f"{number}.png")
        Image.fromarray(np.array([[0, level]] * 2, np.uint8)).resize((4, 4), 0).save(
            tmp_path / name / "masks" / f"{number}_mask.png"
        )
    return tmp_path / name


def test_masks_of_two_levels_are_classes_0_and_1(tmp_path):
    samples = load(str(folder(tmp_path, [255, 255])))
    assert samples.kind == "folder of images and masks" and samples.classes == ()
    config = TaskConfig("semantic-segmentation", image=ImageConfig())
    binary = with_data(config, tmp_path, INPUTS, samples)
    assert binary.segmentation == SegmentationConfig(binary=True)
    assert np.unique(load_task(binary, tmp_path, INPUTS).label(samples[0].label)).tolist() == [0, 1]
    several = load(str(folder(tmp_path, [255, 2], "several")))
    assert with_data(config, tmp_path, INPUTS, several).segmentation is None


def test_reduced_labels(tmp_path):
    task = segmentation(tmp_path, segmentation=SegmentationConfig(reduced=True))
    assert task.label(np.array([[0, 1, 3]])).tolist() == [[255, 0, 2]]


def test_tables_of_masks(tmp_path):
    data = folder(tmp_path, [1, 2])
    (data / "data.csv").write_text("image,mask\nimages/0.png,masks/0_mask.png\nimages/1.png,masks/1_mask.png\n")
    samples = load(str(data / "data.csv"))
    assert samples[1].label == {MASK: data / "masks/1_mask.png"} == samples.labels[1]
    assert np.unique(read_mask(samples[1].label[MASK])).tolist() == [0, 2]


def test_faults_of_masks_are_named(tmp_path):
    task = segmentation(tmp_path)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "red.png")
    with raises(UsageError, ("'" + str(tmp_path / "red.png") + "'", "colours"), hint="level"):
        task.label({MASK: tmp_path / "red.png"})
    with raises(UsageError, "[2, 2, 3]", hint="class"):
        task.label(np.zeros((2, 2, 3), np.uint8))
    prediction = task.predict([{"out": np.zeros((1, 3, 4, 4), np.float32)}])
    with raises(UsageError, ("4 x 4", "2 x 2"), hint="size"):
        task.score([prediction], [np.zeros((2, 2), np.uint8)])
    with raises(UsageError, ("level 7", "3 classes"), hint="255"):
        task.score([prediction], [np.full((4, 4), 7, np.uint8)])
    cropped = TaskConfig("semantic-segmentation", labels=LABELS, image=ImageConfig(size=(8, 8), crop=(4, 4)))
    with raises(UsageError, "crops", hint="preprocessor_config.json"):
        load_task(cropped, tmp_path, INPUTS).predict([{"out": np.zeros((1, 3, 4, 4))}], picture(tmp_path))
    data = folder(tmp_path, [1, 2])
    (data / "masks" / "1_mask.png").unlink()
    with raises(UsageError, ("1 of 2", "1.png"), hint="masks"):
        load(str(data))
    (data / "masks" / "0_mask.png").rename(data / "masks" / "other.png")
    with raises(UsageError, "no file", hint="images/a.jpg"):
        load(str(data))
