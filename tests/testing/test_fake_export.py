"""The whole job on the fake plugin: plan, build, gate, measure, choose, ship; no framework, real numbers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit.api as api
from edgekit.errors import AccuracyFailure, UsageError
from edgekit.testing import fake_plugin, import_blocker
from tests.wording import mentions, raises

FEATURES = 6


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a classifier, a table that it labels itself, and three recipes."""
    monkeypatch.chdir(tmp_path)
    dice = np.random.default_rng(7)
    arrays = {
        "w0": dice.standard_normal((FEATURES, 16)),
        "b0": dice.standard_normal(16),
        "w1": dice.standard_normal((16, 2)),
        "b1": np.zeros(2),
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    names = [f"f{index}" for index in range(FEATURES)]
    described = {"weights": "weights.npz", "labels": ["no", "yes"], "features": names}
    (tmp_path / "model.json").write_text(json.dumps(described))
    rows = dice.standard_normal((120, FEATURES)).astype(np.float32)
    logits = (rows @ arrays["w0"] + arrays["b0"]).clip(min=0) @ arrays["w1"] + arrays["b1"]
    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "label"])
        writer.writerows([*map(float, row), int(label)] for row, label in zip(rows, logits.argmax(1), strict=True))
    for name, bits in (("round8", 8), ("round2", 2)):
        (tmp_path / f"{name}.toml").write_text(
            f'summary = "{bits} bits"\nprecision = "i8-dynamic"\n'
            f'[[passes]]\nname = "fake-round"\nconfig = {{ bits = {bits} }}\n'
        )
    return "fake:model.json"


def test_plan_follows_the_format_and_says_what_does_not_fit(model: str) -> None:
    with fake_plugin():
        plan = api.plan(model, candidates=["numpy/fp32", "numpy/round8.toml", "numpy/fp16", "onnxruntime/fp32"])
    problems = {candidate.name: " ".join(candidate.problems) for candidate in plan.candidates}
    assert problems["numpy/fp32"] == problems["numpy/round8"] == ""
    assert mentions(problems["numpy/fp16"], "'cast'", ("onnx", "'numpy-mlp'"))
    assert "numpy-mlp" in problems["onnxruntime/fp32"]


def test_export_ships_the_fastest_that_passes(model: str) -> None:
    with fake_plugin(), import_blocker("torch", "onnx", "onnxruntime", "openvino", "transformers", "optimum"):
        result = api.export(
            model, data="data.csv", output="out", bench_seconds=0.2,
            candidates=["numpy/fp32", "numpy/round8.toml", "numpy/round2.toml"],
        )  # fmt: skip
        code = (
            "import edgekit, numpy\n"
            "bundle = edgekit.open('out')\n"
            "with bundle.session() as session:\n"
            "    for feeds, outputs in bundle.samples():\n"
            "        for name, array in session.run(feeds).items():\n"
            "            numpy.testing.assert_allclose(array, outputs[name], atol=0.2)\n"
            "print('ran')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "ran\n", done.stderr
    fared = {candidate.name: candidate for candidate in result.report.candidates}
    assert fared["numpy/round2"].status == "failed-gate"
    assert fared["numpy/fp32"].quality.score == 1.0
    passed = [candidate for candidate in fared.values() if candidate.status in ("shipped", "passed")]
    assert {candidate.name for candidate in passed} == {"numpy/fp32", "numpy/round8"}
    fastest = min(passed, key=lambda candidate: candidate.measurement.percentiles_ms["p50"])
    assert result.report.shipped is not None
    assert result.report.shipped.name == fastest.name == "numpy/fp32", "whole-number products are slow in numpy"


def test_export_that_loses_too_much_fails_with_the_report_written(model: str) -> None:
    with fake_plugin(), pytest.raises(AccuracyFailure):
        api.export(model, data="data.csv", output="out", candidates=["numpy/round2.toml"], bench=False)


def test_unknown_file_is_a_usage_error(model: str) -> None:
    with fake_plugin(), raises(UsageError, "'none.json'", hint="fake:"):
        api.export("fake:none.json")
