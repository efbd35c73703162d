"""Checking outputs without the device: the graph is computed with the device's rounding, not the processor's."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgekit_tensorrt import TensorRT
from edgekit_tensorrt.plan import BuildPlan
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UnsupportedError
from edgekit.model import Part
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from tests.wording import raises

FLOAT, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
SPEC = {FLOAT: "f32", HALF: "f16"}


def run(
    folder: Path, nodes: list[Any], x: np.ndarray, precision: str, *, weights: dict[str, np.ndarray] | None = None,
    tensors: tuple[Any, ...] = (), ends: int = FLOAT, opset: int = 21,
) -> np.ndarray:  # fmt: skip
    """Return `y` of a graph, as the session computes it."""
    shape = list(x.shape)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", ends, shape)],
        [helper.make_tensor_value_info("y", ends, shape)],
        [*(numpy_helper.from_array(array, name) for name, array in (weights or {}).items()), *tensors],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    proto.ir_version = 10
    onnx.save(proto, str(folder / "model.onnx"))
    BuildPlan("board", precision, opset).save(folder / "plan.json")
    specs = [TensorSpec(name, SPEC[ends], tuple(shape)) for name in ("x", "y")]
    part = Part("model", "model.onnx", (specs[0],), (specs[1],))
    payload = Payload(folder, ("model.onnx", "plan.json"), part, off_target=True)
    with closing(TensorRT().open(payload)) as session:
        return session.run({"x": x})["y"]


SQUARED = [
    helper.make_node("Cast", ["x"], ["h"], to=HALF),
    helper.make_node("Mul", ["h", "h"], ["m"]),
    helper.make_node("Mul", ["m", "small"], ["n"]),
    helper.make_node("Cast", ["n"], ["y"], to=FLOAT),
]


def test_what_overflows_f16_on_the_device_is_infinite_here(tmp_path: Path) -> None:
    """Processors compute this chain in f32: the result is 1000 where it is infinity on the device."""
    x = np.array([1000, 1.2345678, -3], np.float32)
    y = run(tmp_path, SQUARED, x, "f16", weights={"small": np.float16([1e-3])})
    with np.errstate(over="ignore"):
        expected = (x.astype(np.float16) ** 2 * np.float16(1e-3)).astype(np.float32)
    assert np.isinf(expected[0])
    assert np.array_equal(y, expected)


def test_a_graph_with_f16_inputs_and_outputs_keeps_them(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Add", ["m", "k"], ["y"])]
    x = np.float16([1.1, 300, -0.37])
    y = run(tmp_path, nodes, x, "f16", weights={"k": np.float16([1.7])}, ends=HALF)
    assert y.dtype == np.float16
    assert np.array_equal(y, np.float16(x * np.float16(1.7)) + np.float16(1.7))


def test_bf16_is_rounded_as_bf16(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=BRAIN),
        helper.make_node("Mul", ["h", "h"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=FLOAT),
    ]
    assert run(tmp_path, nodes, np.float32([1.01, 300.5]), "bf16").tolist() == [1.015625, 90112.0]


def test_pairs_round_and_saturate_but_sums_do_not(tmp_path: Path) -> None:
    """128 products of 127 * 127 pass 16 bits: integer kernels of older x86 processors would clip their sums."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"]),
        helper.make_node("MatMul", ["d", "f"], ["y"]),
    ]
    tensors = (helper.make_tensor("w", TensorProto.INT8, [128, 128], [127] * 128 * 128),)
    weights = {"s": np.float32(1), "z": np.int8(0)}
    y = run(tmp_path, nodes, np.full((1, 128), 1000, np.float32), "i8", weights=weights, tensors=tensors)
    assert (y == 128 * 127 * 127).all(), "each value saturates at 127, no sum does"


def test_8_bit_floats_saturate_at_448(tmp_path: Path) -> None:
    zero = helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    x = np.float32([1.07, 448, 1000, -0.3])
    y = run(tmp_path, nodes, x, "f8", weights={"s": np.float32(1)}, tensors=(zero,))
    assert y.tolist() == [1.125, 448.0, 448.0, -0.3125]


def test_branches_in_a_graph_with_f16_are_refused(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["n"], ["out"])], "b", [], [helper.make_tensor_value_info("out", HALF, None)]
    )
    nodes = [*SQUARED[:3], helper.make_node("If", ["yes"], ["i"], then_branch=inner, else_branch=inner)]
    nodes.append(helper.make_node("Cast", ["i"], ["y"], to=FLOAT))
    with raises(UnsupportedError, "f16", "branches", hint="fp32"):
        run(tmp_path, nodes, np.ones(3, np.float32), "f16", weights={"small": np.float16([1]), "yes": np.array(True)})
