"""TensorRT for RTX, the real compiler on a processor: what each SM supports, and the types of the compiled layers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgekit_tensorrt import preflight
from edgekit_tensorrt.plan import BuildPlan, Profile
from edgekit_tensorrt.preflight import ENGINE, INSTALL, Preflight, check
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import edgekit
from edgekit.errors import EnvironmentFault, UnsupportedError
from edgekit.target.target import Device, Target
from tests.wording import mentions, raises

pytest.importorskip("tensorrt_rtx", reason=f"no TensorRT for RTX: {INSTALL}")

WIDTH = 64
KINDS = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8, 16, 16])


def save(folder: Path, nodes: list[Any], weights: list[Any], outputs: int = 1, shape: Any = X, opset: int = 21) -> Path:
    """Write a graph from `x` to `y`, `y1`... whose shapes need not be known."""
    names = ["y", *(f"y{index}" for index in range(1, outputs))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes, "g", [shape], values, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("acme", 1)])
    proto.ir_version = 10
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def weight(shape: tuple[int, ...]) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 0.1).astype(np.float32)


def convolutions(folder: Path, kind: str = "fp32") -> Path:
    """Write Conv, Relu, Conv in one float type, with casts at both ends."""
    to = KINDS[kind]
    shapes = {"w1": (16, 8, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3)}
    weights = [helper.make_tensor(name, to, shape, weight(shape).ravel().tolist()) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Cast", ["x"], ["xc"], "in", to=to),
        helper.make_node("Conv", ["xc", "w1", "b1"], ["c1"], "/conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "/relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "/conv2", pads=[1] * 4),
        helper.make_node("Cast", ["c2"], ["y"], "out", to=TensorProto.FLOAT),
    ]
    return save(folder, nodes, weights)


class Calibration(CalibrationDataReader):
    def __init__(self) -> None:
        self.feeds: Iterator[Any] = iter([{"x": weight((1, 8, 16, 16))}] * 2)

    def get_next(self) -> Any:
        return next(self.feeds, None)


def int8(folder: Path, *, symmetric: bool) -> Path:
    """Quantize both convolutions by onnxruntime: with its defaults, or with the settings for TensorRT."""
    options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False} if symmetric else {}
    plain = convolutions(folder)
    quantize_static(
        plain,
        folder / "int8.onnx",
        Calibration(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options=options,
    )
    return folder / "int8.onnx"


def fp8(folder: Path) -> Path:
    """Write a MatMul whose data and weight are fp8."""
    kind, size = TensorProto.FLOAT8E4M3FN, WIDTH * WIDTH
    weights = [
        helper.make_tensor("w", kind, [WIDTH, WIDTH], [1.0] * size),
        helper.make_tensor("zero", kind, [], [0.0]),
        numpy_helper.from_array(np.float32(0.01), "scale"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], "/quantize"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], "/dequantize"),
        helper.make_node("DequantizeLinear", ["w", "scale"], ["wd"], "/weight"),
        helper.make_node("MatMul", ["xd", "wd"], ["y"], "/fc"),
    ]
    return save(folder, nodes, weights, shape=rows())


def int4(folder: Path) -> Path:
    """Write a MatMul in floats whose weight is stored in int4, with a scale for each 32 rows of a column."""
    weights = [
        helper.make_tensor("w", TensorProto.INT4, [WIDTH, WIDTH], [index % 15 - 7 for index in range(WIDTH * WIDTH)]),
        numpy_helper.from_array(np.full((WIDTH // 32, WIDTH), 0.01, np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["wd"], "/unpack", axis=0, block_size=32),
        helper.make_node("MatMul", ["x", "wd"], ["y"], "/fc"),
    ]
    return save(folder, nodes, weights, shape=rows())


def rows() -> Any:
    return helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, WIDTH])


GRAPHS = {
    "fp32": convolutions,
    "fp16": lambda folder: convolutions(folder, "fp16"),
    "bf16": lambda folder: convolutions(folder, "bf16"),
    "int8": lambda folder: int8(folder, symmetric=True),
    "int8 of onnxruntime": lambda folder: int8(folder, symmetric=False),
    "fp8": fp8,
    "int4 weights": int4,
}


def target(sm: str | None) -> Target:
    return Target("card", "a GPU", device=Device(sm=sm))


def preflighted(graph: Path, sm: str | None, *, runtime: str = "tensorrt", timeout_s: float = 120) -> Preflight:
    dynamic = "N" in str(onnx.load(graph).graph.input[0].type)
    profiles = (Profile("x", (1, 8, 16, 16), (1, 8, 16, 16), (4, 8, 16, 16)),) if dynamic else ()
    plan = BuildPlan("card", "as the graph says", 21, sm=sm, profiles=profiles, options={"runtime": runtime})
    return check(graph, plan, target(sm), timeout_s=timeout_s)


TABLE = [
    # precision, SM of the target, verdict, main type or part of a problem
    ("fp32", "7.5", "compiled", "f32"),
    ("fp32", "12.1", "compiled", "f32"),
    ("fp16", "7.5", "compiled", "f16"),
    ("fp16", "8.7", "compiled", "f16"),
    ("bf16", "7.5", "failed", "SM 7.5 has no bf16, which these nodes need: 'in', '/conv1', '/relu1' and 2 more"),
    ("bf16", "8.0", "compiled", "bf16"),
    ("int8", "8.6", "compiled", "i8"),
    ("int8", "8.7", "compiled", "i8"),
    ("int8", "11.0", "compiled", "i8"),
    ("int8 of onnxruntime", "8.7", "rejected", "TensorRT takes biases in float"),
    ("fp8", "8.6", "failed", "SM 8.6 has no fp8, which these nodes need: '/quantize', '/dequantize', '/weight'"),
    ("fp8", "8.7", "failed", "SM 8.6 has no fp8"),
    ("fp8", "8.9", "compiled", "f8"),
    ("fp8", "11.0", "compiled", "f8"),
    ("int4 weights", "7.5", "failed", "SM 7.5 has no int4, which these nodes need: '/unpack'"),
    ("int4 weights", "8.0", "compiled", "f32"),
]


@pytest.mark.parametrize(("name", "sm", "verdict", "detail"), TABLE, ids=lambda value: value.replace(" ", "-")[:24])
def test_what_each_sm_supports(tmp_path: Path, name: str, sm: str, verdict: str, detail: str) -> None:
    result = preflighted(GRAPHS[name](tmp_path), sm)
    assert result.verdict == verdict, result.problems
    if verdict == "compiled":
        assert result.accepted and not result.problems
        assert result.precision is not None and result.precision.main == detail
        assert result.engine is None and not (tmp_path / ENGINE).exists(), "a preflight leaves no engine to ship"
    else:
        assert not result.accepted
        assert any(detail in problem for problem in result.problems), result.problems
    assert result.compiler is not None and result.compiler.startswith("tensorrt-rtx 1.")
    assert result.seconds is not None and result.peak_memory_mb is not None and result.peak_memory_mb > 100


def test_int8_really_runs_in_int8(tmp_path: Path) -> None:
    result = preflighted(int8(tmp_path, symmetric=True), "8.6")
    assert result.precision is not None and result.precision.layers["i8"] == 2
    assert len(result.as_asked) == 1 and mentions(result.as_asked[0], "2 convolutions", "int8")
    assert result.differs == ()


def test_int8_that_silently_runs_in_float_is_noted(tmp_path: Path) -> None:
    result = preflighted(int8(tmp_path, symmetric=True), "7.5")
    assert result.verdict == "compiled", "the compiler does not report it"
    assert len(result.differs) == 1
    assert mentions(result.differs[0], ("int8", "2 of 2 convolutions", "fp32", "'/conv1'", "'/conv2'"))
    assert set(result.differs) <= set(result.notes)
    assert result.precision is not None and "i8" not in result.precision.layers


@pytest.mark.parametrize(("sm", "compiled"), [("8.7", "8.6"), ("9.0", "8.9"), ("11.0", "12.0")])
def test_a_sibling_is_called_one_and_is_never_shipped(tmp_path: Path, sm: str, compiled: str) -> None:
    result = preflighted(convolutions(tmp_path, "fp16"), sm)
    assert (result.sm, result.sibling, result.engine) == (compiled, True, None)
    assert any("sibling" in note and "not shipped" in note for note in result.notes)


def test_without_a_sibling_the_graph_is_only_parsed(tmp_path: Path) -> None:
    result = preflighted(convolutions(tmp_path), "5.3")
    assert (result.verdict, result.sm, result.precision) == ("parsed", None, None)
    assert mentions(result.notes[0], "nothing")


def test_the_engine_of_an_rtx_target_is_kept(tmp_path: Path) -> None:
    result = preflighted(convolutions(tmp_path, "fp16"), "8.6", runtime="rtx")
    assert (result.verdict, result.sm, result.sibling, result.engine) == ("compiled", "8.6", False, ENGINE)
    assert result.engine_mb == round((tmp_path / ENGINE).stat().st_size / 1e6, 2)


def test_an_sm_that_rtx_lacks_is_refused_where_its_engine_is_wanted(tmp_path: Path) -> None:
    with raises(UnsupportedError, "'card'", "9.0", ("7.5", "8.0")):
        preflighted(convolutions(tmp_path), "9.0", runtime="rtx")


def test_every_operator_that_tensorrt_lacks_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "/head/relu"),
        helper.make_node("Det", ["a"], ["y"], "/head/det"),
        helper.make_node("Mystery", ["a"], ["y1"], "/head/mystery", domain="acme"),
        helper.make_node("Unique", ["a"], ["y2"]),
    ]
    result = preflighted(save(tmp_path, nodes, [], outputs=3), "8.7")
    assert result.verdict == "rejected"
    facts = (("'/head/det'", "Det"), ("'/head/mystery'", "Mystery", "plugin"), ("3", "Unique"))
    for problem, fact in zip(result.problems, facts, strict=True):
        assert mentions(problem, fact)


def test_an_operator_that_an_sm_lacks_is_named(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(weight((WIDTH, WIDTH)), "w")]
    graph = save(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], "/head/fc")], weights, shape=rows())
    result = preflighted(graph, "7.5")
    assert result.verdict == "failed"
    assert result.problems == ("Cannot compile operation '/head/fc' for Turing (SM75): FP32 GEMM is not supported",)


def test_a_file_that_is_not_a_graph_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no protobuf" * 9)
    result = check(tmp_path / "model.onnx", BuildPlan("card", "f32", 17, sm="8.6"), target("8.6"))
    assert (result.verdict, len(result.problems)) == ("rejected", 1)
    assert mentions(result.problems[0], "ONNX")


def test_weights_beside_the_graph_are_result(tmp_path: Path) -> None:
    proto = onnx.load(convolutions(tmp_path))
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))  # raw, as such files need
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=16)
    assert (tmp_path / "model.data").stat().st_size > 1000
    assert preflighted(tmp_path / "model.onnx", "8.6").verdict == "compiled"


def test_equal_graphs_give_equal_verdicts(tmp_path: Path) -> None:
    graph = int8(tmp_path, symmetric=True)
    first, second = preflighted(graph, "8.6"), preflighted(graph, "8.6")
    assert (first.precision, first.as_asked, first.notes) == (second.precision, second.as_asked, second.notes)


def exported(model: Path, folder: Path, sm: str = "8.6") -> Any:
    """Export for a card of this SM whose engine is compiled here."""
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(model)), model)
    card = folder / "card.toml"
    card.write_text(
        f'summary = "an RTX card"\nbackends = ["tensorrt"]\nprecisions = ["f32", "f16"]\n[device]\nsm = "{sm}"\n'
        'accelerator = "NVIDIA GPU"\n[options.tensorrt]\nruntime = "rtx"\n'
    )
    return edgekit.export(model, target=str(card), recipe="fp32", output=folder / "out", force=True, shapes={"N": 1})


def test_an_export_for_an_rtx_card_ships_its_engine_and_builds_it_once(tmp_path: Path) -> None:
    model = convolutions(tmp_path)
    first, second = exported(model, tmp_path).bundle.manifest, exported(model, tmp_path).bundle.manifest
    assert (first.evidence, first.portable, first.parts[0].payload[0]) == ("aot_compiled", False, f"model/{ENGINE}")
    assert list(first.parts[0].requires["packages"]) == ["tensorrt-rtx"]
    assert second.digest == first.digest, "a second compile would differ in bytes: the first is kept"
    report = json.loads((tmp_path / "out" / "model" / "preflight.json").read_text())
    assert (report["verdict"], report["sm"], report["precision"]["main"]) == ("compiled", "8.6", "f32")


def test_an_export_that_tensorrt_refuses_says_which_nodes_and_what_to_do(tmp_path: Path) -> None:
    model = save(tmp_path, [helper.make_node("Det", ["x"], ["y"], "/head/det")], [])
    with pytest.raises(UnsupportedError) as fault:
        exported(model, tmp_path)
    assert "'/head/det'" in str(fault.value) and fault.value.exit_code == 4
    assert fault.value.hint is not None
    assert not (tmp_path / "out").exists()


# Faults of the child process


def test_a_compiler_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    started = time.monotonic()
    result = preflighted(convolutions(tmp_path), "8.6", timeout_s=0.01)
    assert time.monotonic() - started < 30
    assert (result.verdict, result.accepted) == ("unanswered", False)
    assert mentions(result.problems[0], "0.01 s")


@pytest.mark.parametrize(
    ("crash", "facts"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", ("SIGSEGV", "VERBOSE: at /conv7")),
        ("os.kill(os.getpid(), signal.SIGKILL)", ("SIGKILL", "memory")),
        ("sys.exit(3)", ("code 3", "VERBOSE: at /conv7")),
    ],
)
def test_a_crash_in_the_child_is_a_message(tmp_path: Path, crash: str, facts: tuple[str, ...]) -> None:
    code = f"import os, signal, sys; print('VERBOSE: at /conv7', file=sys.stderr, flush=True); {crash}"
    answer = preflight.run([sys.executable, "-c", code], {"onnx": "model.onnx"}, tmp_path, 30)
    assert isinstance(answer, str) and mentions(answer, facts)


def test_a_missing_compiler_is_noted_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    result = preflighted(convolutions(tmp_path), "8.7")
    assert (result.verdict, result.accepted, result.compiler) == ("none", False, None)
    assert INSTALL in result.notes[0]
    with raises(EnvironmentFault, "TensorRT for RTX", hint="pip install 'edgekit-tensorrt[rtx]'") as fault:
        preflighted(tmp_path / "model.onnx", "8.6", runtime="rtx")
    assert fault.value.hint == INSTALL
