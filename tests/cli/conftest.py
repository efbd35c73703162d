"""A small real bundle, made through the real ONNX Runtime backend, and ways to run the command line."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit import artifact, bench, registry, target
from edgekit.artifact import Manifest
from edgekit.cli import cli
from edgekit.model import Model, Part
from edgekit.result import Candidate, Report
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TOKENIZER, ImageConfig, TaskConfig, TextConfig

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"
LABELS = ("dark", "top", "bottom")


@pytest.fixture
def run():
    """Run the command line in this process."""

    # click before 8.2 mixes stderr into stdout unless told otherwise; later ones know no such option.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}

    def invoke(*args: object, stdin: str | None = None) -> Result:
        return CliRunner(**apart).invoke(cli, [str(arg) for arg in args], input=stdin)

    return invoke


@pytest.fixture
def shell(tmp_path):
    """Run the command line as a process of its own."""

    def start(*args: object, env: dict[str, str] | None = None, cwd: Path = tmp_path, **kwargs):
        command = [sys.executable, "-m", "edgekit.cli", *map(str, args)]
        return subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=120, **kwargs
        )

    return start


@pytest.fixture(scope="session")
def report() -> Report:
    return Report.load(REPORTS / "minilm.json")


@dataclass(frozen=True)
class Made:
    path: Path
    image: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    """Give a bundle that tells pictures bright at the top from those bright at the bottom, and such a picture."""
    onnx = pytest.importorskip("onnx")
    image = pytest.importorskip("PIL.Image")
    base = tmp_path_factory.mktemp("bundle")
    weights = np.zeros((64, 3), np.float32)
    weights[:32, 1] = weights[32:, 2] = 0.1
    node = onnx.helper.make_node
    nodes = [node("Flatten", ["pixel_values"], ["flat"]), node("MatMul", ["flat", "weights"], ["logits"])]
    specs = TensorSpec.parse("pixel_values:f32[1,1,8,8]"), TensorSpec.parse("logits:f32[1,3]")
    model = _model(base / "model", nodes, weights, specs[:1], specs[1])
    config = TaskConfig("image-classification", LABELS, image=ImageConfig(channels="gray", size=(8, 8)))
    generator = np.random.default_rng(0)
    pictures = [generator.random((1, 1, 8, 8), np.float32) for _ in range(2)]
    samples = [({"pixel_values": x}, {"logits": x.reshape(1, 64) @ weights}) for x in pictures]
    _bundle(base / "out", model, config, samples)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    image.fromarray(pixels).save(base / "top.png")
    return Made(base / "out", base / "top.png")


@pytest.fixture(scope="session")
def sentences(tmp_path_factory) -> Path:
    """Give a bundle that embeds texts by counting their words, exported with data whose columns were `a` and `b`."""
    onnx = pytest.importorskip("onnx")
    tokenizers = pytest.importorskip("tokenizers")
    base = tmp_path_factory.mktemp("sentences")
    words = ["[UNK]", "a", "man", "plays", "music", "rain"]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    node = onnx.helper.make_node
    nodes = [
        node("Gather", ["weights", "input_ids"], ["each"]),
        node("ReduceMean", ["each"], ["embedding"], axes=[1], keepdims=0),
    ]
    specs = TensorSpec.parse("input_ids:i64[1,tokens]"), TensorSpec.parse("embedding:f32[1,6]")
    model = _model(base / "model", nodes, np.eye(6, dtype=np.float32), specs[:1], specs[1])
    config = TaskConfig("sentence-similarity", text=TextConfig(inputs=("input_ids",), columns=("a", "b")))
    path = base / "out"
    _bundle(path, model, config, [], tokenizer)
    return path


def _bundle(path: Path, model: Model, config: TaskConfig, samples: list, tokenizer=None) -> None:
    backend, goal = registry.backend("onnxruntime"), target.load("host")
    with artifact.staging(path) as stage:
        for folder in ("model", "samples"):
            (stage / folder).mkdir()
        built = backend.build(model, goal, {}, stage / "model")
        config.save(stage / "assets")
        if tokenizer is not None:
            tokenizer.save(str(stage / "assets" / TOKENIZER))
        for index, (feeds, outputs) in enumerate(samples):
            np.savez(stage / "samples" / f"{index}-0.inputs.npz", **feeds)
            np.savez(stage / "samples" / f"{index}-0.outputs.npz", **outputs)
        manifest = Manifest(
            name="bright",
            model="bright.onnx",
            task=config.task,
            backend="onnxruntime",
            recipe="fp32",
            target=goal,
            asked="f32",
            effective=None,
            evidence="built_on_device",
            inputs=built.inputs,
            outputs=built.outputs,
            payload=tuple(f"model/{name}" for name in built.files),
            options=built.options,
            requires=built.requires,
            lineage=(),
        )
        candidate = Candidate("onnxruntime/fp32", "onnxruntime", "fp32", "shipped", "the only one that passes")
        environment = bench.environment(("edgekit", "onnxruntime"))
        report = Report("export", "bright.onnx", config.task, "host", "built_on_device", environment, (candidate,))
        report.save(stage / "report.json")
        artifact.seal(stage, manifest)


def _model(folder: Path, nodes: list, weights: np.ndarray, inputs: tuple[TensorSpec, ...], output: TensorSpec) -> Model:
    import onnx
    from onnx import helper, numpy_helper

    kinds = {"f32": onnx.TensorProto.FLOAT, "i64": onnx.TensorProto.INT64}
    infos = {s.name: helper.make_tensor_value_info(s.name, kinds[s.dtype], list(s.shape)) for s in (*inputs, output)}
    graph = helper.make_graph(
        nodes,
        "bright",
        [infos[spec.name] for spec in inputs],
        [infos[output.name]],
        [numpy_helper.from_array(weights, "weights")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")
    folder.mkdir()
    onnx.save(proto, folder / "model.onnx")
    return Model("onnx", (Part("model", "model.onnx", inputs, (output,)),), folder=folder)
