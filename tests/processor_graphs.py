"""Small ONNX graphs for the tests of the runtimes of processors, in float, in int8 and with packed weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from edgekit.model import Model, Part
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import Device, Target

ROWS, COLUMNS, BLOCK = 64, 32, 32

FLOAT = TensorProto.FLOAT
SHORT = {
    FLOAT: "f32",
    TensorProto.FLOAT16: "f16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT32: "i32",
    TensorProto.INT64: "i64",
    TensorProto.BOOL: "bool",
    TensorProto.STRING: "str",
}
CONV_X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def write(folder, nodes, inputs, outputs, weights=(), precision="f32", opsets=(("", 17),), ir_version=8, **save):
    """Write a graph of onnx.helper's making and give the Model of it."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in weights])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets])
    proto.ir_version = ir_version
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, str(folder / "model.onnx"), **save)
    return model_of(folder, precision, inputs, outputs)


def model_of(folder, precision, inputs, outputs):
    def specs(values):
        return tuple(
            TensorSpec(
                v.name,
                SHORT.get(v.type.tensor_type.elem_type, "f32"),
                tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
            )
            for v in values
        )

    return Model(
        "onnx", (Part("model", "model.onnx", specs(inputs), specs(outputs)),), precision=precision, folder=folder
    )


def conv_net(folder):
    """Write Conv, Relu, Flatten, MatMul: [N,3,8,8] to [N,10]."""
    rng = np.random.default_rng(1)
    weights = [
        ("w", rng.standard_normal((8, 3, 3, 3)).astype(np.float32)),
        ("b", rng.standard_normal(8).astype(np.float32)),
        ("f", rng.standard_normal((512, 10)).astype(np.float32) * 0.1),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Flatten", ["r"], ["v"], "flatten"),
        helper.make_node("MatMul", ["v", "f"], ["y"], "fc"),
    ]
    return write(folder, nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 10])], weights), dict(weights)


def conv_expected(x, weights):
    """Compute the net of `conv_net` by numpy."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("nchwij,ocij->nohw", windows, weights["w"]) + weights["b"][None, :, None, None]
    return np.maximum(conv, 0).reshape(len(x), -1) @ weights["f"]


class Batches(CalibrationDataReader):
    def __init__(self):
        self._batches = iter([{"x": CONV_X + 0.1 * i} for i in range(4)])

    def get_next(self):
        return next(self._batches, None)


SATURATES = not set(host.probe().isa) & {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Whether this processor adds products of eight-bit weights in 16 bits."""


def int8_net(folder, reduce_range=False):
    model, weights = conv_net(folder / "float")
    quantize_static(
        str(model.graph),
        str(folder / "model.onnx"),
        Batches(),
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "MatMul"],
        extra_options={"ForceQuantizeNoInputCheck": False},
    )
    return replace(model, folder=folder, precision="i8"), weights


def host_target(**device):
    here = host.probe()
    facts = {"arch": here.arch, "isa": here.isa, "cores": here.cores} | device
    return Target("host", "this machine", device=Device(**facts))


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
    return Model("onnx", (part,), precision=f"i{bits}-weights", folder=folder), weights
