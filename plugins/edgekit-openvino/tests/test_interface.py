"""A converted model keeps the ONNX graph's inputs and outputs, also those that OpenVINO drops or gives one name."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from edgekit_openvino import OpenVino
from onnx import TensorProto, helper

from edgekit.errors import BuildError
from tests import processor_backend
from tests.processor_graphs import value, write
from tests.wording import raises

session = partial(processor_backend.session, OpenVino())
node = helper.make_node
X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
Z = np.array([5, 7], np.int64)

GRAPHS = {
    "passed through": ([node("Dropout", ["x"], ["y"])], ["x"], {"y": X}),
    "twice": ([node("Identity", ["x"], ["y"]), node("Identity", ["x"], ["w"])], ["x"], {"y": X, "w": X}),
    "beside another": ([node("Relu", ["x"], ["y"]), node("Sum", ["x"], ["w"])], ["x"], {"y": X.clip(0), "w": X}),
    "twice in a row": ([node("Identity", ["x"], ["y"]), node("Identity", ["y"], ["w"])], ["x"], {"y": X, "w": X}),
    "not read": ([node("Relu", ["x"], ["y"])], ["x", "z"], {"y": X.clip(0)}),
    "not read, first": ([node("Relu", ["x"], ["y"])], ["z", "x"], {"y": X.clip(0)}),
    "read for its shape": ([node("CastLike", ["x", "z"], ["y"])], ["x", "z"], {"y": X.astype(np.int64)}),
    "swapped": ([node("Identity", ["z"], ["y"]), node("Identity", ["x"], ["w"])], ["x", "z"], {"y": Z, "w": X}),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_inputs_and_outputs_are_those_of_the_graph(kind, tmp_path):
    nodes, names, expected = GRAPHS[kind]
    inputs = {"x": value("x", [2, "n"]), "z": value("z", ["m"], TensorProto.INT64)}
    outputs = [
        value(name, [f"{name}{axis}" for axis in range(array.ndim)], helper.np_dtype_to_tensor_dtype(array.dtype))
        for name, array in expected.items()
    ]
    model = write(tmp_path / "model", nodes, [inputs[name] for name in names], outputs)
    feeds = {name: {"x": X, "z": Z}[name] for name in names}
    with session(model, tmp_path) as opened:
        answers = opened.run(feeds)
        opened.bind(feeds)()
    assert set(answers) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(answers[name], array)


def test_an_input_that_is_an_output_under_its_own_name_is_refused(tmp_path):
    graph = [node("Relu", ["x"], ["y"])]
    x, y = value("x", [2, 3]), value("y", [2, 3])
    with raises(BuildError, "OpenVINO"), session(write(tmp_path / "model", graph, [x], [y, x]), tmp_path):
        pass
