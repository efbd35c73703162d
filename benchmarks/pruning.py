"""What structured pruning gains and costs, on real weights: a convolutional network and a transformer.

    python benchmarks/pruning.py resnet20 [--no-time]
    python benchmarks/pruning.py sst2 --model CHECKPOINT [--no-time]

ResNet-20 loses half of its multiply-adds, a MiniLM-based classifier of sentiments about 30 % of its heads and of its
feed-forward width; both are recovered on the training split and judged on the test split. Every candidate of both
runtimes is then measured interleaved, and the table goes to benchmarks/results. The trained graphs stay in edgekit's
cache, so a second run measures only. Without --no-time the machine should be quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgekit
from edgekit import catalog
from edgekit.cli.progress import Lines
from edgekit.result.report import Candidate, Report

HERE = Path(__file__).parent
ASSETS = Path(os.environ.get("EDGEKIT_TEST_ASSETS") or HERE.parent.parent / "shared" / "assets")
WORK = Path(os.environ.get("EDGEKIT_BENCH_DIR") or HERE / ".work").absolute() / "pruning"
BACKENDS = ("onnxruntime", "openvino")

RECIPES = {
    "resnet20": """\
summary = "half of the multiply-adds, recovered on mirrored pictures"

[[passes]]
name = "prune"

[passes.config]
ratio = 0.5
recovery = { epochs = 5, mirror = true }
""",
    "sst2": """\
summary = "30 % of heads and feed-forward width, recovered on the sentences"

[[passes]]
name = "prune"

[passes.config]
ratio = 0.3
recovery = { epochs = 3 }
""",
}
"""The recipe of each model; its int8 form is calibrated afterwards."""


@dataclass(frozen=True)
class Subject:
    """A model, and what `edgekit.export` is told of it."""

    title: str
    model: Any
    options: dict[str, Any]
    quantized: dict[str, str]
    """The recipe of int8 that suits it, by backend."""


def resnet20(arguments: argparse.Namespace) -> Subject:
    for split in ("train", "test"):
        if not (WORK / "cifar10" / split).is_dir():
            aside = WORK / "cifar10" / f".{split}"
            with tarfile.open(arguments.assets / "data-cifar10" / f"{split}.tar.gz") as archive:
                archive.extractall(aside, filter="data")
            aside.rename(WORK / "cifar10" / split)
    processor = WORK / "preprocessor_config.json"
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    processor.write_text(json.dumps(settings))
    net = runpy.run_path(str(HERE.parent / "tests" / "nets.py"))["resnet20"]
    options = {
        "task": "image-classification",
        "processor": processor,
        "inputs": ("images:f32[batch,3,32,32]",),
        "data": WORK / "cifar10" / "test",
        "calibration": WORK / "cifar10" / "train",
        "train": WORK / "cifar10" / "train",
    }
    weights = arguments.assets / "resnet-cifar10" / "resnet20.safetensors"
    return Subject("ResNet-20, CIFAR-10 test images", net(weights), options, dict.fromkeys(BACKENDS, "int8-static"))


def sst2(arguments: argparse.Namespace) -> Subject:
    if arguments.model is None:
        raise SystemExit("name a fine-tuned checkpoint with --model")
    tables = {}
    for split in ("train", "test"):
        tables[split] = WORK / "sst2" / f"{split}.tsv"
        tables[split].parent.mkdir(parents=True, exist_ok=True)
        lines = (arguments.assets / "data-sst2" / f"{split}.tsv").read_text().splitlines()
        tables[split].write_text("sentence\tlabel\n" + "".join(f"{line}\n" for line in lines if "\t" in line))
    options = {"data": tables["test"], "calibration": tables["train"], "train": tables["train"]}
    quantized = {"onnxruntime": "int8-dynamic", "openvino": "int8-nncf"}
    return Subject("MiniLM classifier, SST-2 test sentences", arguments.model, options, quantized)


MODELS: dict[str, Callable[[argparse.Namespace], Subject]] = {"resnet20": resnet20, "sst2": sst2}


def candidates(name: str, subject: Subject) -> list[str]:
    """Write the recipe, alone and with what quantizes afterwards; name all that is tried, by backend."""
    plain = WORK / f"{name}-pruned.toml"
    plain.write_text(RECIPES[name])
    names = []
    for backend in BACKENDS:
        usual = subject.quantized[backend]
        small = WORK / f"{name}-pruned-{usual}.toml"
        (step,) = catalog.recipe(usual).passes
        small.write_text(f'{RECIPES[name]}\n[[passes]]\nname = "{step.name}"\n')
        names += [f"{backend}/{recipe}" for recipe in ("fp32", usual, plain, small)]
    return names


def export(subject: Subject, output: str, names: list[str], **more: Any) -> Any:
    return edgekit.export(
        subject.model, output=WORK / output, force=True, progress=Lines(sys.stderr), candidates=names,
        max_samples=10_000, **subject.options, **more,
    )  # fmt: skip


def p50(candidate: Candidate) -> float | None:
    measured = candidate.measurement
    return measured.percentiles_ms.get("p50", measured.mean_ms) if measured else None


def table(report: Report) -> list[str]:
    lines = [
        "| candidate | status | score | drop | p50 ms | against the same runtime's fp32 | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    floats = {c.backend: p50(c) for c in report.candidates if c.recipe == "fp32"}
    for c in report.candidates:
        quality, time, base = c.quality, p50(c), floats.get(c.backend)
        cells = [
            c.name,
            c.status,
            f"{quality.score:.4f}" if quality and quality.score is not None else "-",
            f"{quality.drop:+.4f}" if quality and quality.drop is not None else "-",
            f"{time:.3f}" if time else "-",
            f"{base / time:.2f}x" if time and base else "-",
            f"{c.size_mb:.2f}" if c.size_mb else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def packages(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(report.environment.packages.items()))


def noise(report: Report) -> list[str]:
    """Return how quiet the machine was."""
    noises = {c.name: c.measurement.noise for c in report.candidates if c.measurement}
    noisy = {name: measured.reasons for name, measured in noises.items() if measured.noisy}
    if not noisy:
        return ["The machine was quiet."]
    name, reasons = next(iter(noisy.items()))
    return [f"The machine was not quiet for {len(noisy)} of {len(noises)}, as for {name}: {'; '.join(reasons)}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--model", type=Path, help="the fine-tuned checkpoint, for sst2")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="the folder of real weights and data")
    parser.add_argument("--seconds", type=float, default=5.0, help="the least time to measure each candidate for")
    parser.add_argument("--no-time", action="store_true", help="train and judge only")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "cifar10").mkdir(exist_ok=True)
    subject = MODELS[arguments.name](arguments)
    names = candidates(arguments.name, subject)

    # One alone first: its bundle's lineage says what went, whatever is shipped when all are measured.
    alone = export(subject, f"{arguments.name}-pruned", [names[2]], bench=False)
    lineage = next(step for step in alone.bundle.manifest.lineage if step.name == "prune")
    measured = {"bench": False} if arguments.no_time else {"bench_seconds": arguments.seconds}
    report = export(subject, f"{arguments.name}-all", names, **measured).report

    title = f"# Pruning: {subject.title}"
    original = next(c.quality.original_score for c in report.candidates if c.quality)
    facts = [f"The original scores {original:.4f}.", "", *(f"- {note}" for note in lineage.notes)]
    used = ["The recipe:", "", "```toml", RECIPES[arguments.name].strip(), "```"]
    host = report.environment.host
    about = [f"{host.cpu or host.arch}; {packages(report)}.", "", *noise(report)]
    if arguments.no_time:
        about = ["Nothing was timed: the candidate that is called shipped is the first of those that pass."]
    page = "\n".join([title, "", *facts, "", *table(report), "", *used, "", *about]) + "\n"
    (HERE / "results" / f"pruning-{arguments.name}.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
