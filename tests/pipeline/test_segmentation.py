"""Masks, from a small random SegFormer and labelled pictures to a bundle that answers and draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import edgekit
from edgekit.cli import cli

torch = pytest.importorskip("torch")

NAMES = ("road", "car", "tree")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for kind in ("images", "annotations"):
        (folder / kind).mkdir()
    for number in range(8):
        small = draw.integers(0, 256, (5, 6, 3)).astype(np.uint8)
        Image.fromarray(small).resize((60, 50)).save(folder / "images" / f"{number}.jpg")
        Image.fromarray(draw.integers(0, 4, (5, 6)).astype(np.uint8)).resize((60, 50), 0).save(
            folder / "annotations" / f"{number}.png"
        )
    return folder


@pytest.fixture(scope="module")
def shipped(data, tmp_path_factory):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("segformer")
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, id2label=dict(enumerate(NAMES)),
        label2id={name: number for number, name in enumerate(NAMES)},
    )  # fmt: skip
    module = SegformerForSemanticSegmentation(config).eval()
    torch.nn.init.normal_(module.decode_head.classifier.weight, std=3)
    module.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}, do_reduce_labels=True).save_pretrained(folder)
    return (
        edgekit.export(
            str(folder), data=str(data), candidates=["onnxruntime/fp32"], bench=False,
            output=str(tmp_path_factory.mktemp("out") / "bundle"),
        ),
        module,
        SegformerImageProcessor.from_pretrained(folder),
    )  # fmt: skip


def test_masks_are_those_of_transformers(shipped, data):
    bundle, module, processor = shipped
    quality = bundle.report.shipped.quality
    assert bundle.report.task == "semantic-segmentation" and quality.metric == "miou"
    assert quality.score == pytest.approx(quality.original_score, abs=1e-3) and 0 < quality.score < 1
    picture = Image.open(data / "images" / "3.jpg").copy()
    with torch.inference_mode():
        outputs = module(**processor(picture, return_tensors="pt"))
    (theirs,) = processor.post_process_semantic_segmentation(outputs, [(50, 60)])
    answer = CliRunner().invoke(cli, ["run", str(bundle.bundle.path), str(data / "images" / "3.jpg"), "--json"])
    classes = json.loads(answer.stdout)["answer"]["classes"]
    shares = {NAMES[number]: float((theirs == number).float().mean()) for number in theirs.unique().tolist()}
    assert {each["label"]: each["share"] for each in classes} == pytest.approx(shares, abs=2e-3)


def test_masks_are_drawn(shipped, data, tmp_path):
    path = str(shipped[0].bundle.path)
    one = CliRunner().invoke(cli, ["run", path, str(data / "images" / "3.jpg"), "--output", str(tmp_path / "a.jpg")])
    assert one.exit_code == 0, one.output
    assert json.loads(one.stdout)["picture"].endswith("a.jpg") and np.asarray(Image.open(tmp_path / "a.jpg")).shape == (
        50,
        60,
        3,
    )
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (60, 50), (90, 40, 200)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    many = CliRunner().invoke(cli, ["run", path, str(tmp_path / "in"), "--output", str(tmp_path / "drawn")])
    assert many.exit_code == 2 and "broken.png" in many.stderr
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["a-2.png", "a.png", "answers.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "drawn" / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and "error" in lines[2] and lines[0]["answer"]["classes"]
    both = ["run", path, str(tmp_path / "in" / "a.png"), str(tmp_path / "in" / "a.jpg"), "--output", "x.png"]
    refused = CliRunner().invoke(cli, both)
    assert refused.exit_code == 2 and "--output x" in refused.stderr
