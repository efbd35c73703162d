"""The benchmark on the real runtimes: a small network in ONNX, built and opened by each installed plugin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.bench import Entry, Settings, Worker, benchmark, faster
from edgekit.model import Model, Part
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import load

BACKENDS = ("onnxruntime", "openvino")
SHORT = Settings(min_seconds=0.5, min_count=64, max_seconds=3, round_ms=50, warmup_max_seconds=2, profile=True)
X, Y = TensorSpec.parse("x:f32[1,256]"), TensorSpec.parse("y:f32[1,64]")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Write y = relu(x @ a) @ b as ONNX."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("network")
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.standard_normal((256, 256), np.float32) / 16,
        "b": rng.standard_normal((256, 64), np.float32) / 16,
    }
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [make("MatMul", ["x", "a"], ["h"]), make("Relu", ["h"], ["r"]), make("MatMul", ["r", "b"], ["y"])],
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, Y.shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return Model("onnx", (Part("model", "model.onnx", (X,), (Y,)),), folder=folder)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 256), np.float32)


def built(name: str, network: Model, folder: Path) -> Payload:
    backend = registry.backend(name)
    if problems := backend.probe().problems:
        pytest.skip(f"{name}: {'; '.join(problems)}")
    folder.mkdir()
    built = backend.build(network, load("host"), {}, folder)
    return Payload(folder, built.files, network.part, built.options)


def test_both_runtimes_are_measured_interleaved(network, x, tmp_path):
    entries = [Entry(name, name, built(name, network, tmp_path / name), {"x": x}) for name in BACKENDS]
    outcomes = benchmark(entries, SHORT)
    for outcome in outcomes:
        assert outcome.ok, outcome.fault
        measurement = outcome.measurement
        assert measurement.count >= 64 and 0 < measurement.percentiles_ms["p50"] <= measurement.percentiles_ms["p90"]
        assert measurement.precision.main in {"f32", "bf16"}
        assert measurement.cold_start.import_ms > measurement.cold_start.first_inference_ms
        assert measurement.threads == host.probe().cores
        assert 20 < measurement.peak_memory_mb < 2000
        assert any("MatMul" in layer.kind or "FullyConnected" in layer.kind for layer in outcome.layers), outcome.layers
    assert faster(*outcomes).pairs >= 5


@pytest.mark.parametrize("name", BACKENDS)
def test_outputs_of_the_other_process_are_right_and_need_no_framework(name, network, x, tmp_path, monkeypatch):
    payload = built(name, network, tmp_path / name)
    poison = tmp_path / "poison"
    poison.mkdir()
    for module in ("torch", "transformers", "optimum", "onnx"):
        (poison / f"{module}.py").write_text(f"raise SystemExit('{module} was imported')\n")
    onnx = pytest.importorskip("onnx")
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(network.graph).graph.initializer]
    expected = np.maximum(x @ weights[0], 0) @ weights[1]
    monkeypatch.syspath_prepend(str(poison))
    with Worker(name) as worker:
        worker.open(payload, {"x": x})
        worker.round(10)
        outputs = worker.run({"x": x})["y"]
        tolerance = 0.05 if worker.precision().main == "bf16" else 1e-4
    np.testing.assert_allclose(outputs, expected, atol=tolerance)
