"""Detection compared with transformers' own, and its answers and faults."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from edgekit import tasks
from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.sources.image_processor import image_config
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, detectors
from edgekit.tasks.config import ImageConfig
from edgekit.tasks.detection_config import DetectionConfig
from edgekit.tasks.image import pixels
from edgekit.tasks.placement import place
from tests.wording import raises

INPUTS = (TensorSpec("pixel_values", "f32", ("batch", 3, "height", "width")),)
LABELS = ("cat", "dog")
FINAL = DetectionConfig(values=("box", "score", "class"), box="corners", overlap=None)


@pytest.fixture(scope="module")
def picture():
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("china.jpg"))


def checkpoint(name):
    """Return a small random detector of transformers, whose classes differ in score, and its processor."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    sides = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "decoder_ffn_dim": 32, "encoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_labels": 5}
    size = {"shortest_edge": 96, "longest_edge": 128}
    if name == "detr":
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "layer_type": "basic"}
        backbone = hf.ResNetConfig(**sizes, out_features=["stage4"])
        options = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
        config = hf.DetrConfig(backbone_config=backbone, num_queries=20, **options, **sides, **heads)
        model, processor = hf.DetrForObjectDetection(config), hf.DetrImageProcessor(size=size)
    elif name == "yolos":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = hf.YolosConfig(**sizes, image_size=[96, 128], num_detection_tokens=12, num_labels=5)
        model, processor = hf.YolosForObjectDetection(config), hf.YolosImageProcessor(size=size)
    else:
        sizes = {"embedding_size": 16, "hidden_sizes": [16, 16, 24, 32], "depths": [1] * 4, "layer_type": "basic"}
        backbone = hf.RTDetrResNetConfig(**sizes, out_features=["stage2", "stage3", "stage4"])
        channels = {"encoder_in_channels": [16, 24, 32], "decoder_in_channels": [32] * 3, "encoder_hidden_dim": 32}
        config = hf.RTDetrConfig(
            backbone_config=backbone, num_queries=30, num_denoising=0, **sides, **heads, **channels
        )
        model = hf.RTDetrForObjectDetection(config)
        processor = hf.RTDetrImageProcessor(size={"height": 96, "width": 96})
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 1.5 * weight[0].numel() ** -0.5)
    return model.eval(), processor


@pytest.mark.parametrize("name", ["detr", "yolos", "rt-detr"])
def test_boxes_equal_transformers(name, picture, tmp_path):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, processor = checkpoint(name)
        given = processor(picture, return_tensors="pt")
        with torch.no_grad():
            answers = model(pixel_values=given["pixel_values"])
    detection = detectors.of_checkpoint(model.config)
    image, reason = image_config(processor.to_dict(), model_type=None)
    assert detection is not None and image is not None, reason
    scores = answers.logits.sigmoid() if name == "rt-detr" else answers.logits.softmax(-1)[..., :-1]
    least = float(scores.max()) * 0.8
    (expected,) = processor.post_process_object_detection(answers, least, [(picture.height, picture.width)])
    detection = DetectionConfig.from_dict({**detection.to_dict(), "threshold": least})
    config = TaskConfig(detectors.TASK, tuple("abcde"), image=image, detection=detection)
    task = tasks.load(config, tmp_path, INPUTS)
    ((_, feeds),) = task.steps(Sample({"image": picture}))
    assert np.abs(feeds["pixel_values"] - given["pixel_values"].numpy()).max() < 1e-5
    outputs = {"logits": answers.logits.numpy(), "pred_boxes": answers.pred_boxes.numpy()}
    boxes = task.answer([outputs], Sample({"image": picture}))["boxes"]
    order = expected["scores"].argsort(descending=True, stable=True)
    assert len(boxes) == len(order) > 0
    for box, place_of in zip(boxes, order, strict=True):
        assert box["label"] == "abcde"[int(expected["labels"][place_of])]
        assert abs(box["score"] - float(expected["scores"][place_of])) < 1e-6
        assert np.abs(np.array(box["box"]) - expected["boxes"][place_of].numpy()).max() < 1e-3


def letterboxed(picture, **fields):
    return pixels(picture, ImageConfig(size=(64, 96), antialias=False, rescale=1.0, **fields))[0]


def test_a_letterbox_keeps_the_shape_and_fills_the_rest():
    white = Image.new("RGB", (100, 50), (255, 255, 255))
    middle = letterboxed(white, resize="letterbox")
    assert middle.shape == (3, 64, 96)
    assert (middle[:, 8:56] == 255).all() and (middle[:, :8] == 114).all() and (middle[:, 56:] == 114).all()
    corner = letterboxed(white, resize="letterbox-corner", pad=7)
    assert (corner[:, :48] == 255).all() and (corner[:, 48:] == 7).all()


def test_a_box_returns_to_the_picture_that_it_was_placed_from():
    for size in ((480, 640), (640, 427), (33, 1000)):
        for resize in ("letterbox", "letterbox-corner", "exact"):
            placement = place(size, ImageConfig(size=(640, 640), resize=resize))
            height, width = placement.height, placement.width
            whole = np.array([[placement.left, placement.top, placement.left + width, placement.top + height]], float)
            assert np.abs(placement.in_picture(whole, size) - [0, 0, size[1], size[0]]).max() < max(size) / min(
                height, width
            )


# OpenCV 5.0.0 of PyPI: cv2.resize(pixels, (5, 3)) and (9, 7) of numpy.arange(48).reshape(6, 8) * 5.
OPENCV = {
    (3, 5): [[21, 29, 38, 46, 54], [101, 109, 118, 126, 134], [181, 189, 198, 206, 214]],
    (7, 9): [
        [0, 4, 8, 13, 17, 22, 26, 31, 35],
        [31, 35, 40, 44, 49, 53, 58, 62, 66],
        [66, 70, 74, 79, 83, 88, 92, 97, 101],
        [100, 104, 109, 113, 118, 122, 126, 131, 135],
        [134, 138, 143, 147, 152, 156, 161, 165, 169],
        [168, 173, 177, 181, 186, 190, 195, 199, 203],
        [200, 204, 208, 213, 217, 222, 226, 231, 235],
    ],
}


def test_resizing_without_antialiasing_is_that_of_opencv():
    from edgekit.tasks.bilinear import resize

    ramp = (np.arange(48, dtype=np.uint8) * 5).reshape(6, 8)
    for size, expected in OPENCV.items():
        assert np.abs(resize(ramp, *size).astype(int) - expected).max() <= 1


def detector(tmp_path, labels=LABELS, data=(), detection=FINAL):
    config = TaskConfig(detectors.TASK, labels, image=ImageConfig(size=(64, 64)), detection=detection)
    return tasks.load(config, tmp_path, INPUTS, data)


def test_labels_are_found_by_name_and_by_number(tmp_path):
    box = [[0, 0, 5, 5]]
    task = detector(tmp_path, data=("Dog",))
    assert task.label({"boxes": box, "classes": ["Dog"]}).classes.tolist() == [1]
    assert task.label({"boxes": box, "classes": [1]}).classes.tolist() == [1]
    with raises(UsageError, "cow, pig", hint="--labels"):
        detector(tmp_path, data=("cow", "dog", "pig")).label({"boxes": box, "classes": ["pig"]})
    with raises(UsageError, "the class 2", "2 classes"):
        task.label({"boxes": box, "classes": [2]})
    with raises(UsageError, "'cat'", hint="COCO"):
        task.label("cat")


def test_a_graph_that_chooses_boxes_may_return_none(tmp_path, picture):
    task = detector(tmp_path)
    for shape in ((1, 0, 6), (0, 6)):
        assert task.answer([{"out": np.zeros(shape, np.float32)}], Sample({"image": picture})) == {"boxes": []}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_suppression_inside_the_graph_gives_as_many_boxes_as_there_are(count, tmp_path, picture):
    inside = DetectionConfig(outputs=("boxes",), scores="scores", values=("box",), box="corners", overlap=None)
    task = detector(tmp_path, detection=inside, labels=("cat",))
    outputs = {"boxes": np.full((count, 4), 8, np.float32), "scores": np.full(count, 0.9, np.float32)}
    answers = task.answer([outputs], Sample({"image": picture}))["boxes"]
    assert [box["label"] for box in answers] == ["cat"] * count


def test_separate_outputs_with_a_count(tmp_path, picture):
    kind = detectors.family("tensorflow")
    task = detector(tmp_path, detection=kind.detection)
    outputs = {
        "detection_boxes": np.array([[[0.5, 0.25, 1.0, 0.75], [0, 0, 1, 1]]], np.float32),
        "detection_scores": np.array([[0.9, 0.8]], np.float32),
        "detection_classes": np.array([[1, 0]], np.float32),
        "num_detections": np.array([1], np.float32),
    }
    (box,) = task.answer([outputs], Sample({"image": picture}))["boxes"]
    assert box["label"] == "dog"
    wanted = [0.25 * picture.width, 0.5 * picture.height, 0.75 * picture.width, picture.height]
    assert np.allclose(box["box"], wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"encoding": "yolox"}, ("yolox", "strides")),
        ({"encoding": "yolov5", "strides": [8]}, ("anchors", "1")),
        ({"overlap": 1.5}, ("overlap", "1.5")),
        ({"values": ["box", "box"]}, ("values",)),
        ({"encoding": "priors"}, ("priors",)),
    ],
)
def test_a_bad_description_is_named(fields, facts):
    with raises(UsageError, *facts):
        DetectionConfig.from_dict(fields, "[detection]")


def test_outputs_that_are_not_as_described(tmp_path, picture):
    sample = Sample({"image": picture})
    with raises(UsageError, "'y'", hint="docs/detection.md"):
        detector(tmp_path, detection=DetectionConfig(outputs=("y",))).answer([{"x": np.zeros((1, 5, 6))}], sample)
    grid = DetectionConfig(encoding="yolox", strides=(8,), values=("box", "objectness", "scores"))
    with raises(UsageError, "64", "5", hint="strides"):
        detector(tmp_path, detection=grid).answer([{"x": np.zeros((1, 5, 7))}], sample)
    with raises(UsageError, "3 values", hint="--processor"):
        detector(tmp_path).answer([{"x": np.zeros((1, 5, 3))}], sample)
