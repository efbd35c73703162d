"""Static int8: accurate on real models, fused by the runtimes, constant in memory, clear about what it cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.data import Feeds
from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.model import ASSETS, Model
from edgekit.passes.quantize.calibrate import Extremes, Method, find_ranges
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.spec import TensorSpec
from edgekit.testing.passes import PassTests
from tests.wording import Fact, mentions, raises

SEED = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return SEED.standard_normal(shape).astype(np.float32)


def perceptron(build: Callable[..., Any], **values: Any) -> Any:
    """Return Gemm, Relu, MatMul: `x:f32[N,16]` to `y:f32[N,4]`."""
    return build(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "w2"], ["y"], name="second"),
        ],
        ["x:f32[N,16]"],
        ["y:f32[N,4]"],
        {"w1": floats(16, 32), "b1": floats(32), "w2": floats(32, 4)},
        **values,
    )


def rows(count: int = 60, size: int = 16) -> Feeds:
    return Feeds.from_arrays([{"x": floats(1, size)} for _ in range(count)])


def counts(model: Model) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(model.graph).graph.node)


def work(folder: Path) -> Path:
    folder.mkdir()
    return folder


class TestContract(PassTests):
    @pytest.fixture(autouse=True)
    def _builders(self, make_graph: Callable[..., Any], make_model: Callable[..., Model]) -> None:
        self.proto, self.write = perceptron(make_graph), make_model
        self.feeds = rows()

    def subject(self) -> QuantizeStatic:
        return QuantizeStatic()

    def model(self, folder: Path) -> Model:
        return self.write(self.proto, folder)

    def samples(self) -> Feeds:
        return self.feeds


@pytest.fixture(scope="module")
def resnet_int8(resnet: Model, cifar_feeds: Feeds, exact: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return QuantizeStatic(**exact).apply(resnet, cifar_feeds, tmp_path_factory.mktemp("resnet-int8"))


class TestResNet:
    def test_loses_at_most_one_point_and_a_half(
        self, resnet: Model, resnet_int8: Model, cifar: Any, run_onnxruntime: Any, run_openvino: Any
    ) -> None:
        images, labels = cifar("test", 50)
        right = {}
        for name, run, model in (
            ("fp32", run_onnxruntime, resnet),
            ("onnxruntime", run_onnxruntime, resnet_int8),
            ("openvino", run_openvino, resnet_int8),
        ):
            (logits,) = run(model.graph, {"images": images})
            assert np.isfinite(logits).all()
            right[name] = float((logits.argmax(1) == labels).mean())
        assert right["fp32"] == pytest.approx(0.81, abs=0.03)
        assert min(right.values()) > right["fp32"] - 0.015, right

    def test_every_convolution_runs_in_integers(self, resnet_int8: Model, optimized_kinds: Any, tmp_path: Path) -> None:
        kinds = Counter(optimized_kinds(resnet_int8.graph, tmp_path))
        assert (kinds["QLinearConv"], kinds["Conv"], kinds["FusedConv"]) == (19, 0, 0)
        assert (kinds["QLinearAdd"], kinds["Add"], kinds["Relu"]) == (9, 0, 0)
        assert kinds["QGemm"] == 1

    def test_weights_are_stored_as_int8(self, resnet: Model, resnet_int8: Model) -> None:
        assert resnet_int8.graph.stat().st_size < 0.35 * resnet.graph.stat().st_size
        large = [t for t in onnx.load(resnet_int8.graph).graph.initializer if np.prod(t.dims) > 300]
        assert large and {t.data_type for t in large} == {onnx.TensorProto.INT8}

    def test_lineage_records_what_it_did(self, resnet: Model, resnet_int8: Model) -> None:
        (step,) = resnet_int8.steps
        assert resnet_int8.precision == "i8"
        assert (step.name, step.before, step.after) == ("quantize-static", resnet.digest, resnet_int8.digest)
        assert set(step.tools) == {"optimum", "optimum-onnx", "onnxruntime", "onnx"}
        assert "100 samples" in step.notes[0]
        assert resnet_int8.parts == resnet.parts


@pytest.fixture(scope="module")
def minilm_int8(minilm: Model, stsb_feeds: Feeds, exact: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return QuantizeStatic(**exact).apply(minilm, stsb_feeds, tmp_path_factory.mktemp("minilm-int8"))


class TestMiniLM:
    def test_keeps_the_order_of_similarities(self, minilm: Model, minilm_int8: Model, stsb: Any, sentence: Any) -> None:
        import onnxruntime
        from scipy.stats import spearmanr

        pairs = stsb("test")[::10]

        def score(model: Model) -> float:
            session = onnxruntime.InferenceSession(model.graph, providers=["CPUExecutionProvider"])

            def embed(text: str) -> np.ndarray:
                mean = session.run(None, sentence(text))[0][0].mean(0)
                return mean / np.linalg.norm(mean)

            similarities = [float(embed(first) @ embed(second)) for first, second, _ in pairs]
            return float(spearmanr(similarities, [truth for _, _, truth in pairs]).statistic)

        before, after = score(minilm), score(minilm_int8)
        assert before > 0.79
        assert after > before - 0.006

    def test_every_constant_matmul_runs_in_integers_and_returns_float(
        self, minilm_int8: Model, optimized_kinds: Any, tmp_path: Path
    ) -> None:
        kinds = Counter(optimized_kinds(minilm_int8.graph, tmp_path))
        assert kinds["MatMulIntegerToFloat"] == 36
        assert kinds["MatMul"] + kinds["FusedMatMul"] == 12  # attention: two activations each
        assert kinds["DequantizeLinear"] == 0

    def test_residual_stream_is_not_rounded(self, minilm_int8: Model) -> None:
        graph = onnx.load(minilm_int8.graph).graph
        producers = {name: node for node in graph.node for name in node.output}
        sums = [node for node in graph.node if node.op_type in ("Add", "LayerNormalization")]
        assert len(sums) > 30
        for node in sums:
            assert not [n for n in node.input if n in producers and producers[n].op_type == "DequantizeLinear"]

    def test_runs_in_openvino(self, minilm: Model, minilm_int8: Model, sentence: Any, run_openvino: Any) -> None:
        feed = sentence("A man is playing a large flute.")
        (before,), (after,) = run_openvino(minilm.graph, feed), run_openvino(minilm_int8.graph, feed)
        assert np.isfinite(after).all()
        cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
        assert cosine > 0.98


class TestGraphs:
    def test_old_opset_is_raised_where_scales_per_channel_need_it(
        self, make_graph: Any, make_model: Any, run_onnxruntime: Any, exact: Any, tmp_path: Path
    ) -> None:
        model = make_model(perceptron(make_graph, opset=11, ir_version=6), tmp_path / "in")
        quantized = QuantizeStatic(**exact).apply(model, rows(), work(tmp_path / "out"))
        assert onnx.load(quantized.graph).opset_import[0].version == 13
        assert any(mentions(note, ("opset", "11", "13")) for note in quantized.steps[-1].notes)
        feed = {"x": floats(3, 16)}
        (before,), (after,) = run_onnxruntime(model.graph, feed), run_onnxruntime(quantized.graph, feed)
        assert np.linalg.norm(before - after) < 0.1 * np.linalg.norm(before)

    def test_batch_norms_and_weights_in_constant_nodes_are_folded(
        self, make_graph: Any, make_model: Any, optimized_kinds: Any, tmp_path: Path
    ) -> None:
        weight = numpy_helper.from_array(floats(8, 3, 3, 3))
        proto = make_graph(
            [
                helper.make_node("Constant", [], ["w"], value=weight),
                helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
                helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
                helper.make_node("Clip", ["n", "zero", "six"], ["r"]),
                helper.make_node("GlobalAveragePool", ["r"], ["y"]),
            ],
            ["x:f32[N,3,8,8]"],
            ["y:f32[N,8,1,1]"],
            {
                "s": floats(8),
                "b": floats(8),
                "m": floats(8),
                "v": np.abs(floats(8)) + 1,
                "zero": np.float32(0),
                "six": np.float32(6),
            },
        )
        feeds = Feeds.from_arrays([{"x": floats(1, 3, 8, 8)} for _ in range(8)])
        quantized = QuantizeStatic().apply(make_model(proto, tmp_path / "in"), feeds, work(tmp_path / "out"))
        assert counts(quantized)["BatchNormalization"] == 0
        kinds = optimized_kinds(quantized.graph, tmp_path)
        assert "QLinearConv" in kinds and "Clip" not in kinds

    def test_inputs_of_other_types_and_lengths(
        self, make_graph: Any, make_model: Any, run_onnxruntime: Any, run_openvino: Any, tmp_path: Path
    ) -> None:
        proto = make_graph(
            [
                helper.make_node("Gather", ["table", "ids"], ["e"]),
                helper.make_node("MatMul", ["e", "w"], ["h"], name="project"),
                helper.make_node("Unsqueeze", ["mask", "last"], ["m"]),
                helper.make_node("Where", ["m", "h", "nothing"], ["y"]),
            ],
            ["ids:i64[N,T]", "mask:bool[N,T]"],
            ["y:f32[N,T,8]"],
            {
                "table": floats(50, 16),
                "w": floats(16, 8),
                "last": np.array([-1], np.int64),
                "nothing": np.float32(0),
            },
        )
        feeds = [
            {"ids": SEED.integers(0, 50, (1, length)), "mask": np.ones((1, length), bool)} for length in (3, 9, 1, 30)
        ]
        model = make_model(proto, tmp_path / "in")
        quantized = QuantizeStatic().apply(model, Feeds.from_arrays(feeds), work(tmp_path / "out"))
        (before,) = run_onnxruntime(model.graph, feeds[1])
        for run in (run_onnxruntime, run_openvino):
            (after,) = run(quantized.graph, feeds[1])
            assert np.linalg.norm(before - after) < 0.1 * np.linalg.norm(before)

    def test_stale_types_are_inferred_again(
        self, make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path
    ) -> None:
        proto = perceptron(make_graph)
        proto.graph.value_info.append(helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [1, 7, 7]))
        model = make_model(proto, tmp_path / "in")
        quantized = QuantizeStatic().apply(model, rows(), work(tmp_path / "out"))
        assert np.isfinite(run_onnxruntime(quantized.graph, {"x": floats(2, 16)})[0]).all()
        assert not onnx.load(quantized.graph).metadata_props

    def test_a_table_that_is_also_looked_up_stays_float_there(
        self, make_graph: Any, make_model: Any, tmp_path: Path
    ) -> None:
        proto = make_graph(
            [
                helper.make_node("Gather", ["table", "ids"], ["e"], axis=1),
                helper.make_node("MatMul", ["x", "table"], ["h"]),
                helper.make_node("Mul", ["h", "e"], ["y"]),
            ],
            ["x:f32[16,16]", "ids:i64[8]"],
            ["y:f32[16,8]"],
            {"table": floats(16, 8)},
        )
        feeds = Feeds.from_arrays([{"x": floats(16, 16), "ids": np.arange(8)} for _ in range(3)])
        quantized = QuantizeStatic().apply(make_model(proto, tmp_path / "in"), feeds, work(tmp_path / "out"))
        graph = onnx.load(quantized.graph).graph
        gather = next(node for node in graph.node if node.op_type == "Gather")
        assert gather.input[0] in {tensor.name for tensor in graph.initializer}

    def test_weights_beside_the_graph(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = perceptron(make_graph)
        model = make_model(proto, tmp_path / "in")
        onnx.save(proto, model.graph, save_as_external_data=True, location="weights.bin", size_threshold=0)
        quantized = QuantizeStatic().apply(model, rows(), work(tmp_path / "out"))
        assert [path.name for path in quantized.files()] == ["model.onnx"]
        assert counts(quantized)["DequantizeLinear"] >= 3

    def test_an_output_that_is_quantized_again_keeps_its_name_and_its_precision(
        self, make_graph: Any, make_model: Any, run_onnxruntime: Any, tmp_path: Path
    ) -> None:
        proto = make_graph(
            [
                helper.make_node("MatMul", ["x", "w1"], ["hidden"]),
                helper.make_node("MatMul", ["hidden", "w2"], ["y"]),
            ],
            ["x:f32[N,16]"],
            ["hidden:f32[N,16]", "y:f32[N,4]"],
            {"w1": floats(16, 16), "w2": floats(16, 4)},
        )
        model = make_model(proto, tmp_path / "in")
        quantized = QuantizeStatic().apply(model, rows(), work(tmp_path / "out"))
        graph = onnx.load(quantized.graph).graph
        assert [value.name for value in graph.output] == ["hidden", "y"]
        assert next(node for node in graph.node if "hidden" in node.output).op_type == "MatMul"
        feed = {"x": floats(4, 16)}
        for before, after in zip(
            run_onnxruntime(model.graph, feed), run_onnxruntime(quantized.graph, feed), strict=True
        ):
            assert np.linalg.norm(before - after) < 0.1 * np.linalg.norm(before)


class TestSettings:
    @pytest.fixture
    def model(self, make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
        return make_model(perceptron(make_graph), tmp_path / "in")

    def test_symmetric_activations_have_zero_point_0(self, model: Model, tmp_path: Path) -> None:
        settings = QuantizeStatic(activations="s8", symmetric_activations=True)
        graph = onnx.load(settings.apply(model, rows(), work(tmp_path / "out")).graph).graph
        points = [t for t in graph.initializer if t.name.endswith("_zero_point")]
        assert points and not any(numpy_helper.to_array(tensor).any() for tensor in points)

    def test_reduced_range_leaves_a_bit_free(self, model: Model, tmp_path: Path) -> None:
        quantized = QuantizeStatic(reduce_range=True).apply(model, rows(), work(tmp_path / "out"))
        weights = [
            t for t in onnx.load(quantized.graph).graph.initializer if t.data_type == onnx.TensorProto.INT8 and t.dims
        ]
        greatest = max(np.abs(numpy_helper.to_array(tensor).astype(int)).max() for tensor in weights)
        assert 60 <= greatest <= 64

    def test_an_excluded_node_stays_float(self, model: Model, tmp_path: Path) -> None:
        quantized = QuantizeStatic(exclude=("second",)).apply(model, rows(), work(tmp_path / "out"))
        node = next(node for node in onnx.load(quantized.graph).graph.node if node.op_type == "MatMul")
        assert node.input[1] == "w2"

    def test_an_unknown_excluded_node_is_named(self, model: Model, tmp_path: Path) -> None:
        with raises(UsageError, ("'secnd'", "'second'"), hint="first"):
            QuantizeStatic(exclude=("secnd",)).apply(model, rows(), work(tmp_path / "out"))

    def test_operators_that_lose_accuracy_are_refused(self) -> None:
        with raises(UsageError, ("MatMul, Gemm, Conv", "Softmax"), hint="`followers`"):
            QuantizeStatic.from_dict({"operators": ["MatMul", "Softmax"]})

    def test_runs_no_more_samples_than_set(self, model: Model, tmp_path: Path) -> None:
        drawn: list[int] = []

        def make() -> Iterator[dict[str, np.ndarray]]:
            for index in range(50):
                drawn.append(index)
                yield {"x": floats(1, 16)}

        feeds = Feeds(make, lambda: 50, lambda: "digest")
        quantized = QuantizeStatic(samples=7).apply(model, feeds, work(tmp_path / "out"))
        assert 40 < max(drawn) < 50, "they are spread over all, and none is drawn after the last"
        assert "7 samples" in quantized.steps[-1].notes[0]

    def test_quantizing_a_bf16_model_keeps_its_mark(self, model: Model, tmp_path: Path) -> None:
        quantized = QuantizeStatic().apply(replace(model, precision="bf16"), rows(), work(tmp_path / "out"))
        assert quantized.precision == "i8+bf16"


class TestRefusals:
    @pytest.fixture
    def model(self, make_graph: Any, make_model: Any, tmp_path: Path) -> Model:
        return make_model(perceptron(make_graph), tmp_path / "in")

    @pytest.mark.parametrize("feeds", [None, Feeds.from_arrays([])], ids=["none", "empty"])
    def test_no_samples(self, model: Model, feeds: Feeds | None, tmp_path: Path) -> None:
        with raises(UsageError, "samples", hint=("--data", "int8-dynamic")) as caught:
            QuantizeStatic().apply(model, feeds, work(tmp_path / "out"))
        assert caught.value.hint and "--data" in caught.value.hint and "int8-dynamic" in caught.value.hint
        assert not list((tmp_path / "out").iterdir())

    def test_nothing_to_quantize(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = make_graph([helper.make_node("Relu", ["x"], ["y"])], ["x:f32[N,16]"], ["y:f32[N,16]"], {})
        with raises(UnsupportedError, "MatMul, Gemm, Conv", hint="fp32"):
            QuantizeStatic().apply(make_model(proto, tmp_path / "in"), rows(), work(tmp_path / "out"))

    def test_only_products_of_activations(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        proto = make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], ["x:f32[16,16]"], ["y:f32[16,16]"], {})
        feeds = Feeds.from_arrays([{"x": floats(16, 16)}])
        model = make_model(proto, tmp_path / "in")
        with raises(UnsupportedError, "1 MatMul", "constant", hint="fp32"):
            QuantizeStatic().apply(model, feeds, work(tmp_path / "out"))
        quantized = QuantizeStatic(activation_matmul=True).apply(model, feeds, work(tmp_path / "out2"))
        assert counts(quantized)["QuantizeLinear"] == 1

    def test_quantized_already(self, model: Model, tmp_path: Path) -> None:
        quantized = QuantizeStatic().apply(model, rows(), work(tmp_path / "out"))
        with raises(UnsupportedError, ("f32", "i8"), hint="quantize-static"):
            QuantizeStatic().apply(quantized, rows(), work(tmp_path / "again"))
        with raises(UnsupportedError, "DequantizeLinear, QuantizeLinear", hint="fp32"):
            QuantizeStatic().apply(replace(quantized, precision="f32"), rows(), work(tmp_path / "third"))

    def test_inner_graphs(self, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
        def branch(name: str) -> Any:
            node = helper.make_node("MatMul", ["x", "w"], [name])
            return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, ["N", 4])])

        proto = make_graph(
            [helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))],
            ["c:bool[]", "x:f32[N,16]"],
            ["y:f32[N,4]"],
            {"w": floats(16, 4)},
        )
        with raises(UnsupportedError, "If", hint="fp32"):
            QuantizeStatic().apply(make_model(proto, tmp_path / "in"), rows(), work(tmp_path / "out"))

    def test_a_sample_that_does_not_fit(self, model: Model, tmp_path: Path) -> None:
        with raises(UsageError, "'x'", "[1, 15]", "x:f32[N,16]"):
            QuantizeStatic().apply(model, rows(size=15), work(tmp_path / "out"))
        assert not list((tmp_path / "out").iterdir())

    def test_a_sample_that_is_not_finite(self, model: Model, tmp_path: Path) -> None:
        feeds = Feeds.from_arrays([{"x": floats(1, 16)}, {"x": np.full((1, 16), np.nan, np.float32)}])
        with raises(BuildError, "sample 1", "'x'", "finite", hint="--recipe fp32"):
            QuantizeStatic().apply(model, feeds, work(tmp_path / "out"))


def test_nothing_is_printed_or_left_behind(
    make_graph: Any, make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    model = make_model(perceptron(make_graph), tmp_path / "in")
    (model.folder / ASSETS).mkdir()
    (model.folder / ASSETS / "labels.txt").write_text("cat\n")
    here = work(tmp_path / "here")
    monkeypatch.chdir(here)
    quantized = QuantizeStatic().apply(model, rows(), work(tmp_path / "out"))
    assert capfd.readouterr() == ("", "")
    assert not list(here.iterdir())
    assert sorted(path.name for path in quantized.folder.iterdir()) == [ASSETS, "model.onnx"]
    assert (quantized.assets / "labels.txt").read_text() == "cat\n"


REPEAT = """
import sys
from pathlib import Path
import numpy as np
from edgekit.data import Feeds
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
feeds = Feeds.from_arrays([{"x": np.random.default_rng(i).standard_normal((1, 16), np.float32)} for i in range(5)])
print(QuantizeStatic().apply(Model.load(Path(sys.argv[1])), feeds, Path(sys.argv[2])).digest)
"""


def test_two_processes_give_equal_bytes(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    make_model(perceptron(make_graph), tmp_path / "in").save()
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", REPEAT, tmp_path / "in", work(tmp_path / f"out{seed}")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    (first, noise), (second, _) = [run.communicate(timeout=120) for run in runs]
    assert len(first.strip()) == 64
    assert first == second
    assert noise == ""


PEAK = """
import resource, sys
import numpy as np, onnx
from pathlib import Path
from edgekit._privacy import no_telemetry
no_telemetry()
from edgekit.passes.quantize.calibrate import Method, find_ranges
from edgekit.spec import TensorSpec
count, folder, method = int(sys.argv[1]), Path(sys.argv[2]), Method(sys.argv[3])
class Feeds:
    def __iter__(self):
        return ({"x": np.full((1, 64, 64, 64), 1.0 + number % 7, np.float32)} for number in range(count))
calibration = find_ranges(onnx.load(folder / "model.onnx"), ["x", "a", "b"], Feeds(),
    [TensorSpec("x", "f32", (1, 64, 64, 64))], method=method, file=folder / f"{count}.onnx")
assert calibration.count == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_memory_does_not_grow_with_the_samples(method: str, make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    # Three activations of 1 MB a sample: kept, 400 samples would take 1.2 GB.
    proto = make_graph(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"])],
        ["x:f32[1,64,64,64]"],
        ["b:f32[1,64,64,64]"],
        {},
    )
    make_model(proto, tmp_path)
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", PEAK, count, tmp_path, method], check=True, stdout=subprocess.PIPE
            ).stdout
        )
        for count in ("10", "400")
    ]
    assert peaks[1] < peaks[0] + 15, peaks


def test_ranges_are_the_true_extremes(make_graph: Any, tmp_path: Path) -> None:
    proto = make_graph([helper.make_node("Neg", ["x"], ["y"])], ["x:f32[N,4]"], ["y:f32[N,4]"], {})
    data = [floats(size, 4) for size in (1, 5, 2)]
    specs = (TensorSpec("x", "f32", ("N", 4)),)

    def find(method: str) -> Any:
        feeds = [{"x": array} for array in data]
        return find_ranges(proto, ["x", "y"], feeds, specs, method=Method(method), file=tmp_path / "g.onnx").ranges

    extremes = find("minmax")
    assert extremes["x"] == (min(map(np.min, data)), max(map(np.max, data)))
    assert extremes["y"] == (-extremes["x"][1], -extremes["x"][0])
    assert find("mean") == extremes  # too few elements for a group: no average


def test_mean_averages_groups_of_samples() -> None:
    extremes = Extremes(2, least=10, averaged=True)
    for low, high in ((-1.0, 1.0), (-3.0, 5.0), (-2.0, 9.0)):
        extremes.add(np.full(2, low), np.full(2, high), np.array([10.0, 5.0]))
    lowest, highest = extremes.result()
    assert (lowest[0], highest[0]) == (-2.0, 5.0)  # three groups of one sample
    assert (lowest[1], highest[1]) == (-3.0, 5.0)  # one group of two; the third is left over


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ([5.0] + [1.0] * 63, ("1 of 64 samples", "settled")),
        ([float(number) for number in range(1, 65)], ("widening", "64 samples")),
        ([1.0], "one sample"),
    ],
)
def test_a_note_has_how_many_samples_were_enough(
    values: list[float], facts: Fact, make_graph: Any, tmp_path: Path
) -> None:
    proto = make_graph([helper.make_node("Neg", ["x"], ["y"])], ["x:f32[N,4]"], ["y:f32[N,4]"], {})
    feeds = [{"x": np.array([[-value, 0, 0, value]], np.float32)} for value in values]
    specs = (TensorSpec("x", "f32", ("N", 4)),)
    calibration = find_ranges(proto, ["x", "y"], feeds, specs, method=Method(), file=None)
    assert mentions(calibration.notes[0], facts)
