"""Small real bundles, made through the real ONNX Runtime backend: of pictures and of texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import bench, registry
from edgekit.bundle import staging
from edgekit.bundle.manifest import MANIFEST, BundledPart, Manifest, seal_of
from edgekit.model import Model, Part
from edgekit.result.report import Candidate, Report
from edgekit.spec import TensorSpec
from edgekit.target import target
from edgekit.tasks.config import TOKENIZER, ImageConfig, TaskConfig, TextConfig


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change a bundle's manifest; with `seal` its digest too, so that what is judged is the change itself."""
    file = path / MANIFEST
    content = json.loads(file.read_text())
    change(content)
    if seal and content.get("seal"):
        content["seal"] = seal_of(content)
    file.write_text(json.dumps(content))


LABELS = ("dark", "top", "bottom")


def pictures(base: Path, *, goal: str = "host", scale: float = 1.0, zero: bool = False) -> Path:
    """Return a bundle that distinguishes pictures bright at the top from those bright at the bottom, in `base`/out.

    The stored outputs of the original are `scale` times those of the graph, whose weights are 0 with `zero`.
    """
    onnx = pytest.importorskip("onnx")
    weights = np.zeros((64, 3), np.float32)
    weights[:32, 1] = weights[32:, 2] = 0.0 if zero else 0.1
    node = onnx.helper.make_node
    nodes = [node("Flatten", ["pixel_values"], ["flat"]), node("MatMul", ["flat", "weights"], ["logits"])]
    specs = TensorSpec.parse("pixel_values:f32[1,1,8,8]"), TensorSpec.parse("logits:f32[1,3]")
    model = _model(base / "model", nodes, weights, specs[:1], specs[1])
    config = TaskConfig("image-classification", LABELS, image=ImageConfig(channels="gray", size=(8, 8)))
    generator = np.random.default_rng(0)
    feeds = [generator.random((1, 1, 8, 8), np.float32) for _ in range(2)]
    samples = [({"pixel_values": x}, {"logits": scale * x.reshape(1, 64) @ weights}) for x in feeds]
    _bundle(base / "out", model, config, samples, goal=goal)
    return base / "out"


def texts(base: Path) -> Path:
    """Return a bundle that embeds texts by counting their words, exported with data whose columns were `a` and `b`."""
    onnx = pytest.importorskip("onnx")
    tokenizers = pytest.importorskip("tokenizers")
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
    _bundle(base / "out", model, config, [], tokenizer)
    return base / "out"


def _bundle(path: Path, model: Model, config: TaskConfig, samples: list, tokenizer=None, *, goal: str = "host") -> None:
    backend, device = registry.backend("onnxruntime"), target.load(goal)
    with staging.folder(path) as stage:
        for folder in ("model", "samples"):
            (stage / folder).mkdir()
        built = backend.build(model, device, {}, stage / "model")
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
            target=device,
            asked="f32",
            effective=None,
            evidence=built.evidence,
            parts=(
                BundledPart(model.part, tuple(f"model/{name}" for name in built.files), built.options, built.requires),
            ),
            lineage=(),
        )
        candidate = Candidate("onnxruntime/fp32", "onnxruntime", "fp32", "shipped", "the only one that passes")
        environment = bench.environment(("edgekit", "onnxruntime"))
        report = Report("export", "bright.onnx", config.task, goal, built.evidence, environment, (candidate,))
        report.save(stage / "report.json")
        staging.seal(stage, manifest)


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
    folder.mkdir(parents=True)
    onnx.save(proto, folder / "model.onnx")
    return Model("onnx", (Part("model", "model.onnx", inputs, (output,)),), folder=folder)
