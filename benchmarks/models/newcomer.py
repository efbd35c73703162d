"""The networks of a new user: a small one on chest X-rays, a head on a sentence encoder, each trained in a minute."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from models.place import minilm
from models.sst2 import rows

CLASSES = ("normal", "pneumonia")
SENTENCES = 3000
"""Sentences that the head is trained on; the encoder keeps its weights."""

NET = '''"""A small network on gray pictures of 28 x 28."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, 2),
        )

    def forward(self, images):
        return self.layers(images)


def net():
    model = Net()
    model.load_state_dict(torch.load("xray.pt", weights_only=True))
    return model.eval()
'''


def xray(data: Path, folder: Path, *, epochs: int = 3) -> tuple[np.ndarray, np.ndarray, str]:
    """Write the module, two ONNX files, a processor and class folders.

    Return the probabilities of pneumonia on the test pictures in the order of the folders, their labels, and the first
    of these pictures.
    """
    import torch
    from PIL import Image
    from torch import nn

    arrays = np.load(data)
    (folder / "xray_net.py").write_text(NET)
    names: dict[str, object] = {}
    exec(compile(NET, "xray_net.py", "exec"), names)
    torch.manual_seed(0)
    net = names["Net"]()  # type: ignore[operator]

    def pixels(split: str) -> torch.Tensor:
        return torch.from_numpy((arrays[f"{split}_images"][:, None].astype(np.float32) / 255 - 0.5) / 0.5)

    images, labels = pixels("train"), torch.from_numpy(arrays["train_labels"][:, 0].astype(np.int64))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            loss = nn.functional.cross_entropy(net(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    torch.save(net.state_dict(), folder / "xray.pt")
    shutil.rmtree(folder / "xrays", ignore_errors=True)
    for split in ("val", "test"):
        for index, (picture, label) in enumerate(
            zip(arrays[f"{split}_images"], arrays[f"{split}_labels"][:, 0], strict=True)
        ):
            place = folder / "xrays" / split / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{index:04}.png")
    (folder / "processor").mkdir(exist_ok=True)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 28, "width": 28},
                "image_mean": [0.5], "image_std": [0.5]}  # fmt: skip
    (folder / "processor" / "preprocessor_config.json").write_text(json.dumps(settings))
    one = nn.Sequential(net, nn.Softmax(1), Second())
    for module, file in ((net, "xray.onnx"), (one.eval(), "xray_one.onnx")):
        torch.onnx.export(module, (images[:1],), folder / file, dynamo=False, opset_version=17, input_names=["images"],
                          output_names=["y"], dynamic_axes={"images": {0: "N"}, "y": {0: "N"}})  # fmt: skip
    tests = arrays["test_labels"][:, 0]
    order = np.argsort(tests, kind="stable")
    with torch.no_grad():
        scores = net(pixels("test")).softmax(1)[:, 1].numpy()[order]
    return scores, tests[order], f"xrays/test/{CLASSES[tests[order[0]]]}/{order[0]:04}.png"


def Second():  # a layer's name
    """Return a layer that keeps the second of two columns."""
    import torch

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 1:]

    return Layer()


def sentiment(folder: Path, *, epochs: int = 40) -> tuple[np.ndarray, np.ndarray, str]:
    """Write a checkpoint with a trained head and two tables; return the probabilities of `positive` on the dev
    sentences, their labels, and the first sentence.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    names = dict(enumerate(("negative", "positive")))
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=2, id2label=names, label2id={name: index for index, name in names.items()}
    ).eval()
    train, dev = rows("train")[:SENTENCES], rows("dev")

    def pooled(samples: list[tuple[str, int]]) -> torch.Tensor:
        parts = []
        for start in range(0, len(samples), 64):
            texts = [text for text, _ in samples[start : start + 64]]
            inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
            with torch.no_grad():
                parts.append(model.bert(**inputs).pooler_output)
        return torch.cat(parts)

    features, labels = pooled(train), torch.tensor([label for _, label in train])
    optimizer = torch.optim.Adam(model.classifier.parameters(), 1e-2)
    for _ in range(epochs):
        loss = torch.nn.functional.cross_entropy(model.classifier(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = model.classifier(pooled(dev)).softmax(1)[:, 1].numpy()
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    for name, samples in (("train", train[:300]), ("dev", dev)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            written = csv.writer(file)
            written.writerow(["sentence", "label"])
            written.writerows((text, names[label]) for text, label in samples)
    return scores, np.array([label for _, label in dev]), dev[0][0]
