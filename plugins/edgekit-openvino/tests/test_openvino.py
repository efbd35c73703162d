"""OpenVINO as a backend: the contract, then what is specific to this runtime, on real graphs."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from edgekit_openvino import OpenVino
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

from edgekit.errors import ArtifactError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.plugin import Payload
from edgekit.target import host
from tests import processor_backend
from tests.processor_backend import ProcessorBackendTests, difference
from tests.processor_graphs import (
    CONV_X,
    SATURATES,
    conv_expected,
    conv_net,
    host_target,
    int8_net,
    value,
    write,
)
from tests.wording import mentions, raises

build, session = partial(processor_backend.build, OpenVino()), partial(processor_backend.session, OpenVino())


class TestContract(ProcessorBackendTests):
    runtime = ("openvino",)
    build_side = ("nncf",)
    main_file, weights_file = "model.xml", "model.bin"
    float_layers = (frozenset({"Convolution"}), frozenset({"FullyConnected"}))
    int8_layers = ("Convolution", "FullyConnected")
    bad_options = (
        ({"thread": 2}, ("'thread'", "'threads'")),
        ({"threads": 0}, ("'threads'", "0")),
        ({"hint": "latenc"}, ("hint", "'latenc'", "'latency'")),
        ({"device": ""}, "'device'"),
    )

    @pytest.fixture
    def backend(self):
        return OpenVino()


# Options


@pytest.mark.parametrize("options", [{"threads": 1}, {"hint": "throughput", "streams": 2}, {"pinning": False}, {}])
def test_options_reach_the_runtime_and_leave_the_outputs(options, tmp_path):
    model, weights = conv_net(tmp_path / "model")
    with session(model, tmp_path, **options) as opened:
        compiled = opened._compiled
        assert compiled.get_property("INFERENCE_NUM_THREADS") == options.get("threads", host.probe().cores)
        assert compiled.get_property("NUM_STREAMS") == min(options.get("streams", 1), host.probe().cores)
        assert not (options.get("pinning") is False and compiled.get_property("ENABLE_CPU_PINNING"))
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        np.testing.assert_allclose(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights), rtol=1e-4, atol=1e-4)


def test_a_device_that_is_not_here_is_named(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    with raises(EnvironmentFault, ("GPU.7", "CPU"), hint="'device'"):
        build(model, tmp_path, device="GPU.7")
    assert not any((tmp_path / "built").iterdir())


def test_the_precision_is_not_an_option(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    with raises(UsageError, "inference_precision = 'bf16'", "f32"):
        build(model, tmp_path, inference_precision="bf16")


# What it supports


def test_support_lists_every_problem_at_once():
    problems = OpenVino().supports(Model("torch", precision="i7"), host_target(arch="armv7l")).problems
    text = " ".join(problems)
    assert all(word in text for word in ("'torch'", "i7", "armv7l"))


@pytest.mark.parametrize(
    ("device", "word"),
    [
        ({"arch": "x86_64", "isa": ("avx2", "avx512_vnni")}, "avx512_vnni"),
        ({"arch": "x86_64", "isa": ()}, "instruction set"),
        ({"arch": "aarch64", "isa": ("neon", "bf16")}, "x86"),
    ],
)
def test_bf16_needs_a_processor_that_has_it(device, word):
    model = Model("onnx", precision="i8+bf16")
    assert word in OpenVino().supports(model, host_target(**device)).problems[0]
    assert OpenVino().supports(model, host_target(arch="x86_64", isa=("amx_bf16",))).ok
    assert OpenVino().supports(model, host_target(arch="x86_64", isa=("avx512_bf16",))).ok


def test_bf16_is_refused_on_graphics():
    target = replace(host_target(isa=("amx_bf16",)), options={"openvino": {"device": "GPU"}})
    assert "processors only" in OpenVino().supports(Model("onnx", precision="bf16"), target).problems[0]


# Operators that the runtime lacks


def test_unknown_operators_are_all_named(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("Frobnicate", ["r"], ["f"], "unknown"),
        helper.make_node("NoSuchFusion", ["f"], ["n"], "contrib", domain="com.microsoft"),
        helper.make_node("NoSuchFusion", ["n"], ["z"], "again", domain="com.microsoft"),
    ]
    opsets = (("", 17), ("com.microsoft", 1))
    model = write(tmp_path, nodes, [value("x", [1, 4])], [value("z", [1, 4])], opsets=opsets)
    with pytest.raises(UnsupportedError) as caught:
        build(model, tmp_path)
    assert len(caught.value.problems) == 3
    text = "\n".join(caught.value.problems)
    assert mentions(text, ("Frobnicate", "'ai.onnx'", "'unknown'"), "com.microsoft", "'contrib'", "'again'")
    assert caught.value.__cause__ is not None


def test_an_operator_on_types_it_lacks_is_named_with_the_reason(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], "cast", to=TensorProto.INT16),
        helper.make_node("Resize", ["i", "", "s"], ["z"], "resize", mode="cubic"),
        helper.make_node("Resize", ["x", "", "s"], ["y"], "innocent", mode="cubic"),
    ]
    outputs = [value("z", None, TensorProto.INT16), value("y", None)]
    model = write(tmp_path, nodes, [value("x", [1, 1, 4, 4])], outputs, [("s", np.ones(4, np.float32))])
    with raises(UnsupportedError, "Resize", "'resize'", "element type") as caught:
        build(model, tmp_path)
    assert "innocent" not in str(caught.value)


def test_a_graph_that_is_wrong_in_itself_is_an_error_with_its_node(tmp_path):
    add = [helper.make_node("Add", ["x", "k"], ["y"], "add")]
    model = write(tmp_path, add, [value("x", [1])], [value("y", [1])], [("k", np.array([1], np.int64))])
    with raises(UnsupportedError, "Add", "'add'"):
        build(model, tmp_path)
    assert not any((tmp_path / "built").iterdir())


# What is built


def test_tensor_names_and_types_stay_as_in_the_onnx(tmp_path):
    nodes = [
        helper.make_node("Relu", ["a"], ["kept"], "relu"),
        helper.make_node("Identity", ["kept"], ["same"], "copy"),
        helper.make_node("Greater", ["a", "b"], ["more"], "greater"),
        helper.make_node("Cast", ["ids"], ["wide"], "cast", to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["a"], ["sum"], "sum", keepdims=0),
    ]
    inputs = [
        value("ids", ["N"], TensorProto.INT32),
        value("b", [2]),
        value("a", [2]),
        value("unused", [3]),
        value("scalar", []),
    ]
    nodes.append(helper.make_node("Add", ["scalar", "sum"], ["total"], "add"))
    outputs = [
        value("more", [2], TensorProto.BOOL),
        value("same", [2]),
        value("kept", [2]),
        value("wide", ["N"], TensorProto.INT64),
        value("total", []),
    ]
    model = write(tmp_path / "model", nodes, inputs, outputs)
    feeds = {
        "a": np.array([-1, 2], np.float32),
        "b": np.array([0, 0], np.float32),
        "ids": np.array([5, 6, 7], np.int32),
        "unused": np.zeros(3, np.float32),
        "scalar": np.array(0.5, np.float32),
    }
    with session(model, tmp_path) as opened:
        for _ in range(2):
            outputs = opened.run(feeds)
            assert list(outputs) == ["more", "same", "kept", "wide", "total"]
            assert outputs["more"].tolist() == [False, True]
            assert outputs["more"].dtype == np.bool_
            assert outputs["kept"].tolist() == outputs["same"].tolist() == [0, 2]
            assert outputs["wide"].tolist() == [5, 6, 7]
            assert outputs["wide"].dtype == np.int64
            assert outputs["total"].tolist() == 1.5


def test_a_bf16_bundle_can_be_built_without_bf16_here(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    built = build(replace(model, precision="bf16"), tmp_path, host_target(arch="x86_64", isa=("amx_bf16",)))
    assert built.requires["isa_any"] == ["avx512_bf16", "amx_bf16"]
    assert built.options["inference_precision"] == "bf16"


# What really runs


def test_bf16_runs_in_bf16_when_asked_and_only_then(tmp_path):
    if not set(host.probe().isa) & {"avx512_bf16", "amx_bf16"}:
        pytest.skip("this processor has no bf16 arithmetic")
    model, weights = conv_net(tmp_path / "model")
    with session(replace(model, precision="bf16"), tmp_path) as opened:
        assert opened.precision.main == "bf16"
        assert 1e-4 < difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.02
        kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
    assert kinds["Convolution"] == "bf16"


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_layers_in_a_loop_are_reported_in_the_precision_of_the_model(precision, tmp_path):
    if precision == "bf16" and not {"avx512_bf16", "amx_bf16"} & set(host.probe().isa):
        pytest.skip("this processor has no bf16")
    boolean, whole = TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("MatMul", ["s", "w"], ["m"]),
            helper.make_node("Tanh", ["m"], ["t"]),
        ],
        "body",
        [value("i", [], whole), value("go", [], boolean), value("s", [1, 8])],
        [value("on", [], boolean), value("t", [1, 8])],
    )
    nodes = [helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)]
    weights = [("w", np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)), ("yes", np.array(True))]
    inputs = [value("x", [1, 8]), value("n", [], whole)]
    with session(write(tmp_path / "m", nodes, inputs, [value("y", [1, 8])], weights, precision), tmp_path) as opened:
        assert opened.precision.main == precision


def test_booleans_are_not_reported_as_int8(tmp_path):
    inputs = [value("x", ["N", 8]), value("c", ["N", 8], TensorProto.BOOL)]
    nodes = [
        helper.make_node("Where", ["c", "x", "zero"], ["kept"]),
        helper.make_node("MatMul", ["kept", "w"], ["y"]),
    ]
    weights = [("w", np.ones((8, 8), np.float32)), ("zero", np.float32(0))]
    with session(write(tmp_path / "m", nodes, inputs, [value("y", ["N", 8])], weights), tmp_path) as opened:
        assert opened.precision.main == "f32"
        assert "i8" not in opened.precision.layers


def test_arithmetic_that_the_processor_lacks_is_refused_not_replaced(tmp_path):
    missing = [
        name
        for name, flags in (("f16", {"avx512_fp16", "fp16"}), ("bf16", {"avx512_bf16", "amx_bf16"}))
        if not set(host.probe().isa) & flags
    ]
    if not missing:
        pytest.skip("this processor has every type")
    model, _ = conv_net(tmp_path / "model")
    built = build(model, tmp_path)
    options = {**built.options, "inference_precision": missing[0]}
    with raises(ArtifactError, missing[0], hint="--target host"):
        OpenVino().open(Payload(tmp_path / "built", built.files, model.part, options))


def test_static_int8_beside_bf16_runs_in_int8(tmp_path):
    if not set(host.probe().isa) & {"avx512_bf16", "amx_bf16"}:
        pytest.skip("this processor has no bf16 arithmetic")
    model, weights = int8_net(tmp_path / "model", reduce_range=SATURATES)
    with session(replace(model, precision="i8+bf16"), tmp_path) as opened:
        assert opened.precision.main == "i8"
        assert 1e-6 < difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.05
        kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
    assert kinds["Convolution"] == "i8"
    assert kinds["FullyConnected"] == "i8"


def test_dynamic_int8_is_reported_as_f32(tmp_path):
    model, weights = conv_net(tmp_path / "float")
    quantize_dynamic(str(model.graph), str(tmp_path / "model.onnx"), op_types_to_quantize=["MatMul"])
    built = build(replace(model, folder=tmp_path, precision="i8-dynamic"), tmp_path)
    assert "f32" in built.notes[0]
    payload = Payload(tmp_path / "built", built.files, model.part, built.options)
    with closing(OpenVino().open(payload)) as opened:
        assert opened.precision.main == "f32"
        assert difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.03


# Feeds


def test_a_bound_call_keeps_its_own_copy_of_the_feeds(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    fed = CONV_X.copy()
    with session(model, tmp_path) as opened:
        call = opened.bind({"x": fed})
        request = dict(zip(call.__code__.co_freevars, call.__closure__, strict=True))["request"].cell_contents
        fed[:] = 0
        call()
        assert np.array_equal(request._buffers["x"], CONV_X)


# The probe


def test_probe_names_version_and_processor():
    probe = OpenVino().probe()
    assert probe.versions["openvino"].startswith("20")
    assert any(device.startswith("CPU: ") for device in probe.devices)


def test_probe_on_an_old_arm_system_names_the_library_it_lacks(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "glibc 2.35" in OpenVino().probe().problems[0]
