"""What can be known of NVIDIA devices without one: exports for Jetson boards and RTX cards, and the compiler's word.

    python benchmarks/tensorrt_evidence.py [--models minilm-32,resnet20,fastestdet,resnet50] [--output FILE]

Each model is exported for each target; nothing is measured, as no target is here. The gate runs the graph that ships on
ONNX Runtime's CPU kernels. Of each bundle's graph TensorRT for RTX is asked once more, for its seconds and memory. What
is done is kept in FILE.json: an interrupted run goes on where it was. FILE.md has the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan
from edgekit_tensorrt.preflight import check

import edgekit
from edgekit import catalog
from edgekit.cli.progress import Lines
from edgekit.errors import AccuracyFailure, EdgekitError, UnsupportedError
from edgekit.result.report import Report
from models.catalogue import prepare
from models.place import BENCHMARKS, work
from models.subject import Subject

MODELS = "minilm-32,resnet20,fastestdet,resnet50"
JETSONS = ("jetson", "jetson-orin-nano", "jetson-thor")
CARDS = ("nvidia-rtx:8.6", "nvidia-rtx:8.9", "nvidia-rtx:12.0")
SAMPLES = {"max_samples": 100, "calibration_samples": 32}
"""Enough to see a graph that answers wrong; `peers.py` judges these models on all of their samples."""

RANDOM = {"min_agreement": 0.0, "max_samples": 4, "calibration_samples": 8}
"""Random weights have no quality to lose."""

OPTIONS = {
    "minilm-32": {
        "data": "evaluation.csv", "calibration": "calibration.csv", "text_columns": ["a", "b"], "label_column": "score",
        "shapes": {"sequence": 32},
    },
    "fastestdet": {"data": "evaluation-inputs.npz"},
    "resnet50": {**RANDOM, "shapes": {"height": 224, "width": 224}},
}  # fmt: skip
"""What `edgekit.export` is told of a model beside its own samples."""


COLUMNS = (
    "model", "target", "shipped", "bundle", "evidence", "compiler's verdict", "products", "layers", "gate", "compile",
    "peak memory",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results" / "tensorrt-evidence")
    chosen = parser.parse_args()
    file = chosen.output.with_suffix(".json")
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"rows": {}, "refused": None}
    for name in chosen.models.split(","):
        for goal in (*JETSONS, *CARDS):
            key = f"{name} {goal}"
            if key not in results["rows"]:
                results["rows"][key] = {"model": name, "target": goal, **exported(name, goal)}
                write(results, chosen.output)
    results["refused"] = results["refused"] or refused()
    write(results, chosen.output)
    print(chosen.output.with_suffix(".md").read_text())


def exported(name: str, goal: str) -> dict[str, Any]:
    """Export one model for one target and return its row."""
    folder = prepare(name)
    subject = Subject.load(folder)
    options: dict[str, Any] = {"data": "evaluation.npz", "calibration": "calibration.npz", **SAMPLES}
    options |= OPTIONS.get(name, {})
    options |= {key: str(folder / options[key]) for key in ("data", "calibration")}
    output = work() / "tensorrt" / f"{name}-{goal.replace(':', '-')}"
    started = time.monotonic()
    try:
        result = edgekit.export(
            subject.reference, target=goal, task=subject.task, output=output, force=True, bench=False, repair=False,
            backends=("tensorrt",), progress=Lines(sys.stderr), **options,
        )  # fmt: skip
    except AccuracyFailure as failure:
        return {"failure": failure.message, "candidates": candidates(Report.load(Path(failure.context["report"])))}
    except UnsupportedError as failure:
        return {"failure": failure.message}
    seconds = round(time.monotonic() - started, 1)
    manifest = result.bundle.manifest
    shipped = result.report.shipped
    quality = shipped.quality if shipped else None
    payload = output / "model"
    asked = check(payload / GRAPH, BuildPlan.load(payload / PLAN), catalog.target(goal))
    return {
        "recipe": manifest.recipe,
        "evidence": manifest.evidence,
        "portable": manifest.portable,
        "bundle_mb": round(sum(entry.bytes for entry in manifest.files) / 1e6, 2),
        "engine_mb": asked.engine_mb,
        "deviation": manifest.deviation,
        "gate": [entry.to_dict() for entry in quality.checks] if quality else [],
        "candidates": candidates(result.report),
        "preflight": asked.to_dict(),
        "export_seconds": seconds,
    }


def candidates(report: Report) -> list[dict[str, str]]:
    return [
        {"name": candidate.name, "status": candidate.status, "reason": candidate.reason}
        for candidate in report.candidates
    ]


def refused() -> dict[str, Any]:
    """Export a model for a Jetson whose operators no TensorRT has, and return the message that a user sees."""
    from onnx import TensorProto, helper, save

    # A pose network's head: the determinant tells a rotation from a mirror image, Unique counts the classes.
    nodes = [
        helper.make_node("Relu", ["points"], ["positive"], "/body/relu"),
        helper.make_node("Det", ["positive"], ["volume"], "/head/det"),
        helper.make_node("Unique", ["volume"], ["classes"], "/head/unique"),
    ]
    ends = [helper.make_tensor_value_info("points", TensorProto.FLOAT, [4, 3, 3])]
    outs = [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["classes"])]
    proto = helper.make_model(helper.make_graph(nodes, "pose", ends, outs), opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    file = work() / "pose.onnx"
    save(proto, file)
    try:
        edgekit.export(
            file, target="jetson", recipe="fp32", output=work() / "tensorrt" / "pose", backends=("tensorrt",)
        )
    except EdgekitError as failure:
        return {"exit_code": failure.exit_code, "message": failure.message, "hint": failure.hint}
    raise SystemExit("the model that cannot run was exported.")


def write(results: Mapping[str, Any], output: Path) -> None:
    """Write what is known so far, as a record and as a page."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    output.with_suffix(".md").write_text("\n".join(page(results)) + "\n")


def page(results: Mapping[str, Any]) -> list[str]:
    compilers = sorted({row["preflight"]["compiler"] for row in results["rows"].values() if "preflight" in row})
    lines = [
        "# TensorRT without a GPU",
        "",
        f"Compiled by {', '.join(compilers)} on a processor, without GPU or driver: nothing here has run on an NVIDIA",
        "device. Jetson rows are preflights on a sibling SM whose engine is thrown away: the bundle is finished on its",
        "board. RTX rows ship the engine. The gate ran the graph that ships on ONNX Runtime's CPU kernels, on at most",
        f"{SAMPLES['max_samples']} samples. ResNet-50 has random weights: it tells of the compile alone.",
        "Seconds are of a processor with 2 busy cores. A model or target without a row was not exported yet.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{' --- |' * len(COLUMNS)}",
        *(line(row) for row in results["rows"].values()),
    ]
    lost = [
        f"- {row['model']} for {row['target']}, {candidate['name']}: {candidate['status']}: {candidate['reason']}"
        for row in results["rows"].values()
        for candidate in row.get("candidates", ())
        if candidate["status"] in ("failed-gate", "build-failed", "unsupported")
    ]
    lines += ["", "## Candidates that are not shipped", "", *(lost or ["None failed."])]
    if results["refused"]:
        message = [results["refused"]["message"], f"hint: {results['refused']['hint']}"]
        lines += ["", f"## A model that cannot run there: exit code {results['refused']['exit_code']}", ""]
        lines += [f"    {text}" for text in "\n".join(message).splitlines()]
    return lines


def line(row: Mapping[str, Any]) -> str:
    if "preflight" not in row:
        return f"| {row['model']} | {row['target']} | nothing: {row['failure'].splitlines()[0]} |" + " |" * (
            len(COLUMNS) - 3
        )
    asked = row["preflight"]
    sm = f"SM {asked['sm']}{', a sibling' if asked['sibling'] else ''}"
    kinds = asked["precision"]["layers"] if asked["precision"] else {}
    gate = "; ".join(rule["meaning"] for rule in row["gate"]) or f"deviation {row['deviation']:.4f}"
    cells = [
        row["model"], row["target"], row["recipe"], f"{row['bundle_mb']:.1f} MB",
        f"{row['evidence']}{', portable' if row['portable'] else ''}", f"{asked['verdict']} for {sm}",
        "; ".join([*asked["differs"], *asked["as_asked"]]),
        ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
        gate, f"{asked['seconds']:.1f} s", f"{asked['peak_memory_mb']:.0f} MB",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
