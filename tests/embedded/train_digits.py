"""Train the embedded model `digits`: `python tests/embedded/train_digits.py edgekit/embedded/digits` writes its folder.

Kept with the tests and not in the package: it needs torch and scikit-learn, and nothing calls it at run time. It is
seeded, runs on one thread and with deterministic kernels, so one machine with one torch writes the same bytes again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20260
EPOCHS = 40
BATCH = 64
EDGE = 64  # the processor enlarges the 8x8 scans to EDGE x EDGE
PER_CLASS = {"evaluation": 50, "calibration": 30}


def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return `train`, `calibration` and `evaluation`: images uint8 [N,8,8] and labels int64 [N].

    Evaluation is disjoint from train; calibration is a part of train. Both hold equally many images of each class.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # the scans hold 17 grey levels, 0 to 16
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    by_class = [order[labels[order] == digit] for digit in range(10)]
    held = PER_CLASS["evaluation"]
    parts = {
        "evaluation": np.sort(np.concatenate([rows[:held] for rows in by_class])),
        "train": np.sort(np.concatenate([rows[held:] for rows in by_class])),
        "calibration": np.sort(np.concatenate([rows[held : held + PER_CLASS["calibration"]] for rows in by_class])),
    }
    return {name: (images[rows], labels[rows]) for name, rows in parts.items()}


def build() -> tuple[Any, Any]:
    """Return the untrained network and its processor, both of transformers."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    names = {index: str(index) for index in range(10)}
    config = ResNetConfig(
        num_channels=3,
        embedding_size=32,
        hidden_sizes=[32, 48, 64],
        depths=[2, 2, 1],
        layer_type="basic",
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    processor = ViTImageProcessor(
        size={"height": EDGE, "width": EDGE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_convert_rgb=True
    )
    return ResNetForImageClassification(config), processor


def pixels(processor: Any, images: np.ndarray) -> Any:
    """Process uint8 images [N,8,8] into a float32 tensor [N,3,EDGE,EDGE], as a user of the checkpoint would."""
    from PIL import Image

    return processor([Image.fromarray(image) for image in images], return_tensors="pt")["pixel_values"]


def accuracy(model: Any, inputs: Any, labels: np.ndarray) -> float:
    """Return the share of images whose most likely class is the label."""
    import torch

    model.eval()
    with torch.inference_mode():
        guesses = torch.cat([model(part).logits.argmax(-1) for part in inputs.split(BATCH)])
    return float((guesses.numpy() == labels).mean())


def shifted(inputs: Any, generator: Any) -> Any:
    """Turn, scale and move each picture a little: up to 10 degrees, 10 % and 6 pixels."""
    import torch

    count = len(inputs)
    turn, scale, right, down = (torch.rand(4, count, generator=generator) * 2 - 1).unbind()
    angle, size = turn * math.radians(10), 1 + scale * 0.1
    rows = torch.stack(
        [
            torch.stack([angle.cos() * size, -angle.sin() * size, right * 12 / EDGE], -1),
            torch.stack([angle.sin() * size, angle.cos() * size, down * 12 / EDGE], -1),
        ],
        1,
    )
    grid = torch.nn.functional.affine_grid(rows, list(inputs.shape), align_corners=False)
    return torch.nn.functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def train(inputs: Any, labels: np.ndarray, model: Any) -> None:
    """Train in place: AdamW, one cycle of the learning rate, smoothed labels; a line on stderr every five epochs."""
    import torch

    targets = torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    steps = EPOCHS * math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    started = time.monotonic()
    for epoch in range(1, EPOCHS + 1):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            logits = model(shifted(inputs[rows], generator)).logits
            loss = torch.nn.functional.cross_entropy(logits, targets[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if epoch % 5 == 0:
            print(f"epoch {epoch}: loss {total / len(labels):.4f}, {time.monotonic() - started:.0f} s", file=sys.stderr)


def write_data(parts: dict[str, tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    """Write the two splits a user of the checkpoint needs, and one evaluation picture to look at."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name in PER_CLASS:
        images, labels = parts[name]
        np.savez_compressed(folder / f"{name}.npz", image=images, label=labels)
    images, labels = parts["evaluation"]
    picture = Image.fromarray(images[int(np.flatnonzero(labels == 7)[0])])
    picture.resize((128, 128), Image.Resampling.BILINEAR).save(folder / "seven.png")


def main() -> None:
    """Train, print the accuracies as JSON and write the folder; the model card beside it is written by hand."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parts = splits()
    model, processor = build()
    inputs = {name: pixels(processor, images) for name, (images, _) in parts.items()}
    train(inputs["train"], parts["train"][1], model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_data(parts, folder / "data")
    scores = {name: round(accuracy(model, inputs[name], labels), 4) for name, (_, labels) in parts.items()}
    print(json.dumps({"accuracy": scores, "parameters": model.num_parameters(), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
