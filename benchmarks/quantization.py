"""What flavours of quantization cost in quality and save in size, on real models and data. No time is measured.

    python benchmarks/quantization.py weights --minilm CHECKPOINT --stsb FOLDER --llama CHECKPOINT [--output FILE.md]
    python benchmarks/quantization.py smooth --minilm CHECKPOINT --stsb FOLDER [--output FILE.md]

Every row is a candidate of one export: gated, with its effective precision asked of the runtime. MiniLM is judged by
Spearman on STS-B's test pairs. The toy Llama, which has no labels, by the share of positions of its own greedy text at
which it names the same next token; a network of DistilBERT's size, with random weights, by its outputs' change.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgekit
from edgekit.bench import environment
from edgekit.errors import AccuracyFailure
from edgekit.report import figures
from edgekit.result.report import Candidate, Report

WEIGHTS: Mapping[str, str] = {
    "int8-asymmetric": "symmetric = false",
    "int4-block-64": "bits = 4\nblock = 64",
    "int4-block-128": "bits = 4\nblock = 128",
    "int4-plain-scale": 'bits = 4\nscale = "max"',
}
"""Settings of weight-only that differ from the built-in recipes."""

SMOOTH: Mapping[str, str] = {
    "smooth-alpha-0.5": "alpha = 0.5",
}
"""Settings of smooth that differ from the built-in recipe."""

TOKENS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("weights", "smooth"))
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--stsb", type=Path, required=True)
    parser.add_argument("--llama", type=Path)
    parser.add_argument("--max-samples", type=int, default=2000)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = _weights(chosen, Path(scratch)) if chosen.what == "weights" else _smooth(chosen, Path(scratch))
    text = "\n".join([*lines, "", *_environment()]) + "\n"
    print(text)
    if chosen.output:
        chosen.output.write_text(text)


def _weights(chosen: argparse.Namespace, scratch: Path) -> list[str]:
    own = _recipes(scratch, WEIGHTS, "weight-only", "")
    names = ("int8-weights", "int4-weights")
    both = [f"{backend}/{name}" for backend in ("onnxruntime", "openvino") for name in names]
    candidates = ["onnxruntime/fp32", *both, *(f"onnxruntime/{path}" for path in own)]
    lines = ["# Weight-only quantization", "", "## all-MiniLM-L6-v2, STS-B test", ""]
    lines += _table(_stsb(chosen, candidates, scratch / "minilm"))
    if chosen.llama:
        lines += ["", "## stories260k-llama, a language model of toy size", "", *_llama(chosen.llama, scratch)]
    return [*lines, "", "## A network of DistilBERT's size, random weights", "", *_distilbert(scratch)]


def _smooth(chosen: argparse.Namespace, scratch: Path) -> list[str]:
    own = _recipes(scratch, SMOOTH, "smooth", '\n[[passes]]\nname = "quantize-static"\n')
    names = ("fp32", "int8-static", "int8-smooth")
    report = _stsb(
        chosen,
        [*(f"onnxruntime/{name}" for name in names), *(f"onnxruntime/{path}" for path in own)],
        scratch / "minilm",
    )
    return [
        "# SmoothQuant",
        "",
        "## all-MiniLM-L6-v2, STS-B test, 300 training sentences calibrate",
        "",
        *_table(report),
    ]


def _recipes(folder: Path, settings: Mapping[str, str], name: str, rest: str) -> list[Path]:
    """Write a recipe file for each setting of the pass `name`."""
    paths = []
    for title, words in settings.items():
        path = folder / f"{title}.toml"
        path.write_text(f'summary = "{title}"\n[[passes]]\nname = "{name}"\n[passes.config]\n{words}\n{rest}')
        paths.append(path)
    return paths


def _stsb(chosen: argparse.Namespace, candidates: list[str], output: Path) -> Report:
    return _exported(
        str(chosen.minilm),
        candidates=tuple(candidates),
        data=str(chosen.stsb / "stsb-en-test.csv"),
        calibration=str(chosen.stsb / "stsb-en-train.csv"),
        max_samples=chosen.max_samples,
        output=str(output),
    )


def _exported(model: Any, **options: Any) -> Report:
    """Export without measuring or repairing, and return the report, whether something passed or not."""
    try:
        return edgekit.export(model, bench=False, repair=False, force=True, **options).report
    except AccuracyFailure as failure:
        return Report.from_dict(json.loads(Path(failure.context["report"]).read_text()))


def _table(report: Report, extra: Mapping[str, str] | None = None) -> list[str]:
    """Return a Markdown table of all candidates."""
    lines = [
        "| candidate | MB | runs in | relative L2 | score | lost, points | gate |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for candidate in report.candidates:
        quality = candidate.quality
        if quality is None:
            lines.append(f"| {candidate.name} | - | - | - | - | - | {candidate.reason} |")
            continue
        score = (extra or {}).get(candidate.name) or ("-" if quality.score is None else f"{quality.score:.4f}")
        drop = "-" if quality.drop is None else f"{100 * quality.drop:.2f}"
        gate = "-" if quality.metric is None else "passed" if quality.ok else "missed"
        size = (
            "-"
            if candidate.size_mb is None
            else f"{candidate.size_mb:.1f}"
            if candidate.size_mb >= 10
            else f"{candidate.size_mb:.2f}"
        )
        lines.append(
            f"| {candidate.name} | {size} | {_runs_in(candidate)} | {quality.rel_l2:.4f} | {score} | {drop} | {gate} |"
        )
    return lines


def _runs_in(candidate: Candidate) -> str:
    precision = figures.effective(candidate)
    packed = {
        name: count for name, count in (precision.layers if precision else {}).items() if name.endswith("-weights")
    }
    words = ", ".join(f"{count} layers on {name}" for name, count in packed.items())
    return f"{precision.main if precision else '-'}{f' ({words})' if words else ''}"


def _llama(checkpoint: Path, scratch: Path) -> list[str]:
    import onnxruntime

    names = ("fp32", "int8-weights", "int4-weights")
    bundles, scores = {}, {}
    for name in names:
        output = scratch / f"llama-{name}"
        bundles[name] = _exported(
            str(checkpoint), candidates=(f"onnxruntime/{name}",), min_agreement=0.0, output=str(output)
        )
        graph = next(output.rglob("model.onnx"))
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        if name == "fp32":
            text = _greedy(session)
        scores[f"onnxruntime/{name}"] = f"{_agreement(session, text):.1%} of next tokens"
    lines: list[str] = []
    for report in bundles.values():
        lines += _table(report, scores)[0 if not lines else 2 :]
    return lines


def _feeds(session: Any, ids: list[int]) -> dict[str, Any]:
    import numpy as np

    of = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "position_ids": [list(range(len(ids)))]}
    return {value.name: np.array(of[value.name], np.int64) for value in session.get_inputs()}


def _greedy(session: Any) -> list[int]:
    """Return the text that the model writes from its first token on."""
    ids = [1]
    while len(ids) < TOKENS:
        ids.append(int(session.run(None, _feeds(session, ids))[0][0, -1].argmax()))
    return ids


def _agreement(session: Any, ids: list[int]) -> float:
    predicted = session.run(None, _feeds(session, ids))[0][0].argmax(-1)
    return float((predicted[:-1] == ids[1:]).mean())


def _distilbert(scratch: Path) -> list[str]:
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    DistilBertModel(DistilBertConfig()).eval().save_pretrained(scratch / "distilbert")
    names = ("fp32", "int8-weights", "int4-weights")
    candidates = tuple(f"{backend}/{name}" for backend in ("onnxruntime", "openvino") for name in names)
    report = _exported(
        str(scratch / "distilbert"),
        task="feature-extraction",
        candidates=candidates,
        min_agreement=0.0,
        output=str(scratch / "exported"),
    )
    return _table(report)


def _environment() -> list[str]:
    here = environment(("edgekit", "onnxruntime", "openvino", "onnx", "torch", "transformers"))
    packages = ", ".join(f"{name} {version}" for name, version in sorted(here.packages.items()))
    return ["## Environment", "", f"- {here.host.arch}: {', '.join(here.host.isa)}", f"- {packages}"]


if __name__ == "__main__":
    main()
