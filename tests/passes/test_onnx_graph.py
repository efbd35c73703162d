"""Reading graphs: nodes in branches and in a model's own functions, and weights beside the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import BuildError
from edgekit.frameworks import onnx_graph
from tests.wording import raises


def external(name: str, location: str) -> Any:
    """Return a tensor whose values are in a file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.fixture
def model() -> Any:
    """A graph with a branch, a function of its own, an operator of another domain, and weights in four files."""
    node, info = helper.make_node, helper.make_tensor_value_info
    output = info("y", TensorProto.FLOAT, [4])
    inside = helper.make_graph([node("Neg", ["w"], ["y"], "neg")], "then", [], [output], [external("w", "branch.bin")])
    other = helper.make_graph(
        [node("Constant", [], ["y"], "held", value=external("c", "constant.bin"))], "else", [], [output]
    )
    nodes = [
        node("If", ["c"], ["t"], "if", then_branch=inside, else_branch=other),
        node("Double", ["t"], ["d"], domain="own"),
        node("Warp", ["d"], ["z"], "warp", domain="acme"),
    ]
    held = node("Constant", [], ["k"], "two", value=external("k", "function.bin"))
    body = [held, node("Mul", ["x", "k"], ["y"], "mul")]
    double = helper.make_function("own", "Double", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    inputs, outputs = [info("c", TensorProto.BOOL, [])], [info("z", TensorProto.FLOAT, [4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [external("unused", "weights.bin")])
    sets = [helper.make_opsetid(*entry) for entry in (("acme", 1), ("own", 1), ("", 17))]
    return helper.make_model(graph, functions=[double], opset_imports=sets)


def test_nodes_come_in_order_with_those_of_branches_and_functions(model):
    names = [node.name or node.op_type for node in onnx_graph.nodes(model)]
    assert names == ["if", "held", "neg", "Double", "warp", "two", "mul"]


def test_foreign_operators_are_named_and_own_functions_are_not_foreign(model):
    (node,) = onnx_graph.foreign(model, {"", "ai.onnx"})
    assert onnx_graph.describe(node) == "Warp of domain 'acme' (node 'warp')"
    assert onnx_graph.name_of(helper.make_node("Relu", ["a"], ["b"])) == "with the output 'b'"


def test_the_opset_is_the_standard_one(model):
    assert onnx_graph.opset(model) == 17
    del model.opset_import[:]
    assert onnx_graph.opset(model) == 0


def test_files_beside_the_graph_are_found_wherever_a_weight_is(model, tmp_path: Path):
    names = onnx_graph.external_files(model)
    assert names == ("branch.bin", "constant.bin", "function.bin", "weights.bin")
    for name in names:
        (tmp_path / name).write_text(name)
    onnx.save(model, tmp_path / "graph.onnx")
    folder = tmp_path / "out"
    folder.mkdir()
    copied = onnx_graph.copy_model(tmp_path / "graph.onnx", names, folder, name="model.onnx")
    assert copied == ("model.onnx", *names)
    assert sorted(path.name for path in folder.iterdir()) == sorted(copied)
    assert onnx_graph.read(folder / "model.onnx") == model


@pytest.mark.parametrize("place", ["../weights.bin", "/tmp/weights.bin", "model.onnx", "plan.json"])
def test_weights_elsewhere_or_under_a_taken_name_are_refused(place: str, tmp_path: Path):
    with raises(BuildError, f"'{place}'"):
        onnx_graph.copy_model(tmp_path / "graph.onnx", (place,), tmp_path, name="model.onnx", taken=("plan.json",))
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_a_graph_is_reported(tmp_path: Path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with raises(BuildError, "'graph.onnx'"):
        onnx_graph.read(tmp_path / "graph.onnx")
