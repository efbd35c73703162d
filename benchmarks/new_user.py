"""Follow a new user: sentiment, X-ray and credit default, by commands as they are typed, beside scikit-learn's own AUC.

    export EDGEKIT_TEST_ASSETS=.../assets
    python benchmarks/new_user.py [--jobs credit,xray,sentiment] [--output benchmarks/results/new-user.md]

The models are trained here: gradient boosting and a multilayer perceptron by scikit-learn, written by skl2onnx with and
without a ZipMap; a small network on chest X-rays, as a module and as an ONNX file; a head on a real sentence encoder.
scikit-learn and skl2onnx are in an environment of their own, which is made on first use. Both AUCs are of the same
samples and must be equal to four digits; the script fails where they are not. No time is measured.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import newcomer
from models.place import BENCHMARKS, assets, work
from suite import tools

AGREE = 5e-5
"""Half of the last of four digits."""


@dataclass(frozen=True)
class Journey:
    """One model, the options after `edgekit export`, and what the framework that trained it says."""

    title: str
    model: str
    options: tuple[str, ...]
    expected: float
    sample: str
    answer: str
    """What `edgekit run` is given, and what the original answers to it."""


def credit(folder: Path) -> Iterator[Journey]:
    """Write the table's halves and train on one, in scikit-learn's environment."""
    python = tools.python_of("sklearn")
    command = [python, str(BENCHMARKS / "models" / "newcomer_sklearn.py"), str(assets("data-uci-credit")), str(folder)]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for name, fact in facts.items():
        options = ("--data", "test.csv", "--calibration-data", "train.csv", "--label-column", "Y", "--metric", "auc",
                   "--max-samples", "10000")  # fmt: skip
        yield Journey(fact["title"], name, options, fact["auc"], fact["row"], f"{fact['score']:.4f}")


def xray(folder: Path) -> Iterator[Journey]:
    """Train a small network, and write the pictures into class folders."""
    scores, labels, first = newcomer.xray(assets("data-pneumonia-subset") / "pneumoniamnist.npz", folder)
    shared = ("--data", "xrays/test", "--calibration-data", "xrays/val", "--processor", "processor", "--metric", "auc")
    answer = f"{max(scores[0], 1 - scores[0]):.4f}"
    module = (*shared, "--input", "images:f32[N,1,28,28]")
    expected = sklearn_auc(folder, scores, labels)
    yield Journey("a module with two outputs", "xray_net:net", module, expected, first, answer)
    yield Journey("the same as an ONNX file", "xray.onnx", shared, expected, first, answer)
    one = (*shared, "--task", "image-classification")
    yield Journey("an ONNX file with one probability", "xray_one.onnx", one, expected, first, answer)


def sentiment(folder: Path) -> Iterator[Journey]:
    """Train a head on the encoder."""
    scores, labels, first = newcomer.sentiment(folder)
    options = ("--data", "dev.csv", "--calibration-data", "train.csv", "--metric", "auc", "--backend", "onnxruntime")
    answer = f"{max(scores[0], 1 - scores[0]):.4f}"
    expected = sklearn_auc(folder, scores, labels)
    yield Journey("a head on MiniLM, as a checkpoint", "checkpoint", options, expected, first, answer)


JOBS: dict[str, Callable[[Path], Iterator[Journey]]] = {"credit": credit, "xray": xray, "sentiment": sentiment}


def sklearn_auc(folder: Path, scores: np.ndarray, labels: np.ndarray) -> float:
    """Return scikit-learn's AUC of scores."""
    np.savez(folder / "scores.npz", scores=scores, labels=labels)
    code = "import sys, numpy; from sklearn.metrics import roc_auc_score; z = numpy.load(sys.argv[1]); " \
           "print(repr(float(roc_auc_score(z['labels'], z['scores']))))"  # fmt: skip
    command = [tools.python_of("sklearn"), "-c", code, str(folder / "scores.npz")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def follow(job: str, path: Journey, folder: Path) -> dict[str, object]:
    """Run the three commands of a user, and return a row of the table with what they printed."""
    out = folder / "out"
    export = ["edgekit", "export", path.model, *path.options, "--no-bench", "--force", "-o", "out"]
    verify = ["edgekit", "verify", "out", "--data", path.options[1], *_columns(path.options)]
    _edgekit(export, folder)
    report = json.loads((out / "report.json").read_text())
    shipped = next(c for c in report["candidates"] if c["status"] == "shipped")
    _edgekit(verify, folder)
    answer = json.loads(_edgekit(["edgekit", "run", "out", path.sample, "--json"], folder))["answer"]
    quality = shipped["quality"]
    row = {
        "job": job, "model": path.title, "scikit-learn": path.expected, "edgekit": quality["original_score"],
        "shipped": shipped["name"], "its score": quality["score"], "samples": quality["labelled"],
        "answer": f"{answer['score']:.4f}", "expected": path.answer,
        "commands": [shlex.join(command) for command in (export, verify)], "notes": report["notes"],
    }  # fmt: skip
    print(f"{job}, {path.title}: scikit-learn {path.expected:.4f}, edgekit {quality['original_score']:.4f}")
    return row


def _columns(options: tuple[str, ...]) -> list[str]:
    return [word for at, name in enumerate(options) if name in ("--label-column", "--max-samples")
            for word in options[at : at + 2]]  # fmt: skip


def _edgekit(command: list[str], folder: Path) -> str:
    words = [sys.executable, "-m", "edgekit.cli", *command[1:]]
    done = subprocess.run(words, cwd=folder, env=tools.variables(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def page(rows: list[dict[str, object]]) -> str:
    """Return the table, and the commands with the notes of their reports."""
    lines = ["# The path of a new user", "", "AUC of the original as edgekit reports it, beside scikit-learn's own on "
             "the same samples, and the bundle's answer to one sample beside the original's. Made by "
             "`python benchmarks/new_user.py`; nothing was timed.", "",
             "| job | model | samples | scikit-learn | edgekit | shipped | its AUC | answer | the original's |",
             "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"]  # fmt: skip
    lines += [
        f"| {row['job']} | {row['model']} | {row['samples']} | {row['scikit-learn']:.4f} | {row['edgekit']:.4f} "
        f"| {row['shipped']} | {row['its score']:.4f} | {row['answer']} | {row['expected']} |"
        for row in rows
    ]
    for row in rows:
        lines += ["", f"## {row['job']}: {row['model']}", "", *(f"    {command}" for command in row["commands"]), ""]  # type: ignore[union-attr, attr-defined]
        lines += [f"- {note}" for note in row["notes"]]  # type: ignore[attr-defined]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for job in arguments.jobs.split(","):
        folder = work() / "new-user" / job
        folder.mkdir(parents=True, exist_ok=True)
        rows += [follow(job, path, folder) for path in JOBS[job](folder)]
    if arguments.output:
        arguments.output.write_text(page(rows))
    print(page(rows))
    if wrong := [row["model"] for row in rows if abs(float(row["edgekit"]) - float(row["scikit-learn"])) > AGREE]:  # type: ignore[arg-type]
        raise SystemExit(f"the two AUCs differ: {', '.join(map(str, wrong))}")


if __name__ == "__main__":
    main()
