"""ONNX Runtime as a backend: the contract, then what is specific to this runtime, on real graphs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
from edgekit_onnxruntime import OnnxRuntime, graph
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

from edgekit.errors import BuildError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph
from edgekit.model import Model
from edgekit.plugin import Payload
from edgekit.target import host
from tests import processor_backend
from tests.processor_backend import ProcessorBackendTests, difference
from tests.processor_graphs import (
    CONV_X,
    FLOAT,
    SATURATES,
    conv_expected,
    conv_net,
    host_target,
    value,
    write,
)
from tests.wording import raises

build, session = partial(processor_backend.build, OnnxRuntime()), partial(processor_backend.session, OnnxRuntime())


class TestContract(ProcessorBackendTests):
    runtime = ("onnxruntime",)
    main_file, weights_file = "model.onnx", "w/data.bin"
    float_layers = (frozenset({"Conv", "FusedConv", "NhwcFusedConv"}), frozenset({"MatMul"}))
    int8_layers = ("QLinearConv",)
    bad_options = (
        ({"thread": 2}, ("'thread'", "'threads'")),
        ({"threads": 0}, ("'threads'", "0")),
        ({"graph_level": "al"}, ("graph_level", "'al'", "'all'")),
        ({"provider": "cpu"}, "'cpu'"),
    )

    @pytest.fixture
    def backend(self):
        return OnnxRuntime()


# Options


@pytest.mark.parametrize("options", [{"threads": 1}, {"allow_spinning": False}, {"graph_level": "disabled"}])
def test_options_reach_the_runtime_and_leave_the_outputs(options, tmp_path):
    model, weights = conv_net(tmp_path / "model")
    with session(model, tmp_path, **options) as opened:
        settings = opened._session.get_session_options()
        assert settings.intra_op_num_threads == options.get("threads", host.probe().cores)
        spinning = settings.get_session_config_entry("session.intra_op.allow_spinning")
        assert spinning == ("0" if options.get("allow_spinning") is False else "1")
        np.testing.assert_allclose(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights), rtol=1e-4, atol=1e-4)


def test_a_provider_that_is_not_available_is_an_error(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    with raises(EnvironmentFault, "CUDAExecutionProvider", hint="'provider'"):
        build(model, tmp_path, provider="CUDAExecutionProvider")
    assert not any((tmp_path / "built").iterdir())


# What it supports


def test_support_lists_every_problem_at_once():
    model = Model("torch", precision="bf16+i7")
    problems = OnnxRuntime().supports(model, host_target(arch="armv7l")).problems
    assert [word for word in ("'torch'", "i7", "no bf16", "armv7l") if word in " ".join(problems)] == [
        "'torch'",
        "i7",
        "no bf16",
        "armv7l",
    ]


def test_dynamic_int8_convolutions_run_with_a_note_that_they_are_slow(tmp_path):
    model, weights = conv_net(tmp_path / "float")
    quantize_dynamic(str(model.graph), str(tmp_path / "model.onnx"), reduce_range=SATURATES)
    model = replace(model, folder=tmp_path, precision="i8-dynamic")
    built = build(model, tmp_path)
    assert "conv_quant" in built.notes[0]
    assert "slower" in built.notes[0]
    payload = Payload(tmp_path / "built", built.files, model.part, built.options)
    with closing(OnnxRuntime().open(payload)) as opened:
        assert 1e-6 < difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.1


def test_dynamic_int8_products_run_in_int8(tmp_path):
    model, weights = conv_net(tmp_path / "float")
    quantize_dynamic(
        str(model.graph), str(tmp_path / "model.onnx"), op_types_to_quantize=["MatMul"], reduce_range=SATURATES
    )
    with session(replace(model, folder=tmp_path, precision="i8-dynamic"), tmp_path) as opened:
        assert 1e-6 < difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.03
        assert {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}["DynamicQuantizeMatMul"] == "i8"


def test_the_precision_of_a_graph_that_takes_few_sizes_is_that_of_its_last_run(tmp_path):
    """A reshape to a fixed size takes one length only, which cannot be guessed."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["m"], "reshape"),
        helper.make_node("Relu", ["m"], ["y"], "relu"),
    ]
    weights = [("shape", np.array([7, 11], np.int64))]
    model = write(tmp_path, nodes, [value("x", ["N"])], [value("y", [7, 11])], weights)
    with session(model, tmp_path) as opened:
        with raises(UnsupportedError, "precision", "inputs"):
            _ = opened.precision
        opened.run({"x": np.ones(77, np.float32)})
        assert opened.precision.main == "f32"


# Operators that the runtime lacks


def test_a_function_of_the_model_is_not_a_foreign_operator(tmp_path):
    model = write(
        tmp_path,
        [helper.make_node("Twice", ["x"], ["y"], "twice", domain="acme")],
        [value("x", [2])],
        [value("y", [2])],
        opsets=(("", 17), ("acme", 1)),
    )
    proto = onnx.load(str(model.graph))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    proto.functions.append(helper.make_function("acme", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    onnx.save(proto, str(model.graph))
    with session(model, tmp_path) as opened:
        assert opened.run({"x": np.array([1, 2], np.float32)})["y"].tolist() == [2, 4]


def test_unknown_and_unimplemented_operators_are_all_named(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("Frobnicate", ["r"], ["f"], "unknown"),
        helper.make_node("NoSuchFusion", ["f"], ["n"], "contrib", domain="com.microsoft"),
        helper.make_node("Cast", ["r"], ["i"], "cast", to=TensorProto.INT16),
        helper.make_node("Resize", ["i", "", "s"], ["z"], "resize", mode="cubic"),
    ]
    scales = ("s", np.ones(4, np.float32))
    outputs = [value("n", None), value("z", None, TensorProto.INT16)]
    model = write(
        tmp_path, nodes, [value("x", [1, 1, 4, 4])], outputs, [scales], opsets=(("", 17), ("com.microsoft", 1))
    )
    with pytest.raises(UnsupportedError) as caught:
        build(model, tmp_path)
    text = "\n".join(caught.value.problems)
    for words in (
        "Frobnicate",
        "'unknown'",
        "NoSuchFusion",
        "com.microsoft",
        "'contrib'",
        "Resize",
        "'resize'",
        "int16",
    ):
        assert words in text
    assert "fine" not in text
    assert "cast" not in text
    assert caught.value.__cause__ is not None


def test_bf16_products_are_named_as_missing(tmp_path):
    kind = TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], "down", to=kind),
        helper.make_node("MatMul", ["a", "a"], ["m"], "product"),
        helper.make_node("Cast", ["m"], ["y"], "up", to=FLOAT),
    ]
    model = write(tmp_path, nodes, [value("x", [4, 4])], [value("y", [4, 4])])
    with raises(UnsupportedError, "MatMul", "'ai.onnx'", "'product'", "bfloat16"):
        build(model, tmp_path)


def test_a_newer_opset_says_which_one_is_read(tmp_path):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    model = write(tmp_path, relu, [value("x", [1])], [value("y", [1])], opsets=(("", 99),))
    with raises(UnsupportedError, "opset 99", hint="opset") as caught:
        build(model, tmp_path)
    assert "upgrade onnxruntime" in caught.value.hint


def test_a_graph_that_is_wrong_in_itself_is_a_build_error(tmp_path):
    add = [helper.make_node("Add", ["x", "k"], ["y"], "add")]
    model = write(tmp_path, add, [value("x", [1])], [value("y", [1])], [("k", np.array([1], np.int64))])
    with raises(BuildError, "Add", "node (add)") as caught:
        build(model, tmp_path)
    assert caught.value.__cause__ is not None
    assert not any((tmp_path / "built").iterdir())


# What is built


@pytest.mark.parametrize(("opset", "ir_version", "release"), [(17, 8, "1.20"), (22, 10, "1.21"), (23, 11, "1.23")])
def test_the_required_release_follows_opset_and_ir_version(opset, ir_version, release, tmp_path):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    shape = [value("x", [1])], [value("y", [1])]
    model = write(tmp_path, relu, *shape, opsets=(("", opset),), ir_version=ir_version)
    assert graph.oldest_release(onnx_graph.read(model.graph)) == release


def test_the_release_is_required_by_name(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    assert build(model, tmp_path).requires["packages"] == {"onnxruntime": ">=1.20"}


# What really runs


def test_f16_on_x86_is_reported_as_f32(tmp_path):
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], "down", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"], "product"),
        helper.make_node("Cast", ["m"], ["y"], "up", to=FLOAT),
    ]
    model = write(tmp_path, nodes, [value("x", [2, 64])], [value("y", [2, 64])], [("w", weight)], "f16")
    x = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    built = build(model, tmp_path)
    payload = Payload(tmp_path / "built", built.files, model.part, built.options)
    with closing(OnnxRuntime().open(payload)) as opened:
        np.testing.assert_allclose(opened.run({"x": x})["y"], x @ weight.astype(np.float32), rtol=0.02, atol=0.05)
        if host.probe().arch == "x86_64":
            assert opened.precision.main == "f32"
            assert "f32" in built.notes[0]


# Feeds


def test_a_value_that_the_graph_cannot_take_is_a_usage_error(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], "lookup")]
    ids = value("ids", ["N"], TensorProto.INT64)
    model = write(tmp_path, nodes, [ids], [value("y", ["N", 2])], [("table", np.eye(3, 2, dtype=np.float32))])
    with session(model, tmp_path) as opened:
        with raises(UsageError, "'lookup'", "idx=7") as caught:
            opened.run({"ids": np.array([7])})
        assert caught.value.__cause__ is not None
        assert opened.run({"ids": np.array([1])})["y"].tolist() == [[0, 1]]
        assert opened.precision.layers


def test_a_bound_call_keeps_its_own_copy_of_the_feeds(tmp_path):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], "lookup")]
    ids = value("ids", ["N"], TensorProto.INT64)
    model = write(tmp_path, nodes, [ids], [value("y", ["N", 2])], [("table", np.eye(3, 2, dtype=np.float32))])
    fed = np.array([1, 2])
    with session(model, tmp_path) as opened:
        call = opened.bind({"ids": fed})
        fed[:] = 7  # would be out of the table's bounds
        call()


@pytest.mark.parametrize("dtype", [object, "U"])
def test_texts_run_and_are_bound(dtype, tmp_path):
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["x"],
            ["y"],
            "words",
            domain="ai.onnx.ml",
            keys_strings=["a", "b"],
            values_int64s=[3, 4],
            default_int64=9,
        )
    ]
    x, y = value("x", ["N"], TensorProto.STRING), value("y", ["N"], TensorProto.INT64)
    model = write(tmp_path, nodes, [x], [y], opsets=(("", 17), ("ai.onnx.ml", 2)))
    words = np.array(["b", "a", "other"], dtype)
    with session(model, tmp_path) as opened:
        call = opened.bind({"x": words})
        assert opened.run({"x": words})["y"].tolist() == [4, 3, 9]
        call()
        assert opened.precision.layers
    with raises(UsageError, "closed"):
        call()


# The probe


def test_probe_names_version_and_provider():
    probe = OnnxRuntime().probe()
    assert probe.versions["onnxruntime"] == onnxruntime.__version__
    assert "CPUExecutionProvider" in probe.devices


def test_probe_finds_the_release_that_crashes_on_old_arm_cores(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.21.0")
    here = replace(host.probe(), arch="aarch64", isa=("neon",))
    monkeypatch.setattr("edgekit_onnxruntime.probe_host", lambda: here)
    probe = OnnxRuntime().probe()
    assert not probe.available
    assert "1.21.0" in probe.problems[0]


# For another machine


def saturating_net(folder):
    """Write x:f32[N,64] times int8 weights; return it, its input, its output, and the output where the sums of two
    products saturate at 16 bits, as on processors without VNNI.
    """
    rng = np.random.default_rng(5)
    x, weights = rng.integers(180, 256, (4, 64)), rng.integers(60, 128, (64, 8))
    pairs = (x[:, :, None] * weights).reshape(4, 32, 2, 8).sum(2)
    model = write(
        folder,
        [
            helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"], "q"),
            helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"], "dq"),
            helper.make_node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], "dqw"),
            helper.make_node("MatMul", ["xd", "wd"], ["m"], "product"),
            helper.make_node("QuantizeLinear", ["m", "sy", "zx"], ["mq"], "qm"),
            helper.make_node("DequantizeLinear", ["mq", "sy", "zx"], ["y"], "dqm"),
        ],
        [value("x", ["N", 64])],
        [value("y", ["N", 8])],
        [
            ("w", weights.astype(np.int8)),
            ("zw", np.int8(0)),
            ("zx", np.uint8(0)),
            ("sx", np.float32(0.01)),
            ("sw", np.float32(0.01)),
            ("sy", np.float32(1.0)),
        ],
        precision="i8",
    )
    exact, saturated = (1e-4 * sums.sum(1) for sums in (pairs, pairs.clip(-32768, 32767)))
    return model, (0.01 * x).astype(np.float32), exact, saturated


def test_products_for_another_machine_are_summed_in_float(tmp_path):
    model, x, exact, saturated = saturating_net(tmp_path / "model")
    assert difference(saturated, exact) > 0.02, "kernels that saturate are far off"
    target = host_target(arch="aarch64", isa=("neon", "dotprod"))
    built = processor_backend.build(OnnxRuntime(), model, tmp_path, target)
    payload = Payload(tmp_path / "built", built.files, model.part, built.options, off_target=True)
    with closing(OnnxRuntime().open(payload)) as opened:
        # An output is rounded to whole numbers.
        assert np.abs(opened.run({"x": x})["y"] - exact).max() <= 0.51
        assert "Q/DQ" in opened.precision.emulated
        kinds = {layer.kind for layer in opened.profile({"x": x})}
    assert "QLinearMatMul" not in kinds and "MatMul" in kinds, "no integer kernel of this processor took part"
    with closing(OnnxRuntime().open(replace(payload, off_target=False))) as here:
        here.run({"x": x})
        assert here.precision.emulated == ""
        assert "QLinearMatMul" in {layer.kind for layer in here.profile({"x": x})}
