"""ONNX files with mutated bytes and mutated graphs, shown by `inspect` and exported with onnxruntime."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.frameworks import onnx_facts
from tests.fuzz import mutate


def draws(work: Path) -> mutate.Draw:
    """Return what draws a mutated ONNX file in `work`."""
    originals = [net(), convolution()]
    file = work / "a.onnx"

    def use() -> None:
        onnx_facts.read(file)
        shutil.rmtree(work / "out", ignore_errors=True)
        edgekit.export(file, output=work / "out", force=True, backends=["onnxruntime"], bench=False)

    def draw(generator: random.Random) -> tuple[str, mutate.Use]:
        proto = onnx.ModelProto()
        proto.CopyFrom(generator.choice(originals))
        words = "bytes"
        if generator.random() < 0.6:
            words = ", ".join(_change(proto, generator) for _ in range(generator.choice((1, 1, 2, 4))))
            file.write_bytes(proto.SerializeToString())
        else:
            file.write_bytes(mutate.damage(proto.SerializeToString(), generator))
        return words, use

    return draw


def net() -> onnx.ModelProto:
    """Return two layers, with free batch."""
    weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "first"), helper.make_node("Relu", ["y"], ["z"], "second")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["b", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolution() -> onnx.ModelProto:
    """Return a convolution, a pooling, a reshape, and a branch."""
    branches = {
        name: helper.make_graph(
            [helper.make_node(name, ["flat"], [f"{name}_out"], name)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name in ("Neg", "Abs")
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["c"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("MaxPool", ["c"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["flat"], "reshape"),
        helper.make_node("If", ["yes"], ["z"], "branch", then_branch=branches["Neg"], else_branch=branches["Abs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 1, 6, 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["b", 18])],
        [
            numpy_helper.from_array(np.full((2, 1, 3, 3), 0.1, np.float32), "w"),
            numpy_helper.from_array(np.zeros(2, np.float32), "bias"),
            numpy_helper.from_array(np.array([-1, 18]), "shape"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


NAMES = ("", "x", "z", "w", "y", "a/b", "../x", "n" * 3000, "é", "\x00", "\x1b[2J", "nothing", "1", "a b")
NUMBERS = (0, 1, -1, 2, 3, 7, 100, 2**31, 2**62, -(2**63))
OPERATORS = ("Relu", "Add", "Nothing", "", "Loop", "Scan", "Reshape", "Softmax", "Cast", "Identity", "Range", "Expand",
             "NonZero", "Constant", "QuantizeLinear", "Tile", "RandomNormal", "Concat", "Slice", "If")  # fmt: skip


def _change(proto: Any, generator: random.Random) -> str:
    """Change one field of the proto, of any kind; return its name."""
    message, field = generator.choice(list(_fields(proto)))
    words = f"{message.DESCRIPTOR.name}.{field.name}"
    if field.is_repeated:
        _change_list(getattr(message, field.name), field, generator)
    elif field.message_type is not None or generator.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), generator))
    return words


def _change_list(values: Any, field: Any, generator: random.Random) -> None:
    how = generator.choice(("delete", "double", "exchange", "value"))
    if how == "delete":
        del values[generator.randrange(len(values))]
    elif how == "double" and field.message_type is not None:
        values.add().CopyFrom(generator.choice(values))
    elif how == "double":
        values.append(generator.choice(values))
    elif how == "exchange":
        kept = list(values)
        generator.shuffle(kept)
        copies = [type(item).FromString(item.SerializeToString()) for item in kept] if field.message_type else kept
        del values[:]
        values.extend(copies)
    elif field.message_type is None:
        at = generator.randrange(len(values))
        values[at] = _value(field, values[at], generator)


def _value(field: Any, before: Any, generator: random.Random) -> Any:
    if field.enum_type is not None:
        return generator.choice(field.enum_type.values).number
    if isinstance(before, str):
        return generator.choice(OPERATORS if field.name == "op_type" else NAMES)
    if isinstance(before, bytes):
        return mutate.damage(before, generator)
    if isinstance(before, float):
        return generator.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    if field.name in ("data_type", "elem_type"):
        return generator.randrange(-1, 30)
    number = generator.choice(NUMBERS)
    return (
        number
        if "64" in str(field.type) or field.type in (field.TYPE_INT64,)
        else max(-(2**31), min(number, 2**31 - 1))
    )


def _fields(message: Any) -> Any:
    """Yield every field that is set in a message and in those inside it, with the message that has it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _fields(inner)
