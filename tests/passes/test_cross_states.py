"""The nodes of a decoder that read the encoder's output alone move into the encoder's graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UnsupportedError
from edgekit.passes.export import cross_states

RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.standard_normal((4, 4)).astype(np.float32)
EMBED = RANDOM.standard_normal((9, 4)).astype(np.float32)


def encoder():
    nodes = [helper.make_node("Relu", ["x"], ["last"], name="node")]
    return model(nodes, [("x", TensorProto.FLOAT, ["batch", "length", 4])], [("last", ["batch", "length", 4])], {})


def decoder(index):
    """Return a decoder whose keys take their first size at `index` from the shape of the text, [batch, tokens, 4]."""
    nodes = [
        helper.make_node("Gather", ["embed", "ids"], ["own"], name="node"),
        helper.make_node("Shape", ["own"], ["own_shape"]),
        helper.make_node("Gather", ["own_shape", "index"], ["size"], axis=0),
        helper.make_node("Unsqueeze", ["size", "zero"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["sizes"], axis=0),
        helper.make_node("MatMul", ["hidden", "weight"], ["node"]),
        helper.make_node("Reshape", ["node", "sizes"], ["split"]),
        helper.make_node("Transpose", ["split"], ["key"], perm=[0, 2, 1, 3]),
        helper.make_node("ReduceSum", ["own"], ["logits"], keepdims=0),
    ]
    weights = {"embed": EMBED, "weight": WEIGHT, "index": np.array(index), "zero": np.array([0])}
    weights["rest"] = np.array([-1, 2, 2])
    inputs = [
        ("ids", TensorProto.INT64, ["batch", "tokens"]),
        ("hidden", TensorProto.FLOAT, ["batch", "length", 4]),
    ]
    return model(nodes, inputs, [("logits", []), ("key", ["batch", 2, "length", 2])], weights)


def model(nodes, inputs, outputs, weights):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_the_encoder_gives_the_keys_of_its_output():
    graph = encoder()
    cross_states.move(graph, decoder(0), "last", "hidden", ["key"])
    onnx.checker.check_model(graph, full_check=True)
    assert [value.name for value in graph.graph.output] == ["last", "key"]
    assert "cross/embed" not in {tensor.name for tensor in graph.graph.initializer}, "the decoder's own are left there"
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for sizes in ((1, 3, 4), (5, 2, 4)):
        x = RANDOM.standard_normal(sizes).astype(np.float32)
        keys = (np.maximum(x, 0) @ WEIGHT).reshape(*sizes[:2], 2, 2).transpose(0, 2, 1, 3)
        np.testing.assert_allclose(session.run(["key"], {"x": x})[0], keys, rtol=1e-5, atol=1e-6)


def test_keys_that_depend_on_the_text_are_refused():
    with pytest.raises(UnsupportedError, match="'ids'"):
        cross_states.move(encoder(), decoder(1), "last", "hidden", ["key"])
