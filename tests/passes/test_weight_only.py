"""Packed weights: accurate, small, kept packed by both runtimes, clear about what stays in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.data import Feeds
from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.onnx_model import precision_of
from edgekit.model import Model
from edgekit.passes.quantize.weight_only import WeightOnly
from edgekit.passes.quantize.weight_packing import quantize_weight
from edgekit.testing.passes import PassTests
from tests.wording import mentions, raises

SEED = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


def work(folder: Path) -> Path:
    folder.mkdir()
    return folder


def reader(build: Callable[..., Any], opset: int = 17) -> Any:
    """Return a table, a Gemm with transposed weights and a MatMul: `ids:i64[N]` to `y:f32[N,128]`."""
    return build(
        [
            helper.make_node("Gather", ["table", "ids"], ["e"], name="look"),
            helper.make_node("Gemm", ["e", "w1", "b1"], ["h"], name="first", transB=1),
            helper.make_node("Tanh", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w2"], ["y"], name="second"),
        ],
        ["ids:i64[N]"],
        ["y:f32[N,128]"],
        {"table": floats(300, 64), "w1": floats(128, 64), "b1": floats(128), "w2": floats(128, 128)},
        opset=opset,
    )


@pytest.fixture
def model(make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
    return make_model(reader(make_graph), tmp_path / "in")


def kinds(model: Model) -> dict[str, str]:
    """Return the element type of every large constant, by name."""
    graph = onnx.load(model.graph).graph
    large = [tensor for tensor in graph.initializer if np.prod(tensor.dims) >= 4096]
    return {tensor.name: TensorProto.DataType.Name(tensor.data_type) for tensor in large}


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def _builders(self, make_graph: Callable[..., Any], make_model: Callable[..., Model]) -> None:
        self.proto, self.write = reader(make_graph), make_model

    def subject(self) -> WeightOnly:
        return WeightOnly(bits=4)

    def model(self, folder: Path) -> Model:
        return self.write(self.proto, folder)


@pytest.mark.parametrize(
    ("config", "types", "limit"),
    [
        ({}, ("INT8", "INT8"), 0.04),
        ({"block": 32}, ("INT8", "INT8"), 0.04),
        ({"symmetric": False}, ("UINT8", "UINT8"), 0.04),
        ({"bits": 4}, ("INT4", "INT4"), 0.25),
        ({"bits": 4, "block": 64}, ("INT4", "INT4"), 0.25),
        ({"bits": 4, "block": 128, "symmetric": False, "scale": "max"}, ("UINT4", "UINT4"), 0.25),
    ],
)
def test_both_runtimes_agree_with_the_float_model(
    config: dict[str, Any],
    types: tuple[str, str],
    limit: float,
    model: Model,
    run_onnxruntime: Any,
    run_openvino: Any,
    tmp_path: Path,
) -> None:
    packed = WeightOnly.from_dict(config).apply(model, None, work(tmp_path / "out"))
    onnx.checker.check_model(str(packed.graph), full_check=True)
    assert kinds(packed) == {"table_packed": "INT8", "w1_packed": types[0], "w2_packed": types[1]}
    assert packed.precision == f"i{config.get('bits', 8)}-weights" == precision_of(onnx.load(packed.graph))
    feed = {"ids": np.array([3, 299, 0, 17])}
    (before,) = run_onnxruntime(model.graph, feed)
    for run in (run_onnxruntime, run_openvino):
        (after,) = run(packed.graph, feed)
        assert np.linalg.norm(before - after) < limit * np.linalg.norm(before)
        assert not np.array_equal(before, after)


class TestRuntimes:
    @pytest.mark.parametrize(("bits", "packed"), [(8, {"i8"}), (4, {"i4"})])
    def test_openvino_keeps_them_packed(self, bits: int, packed: set[str], model: Model, tmp_path: Path) -> None:
        import openvino

        result = WeightOnly.from_dict({"bits": bits}).apply(model, None, work(tmp_path / "out"))
        compiled = openvino.Core().compile_model(
            openvino.convert_model(result.graph),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
        )
        layers = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ordered_ops()]
        of = {
            kind: {layer["runtimePrecision"].astype(str) for layer in layers if layer["layerType"].astype(str) == kind}
            for kind in ("FullyConnected", "Gather")
        }
        assert of["FullyConnected"] == packed
        assert "i8" in of["Gather"]

    @pytest.mark.parametrize("config", [{}, {"bits": 4}, {"bits": 4, "symmetric": False}])
    def test_onnxruntime_multiplies_them_packed(
        self, config: dict[str, Any], model: Model, optimized_kinds: Any, tmp_path: Path
    ) -> None:
        packed = WeightOnly.from_dict(config).apply(model, None, work(tmp_path / "out"))
        operators = Counter(optimized_kinds(packed.graph, tmp_path))
        assert (operators["MatMulNBits"], operators["DequantizeLinear"]) == (2, 0)


class TestSettings:
    def test_what_a_block_does_not_divide(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = make_graph(
            [
                helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
                helper.make_node("MatMul", ["h", "w2"], ["y"], name="second"),
            ],
            ["x:f32[N,48]"],
            ["y:f32[N,96]"],
            {"w1": floats(48, 172), "w2": floats(172, 96)},
        )
        packed = WeightOnly(bits=4, block=128).apply(make_model(proto, tmp_path / "in"), None, work(tmp_path / "out"))
        assert kinds(packed) == {"w1_packed": "INT4", "w2_packed": "INT8"}
        held = {t.name: tuple(t.dims) for t in onnx.load(packed.graph).graph.initializer}
        assert (held["w1_scale"], held["w2_scale"]) == ((3, 172), (96,))

    def test_small_and_excluded_ones_stay_float(self, model: Model, tmp_path: Path) -> None:
        packed = WeightOnly(least_elements=10_000, exclude=("second",)).apply(model, None, work(tmp_path / "out"))
        assert kinds(packed) == {"table_packed": "INT8", "w1": "FLOAT", "w2": "FLOAT"}
        assert any(mentions(note, "float", ("1", "10000 elements")) for note in packed.steps[-1].notes)
        bare = WeightOnly(embeddings=False, exclude=("first",)).apply(model, None, work(tmp_path / "bare"))
        assert kinds(bare) == {"table": "FLOAT", "w1": "FLOAT", "w2_packed": "INT8"}

    def test_a_node_comes_before_its_type_and_that_before_all(self, model: Model, tmp_path: Path) -> None:
        over = {
            "operators": {"Gemm": {"bits": 8}, "Gather": {"float": True}, "MatMul": {"float": True}},
            "nodes": {"second": {"float": False, "symmetric": False}},
        }
        settings = WeightOnly.from_dict({"bits": 4, "overrides": over})
        packed = settings.apply(model, None, work(tmp_path / "out"))
        assert kinds(packed) == {"table": "FLOAT", "w1_packed": "INT8", "w2_packed": "UINT4"}

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"block": 48}, ("block", "16", "48")),
            ({"bits": 3}, ("bits", "'3'", "8, 4")),
            ({"overrides": {"operators": {"Conv": {"bits": 4}}}}, "[passes.operators.Conv]"),
            ({"overrides": {"nodes": {"first": {"block": 8}}}}, ("nodes.first", "block", "16", "8")),
        ],
    )
    def test_bad_settings(self, config: dict[str, Any], message: str) -> None:
        with raises(UsageError, message):
            WeightOnly.from_dict(config)

    def test_nothing_to_pack(self, model: Model, tmp_path: Path) -> None:
        with raises(UnsupportedError, "1000000", hint="least_elements"):
            WeightOnly(least_elements=1_000_000).apply(model, None, work(tmp_path / "out"))
        assert not list((tmp_path / "out").iterdir())
        packed = WeightOnly().apply(model, None, work(tmp_path / "packed"))
        with raises(UnsupportedError, ("f32", "i8-weights"), hint="weight-only"):
            WeightOnly().apply(packed, None, work(tmp_path / "again"))


class TestScales:
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_the_search_changes_the_weights_less(self, symmetric: bool) -> None:
        weight = SEED.standard_t(3, (256, 32)).astype(np.float32)

        def error(search: bool) -> np.ndarray:
            levels, scales, zeros = quantize_weight(weight, 4, 64, symmetric, search=search)
            repeated = [
                np.repeat(v.astype(np.float32), 64, 0) for v in (scales, scales * 0 if zeros is None else zeros)
            ]
            packed = (levels.astype(np.float32) - repeated[1]) * repeated[0]
            return np.square(packed - weight).reshape(4, 64, 32).sum(1)

        assert (error(True) <= error(False)).all()
        assert error(True).sum() < (0.9 if symmetric else 0.97) * error(False).sum()

    def test_columns_of_zeros_stay_zero(self) -> None:
        weight = np.zeros((64, 2), np.float32)
        levels, scales, _ = quantize_weight(weight, 4, 32, True, search=True)
        assert not levels.any() and np.isfinite(scales).all() and (scales > 0).all()

    def test_levels_stay_in_their_type(self) -> None:
        weight = floats(64, 16) * np.logspace(-18, 18, 16).astype(np.float32)
        for bits, symmetric, least, most in ((4, True, -8, 7), (4, False, 0, 15), (8, True, -127, 127)):
            levels, scales, _ = quantize_weight(weight, bits, 16, symmetric, search=True)
            assert least <= levels.min() and levels.max() <= most
            assert np.isfinite(scales).all()


def test_what_each_layer_costs(model: Model, tmp_path: Path) -> None:
    feeds = Feeds.from_arrays([{"ids": SEED.integers(0, 300, 8)} for _ in range(4)])
    over = {"nodes": {"second": {"bits": 8, "block": 32}}}
    costs = WeightOnly.from_dict({"bits": 4, "overrides": over}).costs(model, feeds, tmp_path)
    assert [cost.name for cost in costs] == ["first", "second"], "four bits cost more than eight"
    assert 0.02 < costs[0].rel_l2 < 0.3 and 0 < costs[1].rel_l2 < 0.02
    blind = WeightOnly.from_dict({"bits": 4, "overrides": over}).costs(model, None, tmp_path)
    assert [cost.name for cost in blind] == ["first", "second"]
    assert 0.02 < blind[0].rel_l2 < 0.3 and 0 < blind[1].rel_l2 < 0.02


def test_minilm(
    minilm: Model, sentence: Any, run_onnxruntime: Any, run_openvino: Any, optimized_kinds: Any, tmp_path: Path
) -> None:
    feed = sentence("Three men are playing chess in the park.")
    (before,) = run_onnxruntime(minilm.graph, feed)
    for bits, size, cosine in ((8, 0.26, 0.995), (4, 0.22, 0.95)):
        packed = WeightOnly.from_dict({"bits": bits}).apply(minilm, None, work(tmp_path / f"out{bits}"))
        assert packed.graph.stat().st_size < size * minilm.graph.stat().st_size
        assert Counter(optimized_kinds(packed.graph, tmp_path))["MatMulNBits"] == 36
        for run in (run_onnxruntime, run_openvino):
            (after,) = run(packed.graph, feed)
            assert (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after) > cosine


def test_bytes_of_four_bits() -> None:
    from edgekit.passes.quantize.weight_packing import _raw

    values = np.array([[-8, 7, 0], [1, -1, 3]], np.int8)
    tensor = helper.make_tensor("w", TensorProto.INT4, values.shape, _raw(values, 4).tobytes(), raw=True)
    assert np.array_equal(numpy_helper.to_array(tensor).astype(np.int8), values)
