"""SmoothQuant: exact in float, folded where the graph allows, and more accurate in int8 with outliers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.data import Feeds
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes.quantize.channel_statistics import channel_extremes
from edgekit.passes.quantize.smooth import Smooth, divisors
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.spec import TensorSpec
from edgekit.testing.passes import PassTests
from tests.wording import mentions, raises

SEED = np.random.default_rng(6)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


def work(folder: Path) -> Path:
    folder.mkdir()
    return folder


def outliers(width: int) -> np.ndarray:
    """Return a factor for each channel: two are far greater than the others, as in language models."""
    factors = np.ones(width, np.float32)
    factors[[3, 11]] = 60, 25
    return factors


def block(build: Callable[..., Any], *, residual: bool = False) -> Any:
    """Return a norm with outliers, two products that read it, a gate, a product, Relu and a product.

    With `residual` the norm is read by a sum as well.
    """
    last = helper.make_node("Add", ["p", "n"], ["y"]) if residual else helper.make_node("Identity", ["p"], ["y"])
    return build(
        [
            helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n"]),
            helper.make_node("MatMul", ["n", "wg"], ["g0"], name="gate"),
            helper.make_node("Sigmoid", ["g0"], ["g"]),
            helper.make_node("MatMul", ["n", "wu"], ["u"], name="up"),
            helper.make_node("Mul", ["g", "u"], ["m"]),
            helper.make_node("MatMul", ["m", "wd"], ["d0"], name="down"),
            helper.make_node("Add", ["d0", "bd"], ["d"]),
            helper.make_node("Relu", ["d"], ["r"]),
            helper.make_node("MatMul", ["r", "wo"], ["p"], name="out"),
            last,
        ],
        ["x:f32[N,T,32]"],
        ["y:f32[N,T,32]"],
        {
            "gamma": outliers(32),
            "beta": floats(32),
            "wg": floats(32, 48) / 6 / outliers(32)[:, None],
            "wu": floats(32, 48) / 6 / outliers(32)[:, None],
            "wd": floats(48, 32),
            "bd": floats(32),
            "wo": floats(32, 32),
        },
    )


def sequences(count: int = 20) -> Feeds:
    return Feeds.from_arrays([{"x": floats(1, 5, 32)} for _ in range(count)])


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def _builders(self, make_graph: Callable[..., Any], make_model: Callable[..., Model]) -> None:
        self.proto, self.write = block(make_graph), make_model
        self.feeds = sequences()

    def subject(self) -> Smooth:
        return Smooth()

    def model(self, folder: Path) -> Model:
        return self.write(self.proto, folder)

    def samples(self) -> Feeds:
        return self.feeds


def test_activations_that_only_products_read_are_folded(
    make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path
) -> None:
    model = make_model(block(make_graph), tmp_path / "in")
    smoothed = Smooth().apply(model, sequences(), work(tmp_path / "out"))
    kinds = [Counter(node.op_type for node in onnx.load(each.graph).graph.node) for each in (model, smoothed)]
    assert kinds[0] - kinds[1] == Counter(["Identity"]) and not kinds[1] - kinds[0]
    assert mentions(smoothed.steps[-1].notes[0], ("3 activations", "3"))
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(smoothed.graph).graph.initializer}
    assert constants["gamma"].max() / constants["gamma"].min() < 60 / 4, "the outliers went into the weights"
    feed = {"x": floats(2, 7, 32)}
    (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(smoothed.graph, feed)
    assert np.linalg.norm(before - after) < 1e-5 * np.linalg.norm(before)
    assert smoothed.precision == "f32"


@pytest.mark.parametrize("insert", [True, False])
def test_an_activation_that_a_residual_reads_too_gets_an_operator_or_stays(
    insert: bool, make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path
) -> None:
    model = make_model(block(make_graph, residual=True), tmp_path / "in")
    smoothed = Smooth(insert=insert).apply(model, sequences(), work(tmp_path / "out"))
    kinds = [Counter(node.op_type for node in onnx.load(each.graph).graph.node) for each in (model, smoothed)]
    assert kinds[1]["Mul"] - kinds[0]["Mul"] == (1 if insert else 0), "one for both products"
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(smoothed.graph).graph.initializer}
    assert np.array_equal(constants["gamma"], outliers(32))
    feed = {"x": floats(2, 7, 32)}
    (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(smoothed.graph, feed)
    assert np.linalg.norm(before - after) < 1e-5 * np.linalg.norm(before)


@pytest.mark.parametrize("alpha", [0.5, "auto"])
def test_int8_loses_less(
    alpha: Any, make_graph: Any, make_model: Any, run_onnxruntime: Any, exact: Any, tmp_path: Path
) -> None:
    model, feeds = make_model(block(make_graph), tmp_path / "in"), sequences(40)
    smoothed = Smooth(alpha=alpha).apply(model, feeds, work(tmp_path / "smooth"))
    feed = {"x": floats(8, 9, 32)}
    (before,) = run_onnxruntime(model.graph, feed)
    errors = []
    for name, start in (("plain", model), ("better", smoothed)):
        quantized = QuantizeStatic(**exact).apply(start, feeds, work(tmp_path / name))
        errors.append(np.linalg.norm(run_onnxruntime(quantized.graph, feed)[0] - before) / np.linalg.norm(before))
    assert errors[1] < 0.6 * errors[0], errors


def test_gemm_with_transposed_weights_and_dead_channels(
    make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path
) -> None:
    w1, w2 = floats(24, 16), floats(8, 24)
    w2[:, 5] = 0  # nothing reads channel 5
    w1[7] = 0  # channel 7 is always its bias, which is 0
    bias = floats(24)
    bias[7] = 0
    proto = make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2"], ["y"], name="second", transB=1),
        ],
        ["x:f32[N,16]"],
        ["y:f32[N,8]"],
        {"w1": w1, "b1": bias, "w2": w2},
    )
    model = make_model(proto, tmp_path / "in")
    feeds = Feeds.from_arrays([{"x": floats(2, 16)} for _ in range(8)])
    smoothed = Smooth(insert=False).apply(model, feeds, work(tmp_path / "out"))
    feed = {"x": floats(5, 16)}
    (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(smoothed.graph, feed)
    assert np.isfinite(after).all()
    assert np.linalg.norm(before - after) < 1e-5 * np.linalg.norm(before)
    changed = {t.name: numpy_helper.to_array(t) for t in onnx.load(smoothed.graph).graph.initializer}
    assert not np.array_equal(changed["w1"], w1) and np.array_equal(changed["w1"][5], w1[5])


def test_the_divisors_are_those_of_the_paper() -> None:
    weights = [np.array([[1.0, -4.0], [0.25, 0.0]]), np.array([[2.0], [1.0]])]
    assert divisors(np.array([16.0, 9.0]), weights, 0.5).tolist() == [2.0, 3.0]
    assert divisors(np.array([16.0, 9.0]), weights, 0.0).tolist() == [0.25, 1.0]
    assert divisors(np.array([0.0, 9.0]), weights, 1.0).tolist() == [1.0, 9.0]


def test_minilm_computes_the_same_as_before(
    minilm: Model, stsb_feeds: Feeds, sentence: Any, run_onnxruntime: Any, tmp_path: Path
) -> None:
    smoothed = Smooth(samples=20).apply(minilm, stsb_feeds, work(tmp_path / "out"))
    feed = sentence("A dog runs over the grass.")
    (before,), (after,) = run_onnxruntime(minilm.graph, feed), run_onnxruntime(smoothed.graph, feed)
    assert np.linalg.norm(before - after) < 1e-5 * np.linalg.norm(before)
    assert mentions(smoothed.steps[-1].notes[0], "24 activations")


class TestChannels:
    SPECS = (TensorSpec("x", "f32", ("N", 4)),)

    @pytest.mark.parametrize("opset", [13, 18])
    def test_they_are_the_true_extremes(self, opset: int, make_graph: Any) -> None:
        proto = make_graph([helper.make_node("Neg", ["x"], ["y"])], ["x:f32[N,4]"], ["y:f32[N,4]"], {}, opset=opset)
        data = [floats(size, 4) for size in (1, 5, 2)]
        feeds = [{"x": array} for array in data]
        extremes = channel_extremes(proto, {"x": 4, "y": 4}, feeds, self.SPECS, file=None)
        expected = np.abs(np.concatenate(data)).max(0)
        assert np.array_equal(extremes["x"], expected) and np.array_equal(extremes["y"], expected)

    def test_a_value_that_is_not_finite_is_named(self, make_graph: Any) -> None:
        proto = make_graph([helper.make_node("Log", ["x"], ["y"])], ["x:f32[N,4]"], ["y:f32[N,4]"], {})
        feeds = [{"x": np.ones((1, 4), np.float32)}, {"x": -np.ones((1, 4), np.float32)}]
        with raises(BuildError, "sample 1", "'y'", "finite", hint="--recipe fp32"):
            channel_extremes(proto, {"x": 4, "y": 4}, feeds, self.SPECS, file=None)

    def test_memory_does_not_grow_with_the_samples(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = make_graph([helper.make_node("Neg", ["x"], ["y"])], ["x:f32[1,4096,64]"], ["y:f32[1,4096,64]"], {})
        make_model(proto, tmp_path)
        peaks = [
            int(subprocess.run([sys.executable, "-c", PEAK, count, tmp_path], check=True, stdout=-1).stdout)
            for count in ("10", "300")
        ]
        assert peaks[1] < peaks[0] + 15, peaks


PEAK = """
import resource, sys
import numpy as np, onnx
from pathlib import Path
from edgekit._privacy import no_telemetry
no_telemetry()
from edgekit.passes.quantize.channel_statistics import channel_extremes
from edgekit.spec import TensorSpec
feeds = ({"x": np.full((1, 4096, 64), 1.0 + number % 7, np.float32)} for number in range(int(sys.argv[1])))
specs = [TensorSpec("x", "f32", (1, 4096, 64))]
channel_extremes(onnx.load(Path(sys.argv[2]) / "model.onnx"), {"x": 64, "y": 64}, feeds, specs, file=None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


class TestRefusals:
    @pytest.mark.parametrize(
        ("alpha", "message"), [(1.5, ("alpha", "0", "1", "1.5")), ("best", ("alpha", "auto", "'best'"))]
    )
    def test_bad_alpha(self, alpha: Any, message: str) -> None:
        with raises(UsageError, message):
            Smooth.from_dict({"alpha": alpha})

    def test_nothing_to_smooth(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = make_graph([helper.make_node("Relu", ["x"], ["y"])], ["x:f32[N,T,32]"], ["y:f32[N,T,32]"], {})
        with raises(UnsupportedError, "smooth", hint="--recipe int8-static"):
            Smooth().apply(make_model(proto, tmp_path / "in"), sequences(2), work(tmp_path / "out"))

    def test_an_unknown_node(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        model = make_model(block(make_graph), tmp_path / "in")
        with raises(UsageError, "'gatte'", hint=("its nodes:", "gate")):
            Smooth(exclude=("gatte",)).apply(model, sequences(2), work(tmp_path / "out"))
