"""The scripts in `benchmarks/` run as their docstrings say and write what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measuring import least

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_startup(tmp_path):
    printed = run("benchmarks/startup.py", "--runs", 2, "--output", tmp_path / "out.json")
    results = json.loads((tmp_path / "out.json").read_text())
    assert set(results["commands"]) == {"python -c pass", "import edgekit", "edgekit --help"}
    assert all(name in printed and len(results["raw_ms"][name]) == 2 for name in results["commands"])
    assert results["commands"]["import edgekit"]["median_ms"] > 1


@pytest.mark.alone
def test_overhead(tmp_path):
    onnx = pytest.importorskip("onnx")
    shape = [1, "n"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "relu.onnx")
    out = tmp_path / "out.json"

    def added_us() -> float:
        printed = run(
            "benchmarks/overhead.py", tmp_path / "relu.onnx", "--size", "n=16", "--seconds", 0.5, "--output", out
        )
        rows = json.loads(out.read_text())["rows"]
        assert [(row["backend"], row["way"]) for row in rows] == [
            (backend, way) for backend in ("onnxruntime", "openvino") for way in ("Session.run", "bound call")
        ]
        for row in rows:
            assert row["backend"] in printed and row["count"] > 100
            assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        return max(row["added_us"] for row in rows)

    assert least(added_us, 100, tries=4) < 100, "wrapping a call costs microseconds"
