"""A metric of the user's own decides the export, whatever the task, and is imported only where it is computed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgekit
from edgekit.errors import AccuracyFailure, UsageError
from tests.wording import raises

NEAR = """\
import numpy as np


def near(outputs, labels):
    assert all(set(one) == {"y"} and one["y"].shape == (1, 2, 3) for one in outputs)
    return 1 - float(np.mean([np.abs(one["y"][0] - label).max() > LIMIT for one, label in zip(outputs, labels)]))


def broken(outputs, labels):
    return outputs[0]["z"]


def nothing(outputs, labels):
    return float("nan")


number = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a graph without a known task, whose labels are arrays: its outputs in exact arithmetic."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    dice = np.random.default_rng(0)
    weights = dice.standard_normal((4, 3)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    values = [helper.make_tensor_value_info(name, 1, [1, 2, size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph([node], "graph", values[:1], values[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), "m.onnx")
    x = dice.standard_normal((40, 2, 4)).astype(np.float32)
    np.savez("data.npz", x=x, label=x @ weights)
    return tmp_path


def export(place: Path, name: str, limit: float = 4.0, metric: str = "near", **options):
    (place / f"{name}.py").write_text(NEAR.replace("LIMIT", str(limit)))
    settings = {"candidates": ["onnxruntime/int8-static"], "bench": False, "repair": False, **options}
    return edgekit.export("m.onnx", data="data.npz", metric=f"{name}:{metric}", output="out", force=True, **settings)


def test_it_decides_instead_of_the_outputs(place: Path) -> None:
    kind = export(place, "kind_metric").report.shipped
    assert (kind.quality.metric, kind.quality.score, kind.quality.original_score) == ("kind_metric:near", 1.0, 1.0)
    assert kind.quality.labelled == 32 and kind.quality.cosine < 1
    with raises(AccuracyFailure, "strict_metric:near", re.compile(r" 0\.\d+ .*1\.0000")):
        export(place, "strict_metric", limit=1e-3)


def test_another_code_is_another_metric(place: Path) -> None:
    export(place, "changing_metric")
    (place / "changing_metric.py").unlink()
    import sys

    del sys.modules["changing_metric"]
    with pytest.raises(AccuracyFailure):
        export(place, "changing_metric", limit=1e-4)  # longer, so that no old bytecode fits it


def test_a_bundle_runs_without_it_and_is_verified_with_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    export(place, "gone_metric")
    text = (place / "gone_metric.py").read_text()
    (place / "gone_metric.py").unlink()
    del sys.modules["gone_metric"]
    bundle = edgekit.open("out")
    assert edgekit.verify("out").ok
    assert bundle.task().answer([{"y": np.zeros((1, 2, 3))}])
    with raises(UsageError, "'gone_metric'", "'gone_metric:near'"):
        edgekit.verify("out", data="data.npz")
    (place / "gone_metric.py").write_text(text)
    seen = edgekit.verify("out", data="data.npz")
    assert seen.candidates[0].quality.score == 1.0 and seen.ok


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("broken", ["'faulty:broken'", "KeyError: 'z'", "faulty.py, line 10"]),
        ("nothing", ["'faulty:nothing'", "nan"]),
        ("nera", ["'faulty'", ("'nera'", "'near'")]),
        ("number", ["'faulty:number'", "int"]),
    ],
)
def test_its_faults_are_reported(place: Path, metric: str, told: str) -> None:
    with raises(UsageError, told) as refused:
        export(place, "faulty", metric=metric)
    assert refused.value.hint


def test_a_task_of_ours_can_be_scored_by_it(place: Path) -> None:
    (place / "share.py").write_text(
        "def right(outputs, labels):\n"
        "    return sum(next(iter(o.values()))[0].argmax() == l for o, l in zip(outputs, labels)) / len(labels)\n"
    )
    options = {"candidates": ["onnxruntime/int8-static"], "bench": False, "force": True, "output": "out"}
    options |= {"max_samples": 100, "calibration_samples": 20}
    usual = edgekit.export("digits", **options).report.shipped.quality
    own = edgekit.export("digits", metric="share:right", **options).report.shipped.quality
    assert (own.score, own.original_score, own.agreement) == (usual.score, usual.original_score, usual.agreement)
