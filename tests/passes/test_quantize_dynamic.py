"""Dynamic int8: for matrix products only, and refused where convolutions do the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes.quantize.dynamic import QuantizeDynamic
from edgekit.testing.passes import PassTests
from tests.wording import mentions, raises

SEED = np.random.default_rng(1)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


def mixed(build: Callable[..., Any], maps: int) -> Any:
    """Return one Conv of `maps` maps, then two products: `x:f32[N,1,8,8]` to `y:f32[N,4]`."""
    return build(
        [
            helper.make_node("Conv", ["x", "k"], ["c"], name="conv"),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("Gemm", ["f", "w1", "b1"], ["h"], name="first", transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w2"], ["y"], name="second"),
        ],
        ["x:f32[N,1,8,8]"],
        ["y:f32[N,4]"],
        {"k": floats(maps, 1, 3, 3), "w1": floats(64, maps * 36), "b1": floats(64), "w2": floats(64, 4)},
    )


def work(folder: Path) -> Path:
    folder.mkdir()
    return folder


def kinds(model: Model) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(model.graph).graph.node)


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def _builders(self, make_graph: Callable[..., Any], make_model: Callable[..., Model]) -> None:
        self.proto, self.write = mixed(make_graph, 2), make_model

    def subject(self) -> QuantizeDynamic:
        return QuantizeDynamic()

    def model(self, folder: Path) -> Model:
        return self.write(self.proto, folder)


def test_minilm_stays_close_and_small(
    minilm: Model,
    sentence: Callable[[str], dict[str, np.ndarray]],
    run_onnxruntime: Any,
    run_openvino: Any,
    optimized_kinds: Any,
    tmp_path: Path,
) -> None:
    quantized = QuantizeDynamic().apply(minilm, None, work(tmp_path / "out"))
    assert quantized.precision == "i8-dynamic"
    assert quantized.graph.stat().st_size < 0.66 * minilm.graph.stat().st_size
    assert mentions(quantized.steps[-1].notes[1], ("12 MatMul", "constant"))
    feed = sentence("Three men are playing chess.")
    (before,) = run_onnxruntime(minilm.graph, feed)
    for run in (run_onnxruntime, run_openvino):
        (after,) = run(quantized.graph, feed)
        assert (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after) > 0.99
    counted = Counter(optimized_kinds(quantized.graph, tmp_path))
    assert counted["DynamicQuantizeMatMul"] + counted["MatMulIntegerToFloat"] == 36
    # The table of words is looked up, not multiplied: quantized, it would be dequantized.
    assert kinds(quantized)["DequantizeLinear"] == 0


def test_a_convolutional_net_is_refused_with_the_reason(resnet: Model, tmp_path: Path) -> None:
    with raises(UnsupportedError, "100%", "ConvInteger", hint="--recipe int8-static") as caught:
        QuantizeDynamic().apply(resnet, None, work(tmp_path / "out"))
    assert caught.value.hint and "int8-static" in caught.value.hint
    assert not list((tmp_path / "out").iterdir())


def test_a_few_convolutions_stay_float(
    make_graph: Any, make_model: Any, run_onnxruntime: Any, exact: Any, tmp_path: Path
) -> None:
    model = make_model(mixed(make_graph, 2), tmp_path / "in")
    quantized = QuantizeDynamic(reduce_range=exact["reduce_range"]).apply(model, None, work(tmp_path / "out"))
    operators = kinds(quantized)
    assert (operators["Conv"], operators["ConvInteger"], operators["MatMulInteger"], operators["Gemm"]) == (1, 0, 2, 0)
    assert any(mentions(note, "convolutions", "12%") for note in quantized.steps[-1].notes)
    feed = {"x": floats(3, 1, 8, 8)}
    (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(quantized.graph, feed)
    assert np.linalg.norm(before - after) < 0.05 * np.linalg.norm(before)


def test_an_excluded_node_stays_float(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    model = make_model(mixed(make_graph, 2), tmp_path / "in")
    quantized = QuantizeDynamic(exclude=("first",)).apply(model, None, work(tmp_path / "out"))
    assert kinds(quantized)["MatMulInteger"] == 1


def test_a_node_in_overrides_stays_float(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    model = make_model(mixed(make_graph, 2), tmp_path / "in")
    over = {"operators": {"Gemm": {"float": True}}, "nodes": {"second": {"float": False}}}
    quantized = QuantizeDynamic.from_dict({"overrides": over}).apply(model, None, work(tmp_path / "out"))
    assert (kinds(quantized)["MatMulInteger"], kinds(quantized)["MatMul"]) == (1, 1)
    with raises(UsageError, "Conv", hint="Gemm, MatMul"):
        QuantizeDynamic.from_dict({"overrides": {"operators": {"Conv": {"float": True}}}})


def test_nothing_to_quantize(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    proto = make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], ["x:f32[8,8]"], ["y:f32[8,8]"], {})
    with raises(UnsupportedError, "MatMul", "constant", hint="fp32"):
        QuantizeDynamic().apply(make_model(proto, tmp_path / "in"), None, work(tmp_path / "out"))


def test_reduced_range_leaves_a_bit_free(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    model = make_model(mixed(make_graph, 2), tmp_path / "in")
    quantized = QuantizeDynamic(reduce_range=True).apply(model, None, work(tmp_path / "out"))
    weights = [t for t in onnx.load(quantized.graph).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    greatest = max(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max() for tensor in weights)
    assert 60 <= greatest <= 64
