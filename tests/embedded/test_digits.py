"""The embedded model is what its card says: its size, its data, its splits and its accuracy."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgekit import embedded
from edgekit.errors import UsageError
from tests.wording import raises

FOLDER = embedded.folder("digits")
CARD = (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Load the training script, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("train_digits", Path(__file__).with_name("train_digits.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network():
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def processor():
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(FOLDER, use_fast=False)


def load(split: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(embedded.data("digits", split)) as data:
        assert sorted(data) == ["image", "label"]
        return data["image"], data["label"]


def test_it_is_listed_and_found() -> None:
    assert embedded.names() == ("digits",)
    assert (FOLDER / "model.safetensors").is_file()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with raises(UsageError, ("'digit'", "'digits'")) as caught:
        embedded.folder("digit")
    assert caught.value.hint == "embedded: digits"


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_000_000


def test_the_shipped_splits_are_the_scripts(script: ModuleType) -> None:
    parts = script.splits()
    for split, count in (("calibration", 300), ("evaluation", 500)):
        images, labels = load(split)
        assert images.dtype == np.uint8 and images.shape == (count, 8, 8)
        assert np.bincount(labels).tolist() == [count // 10] * 10
        assert np.array_equal(images, parts[split][0]) and np.array_equal(labels, parts[split][1])


def test_evaluation_was_never_trained_on(script: ModuleType) -> None:
    parts = script.splits()
    seen = {image.tobytes() for image in parts["train"][0]}
    assert len(parts["train"][0]) + len(parts["evaluation"][0]) == 1797
    assert not [image for image in load("evaluation")[0] if image.tobytes() in seen]
    assert all(image.tobytes() in seen for image in load("calibration")[0])


def test_accuracy_is_what_the_card_claims(script: ModuleType, network, processor) -> None:
    images, labels = load("evaluation")
    accuracy = script.accuracy(network, script.pixels(processor, images), labels)
    claimed = re.search(r"\| evaluation \| ([\d.]+) % \((\d+) of 500\) \|", CARD)
    assert claimed is not None and float(claimed[1]) == pytest.approx(int(claimed[2]) / 5)
    # Other processors round otherwise, which can turn one image that lies on the border.
    assert accuracy == pytest.approx(float(claimed[1]) / 100, abs=0.0021)
    assert accuracy >= 0.98


def test_the_card_states_the_size(network) -> None:
    assert f"{network.num_parameters():,} (float32, {(FOLDER / 'model.safetensors').stat().st_size // 1000} kB)" in CARD
    assert 50_000 <= network.num_parameters() <= 200_000


def test_the_picture_to_try_is_read_as_seven(network, processor) -> None:
    import torch
    from PIL import Image

    with Image.open(FOLDER / "data" / "seven.png") as picture, torch.inference_mode():
        logits = network.eval()(**processor(picture, return_tensors="pt")).logits
    assert int(logits.argmax()) == 7
    assert float(logits.softmax(-1).max()) > 0.8


def test_labels_are_the_digits() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["id2label"] == {str(digit): str(digit) for digit in range(10)}


def test_one_step_of_training_repeats_to_the_bit(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(script, "EPOCHS", 1)
    images, labels = script.splits()["calibration"]
    weights = []
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        for _ in range(2):
            torch.manual_seed(script.SEED)
            model, processor = script.build()
            script.train(script.pixels(processor, images), labels, model)
            weights.append(model.state_dict())
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
