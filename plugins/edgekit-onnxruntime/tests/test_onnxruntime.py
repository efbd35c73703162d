"""ONNX Runtime as a backend: the contract, then what is specific to this runtime, on real graphs."""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from edgekit_onnxruntime import OnnxRuntime, graph
from edgekit_onnxruntime.options import Options
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

from edgekit.errors import ArtifactError, BuildError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph
from edgekit.model import Model
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.testing.backend import BackendTests, linear_bias, linear_weight
from tests.processor_graphs import (
    CONV_X,
    FLOAT,
    SATURATES,
    conv_expected,
    conv_net,
    host_target,
    int8_net,
    value,
    write,
)
from tests.wording import mentions, raises


def build(model, tmp_path, target=None, **options):
    """Build what is supported, as the core does."""
    work, target = tmp_path / "built", target or host_target()
    work.mkdir()
    if problems := OnnxRuntime().supports(model, target).problems:
        raise UnsupportedError("not supported:", problems=problems)
    return OnnxRuntime().build(model, target, options, work)


def session(model, tmp_path, **options):
    built = build(model, tmp_path, **options)
    return closing(OnnxRuntime().open(Payload(tmp_path / "built", built.files, model.part, built.options)))


class TestContract(BackendTests):
    runtime = ("onnxruntime",)

    @pytest.fixture
    def backend(self):
        return OnnxRuntime()

    def model(self, folder):
        return write(
            folder,
            [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "linear")],
            [value("x", ["N", 4])],
            [value("y", ["N", 3])],
            [("w", linear_weight()), ("b", linear_bias())],
        )


# Options


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"thread": 2}, ("'thread'", "'threads'")),
        ({"threads": 0}, ("'threads'", "0")),
        ({"graph_level": "al"}, ("graph_level", "'al'", "'all'")),
        ({"provider": "cpu"}, "'cpu'"),
    ],
)
def test_bad_options_name_the_right_ones(options, names):
    with raises(UsageError, names):
        Options.from_dict(options)


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


def test_several_graphs_are_refused(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    model = replace(model, parts=(model.part, replace(model.part, name="decoder")))
    assert mentions(OnnxRuntime().supports(model, host_target()).problems[0], "2", "model, decoder")


def test_free_sizes_are_refused_where_shapes_must_be_fixed(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    target = replace(host_target(), static_shapes_only=True)
    assert "x:f32[N,3,8,8]" in OnnxRuntime().supports(model, target).problems[0]


def test_dynamic_int8_convolutions_are_refused_with_the_reason(tmp_path):
    model, _ = conv_net(tmp_path / "float")
    quantize_dynamic(str(model.graph), str(tmp_path / "model.onnx"))
    support = OnnxRuntime().supports(replace(model, folder=tmp_path, precision="i8-dynamic"), host_target())
    assert "conv_quant" in support.problems[0]
    assert "slower" in support.problems[0]


def test_dynamic_int8_products_run_in_int8(tmp_path):
    model, weights = conv_net(tmp_path / "float")
    quantize_dynamic(
        str(model.graph), str(tmp_path / "model.onnx"), op_types_to_quantize=["MatMul"], reduce_range=SATURATES
    )
    with session(replace(model, folder=tmp_path, precision="i8-dynamic"), tmp_path) as opened:
        expected = conv_expected(CONV_X, weights)
        error = np.linalg.norm(opened.run({"x": CONV_X})["y"] - expected) / np.linalg.norm(expected)
        assert 1e-6 < error < 0.03
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


def test_foreign_operators_are_named_with_domain_and_node(tmp_path):
    nodes = [
        helper.make_node("Swish9", ["x"], ["m"], "first", domain="acme"),
        helper.make_node("Swish9", ["m"], ["y"], domain="acme"),
    ]
    model = write(tmp_path, nodes, [value("x", [1])], [value("y", [1])], opsets=(("", 17), ("acme", 1)))
    with pytest.raises(UnsupportedError) as caught:
        build(model, tmp_path)
    assert len(caught.value.problems) == 2
    assert mentions(caught.value.problems[0], "Swish9", "'acme'", "'first'")
    assert mentions(caught.value.problems[1], "'y'")
    assert not any((tmp_path / "built").iterdir())


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


def test_a_file_that_is_not_a_graph_is_a_build_error(tmp_path):
    model, _ = conv_net(tmp_path)
    model.graph.write_bytes(b"garbage" * 99)
    with raises(BuildError, "'model.onnx'"):
        build(model, tmp_path)


# What is built


def test_external_data_travels_with_the_graph(tmp_path):
    source = tmp_path / "source"
    model, weights = conv_net(source)
    (source / "w").mkdir()
    onnx.save(
        onnx.load(str(model.graph)),
        str(model.graph),
        save_as_external_data=True,
        location="w/data.bin",
        size_threshold=16,
    )
    built = build(model, tmp_path)
    assert built.files == ("model.onnx", "w/data.bin")
    shutil.rmtree(source)
    payload = Payload(tmp_path / "built", built.files, model.part, built.options)
    with closing(OnnxRuntime().open(payload)) as opened:
        np.testing.assert_allclose(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights), rtol=1e-4, atol=1e-4)
    data = tmp_path / "built" / "w" / "data.bin"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ArtifactError):
        OnnxRuntime().open(payload)
    data.unlink()
    with raises(ArtifactError, "'w/data.bin'"):
        OnnxRuntime().open(payload)


@pytest.mark.parametrize(("opset", "ir_version", "release"), [(17, 8, "1.20"), (22, 10, "1.21"), (23, 11, "1.23")])
def test_the_required_release_follows_opset_and_ir_version(opset, ir_version, release, tmp_path):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    shape = [value("x", [1])], [value("y", [1])]
    model = write(tmp_path, relu, *shape, opsets=(("", opset),), ir_version=ir_version)
    assert graph.oldest_release(onnx_graph.read(model.graph)) == release


def test_the_release_is_required_by_name(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    assert build(model, tmp_path).requires["packages"] == {"onnxruntime": ">=1.20"}


def test_evidence_says_whether_this_is_the_target(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    assert build(model, tmp_path).evidence == "built_on_device"
    other = "aarch64" if host.probe().arch == "x86_64" else "x86_64"
    shutil.rmtree(tmp_path / "built")
    built = build(model, tmp_path, host_target(arch=other, isa=()))
    assert built.evidence == "parsed"
    assert built.requires["arch"] == other


def test_full_range_int8_requires_wide_sums_on_x86(tmp_path):
    model, _ = int8_net(tmp_path / "model")
    built = build(model, tmp_path, host_target(arch="x86_64", isa=("avx2", "avx512_vnni")))
    assert set(built.requires["isa_any"]) == {"avx_vnni", "avx512_vnni", "amx_int8"}
    shutil.rmtree(tmp_path / "built")
    elsewhere = host_target(arch="x86_64", isa=("avx2",), board="another machine")
    with raises(UnsupportedError, "'w_quantized'", "avx512_vnni", hint="reduce_range = true") as caught:
        build(model, tmp_path, elsewhere)
    assert "reduce_range" in caught.value.hint


@pytest.mark.skipif(not SATURATES or host.probe().arch != "x86_64", reason="sums of products do not saturate here")
def test_full_range_int8_is_measured_where_it_saturates(tmp_path):
    """On this machine the gate measures what saturation costs; on another one nothing would."""
    model, _ = int8_net(tmp_path / "model")
    built = build(model, tmp_path)
    assert any("saturate" in note for note in built.notes)
    assert "isa_any" not in built.requires


def test_seven_bit_weights_run_on_any_x86(tmp_path):
    model, _ = int8_net(tmp_path / "model", reduce_range=True)
    built = build(model, tmp_path, host_target(arch="x86_64", isa=("avx2",)))
    assert "isa_any" not in built.requires


# What really runs


def test_float_runs_in_f32_and_agrees_with_numpy(tmp_path):
    model, weights = conv_net(tmp_path / "model")
    with session(model, tmp_path) as opened:
        assert opened.precision.main == "f32"
        np.testing.assert_allclose(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights), rtol=1e-4, atol=1e-4)
        kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
    assert kinds["MatMul"] == "f32"
    assert {"Conv", "FusedConv", "NhwcFusedConv"} & set(kinds)


def test_static_int8_runs_in_int8(tmp_path):
    model, weights = int8_net(tmp_path / "model", reduce_range=SATURATES)
    with session(model, tmp_path) as opened:
        assert opened.precision.main == "i8"
        expected = conv_expected(CONV_X, weights)
        error = np.linalg.norm(opened.run({"x": CONV_X})["y"] - expected) / np.linalg.norm(expected)
        assert 1e-6 < error < 0.05
        kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
    assert kinds["QLinearConv"] == "i8"


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


def test_sizes_may_change_from_run_to_run(tmp_path):
    model, weights = conv_net(tmp_path / "model")
    with session(model, tmp_path) as opened:
        for count in (1, 2, 1):
            x = CONV_X[:count]
            np.testing.assert_allclose(opened.run({"x": x})["y"], conv_expected(x, weights), rtol=1e-4, atol=1e-4)
        with raises(UsageError, "'x'", "[2, 3, 8, 4]", "x:f32[N,3,8,8]"):
            opened.run({"x": CONV_X[..., :4]})
        with raises(UsageError, "'x'", "list", "float32"):
            opened.run({"x": [[1.0]]})
        with raises(UsageError, "'x'", "float64", "float32"):
            opened.profile({"x": CONV_X.astype(np.float64)})


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


def test_a_manifest_that_names_other_tensors_is_an_artifact_error(tmp_path):
    model, _ = conv_net(tmp_path / "model")
    built = build(model, tmp_path)
    other = replace(model.part, outputs=(TensorSpec("logits", "f32", ("N", 10)),))
    with raises(ArtifactError, "'model.onnx'", "logits"):
        OnnxRuntime().open(Payload(tmp_path / "built", built.files, other, built.options))


# The probe


def test_probe_names_version_and_provider():
    probe = OnnxRuntime().probe()
    assert probe.versions["onnxruntime"] == onnxruntime.__version__
    assert "CPUExecutionProvider" in probe.devices


def test_probe_on_32_bit_arm_says_that_there_are_no_wheels(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    probe = OnnxRuntime().probe()
    assert not probe.available
    assert "armv7l" in probe.problems[0]
    assert "64-bit" in probe.hint


def test_probe_finds_the_release_that_crashes_on_old_arm_cores(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.21.0")
    here = replace(host.probe(), arch="aarch64", isa=("neon",))
    monkeypatch.setattr("edgekit_onnxruntime.probe_host", lambda: here)
    probe = OnnxRuntime().probe()
    assert not probe.available
    assert "1.21.0" in probe.problems[0]
