"""Show what the draw of samples does to a score: many draws of fewer samples than classes, by both rules.

    export EDGEKIT_TEST_ASSETS=.../assets
    python benchmarks/draw.py [--output benchmarks/results/draw-resnet20.md]

ResNet-20 answers every test picture of CIFAR-10 once; each draw then scores the answers of its samples. A fair draw has
the score of all pictures on average, whatever the seed. No time is measured.
"""

from __future__ import annotations

import argparse
import runpy
import tarfile
from pathlib import Path

import numpy as np

from edgekit.data.draw import Rule, draw
from models.place import BENCHMARKS, assets

SEEDS = 2000
COUNTS = (3, 5, 8)
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def answered() -> tuple[np.ndarray, list[str]]:
    """Return whether each picture is classified rightly, and its class by name."""
    import torch
    from PIL import Image

    net = runpy.run_path(str(BENCHMARKS.parent / "tests" / "nets.py"))["resnet20"]
    module = net(assets("resnet-cifar10") / "resnet20.safetensors").eval()
    labels, pictures = [], []
    with tarfile.open(assets("data-cifar10") / "test.tar.gz") as archive:
        for member in sorted((m for m in archive if m.isfile() and m.name.endswith(".jpg")), key=lambda m: m.name):
            file = archive.extractfile(member)
            assert file is not None
            pictures.append((np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 - MEAN) / STD)
            labels.append(member.name.split("/")[-2])
    names = sorted(set(labels))
    images = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2))
    with torch.no_grad():
        answers = torch.cat([module(part).argmax(1) for part in images.split(200)]).numpy()
    return answers == np.array([names.index(label) for label in labels]), labels


def page(right: np.ndarray, labels: list[str]) -> str:
    """Return the table of both rules, each on many seeds."""
    names = sorted(set(labels))
    lines = [
        "# Fewer samples than classes", "",
        f"ResNet-20 on CIFAR-10's test pictures: {right.mean():.4f} of {len(right)} are right. Each row is {SEEDS} "
        "draws, seeds 0 and up, by `python benchmarks/draw.py`. `largest` was the rule before `systematic`.", "",
        "| samples | rule | mean score | off by, points | classes seen in all draws |",
        "| ---: | --- | ---: | ---: | --- |",
    ]  # fmt: skip
    for count in COUNTS:
        for rule in ("largest", "systematic"):
            chosen = [draw(count, len(labels), seed, labels, rule=_rule(rule)) for seed in range(SEEDS)]
            mean = float(np.mean([right[index].mean() for index in chosen]))
            seen = sorted({labels[place] for index in chosen for place in index})
            words = "all 10" if len(seen) == len(names) else f"{len(seen)}: {', '.join(seen)}"
            lines.append(f"| {count} | {rule} | {mean:.4f} | {100 * (mean - right.mean()):+.2f} | {words} |")
    return "\n".join(lines) + "\n"


def _rule(name: str) -> Rule:
    return "largest" if name == "largest" else "systematic"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    text = page(*answered())
    if arguments.output:
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
