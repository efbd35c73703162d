"""Whose records travel in a bundle: samples of the data, random inputs, or none; and what verify makes of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from edgekit.errors import ArtifactError, UsageError
from edgekit.project import Project
from tests.wording import mentions, raises

pytestmark = pytest.mark.needs("onnxruntime")

ROWS = 24


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of two classes, and labelled rows of one patient each, far from zero."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("net")
    generator = np.random.default_rng(3)
    weight = generator.normal(size=(6, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "layer")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    rows = (generator.normal(size=(ROWS, 6)) + 5).astype(np.float32)
    np.savez(folder / "patients.npz", x=rows, label=(rows @ weight).argmax(1))
    return folder


def export(net: Path, output: Path, **options: object) -> edgekit.Result:
    settings = {"task": "tabular-classification", "metric": "accuracy", "candidates": ["onnxruntime/fp32"]}
    return edgekit.export(
        net / "net.onnx", data=net / "patients.npz", output=output, bench=False, **{**settings, **options}
    )


def stored(result: edgekit.Result) -> list[np.ndarray]:
    return [feeds["x"] for feeds, _ in result.bundle.samples()]


def in_data(net: Path, rows: list[np.ndarray]) -> int:
    """Return how many of the rows are in the data."""
    data = np.load(net / "patients.npz")["x"]
    return sum(any(np.array_equal(row.reshape(-1), known) for known in data) for row in rows)


def inspected(bundle: Path) -> str:
    text = CliRunner().invoke(cli, ["inspect", str(bundle)]).output
    return next(line for line in text.splitlines() if line.strip().startswith("samples"))


def test_samples_of_the_data_are_told_by_the_report_and_by_inspect(net: Path, tmp_path: Path) -> None:
    result = export(net, tmp_path / "out")
    assert in_data(net, stored(result)) == 4
    note = next(note for note in result.report.notes if "travel" in note)
    assert mentions(note, "4", "patients.npz", "--samples synthetic or none")
    assert (result.report.data.stored_samples, Path(result.report.data.stored or "").name) == (4, "patients.npz")
    assert mentions(inspected(tmp_path / "out"), "4", "patients.npz")
    assert edgekit.verify(tmp_path / "out").ok


def test_a_number_of_samples(net: Path, tmp_path: Path) -> None:
    assert len(stored(export(net, tmp_path / "out", samples=7))) == 7
    assert edgekit.verify(tmp_path / "out").ok


def test_none_leaves_no_record_and_verify_needs_data(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export(net, out, samples="none")
    assert stored(result) == [] and not list(out.glob("samples/*"))
    assert any(mentions(note, "no sample travels", "--data") for note in result.report.notes)
    assert mentions(inspected(out), "none", "--data")
    with raises(UsageError, "no samples", hint="--data"):
        edgekit.verify(out)
    report = edgekit.verify(out, data=net / "patients.npz")
    assert report.ok and report.candidates[0].quality.samples == 0
    with raises(ArtifactError, "no stored samples", hint="--samples synthetic"):
        edgekit.benchmark(out, seconds=0.1)


@pytest.mark.parametrize("candidate", ["onnxruntime/fp32", "onnxruntime/int8-static"])
def test_random_inputs_leave_no_record_and_prove_the_bundle(net: Path, tmp_path: Path, candidate: str) -> None:
    out = tmp_path / "out"
    result = export(net, out, samples="synthetic", candidates=[candidate], max_drop=0.4)
    assert len(stored(result)) == 4 and in_data(net, stored(result)) == 0
    assert any(mentions(note, "4 random inputs", "no sample of the data") for note in result.report.notes)
    assert mentions(inspected(out), "4 random inputs")
    assert edgekit.verify(out).ok
    assert result.report.data.stored == "synthetic"


def test_random_inputs_are_compared_with_the_original(net: Path, tmp_path: Path) -> None:
    """The original's outputs are stored, not the artifact's: other weights fail."""
    result = export(net, tmp_path / "out", samples="synthetic")
    weight = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    for feeds, outputs in result.bundle.samples():
        np.testing.assert_allclose(outputs["y"], feeds["x"] @ weight, rtol=1e-5)


def test_without_data_random_inputs_travel(net: Path, tmp_path: Path) -> None:
    result = edgekit.export(net / "net.onnx", output=tmp_path / "out", bench=False, candidates=["onnxruntime/fp32"])
    assert any(mentions(note, "4 random inputs travel") for note in result.report.notes)
    assert mentions(inspected(tmp_path / "out"), "4 random inputs")


@pytest.mark.parametrize(("samples", "fact"), [("nothing", "'nothing'"), (0, "0"), (-2, "-2")])
def test_what_is_not_possible(samples: int | str, fact: str) -> None:
    with raises(UsageError, fact, hint="none"):
        Project(samples=samples)


def test_the_option_takes_a_number_or_a_word(net: Path, tmp_path: Path) -> None:
    argv = ["export", str(net / "net.onnx"), "--no-bench", "--candidate", "onnxruntime/fp32", "--dry-run"]
    for given, written in (("3", "samples = 3"), ("none", 'samples = "none"')):
        assert written in CliRunner().invoke(cli, [*argv, "--samples", given]).output
