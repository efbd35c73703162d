"""A detector from its file to boxes: nothing named but the model and the data."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import edgekit
from edgekit.testing.blocking import FRAMEWORKS

NAMES = ("red", "green", "blue")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SIDE, CELL = 64, 8


@pytest.fixture(scope="module")
def files(place):
    """Write a detector that finds rectangles of one colour, as ultralytics exports one, and pictures of such."""
    import onnx
    import torch

    path = place / "finder.onnx"
    names = {"input_names": ["images"], "output_names": ["output0"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that ultralytics uses too
        torch.onnx.export(
            finder().eval(), (torch.zeros(1, 3, SIDE, SIDE),), str(path), dynamo=False, opset_version=17, **names
        )
    proto = onnx.load(path)
    metadata = {"task": "detect", "stride": "32", "imgsz": f"[{SIDE}, {SIDE}]", "names": str(dict(enumerate(NAMES)))}
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)
    return path, pictures(place / "squares")


def finder():
    """Return a network with YOLOv8's output: a box of 16 x 16 pixels in each cell, scored by its colour."""
    import torch
    from torch import nn

    class Finder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colour = nn.Conv2d(3, 3, CELL, CELL)
            with torch.no_grad():
                weights = 2 * torch.eye(3) - 1
                self.colour.weight.copy_(10 * weights.view(3, 3, 1, 1).expand(3, 3, CELL, CELL) / CELL**2)
                self.colour.bias.fill_(-5)

        def forward(self, picture):
            maps = [nn.functional.max_pool2d(self.colour(picture), step) for step in (1, 2, 4)]
            rows = []
            for map_, step in zip(maps, (1, 2, 4), strict=True):
                count = SIDE // CELL // step
                y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
                centers = (torch.stack([x, y]).float() + 0.5) * CELL * step
                boxes = torch.cat([centers, torch.full_like(centers, 16.0)]).unsqueeze(0) + 0 * map_[:, :1]
                scores = map_.sigmoid() * (1.0 if step == 2 else 0.01)
                rows.append(torch.cat([boxes, scores], 1).flatten(2))
            return torch.cat(rows, 2)

    return Finder()


def pictures(folder):
    """Write pictures of 128 x 128 pixels with squares of 32, on the places of the network's cells, and COCO's file."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    images, annotations = [], []
    for number in range(1, 25):
        pixels = np.zeros((128, 128, 3), np.uint8)
        for place in draw.choice(16, 3, replace=False):
            x, y, kind = int(place % 4) * 32, int(place // 4) * 32, int(draw.integers(3))
            pixels[y : y + 32, x : x + 32] = COLOURS[kind]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": kind, "bbox": [x, y, 32, 32]}
            )
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        images.append({"id": number, "file_name": f"{number:02}.png", "width": 128, "height": 128})
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances_val.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def bundle(command, files, place):
    model, data = files
    path = place / "out" / "finder"
    done = command(
        "export", model, "--data", data, "--max-drop", "2%", "-o", path, "--no-bench",
        "--candidate", "onnxruntime/fp32",
    )  # fmt: skip
    return path, done


def test_the_metric_is_coco_s_and_the_next_line_names_a_picture(bundle, files):
    path, done = bundle
    report = edgekit.open(path).report()
    quality = report.candidates[0].quality
    assert (quality.metric, quality.original_score) == ("map", pytest.approx(1.0))
    assert quality.checks[-1].name == "map drop" and quality.checks[-1].passed
    assert f"edgekit run {path} {files[1] / '01.png'}" in done.stdout


def test_the_boxes_are_in_the_picture_s_pixels(bundle, command, files):
    path, _ = bundle
    _, data = files
    wanted = [
        each for each in json.loads((data / "instances_val.json").read_text())["annotations"] if each["image_id"] == 7
    ]
    answer = command("run", path, data / "07.png", "--json").json["answer"]["boxes"]
    assert len(answer) == len(wanted) == 3
    for box in wanted:
        x, y, width, height = box["bbox"]
        (match,) = [each for each in answer if np.allclose(each["box"], [x, y, x + width, y + height], atol=0.1)]
        assert match["label"] == NAMES[box["category_id"]] and match["score"] > 0.9


def test_the_boxes_are_drawn_into_the_picture(bundle, command, files, place):
    path, _ = bundle
    _, data = files
    command("run", path, data / "07.png", "--output", place / "drawn")
    with Image.open(data / "07.png") as before, Image.open(place / "drawn" / "07.png") as after:
        changed = np.abs(np.asarray(before.convert("RGB"), int) - np.asarray(after.convert("RGB"), int)).max(axis=2) > 0
    assert after.size == (128, 128) and 0 < changed.mean() < 0.5


DEVICE = """
import json, sys
from edgekit.testing.blocking import import_blocker
blocked = import_blocker(*json.loads(sys.argv[1]))
blocked.__enter__()
import edgekit
assert edgekit.verify(sys.argv[2]).ok
from edgekit.cli import cli
cli.main(["verify", sys.argv[2], "--data", sys.argv[3], "--json"], standalone_mode=False)
"""


def test_a_device_computes_the_score_without_a_framework(bundle, files):
    path, _ = bundle
    _, data = files
    blocked = json.dumps(sorted({*FRAMEWORKS, "openvino"}))
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, blocked, path, data], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    quality = json.loads(done.stdout)["candidates"][0]["quality"]
    assert quality["metric"] == "map" and quality["drop"] <= 0.02


def test_classes_that_the_model_does_not_have(command, files, place):
    model, data = files
    other = place / "other"
    other.mkdir()
    content = json.loads((data / "instances_val.json").read_text())
    content["categories"][0]["name"] = "magenta"
    (other / "instances_val.json").write_text(json.dumps(content))
    (other / "images").symlink_to(data)
    done = command("export", model, "--data", other, "-o", place / "never", "--no-bench", code=2)
    assert "magenta" in done.stderr and "--labels" in done.stderr and not (place / "never").exists()


@pytest.mark.nightly
def test_a_detector_that_is_not_understood_is_described_in_a_file(command, files, place):
    import onnx

    model, data = files
    proto = onnx.load(model)
    del proto.metadata_props[:]
    for place_of, name in ((1, "values"), (2, "boxes")):
        proto.graph.output[0].type.tensor_type.shape.dim[place_of].dim_param = name
    onnx.save(proto, place / "nameless.onnx")
    options = ("--data", data, "-o", place / "out" / "nameless", "--no-bench", "--candidate", "onnxruntime/fp32")
    done = command("export", place / "nameless.onnx", *options, code=2)
    assert "output0" in done.stderr and "detector.toml" in done.stderr
    (place / "detector.toml").write_text(
        'family = "yolo11"\nlabels = ["red", "green", "blue"]\n[image]\npad = 0\n[detection]\nthreshold = 0.5\n'
    )
    described = command("export", place / "nameless.onnx", *options, "--processor", place / "detector.toml", "--json")
    assert described.report.candidates[0].quality.original_score == pytest.approx(1.0)
    for text, fact in (('family = "yolo99"', "yolo99"), ("[detections]", "detections"), ("labels = 3", "family")):
        (place / "detector.toml").write_text(text)
        done = command(
            "export", place / "nameless.onnx", *options, "--force", "--processor", place / "detector.toml", code=2
        )
        assert fact in done.stderr
