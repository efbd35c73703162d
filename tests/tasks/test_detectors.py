"""Each family's decoding against a second one in plain Python, on ONNX files with the family's exact outputs."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from edgekit import tasks
from edgekit.data import Sample
from edgekit.frameworks import onnx_model
from edgekit.tasks import TaskConfig, detector_guess, detectors
from edgekit.tasks.boxes import suppressed

from . import detector_networks as networks

NETWORKS = {
    "yolov5": (networks.YoloV5, ["output0"]),
    "yolov5-heads": (lambda: networks.YoloV5(decoded=False), ["p3", "p4", "p5"]),
    "yolov8": (networks.YoloV8, ["output0"]),
    "yolov10": (networks.YoloV10, ["output0"]),
    "yolox": (networks.YoloX, ["output"]),
    "nanodet": (networks.NanoDet, ["output"]),
    "fastestdet": (networks.FastestDet, ["out"]),
    "ssd": (networks.Ssd, ["boxes", "scores", "priors"]),
}
LABELS = ("cat", "dog", "bird")
OF_EACH_CLASS = ("nanodet", "ssd")
THRESHOLD = 0.3


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    return Image.fromarray(noise).resize((100, 60), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("family", NETWORKS)
def test_boxes_are_those_of_a_second_decoding(family, picture, tmp_path):
    part, session = exported(family, tmp_path / "net.onnx")
    guess = detector_guess.guess(part.inputs, part.outputs, len(LABELS))
    if family == "ssd":  # two outputs show neither the units of boxes nor their priors
        assert guess is None
        kind = detectors.family("ssd")
        detection = changed(kind.detection, outputs=("boxes",))
        image = changed(kind.image, input="images", size=(networks.SIDE,) * 2)
    else:
        assert guess is not None and guess.family == family
        detection, image = guess.detection, guess.image
    config = TaskConfig(detectors.TASK, LABELS, image=image, detection=changed(detection, threshold=THRESHOLD))
    task = tasks.load(config, tmp_path, part.inputs)
    sample = Sample({"image": picture})
    ((_, feeds),) = task.steps(sample)
    names = [spec.name for spec in part.outputs]
    outputs = dict(zip(names, session.run(names, feeds), strict=True))
    expected = second(family, list(outputs.values()), detection.overlap)[: detection.most]
    answers = task.answer([outputs], sample)["boxes"]
    assert len(answers) == len(expected) > 3
    for answer, (box, score, number) in zip(answers, expected, strict=True):
        assert answer["label"] == LABELS[number]
        assert abs(answer["score"] - score) < 1e-5
        assert np.abs(np.array(answer["box"]) - in_picture(box, image.resize)).max() < 1e-2


def changed(record, **fields):
    return type(record).from_dict({**record.to_dict(), **fields})


def exported(family, path):
    kind, names = NETWORKS[family]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, networks.SIDE, networks.SIDE)
        torch.onnx.export(
            kind().eval(), (example,), str(path), input_names=["images"], output_names=names, dynamo=False
        )
    part = onnx_model.part_of(onnx_model.load(path))
    return part, onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def second(family, outputs, overlap):
    """Return box, score and class of the candidates that stay, box by box."""
    rows = []
    for box, scores in networks.reference(family, outputs):
        best = max(range(len(scores)), key=lambda number: scores[number])
        numbers = range(len(scores)) if family in OF_EACH_CLASS else [best]
        rows += [(box, scores[number], number) for number in numbers if scores[number] > THRESHOLD]
    rows.sort(key=lambda row: -row[1])
    kept = []
    for row in rows:
        if overlap is None or all(other[2] != row[2] or iou(row[0], other[0]) <= overlap for other in kept):
            kept.append(row)
    return kept


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def in_picture(box, resize):
    """Return a box of the input in pixels of the picture of 100 x 60, cut at its edge."""
    if resize == "exact":
        x, y, left, top = 100 / 64, 60 / 64, 0, 0
    else:  # 64 x 38 pixels, in the middle or at the top
        x = y = 100 / 64
        left, top = 0, 13 if resize == "letterbox" else 0
    sides = [(box[0] - left) * x, (box[1] - top) * y, (box[2] - left) * x, (box[3] - top) * y]
    return [min(max(0.0, side), 60.0 if place % 2 else 100.0) for place, side in enumerate(sides)]


def test_suppression_keeps_the_first_of_each_group():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.float32)
    assert suppressed(boxes, np.array([0, 0, 1, 0]), 0.5, 10).tolist() == [0, 2, 3]
    assert suppressed(boxes, np.zeros(4), 0.9, 2).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["yolo11", "YOLOv9", "rtdetr", "yolov7"])
def test_families_have_other_names(name):
    assert detectors.family(name)


METADATA = {"task": "detect", "stride": "32", "imgsz": "[64, 64]", "names": "{0: 'cat', 1: 'dog', 2: 'bird'}"}


def test_metadata_of_ultralytics_name_the_classes(tmp_path):
    part, _ = exported("yolov8", tmp_path / "net.onnx")
    guess = detector_guess.of_metadata(METADATA, part.inputs, part.outputs)
    assert guess is not None and (guess.family, guess.labels) == ("yolov8", LABELS)
    assert guess.image.size == (64, 64) and guess.image.resize == "letterbox"
    for other in (
        {**METADATA, "task": "segment"},
        {"names": "{0: 'cat'"},
        {**METADATA, "names": "__import__('os')"},
        {},
    ):
        assert detector_guess.of_metadata(other, part.inputs, part.outputs) is None


@pytest.mark.parametrize(
    ("width", "names", "family"), [(92, None, "detr"), (6, 5, "detr"), (80, None, "rt-detr"), (5, 5, "rt-detr")]
)
def test_queries_are_of_detr_where_they_score_no_object_too(width, names, family):
    from edgekit.spec import TensorSpec

    outputs = [TensorSpec("logits", "f32", (1, 100, width)), TensorSpec("pred_boxes", "f32", (1, 100, 4))]
    picture = TensorSpec("pixel_values", "f32", (1, 3, 480, 640))
    guess = detector_guess.guess([picture], outputs, names)
    assert guess is not None and guess.family == family
    assert (guess.image.size, guess.image.resize) == ((480, 640), "exact")
    free = detector_guess.guess([TensorSpec("pixel_values", "f32", (1, 3, "height", "width"))], outputs, names)
    assert free is not None
    assert (free.image.size, free.image.longest) == (((800,), 1333) if family == "detr" else ((640, 640), None))


def test_a_graph_of_another_kind_is_no_detector():
    from edgekit.spec import TensorSpec

    picture = TensorSpec("images", "f32", (1, 3, 64, 64))
    for shape in ((1, 1000), (1, 77, 50), (1, 1, 64, 64), (1, 5, 64, 64)):
        assert detector_guess.guess([picture], [TensorSpec("y", "f32", shape)], None) is None
