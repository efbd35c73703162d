"""Recipes for GPUs: int8, fp8 or int4 in products, fp16 elsewhere, nothing between a pair and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit import catalog, registry
from edgekit.data import Feeds
from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.passes.quantize.float8 import encode
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.pipeline import pass_defaults
from edgekit.target import target
from tests.wording import raises

SEED = np.random.default_rng(5)
HALF = TensorProto.FLOAT16


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


@pytest.fixture
def network(make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
    """A convolution, a pooling that stays in fp32, and a product."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "w"], ["y"], "product"),
    ]
    weights = {"k": floats(128, 3, 3, 3), "b": floats(128), "w": floats(128, 64)}
    return make_model(make_graph(nodes, ["x:f32[1,3,8,8]"], ["y:f32[1,64]"], weights), tmp_path / "in")


@pytest.fixture
def feeds() -> Feeds:
    return Feeds.from_arrays([{"x": floats(1, 3, 8, 8)} for _ in range(8)])


def apply_recipe(name: str, model: Model, feeds: Feeds, folder: Path) -> Model:
    for number, step in enumerate(
        pass_defaults.resolve(catalog.recipe(name), target.load("jetson-thor"), "tensorrt").passes
    ):
        workdir = folder / f"{name}-{number}"
        workdir.mkdir()
        model = registry.pass_type(step.name).from_dict(step.config).apply(model, feeds, workdir)  # type: ignore[attr-defined]
    return model


def types_of(model: Model) -> tuple[dict[str, Any], dict[str, int]]:
    """Return each tensor's producer and element type."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load(model.graph)).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    kinds |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    return {name: node for node in inferred.node for name in node.output}, kinds


@pytest.mark.parametrize(
    ("name", "precision", "stored", "error"),
    [
        ("int8-fp16", "i8+f16", TensorProto.INT8, 0.03),
        ("fp8", "f8+f16", TensorProto.FLOAT8E4M3FN, 0.08),
        ("int4-fp16", "i4-weights+f16", TensorProto.INT4, 0.2),
    ],
)
def test_products_read_their_pairs_in_f16(
    name: str,
    precision: str,
    stored: int,
    error: float,
    network: Model,
    feeds: Feeds,
    run_onnxruntime: Any,
    tmp_path: Path,
) -> None:
    model = apply_recipe(name, network, feeds, tmp_path)
    assert model.precision == precision
    onnx.checker.check_model(onnx.load(model.graph), full_check=True)
    producers, kinds = types_of(model)
    product = next(node for node in producers.values() if node.op_type in ("MatMul", "Gemm"))
    unpack = producers[product.input[1]]
    assert unpack.op_type == "DequantizeLinear"
    assert kinds[unpack.input[0]] == stored
    assert kinds[unpack.output[0]] == kinds[product.output[0]] == HALF
    if name != "int4-fp16":
        pair = producers[producers[product.input[0]].input[0]]
        assert (producers[product.input[0]].op_type, pair.op_type) == ("DequantizeLinear", "QuantizeLinear")
        conv = next(node for node in producers.values() if node.op_type == "Conv")
        (after,) = [node for node in producers.values() if conv.output[0] in node.input]
        assert after.op_type == "Relu", "a pair between the two would keep them from one kernel"
    assert kinds[next(n for n in producers.values() if n.op_type == "GlobalAveragePool").output[0]] == TensorProto.FLOAT
    feed = {"x": floats(1, 3, 8, 8)}
    (before,), (after_,) = run_onnxruntime(network.graph, feed), run_onnxruntime(model.graph, feed)
    assert 0 < np.linalg.norm(before - after_) < error * np.linalg.norm(before)


def test_bytes_of_8_bit_floats_are_those_of_ml_dtypes() -> None:
    import ml_dtypes

    plain = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    plain = plain[np.isfinite(plain)]
    halves = (np.sort(plain)[:-1] + np.sort(plain)[1:]) / 2  # ties go to the even neighbour
    values = np.concatenate([plain, halves, SEED.uniform(-448, 448, 2000), SEED.normal(0, 0.01, 2000)])
    assert np.array_equal(encode(values), values.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))


def test_8_bit_floats_without_symmetry_are_refused() -> None:
    with raises(UsageError, "zero point", hint="symmetric_activations = true"):
        QuantizeStatic(levels="f8")


def test_a_scale_too_small_for_f16_stays_in_f32(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    feeds = Feeds.from_arrays([{"x": floats(1, 128)} for _ in range(8)])
    weight = floats(128, 64)
    weight[:, 7] *= 1e-6  # its scale would keep no digit in f16
    proto = make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], ["x:f32[1,128]"], ["y:f32[1,64]"], {"w": weight}
    )
    model = apply_recipe("int8-fp16", make_model(proto, tmp_path / "in"), feeds, tmp_path)
    producers, kinds = types_of(model)
    unpack = next(
        n
        for n in producers.values()
        if n.op_type == "DequantizeLinear" and kinds[n.input[0]] == 3 and n.input[0] not in producers
    )
    assert kinds[unpack.input[1]] == TensorProto.FLOAT
