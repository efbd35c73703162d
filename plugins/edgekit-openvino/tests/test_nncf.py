"""The pass `nncf`: the contract, then what is specific to NNCF, on small graphs that are really quantized."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from edgekit_openvino import OpenVino, ir
from edgekit_openvino.build import convert
from edgekit_openvino.quantize import Nncf, masked_sums
from onnx import TensorProto, helper, numpy_helper

from edgekit import registry
from edgekit.data import Feeds
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.frameworks import onnx_graph
from edgekit.model import Model, Part
from edgekit.plugin import Payload
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import Device, Target
from edgekit.testing.passes import PassTests
from tests.wording import raises

FLOAT = TensorProto.FLOAT


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def write(folder: Path, nodes, shape_in, shape_out, weights) -> Model:
    """Write a graph from `x` to `y` and return its Model."""
    values = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in (("x", shape_in), ("y", shape_out))]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    proto.ir_version = 8
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, str(folder / "model.onnx"))
    specs = [TensorSpec(name, "f32", tuple(shape)) for name, shape in (("x", shape_in), ("y", shape_out))]
    return Model("onnx", (Part("model", "model.onnx", (specs[0],), (specs[1],)),), folder=folder)


def weight(rng, *shape):
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def residual_net(folder: Path, scale: float = 1.0) -> Model:
    """Write two convolutions around a sum, and a product; `scale` spreads the first one's channels unevenly."""
    rng = np.random.default_rng(2)
    uneven = np.ones((8, 1, 1, 1), np.float32)
    uneven[0] = scale
    weights = {
        "w1": weight(rng, 8, 3, 3, 3) * uneven,
        "b1": weight(rng, 8),
        "w2": weight(rng, 8, 8, 3, 3) / uneven.reshape(1, 8, 1, 1),
        "b2": weight(rng, 8),
        "w3": weight(rng, 8, 8, 3, 3),
        "f": weight(rng, 8, 10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "/first/Conv", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "/first/Relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "/second/Conv", pads=[1] * 4),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], "/third/Conv", pads=[1] * 4),
        helper.make_node("Add", ["c2", "c3"], ["s"], "/sum/Add"),
        helper.make_node("Relu", ["s"], ["r2"], "/sum/Relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "/pool"),
        helper.make_node("Flatten", ["p"], ["v"], "/flatten"),
        helper.make_node("MatMul", ["v", "f"], ["y"], "/head/MatMul"),
    ]
    return write(folder, nodes, [1, 3, 8, 8], [1, 10], weights)


def attention_net(folder: Path) -> Model:
    """Write one head of attention between products with weights."""
    rng = np.random.default_rng(3)
    weights = {name: weight(rng, 16, 16) for name in ("q", "k", "v", "o")} | {"scale": np.float32(0.25)}
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [f"{name}x"], f"/{name}/MatMul") for name in ("q", "k", "v")),
        helper.make_node("Transpose", ["kx"], ["kt"], "/transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["qx", "kt"], ["s"], "/scores"),
        helper.make_node("Mul", ["s", "scale"], ["m"], "/scale"),
        helper.make_node("Softmax", ["m"], ["a"], "/softmax", axis=-1),
        helper.make_node("MatMul", ["a", "vx"], ["c"], "/context"),
        helper.make_node("MatMul", ["c", "o"], ["y"], "/o/MatMul"),
    ]
    return write(folder, nodes, [1, "n", 16], [1, "n", 16], weights)


def masked_attention_net(folder: Path) -> Model:
    """Write one head of attention in which keys with a large sum are masked with -inf, as torch exports it."""
    rng = np.random.default_rng(3)
    weights = {name: weight(rng, 16, 16) for name in ("q", "k", "v", "o")}
    weights |= {"most": np.float32(3), "seen": np.float32(0), "hidden": np.float32(-np.inf), "last": np.array([-1])}
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [f"{name}x"], f"/{name}/MatMul") for name in ("q", "k", "v")),
        helper.make_node("Transpose", ["kx"], ["kt"], "/transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["qx", "kt"], ["s"], "/scores"),
        helper.make_node("ReduceSum", ["x", "last"], ["sums"], "/sums"),
        helper.make_node("Less", ["sums", "most"], ["small"], "/small"),
        helper.make_node("Where", ["small", "seen", "hidden"], ["column"], "/mask"),
        helper.make_node("Transpose", ["column"], ["mask"], "/mask/Transpose", perm=[0, 2, 1]),
        helper.make_node("Add", ["s", "mask"], ["m"], "/masked/Add"),
        helper.make_node("Softmax", ["m"], ["p"], "/softmax", axis=-1),
        helper.make_node("IsNaN", ["p"], ["none"], "/none"),
        helper.make_node("Where", ["none", "seen", "p"], ["a"], "/guard"),
        helper.make_node("MatMul", ["a", "vx"], ["c"], "/context"),
        helper.make_node("MatMul", ["c", "o"], ["y"], "/o/MatMul"),
    ]
    return write(folder, nodes, [1, "n", 16], [1, "n", 16], weights)


def pictures(count: int = 8) -> Feeds:
    rng = np.random.default_rng(4)
    return Feeds.from_arrays([{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)])


def quantized(model: Model, folder: Path, feeds: Feeds | None = None, **config) -> Model:
    folder.mkdir()
    return Nncf(**config).apply(model, feeds or pictures(), folder)


def target_of(name: str = "host", **device) -> Target:
    here = host.probe()
    return Target(name, name, device=Device(**({"arch": here.arch, "isa": here.isa, "cores": here.cores} | device)))


def build(model: Model, folder: Path, target: Target):
    folder.mkdir()
    return OpenVino().build(model, target, {}, folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> SimpleNamespace:
    """Quantize a net with weights of eight bits and of seven, for tests that only read them."""
    folder = tmp_path_factory.mktemp("shared")
    model = residual_net(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(folder / "cache"))
        wide, narrow = quantized(model, folder / "wide"), quantized(model, folder / "narrow", reduce_range=True)
    return SimpleNamespace(model=model, wide=wide, narrow=narrow)


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def fresh_cache(self, tmp_path_factory, monkeypatch):
        """Use another cache for each run, so that the second of two equal runs computes too."""
        monkeypatch.setattr("edgekit.cache.folder", lambda: tmp_path_factory.mktemp("cache"))

    def subject(self):
        return Nncf(reduce_range=True)

    def model(self, folder):
        return residual_net(folder)

    def samples(self):
        return pictures()


# The result


def test_the_result_runs_in_int8_and_agrees_with_the_float_model(shared, tmp_path):
    model, typed = shared.model, shared.narrow
    assert (typed.format, typed.precision, typed.part.file) == ("openvino", "i8", "model.xml")
    x = next(iter(pictures()))
    outputs = {}
    for name, candidate in (("float", model), ("int8", typed)):
        built = build(candidate, tmp_path / f"{name}-built", target_of())
        payload = Payload(tmp_path / f"{name}-built", built.files, candidate.part, built.options)
        with closing(OpenVino().open(payload)) as session:
            outputs[name] = session.run(x)["y"]
            assert session.precision.main == ("i8" if name == "int8" else "f32")
    error = np.linalg.norm(outputs["int8"] - outputs["float"]) / np.linalg.norm(outputs["float"])
    assert 0 < error < 0.2


def test_excluded_layers_keep_their_weights(tmp_path):
    model = residual_net(tmp_path / "model")
    typed = quantized(model, tmp_path / "int8", exclude=("/first/Conv", "/head/MatMul"))
    network = ir.read(typed.graph)
    kinds = {
        name: {port.get_source_output().get_node().get_type_name() for port in node.inputs()} - {"Parameter"}
        for name, node in ir.layers(network).items()
    }
    assert "Constant" in kinds["/first/Conv"] and "Constant" in kinds["/head/MatMul"]
    assert "Constant" not in kinds["/second/Conv"], "int8 weights are scaled first"


@pytest.mark.parametrize(
    "config",
    [
        {"bias_correction": "thorough"},
        {"bias_correction": "none"},
        {"ranges": "minmax"},
        {"preset": "mixed"},
        {"device": "CPU_SPR"},
        {"device": "GPU"},
        {"device": "NPU"},
        {"samples": 3},
    ],
    ids=lambda config: "-".join(map(str, *config.items())),
)
def test_each_setting_changes_the_result(shared, tmp_path, config):
    plain, other = shared.wide, quantized(shared.model, tmp_path / "other", **config)
    assert other.steps[-1].config != plain.steps[-1].config
    if config.get("device") not in ("GPU", "NPU"):  # which may place quantizers as the CPU does
        assert other.graph.with_suffix(".bin").read_bytes() != plain.graph.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize(("setting", "value"), [("smoothing", 1.5), ("samples", 0)])
def test_settings_out_of_range_are_named(setting, value):
    with raises(UsageError, (setting, "1", str(value))):
        Nncf(**{setting: value})


def test_an_unknown_layer_is_named_with_the_one_that_was_meant(tmp_path):
    model = residual_net(tmp_path / "model")
    with raises(UsageError, ("'/frist/Conv'", "'/first/Conv'"), hint="its nodes:"):
        quantized(model, tmp_path / "int8", exclude=("/frist/Conv",))
    assert not any((tmp_path / "int8").iterdir())


def test_a_model_with_attention_is_a_transformer_and_one_with_convolutions_is_not(tmp_path):
    for make, expected in ((attention_net, True), (residual_net, False)):
        model = make(tmp_path / make.__name__)
        assert ir.is_transformer(convert(model, onnx_graph.read(model.graph))) is expected


def test_a_transformer_has_its_activations_smoothed(tmp_path):
    model = attention_net(tmp_path / "model")
    rng = np.random.default_rng(5)
    texts = Feeds.from_arrays([{"x": rng.standard_normal((1, n, 16)).astype(np.float32)} for n in (3, 5, 7)])
    results = {}
    for name, config in (("auto", {}), ("other", {"architecture": "other"}), ("rough", {"smoothing": -1.0})):
        typed = quantized(model, tmp_path / name, texts, **config)
        nodes = [node.get_friendly_name() for node in ir.read(typed.graph).get_ops()]
        results[name] = (
            "not quantized as a transformer" in typed.steps[-1].notes[1],
            any(node.endswith("/nncf_smooth_quant") for node in nodes),
        )
    assert results["auto"] == (False, True)
    assert results["other"] == (True, False)
    assert results["rough"] == (False, False)


def test_float_layers_of_a_model_for_bf16_cost_no_second_quantization(tmp_path):
    model = residual_net(tmp_path / "model")
    readings = 0

    def make():
        nonlocal readings
        readings += 1
        yield from pictures()

    samples = Feeds(make, lambda: 8, lambda: "the same")
    plain = quantized(model, tmp_path / "plain", samples)
    first = readings
    assert first > 0
    for_bf16 = quantized(replace(model, precision="bf16"), tmp_path / "bf16", samples)
    assert readings == first
    assert (plain.precision, for_bf16.precision) == ("i8", "i8+bf16")
    assert plain.digest == for_bf16.digest


# Weights that saturate


def test_weights_of_eight_bits_are_for_processors_that_add_them_right(shared, tmp_path):
    wide, narrow = shared.wide, shared.narrow
    assert ir.wide_weight(ir.read(wide.graph)) is not None
    assert ir.wide_weight(ir.read(narrow.graph)) is None

    vnni = target_of("new", arch="x86_64", isa=("avx2", "avx512_vnni", "only_there"))
    assert "avx512_vnni" in build(wide, tmp_path / "a", vnni).requires["isa_any"]
    old = target_of("old", arch="x86_64", isa=("avx2", "only_there"))
    with raises(UnsupportedError, "'/first/Conv'", "'old'", "avx512_vnni", hint="reduce_range = true"):
        build(wide, tmp_path / "b", old)
    assert "isa_any" not in build(narrow, tmp_path / "c", old).requires


# Samples


def test_samples_are_read_one_at_a_time(tmp_path):
    model = residual_net(tmp_path / "model")
    alive = most = 0

    def count_freed():
        nonlocal alive
        alive -= 1

    def make():
        nonlocal alive, most
        rng = np.random.default_rng(6)
        for _ in range(40):
            array = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
            weakref.finalize(array, count_freed)
            alive += 1
            most = max(most, alive)
            yield {"x": array}
            del array

    quantized(model, tmp_path / "int8", Feeds(make, lambda: 40, lambda: "forty"))
    assert 1 <= most <= 3


def test_samples_that_do_not_fit_are_named(tmp_path):
    model = residual_net(tmp_path / "model")
    wrong = Feeds.from_arrays([{"x": np.zeros((1, 3, 9, 8), np.float32)}])
    with raises(UsageError, "'x'", "[1, 3, 9, 8]"):
        quantized(model, tmp_path / "int8", wrong)


def test_values_that_are_not_finite_are_refused(tmp_path):
    model = residual_net(tmp_path / "model")
    for bad in (np.nan, np.inf):
        wrong = Feeds.from_arrays([*pictures(1), {"x": np.full((1, 3, 8, 8), bad, np.float32)}])
        with raises(BuildError, "sample 1", "'x'", "finite", hint="--recipe fp32"):
            quantized(model, tmp_path / f"{bad}", wrong)
        assert not any((tmp_path / f"{bad}").iterdir())


def test_values_that_become_infinite_in_the_model_are_refused(tmp_path):
    model = residual_net(tmp_path / "model")
    huge = Feeds.from_arrays([{"x": np.full((1, 3, 8, 8), 3e38, np.float32)}])
    with raises(BuildError, "'/pool'", "finite", hint="--recipe fp32"):
        quantized(model, tmp_path / "int8", huge)


def test_a_mask_of_infinities_stays_in_float(tmp_path):
    model = masked_attention_net(tmp_path / "float")
    rng = np.random.default_rng(5)
    feeds = Feeds.from_arrays([{"x": rng.standard_normal((1, 6, 16)).astype(np.float32)} for _ in range(8)])
    assert masked_sums(convert(model, onnx_graph.read(model.graph))) == ["/masked/Add"]
    result = quantized(model, tmp_path / "int8", feeds)
    answers = []
    for name, candidate in (("float", model), ("int8", result)):
        built = build(candidate, tmp_path / f"{name}-built", target_of())
        payload = Payload(tmp_path / f"{name}-built", built.files, candidate.part, built.options)
        with closing(OpenVino().open(payload)) as session:
            answers.append(session.run(next(iter(feeds)))["y"])
    expected, outputs = answers
    assert np.isfinite(expected).all()
    assert 0 < np.linalg.norm(outputs - expected) / np.linalg.norm(expected) < 0.1
    assert masked_sums(convert(attention_net(tmp_path / "other"), onnx_graph.read(tmp_path / "other/model.onnx"))) == []


def test_a_graph_without_products_says_that_there_is_nothing_to_quantize(tmp_path):
    nodes = [helper.make_node("Exp", ["x"], ["y"], "exp")]
    model = write(tmp_path / "model", nodes, [1, 3, 8, 8], [1, 3, 8, 8], {})
    with raises(UnsupportedError, "quantize", hint="fp32"):
        quantized(model, tmp_path / "int8")


# What each layer costs


def test_the_layers_that_cost_most_come_first(tmp_path):
    model = residual_net(tmp_path / "model", scale=300.0)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    costs = Nncf(reduce_range=True).costs(model, pictures(), scratch)
    names = [cost.name for cost in costs]
    assert {"/first/Conv", "/second/Conv", "/third/Conv"} <= set(names)
    assert names[0] == "/second/Conv", "it reads the uneven channels, all in one range"
    changes = [cost.rel_l2 for cost in costs]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 3 * changes[2]
    repaired = quantized(model, tmp_path / "repaired", reduce_range=True, exclude=tuple(names[:1]))
    assert repaired.precision == "i8"


# Output and files


QUIET = """
import logging, sys
from pathlib import Path
from edgekit.model import Model
from edgekit.data import Feeds
import numpy as np
from edgekit_openvino.quantize import Nncf, masked_sums
rng = np.random.default_rng(0)
feeds = Feeds.from_arrays([{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(4)])
before = logging.getLoggerClass()
Path("int8").mkdir()
Nncf().apply(Model.load(Path(sys.argv[1])), feeds, Path("int8"))
assert logging.getLoggerClass() is before and not logging.getLogger().handlers
import nncf
assert not nncf.nncf_logger.disabled
assert all(handler.stream is sys.stdout for handler in nncf.nncf_logger.handlers)
"""


def test_it_prints_nothing_and_leaves_the_home_empty(tmp_path):
    model = residual_net(tmp_path / "model")
    model.save()
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "XDG_CACHE_HOME")}
    env |= {"HOME": str(home), "EDGEKIT_CACHE_DIR": str(work / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(model.folder)], cwd=work, env=env, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [str(path) for path in home.rglob("*")] == []


def test_the_entry_point_imports_no_nncf(tmp_path):
    assert registry.pass_type("nncf") is Nncf
    code = "import sys; from edgekit import registry; registry.pass_type('nncf'); print('nncf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
