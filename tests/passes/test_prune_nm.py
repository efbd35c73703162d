"""N:M sparsity: the pattern, what stays dense, and that zeros stay zero in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.passes.prune.n_of_m import PruneNM, keep_largest
from edgekit.passes.quantize.static import QuantizeStatic
from tests.wording import mentions, raises


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def most_non_zeros(array: np.ndarray, axis: int, m: int = 4) -> int:
    lined = np.moveaxis(array, axis, -1)
    return int((lined.reshape(*lined.shape[:-1], -1, m) != 0).sum(-1).max())


@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_of_each_four_stay_where_they_are(axis: int) -> None:
    row = np.array([3.0, -4.0, 1.0, 2.0, 0.5, 0.5, 0.5, -0.5])
    kept = keep_largest(row[None] if axis else row[:, None], axis, 2, 4).ravel()
    assert kept.tolist() == [3.0, -4.0, 0, 0, 0.5, 0.5, 0, 0]


@pytest.fixture
def graph(make_graph):
    generator = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "conv"], ["b"], "conv"),
        helper.make_node("Flatten", ["b"], ["c"], "flatten"),
        helper.make_node("Gemm", ["c", "gemm", "bias"], ["d"], "gemm", transB=1),
        helper.make_node("MatMul", ["d", "matmul"], ["e"], "matmul"),
        helper.make_node("Gather", ["table", "ids"], ["g"], "gather", axis=0),
        helper.make_node("MatMul", ["e", "table"], ["f"], "tied"),
        helper.make_node("Add", ["f", "g"], ["y"], "add"),
    ]
    constants = {
        "stem": random(8, 3, 3, 3), "conv": random(8, 8, 1, 1), "gemm": random(12, 32), "bias": random(12),
        "matmul": random(12, 4), "table": random(4, 4), "ids": np.array([1], np.int64),
    }  # fmt: skip
    return make_graph(nodes, ["x:f32[1,3,2,2]"], ["y:f32[1,4]"], constants)


def test_weights_become_sparse_along_their_input_channels(graph, make_model, tmp_path: Path) -> None:
    model = make_model(graph, tmp_path / "in")
    (tmp_path / "out").mkdir()
    sparse = PruneNM().apply(model, None, tmp_path / "out")
    before, after = weights(model.graph), weights(sparse.graph)
    for name, axis in {"conv": 1, "gemm": 1, "matmul": 0}.items():
        assert most_non_zeros(after[name], axis) == 2 < most_non_zeros(before[name], axis)
        kept = after[name] != 0
        assert (after[name][kept] == before[name][kept]).all()
    for name in ("stem", "table", "bias"):
        assert (after[name] == before[name]).all(), "three channels, a table that is looked up too, no weight"
    pruned, dense = sparse.steps[-1].notes
    assert mentions(pruned, "3 weights", "2:4") and mentions(dense, "dense", "1 weights", "3 input channels")


def test_what_is_excluded_stays_dense(graph, make_model, tmp_path: Path) -> None:
    model = make_model(graph, tmp_path / "in")
    (tmp_path / "out").mkdir()
    sparse = PruneNM(exclude=("gemm",)).apply(model, None, tmp_path / "out")
    assert (weights(sparse.graph)["gemm"] == weights(model.graph)["gemm"]).all()
    with raises(UsageError, ("'gem'", "'gemm'")):
        PruneNM(exclude=("gem",)).apply(model, None, tmp_path / "out")


def test_zeros_stay_zero_in_int8(resnet, cifar_feeds, run_onnxruntime, tmp_path: Path) -> None:
    for name in ("sparse", "int8"):
        (tmp_path / name).mkdir()
    sparse = PruneNM().apply(resnet, None, tmp_path / "sparse")
    quantized = QuantizeStatic(samples=10).apply(sparse, cifar_feeds, tmp_path / "int8")
    kernels = {
        name: array for name, array in weights(quantized.graph).items() if array.dtype == np.int8 and array.ndim == 4
    }
    sparse_ones = [array for array in kernels.values() if array.shape[1] % 4 == 0]
    assert len(sparse_ones) == 18
    assert all(most_non_zeros(array, 1) <= 2 for array in sparse_ones)
    image = next(iter(cifar_feeds))
    assert np.isfinite(run_onnxruntime(quantized.graph, image)[0]).all()


def test_what_does_not_fit_is_refused_with_the_reason(make_graph, make_model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    proto = make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")], ["x:f32[1,3]"], ["y:f32[1,2]"],
        {"w": np.ones((3, 2), np.float32)},
    )  # fmt: skip
    model = make_model(proto, tmp_path / "in")
    with raises(UnsupportedError, "2:4", "3 input channels", hint="prune-nm"):
        PruneNM().apply(model, None, tmp_path / "out")
    with raises(UnsupportedError, "2:4", "i8", hint="prune-nm"):
        PruneNM().apply(make_model(proto, tmp_path / "i8", precision="i8"), None, tmp_path / "out")
    with raises(UsageError, "2 of 2", hint="n must be at least 1"):
        PruneNM(n=2, m=2)
