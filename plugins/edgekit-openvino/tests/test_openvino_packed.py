"""Weights in 8 and 4 bits, activations in float: kept packed, and the precision told as it is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgekit_openvino import OpenVino
from onnx import TensorProto, helper, numpy_helper

from edgekit import host
from edgekit.model import Model, Part
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target import Device, Target

ROWS, COLUMNS, BLOCK = 64, 32, 32


def packed(folder, bits):
    """Write a MatMul behind a DequantizeLinear, `x:f32[N,64]` to `y:f32[N,32]`; give it and the weights it stands for.

    4 bits have a scale for each block of 32 rows, 8 bits one for each column.
    """
    rng = np.random.default_rng(bits)
    levels = rng.integers(-8, 8, (ROWS, COLUMNS)) if bits == 4 else rng.integers(-127, 128, (ROWS, COLUMNS))
    scales = rng.uniform(0.01, 0.02, (ROWS // BLOCK, COLUMNS) if bits == 4 else (COLUMNS,)).astype(np.float32)
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    attributes = {"axis": 0, "block_size": BLOCK} if bits == 4 else {"axis": 1}
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["d"], "unpack", **attributes),
            helper.make_node("MatMul", ["x", "d"], ["y"], "product"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", ROWS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", COLUMNS])],
        [helper.make_tensor("w", kind, levels.shape, levels.reshape(-1)), numpy_helper.from_array(scales, "s")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    proto.ir_version = 10
    onnx.save(proto, str(folder / "model.onnx"))
    part = Part(
        "model", "model.onnx", (TensorSpec("x", "f32", ("N", ROWS)),), (TensorSpec("y", "f32", ("N", COLUMNS)),)
    )
    weights = levels * (np.repeat(scales, BLOCK, 0) if bits == 4 else scales)
    return Model("onnx", (part,), None, f"i{bits}-weights", folder=folder), weights


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights(bits, tmp_path):
    model, weights = packed(tmp_path, bits)
    here = host.probe()
    target = Target("host", "this machine", device=Device(arch=here.arch, isa=here.isa, cores=here.cores))
    backend, work = OpenVino(), tmp_path / "built"
    work.mkdir()
    assert backend.supports(model, target).ok
    built = backend.build(model, target, {}, work)
    x = np.random.default_rng(0).standard_normal((3, ROWS)).astype(np.float32)
    with backend.open(Payload(work, built.files, built.inputs, built.outputs, built.options)) as session:
        found, expected = session.run({"x": x})["y"], x @ weights
        precision, layers = session.precision, session.profile({"x": x})
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected), "activations are not rounded"
    assert (precision.main, dict(precision.layers)) == ("f32", {f"i{bits}-weights": 1})
    assert f"i{bits}-weights" in {layer.precision for layer in layers}
    assert (work / "model.bin").stat().st_size < 4 * ROWS * COLUMNS * bits / 32 * 1.5
