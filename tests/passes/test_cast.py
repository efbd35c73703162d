"""Casting: f16 graphs that load and agree, with f32 kept where f16 overflows; bf16 as a mark."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes.onnx.cast import Cast
from edgekit.testing.passes import PassTests
from tests.wording import mentions, raises

SEED = np.random.default_rng(2)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


def work(folder: Path) -> Path:
    folder.mkdir()
    return folder


def distance(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.linalg.norm(before - after) / np.linalg.norm(before))


def runs_in(model: Model) -> dict[str, str]:
    """Return for each operator kind whether its nodes return f16, f32 or both."""
    proto = onnx.shape_inference.infer_shapes(onnx.load(model.graph))
    types = {v.name: v.type.tensor_type.elem_type for v in (*proto.graph.value_info, *proto.graph.output)}
    types_by_kind: dict[str, set[str]] = {}
    for node in proto.graph.node:
        names = {1: "f32", 10: "f16"}
        types_by_kind.setdefault(node.op_type, set()).update(
            names[types[n]] for n in node.output if types.get(n) in names
        )
    return {kind: "+".join(sorted(types_of_kind)) for kind, types_of_kind in types_by_kind.items()}


@pytest.fixture
def halve(make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path) -> Callable[..., Model]:
    """A function that builds a graph, casts it, checks it, and compares its outputs with the original's."""

    def build(
        nodes: Sequence[Any], inputs: Sequence[str], outputs: Sequence[str], constants: Any, feed: Any, **values: Any
    ) -> Model:
        model = make_model(make_graph(nodes, inputs, outputs, constants, **values), tmp_path / "in")
        cast_model = Cast().apply(model, None, work(tmp_path / "out"))
        onnx.checker.check_model(str(cast_model.graph), full_check=True)
        for before, after in zip(
            run_onnxruntime(model.graph, feed), run_onnxruntime(cast_model.graph, feed), strict=True
        ):
            assert before.dtype == after.dtype
            assert distance(before, after) < 1e-2
        assert cast_model.parts == model.parts
        return cast_model

    return build


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def _builders(self, make_graph: Callable[..., Any], make_model: Callable[..., Model]) -> None:
        self.proto = make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], ["y"])],
            ["x:f32[N,16]"],
            ["y:f32[N,4]"],
            {"w": floats(16, 4)},
        )
        self.write = make_model

    def subject(self) -> Cast:
        return Cast()

    def model(self, folder: Path) -> Model:
        return self.write(self.proto, folder)


class TestBf16Contract(TestContract):
    def subject(self) -> Cast:
        return Cast(dtype="bf16")


@pytest.mark.parametrize("runtime", ["run_onnxruntime", "run_openvino"])
def test_minilm_agrees(
    minilm: Model, sentence: Any, runtime: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = request.getfixturevalue(runtime)
    cast_model = Cast().apply(minilm, None, work(tmp_path / "out"))
    feed = sentence("A woman is slicing an onion, slowly and with great care.")
    assert distance(run(minilm.graph, feed)[0], run(cast_model.graph, feed)[0]) < 2e-3
    assert cast_model.graph.stat().st_size < 0.51 * minilm.graph.stat().st_size
    assert cast_model.precision == "f16"
    types = runs_in(cast_model)
    assert (types["MatMul"], types["LayerNormalization"], types["Softmax"]) == ("f16", "f32", "f32")


@pytest.mark.parametrize("runtime", ["run_onnxruntime", "run_openvino"])
def test_resnet_agrees(resnet: Model, cifar: Any, runtime: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = request.getfixturevalue(runtime)
    cast_model = Cast().apply(resnet, None, work(tmp_path / "out"))
    feed = {"images": cifar("test", 5)[0]}
    (before,), (after,) = run(resnet.graph, feed), run(cast_model.graph, feed)
    assert distance(before, after) < 3e-3
    assert (before.argmax(1) == after.argmax(1)).all()
    types = runs_in(cast_model)
    assert (types["Conv"], types["Add"], types["ReduceMean"]) == ("f16", "f16", "f32")


def test_a_norm_in_pieces_does_not_overflow(halve: Callable[..., Model]) -> None:
    # Values near 1000: their squares are beyond f16, and its least normal value swallows the epsilon.
    cast_model = halve(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("ReduceMean", ["h"], ["mean"], axes=[-1]),
            helper.make_node("Sub", ["h", "mean"], ["d"]),
            helper.make_node("Pow", ["d", "two"], ["sq"]),
            helper.make_node("ReduceMean", ["sq"], ["var"], axes=[-1]),
            helper.make_node("Add", ["var", "eps"], ["safe"]),
            helper.make_node("Sqrt", ["safe"], ["dev"]),
            helper.make_node("Div", ["d", "dev"], ["n"]),
            helper.make_node("MatMul", ["n", "v"], ["y"]),
        ],
        ["x:f32[4,16]"],
        ["y:f32[4,8]"],
        {"w": 250 * floats(16, 32), "v": floats(32, 8), "two": np.float32(2), "eps": np.float32(1e-12)},
        {"x": floats(4, 16)},
    )
    types = runs_in(cast_model)
    assert types["MatMul"] == "f16"
    assert {types[kind] for kind in ("Sub", "Pow", "Add", "Sqrt", "Div")} == {"f32"}
    graph = onnx.load(cast_model.graph).graph
    assert sum(node.op_type == "Cast" for node in graph.node) == 4  # x, h, n, y: none within the norm


def test_a_mask_beyond_f16_is_not_clipped(halve: Callable[..., Model]) -> None:
    cast_model = halve(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("Where", ["mask", "scores", "fill"], ["masked"]),
            helper.make_node("Clip", ["masked", "fill"], ["clipped"]),
            helper.make_node("Softmax", ["clipped"], ["y"]),
        ],
        ["x:f32[3,16]", "mask:bool[3,8]"],
        ["y:f32[3,8]"],
        {"w": floats(16, 8), "fill": np.float32(np.finfo(np.float32).min)},
        # A row that is masked completely: with -inf in place of the fill, its softmax would be NaN.
        {"x": floats(3, 16), "mask": np.array([[True] * 8, [True] * 4 + [False] * 4, [False] * 8])},
    )
    assert runs_in(cast_model)["Where"] == "f32"
    assert any(mentions(note, "2 operators", "f32", "constant", "f16") for note in cast_model.steps[-1].notes)


def test_inner_graphs_keep_f32(halve: Callable[..., Model]) -> None:
    def branch(name: str, kind: str) -> Any:
        nodes = [helper.make_node(kind, ["h", "w"], [name])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, 1, [2, 16])])

    cast_model = halve(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("If", ["c"], ["i"], then_branch=branch("t", "MatMul"), else_branch=branch("e", "Gemm")),
            helper.make_node("MatMul", ["i", "w"], ["y"]),
        ],
        ["c:bool[]", "x:f32[2,16]"],
        ["y:f32[2,16]"],
        {"w": floats(16, 16)},
        {"c": np.array(False), "x": floats(2, 16)},
    )
    assert {tensor.data_type for tensor in onnx.load(cast_model.graph).graph.initializer} == {1, 10}


def test_scales_of_resize_and_integers_stay_as_they_are(halve: Callable[..., Model]) -> None:
    weight = onnx.numpy_helper.from_array(floats(4, 2, 3, 3))
    cast_model = halve(
        [
            helper.make_node("Constant", [], ["w"], value=weight),
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
            helper.make_node("Cast", ["k"], ["kf"], to=1),
            helper.make_node("Mul", ["r", "kf"], ["y"]),
        ],
        ["x:f32[N,2,6,6]", "k:i64[]"],
        ["y:f32[N,4,12,12]"],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
        {"x": floats(1, 2, 6, 6), "k": np.array(3)},
    )
    types = runs_in(cast_model)
    assert (types["Conv"], types["Resize"]) == ("f16", "f16")


def test_names_that_look_cast_do_no_harm(halve: Callable[..., Model]) -> None:
    halve(
        [helper.make_node("MatMul", ["x", "x_f16"], ["y_f16"]), helper.make_node("Relu", ["y_f16"], ["y"])],
        ["x:f32[2,16]"],
        ["y:f32[2,4]", "y_f16:f32[2,4]"],
        {"x_f16": floats(16, 4)},
        {"x": floats(2, 16)},
    )


def test_weights_that_vanish_are_counted(halve: Callable[..., Model]) -> None:
    weights = floats(16, 4)
    weights[0, :3] = 1e-9
    cast_model = halve(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        ["x:f32[2,16]"],
        ["y:f32[2,4]"],
        {"w": weights},
        {"x": floats(2, 16)},
    )
    assert any(mentions(note, "3 of 64 weights", "f16", "0") for note in cast_model.steps[-1].notes)


def test_a_graph_without_f16_operators_is_refused(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    proto = make_graph([helper.make_node("Softmax", ["x"], ["y"])], ["x:f32[N,4]"], ["y:f32[N,4]"], {})
    with raises(UnsupportedError, "f16", hint="fp32"):
        Cast().apply(make_model(proto, tmp_path / "in"), None, work(tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())


class TestOverrides:
    @pytest.fixture
    def model(self, make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
        proto = make_graph(
            [
                helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
                helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
                helper.make_node("MatMul", ["t", "w2"], ["y"], name="second"),
            ],
            ["x:f32[N,16]"],
            ["y:f32[N,4]"],
            {"w1": floats(16, 16), "w2": floats(16, 4)},
        )
        return make_model(proto, tmp_path / "in")

    def test_a_node_comes_before_its_type(self, model: Model, tmp_path: Path) -> None:
        over = {"operators": {"MatMul": {"float": True}}, "nodes": {"first": {"float": False}}}
        cast_model = Cast.from_dict({"overrides": over}).apply(model, None, work(tmp_path / "out"))
        types = {t.name.partition("_")[0]: t.data_type for t in onnx.load(cast_model.graph).graph.initializer}
        assert types == {"w1": 10, "w2": 1}

    def test_unknown_types_and_nodes(self, model: Model, tmp_path: Path) -> None:
        for over, message in (
            ({"operators": {"MatMull": {"float": True}}}, ("[passes.operators.MatMull]", "'MatMul'")),
            ({"nodes": {"frist": {"float": True}}}, ("'frist'", "'first'")),
        ):
            with raises(UsageError, message):
                Cast.from_dict({"overrides": over}).apply(model, None, tmp_path)
        with raises(UsageError, "bf16", hint=("[passes.operators...]", "f16")):
            Cast.from_dict({"dtype": "bf16", "overrides": {"operators": {"MatMul": {"float": True}}}})


class TestBf16:
    @pytest.mark.parametrize(
        ("before", "after"), [("f32", "bf16"), ("i8", "i8+bf16"), ("i8-dynamic", "i8-dynamic+bf16")]
    )
    def test_marks_the_model_and_leaves_the_graph(self, resnet: Model, before: str, after: str, tmp_path: Path) -> None:
        cast_model = Cast(dtype="bf16").apply(replace(resnet, precision=before), None, work(tmp_path / "out"))
        assert cast_model.precision == after
        assert cast_model.graph.read_bytes() == resnet.graph.read_bytes()
        assert mentions(cast_model.steps[-1].notes[0], "graph")

    @pytest.mark.parametrize("precision", ["bf16", "i8+bf16", "f16"])
    def test_is_refused_twice(self, resnet: Model, precision: str, tmp_path: Path) -> None:
        with raises(UnsupportedError, ("already", "bf16")):
            Cast(dtype="bf16").apply(replace(resnet, precision=precision), None, work(tmp_path / "out"))


@pytest.mark.parametrize("precision", ["f16", "bf16", "i8+f16", "i8-dynamic"])
def test_f16_is_refused_where_it_makes_no_sense(resnet: Model, precision: str, tmp_path: Path) -> None:
    with raises(
        UnsupportedError, "i8, i4-weights, i8-weights, f8", re.compile(rf" {re.escape(precision)}\.$")
    ) as caught:
        Cast().apply(replace(resnet, precision=precision), None, work(tmp_path / "out"))
    assert caught.value.hint


def test_f16_follows_int8(resnet: Model, tmp_path: Path) -> None:
    cast_model = Cast().apply(replace(resnet, precision="i8"), None, work(tmp_path / "out"))
    assert cast_model.precision == "i8+f16"
