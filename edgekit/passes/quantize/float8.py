"""Turn the Q/DQ pairs of a symmetric int8 graph into pairs of E4M3: the same ranges, in 8-bit floats.

The levels of E4M3 end at 448 (ONNX's FLOAT8E4M3FN; Micikevicius et al. 2022, arXiv 2209.05433), so a scale is the
greatest magnitude over 448. Weights are rounded from their float values, never from the int8 ones.
"""

from __future__ import annotations

from typing import Any

INT8, FLOAT8 = 3, 17  # onnx.TensorProto.INT8, FLOAT8E4M3FN
INT8_LEVELS, FLOAT8_LEVELS = 127.0, 448.0
LEAST_OPSET = 19
"""The opset from which QuantizeLinear and DequantizeLinear have 8-bit floats."""


def to_float8(proto: Any, plain: Any) -> None:
    """Rewrite `proto` in place; `plain` is the float graph that it was made from, for the float weights."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    floats = {tensor.name: tensor for tensor in plain.graph.initializer}
    done: set[str] = set()
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = node.input[1], node.input[2]
        axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
        if node.input[0] in constants and node.input[0] not in done:
            done.add(node.input[0])
            _round_weight(constants[node.input[0]], floats, numpy_helper.to_array(constants[scale]), axis)
        for name in (scale, zero):
            if name in done:
                continue
            done.add(name)
            values = numpy_helper.to_array(constants[name])
            if name == scale:
                widened = (values * (INT8_LEVELS / FLOAT8_LEVELS)).astype(values.dtype)
                constants[name].CopyFrom(numpy_helper.from_array(widened, name))
            else:
                constants[name].CopyFrom(
                    helper.make_tensor(name, FLOAT8, list(values.shape), bytes(values.size), raw=True)
                )


def _round_weight(tensor: Any, floats: Any, scale: Any, axis: int) -> None:
    """Replace an int8 weight by its float original in E4M3; `scale` is that of the int8 levels."""
    import numpy as np
    from onnx import helper, numpy_helper

    original = numpy_helper.to_array(floats[tensor.name.removesuffix("_quantized")]).astype(np.float32)
    shape = [1] * original.ndim
    if scale.ndim:
        shape[axis] = scale.size
    levels = original / (scale * (INT8_LEVELS / FLOAT8_LEVELS)).astype(np.float32).reshape(shape)
    levels = np.clip(levels, -FLOAT8_LEVELS, FLOAT8_LEVELS)
    encoded = encode(levels).tobytes()
    tensor.CopyFrom(helper.make_tensor(tensor.name, FLOAT8, list(original.shape), encoded, raw=True))


def encode(values: Any) -> Any:
    """Return the bytes of E4M3 nearest to `values`, of magnitudes up to 448; halves go to the even neighbour."""
    import numpy as np

    magnitude = np.abs(values).astype(np.float64)
    # Below 2^-6 the step stays 2^-9: subnormal.
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 2.0**-30))), -6.0)
    steps = np.rint(magnitude / 2.0 ** (exponent - 3))
    carried = steps == 16
    exponent, steps = np.where(carried, exponent + 1, exponent), np.where(carried, 8, steps)
    normal = steps >= 8
    code = np.where(normal, (exponent + 7) * 8 + steps - 8, steps)
    return (code.astype(np.uint8) | np.where(np.signbit(values), 128, 0).astype(np.uint8)).astype(np.uint8)
