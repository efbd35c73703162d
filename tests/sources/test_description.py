"""A file that describes a detector, given with --processor."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.sources import checkpoint, description
from edgekit.sources.processor import check_processor, with_processor
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, detectors
from tests.wording import raises

INPUT = TensorSpec("images", "f32", (1, 3, 320, 480))


def written(folder, text):
    path = folder / "detector.toml"
    path.write_text(text)
    return path


def applied(path, spec=INPUT):
    reference = Reference("net.onnx", processor=str(path))
    check_processor(reference)
    return with_processor(TaskConfig("tensor"), path, path.parent / "assets", reference, inputs=(spec,))


def test_a_family_and_what_differs_from_it(tmp_path):
    text = 'family = "yolox"\nlabels = "coco"\n[image]\nrescale = 0.5\n[detection]\nthreshold = 0.4\n'
    config = applied(written(tmp_path, text))
    assert config.task == "object-detection" and config.labels == detectors.COCO
    assert config.image is not None and config.detection is not None
    assert (config.image.input, config.image.size, config.image.resize) == ("images", (320, 480), "letterbox-corner")
    assert (config.image.rescale, config.image.channels) == (0.5, "bgr")
    assert (config.detection.threshold, config.detection.encoding) == (0.4, "yolox")


def test_a_file_of_names_a_file_of_priors_and_channels_last(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    np.save(tmp_path / "priors.npy", np.ones((5, 4), np.float32))
    path = written(tmp_path, 'family = "ssd"\nlabels = "names.txt"\n[detection]\npriors = "priors.npy"\n')
    config = applied(path, TensorSpec("x", "f32", (1, 300, 300, 3)))
    assert config.labels == ("cat", "dog") and (tmp_path / "assets" / "priors.npy").is_file()
    assert config.image is not None and (config.image.layout, config.image.size) == ("nhwc", (300, 300))
    before = checkpoint.processor_digest(Reference("net.onnx", processor=str(path)))
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    after = checkpoint.processor_digest(Reference("net.onnx", processor=str(path)))
    assert set(after) == {"detector.toml", "names.txt", "priors.npy"} and after != before


def test_a_detector_of_no_family(tmp_path):
    text = '[image]\nsize = [64, 64]\n[detection]\nvalues = ["score", "class", "box"]\nbox = "corner-size"\n'
    config = applied(written(tmp_path, text), TensorSpec("x", "f32", ("N", 3, "H", "W")))
    assert config.detection is not None and config.detection.values == ("score", "class", "box")
    assert description.files(tmp_path / "detector.toml") == [tmp_path / "detector.toml"]


@pytest.mark.parametrize(
    ("text", "facts", "hint"),
    [
        ('family = "yolo99"', "yolo99", "yolov8"),
        ("[detections]", "detections", "docs/detection.md"),
        ("labels = []", "family", "docs/detection.md"),
        ("family = 3", "family", "docs/detection.md"),
        ('family = "yolov8"\nlabels = "gone.txt"', "gone.txt", "there"),
        ('family = "yolov8"\nlabels = [1]', "labels", "cat"),
        ('family = "yolov8"\n[detection]\noverlaps = 0.5', "'overlaps'", "overlap"),
        ('family = "yolov8"\n[image]\nsize = [0, 5]', "size", "correct"),
        ('family = "yolov8', "TOML", "line"),
    ],
)
def test_a_fault_is_named(text, facts, hint, tmp_path):
    with raises(UsageError, facts, hint=hint):
        applied(written(tmp_path, text))
