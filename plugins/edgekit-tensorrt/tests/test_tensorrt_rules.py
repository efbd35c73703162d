"""What is refused without a compiler: every problem at once, each node by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgekit_tensorrt import TensorRT, support_matrix
from edgekit_tensorrt.plan import BuildPlan
from onnx import TensorProto, helper, numpy_helper

from edgekit import catalog
from edgekit.model import Model, Part
from edgekit.spec import TensorSpec
from edgekit.target import target
from edgekit.target.target import Device, Target
from tests.wording import Fact, mentions

FLOAT = TensorProto.FLOAT


def write(
    folder: Path, nodes: list[Any], *, shape: tuple[Any, ...] = (1, 3, 8, 8), opset: int = 17, **more: Any
) -> Model:
    """Write a graph from `x` to `y`."""
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in more.pop("weights", {}).items()]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.acme", 1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [*weights, *more.pop("tensors", ())],
    )
    proto = helper.make_model(graph, opset_imports=opsets)
    proto.ir_version = 10
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, str(folder / "model.onnx"))
    part = Part("model", "model.onnx", (TensorSpec("x", "f32", shape),), (TensorSpec("y", "f32", shape),))
    return Model("onnx", (part,), folder=folder, **more)


def problems(model: Model, target: str | Target) -> list[str]:
    return list(TensorRT().supports(model, catalog.target(target) if isinstance(target, str) else target).problems)


# Precision by compute capability, before there is a graph


@pytest.mark.parametrize(
    ("precision", "target", "facts"),
    [
        ("f16", "jetson", None),
        ("i8+f16", "jetson-orin-nano", None),
        ("i4-weights+f16", "jetson", None),
        ("f8+f16", "jetson-thor", None),
        ("f8+f16", "nvidia-gpu:8.9", None),
        ("f8+f16", "jetson", ("'jetson'", "8.7", "f8", "8.9")),
        ("f8+f16", "nvidia-gpu:8.6", ("8.6", "f8", "8.9")),
        ("i4-weights+f16", "nvidia-gpu:7.5", ("7.5", "i4", "8.0")),
        ("bf16", "jetson", "bf16"),
        ("i8-dynamic", "jetson", "int8-fp16"),
        ("i3", "jetson", "'i3'"),
        ("i8+f16", "jetson-nano", "TensorRT 8.2"),
        ("f8", "nvidia-gpu", ["'nvidia-gpu'", "f8"]),
        ("f16", "nvidia-rtx", "nvidia-rtx:8.9"),
        ("f16", "nvidia-rtx:9.0", ("TensorRT for RTX", "9.0")),
    ],
)
def test_precision_is_checked_at_planning(precision: str, target: str, facts: Fact | None) -> None:
    messages = problems(Model("onnx", precision=precision), target)
    assert mentions(" ".join(messages), facts) if facts else messages == []


# Operators


def test_every_problem_is_reported_at_once_with_its_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Warp", ["x"], ["a"], "warp", domain="com.acme"),
        helper.make_node("MaxPool", ["a"], ["b", "where"], "pool", kernel_shape=[2, 2], dilations=[2, 2]),
        helper.make_node("Unique", ["b"], ["c"], "unique"),
        helper.make_node("Resize", ["c", "", "s"], ["d"], "resize", mode="cubic"),
        helper.make_node("TopK", ["d", "k"], ["e", "i"], "top"),
        helper.make_node("Identity", ["e"], ["y"], "same"),
    ]
    weights = {"s": np.ones(4, np.float32), "k": np.array([5000])}
    model = write(tmp_path, nodes, shape=("N", 3, 8, 8), weights=weights, precision="f8")
    messages = problems(model, "jetson-orin-nano")
    for facts in (
        ("8.7", "f8"),
        ("Warp", "'com.acme'", "'warp'"),
        ("MaxPool", "'pool'", "dilations"),
        ("MaxPool", "'pool'", "output"),
        ("10.3", "10.16", "Unique", "'unique'"),
        ("Resize", "'resize'", "'cubic'"),
        ("TopK", "'top'", "3840"),
        ("'N'", "'x'", "'jetson-orin-nano'"),
    ):
        assert any(mentions(message, facts) for message in messages), messages
    assert len(messages) == 8


def test_the_version_that_added_an_operator_is_named(tmp_path: Path) -> None:
    model = write(tmp_path, [helper.make_node("BlackmanWindow", ["x"], ["y"], "window")])
    (message,) = problems(model, "jetson")
    assert mentions(message, ("TensorRT 10.3", "BlackmanWindow", "'window'", "10.4"))
    assert problems(model, "jetson-thor") == [], "JetPack 7.2 has 10.16"


def test_the_opset_must_suit_the_oldest_tensorrt(tmp_path: Path) -> None:
    model = write(tmp_path, [helper.make_node("Relu", ["x"], ["y"])], opset=23)
    (message,) = problems(model, "jetson")
    assert mentions(message, ("opset 23", "TensorRT 10.3", "9 to 21"))
    assert problems(model, "jetson-thor") == []


@pytest.mark.parametrize(
    ("zero", "kind", "facts"),
    [
        (0, TensorProto.INT8, None),
        (3, TensorProto.INT8, ("zero point", "0")),
        (0, TensorProto.UINT8, ("uint8", "int8")),
        (0, TensorProto.INT32, ("int32", "int8", "fp8", "int4", "float")),
    ],
)
def test_pairs_must_be_symmetric(tmp_path: Path, zero: int, kind: int, facts: Fact | None) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "unpack"),
        helper.make_node("Add", ["x", "w"], ["y"], "add"),
    ]
    tensors = [helper.make_tensor("q", kind, [8], [1] * 8), helper.make_tensor("z", kind, [], [zero])]
    messages = problems(write(tmp_path, nodes, weights={"s": np.float32(0.1)}, tensors=tensors), "jetson")
    if facts is None:
        assert messages == []
    else:
        (message,) = messages
        assert mentions(message, facts, "'unpack'")


def test_text_has_a_range_under_the_exporters_name(tmp_path: Path) -> None:
    model = write(tmp_path / "in", [helper.make_node("Relu", ["x"], ["y"])], shape=("batch_size", "sequence_length"))
    assert problems(model, "jetson") == []
    (tmp_path / "out").mkdir()
    TensorRT().build(model, target.load("jetson"), {}, tmp_path / "out")
    (profile,) = BuildPlan.load(tmp_path / "out" / "plan.json").profiles
    assert (profile.min, profile.opt, profile.max) == ((1, 1), (1, 128), (1, 512))


def test_tables_agree_with_themselves() -> None:
    assert not support_matrix.OPERATORS & set(support_matrix.ADDED), (
        "an operator is either in the first version or added later"
    )
    assert set(support_matrix.ON_DLA) <= support_matrix.OPERATORS
    schemas = {schema.name for schema in onnx.defs.get_all_schemas()}
    old = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  # of ONNX before its version 1.2
    assert {*support_matrix.OPERATORS, *support_matrix.ADDED} - old <= schemas
    assert [support_matrix.newest_opset(version) for version in ((10, 3), (10, 16), (11, 4))] == [21, 24, 25]


# DLA and memory


def on_dla(software: str = "TensorRT 10.3", **options: Any) -> Target:
    device = Device(arch="aarch64", sm="8.7", dla=2, software={"JetPack": software})
    return Target("board", "a board", ("tensorrt",), device=device, options={"tensorrt": {"dla_core": 0, **options}})


def test_the_deep_learning_accelerator_has_rules_of_its_own(tmp_path: Path) -> None:
    nodes = [helper.make_node("Erf", ["x"], ["y"], "erf")]
    fixed, free = write(tmp_path / "a", nodes, precision="f16"), write(tmp_path / "b", nodes, shape=("N", 3, 8, 8))
    assert problems(fixed, on_dla()) == [], "an operator that it does not support runs on the GPU"
    assert mentions(problems(fixed, on_dla(gpu_fallback=False))[0], "Erf", "'erf'")
    assert mentions(problems(fixed, on_dla(dla_core=2))[0], "core 2")
    assert mentions(problems(fixed, on_dla("TensorRT 10.16.2"))[0], "10.7")
    assert mentions(" ".join(problems(free, on_dla())), "f16", "i8", "sizes")
    large = write(tmp_path / "c", nodes, shape=(1, 3, 9000, 8), precision="f16")
    assert mentions(problems(large, on_dla())[0], "8192")


def test_a_model_beyond_the_memory_names_its_widest_operator(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["h"], "wide"), helper.make_node("Slice", ["h", "a", "b"], ["y"], "cut")]
    model = write(tmp_path, nodes, shape=(1, 3, 1024, 1024), weights={"a": np.array([0]), "b": np.array([1])})
    small = Target("small", "a board", device=Device(memory_mb=16))
    (message,) = problems(model, small)
    assert mentions(message, ("24 MB", "0 MB", "24 MB", "Relu", "'wide'", "16 MB"))
    assert problems(model, "jetson-orin-nano") == []
