"""A hint that names an option is followed: the same command with it succeeds, or is refused for another reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.errors import UsageError

pytestmark = pytest.mark.needs("onnxruntime")

OPTIONS = {"task": "task", "metric": "metric", "text-column": "text_columns", "split": "split"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with net.onnx (two numbers in, two scores out) and number.onnx (one number out), and tables."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    for name, outputs in (("net", 2), ("number", 1)):
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])],
            [numpy_helper.from_array(np.eye(2, outputs, dtype=np.float32), "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / f"{name}.onnx")
    rows = [f"{a},{b}" for a in range(4) for b in range(4)]
    colours = ("red", "green", "blue")
    tables = {
        "plain": [("a,b", ""), *((row, "") for row in rows)],
        "measured": [("a,b,target", ""), *((row, f",{number + 0.5}") for number, row in enumerate(rows))],
        "three": [("a,b,label", ""), *((row, f",{colours[n % 3]}") for n, row in enumerate(rows))],
    }
    for name, lines in tables.items():
        (tmp_path / f"{name}.csv").write_text("".join(f"{row}{label}\n" for row, label in lines))
    for split in ("train", "test"):
        (tmp_path / "splits" / split).mkdir(parents=True)
        (tmp_path / "splits" / split / "rows.csv").write_text("a,b\n1,2\n2,1\n3,3\n")
    (tmp_path / "splits" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(model: str, data: str, **options: object) -> edgekit.Result:
    return edgekit.export(
        model, data=data, output="out", candidates=["onnxruntime/fp32"], bench=False, force=True, **options
    )


def followed(hint: str) -> dict[str, str]:
    """Return the first option of ours that a hint names, with its value."""
    match = re.search(rf"--({'|'.join(OPTIONS)}) ([\w-]+)", hint)
    assert match, f"the hint names no option: {hint}"
    return {OPTIONS[match[1]]: match[2]}


@pytest.mark.parametrize(
    ("model", "data", "more"),
    [
        ("net.onnx", "plain.csv", {}),
        ("number.onnx", "measured.csv", {}),
        ("number.onnx", "measured.csv", {"task": "tabular-classification"}),
        ("net.onnx", "splits", {"task": "tabular-classification"}),
    ],
)
def test_the_option_of_the_hint_succeeds(folder: Path, model: str, data: str, more: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        export(model, data, **more)
    assert export(model, data, **more, **followed(caught.value.hint or "")).report.ok


def test_the_option_of_the_hint_leads_to_another_refusal(folder: Path) -> None:
    with pytest.raises(UsageError) as first:
        export("net.onnx", "three.csv")
    with pytest.raises(UsageError) as second:
        export("net.onnx", "three.csv", **followed(first.value.hint or ""))
    assert "--task" not in (second.value.hint or "")
    assert first.value.message != second.value.message
