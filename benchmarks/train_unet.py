"""Train a small U-Net that finds cell membranes, on a folder with the pictures of the ISBI 2012 challenge
(`membrane.tar`), and state its Dice on the test pictures.

    python benchmarks/train_unet.py DATA OUT [--steps 400]

It needs Pillow. Weights and crops are seeded. OUT holds `unet.onnx`, `preprocessor_config.json`, and the folders
`calibration` and `test`, each with `images` and `masks`. Pictures 0 to 19 are trained on, 25 to 29 are the test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

CROP, BATCH, RATE = 192, 4, 2e-3
SPLITS = {"train": range(20), "calibration": range(20, 25), "test": range(25, 30)}
MEAN, STD = 0.5, 0.25


class Block(torch.nn.Sequential):
    def __init__(self, inner: int, outer: int) -> None:
        layers: list[torch.nn.Module] = []
        for size in (inner, outer):
            layers += [torch.nn.Conv2d(size, outer, 3, padding=1), torch.nn.BatchNorm2d(outer), torch.nn.ReLU()]
        super().__init__(*layers)


class UNet(torch.nn.Module):
    """Scores [batch, 1, height, width] of the membrane, for pictures [batch, 1, height, width] of multiples of 8."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.down = torch.nn.ModuleList(Block(a, b) for a, b in zip((1, *widths), widths, strict=False))
        self.up = torch.nn.ModuleList(torch.nn.ConvTranspose2d(b, a, 2, 2) for a, b in itertools.pairwise(widths))
        self.merge = torch.nn.ModuleList(Block(2 * a, a) for a in widths[:-1])
        self.head = torch.nn.Conv2d(widths[0], 1, 1)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        kept = []
        x = pixel_values
        for level, block in enumerate(self.down):
            x = block(torch.nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([kept[level], self.up[level](x)], 1))
        scores: torch.Tensor = self.head(x)
        return scores


def unpack(data: Path, out: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Write the pictures and masks into folders of splits, and return their paths."""
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    with tarfile.open(data / "membrane.tar") as archive:
        files = {member.name: member for member in archive.getmembers() if member.isfile()}
        for split, numbers in SPLITS.items():
            for number in numbers:
                paths = []
                for kind in ("image", "label"):
                    name = next(name for name in files if name.endswith(f"{kind}/{number}.png"))
                    target = out / split / {"image": "images", "label": "masks"}[kind] / f"{number}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.extractfile(files[name]).read())  # type: ignore[union-attr]  # a file
                    paths.append(target)
                pairs.setdefault(split, []).append((paths[0], paths[1]))
    return pairs


def tensors(pairs: list[tuple[Path, Path]]) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, masks = (
        torch.from_numpy(np.stack([np.asarray(Image.open(pair[side]), np.float32) / 255 for pair in pairs]))[:, None]
        for side in (0, 1)
    )
    return (pictures - MEAN) / STD, (masks > 0.5).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    pairs = unpack(arguments.data, arguments.out)
    pictures, masks = tensors(pairs["train"])
    model = UNet()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=arguments.steps)
    started = time.monotonic()
    model.train()
    for step in range(1, arguments.steps + 1):
        crops = []
        for _ in range(BATCH):
            number, (top, left) = draw.integers(len(pictures)), draw.integers(0, 512 - CROP, 2)
            both = torch.cat([pictures[number], masks[number]])[:, top : top + CROP, left : left + CROP]
            both = torch.rot90(both, int(draw.integers(4)), (1, 2))
            crops.append(both.flip(2) if draw.integers(2) else both)
        batch = torch.stack(crops)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch[:, :1]), batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.3f} after {time.monotonic() - started:.0f} s", flush=True)
    model.eval()
    pictures, masks = tensors(pairs["test"])
    with torch.no_grad():
        predicted = torch.cat([model(picture[None]) > 0 for picture in pictures]).float()
    dice = 2 * (predicted * masks).sum() / (predicted.sum() + masks.sum())
    print(f"Dice of the membrane on {len(pictures)} test pictures: {dice:.4f}")
    torch.onnx.export(
        model, (pictures[:1],), str(arguments.out / "unet.onnx"), dynamo=False, opset_version=17,
        input_names=["pixel_values"], output_names=["scores"],
    )  # fmt: skip
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "image_mean": [MEAN],
        "image_std": [STD],
    }
    (arguments.out / "preprocessor_config.json").write_text(json.dumps(settings) + "\n")


if __name__ == "__main__":
    main()
