"""An export that trains is killed at random moments, and run again it comes to the very same models."""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import edgekit

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.nightly, pytest.mark.needs("optimum.onnxruntime")]

ROOT = Path(__file__).parent.parent.parent
BARS = ROOT / "tests" / "passes" / "bars.py"
PATIENCE_S = 300


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "killed_bars.py").write_text(BARS.read_text())
    bars = runpy.run_path(str(BARS))
    for name, count, seed in (("val", 200, 7), ("train", 1024, 8)):
        images, labels = bars["pictures"](count, seed)
        np.savez(tmp_path / f"{name}.npz", x=images, label=labels)
    return tmp_path


EXPORT = (
    "killed_bars:uneven", "--data", "val.npz", "--train", "train.npz", "--metric", "accuracy", "--no-bench",
    "--task", "image-classification", "--candidate", "onnxruntime/int8-qat", "--max-drop", "50%",
)  # fmt: skip


def start(place: Path, output: str, cache: str) -> subprocess.Popen:
    environment = {**os.environ, "EDGEKIT_CACHE_DIR": str(place / cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "edgekit.cli", "export", *EXPORT, "--output", output, "--quiet"]
    return subprocess.Popen(command, cwd=place, env=environment, start_new_session=True)


def finish(place: Path, output: str, cache: str) -> tuple[str, dict]:
    """Run to the end; give the digest of what ships and every candidate's quality."""
    process = start(place, output, cache)
    assert process.wait(timeout=PATIENCE_S) == 0
    bundle = edgekit.open(place / output)
    return bundle.manifest.digest, {c.name: c.quality.to_dict() for c in bundle.report().candidates}


def reached(place: Path, cache: str) -> int:
    """Return the training steps that the checkpoint has: 0 before the first, -1 when the training is whole."""
    if list((place / cache / "partial").glob("*/*.result")):
        return -1
    files = list((place / cache / "partial").glob("*/*.checkpoint"))
    return torch.load(files[0], weights_only=True)["step"] if files else 0


def test_a_killed_training_comes_to_the_same_models(place: Path) -> None:
    whole = finish(place, "whole", "cache-whole")
    chance = random.Random(3)
    steps, each_epoch = [0], 1024 // 32
    for _ in range(2):
        process = start(place, "broken", "cache")
        end = time.monotonic() + PATIENCE_S
        # Let it get beyond what it had, and some chance further.
        while process.poll() is None and time.monotonic() < end and 0 <= reached(place, "cache") <= steps[-1]:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
        assert not (place / "broken").exists(), "it had ended before it was killed"
        steps.append(reached(place, "cache"))
        if steps[-1] < 0:
            break
        assert steps[-1] > steps[-2] and steps[-1] % each_epoch == 0, "it went on from its last epoch"
    assert steps[1] > 0, "one kill at least hit the training"
    assert finish(place, "broken", "cache") == whole


def test_the_benchmark_of_kills_says_what_they_cost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/kill_and_resume.py", "--times", "1", "--output", tmp_path / "found.json", "--",
         "digits", "--candidate", "onnxruntime/fp32", "--max-samples", "50", "--no-bench"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| killed at, s | during | result equal |" in done.stdout
    (trial,) = json.loads((tmp_path / "found.json").read_text())["trials"]
    assert trial["equal"] and trial["remade"] == 0
