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
import runpy
from pathlib import Path

import pruning
from edgekit.errors import AccuracyFailure
from edgekit.result.report import Report

ALLOWED = 0.01
NETWORKS = pruning.HERE.parent / "tests" / "e2e" / "real_networks.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=pruning.ASSETS, help="the folder of real weights and data")
    arguments = parser.parse_args()
    (pruning.WORK / "cifar10").mkdir(parents=True, exist_ok=True)
    plain = pruning.resnet20(arguments)
    uneven = runpy.run_path(str(NETWORKS))["uneven"]
    subject = pruning.Subject(plain.title, uneven(plain.model), plain.options, plain.quantized)
    names = [f"{backend}/int8-static" for backend in pruning.BACKENDS]
    options = {"bench": False, "repair": False, "max_drop": ALLOWED}
    try:
        report = pruning.export(subject, "uneven-qat", names, qat=True, **options).report
    except AccuracyFailure as failure:  # the table is the finding either way
        report = Report.from_dict(json.loads(Path(failure.context["report"]).read_text()))

    original = next(c.quality.original_score for c in report.candidates if c.quality)
    page = "\n".join(
        [
            "# Quantization-aware fine-tuning: ResNet-20 with uneven maps, CIFAR-10 test images",
            "",
            f"The original scores {original:.4f}; {100 * ALLOWED:g} point may be lost. Nothing was timed: shipped is",
            "the first of those that pass.",
            "",
            *pruning.table(report),
            "",
            f"`python benchmarks/quantize_aware.py`; {pruning.packages(report)}.",
        ]
    )
    (pruning.HERE / "results" / "quantize-aware-resnet20.md").write_text(page + "\n")
    print(page)


if __name__ == "__main__":
    main()
