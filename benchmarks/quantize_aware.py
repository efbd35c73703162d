"""What quantization-aware fine-tuning brings back, on real weights and data. No time is measured.

    python benchmarks/quantize_aware.py

ResNet-20 on CIFAR-10, rewritten without a change of its function so that the maps inside three blocks differ by four
orders of magnitude: int8 collapses. Leaving layers in float would repair it and is forbidden here, so that `--qat` has
its turn: it trains under int8's rounding on the training pictures. The table goes to benchmarks/results. The trained
graph stays in edgekit's cache.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pruning
from edgekit.errors import AccuracyFailure
from edgekit.result import Report

ALLOWED = 0.01


def uneven(net):
    """Scale the maps inside three blocks apart, and back where they are read."""
    import torch

    with torch.no_grad():
        for block in (net.layer1[1], net.layer2[1], net.layer3[1]):
            scale = torch.logspace(-4, 0, block.bn1.num_features)
            block.bn1.weight *= scale
            block.bn1.bias *= scale
            block.conv2.weight /= scale[None, :, None, None]
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=pruning.ASSETS, help="the folder of real weights and data")
    arguments = parser.parse_args()
    (pruning.WORK / "cifar10").mkdir(parents=True, exist_ok=True)
    plain = pruning.resnet20(arguments)
    subject = pruning.Subject(plain.title, uneven(plain.model), plain.options, plain.quantized)
    names = [f"{backend}/int8-static" for backend in pruning.BACKENDS]
    told = {"bench": False, "repair": False, "max_drop": ALLOWED}
    try:
        report = pruning.export(subject, "uneven-qat", names, qat=True, **told).report
    except AccuracyFailure as failure:  # the table is the finding either way
        report = Report.from_dict(json.loads(Path(failure.context["report"]).read_text()))

    original = next(c.quality.original_score for c in report.candidates if c.quality)
    packages = ", ".join(f"{name} {version}" for name, version in sorted(report.environment.packages.items()))
    page = "\n".join(
        [
            "# Quantization-aware fine-tuning: ResNet-20 with uneven maps, CIFAR-10 test images",
            "",
            f"The original scores {original:.4f}; {100 * ALLOWED:g} point may be lost. Nothing was timed: shipped is",
            "the first of those that pass.",
            "",
            *pruning.table(report),
            "",
            f"`python benchmarks/quantize_aware.py`; {packages}.",
        ]
    )
    (pruning.HERE / "results" / "quantize-aware-resnet20.md").write_text(page + "\n")
    print(page)


if __name__ == "__main__":
    main()
