"""A model that draws random numbers is refused with what draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import UnsupportedError
from edgekit.evaluation import repeatable
from edgekit.model import Reference
from edgekit.sources.onnx_file import OnnxFile
from edgekit.sources.torch_module import load_module
from edgekit.spec import MODEL
from edgekit.tasks.task import Inference
from tests.wording import mentions, raises

X = {"x": np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)}


def checked(original, name: str = "x") -> None:
    feeds = {name: X["x"]}
    repeatable.check(original, [Inference(MODEL, feeds, original.run(feeds))])


def onnx_original(folder: Path, *nodes, constants=()):
    """Return the original of a file whose `nodes` lead from `x` to `y`."""
    from onnx import TensorProto, checker, helper, save

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], list(constants))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(proto)
    save(proto, folder / "random.onnx")
    return OnnxFile().load(Reference(str(folder / "random.onnx")), folder / "work").original


def dropout_node(training: bool, ratio: float = 0.5):
    from onnx import TensorProto, helper

    constants = [
        helper.make_tensor("p", TensorProto.FLOAT, [], [ratio]),
        helper.make_tensor("on", TensorProto.BOOL, [], [training]),
    ]
    return helper.make_node("Dropout", ["x", "p", "on"], ["y"], "drop"), constants


@pytest.fixture(autouse=True)
def work(tmp_path):
    (tmp_path / "work").mkdir()


def test_dropout_in_training_mode_is_named(tmp_path):
    node, constants = dropout_node(True)
    with raises(UnsupportedError, "random", "Dropout", "'drop'", hint="evaluation mode"):
        checked(onnx_original(tmp_path, node, constants=constants))


@pytest.mark.parametrize(("training", "ratio"), [(False, 0.5), (True, 0.0)])
def test_dropout_that_drops_nothing_is_taken(tmp_path, training, ratio):
    node, constants = dropout_node(training, ratio)
    checked(onnx_original(tmp_path, node, constants=constants))


@pytest.mark.parametrize("operator", ["RandomUniformLike", "RandomNormalLike"])
def test_a_sampler_is_named_though_its_session_is_seeded(tmp_path, operator):
    from onnx import helper

    noise, added = helper.make_node(operator, ["x"], ["e"], "noise"), helper.make_node("Add", ["x", "e"], ["y"])
    with raises(UnsupportedError, operator, "'noise'"):
        checked(onnx_original(tmp_path, noise, added))


def test_noise_that_changes_nothing_is_taken(tmp_path):
    from onnx import TensorProto, helper

    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    noise, none = helper.make_node("RandomNormalLike", ["x"], ["e"]), helper.make_node("Mul", ["e", "zero"], ["n"])
    checked(onnx_original(tmp_path, noise, none, helper.make_node("Add", ["x", "n"], ["y"]), constants=[zero]))


def torch_original(module, folder: Path):
    import torch

    return load_module((module, torch.from_numpy(X["x"])), Reference("live"), folder / "work").original


def test_dropout_left_on_in_a_torch_module_is_named(tmp_path):
    import torch

    class Head(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x, 0.3)  # `training` is True unless it is given

    module = torch.nn.Sequential(torch.nn.Linear(64, 64), Head())
    original = torch_original(module, tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        checked(original, "input")
    assert mentions(*caught.value.problems, "dropout", "'1'")


def test_a_torch_module_that_keeps_a_state_is_refused(tmp_path):
    import torch

    class Counter(torch.nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    original = torch_original(Counter(), tmp_path)
    with raises(UnsupportedError, "differently", hint="input and an output"):
        checked(original)


def test_the_check_leaves_the_users_random_numbers_alone(tmp_path):
    import torch

    original = torch_original(torch.nn.Linear(64, 2), tmp_path)
    before = torch.get_rng_state()
    checked(original, "input")
    assert torch.equal(before, torch.get_rng_state())


def test_an_original_of_a_plugin_is_run_twice():
    class Noisy:
        framework = "numpy"

        def run(self, feeds):
            return {"y": feeds["x"] + np.random.default_rng().standard_normal(feeds["x"].shape)}

    with raises(UnsupportedError, "'y'", "differently"):
        checked(Noisy())
